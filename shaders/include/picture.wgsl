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

fn place_of(row: u32) -> Place {
    let i = row + picture.first;
    let area = picture.result_h * picture.result_w;
    let n = i / area;
    let y = (i - n * area) / picture.result_w;
    let x = i - n * area - y * picture.result_w;
    return Place(n * u32(picture.source_h * picture.source_w),
                 i32(y) * picture.mul_h + picture.off_h, i32(x) * picture.mul_w + picture.off_w);
}

// The pixel that a tap reads, or NOWHERE.
fn pixel(at: Place, tap: u32) -> u32 {
    let row = tap / picture.kernel_w;
    var y = at.y + i32(row) * picture.step_h;
    var x = at.x + i32(tap - row * picture.kernel_w) * picture.step_w;
    var inside = y >= 0 && x >= 0;
    if picture.div_h * picture.div_w != 1 {
        inside = inside && y % picture.div_h == 0 && x % picture.div_w == 0;
        y /= picture.div_h;
        x /= picture.div_w;
    }
    inside = inside && y < picture.source_h && x < picture.source_w;
    return select(NOWHERE, at.base + u32(y * picture.source_w + x), inside);
}
