// Packs one operand of a matrix product into zero-padded panels.
//
//   dst[batch][panel][k][w] = src[batch][panel * width + w, k], zero beyond extent and k
//
// An operand is seen as (extent, k): the rows of A or the columns of B, times the inner size;
// the two strides tell how it lies in memory, which covers every transposition. F16: src holds f16.
// Source: Goto and van de Geijn 2008, section 4.
// Dispatch: (ceil(panels kp width / 1024), 1, copies) workgroups of 64, x folded into x and y; z counts
// the batch, and one invocation moves a block of 4 x 4.
// Passes: 1. Numerics: exact. Limits: 2 storage buffers.
#include "linear.wgsl"
#include "stored.wgsl"
#include "matmul_pack_params.wgsl"

@group(0) @binding(1) var<storage, read> src: array<Stored>; // (batch, extent, k) by strides: the operand
@group(0) @binding(2) var<storage, read_write> dst: array<vec4<f32>>; // (batch, panels, kp, width): the panels

#if VEC4
// Four values along the contiguous axis (x), whose extent is a multiple of 4: all or none exist.
fn fetch(base: u32, e: u32, k: u32) -> vec4<f32> {
    let at = base + min(e, p.extent - 1u) * p.stride_e + min(k, p.k - 1u) * p.stride_k;
    return select(vec4<f32>(0.0), Real(src[at / 4u]), e < p.extent && k < p.k);
}
#else
fn fetch(base: u32, e: u32, k: u32) -> f32 {
    let at = base + min(e, p.extent - 1u) * p.stride_e + min(k, p.k - 1u) * p.stride_k;
    return select(0.0, Real(src[at]), e < p.extent && k < p.k);
}
#endif

@compute @workgroup_size(64)
fn matmul_pack(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 64u + lid;
    let quads = p.width / 4u;
    let q = i % quads;
    let block = (i / quads) % (p.kp / 4u);
    let panel = i / (quads * (p.kp / 4u));
    if panel < p.panels {
        let e = panel * p.width + 4u * q;
        let k = 4u * block;
        let base = wid.z * p.src_batch;
        let at = wid.z * p.dst_batch + (panel * p.kp + k) * quads + q;
#if VEC4
        if p.stride_e == 1u {
            dst[at] = fetch(base, e, k);
            dst[at + quads] = fetch(base, e, k + 1u);
            dst[at + 2u * quads] = fetch(base, e, k + 2u);
            dst[at + 3u * quads] = fetch(base, e, k + 3u);
        } else {
            let r0 = fetch(base, e, k);
            let r1 = fetch(base, e + 1u, k);
            let r2 = fetch(base, e + 2u, k);
            let r3 = fetch(base, e + 3u, k);
            dst[at] = vec4<f32>(r0.x, r1.x, r2.x, r3.x);
            dst[at + quads] = vec4<f32>(r0.y, r1.y, r2.y, r3.y);
            dst[at + 2u * quads] = vec4<f32>(r0.z, r1.z, r2.z, r3.z);
            dst[at + 3u * quads] = vec4<f32>(r0.w, r1.w, r2.w, r3.w);
        }
#else
        for (var j = 0u; j < 4u; j++) {
            dst[at + j * quads] = vec4<f32>(fetch(base, e, k + j), fetch(base, e + 1u, k + j),
                                            fetch(base, e + 2u, k + j), fetch(base, e + 3u, k + j));
        }
#endif
    }
}
