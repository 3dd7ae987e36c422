//! Kernels and layers one by one, each checked against a plain f64 result on the host when it is built:
//! `cargo bench --bench kernels` times them, `tests/benches.rs` builds them.

#[path = "kernels_layers.rs"]
mod layers;
#[path = "kernels_pictures.rs"]
mod pictures;
#[path = "kernels_rows.rs"]
mod rows;
#[path = "values.rs"]
mod values;

use melos::Result;
use melos::device::{Gpu, Groups};
use melos::kernels::Variant;
use melos::ops::matmul::{Product, product};
use melos::ops::{self, Unary};
use melos::tensor::{DType, Tape, Tensor};
use values::noise;

/// What a case is measured by.
#[derive(Clone, Copy)]
pub enum Work {
    Flops(f64),
    Bytes(f64),
}

/// Something to time: already checked.
pub struct Case {
    pub work: Work,
    pub run: Box<dyn Fn() -> Result<()>>,
}

fn tensor(gpu: &Gpu, shape: &[usize], seed: u32) -> Result<(Tensor, Vec<f32>)> {
    let values = noise(shape.iter().product(), seed, 1.0);
    Ok((Tensor::from_slice(gpu, shape, &values)?, values))
}

/// Fails loudly: a wrong result is not worth timing. `scale` bounds the sum of magnitudes.
fn check(what: &str, got: f32, want: f64, scale: f64) {
    // Some 64 units in the last place of the largest partial sum.
    let limit = 64.0 * f64::from(f32::EPSILON) * scale.max(1.0);
    let error = (f64::from(got) - want).abs();
    assert!(error <= limit, "{what}: {got} should be {want}");
}

/// Indices spread over `0..len`.
fn sampled(len: usize) -> impl Iterator<Item = usize> {
    (0..64).map(move |i| (i * 7919 + 13 * i * i) % len)
}

/// Operands in `dtype`, sums and the result in f32.
fn matmul(gpu: &Gpu, [m, n, k]: [usize; 3], [ta, tb]: [bool; 2], dtype: DType) -> Result<Case> {
    let operand = |[rows, columns]: [usize; 2], swap: bool, seed| -> Result<(Tensor, Vec<f32>)> {
        let shape = if swap {
            [columns, rows]
        } else {
            [rows, columns]
        };
        let values = noise(rows * columns, seed, 1.0);
        let tensor = Tensor::empty(gpu, shape, dtype)?;
        tensor.write_rounded(&values)?;
        let host = tensor.to_f32_vec()?;
        Ok((tensor, host))
    };
    let (a, a_host) = operand([m, k], ta, 1)?;
    let (b, b_host) = operand([k, n], tb, 2)?;
    let c = Tensor::empty(gpu, [m, n], DType::F32)?;
    let run = move || {
        product(&Product {
            trans_a: ta,
            trans_b: tb,
            ..Product::new(&a, &b, &c)
        })?;
        Ok(c.clone())
    };
    let got = run()?.to_vec::<f32>()?;
    for at in sampled(m * n) {
        let (i, j) = (at / n, at % n);
        let x = |l| a_host[if ta { l * m + i } else { i * k + l }];
        let y = |l| b_host[if tb { j * k + l } else { l * n + j }];
        let want: f64 = (0..k).map(|l| f64::from(x(l)) * f64::from(y(l))).sum();
        check("matmul", got[at], want, (k as f64).sqrt());
    }
    Ok(Case {
        work: Work::Flops(2.0 * (m * n * k) as f64),
        run: Box::new(move || run().map(drop)),
    })
}

/// 512 rows of V = 10,000 with gradients in place. Repeated runs see each other's gradients as
/// logits, which costs the same.
fn softmax(gpu: &Gpu) -> Result<Case> {
    let (rows, vocab) = (512, 10_000);
    let (logits, host) = tensor(gpu, &[rows, vocab], 1)?;
    let classes: Vec<u32> = (0..rows as u32).map(|r| r * 19 % vocab as u32).collect();
    let targets = Tensor::from_slice(gpu, [rows], &classes)?;
    let weights = Tensor::from_slice(gpu, [rows], &vec![1.0f32; rows])?;
    let losses = Tensor::empty(gpu, [rows], DType::F32)?;
    let kernel = gpu.kernel(
        "softmax_xent",
        &Variant::new().with("GRAD", true).with("VEC4", true),
    )?;
    let (gpu, out, z) = (gpu.clone(), losses.clone(), logits.clone());
    let run = move || {
        let bindings = [&targets, &weights, &z, &losses].map(Tensor::binding);
        let params = [rows as u32, vocab as u32, 0, 0, vocab as u32];
        gpu.dispatch(&kernel, &params, &bindings, Groups::Linear(rows as u64))
    };
    run()?;
    let (loss, gradient) = (out.to_vec::<f32>()?, logits.to_vec::<f32>()?);
    for r in [0, 1, rows / 2, rows - 1] {
        let z = &host[r * vocab..(r + 1) * vocab];
        let sum: f64 = z.iter().map(|&v| f64::from(v).exp()).sum();
        let hit = classes[r] as usize;
        check(
            "softmax_xent",
            loss[r],
            sum.ln() - f64::from(z[hit]),
            sum.ln(),
        );
        let want = f64::from(z[hit]).exp() / sum - 1.0;
        check("softmax_xent", gradient[r * vocab + hit], want, 1.0);
    }
    // Read twice, written once.
    Ok(Case {
        work: Work::Bytes((3 * 4 * rows * vocab) as f64),
        run: Box::new(run),
    })
}

/// y = a + b of 8 M values each.
fn binary(gpu: &Gpu) -> Result<Case> {
    let len = 8 << 20;
    let ((a, a_host), (b, b_host)) = (tensor(gpu, &[len], 1)?, tensor(gpu, &[len], 2)?);
    let gpu = gpu.clone();
    let run = move || ops::add(&Tape::inference(&gpu), &a, &b);
    let got = run()?.to_vec::<f32>()?;
    for at in sampled(len) {
        let want = f64::from(a_host[at]) + f64::from(b_host[at]);
        check("binary_fwd", got[at], want, 1.0);
    }
    Ok(Case {
        work: Work::Bytes((3 * 4 * len) as f64),
        run: Box::new(move || run().map(drop)),
    })
}

/// y += x of 8 M values.
fn axpy(gpu: &Gpu) -> Result<Case> {
    let len = 8 << 20;
    let ((x, x_host), (y, y_host)) = (tensor(gpu, &[len], 1)?, tensor(gpu, &[len], 2)?);
    let kernel = gpu.kernel("axpy", &Variant::new().with("VEC4", true))?;
    let (gpu, out) = (gpu.clone(), y.clone());
    let run = move || {
        let params = [(len / 4) as u32, 1, 1.0f32.to_bits(), 0];
        let bindings = [&x, &y].map(Tensor::binding);
        gpu.dispatch(&kernel, &params, &bindings, Groups::cover(len / 4, 256))
    };
    run()?;
    let got = out.to_vec::<f32>()?;
    for at in sampled(len) {
        let want = f64::from(x_host[at]) + f64::from(y_host[at]);
        check("axpy", got[at], want, 1.0);
    }
    Ok(Case {
        work: Work::Bytes((3 * 4 * len) as f64),
        run: Box::new(run),
    })
}

/// Column sums of 256 x 10,000, one pass.
fn sum_cols(gpu: &Gpu) -> Result<Case> {
    let (rows, cols) = (256usize, 10_000usize);
    let (x, host) = tensor(gpu, &[rows, cols], 1)?;
    let y = Tensor::empty(gpu, [cols], DType::F32)?;
    let kernel = gpu.kernel("sum_cols", &Variant::new().with("VEC4", true))?;
    let (gpu, out) = (gpu.clone(), y.clone());
    let run = move || {
        let width = (cols / 4) as u32;
        let params = [rows as u32, width, rows as u32, 0, width];
        let bindings = [&x, &y].map(Tensor::binding);
        gpu.dispatch(
            &kernel,
            &params,
            &bindings,
            Groups::Grid([width.div_ceil(64), 1, 1]),
        )
    };
    run()?;
    let got = out.to_vec::<f32>()?;
    for c in sampled(cols) {
        let want: f64 = (0..rows).map(|r| f64::from(host[r * cols + c])).sum();
        check("sum_cols", got[c], want, (rows as f64).sqrt());
    }
    Ok(Case {
        work: Work::Bytes((4 * rows * cols) as f64),
        run: Box::new(run),
    })
}

/// A step of 8 M parameters.
fn adam(gpu: &Gpu) -> Result<Case> {
    let len = 8usize << 20;
    let (values, host) = tensor(gpu, &[len], 1)?;
    let (grads, g_host) = tensor(gpu, &[len], 2)?;
    let (m, v) = (Tensor::zeros(gpu, [len])?, Tensor::zeros(gpu, [len])?);
    let (lr, beta1, beta2, eps) = (1e-3f32, 0.9f32, 0.999f32, 1e-8f32);
    let numbers = [lr, 1.0, 1.0 - beta1, 1.0 - beta2].map(f32::to_bits);
    let state = Tensor::from_slice(gpu, [8], &[&[1u32, 1, 0, 0], &numbers[..]].concat())?;
    // Factor 1, any norm, finite.
    let words = [1.0f32.to_bits(), 0, 1, 0];
    let grad_state = Tensor::from_slice(gpu, [4], &words)?;
    let kernel = gpu.kernel("adam", &Variant::new())?;
    let floats = [1.0, beta1, beta2, eps, 0.0].map(f32::to_bits);
    let (gpu, out) = (gpu.clone(), values.clone());
    let run = move || {
        let params: [u32; 8] = std::array::from_fn(|i| match i {
            0 => (len / 4) as u32,
            1 | 2 => 0,
            _ => floats[i - 3],
        });
        let bindings = [&state, &grad_state, &values, &grads, &m, &v].map(Tensor::binding);
        gpu.dispatch(&kernel, &params, &bindings, Groups::cover(len / 4, 256))
    };
    run()?;
    let got = out.to_vec::<f32>()?;
    for at in sampled(len) {
        // The first step moves by the learning rate, whatever the gradient's size.
        let g = f64::from(g_host[at]);
        let want = f64::from(host[at]) - f64::from(lr) * g / (g.abs() + f64::from(eps));
        check("adam", got[at], want, 1.0);
    }
    // Four arrays read, three written.
    Ok(Case {
        work: Work::Bytes((7 * 4 * len) as f64),
        run: Box::new(run),
    })
}

/// Builds a case, and fails where its results are wrong.
type Build = Box<dyn Fn(&Gpu) -> Result<Case>>;

/// What there is to time on this device, by name.
pub fn cases(gpu: &Gpu) -> Vec<(String, Build)> {
    let mut cases: Vec<(String, Build)> = vec![
        ("softmax_xent".into(), Box::new(softmax)),
        ("binary_fwd".into(), Box::new(binary)),
        ("sum_cols".into(), Box::new(sum_cols)),
        ("adam".into(), Box::new(adam)),
        ("layer_norm_fwd".into(), Box::new(rows::layer_norm_fwd)),
        ("layer_norm_bwd".into(), Box::new(rows::layer_norm_bwd)),
        (
            "gelu_erf".into(),
            Box::new(|gpu| rows::gelu(gpu, Unary::Gelu)),
        ),
        (
            "gelu_tanh".into(),
            Box::new(|gpu| rows::gelu(gpu, Unary::GeluTanh)),
        ),
        ("gelu_erf_bwd".into(), Box::new(rows::gelu_bwd)),
        ("axpy".into(), Box::new(axpy)),
        ("embedding_fwd_bwd".into(), Box::new(layers::embedding)),
        ("dropout_fwd_bwd".into(), Box::new(layers::dropout)),
        (
            "lstm_fwd_T64_B32_I256_H512".into(),
            Box::new(|gpu| layers::lstm(gpu, false)),
        ),
        (
            "lstm_fwd_bwd_T64_B32_I256_H512".into(),
            Box::new(|gpu| layers::lstm(gpu, true)),
        ),
    ];
    let forms = [
        ("NN", [false, false]),
        ("NT", [false, true]),
        ("TN", [true, false]),
    ];
    let cubes = [256, 512, 1024, 1536, 2048].map(|n| [n; 3]);
    for (form, swapped) in forms {
        // Few rows; what LoRA of rank 8 does in BERT-base, down and up, and for the gradients of B and A.
        let lora = match form {
            "TN" => [[768, 8, 1024], [8, 768, 1024]],
            _ => [[1024, 8, 768], [1024, 768, 8]],
        };
        let mut sizes = [&cubes[..], &[[32, 2048, 512]], &lora].concat();
        if form == "NT" {
            // A head over a vocabulary, which reads its weights transposed.
            sizes.push([2048, 10_000, 512]);
        }
        for [m, n, k] in sizes {
            let build = move |gpu: &Gpu| matmul(gpu, [m, n, k], swapped, DType::F32);
            cases.push((format!("matmul_{form}_{m}x{n}x{k}"), Box::new(build)));
        }
    }
    for shape in pictures::SHAPES {
        let [side, channels, stride] = shape;
        let [m, n, k] = pictures::product_of(shape);
        let name = format!("conv_{side}x{side}_C{channels}_S{stride}");
        cases.push((
            format!("{name}_fwd"),
            Box::new(move |gpu| pictures::conv(gpu, shape, false)),
        ));
        cases.push((
            format!("{name}_fwd_bwd"),
            Box::new(move |gpu| pictures::conv(gpu, shape, true)),
        ));
        let product = move |gpu: &Gpu| matmul(gpu, [m, n, k], [false, true], DType::F32);
        cases.push((format!("{name}_product_NT_{m}x{n}x{k}"), Box::new(product)));
    }
    if gpu.caps().f16 {
        for [m, n, k] in [[512; 3], [1024; 3]] {
            let build = move |gpu: &Gpu| matmul(gpu, [m, n, k], [false, true], DType::F16);
            cases.push((format!("matmul_NT_{m}x{n}x{k}_f16"), Box::new(build)));
        }
    }
    cases
}
