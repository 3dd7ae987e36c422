//! Attention forward and backward, T = 128 … 8,192: time, GFLOP/s and peak bytes beside input and
//! gradient, which grow with T and not with T². Each case is checked on the host before it is timed.
//!
//! `cargo bench --bench attention`; a part of a name as argument (`T512`, `causal`) chooses cases.
//! `tools/compare/pytorch/attention.py` times the same in PyTorch.

#[path = "support/report.rs"]
mod report;
#[path = "support/values.rs"]
mod values;

use criterion::{Criterion, criterion_group, criterion_main};
use melos::Result;
use melos::device::{Gpu, Recording};
use melos::ops::{self, AttentionOptions};
use melos::optim::StepState;
use melos::tensor::Tape;
use values::{gradient, noise, parameter};

const HEADS: usize = 4;
const WIDTH: usize = 64;
const C: usize = HEADS * WIDTH;
/// Up to this length the host also works out gradients of keys and values, which takes it T².
const HOST: usize = 2048;

/// The first head of the first sequence, in f64.
struct Head<'a> {
    qkv: &'a [f32],
    tokens: usize,
    causal: bool,
}

impl Head<'_> {
    /// Of query, key or value.
    fn at(&self, row: usize, part: usize, d: usize) -> f64 {
        f64::from(self.qkv[row * 3 * C + part * C + d])
    }

    /// How much query `t` takes of each value.
    fn weights(&self, t: usize) -> Vec<f64> {
        let seen = if self.causal { t + 1 } else { self.tokens };
        let dot = |s| -> f64 {
            (0..WIDTH)
                .map(|d| self.at(t, 0, d) * self.at(s, 1, d))
                .sum()
        };
        let weight = |s| (dot(s) / (WIDTH as f64).sqrt()).exp();
        let weights: Vec<f64> = (0..seen).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|w| w / sum).collect()
    }

    /// What comes out at `t`.
    fn out(&self, t: usize) -> Vec<f64> {
        let weights = self.weights(t);
        let mean = |d| {
            weights
                .iter()
                .enumerate()
                .map(|(s, w)| w * self.at(s, 2, d))
                .sum()
        };
        (0..WIDTH).map(mean).collect()
    }

    /// Gradients of the sum of all outputs by the score of query `t` and each key, and the weights.
    fn scores(&self, t: usize) -> (Vec<f64>, Vec<f64>) {
        let weights = self.weights(t);
        let value = |s: usize| -> f64 { (0..WIDTH).map(|d| self.at(s, 2, d)).sum() };
        let values: Vec<f64> = (0..weights.len()).map(value).collect();
        let mean: f64 = weights.iter().zip(&values).map(|(w, v)| w * v).sum();
        let grads = weights.iter().zip(&values).map(|(w, v)| w * (v - mean));
        (grads.collect(), weights)
    }
}

fn close(what: &str, got: &[f32], want: &[f64], limit: f64) {
    for (&got, &want) in got.iter().zip(want) {
        let error = (f64::from(got) - want).abs();
        assert!(error < limit, "{what}: {got} should be {want}");
    }
}

struct Case {
    gpu: Gpu,
    recording: Recording,
    /// Bytes of input and gradient.
    own: u64,
}

/// What is timed.
#[derive(Clone, Copy)]
struct Asked {
    batch: usize,
    tokens: usize,
    causal: bool,
    dropout: f32,
    backward: bool,
}

impl Asked {
    fn name(&self) -> String {
        let kind = match (self.causal, self.dropout > 0.0) {
            (false, false) => "",
            (true, _) => "_causal",
            (_, true) => "_dropout",
        };
        let pass = if self.backward { "fwd_bwd" } else { "fwd" };
        format!("B{}_T{}{kind}_{pass}", self.batch, self.tokens)
    }

    fn prepare(&self, gpu: &Gpu) -> Result<Case> {
        let Asked { batch, tokens, .. } = *self;
        let values = noise(batch * tokens * 3 * C, 1, 1.0);
        let qkv = parameter(gpu, &[batch, tokens, 3 * C], &values)?;
        let state = StepState::new(gpu, 1)?;
        let own = gpu.memory().in_use;
        let options = AttentionOptions {
            causal: self.causal,
            dropout: self.dropout,
            ..AttentionOptions::new(HEADS)
        };
        let (recording, out) = gpu.record(|| {
            let tape = Tape::training(gpu, state.tensor());
            let out = ops::attention_packed(&tape, &qkv, None, &options)?;
            if self.backward {
                let loss = ops::sum_all(&tape, &out)?;
                tape.backward(&loss)?;
            }
            Ok(out)
        })?;
        gpu.replay(&recording)?;
        self.check(&values, &out.to_vec()?, &gradient(&qkv)?);
        Ok(Case {
            gpu: gpu.clone(),
            recording,
            own,
        })
    }

    fn check(&self, qkv: &[f32], out: &[f32], grad: &[f32]) {
        let tokens = self.tokens;
        let head = Head {
            qkv,
            tokens,
            causal: self.causal,
        };
        for t in [0, tokens / 2, tokens - 1] {
            let seen = if self.causal { t + 1 } else { tokens };
            // Dropped weights leave the mean as it is: six standard deviations of numbers up to 1.
            let p = f64::from(self.dropout);
            let noise = 6.0 * (p / (1.0 - p) / seen as f64).sqrt();
            close("out", &out[t * C..], &head.out(t), 2e-6 + noise);
        }
        if !self.backward || self.dropout > 0.0 {
            return;
        }
        let scale = 1.0 / (WIDTH as f64).sqrt();
        for t in [tokens / 2, tokens - 1] {
            let (scores, _) = head.scores(t);
            let by_key = |d| -> f64 {
                let pairs = scores.iter().enumerate();
                scale * pairs.map(|(s, g)| g * head.at(s, 1, d)).sum::<f64>()
            };
            let want: Vec<f64> = (0..WIDTH).map(by_key).collect();
            close("gradient of a query", &grad[t * 3 * C..], &want, 5e-6);
        }
        if tokens > HOST {
            return;
        }
        let s = tokens / 2;
        let (mut key, mut value) = (vec![0.0; WIDTH], 0.0);
        for t in 0..tokens {
            let (scores, weights) = head.scores(t);
            if let (Some(g), Some(w)) = (scores.get(s), weights.get(s)) {
                value += w;
                let parts = key.iter_mut().enumerate();
                parts.for_each(|(d, k)| *k += scale * g * head.at(t, 0, d));
            }
        }
        let row = &grad[s * 3 * C..];
        close("gradient of a key", &row[C..], &key, 1e-5);
        close(
            "gradient of a value",
            &row[2 * C..],
            &vec![value; WIDTH],
            1e-5,
        );
    }

    /// Two products forward; backward five, of which two are made twice but counted once.
    fn flops(&self) -> f64 {
        let product = 2.0 * (self.batch * C) as f64 * (self.tokens as f64).powi(2);
        let products = if self.backward { 7.0 } else { 2.0 };
        products * if self.causal { product / 2.0 } else { product }
    }
}

fn attention(criterion: &mut Criterion) {
    let mut report = report::Report::open("attention");
    let mut group = report::group(criterion, "attention");
    for (batch, tokens) in [(16, 128), (4, 512), (1, 2048), (1, 8192)] {
        for (causal, dropout) in [(false, 0.0), (true, 0.0), (false, 0.1)] {
            // At the longest, software adapters take a minute for one.
            if tokens > 4096 && (causal || dropout > 0.0) {
                continue;
            }
            for backward in [false, true] {
                let asked = Asked {
                    batch,
                    tokens,
                    causal,
                    dropout,
                    backward,
                };
                report.time(
                    &mut group,
                    &asked.name(),
                    |gpu| asked.prepare(gpu),
                    |case| case.gpu.replay(&case.recording),
                    |case| report::Work {
                        flops: Some(asked.flops()),
                        peak_bytes: Some(case.gpu.memory().peak - case.own),
                        ..report::Work::default()
                    },
                );
            }
        }
    }
    group.finish();
    report.finish();
}

criterion_group!(benches, attention);
criterion_main!(benches);
