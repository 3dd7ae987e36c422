// Real in half the bytes, for memory alone: load with Real(x[i]), store with Half(v). Values beyond
// the range of f16 become infinite.
#if VEC4
alias Half = vec4<f16>;
#else
alias Half = f16;
#endif
