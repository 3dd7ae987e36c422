// Numbers of pixels, as many to an element as Real has values.
#if VEC4
alias Index = vec4<u32>;
#else
alias Index = u32;
#endif
