// Bindings and epilogue for the result of a product.
@group(0) @binding(3) var<storage, read> bias: array<f32>; // (n): added to every row; any buffer if has_bias = 0
@group(0) @binding(4) var<storage, read_write> c: array<Out>; // (batch, m, ldc): the product; TRANS_C: (batch, n, ldc)
#include "matmul_store.wgsl"
