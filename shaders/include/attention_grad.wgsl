// What the backward attention kernels read besides the inputs.
#include "attention.wgsl"

@group(0) @binding(6) var<storage, read> stats: array<f32>; // (B, NH, T, 2): base-2 logarithm of each query's sum, then delta

#if IMAGE
@group(0) @binding(5) var dout: Source; // (B, T, NH, D): a line for each row: upstream gradient

fn dout_place(batch: u32, head: u32, t: u32) -> u32 {
    return place(batch * p.queries + min(t, p.queries - 1u), head * p.width);
}

fn dout4(at: u32, d: u32) -> vec4<f32> {
    return select(vec4<f32>(0.0), textureLoad(dout, texel(at, d), 0u), d < p.width);
}
#else
@group(0) @binding(5) var<storage, read> dout: array<Stored>; // (B, T, NH, D): upstream gradient

fn dout_place(batch: u32, head: u32, t: u32) -> u32 {
    return ((batch * p.queries + min(t, p.queries - 1u)) * p.heads + head) * p.width;
}

fn dout4(base: u32, d: u32) -> vec4<f32> {
#if VEC4
    return select(vec4<f32>(0.0), Real(dout[(base + min(d, p.width - 4u)) / 4u]), d < p.width);
#else
    let i = base + min(columns(d), vec4<u32>(p.width - 1u));
    return select(vec4<f32>(0.0), vec4<f32>(vec4(dout[i.x], dout[i.y], dout[i.z], dout[i.w])), columns(d) < vec4<u32>(p.width));
#endif
}
#endif

// Whether the gradient of a row is added to what is there (flag 1) or overwrites it (0). Mesa 22's llvmpipe may
// translate a kernel anew for every dispatch, and keep all of them, if a condition in it hangs on Params alone; no
// tensor has 2^31 rows.
fn adds(flag: u32, row: u32) -> bool {
    return flag > (row >> 31u);
}
