// What both forms of the forward LSTM step share: bindings, the read of h and the cell.
#include "lstm_units.wgsl"

struct Params {
    batch: u32,     // B
    hidden: u32,    // H
    t: u32,         // first time step
    steps: u32,     // time steps; 1 unless PERSISTENT
    reverse: u32,   // 1: the forward pass goes from the last time step to the first
    cell_clip: f32, // the cell is clamped to this; 0: none
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> lens: array<u32>; // (B): time steps of each row
@group(0) @binding(3) var<storage, read_write> gates: array<Units>; // (T, B, 4H): in: x W_ih + biases, out: activated i, f, g, o
@group(0) @binding(4) var<storage, read_write> h: array<Units>; // (T + 1, B, H): hidden states
@group(0) @binding(5) var<storage, read_write> c: array<Units>; // (T + 1, B, H): cells

// The products of the workgroup's rows and units, the four gates of a unit in a vec4.
var<workgroup> sums: array<vec4<f32>, ROWS * WG>;

// The time step at hand; slots of h' and c', of h and c.
var<private> t: u32;
var<private> before: u32;
var<private> after: u32;

fn begin(step: u32) {
    t = select(p.t + step, p.t - step, p.reverse == 1u);
    before = t + p.reverse;
    after = t + 1u - p.reverse;
}

#if VEC4
fn sigmoid_of(x: Units) -> Units {
    return vec4<f32>(sigmoid(x.x), sigmoid(x.y), sigmoid(x.z), sigmoid(x.w));
}
#else
fn sigmoid_of(x: Units) -> Units {
    return sigmoid(x);
}
#endif

// The four gates' products, one a column.
struct Products {
    i: Units,
    f: Units,
    g: Units,
    o: Units,
}

fn cell(row: u32, unit: u32, product: Products) {
    let source = ((before * p.batch + row) * p.hidden + unit) / UNITS;
    let target_at = ((after * p.batch + row) * p.hidden + unit) / UNITS;
    let width = p.hidden / UNITS;
    let g0 = (t * p.batch + row) * 4u * width + unit / UNITS;
    let g1 = g0 + width;
    let g2 = g1 + width;
    let g3 = g2 + width;
    let i = sigmoid_of(gates[g0] + product.i);
    let f = sigmoid_of(gates[g1] + product.f);
    let g = tanh_of(gates[g2] + product.g);
    let o = sigmoid_of(gates[g3] + product.o);
    gates[g0] = sound * i;
    gates[g1] = sound * f;
    gates[g2] = sound * g;
    gates[g3] = sound * o;
    let c_before = c[source];
    var state = fma(f, c_before, i * g);
    if p.cell_clip > 0.0 {
        state = clamp(state, Units(-p.cell_clip), Units(p.cell_clip));
    }
    let over = t >= lens[row];
    c[target_at] = sound * select(state, c_before, over);
    h[target_at] = sound * select(o * tanh_of(state), h[source], over);
}

// The cells of ROWS rows and of the workgroup's units, whose products are in `sums`. Every invocation
// of the workgroup must call it. The work is split differently from the product: four units of a row
// at a time, so that each access reads or writes four neighbouring numbers.
fn cells(row0: u32, unit0: u32, lid: u32) {
    workgroupBarrier();
    const QUADS_ACROSS = WG / 4u;
    for (var at = lid; at < ROWS * QUADS_ACROSS; at += WG) {
        let row = row0 + at / QUADS_ACROSS;
        let unit = unit0 + at % QUADS_ACROSS * 4u;
        if row < p.batch && unit < p.hidden {
            let s0 = sums[4u * at];
            let s1 = sums[4u * at + 1u];
            let s2 = sums[4u * at + 2u];
            let s3 = sums[4u * at + 3u];
#if VEC4
            let i = vec4<f32>(s0.x, s1.x, s2.x, s3.x);
            let f = vec4<f32>(s0.y, s1.y, s2.y, s3.y);
            let g = vec4<f32>(s0.z, s1.z, s2.z, s3.z);
            let o = vec4<f32>(s0.w, s1.w, s2.w, s3.w);
            cell(row, unit, Products(i, f, g, o));
#else
            let units = array<vec4<f32>, 4>(s0, s1, s2, s3);
            for (var u = 0u; u < min(p.hidden - unit, 4u); u++) {
                let s = units[u];
                cell(row, unit + u, Products(s.x, s.y, s.z, s.w));
            }
#endif
        }
    }
    workgroupBarrier(); // `sums` may be written again
}
