// Losses of one number against its target, and their derivatives.
#const OP: u32 // which loss: 0 binary cross entropy of logits, 1 squared error

fn target_loss(z: f32, t: f32) -> f32 {
    if OP == 1u {
        return (z - t) * (z - t);
    }
    // ln(1 + e) by its series where 1 + e would drop the digits of e; the next term is e^3 / 4.
    let e = exp(-min(abs(z), 87.0));
    let small = e * fma(e, fma(e, 0.33333333, -0.5), 1.0);
    return fma(-z, t, max(z, 0.0)) + select(log(1.0 + e), small, e < 0.0078125);
}

fn target_loss_slope(z: f32, t: f32) -> f32 {
    if OP == 1u {
        return 2.0 * (z - t);
    }
    return sigmoid(z) - t;
}
