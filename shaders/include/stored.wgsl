// How activations and their gradients lie in memory: as Real, or with F16 in half the bytes. Load with
// Real(x[i]), store with Stored(v); arithmetic is always in f32.
#include "real.wgsl"
#if F16
#include "half.wgsl"
alias Stored = Half;
#else
alias Stored = Real;
#endif
