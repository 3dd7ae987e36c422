// Rotary position embedding: turns pairs of columns of each head by angles that grow with the position.
//
//   (c, s) = table[position[r], i],   i < R / 2
//   y[r, h, i] (=|+=) c x[r, h, i] - s x[r, h, i + R/2]
//   y[r, h, i + R/2] (=|+=) c x[r, h, i + R/2] + s x[r, h, i]
//   columns R .. D of a head are copied
//
// INVERSE: -s for s, which is the gradient: x is that of y, y that of x.
// Source: Su et al. 2021, eq. 34, with the halves of a head as pairs, as in Llama; the table may hold
// any scaling of angles and of length.
// Dispatch: ceil(n / 256) workgroups of 256, folded; an invocation turns one pair of elements, or copies
// one element.
// Passes: 1. VEC4: four columns per element; D and R / 2 are multiples of 4. F16: x and y hold f16.
// Numerics: f32. Limits: 4 storage buffers.
#include "linear.wgsl"
#include "stored.wgsl"

struct Params {
    n: u32,             // rows heads (D - R / 2): pairs and copied elements; with VEC4 in elements
    width: u32,         // D; with VEC4 in elements
    pairs: u32,         // R / 2; with VEC4 in elements
    heads: u32,         // heads of a row
    steps: u32,         // T: without positions row r has position r % T
    has_positions: u32, // 1: positions says where each row stands
    last: u32,          // the table's last position
    accumulate: u32,    // 0: overwrite without reading; 1: add
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>; // (rows, heads, D): what is turned
@group(0) @binding(2) var<storage, read> table: array<vec4<f32>>; // (last + 1, R/2, 2): cosine and sine for each position, two pairs an element
@group(0) @binding(3) var<storage, read> positions: array<u32>; // (rows): position of each row; any buffer if has_positions = 0
@group(0) @binding(4) var<storage, read_write> y: array<Stored>; // (rows, heads, D): result

fn put(at: u32, value: Real) {
    var v = value;
    if p.accumulate != 0u {
        v += Real(y[at]);
    }
    y[at] = Stored(v);
}

@compute @workgroup_size(256)
fn rope(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let n = linear_group(wid, nwg) * 256u + lid;
    if n < p.n {
        let each = p.width - p.pairs;
        let head = n / each;
        let i = n % each;
        let first = head * p.width;
        if i < p.pairs {
            let row = head / p.heads;
            var position = row % p.steps;
            if p.has_positions != 0u {
                position = min(positions[row], p.last);
            }
            let pair = position * p.pairs + i;
#if VEC4
            let even = table[2u * pair];
            let odd = table[2u * pair + 1u];
            let c = vec4<f32>(even.xz, odd.xz);
            let s = vec4<f32>(even.yw, odd.yw);
#else
            let both = table[pair / 2u];
            let c = select(both.x, both.z, (pair & 1u) != 0u);
            let s = select(both.y, both.w, (pair & 1u) != 0u);
#endif
#if INVERSE
            let turn = -s;
#else
            let turn = s;
#endif
            let a = Real(x[first + i]);
            let b = Real(x[first + i + p.pairs]);
            put(first + i, fma(c, a, -turn * b));
            put(first + i + p.pairs, fma(c, b, turn * a));
        } else {
            put(first + p.pairs + i, Real(x[first + p.pairs + i]));
        }
    }
}
