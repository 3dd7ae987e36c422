// One element of a buffer: with VEC4 four neighbouring f32, and sizes count such elements. Wide loads
// and stores help most where each lane's access is a scalar one (CPU drivers: 3 to 4 x).
#if VEC4
alias Real = vec4<f32>;
#else
alias Real = f32;
#endif
