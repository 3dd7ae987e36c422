// Functions whose built-in forms lose precision or break for large arguments on some drivers.

// 1 / (1 + e^-x). The clamp keeps e^-x finite; beyond it the result is 0 or 1 to f32 anyway.
fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(clamp(-x, -87.0, 87.0)));
}

// tanh without the NaN that built-ins give for large |x| (SwiftShader, Metal) and without the
// cancellation of (1 - t) / (1 + t) near 0, where an odd minimax polynomial stands (Cephes
// `tanhf`, |x| < 0.625, error below 1 ulp).
fn tanh_stable(x: f32) -> f32 {
    let a = min(abs(x), 10.0);
    let t = exp(-2.0 * a);
    let large = sign(x) * (1.0 - t) / (1.0 + t);
    let z = x * x;
    let q = fma(fma(fma(fma(-5.70498872745e-3, z, 2.06390887954e-2), z, -5.37397155531e-2),
        z, 1.33314422036e-1), z, -3.33332819422e-1);
    return select(large, fma(x * z, q, x), a < 0.625);
}

// The normal distribution function by Abramowitz & Stegun 7.1.26, |error| < 7.5e-8.
fn normal_cdf(x: f32) -> f32 {
    let z = min(abs(x), 13.0) * 0.70710678118;
    let t = 1.0 / fma(0.3275911, z, 1.0);
    let q = fma(fma(fma(fma(1.061405429, t, -1.453152027), t, 1.421413741), t, -0.284496736),
        t, 0.254829592) * t;
    let tail = 0.5 * q * exp(-z * z);
    return select(tail, 1.0 - tail, x > 0.0);
}

// The normal density.
fn normal_pdf(x: f32) -> f32 {
    let a = min(abs(x), 13.0);
    return 0.3989422804 * exp(-0.5 * a * a);
}

// Exponent all ones: infinite or NaN. In bits, since compilers may assume neither occurs.
fn non_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) == 0x7f800000u;
}

// Zero for what is too small to matter. CPU drivers compute with denormal numbers many times slower,
// and gradients that vanish over a long sequence would end there.
fn flush(x: f32) -> f32 {
    return select(x, 0.0, abs(x) < 1e-30);
}
