// Rows of B that are gathered pixels of an image, for matmul_image: names its texel_b, FOLD_B and p.

// Where four columns of B lie in pixels.
struct Columns {
    by: vec2<i32>,
    x: u32,
    layer: u32,
}

fn columns_at(g: Picture, col: u32) -> Columns {
    let first = min(col, p.n - 4u);
    let tap = first / g.channels;
    let channel = first - tap * g.channels;
    return Columns(tap_at(g, tap), (channel & 63u) / 4u, channel / 64u * FOLD_B);
}

// A position, and how far it is down and across.
struct Walk {
    place: Place,
    y: u32,
    x: u32,
}

// The next one; divisions would cost more than the products.
fn after(g: Picture, w: Walk) -> Walk {
    let ends = w.x + 1u == g.result_w;
    let x = select(w.x + 1u, 0u, ends);
    let down = select(w.y, w.y + 1u, ends);
    let last = down == g.result_h;
    let y = select(down, 0u, last);
    let base = select(w.place.base, w.place.base + u32(g.source_h * g.source_w), last);
    return Walk(Place(base, i32(y) * g.mul_h + g.off_h, i32(x) * g.mul_w + g.off_w), y, x);
}

// Four columns of B at position k.
fn gathered(g: Picture, at: Place, k: u32, own: Columns) -> vec4<f32> {
    let q = pixel_at(g, at, own.by);
    let reads = q != NOWHERE && k < p.k;
    return select(vec4<f32>(0.0), texel_b(own.x, select(0u, q, reads), own.layer), reads);
}
