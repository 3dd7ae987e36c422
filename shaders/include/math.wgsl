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

// The standard normal's density and distribution function.
//
// The tail, Phi(-a) = e^(-a^2/2) M(a) with M(a) = erfcx(a / sqrt 2) / 2, is as exact relative to
// itself as exp is, so that x Phi(x) does not cancel for x < 0 as 1 + erf would. M is 1/2 plus a
// polynomial in s = (a/4) / (1 + a/4), minimax over 0 <= a <= 13: error below 6.2e-8 of M for
// a < 1, below 1.3e-6 of it at the end, where e^(-a^2/2) is 2e-37.
fn normal(x: f32) -> vec2<f32> {
    let a = min(abs(x), 13.0);
    let s = 0.25 * a / fma(0.25, a, 1.0);
    let q = fma(fma(fma(fma(fma(fma(fma(9.705330648e-2, s, -3.112629373e-1), s, 1.502169945e-1),
        s, 8.609312292e-1), s, -2.105118100), s, 2.404148128), s, -1.595767790), s, 0.5);
    let e = exp(-0.5 * a * a);
    let tail = e * q;
    return vec2<f32>(0.3989422804 * e, select(tail, 1.0 - tail, x > 0.0));
}

// Whether the exponent is all ones: infinite or NaN. Tested on the bits, since compilers may assume
// that neither occurs.
fn non_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) == 0x7f800000u;
}

// Zero for what is too small to matter. CPU drivers are many times slower on denormal numbers,
// which is where gradients that vanish over a long sequence would end up.
fn flush(x: f32) -> f32 {
    return select(x, 0.0, abs(x) < 1e-30);
}
