//! T2 and T3: BERT, as transformers lays it out. What candle-nn has without a backward pass
//! (softmax and LayerNorm as one kernel) stands here in its parts.

use candle_core::{IndexOp, Result, Tensor};
use candle_nn::{Init, Linear, Module, VarBuilder, loss, ops};

use crate::{Case, tokens};

const STEPS: usize = 128;
const DROPOUT: f32 = 0.1;
const EPS: f32 = 1e-12;

struct Config {
    vocab: usize,
    width: usize,
    layers: usize,
    heads: usize,
    inner: usize,
    /// Rank of the update of queries and values; without one everything is trained.
    rank: Option<usize>,
}

/// With LoRA, what is trained.
fn adapts(name: &str) -> bool {
    name.contains("lora") || name.starts_with("classifier")
}

impl Config {
    /// A parameter without its gradient where it is frozen.
    fn parameter(
        &self,
        vb: &VarBuilder,
        name: &str,
        shape: &[usize],
        init: Init,
    ) -> Result<Tensor> {
        let value = vb.get_with_hints(shape, name, init)?;
        let frozen = self.rank.is_some() && !adapts(&format!("{}.{name}", vb.prefix()));
        Ok(if frozen { value.detach() } else { value })
    }

    fn normal(&self, vb: &VarBuilder, name: &str, shape: &[usize]) -> Result<Tensor> {
        let init = Init::Randn {
            mean: 0.0,
            stdev: 0.02,
        };
        self.parameter(vb, name, shape, init)
    }

    fn linear(&self, vb: VarBuilder, inputs: usize, outputs: usize) -> Result<Linear> {
        let weight = self.normal(&vb, "weight", &[outputs, inputs])?;
        let bias = self.parameter(&vb, "bias", &[outputs], Init::Const(0.0))?;
        Ok(Linear::new(weight, Some(bias)))
    }

    fn norm(&self, vb: VarBuilder) -> Result<Norm> {
        Ok(Norm {
            weight: self.parameter(&vb, "weight", &[self.width], Init::Const(1.0))?,
            bias: self.parameter(&vb, "bias", &[self.width], Init::Const(0.0))?,
        })
    }
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm_slow(x, &self.weight, &self.bias, EPS)
    }
}

/// A linear layer with its low-rank update.
struct Adapted {
    base: Linear,
    update: Option<(Linear, Linear)>,
}

impl Adapted {
    fn new(config: &Config, vb: VarBuilder) -> Result<Adapted> {
        let width = config.width;
        let update = |rank| -> Result<(Linear, Linear)> {
            let bound = 1.0 / (width as f64).sqrt();
            let init = Init::Uniform {
                lo: -bound,
                up: bound,
            };
            let a = config.parameter(&vb, "lora_a", &[rank, width], init)?;
            let b = config.parameter(&vb, "lora_b", &[width, rank], Init::Const(0.0))?;
            Ok((Linear::new(a, None), Linear::new(b, None)))
        };
        Ok(Adapted {
            base: config.linear(vb.clone(), width, width)?,
            update: config.rank.map(update).transpose()?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.base.forward(x)?;
        let Some((a, b)) = &self.update else {
            return Ok(y);
        };
        let update = b.forward(&a.forward(&ops::dropout(x, DROPOUT)?)?)?;
        // alpha / rank
        y + (update * 2.0)?
    }
}

struct Layer {
    query: Adapted,
    key: Linear,
    value: Adapted,
    attended: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    output_norm: Norm,
    heads: usize,
}

impl Layer {
    fn new(config: &Config, vb: VarBuilder) -> Result<Layer> {
        let (width, inner) = (config.width, config.inner);
        Ok(Layer {
            query: Adapted::new(config, vb.pp("query"))?,
            key: config.linear(vb.pp("key"), width, width)?,
            value: Adapted::new(config, vb.pp("value"))?,
            attended: config.linear(vb.pp("attended"), width, width)?,
            attention_norm: config.norm(vb.pp("attention_norm"))?,
            up: config.linear(vb.pp("up"), width, inner)?,
            down: config.linear(vb.pp("down"), inner, width)?,
            output_norm: config.norm(vb.pp("output_norm"))?,
            heads: config.heads,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, steps, width) = x.dims3()?;
        let head = width / self.heads;
        let split = |y: Tensor| {
            y.reshape((batch, steps, self.heads, head))?
                .transpose(1, 2)?
                .contiguous()
        };
        let query = split(self.query.forward(x)?)?;
        let key = split(self.key.forward(x)?)?;
        let value = split(self.value.forward(x)?)?;
        let scores = (query.matmul(&key.t()?)? * (1.0 / (head as f64).sqrt()))?;
        let weights = ops::dropout(&ops::softmax(&scores, 3)?, DROPOUT)?;
        let mixed = weights.matmul(&value)?.transpose(1, 2)?.flatten_from(2)?;
        let mixed = ops::dropout(&self.attended.forward(&mixed)?, DROPOUT)?;
        let x = self.attention_norm.forward(&(mixed + x)?)?;
        let inner = self.up.forward(&x)?.gelu_erf()?;
        let y = ops::dropout(&self.down.forward(&inner)?, DROPOUT)?;
        self.output_norm.forward(&(y + x)?)
    }
}

struct Bert {
    words: Tensor,
    positions: Tensor,
    types: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
}

impl Bert {
    fn new(config: &Config, vb: VarBuilder) -> Result<Bert> {
        let width = config.width;
        Ok(Bert {
            words: config.normal(&vb, "words", &[config.vocab, width])?,
            positions: config.normal(&vb, "positions", &[512, width])?,
            types: config.normal(&vb, "types", &[2, width])?,
            norm: config.norm(vb.pp("norm"))?,
            layers: (0..config.layers)
                .map(|l| Layer::new(config, vb.pp(format!("layer.{l}"))))
                .collect::<Result<_>>()?,
        })
    }

    /// ids (B, T) → (B, T, C)
    fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let (batch, steps) = ids.dims2()?;
        let words = self.words.index_select(&ids.flatten_all()?, 0)?;
        let words = words.reshape((batch, steps, ()))?;
        let rows = self
            .positions
            .i(..steps)?
            .broadcast_add(&self.types.i(..1)?)?;
        let embedded = self.norm.forward(&words.broadcast_add(&rows)?)?;
        let first = ops::dropout(&embedded, DROPOUT)?;
        self.layers.iter().try_fold(first, |x, l| l.forward(&x))
    }
}

/// 15 % of the tokens masked.
pub fn masked_lm(vb: VarBuilder) -> Result<Case> {
    const BATCH: usize = 16;
    const MASKED: usize = BATCH * STEPS * 15 / 100;
    let config = Config {
        vocab: 8192,
        width: 256,
        layers: 4,
        heads: 4,
        inner: 1024,
        rank: None,
    };
    let device = vb.device();
    let (vocab, width) = (config.vocab, config.width);
    let ids = Tensor::from_vec(tokens(vocab, BATCH * STEPS), (BATCH, STEPS), device)?;
    let rows: Vec<u32> = (0..MASKED as u32).map(|row| row * 6).collect();
    let rows = Tensor::new(rows, device)?;
    let targets = Tensor::new(tokens(vocab, MASKED), device)?;
    let bert = Bert::new(&config, vb.pp("bert"))?;
    let transform = config.linear(vb.pp("transform"), width, width)?;
    let norm = config.norm(vb.pp("norm"))?;
    let bias = config.parameter(&vb.pp("output"), "bias", &[vocab], Init::Const(0.0))?;
    let output = Linear::new(bert.words.clone(), Some(bias));
    let forward = move || {
        let chosen = bert.forward(&ids)?.flatten_to(1)?.index_select(&rows, 0)?;
        let x = norm.forward(&transform.forward(&chosen)?.gelu_erf()?)?;
        loss::cross_entropy(&output.forward(&x)?, &targets)
    };
    Ok(Case {
        forward: Box::new(forward),
        tokens: BATCH * STEPS,
        weight_decay: 0.01,
        trained: |_| true,
    })
}

/// BERT-base as a classifier of two classes.
pub fn lora(vb: VarBuilder) -> Result<Case> {
    const BATCH: usize = 8;
    let config = Config {
        vocab: 30_522,
        width: 768,
        layers: 12,
        heads: 12,
        inner: 3072,
        rank: Some(8),
    };
    let device = vb.device();
    let ids = tokens(config.vocab, BATCH * STEPS);
    let ids = Tensor::from_vec(ids, (BATCH, STEPS), device)?;
    let labels: Vec<u32> = (0..BATCH as u32).map(|b| b % 2).collect();
    let targets = Tensor::new(labels, device)?;
    let bert = Bert::new(&config, vb.pp("bert"))?;
    let pooler = config.linear(vb.pp("pooler"), config.width, config.width)?;
    let classifier = config.linear(vb.pp("classifier"), config.width, 2)?;
    let forward = move || {
        let first = bert.forward(&ids)?.i((.., 0))?.contiguous()?;
        let pooled = ops::dropout(&pooler.forward(&first)?.tanh()?, DROPOUT)?;
        loss::cross_entropy(&classifier.forward(&pooled)?, &targets)
    };
    Ok(Case {
        forward: Box::new(forward),
        tokens: BATCH * STEPS,
        weight_decay: 0.01,
        trained: adapts,
    })
}
