// Packs one operand of a matrix product into panels, two floats at a time.
//
//   dst[batch][panel][k][w] = src[batch][panel * width + w, k], zero beyond extent and k
//
// As matmul_pack, for drivers whose loads and stores cost by element and lane, as on a CPU, and
// for operands whose contiguous axis, other stride and batches are multiples of 8.
// Source: Goto and van de Geijn 2008, section 4.
// Dispatch: ceil(panels * kp / 8 * width / 8 / 64) workgroups of 64, folded, times batch in z;
// one invocation moves a block of 8 x 8.
// Passes: 1. Numerics: exact. Limits: 64-bit integers; 2 storage buffers.
#include "linear.wgsl"
#include "matmul_pack_params.wgsl"

@group(0) @binding(1) var<storage, read> src: array<vec4<u64>>; // (batch, extent, k) or (batch, k, extent) f32
@group(0) @binding(2) var<storage, read_write> dst: array<vec4<u64>>; // (batch, panels, kp, width) f32

const HALF: vec4<u32> = vec4<u32>(32u);
const LOW: vec4<u64> = vec4<u64>(0xfffffffflu);

// Eight values along the contiguous axis, whose extent is a multiple of 8: all or none exist.
fn fetch(base: u32, e: u32, k: u32) -> vec4<u64> {
    let at = base + min(e, p.extent - 1u) * p.stride_e + min(k, p.k - 1u) * p.stride_k;
    return select(vec4<u64>(0lu), src[at / 8u], e < p.extent && k < p.k);
}

@compute @workgroup_size(64)
fn matmul_pack_wide(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 64u + lid;
    let eights = p.width / 8u;
    let q = i % eights;
    let block = (i / eights) % (p.kp / 8u);
    let panel = i / (eights * (p.kp / 8u));
    if panel < p.panels {
        let e = panel * p.width + 8u * q;
        let k = 8u * block;
        let base = wid.z * p.src_batch;
        let at = wid.z * (p.dst_batch / 2u) + (panel * p.kp + k) * eights + q;
        if p.stride_e == 1u {
            dst[at] = fetch(base, e, k);
            dst[at + eights] = fetch(base, e, k + 1u);
            dst[at + 2u * eights] = fetch(base, e, k + 2u);
            dst[at + 3u * eights] = fetch(base, e, k + 3u);
            dst[at + 4u * eights] = fetch(base, e, k + 4u);
            dst[at + 5u * eights] = fetch(base, e, k + 5u);
            dst[at + 6u * eights] = fetch(base, e, k + 6u);
            dst[at + 7u * eights] = fetch(base, e, k + 7u);
        } else {
            let r0 = fetch(base, e, k);
            let r1 = fetch(base, e + 1u, k);
            let r2 = fetch(base, e + 2u, k);
            let r3 = fetch(base, e + 3u, k);
            let r4 = fetch(base, e + 4u, k);
            let r5 = fetch(base, e + 5u, k);
            let r6 = fetch(base, e + 6u, k);
            let r7 = fetch(base, e + 7u, k);
            // Neighbours of one even k, and of the odd one behind it.
            let a0 = (r0 & LOW) | (r1 << HALF);
            let a1 = (r0 >> HALF) | (r1 & ~LOW);
            let b0 = (r2 & LOW) | (r3 << HALF);
            let b1 = (r2 >> HALF) | (r3 & ~LOW);
            let c0 = (r4 & LOW) | (r5 << HALF);
            let c1 = (r4 >> HALF) | (r5 & ~LOW);
            let d0 = (r6 & LOW) | (r7 << HALF);
            let d1 = (r6 >> HALF) | (r7 & ~LOW);
            dst[at] = vec4<u64>(a0.x, b0.x, c0.x, d0.x);
            dst[at + eights] = vec4<u64>(a1.x, b1.x, c1.x, d1.x);
            dst[at + 2u * eights] = vec4<u64>(a0.y, b0.y, c0.y, d0.y);
            dst[at + 3u * eights] = vec4<u64>(a1.y, b1.y, c1.y, d1.y);
            dst[at + 4u * eights] = vec4<u64>(a0.z, b0.z, c0.z, d0.z);
            dst[at + 5u * eights] = vec4<u64>(a1.z, b1.z, c1.z, d1.z);
            dst[at + 6u * eights] = vec4<u64>(a0.w, b0.w, c0.w, d0.w);
            dst[at + 7u * eights] = vec4<u64>(a1.w, b1.w, c1.w, d1.w);
        }
    }
}
