// Bindings and epilogue of what a product writes.
@group(0) @binding(3) var<storage, read> bias: array<f32>; // (n) f32, any buffer if has_bias = 0
@group(0) @binding(4) var<storage, read_write> c: array<Out>; // (batch, m, ldc) f32 or f16; VEC4: n % 4 = 0
#include "matmul_store.wgsl"
