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

// Where row 0 is.
fn start_of(g: Picture) -> Walk {
    let begin = g.first % (g.result_h * g.result_w);
    return Walk(place_of(g, 0u), begin / g.result_w, begin % g.result_w);
}

fn four_from(g: Picture, w: Walk) -> array<Walk, 4> {
    let second = after(g, w);
    let third = after(g, second);
    return array<Walk, 4>(w, second, third, after(g, third));
}

// Four columns at four steps of k.
fn block_of(g: Picture, at: array<Walk, 4>, k: u32, own: Columns) -> Block {
    return Block(gathered(g, at[0].place, k, own), gathered(g, at[1].place, k + 1u, own),
                 gathered(g, at[2].place, k + 2u, own), gathered(g, at[3].place, k + 3u, own));
}
