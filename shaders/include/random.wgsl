// Random words of the current forward pass. Needs a StepState named `state`.
#include "philox.wgsl"
#include "step_state.wgsl"

// Four words for `block` of `layer`; each layer has its own stream.
fn random_words(block: u32, layer: u32) -> vec4<u32> {
    let counter = vec4<u32>(block, layer, state.draw, 0u);
    return philox(counter, vec2<u32>(state.seed_lo, state.seed_hi));
}
