// The update for kernels whose invocations make blocks of C by themselves.
#include "low_rank.wgsl"

// V at four of the rank, four columns.
struct Up {
    r0: vec4<f32>,
    r1: vec4<f32>,
    r2: vec4<f32>,
    r3: vec4<f32>,
}

fn up_block(r: u32, col: u32) -> Up {
    return Up(up_at(r, col), up_at(r + 1u, col), up_at(r + 2u, col), up_at(r + 3u, col));
}

// U at a row and four of the rank.
fn low_block(row: u32, r: u32) -> vec4<f32> {
    return vec4<f32>(low_at(row, r), low_at(row, r + 1u), low_at(row, r + 2u), low_at(row, r + 3u));
}

// What four of the rank add to four columns of a row.
fn update_block(row: u32, col: u32, u: vec4<f32>, v: Up) -> vec4<f32> {
    let product = fma(vec4<f32>(u.w), v.r3, fma(vec4<f32>(u.z), v.r2, fma(vec4<f32>(u.y), v.r1, u.x * v.r0)));
    return update_of(row, col, product);
}

// The whole update of four columns of a row.
fn update_at(row: u32, col: u32) -> vec4<f32> {
    var sum = vec4<f32>(0.0);
    for (var r = 0u; r < p.rank; r += 4u) {
        sum += update_block(row, col, low_block(row, r), up_block(r, col));
    }
    return sum;
}
