//! T1 and T4: embedding 256, LSTM 512, output layer, for 32 sequences.

use std::error::Error;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{
    Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig, Lstm, LstmConfig,
};
use burn::tensor::Device;

use crate::timed::Asked;
use crate::{adam, ints, labels, tokens, train};

const VOCAB: usize = 10_000;
const WIDTH: usize = 256;
const HIDDEN: usize = 512;
const BATCH: usize = 32;

fn uniform(bound: f64) -> Initializer {
    Initializer::Uniform {
        min: -bound,
        max: bound,
    }
}

#[derive(Module, Debug)]
struct Model {
    embedding: Embedding,
    lstm: Lstm,
    output: Linear,
}

impl Model {
    fn new(outputs: usize, device: &Device) -> Model {
        let narrow = uniform(1.0 / (HIDDEN as f64).sqrt());
        Model {
            embedding: EmbeddingConfig::new(VOCAB, WIDTH)
                .with_initializer(uniform(0.1))
                .init(device),
            lstm: LstmConfig::new(WIDTH, HIDDEN, true)
                .with_batch_first(false)
                .with_initializer(narrow)
                .init(device),
            output: LinearConfig::new(HIDDEN, outputs).init(device),
        }
    }
}

pub fn language_model(asked: &Asked, device: &Device) -> Result<(), Box<dyn Error>> {
    const STEPS: usize = 64;
    const COUNT: usize = STEPS * BATCH;
    let text = tokens(VOCAB, COUNT + BATCH);
    let ids = ints(text[..COUNT].to_vec(), [STEPS, BATCH], device);
    let targets = ints(text[BATCH..].to_vec(), [COUNT], device);
    let loss = CrossEntropyLossConfig::new().init(device);
    let model = Model::new(VOCAB, device);
    train(asked, device, model, adam(), COUNT, |model| {
        let (hidden, _) = model
            .lstm
            .forward(model.embedding.forward(ids.clone()), None);
        let logits = model.output.forward(hidden.reshape([COUNT, HIDDEN]));
        loss.forward(logits, targets.clone())
    })
}

/// Of two classes.
pub fn classifier(asked: &Asked, device: &Device) -> Result<(), Box<dyn Error>> {
    const STEPS: usize = 256;
    let ids = ints(tokens(VOCAB, STEPS * BATCH), [STEPS, BATCH], device);
    let targets = labels(BATCH, device);
    let loss = CrossEntropyLossConfig::new().init(device);
    let model = Model::new(2, device);
    train(asked, device, model, adam(), STEPS * BATCH, |model| {
        let (_, last) = model
            .lstm
            .forward(model.embedding.forward(ids.clone()), None);
        loss.forward(model.output.forward(last.hidden), targets.clone())
    })
}
