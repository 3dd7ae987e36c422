//! T1 and T4: embedding 256, LSTM 512, output layer, for 32 sequences.

use candle_core::{Device, Result, Tensor};
use candle_nn::rnn::RNN;
use candle_nn::{Embedding, Init, LSTM, LSTMConfig, Linear, Module, VarBuilder, loss};

use crate::{Case, tokens};

const VOCAB: usize = 10_000;
const WIDTH: usize = 256;
const HIDDEN: usize = 512;
const BATCH: usize = 32;

fn uniform(bound: f64) -> Init {
    Init::Uniform {
        lo: -bound,
        up: bound,
    }
}

struct Model {
    embedding: Embedding,
    lstm: LSTM,
    output: Linear,
}

impl Model {
    fn new(outputs: usize, vb: VarBuilder) -> Result<Model> {
        let narrow = uniform(1.0 / (HIDDEN as f64).sqrt());
        let lstm = LSTMConfig {
            w_ih_init: narrow,
            w_hh_init: narrow,
            b_ih_init: Some(narrow),
            b_hh_init: Some(narrow),
            ..LSTMConfig::default()
        };
        let table = vb.get_with_hints((VOCAB, WIDTH), "embedding.weight", uniform(0.1))?;
        let weight = vb.get_with_hints((outputs, HIDDEN), "output.weight", narrow)?;
        let bias = vb.get_with_hints(outputs, "output.bias", narrow)?;
        Ok(Model {
            embedding: Embedding::new(table, WIDTH),
            lstm: LSTM::new(WIDTH, HIDDEN, lstm, vb.pp("lstm"))?,
            output: Linear::new(weight, Some(bias)),
        })
    }
}

/// The text lies time-major; candle's LSTM reads (B, T).
fn batch(text: &[u32], steps: usize, device: &Device) -> Result<Tensor> {
    Tensor::from_slice(text, (steps, BATCH), device)?
        .t()?
        .contiguous()
}

pub fn language_model(vb: VarBuilder) -> Result<Case> {
    const STEPS: usize = 64;
    let text = tokens(VOCAB, (STEPS + 1) * BATCH);
    let ids = batch(&text[..STEPS * BATCH], STEPS, vb.device())?;
    let targets = batch(&text[BATCH..], STEPS, vb.device())?.flatten_all()?;
    let model = Model::new(VOCAB, vb)?;
    let forward = move || {
        let states = model.lstm.seq(&model.embedding.forward(&ids)?)?;
        let hidden = model.lstm.states_to_tensor(&states)?.flatten_to(1)?;
        loss::cross_entropy(&model.output.forward(&hidden)?, &targets)
    };
    Ok(Case {
        forward: Box::new(forward),
        tokens: STEPS * BATCH,
        weight_decay: 0.0,
        trained: |_| true,
    })
}

/// Of two classes.
pub fn classifier(vb: VarBuilder) -> Result<Case> {
    const STEPS: usize = 256;
    let ids = batch(&tokens(VOCAB, STEPS * BATCH), STEPS, vb.device())?;
    let labels: Vec<u32> = (0..BATCH as u32).map(|b| b % 2).collect();
    let targets = Tensor::new(labels, vb.device())?;
    let model = Model::new(2, vb)?;
    let forward = move || {
        let states = model.lstm.seq(&model.embedding.forward(&ids)?)?;
        let last = &states[STEPS - 1];
        loss::cross_entropy(&model.output.forward(last.h())?, &targets)
    };
    Ok(Case {
        forward: Box::new(forward),
        tokens: STEPS * BATCH,
        weight_decay: 0.0,
        trained: |_| true,
    })
}
