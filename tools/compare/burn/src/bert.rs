//! T2 and T3: BERT, as transformers lays it out.

use std::error::Error;

use burn::module::{Module, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{
    Dropout, DropoutConfig, Embedding, EmbeddingConfig, Gelu, Initializer, LayerNorm,
    LayerNormConfig, Linear, LinearConfig,
};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor};

use crate::timed::Asked;
use crate::{adamw, ints, labels, tokens, train};

const STEPS: usize = 128;

struct Config {
    vocab: usize,
    width: usize,
    layers: usize,
    heads: usize,
    inner: usize,
    /// Rank of the update of queries and values; without one everything is trained.
    rank: Option<usize>,
}

const NORMAL: Initializer = Initializer::Normal {
    mean: 0.0,
    std: 0.02,
};

fn linear(inputs: usize, outputs: usize, device: &Device) -> Linear {
    let weight = LinearConfig::new(inputs, outputs)
        .with_initializer(NORMAL)
        .init(device);
    Linear {
        bias: Some(Initializer::Zeros.init([outputs], device)),
        ..weight
    }
}

fn norm(width: usize, device: &Device) -> LayerNorm {
    LayerNormConfig::new(width).with_epsilon(1e-12).init(device)
}

fn dropout() -> Dropout {
    DropoutConfig::new(0.1).init()
}

/// A linear layer with its low-rank update; with one, the layer itself is frozen.
#[derive(Module, Debug)]
struct Adapted {
    base: Linear,
    update: Option<[Linear; 2]>,
    dropout: Dropout,
}

impl Adapted {
    fn new(config: &Config, device: &Device) -> Adapted {
        let width = config.width;
        let update = |rank| {
            let a = LinearConfig::new(width, rank).with_bias(false);
            let b = LinearConfig::new(rank, width).with_bias(false);
            let b = b.with_initializer(Initializer::Zeros);
            [a.init(device), b.init(device)]
        };
        Adapted {
            base: linear(width, width, device),
            update: config.rank.map(update),
            dropout: dropout(),
        }
    }

    fn freeze_base(self) -> Adapted {
        Adapted {
            base: self.base.no_grad(),
            ..self
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let y = self.base.forward(x.clone());
        match &self.update {
            // alpha / rank = 2
            Some([a, b]) => {
                y + b
                    .forward(a.forward(self.dropout.forward(x)))
                    .mul_scalar(2.0)
            }
            None => y,
        }
    }
}

#[derive(Module, Debug)]
struct Layer {
    query: Adapted,
    key: Linear,
    value: Adapted,
    attended: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    output_norm: LayerNorm,
    dropout: Dropout,
    heads: usize,
}

impl Layer {
    fn new(config: &Config, device: &Device) -> Layer {
        let (width, inner) = (config.width, config.inner);
        Layer {
            query: Adapted::new(config, device),
            key: linear(width, width, device),
            value: Adapted::new(config, device),
            attended: linear(width, width, device),
            attention_norm: norm(width, device),
            up: linear(width, inner, device),
            down: linear(inner, width, device),
            output_norm: norm(width, device),
            dropout: dropout(),
            heads: config.heads,
        }
    }

    /// All but the updates.
    fn freeze(self) -> Layer {
        Layer {
            query: self.query.freeze_base(),
            key: self.key.no_grad(),
            value: self.value.freeze_base(),
            attended: self.attended.no_grad(),
            attention_norm: self.attention_norm.no_grad(),
            up: self.up.no_grad(),
            down: self.down.no_grad(),
            output_norm: self.output_norm.no_grad(),
            ..self
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, steps, width] = x.dims();
        let head = width / self.heads;
        let split = |y: Tensor<3>| y.reshape([batch, steps, self.heads, head]).swap_dims(1, 2);
        let query = split(self.query.forward(x.clone()));
        let key = split(self.key.forward(x.clone()));
        let value = split(self.value.forward(x.clone()));
        let scores = query
            .matmul(key.transpose())
            .div_scalar((head as f32).sqrt());
        let weights = self.dropout.forward(softmax(scores, 3));
        let mixed = weights.matmul(value).swap_dims(1, 2);
        let mixed = self.attended.forward(mixed.reshape([batch, steps, width]));
        let x = self.attention_norm.forward(self.dropout.forward(mixed) + x);
        let inner = Gelu::new().forward(self.up.forward(x.clone()));
        let y = self.dropout.forward(self.down.forward(inner));
        self.output_norm.forward(y + x)
    }
}

#[derive(Module, Debug)]
struct Bert {
    words: Embedding,
    positions: Param<Tensor<2>>,
    types: Param<Tensor<2>>,
    norm: LayerNorm,
    layers: Vec<Layer>,
    dropout: Dropout,
}

impl Bert {
    fn new(config: &Config, device: &Device) -> Bert {
        let words = EmbeddingConfig::new(config.vocab, config.width).with_initializer(NORMAL);
        Bert {
            words: words.init(device),
            positions: NORMAL.init([512, config.width], device),
            types: NORMAL.init([2, config.width], device),
            norm: norm(config.width, device),
            layers: (0..config.layers)
                .map(|_| Layer::new(config, device))
                .collect(),
            dropout: dropout(),
        }
    }

    /// All but the updates.
    fn freeze(self) -> Bert {
        Bert {
            words: self.words.no_grad(),
            positions: self.positions.no_grad(),
            types: self.types.no_grad(),
            norm: self.norm.no_grad(),
            layers: self.layers.into_iter().map(Layer::freeze).collect(),
            ..self
        }
    }

    /// ids (B, T) → (B, T, C)
    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [_, steps] = ids.dims();
        let rows = self.positions.val().slice([0..steps]) + self.types.val().slice([0..1]);
        let sum = self.words.forward(ids) + rows.unsqueeze::<3>();
        let first = self.dropout.forward(self.norm.forward(sum));
        self.layers.iter().fold(first, |x, layer| layer.forward(x))
    }
}

#[derive(Module, Debug)]
struct MaskedLm {
    bert: Bert,
    transform: Linear,
    norm: LayerNorm,
    bias: Param<Tensor<1>>,
}

/// 15 % of the tokens masked.
pub fn masked_lm(asked: &Asked, device: &Device) -> Result<(), Box<dyn Error>> {
    const BATCH: usize = 16;
    const COUNT: usize = BATCH * STEPS;
    const MASKED: usize = COUNT * 15 / 100;
    let config = Config {
        vocab: 8192,
        width: 256,
        layers: 4,
        heads: 4,
        inner: 1024,
        rank: None,
    };
    let (vocab, width) = (config.vocab, config.width);
    let model = MaskedLm {
        bert: Bert::new(&config, device),
        transform: linear(width, width, device),
        norm: norm(width, device),
        bias: Initializer::Zeros.init([vocab], device),
    };
    let ids = ints(tokens(vocab, COUNT), [BATCH, STEPS], device);
    let rows = (0..MASKED as u32).map(|row| row * 6).collect();
    let rows: Tensor<1, Int> = ints(rows, [MASKED], device);
    let targets = ints(tokens(vocab, MASKED), [MASKED], device);
    let loss = CrossEntropyLossConfig::new().init(device);
    train(asked, device, model, adamw(), COUNT, |model| {
        let hidden: Tensor<2> = model.bert.forward(ids.clone()).reshape([COUNT, width]);
        let chosen = model.transform.forward(hidden.select(0, rows.clone()));
        let x = model.norm.forward(Gelu::new().forward(chosen));
        let words = model.bert.words.weight.val().transpose();
        let logits = x.matmul(words) + model.bias.val().unsqueeze::<2>();
        loss.forward(logits, targets.clone())
    })
}

#[derive(Module, Debug)]
struct Classifier {
    bert: Bert,
    pooler: Linear,
    dropout: Dropout,
    classifier: Linear,
}

/// BERT-base as a classifier of two classes.
pub fn lora(asked: &Asked, device: &Device) -> Result<(), Box<dyn Error>> {
    const BATCH: usize = 8;
    const COUNT: usize = BATCH * STEPS;
    let config = Config {
        vocab: 30_522,
        width: 768,
        layers: 12,
        heads: 12,
        inner: 3072,
        rank: Some(8),
    };
    let width = config.width;
    let model = Classifier {
        bert: Bert::new(&config, device).freeze(),
        pooler: linear(width, width, device).no_grad(),
        dropout: dropout(),
        classifier: linear(width, 2, device),
    };
    let ids = ints(tokens(config.vocab, COUNT), [BATCH, STEPS], device);
    let targets = labels(BATCH, device);
    let loss = CrossEntropyLossConfig::new().init(device);
    train(asked, device, model, adamw(), COUNT, |model| {
        let hidden = model.bert.forward(ids.clone());
        let first: Tensor<2> = hidden.slice([0..BATCH, 0..1]).reshape([BATCH, width]);
        let pooled = model.dropout.forward(model.pooler.forward(first).tanh());
        loss.forward(model.classifier.forward(pooled), targets.clone())
    })
}
