// Factors of four neighbouring elements: 0 where dropped, p.scale elsewhere. Forward and
// backward call this with the same arguments, so the mask is never stored.
#include "random.wgsl"

fn dropout_factors(first: u32) -> vec4<f32> {
    var factors = vec4<f32>();
#if PATTERN
    // Elements map onto mask cells: the words of a cell's block serve neighbours too.
    var block = 0u;
    var words = vec4<u32>(0u);
    for (var k = 0u; k < 4u; k++) {
        let cell = ((first + k) / p.row) % p.period;
        if k == 0u || cell / 4u != block {
            block = cell / 4u;
            words = random_words(block, p.layer);
        }
        factors[k] = select(p.scale, 0.0, words[cell % 4u] < p.threshold);
    }
#else
    let words = random_words(first / 4u, p.layer);
    factors = select(vec4<f32>(p.scale), vec4<f32>(0.0), words < vec4<u32>(p.threshold));
#endif
    return factors;
}
