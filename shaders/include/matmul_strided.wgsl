// Bindings of the products that read both operands as they lie, and the epilogue.
#include "matmul_params.wgsl"

#if A16
alias Left = f16;
#else
alias Left = f32;
#endif
#if B16
alias Right = f16;
#else
alias Right = f32;
#endif

@group(0) @binding(1) var<storage, read> a: array<Left>; // (batch, m, k) by strides: left operand
@group(0) @binding(2) var<storage, read> b: array<Right>; // (batch, k, n) by strides: right operand
#include "matmul_out.wgsl"
