// What matmul_image loads, and its sums. Names its images a and b, FOLD_A and FOLD_B.

// Four columns at four steps of k.
struct Block {
    k0: vec4<f32>,
    k1: vec4<f32>,
    k2: vec4<f32>,
    k3: vec4<f32>,
}

// Texel x of a line of the matrix or panel that begins at layer `base`.
fn texel_a(x: u32, line: u32, base: u32) -> vec4<f32> {
    return textureLoad(a, vec2<u32>(x, line / FOLD_A), base + line % FOLD_A);
}

fn texel_b(x: u32, line: u32, base: u32) -> vec4<f32> {
    return textureLoad(b, vec2<u32>(x, line / FOLD_B), base + line % FOLD_B);
}

// Columns col .. col + 4 at k .. k + 4 of the batch that begins at layer `base`.
fn block(base: u32, k: u32, col: u32) -> Block {
#if TRANS_B
    let c0 = texel_b(k / 4u, col, base);
    let c1 = texel_b(k / 4u, col + 1u, base);
    let c2 = texel_b(k / 4u, col + 2u, base);
    let c3 = texel_b(k / 4u, col + 3u, base);
    return Block(
        vec4<f32>(c0.x, c1.x, c2.x, c3.x),
        vec4<f32>(c0.y, c1.y, c2.y, c3.y),
        vec4<f32>(c0.z, c1.z, c2.z, c3.z),
        vec4<f32>(c0.w, c1.w, c2.w, c3.w),
    );
#else
    let x = (col & 63u) / 4u;
    let layer = base + col / 64u * FOLD_B;
    return Block(
        texel_b(x, k, layer),
        texel_b(x, k + 1u, layer),
        texel_b(x, k + 2u, layer),
        texel_b(x, k + 3u, layer),
    );
#endif
}

#if PICTURE_B
#include "picture_product.wgsl"
#include "picture_lanes.wgsl"
#endif

// The sums of one row: columns of the near and of the far block.
struct Sums {
    near: vec4<f32>,
    far: vec4<f32>,
}

fn madd(sums: Sums, x: f32, near: vec4<f32>, far: vec4<f32>) -> Sums {
    let v = vec4<f32>(x);
    return Sums(fma(v, near, sums.near), fma(v, far, sums.far));
}

#if TRANS_A
// A row at four steps of k, which lanes 0 to 3 hold.
fn four_low(sums: Sums, x: f32, near: Block, far: Block) -> Sums {
    var s = madd(sums, subgroupBroadcast(x, 0u), near.k0, far.k0);
    s = madd(s, subgroupBroadcast(x, 1u), near.k1, far.k1);
    s = madd(s, subgroupBroadcast(x, 2u), near.k2, far.k2);
    return madd(s, subgroupBroadcast(x, 3u), near.k3, far.k3);
}

// The same, in lanes 4 to 7.
fn four_high(sums: Sums, x: f32, near: Block, far: Block) -> Sums {
    var s = madd(sums, subgroupBroadcast(x, 4u), near.k0, far.k0);
    s = madd(s, subgroupBroadcast(x, 5u), near.k1, far.k1);
    s = madd(s, subgroupBroadcast(x, 6u), near.k2, far.k2);
    return madd(s, subgroupBroadcast(x, 7u), near.k3, far.k3);
}
#endif
