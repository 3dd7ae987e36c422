// Real in half the bytes, for memory alone: load by Real(x[i]), store by Half(v). What f16 cannot
// hold becomes infinite.
#if VEC4
alias Half = vec4<f16>;
#else
alias Half = f16;
#endif
