// What the loss was multiplied by before its gradients were computed; 8 bytes. grad_norm_finish moves it.
struct LossScale {
    scale: f32, // a power of two, so that scaling rounds nothing; 1 without f16
    good: f32,  // steps since it last changed, a whole number
}
