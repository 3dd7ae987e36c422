// What the loss is multiplied by before its gradients are computed: 8 bytes, adjusted by
// grad_norm_finish.
struct LossScale {
    scale: f32, // a power of two, so that scaling rounds nothing; 1 without f16
    good: f32,  // steps since it last changed, a whole number
}
