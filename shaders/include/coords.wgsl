// Index arithmetic of up to four axes, outermost first.

// Coordinates of row-major element `i`.
fn coords(i: u32, shape: vec4<u32>) -> vec4<u32> {
    let z = i / shape.w;
    let y = z / shape.z;
    return vec4<u32>(y / shape.y, y % shape.y, z % shape.z, i % shape.w);
}

// Element at `at` of an array with these strides; stride 0 repeats an axis.
fn strided(at: vec4<u32>, stride: vec4<u32>) -> u32 {
    return at.x * stride.x + at.y * stride.y + at.z * stride.z + at.w * stride.w;
}
