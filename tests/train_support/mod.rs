//! A task without a GPU: logistic regression with Adam on generated points. Small enough to
//! read, and honest about what the loop must cope with: losses arrive late, data come in a
//! shuffled order, noise is keyed by (seed, step).
#![allow(dead_code)]

use std::cell::Cell;
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;

use melos::error::{Error, Result};
use melos::hub::Array;
use melos::objectives::coverage::Coverage;
use melos::train::state::{check_tensors, write_tensors};
use melos::train::*;
use serde_json::{Value, json};

pub const DIM: usize = 5;
pub const POINTS: usize = 60;
pub const BATCH: usize = 8;
/// Steps between a step and its loss.
const LATENCY: usize = 3;

/// What a test wants to go wrong, or to happen, at a step.
#[derive(Clone, Default)]
pub struct Plot {
    pub stop_at: Option<(u64, StopFlag)>,
    pub nan_loss_at: Option<u64>,
    pub nan_weight_at: Option<u64>,
    pub no_validation: bool,
    pub steps_run: Rc<Cell<u64>>,
}

pub struct Toy {
    weights: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
    data: Vec<(Vec<f32>, usize)>,
    seed: u64,
    epoch: u64,
    batch: usize,
    pending: VecDeque<(u64, f32)>,
    plot: Plot,
}

/// SplitMix64, the whole of it.
pub fn random(key: u64) -> u64 {
    let mut z = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn unit(key: u64) -> f32 {
    (random(key) >> 40) as f32 / (1u64 << 24) as f32 - 0.5
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

impl Toy {
    pub fn new(request: &TaskRequest<'_>, plot: Plot) -> Result<Self> {
        let seed = request.unit.seed;
        let mut weights: Vec<f32> = (0..DIM)
            .map(|i| 0.1 * unit(seed * 100 + i as u64))
            .collect();
        if let Some(folder) = &request.init {
            let tensors = state::read_tensors(&folder.join("model.safetensors"))?;
            weights = tensors["w"].values().into_owned();
        }
        let data = (0..POINTS)
            .map(|p| {
                let x: Vec<f32> = (0..DIM).map(|i| unit((p * DIM + i) as u64)).collect();
                let noise = 0.4 * unit(9_000 + p as u64);
                let label = usize::from(x[0] - x[1] + 0.5 * x[2] + noise > 0.0);
                (x, label)
            })
            .collect();
        Ok(Self {
            weights,
            m: vec![0.0; DIM],
            v: vec![0.0; DIM],
            data,
            seed,
            epoch: 0,
            batch: 0,
            pending: VecDeque::new(),
            plot,
        })
    }

    fn train_points(&self) -> usize {
        POINTS * 2 / 3
    }

    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.train_points()).collect();
        order.sort_by_key(|&i| random(self.seed ^ (self.epoch << 20) ^ (i as u64)));
        order
    }

    fn score(&self, x: &[f32]) -> f32 {
        x.iter().zip(&self.weights).map(|(a, b)| a * b).sum()
    }
}

/// A run file, with values set in it.
pub fn run_file(text: &str, set: &[&str]) -> RunConfig {
    let overrides = Overrides {
        set: set.iter().map(|s| s.to_string()).collect(),
        ..Overrides::default()
    };
    RunConfig::parse(text, "toy.toml", &overrides).unwrap()
}

impl Task for Toy {
    fn describe(&self) -> TaskInfo {
        TaskInfo {
            summary: "toy".into(),
            unit: "points",
            parameters: DIM as u64,
            trainable: DIM as u64,
            steps_per_epoch: (self.train_points() / BATCH) as u64,
            work_per_epoch: (self.train_points() / BATCH * BATCH) as u64,
            notes: Vec::new(),
            coverage: Coverage::default(),
            size: None,
            reading: 0.0,
        }
    }

    fn train_step(&mut self, cx: &StepContext) -> Result<StepInfo> {
        self.plot.steps_run.set(self.plot.steps_run.get() + 1);
        let order = self.order();
        let chosen = &order[self.batch * BATCH..(self.batch + 1) * BATCH];
        let (mut loss, mut gradient) = (0.0, vec![0.0; DIM]);
        for (k, &i) in chosen.iter().enumerate() {
            let (x, label) = &self.data[i];
            // Stands for dropout: noise keyed by seed and step.
            let x: Vec<f32> = x
                .iter()
                .map(|v| v + 0.01 * unit(cx.seed ^ (cx.step << 8) ^ k as u64))
                .collect();
            let p = sigmoid(self.score(&x));
            let y = *label as f32;
            loss -= (y * p.ln() + (1.0 - y) * (1.0 - p).ln()) / BATCH as f32;
            for (g, v) in gradient.iter_mut().zip(&x) {
                *g += (p - y) * v / BATCH as f32;
            }
        }
        let t = cx.step as i32;
        for (i, g) in gradient.into_iter().enumerate() {
            self.m[i] = 0.9 * self.m[i] + 0.1 * g;
            self.v[i] = 0.999 * self.v[i] + 0.001 * g * g;
            let (m, v) = (
                self.m[i] / (1.0 - 0.9f32.powi(t)),
                self.v[i] / (1.0 - 0.999f32.powi(t)),
            );
            self.weights[i] -= cx.lr * m / (v.sqrt() + 1e-8);
        }
        if self.plot.nan_loss_at == Some(cx.step) {
            loss = f32::NAN;
        }
        if self.plot.nan_weight_at == Some(cx.step) {
            self.weights[1] = f32::INFINITY;
        }
        self.pending.push_back((cx.step, loss));
        self.batch += 1;
        if self.batch == self.train_points() / BATCH {
            (self.epoch, self.batch) = (self.epoch + 1, 0);
        }
        if let Some((step, flag)) = &self.plot.stop_at
            && *step == cx.step
        {
            flag.raise();
        }
        Ok(StepInfo {
            work: BATCH as u64,
            recorded: cx.step == 1,
        })
    }

    fn poll_losses(&mut self) -> Result<Vec<(u64, f32)>> {
        let arrived = self.pending.len().saturating_sub(LATENCY);
        Ok(self.pending.drain(..arrived).collect())
    }

    fn drain(&mut self) -> Result<Vec<(u64, f32)>> {
        Ok(self.pending.drain(..).collect())
    }

    fn evaluate(&mut self, split: Split) -> Result<Option<Scores>> {
        let n = self.train_points();
        let points = match split {
            Split::Validation if self.plot.no_validation => return Ok(None),
            Split::Validation => n..n + 8,
            Split::Test => n + 8..POINTS,
        };
        let (mut loss, mut confusion) = (0.0, vec![vec![0; 2]; 2]);
        for (x, label) in &self.data[points] {
            let p = sigmoid(self.score(x));
            loss -= f64::from(if *label == 1 { p } else { 1.0 - p }).ln();
            confusion[*label][usize::from(p > 0.5)] += 1;
        }
        Scores::classifier(loss, confusion).map(Some)
    }

    fn save(&mut self) -> Result<TensorMap> {
        Ok([
            ("w", &self.weights),
            ("adam.m", &self.m),
            ("adam.v", &self.v),
        ]
        .map(|(name, values)| {
            (
                name.to_string(),
                Array::new(&[DIM], values.to_vec()).unwrap(),
            )
        })
        .into())
    }

    fn load(&mut self, tensors: &TensorMap) -> Result<()> {
        let expected = ["adam.m", "adam.v", "w"].map(|n| (n, &[DIM][..]));
        check_tensors(tensors, expected, Path::new("checkpoint"))?;
        let read = |name: &str| tensors[name].values().into_owned();
        (self.weights, self.m, self.v) = (read("w"), read("adam.m"), read("adam.v"));
        self.pending.clear();
        Ok(())
    }

    fn position(&self) -> Value {
        json!({ "epoch": self.epoch, "batch": self.batch })
    }

    fn seek(&mut self, position: &Value) -> Result<()> {
        let read = |key: &str| {
            position[key].as_u64().ok_or_else(|| Error::Folder {
                path: "checkpoint".into(),
                problem: format!("its position has no {key}"),
            })
        };
        (self.epoch, self.batch) = (read("epoch")?, read("batch")? as usize);
        Ok(())
    }

    fn export(&mut self) -> Result<ModelFiles> {
        let w = Array::new(&[DIM], self.weights.to_vec()).unwrap();
        let mut weights = Vec::new();
        write_tensors(&mut weights, &TensorMap::from([("w".into(), w)])).unwrap();
        let config = json!({ "model": "toy" }).to_string();
        let files = [
            ("model.safetensors", weights),
            ("config.json", config.into_bytes()),
            ("tokenizer.json", b"{}".to_vec()),
        ];
        let named = files.map(|(name, content)| (name.to_string(), content));
        Ok(ModelFiles::Own(named.into()))
    }
}
