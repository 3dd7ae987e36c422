//! What training must keep: convergence, checkpoints that change no bit, memory that stays flat.

use std::sync::Arc;

use melos::device::Gpu;
use melos::error::Result;
use melos::models::bert::{self, BertConfig};
use melos::models::gpt2::{Gpt2Config, gpt2_lm};
use melos::models::{CausalLm, MaskedLm, MaskedTokens, Network, Tokens};
use melos::nn::{LoraPlan, LoraUpdate, Vars, Wanted};
use melos::ops::{RowSelection, TokenIds};
use melos::optim::{LossScale, Optimizer, OptimizerKind, StepState};
use melos::tensor::{ParamStore, Tape, Tensor};

use crate::common::gpu;
use crate::reference::{Data, assert_same_bits};

const VOCAB: usize = 32;
const ROWS: usize = 8;
const STEPS: usize = 12;

fn gpt2_config(dropout: f32) -> Gpt2Config {
    Gpt2Config {
        vocab_size: VOCAB,
        n_positions: STEPS,
        n_embd: 32,
        n_layer: 2,
        n_head: 2,
        resid_pdrop: dropout,
        embd_pdrop: dropout,
        attn_pdrop: dropout,
        ..Gpt2Config::default()
    }
}

fn bert_config(dropout: f32) -> BertConfig {
    BertConfig {
        vocab_size: VOCAB,
        hidden_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 64,
        max_position_embeddings: STEPS,
        hidden_dropout_prob: dropout,
        attention_probs_dropout_prob: dropout,
        ..BertConfig::default()
    }
}

/// Sequences that count up by one, each from another token: what comes next is certain.
fn counting() -> Vec<u32> {
    let at = |i: usize| ((i / STEPS * 5 + i % STEPS) % (VOCAB - 1) + 1) as u32;
    (0..ROWS * STEPS).map(at).collect()
}

type Loss = Box<dyn Fn(&Tape) -> Result<Tensor>>;

/// A training step, recorded.
pub struct Run {
    pub gpu: Gpu,
    pub store: ParamStore,
    pub optimizer: Optimizer,
    state: StepState,
    loss: Loss,
    half: bool,
}

impl Run {
    fn new(gpu: Gpu, v: &Vars, plan: &LoraPlan, loss: impl FnOnce(&Gpu) -> Loss) -> Run {
        v.adapt(plan).unwrap();
        let scale = |n: &str| f32::from(u8::from(plan.is_empty() || plan.trains(n)));
        let store = v.store(&gpu, 11, scale).unwrap();
        let kind = OptimizerKind::AdamW {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
        };
        let optimizer = Optimizer::new(&gpu, kind, &store).unwrap();
        let state = StepState::new(&gpu, 4).unwrap();
        let loss = loss(&gpu);
        Run {
            gpu,
            store,
            optimizer,
            state,
            loss,
            half: false,
        }
    }

    /// The same in f16, with a loss scale that begins at `scale` and doubles after `interval` steps.
    pub fn mixed(self, scale: f32, interval: u32) -> Run {
        let loss_scale = LossScale::dynamic(&self.gpu, scale, interval).unwrap();
        Run {
            optimizer: self.optimizer.with_loss_scale(loss_scale),
            half: true,
            ..self
        }
    }

    fn tape(&self) -> Result<Tape> {
        let scale = self.optimizer.loss_scale().tensor();
        match self.half {
            true => Tape::mixed(&self.gpu, self.state.tensor(), scale),
            false => Ok(Tape::training(&self.gpu, self.state.tensor())),
        }
    }

    /// The losses of `steps` steps, and the bytes held after the third and after the last.
    pub fn train(&self, steps: u64, lr: f32) -> (Vec<f32>, [u64; 2]) {
        let (recording, loss) = self
            .gpu
            .record(|| {
                let tape = self.tape()?;
                let loss = (self.loss)(&tape)?;
                tape.backward(&loss)?;
                self.optimizer.step(&self.store, &self.state, Some(1.0))?;
                Ok(loss)
            })
            .unwrap();
        let (mut losses, mut held) = (Vec::new(), [0; 2]);
        for step in 1..=steps {
            self.state.advance(&self.optimizer, step, lr).unwrap();
            self.gpu.replay(&recording).unwrap();
            losses.extend(loss.to_vec::<f32>().unwrap());
            let memory = self.gpu.memory();
            if step == 3 {
                held[0] = memory.reserved;
            }
            held[1] = memory.reserved;
        }
        (losses, held)
    }

    pub fn parameters(&self) -> Vec<(String, Vec<f32>)> {
        let names = self.store.specs().map(|s| s.name.clone());
        names
            .map(|n| (n.clone(), self.store.get(&n).unwrap().to_vec().unwrap()))
            .collect()
    }
}

pub fn gpt2(dropout: f32, plan: &LoraPlan, checkpointing: bool) -> Run {
    let v = Vars::new();
    let mut model = gpt2_lm(&v, &gpt2_config(dropout)).unwrap();
    model.set_checkpointing(checkpointing);
    Run::new(gpu(), &v, plan, |gpu| {
        let text = counting();
        let ids = TokenIds::from_host(gpu, ROWS, STEPS, &text).unwrap();
        let next: Vec<u32> = text
            .chunks(STEPS)
            .flat_map(|row| [&row[1..], &[u32::MAX]].concat())
            .collect();
        let count = next.len();
        let targets = Tensor::from_slice(gpu, [count], &next).unwrap();
        let weight = 1.0 / (ROWS * (STEPS - 1)) as f32;
        let weights = Tensor::from_slice(gpu, [count], &vec![weight; count]).unwrap();
        let lens = Tensor::from_slice(gpu, [ROWS], &[STEPS as u32; ROWS]).unwrap();
        Box::new(move |tape| model.loss(tape, &Tokens::new(&ids, &lens), &targets, &weights))
    })
}

pub fn bert(dropout: f32, plan: &LoraPlan, checkpointing: bool) -> Run {
    let v = Vars::new();
    let mut model = bert::masked_lm(&v, &bert_config(dropout)).unwrap();
    model.encoder.checkpointing = checkpointing;
    Run::new(gpu(), &v, plan, |gpu| {
        let text = counting();
        // Token 0 stands for a mask at one place in four.
        let rows: Vec<u32> = (1..text.len() as u32).step_by(4).collect();
        let mut masked = text.clone();
        rows.iter().for_each(|r| masked[*r as usize] = 0);
        let targets: Vec<u32> = rows.iter().map(|r| text[*r as usize]).collect();
        let ids = TokenIds::from_host(gpu, ROWS, STEPS, &masked).unwrap();
        let lens = Tensor::from_slice(gpu, [ROWS], &[STEPS as u32; ROWS]).unwrap();
        let selection = RowSelection::empty(gpu, text.len(), rows.len()).unwrap();
        selection.write(&rows).unwrap();
        let count = targets.len();
        let targets = Tensor::from_slice(gpu, [count], &targets).unwrap();
        let weights = Tensor::from_slice(gpu, [count], &vec![1.0 / count as f32; count]).unwrap();
        let selection = Arc::new(selection);
        Box::new(move |tape| {
            let inputs = Tokens::new(&ids, &lens);
            let masked = MaskedTokens {
                rows: &selection,
                targets: &targets,
                weights: &weights,
            };
            model.loss(tape, &inputs, &masked)
        })
    })
}

/// ln 32 = 3.47 is what guessing costs.
#[track_caller]
fn learns(run: &Run, steps: u64, lr: f32, below: f32) {
    let (losses, held) = run.train(steps, lr);
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!((3.2..3.8).contains(&first), "starts at {first}");
    assert!(last < below, "ends at {last}");
    assert_eq!(held[0], held[1], "bytes after 3 and {steps} steps");
}

#[test]
fn gpt2_learns_to_count_in_flat_memory() {
    learns(&gpt2(0.0, &LoraPlan::default(), false), 200, 3e-3, 0.05);
}

#[test]
fn bert_learns_to_count_in_flat_memory() {
    learns(&bert(0.1, &LoraPlan::default(), false), 200, 3e-3, 0.5);
}

fn update(part: Option<(String, std::ops::Range<usize>)>) -> LoraUpdate {
    LoraUpdate {
        rank: 4,
        scale: 2.0,
        dropout: 0.1,
        part,
    }
}

/// Queries and values alone inside of `c_attn`.
pub fn parts() -> LoraPlan {
    let width = 32;
    let parts = [("q", 0..width), ("v", 2 * width..3 * width)];
    let updates = parts.map(|(name, rows)| update(Some((name.into(), rows))));
    let module = |l| format!("transformer.h.{l}.attn.c_attn");
    LoraPlan {
        modules: (0..2).map(|l| (module(l), updates.to_vec())).collect(),
        modules_to_save: vec!["transformer.ln_f".into()],
        ..LoraPlan::default()
    }
}

#[test]
fn adapters_learn_and_the_rest_stays() {
    let plan = parts();
    let run = gpt2(0.0, &plan, false);
    let before = run.parameters();
    let (losses, _) = run.train(40, 1e-2);
    assert!(losses[39] < losses[0] - 0.05, "{losses:?}");
    let mut changed = 0;
    for ((name, before), (_, after)) in before.iter().zip(&run.parameters()) {
        if plan.trains(name) {
            changed += 1;
            assert!(before.iter().zip(after).any(|(a, b)| a != b), "{name}");
        } else {
            assert_same_bits(name, before, after);
        }
    }
    // Two parts of two layers, A and B of each; a norm's weight and bias.
    assert_eq!(changed, 2 * 2 * 2 + 2);
}

#[test]
fn checkpointing_changes_no_bit() {
    let layer = |l| format!("bert.encoder.layer.{l}.attention.self.value");
    let adapted = LoraPlan::of((0..2).map(layer), &update(None));
    type Build = fn(f32, &LoraPlan, bool) -> Run;
    let cases: [(Build, LoraPlan); 4] = [
        (bert, LoraPlan::default()),
        (bert, adapted),
        (gpt2, LoraPlan::default()),
        (gpt2, parts()),
    ];
    for (build, plan) in cases {
        let [plain, checkpointed] = [false, true].map(|checkpointing| {
            let run = build(0.2, &plan, checkpointing);
            let (losses, _) = run.train(3, 1e-3);
            (losses, run.parameters())
        });
        assert_same_bits("losses", &plain.0, &checkpointed.0);
        for ((name, a), (_, b)) in plain.1.iter().zip(&checkpointed.1) {
            assert_same_bits(name, a, b);
        }
    }
}

/// A BERT of eight layers, 256 tokens: what a step holds beside the parameters.
#[test]
fn checkpointing_saves_most_of_the_activations() {
    let peak = |checkpointing: bool| {
        let gpu = gpu();
        let config = BertConfig {
            num_hidden_layers: 8,
            max_position_embeddings: 64,
            ..bert_config(0.1)
        };
        let v = Vars::new();
        let mut model = bert::encoder(&v.at("bert"), &config).unwrap();
        let _store = v.store(&gpu, 1, |_| 1.0).unwrap();
        model.checkpointing = checkpointing;
        let ids = Data::new(1).ids(4 * 64, VOCAB as u32);
        let ids = TokenIds::from_host(&gpu, 4, 64, &ids).unwrap();
        let lens = Tensor::from_slice(&gpu, [4], &[64u32; 4]).unwrap();
        let state = StepState::new(&gpu, 1).unwrap();
        let before = gpu.memory().reserved;
        gpu.record(|| {
            let tape = Tape::training(&gpu, state.tensor());
            let inputs = Tokens::new(&ids, &lens);
            let hidden = model.forward(&tape, &inputs, &Wanted::All)?;
            let loss = melos::ops::sum_all(&tape, &hidden)?;
            tape.backward(&loss)
        })
        .unwrap();
        gpu.memory().peak - before
    };
    let (plain, checkpointed) = (peak(false), peak(true));
    println!("{plain} bytes of activations, {checkpointed} with checkpoints");
    assert!(2 * checkpointed < plain, "{checkpointed} of {plain}");
}
