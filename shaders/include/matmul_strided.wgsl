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

@group(0) @binding(1) var<storage, read> a: array<Left>; // (batch, m, k) f32 or f16 by strides
@group(0) @binding(2) var<storage, read> b: array<Right>; // (batch, k, n) f32 or f16 by strides
#include "matmul_out.wgsl"
