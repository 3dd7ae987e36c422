//! Attention forward and backward, T = 128 … 8,192: time, GFLOP/s and peak bytes, which grow with T
//! and not with T². Each length is checked on the host before it is timed.
//!
//! `cargo bench --bench attention`; numbers as arguments choose lengths, `portable` the kernels
//! that run anywhere.

use std::time::Instant;

use melos::Result;
use melos::device::{AdapterChoice, Gpu, Recording};
use melos::kernels::philox::philox4x32;
use melos::ops::{self, AttentionOptions};
use melos::optim::StepState;
use melos::tensor::{Tape, Tensor};

const HEADS: usize = 4;
const WIDTH: usize = 64;
const C: usize = HEADS * WIDTH;

/// Numbers in (-1, 1).
fn noise(len: usize, seed: u32) -> Vec<f32> {
    let word = |i: usize| philox4x32([i as u32, 0, 0, 0], [seed, 0])[0];
    (0..len)
        .map(|i| word(i) as f32 / u32::MAX as f32 * 2.0 - 1.0)
        .collect()
}

/// The first head of one query, in f64.
fn expected(qkv: &[f32], tokens: usize, t: usize) -> Vec<f64> {
    let at = |row: usize, part: usize, d: usize| f64::from(qkv[row * 3 * C + part * C + d]);
    let weights: Vec<f64> = (0..tokens)
        .map(|s| {
            let dot: f64 = (0..WIDTH).map(|d| at(t, 0, d) * at(s, 1, d)).sum();
            (dot / (WIDTH as f64).sqrt()).exp()
        })
        .collect();
    let sum: f64 = weights.iter().sum();
    (0..WIDTH)
        .map(|d| {
            let mean = weights.iter().enumerate().map(|(s, w)| w * at(s, 2, d));
            mean.sum::<f64>() / sum
        })
        .collect()
}

fn bench(gpu: &Gpu, batch: usize, tokens: usize) -> Result<()> {
    let values = noise(batch * tokens * 3 * C, 1);
    let grad = Tensor::zeros(gpu, [batch, tokens, 3 * C])?;
    let qkv = Tensor::from_slice(gpu, [batch, tokens, 3 * C], &values)?.with_grad(grad);
    let state = StepState::new(gpu, 1)?;
    let own = gpu.memory().in_use;
    for (name, causal, dropout) in [
        ("plain", false, 0.0),
        ("causal", true, 0.0),
        ("dropout 0.1", false, 0.1),
    ] {
        // At the longest, software adapters take a minute for one.
        if tokens > 4096 && name != "plain" {
            continue;
        }
        let options = AttentionOptions {
            heads: HEADS,
            causal,
            dropout,
            scale: None,
        };
        let forward = || {
            let tape = Tape::training(gpu, state.tensor());
            let out = ops::attention_packed(&tape, &qkv, None, &options)?;
            Ok((tape, out))
        };
        if name == "plain" {
            let got = forward()?.1.to_vec::<f32>()?;
            for t in [0, tokens / 2, tokens - 1] {
                let want = expected(&values, tokens, t);
                for (g, w) in got[t * C..].iter().zip(&want) {
                    let error = (f64::from(*g) - w).abs();
                    assert!(error < 2e-6, "T {tokens}, query {t}: {g} should be {w}");
                }
            }
        }
        let (ahead, _) = gpu.record(|| forward().map(|(_, out)| out))?;
        let (both, _) = gpu.record(|| {
            let (tape, out) = forward()?;
            let loss = ops::sum_all(&tape, &out)?;
            tape.backward(&loss)
        })?;
        let (ahead, both) = (seconds(gpu, &ahead)?, seconds(gpu, &both)?);
        // Two products forward; backward five, of which two are made twice but counted once.
        let product = 2.0 * (batch * C) as f64 * (tokens as f64).powi(2) / 1e9;
        let product = if causal { product / 2.0 } else { product };
        println!(
            "B {batch} T {tokens} {name}: forward {:.1} ms ({:.1} GFLOP/s), with backward {:.1} ms ({:.1} GFLOP/s)",
            1e3 * ahead,
            2.0 * product / ahead,
            1e3 * both,
            7.0 * product / both,
        );
    }
    let peak = gpu.memory().peak - own;
    println!(
        "B {batch} T {tokens}: peak {:.1} MiB beside input and gradient, {} bytes a token; T x T of all heads would be {:.1} MiB",
        peak as f64 / f64::from(1 << 20),
        peak / (batch * tokens) as u64,
        (batch * HEADS * tokens * tokens * 4) as f64 / f64::from(1 << 20),
    );
    Ok(())
}

/// Seconds of one replay, the best of a few.
fn seconds(gpu: &Gpu, recording: &Recording) -> Result<f64> {
    gpu.replay(recording)?;
    gpu.wait()?;
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    for _ in 0..10 {
        let began = Instant::now();
        gpu.replay(recording)?;
        gpu.wait()?;
        best = best.min(began.elapsed().as_secs_f64());
        if start.elapsed().as_secs_f64() > 3.0 {
            break;
        }
    }
    Ok(best)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let gpu = Gpu::open(&AdapterChoice::default()).expect("a GPU adapter; see tools/with-vulkan");
    println!("adapter: {}", gpu.caps());
    let gpu = match words.iter().any(|w| w == "portable") {
        true => gpu.portable(),
        false => gpu,
    };
    let chosen: Vec<usize> = words.iter().filter_map(|w| w.parse().ok()).collect();
    for (batch, tokens) in [(16, 128), (4, 512), (1, 2048), (1, 8192)] {
        if chosen.is_empty() || chosen.contains(&tokens) {
            bench(&gpu.fork(), batch, tokens).expect("a correct result");
        }
    }
}
