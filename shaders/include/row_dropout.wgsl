// Dropout's factor of one element: 0 where dropped, p.scale elsewhere; the mask of
// dropout.wgsl. After stored.wgsl.
#include "random.wgsl"

fn dropout_factor(e: u32) -> Real {
#if VEC4
    return select(vec4<f32>(p.scale), vec4<f32>(0.0), random_words(e, p.layer) < vec4<u32>(p.threshold));
#else
    return select(p.scale, 0.0, random_words(e / 4u, p.layer)[e % 4u] < p.threshold);
#endif
}
