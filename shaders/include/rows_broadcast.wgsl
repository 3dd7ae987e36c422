// Four rows of A by eight rows of a panel of B, A shared by subgroup broadcast.
//
// q holds a 4 x 8 block of A spread over eight lanes: lane 2 r holds columns 0..4 of row r,
// lane 2 r + 1 columns 4..8. So one vec4 load per lane fetches a row-major block as it lies.
#include "subgroup.wgsl"

fn block_row(lane: u32) -> u32 {
    return (lane & 7u) / 2u;
}

fn block_column(lane: u32) -> u32 {
    return (lane & 1u) * 4u;
}

fn multiply_block(q: vec4<f32>, w: array<vec4<f32>, 8>, sums: array<vec4<f32>, 4>) -> array<vec4<f32>, 4> {
    var s = sums;
    s[0] = fma(vec4<f32>(subgroupBroadcast(q.x, 0u)), w[0], s[0]);
    s[0] = fma(vec4<f32>(subgroupBroadcast(q.y, 0u)), w[1], s[0]);
    s[0] = fma(vec4<f32>(subgroupBroadcast(q.z, 0u)), w[2], s[0]);
    s[0] = fma(vec4<f32>(subgroupBroadcast(q.w, 0u)), w[3], s[0]);
    s[0] = fma(vec4<f32>(subgroupBroadcast(q.x, 1u)), w[4], s[0]);
    s[0] = fma(vec4<f32>(subgroupBroadcast(q.y, 1u)), w[5], s[0]);
    s[0] = fma(vec4<f32>(subgroupBroadcast(q.z, 1u)), w[6], s[0]);
    s[0] = fma(vec4<f32>(subgroupBroadcast(q.w, 1u)), w[7], s[0]);
    s[1] = fma(vec4<f32>(subgroupBroadcast(q.x, 2u)), w[0], s[1]);
    s[1] = fma(vec4<f32>(subgroupBroadcast(q.y, 2u)), w[1], s[1]);
    s[1] = fma(vec4<f32>(subgroupBroadcast(q.z, 2u)), w[2], s[1]);
    s[1] = fma(vec4<f32>(subgroupBroadcast(q.w, 2u)), w[3], s[1]);
    s[1] = fma(vec4<f32>(subgroupBroadcast(q.x, 3u)), w[4], s[1]);
    s[1] = fma(vec4<f32>(subgroupBroadcast(q.y, 3u)), w[5], s[1]);
    s[1] = fma(vec4<f32>(subgroupBroadcast(q.z, 3u)), w[6], s[1]);
    s[1] = fma(vec4<f32>(subgroupBroadcast(q.w, 3u)), w[7], s[1]);
    s[2] = fma(vec4<f32>(subgroupBroadcast(q.x, 4u)), w[0], s[2]);
    s[2] = fma(vec4<f32>(subgroupBroadcast(q.y, 4u)), w[1], s[2]);
    s[2] = fma(vec4<f32>(subgroupBroadcast(q.z, 4u)), w[2], s[2]);
    s[2] = fma(vec4<f32>(subgroupBroadcast(q.w, 4u)), w[3], s[2]);
    s[2] = fma(vec4<f32>(subgroupBroadcast(q.x, 5u)), w[4], s[2]);
    s[2] = fma(vec4<f32>(subgroupBroadcast(q.y, 5u)), w[5], s[2]);
    s[2] = fma(vec4<f32>(subgroupBroadcast(q.z, 5u)), w[6], s[2]);
    s[2] = fma(vec4<f32>(subgroupBroadcast(q.w, 5u)), w[7], s[2]);
    s[3] = fma(vec4<f32>(subgroupBroadcast(q.x, 6u)), w[0], s[3]);
    s[3] = fma(vec4<f32>(subgroupBroadcast(q.y, 6u)), w[1], s[3]);
    s[3] = fma(vec4<f32>(subgroupBroadcast(q.z, 6u)), w[2], s[3]);
    s[3] = fma(vec4<f32>(subgroupBroadcast(q.w, 6u)), w[3], s[3]);
    s[3] = fma(vec4<f32>(subgroupBroadcast(q.x, 7u)), w[4], s[3]);
    s[3] = fma(vec4<f32>(subgroupBroadcast(q.y, 7u)), w[5], s[3]);
    s[3] = fma(vec4<f32>(subgroupBroadcast(q.z, 7u)), w[6], s[3]);
    s[3] = fma(vec4<f32>(subgroupBroadcast(q.w, 7u)), w[7], s[3]);
    return s;
}
