// What clipping found, written by grad_norm_finish and read by the optimisers: 16 bytes.
struct GradState {
    factor: f32,  // gradients are multiplied by this: clipping over loss scale
    norm: f32,    // norm before clipping, without the loss scale
    finite: u32,  // 0: some gradient is infinite or NaN, the step is left out
    skipped: u32, // steps left out so far
}
