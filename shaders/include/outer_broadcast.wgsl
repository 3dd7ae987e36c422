// Products of lanes that own four rows each with blocks that the subgroup shares by broadcast;
// blocks as in rows_broadcast.wgsl.
#include "rows_broadcast.wgsl"

// Four rows transposed; in registers this is only a renaming.
fn turned(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> array<vec4<f32>, 4> {
    return array<vec4<f32>, 4>(vec4<f32>(a.x, b.x, c.x, d.x), vec4<f32>(a.y, b.y, c.y, d.y),
        vec4<f32>(a.z, b.z, c.z, d.z), vec4<f32>(a.w, b.w, c.w, d.w));
}

// Scores of four own rows against the eight rows of two blocks, over eight columns: `lo` and `hi`
// are the own rows, turned.
fn add_scores(x: vec4<f32>, y: vec4<f32>, lo: array<vec4<f32>, 4>, hi: array<vec4<f32>, 4>, sums: array<vec4<f32>, 8>) -> array<vec4<f32>, 8> {
    let w = array<vec4<f32>, 8>(lo[0], lo[1], lo[2], lo[3], hi[0], hi[1], hi[2], hi[3]);
    let a = multiply_block(x, w, array<vec4<f32>, 4>(sums[0], sums[1], sums[2], sums[3]));
    let b = multiply_block(y, w, array<vec4<f32>, 4>(sums[4], sums[5], sums[6], sums[7]));
    return array<vec4<f32>, 8>(a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]);
}

// sum + column . f over the eight rows of two blocks, for a column of their left halves.
fn left(x: f32, y: f32, f: array<vec4<f32>, 8>, sum: vec4<f32>) -> vec4<f32> {
    var s = fma(vec4<f32>(subgroupBroadcast(x, 0u)), f[0], sum);
    s = fma(vec4<f32>(subgroupBroadcast(x, 2u)), f[1], s);
    s = fma(vec4<f32>(subgroupBroadcast(x, 4u)), f[2], s);
    s = fma(vec4<f32>(subgroupBroadcast(x, 6u)), f[3], s);
    s = fma(vec4<f32>(subgroupBroadcast(y, 0u)), f[4], s);
    s = fma(vec4<f32>(subgroupBroadcast(y, 2u)), f[5], s);
    s = fma(vec4<f32>(subgroupBroadcast(y, 4u)), f[6], s);
    return fma(vec4<f32>(subgroupBroadcast(y, 6u)), f[7], s);
}

// The same for their right halves.
fn right(x: f32, y: f32, f: array<vec4<f32>, 8>, sum: vec4<f32>) -> vec4<f32> {
    var s = fma(vec4<f32>(subgroupBroadcast(x, 1u)), f[0], sum);
    s = fma(vec4<f32>(subgroupBroadcast(x, 3u)), f[1], s);
    s = fma(vec4<f32>(subgroupBroadcast(x, 5u)), f[2], s);
    s = fma(vec4<f32>(subgroupBroadcast(x, 7u)), f[3], s);
    s = fma(vec4<f32>(subgroupBroadcast(y, 1u)), f[4], s);
    s = fma(vec4<f32>(subgroupBroadcast(y, 3u)), f[5], s);
    s = fma(vec4<f32>(subgroupBroadcast(y, 5u)), f[6], s);
    return fma(vec4<f32>(subgroupBroadcast(y, 7u)), f[7], s);
}

// Adds to sums each of the eight columns of two blocks times f.
fn add_outer(x: vec4<f32>, y: vec4<f32>, f: array<vec4<f32>, 8>, sums: array<vec4<f32>, 8>) -> array<vec4<f32>, 8> {
    return array<vec4<f32>, 8>(
        left(x.x, y.x, f, sums[0]), left(x.y, y.y, f, sums[1]),
        left(x.z, y.z, f, sums[2]), left(x.w, y.w, f, sums[3]),
        right(x.x, y.x, f, sums[4]), right(x.y, y.y, f, sums[5]),
        right(x.z, y.z, f, sums[6]), right(x.w, y.w, f, sums[7]));
}

// Four columns of one of the four rows.
fn row_of(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, i: u32) -> vec4<f32> {
    return vec4<f32>(a[i], b[i], c[i], d[i]);
}
