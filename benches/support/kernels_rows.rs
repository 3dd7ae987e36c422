//! Layer normalisation and GELU at BERT-base's sizes.

use melos::Result;
use melos::device::{Gpu, Groups};
use melos::kernels::Variant;
use melos::ops::{self, Unary};
use melos::tensor::{DType, Tape, Tensor};

use super::{Case, Work, check, sampled, tensor};

const ROWS: usize = 2048;
const WIDTH: usize = 768;
const EPS: f32 = 1e-12;

/// (mean, 1 / standard deviation) of a row.
fn moments(row: &[f32]) -> (f64, f64) {
    let count = row.len() as f64;
    let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let squares = row.iter().map(|&v| (f64::from(v) - mean).powi(2));
    (
        mean,
        1.0 / (squares.sum::<f64>() / count + f64::from(EPS)).sqrt(),
    )
}

/// LN(x + residual).
pub fn layer_norm_fwd(gpu: &Gpu) -> Result<Case> {
    let (x, host) = tensor(gpu, &[ROWS, WIDTH], 1)?;
    let (residual, residual_host) = tensor(gpu, &[ROWS, WIDTH], 2)?;
    let (gamma, g) = tensor(gpu, &[WIDTH], 3)?;
    let (beta, b) = tensor(gpu, &[WIDTH], 4)?;
    let gpu = gpu.clone();
    let run = move || {
        let tape = Tape::inference(&gpu);
        ops::layer_norm(&tape, &x, Some(&residual), &gamma, &beta, EPS)
    };
    let got = run()?.y.to_vec::<f32>()?;
    let pairs = host.iter().zip(&residual_host);
    let sum: Vec<f32> = pairs.map(|(a, b)| a + b).collect();
    for at in sampled(got.len()) {
        let (mean, rstd) = moments(&sum[at / WIDTH * WIDTH..][..WIDTH]);
        let c = at % WIDTH;
        let want = (f64::from(sum[at]) - mean) * rstd * f64::from(g[c]) + f64::from(b[c]);
        check("layer_norm_fwd", got[at], want, 4.0);
    }
    // Two arrays read, two written.
    Ok(Case {
        work: Work::Bytes((4 * 4 * ROWS * WIDTH) as f64),
        run: Box::new(move || run().map(drop)),
    })
}

/// The rows' gradient, once, and the partial sums of the weights'.
pub fn layer_norm_bwd(gpu: &Gpu) -> Result<Case> {
    let (sum, host) = tensor(gpu, &[ROWS, WIDTH], 1)?;
    let (dy, dy_host) = tensor(gpu, &[ROWS, WIDTH], 2)?;
    let (gamma, g) = tensor(gpu, &[WIDTH], 3)?;
    let moments: Vec<(f64, f64)> = host.chunks(WIDTH).map(moments).collect();
    let flat: Vec<f32> = moments
        .iter()
        .flat_map(|(mean, rstd)| [*mean as f32, *rstd as f32])
        .collect();
    let stats = Tensor::from_slice(gpu, [ROWS, 2], &flat)?;
    let splits = ROWS / 32;
    let dx = Tensor::empty(gpu, [ROWS, WIDTH], DType::F32)?;
    let [dgamma, dbeta] = [0; 2].map(|_| Tensor::empty(gpu, [splits, WIDTH], DType::F32));
    let (dgamma, dbeta) = (dgamma?, dbeta?);
    let lanes = if gpu.caps().is_cpu { 8 } else { 32u32 };
    let variant = Variant::new().with("VEC4", true);
    let by_weights = gpu.kernel("layer_norm_bwd_weights", &variant)?;
    let by_rows = gpu.kernel("layer_norm_bwd", &variant.with("LANES", lanes))?;
    let (gpu, out, out_gamma) = (gpu.clone(), dx.clone(), dgamma.clone());
    let run = move || {
        let bindings = [&dy, &sum, &stats, &dgamma, &dbeta].map(Tensor::binding);
        let width = WIDTH as u32 / 4;
        let grid = [width.div_ceil(64), splits as u32, 1];
        let params = [ROWS as u32, width, 32];
        gpu.dispatch(&by_weights, &params, &bindings, Groups::Grid(grid))?;
        let bindings = [&dy, &sum, &stats, &gamma, &dx].map(Tensor::binding);
        let params = [ROWS as u32, WIDTH as u32, 0, 0, 0, 0, 0];
        let groups = Groups::cover(ROWS * lanes as usize, 64);
        gpu.dispatch(&by_rows, &params, &bindings, groups)
    };
    run()?;
    let (got, got_gamma) = (out.to_vec::<f32>()?, out_gamma.to_vec::<f32>()?);
    let n = |at: usize| {
        let (mean, rstd) = moments[at / WIDTH];
        (f64::from(host[at]) - mean) * rstd
    };
    for at in sampled(got.len()) {
        let (row, c) = (at / WIDTH * WIDTH, at % WIDTH);
        let d = |c: usize| f64::from(dy_host[row + c]) * f64::from(g[c]);
        let mean = |f: &dyn Fn(usize) -> f64| (0..WIDTH).map(f).sum::<f64>() / WIDTH as f64;
        let want = d(c) - mean(&d) - n(at) * mean(&|c| d(c) * n(row + c));
        check("layer_norm_bwd", got[at], want * moments[at / WIDTH].1, 4.0);
        let first = row / WIDTH / 32 * 32;
        let rows = (first..first + 32).map(|r| r * WIDTH + c);
        let want: f64 = rows.map(|at| f64::from(dy_host[at]) * n(at)).sum();
        let got = got_gamma[first / 32 * WIDTH + c];
        check("layer_norm_bwd_weights", got, want, 32.0);
    }
    // Two arrays read by each of two kernels, one written.
    Ok(Case {
        work: Work::Bytes((5 * 4 * ROWS * WIDTH) as f64),
        run: Box::new(run),
    })
}

/// Density and distribution function, by a series that converges fast for |x| < 1.
fn normal(x: f64) -> (f64, f64) {
    let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    let (mut term, mut sum) = (x, x);
    for k in 1..20 {
        term *= x * x / f64::from(2 * k + 1);
        sum += term;
    }
    (density, 0.5 + density * sum)
}

/// GELU of 2,048 rows of an inner layer of 3,072, `form` either of the two.
pub fn gelu(gpu: &Gpu, form: Unary) -> Result<Case> {
    let len = ROWS * 4 * WIDTH;
    let (x, host) = tensor(gpu, &[len], 1)?;
    let gpu = gpu.clone();
    let run = move || ops::unary(&Tape::inference(&gpu), &x, form);
    let got = run()?.to_vec::<f32>()?;
    for at in sampled(len) {
        let x = f64::from(host[at]);
        let (_, below) = normal(x);
        // Between -1 and 1 the two forms differ by less than 5e-4.
        let scale = if form == Unary::Gelu { 1.0 } else { 100.0 };
        check("gelu", got[at], x * below, scale);
    }
    Ok(Case {
        work: Work::Bytes((2 * 4 * len) as f64),
        run: Box::new(move || run().map(drop)),
    })
}

/// The erf form's gradient.
pub fn gelu_bwd(gpu: &Gpu) -> Result<Case> {
    let len = ROWS * 4 * WIDTH;
    let (x, host) = tensor(gpu, &[len], 1)?;
    let (dy, dy_host) = tensor(gpu, &[len], 2)?;
    let dx = Tensor::empty(gpu, [len], DType::F32)?;
    let variant = Variant::new().with("OP", 4).with("VEC4", true);
    let kernel = gpu.kernel("unary_bwd", &variant)?;
    let (gpu, out) = (gpu.clone(), dx.clone());
    let run = move || {
        let bindings = [&x, &dy, &dx].map(Tensor::binding);
        let params = [len as u32 / 4, 0, 0];
        gpu.dispatch(&kernel, &params, &bindings, Groups::cover(len / 4, 256))
    };
    run()?;
    let got = out.to_vec::<f32>()?;
    for at in sampled(len) {
        let x = f64::from(host[at]);
        let (density, below) = normal(x);
        let want = f64::from(dy_host[at]) * (below + x * density);
        check("gelu_bwd", got[at], want, 1.0);
    }
    Ok(Case {
        work: Work::Bytes((3 * 4 * len) as f64),
        run: Box::new(run),
    })
}
