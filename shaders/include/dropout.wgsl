// Factors of four neighbouring elements: 0 where dropped, p.scale elsewhere. Forward and
// backward call this with the same arguments, so the mask is never stored.
#include "random.wgsl"

fn dropout_factors(first: u32) -> vec4<f32> {
    let words = random_words(first / 4u, p.layer);
    return select(vec4<f32>(p.scale), vec4<f32>(0.0), words < vec4<u32>(p.threshold));
}
