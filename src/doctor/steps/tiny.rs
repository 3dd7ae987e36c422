//! Three tiny models whose first losses are known: `tools/make_doctor_losses.py` trained the same ones
//! with PyTorch and transformers, in f64.

use super::{LstmConfig, Step, Training, tokens};
use crate::device::Gpu;
use crate::error::Result;
use crate::models::bert::{self, BertConfig};
use crate::models::gpt2::{Gpt2Config, gpt2_lm};
use crate::models::lstm::LstmLanguageModel;
use crate::models::{CausalLm, MaskedLm, MaskedTokens, RecurrentLm, Tokens};
use crate::nn::Vars;
use crate::ops::{RowSelection, TokenIds};
use crate::reference::Data;
use crate::tensor::Tensor;

const VOCAB: usize = 37;
const BATCH: usize = 3;
const STEPS: usize = 11;

/// A model and the losses of its first ten steps.
pub struct Tiny {
    pub name: &'static str,
    pub build: fn(&Gpu) -> Result<Step>,
    pub losses: [f64; 10],
}

/// The three.
pub const TINY: [Tiny; 3] = [
    Tiny {
        name: "LSTM",
        build: lstm,
        losses: LSTM,
    },
    Tiny {
        name: "BERT",
        build: masked_lm,
        losses: BERT,
    },
    Tiny {
        name: "GPT-2",
        build: causal_lm,
        losses: GPT2,
    },
];

/// Each parameter by a seed of its name: evenly in ±0.25, norms' weights around 1.
fn start(gpu: &Gpu, v: &Vars) -> Result<Training> {
    let training = Training::new(gpu, v)?;
    for spec in training.store.specs() {
        // FNV-1a, 64 bits.
        let seed = spec
            .name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let norm = spec.name.ends_with("LayerNorm.weight") || spec.name.contains("ln_");
        let centre = if norm && spec.name.ends_with("weight") {
            1.0
        } else {
            0.0
        };
        let count = spec.shape.0.iter().product();
        let values = Data::new(seed).uniform(count, centre - 0.25, centre + 0.25);
        training.store.get(&spec.name)?.write(&values)?;
    }
    Ok(training)
}

fn mean(gpu: &Gpu, counted: &[bool]) -> Result<Tensor> {
    let weight = 1.0 / counted.iter().filter(|c| **c).count() as f32;
    let weights: Vec<f32> = (counted.iter())
        .map(|c| if *c { weight } else { 0.0 })
        .collect();
    Tensor::from_slice(gpu, [weights.len()], &weights)
}

fn lstm(gpu: &Gpu) -> Result<Step> {
    let v = Vars::new();
    let config = LstmConfig {
        vocab_size: VOCAB,
        embedding_size: 8,
        hidden_size: 16,
        num_layers: 2,
        bidirectional: false,
        head_size: 0,
        cell_clip: 0.0,
        embedding_dropout: 0.0,
        layer_dropout: 0.0,
        output_dropout: 0.0,
    };
    let model = LstmLanguageModel::new(&v, &config)?;
    let training = start(gpu, &v)?;
    let count = BATCH * STEPS;
    let text = tokens(VOCAB, count + BATCH);
    let ids = TokenIds::from_host(gpu, STEPS, BATCH, &text[..count])?;
    let targets = Tensor::from_slice(gpu, [count], &text[BATCH..])?;
    let weights = mean(gpu, &vec![true; count])?;
    let lens = Tensor::from_slice(gpu, [BATCH], &[STEPS as u32; BATCH])?;
    let states = model.states(gpu, BATCH)?;
    training.record(|tape| {
        let inputs = Tokens::new(&ids, &lens);
        Ok(model.loss(tape, &inputs, &states, &targets, &weights)?.0)
    })
}

/// Every third token is masked; two of the rows are padded.
fn masked_lm(gpu: &Gpu) -> Result<Step> {
    let v = Vars::new();
    let config = BertConfig {
        vocab_size: VOCAB,
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 36,
        max_position_embeddings: STEPS,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        ..BertConfig::default()
    };
    let model = bert::masked_lm(&v, &config)?;
    let training = start(gpu, &v)?;
    let text = tokens(VOCAB, BATCH * STEPS);
    let lens = [STEPS, 7, 4];
    let inside = |at: u32| (at as usize % STEPS) < lens[at as usize / STEPS];
    let rows: Vec<u32> = (0..text.len() as u32)
        .step_by(3)
        .filter(|at| inside(*at))
        .collect();
    let masked: Vec<u32> = rows.iter().map(|at| text[*at as usize]).collect();
    let selection = RowSelection::empty(gpu, text.len(), rows.len())?;
    selection.write(&rows)?;
    let ids = TokenIds::from_host(gpu, BATCH, STEPS, &text)?;
    let targets = Tensor::from_slice(gpu, [masked.len()], &masked)?;
    let weights = mean(gpu, &vec![true; masked.len()])?;
    let lens = Tensor::from_slice(gpu, [BATCH], &lens.map(|len| len as u32))?;
    training.record(|tape| {
        let masked = MaskedTokens {
            rows: &selection,
            targets: &targets,
            weights: &weights,
        };
        model.loss(tape, &Tokens::new(&ids, &lens), &masked)
    })
}

fn causal_lm(gpu: &Gpu) -> Result<Step> {
    let v = Vars::new();
    let config = Gpt2Config {
        vocab_size: VOCAB,
        n_positions: STEPS,
        n_embd: 16,
        n_layer: 2,
        n_head: 2,
        resid_pdrop: 0.0,
        embd_pdrop: 0.0,
        attn_pdrop: 0.0,
        ..Gpt2Config::default()
    };
    let model = gpt2_lm(&v, &config)?;
    let training = start(gpu, &v)?;
    let text = tokens(VOCAB, BATCH * STEPS);
    let next = text
        .chunks(STEPS)
        .flat_map(|row| [&row[1..], &[u32::MAX]].concat());
    let next: Vec<u32> = next.collect();
    let counted: Vec<bool> = next.iter().map(|t| *t != u32::MAX).collect();
    let ids = TokenIds::from_host(gpu, BATCH, STEPS, &text)?;
    let targets = Tensor::from_slice(gpu, [next.len()], &next)?;
    let weights = mean(gpu, &counted)?;
    let lens = Tensor::from_slice(gpu, [BATCH], &[STEPS as u32; BATCH])?;
    training.record(|tape| model.loss(tape, &Tokens::new(&ids, &lens), &targets, &weights))
}

// Written by tools/make_doctor_losses.py.
const LSTM: [f64; 10] = [
    3.638633793,
    3.634701986,
    3.630841363,
    3.627046256,
    3.623308198,
    3.619617831,
    3.615966258,
    3.612345010,
    3.608745821,
    3.605160161,
];
const BERT: [f64; 10] = [
    4.101252941,
    3.972773686,
    3.850519851,
    3.736304185,
    3.630388639,
    3.532289565,
    3.441367967,
    3.357068237,
    3.278945215,
    3.206622848,
];
const GPT2: [f64; 10] = [
    3.656775139,
    3.571364961,
    3.488560607,
    3.409143030,
    3.333861991,
    3.263375267,
    3.198030181,
    3.137471500,
    3.080697616,
    3.026685719,
];
