// Which pixel of the source each tap of a window reads, for positions of a result that are rows of a
// matrix. One form serves a convolution, its gradient by the source and a pool:
//
//   along an axis: source = (position mul + off + tap step) / div, where that is whole and inside
const NOWHERE: u32 = 0xffffffffu;

struct Picture {
    source_h: i32,
    source_w: i32,
    result_h: u32,
    result_w: u32,
    kernel_w: u32,
    taps: u32,
    mul_h: i32,
    mul_w: i32,
    off_h: i32,
    off_w: i32,
    step_h: i32,
    step_w: i32,
    div_h: i32,
    div_w: i32,
    channels: u32, // of a pixel of the source
    first: u32,    // the position that is row 0
}

// A position before taps: its picture's first pixel, and what is divided by div.
struct Place {
    base: u32,
    y: i32,
    x: i32,
}

fn place_of(g: Picture, row: u32) -> Place {
    let i = row + g.first;
    let area = g.result_h * g.result_w;
    let n = i / area;
    let y = (i - n * area) / g.result_w;
    let x = i - n * area - y * g.result_w;
    return Place(n * u32(g.source_h * g.source_w), i32(y) * g.mul_h + g.off_h, i32(x) * g.mul_w + g.off_w);
}

// How far a tap lies from the first one, down and across.
fn tap_at(g: Picture, tap: u32) -> vec2<i32> {
    let row = tap / g.kernel_w;
    return vec2<i32>(i32(row) * g.step_h, i32(tap - row * g.kernel_w) * g.step_w);
}

// The pixel that lies so far from a place, or NOWHERE.
fn pixel_at(g: Picture, at: Place, by: vec2<i32>) -> u32 {
    var y = at.y + by.x;
    var x = at.x + by.y;
    var inside = y >= 0 && x >= 0;
    if g.div_h * g.div_w != 1 {
        inside = inside && y % g.div_h == 0 && x % g.div_w == 0;
        y /= g.div_h;
        x /= g.div_w;
    }
    inside = inside && y < g.source_h && x < g.source_w;
    return select(NOWHERE, at.base + u32(y * g.source_w + x), inside);
}

// The pixel that a tap reads, or NOWHERE.
fn pixel(g: Picture, at: Place, tap: u32) -> u32 {
    return pixel_at(g, at, tap_at(g, tap));
}
