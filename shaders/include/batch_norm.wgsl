// What the kernels of batch normalisation share. RUNNING: `spread` holds variances; else it holds 1 /
// sqrt(variance + eps). Names p (a Params with eps).
#include "stored.wgsl"
fn rstd_of(spread: Real) -> Real {
#if RUNNING
    return 1.0 / sqrt(spread + p.eps);
#else
    return spread;
#endif
}
