// Activations. tanh and exp saturate long before their argument is clamped, and some drivers
// return NaN for large arguments: SwiftShader's tanh, Metal's fast exp.

fn sigmoid4(x: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(-clamp(x, vec4<f32>(-80.0), vec4<f32>(80.0))));
}

fn tanh4(x: vec4<f32>) -> vec4<f32> {
    return tanh(clamp(x, vec4<f32>(-10.0), vec4<f32>(10.0)));
}

// GELU, tanh form (Hendrycks and Gimpel 2016, section 2).
fn gelu4(x: vec4<f32>) -> vec4<f32> {
    let inner = 0.7978845608 * (x + 0.044715 * x * x * x);
    return 0.5 * x * (1.0 + tanh4(inner));
}
