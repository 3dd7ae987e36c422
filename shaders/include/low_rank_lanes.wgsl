// The update for kernels whose lanes make columns of the same rows: each loads U at one of the rank, and they
// share it by broadcast.
#include "low_rank.wgsl"

// V at eight of the rank, four columns.
fn up_eight(r: u32, col: u32) -> array<vec4<f32>, 8> {
    return array<vec4<f32>, 8>(
        up_at(r, col), up_at(r + 1u, col), up_at(r + 2u, col), up_at(r + 3u, col),
        up_at(r + 4u, col), up_at(r + 5u, col), up_at(r + 6u, col), up_at(r + 7u, col),
    );
}

// U at a row and eight of the rank, of which each lane holds one.
fn low_eight(own: f32) -> array<f32, 8> {
    return array<f32, 8>(
        subgroupBroadcast(own, 0u), subgroupBroadcast(own, 1u), subgroupBroadcast(own, 2u), subgroupBroadcast(own, 3u),
        subgroupBroadcast(own, 4u), subgroupBroadcast(own, 5u), subgroupBroadcast(own, 6u), subgroupBroadcast(own, 7u),
    );
}

// What eight of the rank add to four columns of a row.
fn update_eight(row: u32, col: u32, u: array<f32, 8>, v: array<vec4<f32>, 8>) -> vec4<f32> {
    var product = u[0] * v[0];
    product = fma(vec4<f32>(u[1]), v[1], product);
    product = fma(vec4<f32>(u[2]), v[2], product);
    product = fma(vec4<f32>(u[3]), v[3], product);
    product = fma(vec4<f32>(u[4]), v[4], product);
    product = fma(vec4<f32>(u[5]), v[5], product);
    product = fma(vec4<f32>(u[6]), v[6], product);
    product = fma(vec4<f32>(u[7]), v[7], product);
    return update_of(row, col, product);
}
