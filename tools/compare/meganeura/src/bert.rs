//! T2 and T3: BERT, as transformers lays it out, but without dropout, which meganeura does not have,
//! and with its GELU, x·sigmoid(1.702 x). Its attention knows one sequence only: rows lie time-major,
//! so that the heads of all sequences stand side by side in one row.

use meganeura::NodeId;

use crate::{Case, tokens};

const STEPS: usize = 128;
const EPS: f32 = 1e-12;
/// A uniform distribution as wide as the normal one of BERT, 0.02.
const BOUND: f32 = 0.034_641;

#[derive(Clone, Copy)]
struct Config {
    vocab: usize,
    width: usize,
    layers: usize,
    heads: usize,
    inner: usize,
    batch: usize,
    /// Rank of the update of queries and values; without one everything is trained.
    rank: Option<usize>,
}

impl Config {
    /// Where LoRA trains the updates alone.
    fn frozen(&self, case: &mut Case, parameter: NodeId) -> NodeId {
        match self.rank {
            Some(_) => case.graph.stop_gradient(parameter),
            None => parameter,
        }
    }

    fn parameter(&self, case: &mut Case, name: &str, shape: &[usize]) -> NodeId {
        let parameter = case.parameter(name, shape, BOUND);
        self.frozen(case, parameter)
    }

    fn filled(&self, case: &mut Case, name: &str, size: usize, value: f32) -> NodeId {
        let parameter = case.filled(name, size, value);
        self.frozen(case, parameter)
    }

    fn linear(&self, case: &mut Case, name: &str, x: NodeId, [i, o]: [usize; 2]) -> NodeId {
        let weight = self.parameter(case, &format!("{name}.weight"), &[i, o]);
        let bias = self.filled(case, &format!("{name}.bias"), o, 0.0);
        let product = case.graph.matmul(x, weight);
        case.graph.bias_add(product, bias)
    }

    /// A linear layer with its low-rank update.
    fn adapted(&self, case: &mut Case, name: &str, x: NodeId) -> NodeId {
        let width = self.width;
        let y = self.linear(case, name, x, [width, width]);
        let Some(rank) = self.rank else { return y };
        let bound = 1.0 / (width as f32).sqrt();
        let a = case.parameter(&format!("{name}.a"), &[width, rank], bound);
        let b = case.parameter(&format!("{name}.b"), &[rank, width], 0.0);
        let rows = self.batch * STEPS;
        // alpha / rank
        let scale = case.graph.constant(vec![2.0; rows * rank], &[rows, rank]);
        let low = case.graph.matmul(x, a);
        let low = case.graph.mul(low, scale);
        let update = case.graph.matmul(low, b);
        case.graph.add(y, update)
    }

    fn norm(&self, case: &mut Case, name: &str, x: NodeId) -> NodeId {
        let weight = self.filled(case, &format!("{name}.weight"), self.width, 1.0);
        let bias = self.filled(case, &format!("{name}.bias"), self.width, 0.0);
        case.graph.layer_norm(x, weight, bias, EPS)
    }

    fn layer(&self, case: &mut Case, name: &str, x: NodeId) -> NodeId {
        let (width, inner) = (self.width, self.inner);
        let heads = self.batch * self.heads;
        let query = self.adapted(case, &format!("{name}.query"), x);
        let key = self.linear(case, &format!("{name}.key"), x, [width, width]);
        let value = self.adapted(case, &format!("{name}.value"), x);
        let wide = [STEPS, self.batch * width];
        let [query, key, value] = [query, key, value].map(|y| case.graph.reshape(y, &wide));
        let (count, head) = (heads as u32, (width / self.heads) as u32);
        let mixed = case
            .graph
            .full_attention(query, key, value, count, count, head);
        let mixed = case.graph.reshape(mixed, &[STEPS * self.batch, width]);
        let attended = self.linear(case, &format!("{name}.attended"), mixed, [width, width]);
        let sum = case.graph.add(attended, x);
        let x = self.norm(case, &format!("{name}.attention_norm"), sum);
        let up = self.linear(case, &format!("{name}.up"), x, [width, inner]);
        let up = case.graph.gelu(up);
        let down = self.linear(case, &format!("{name}.down"), up, [inner, width]);
        let sum = case.graph.add(down, x);
        self.norm(case, &format!("{name}.output_norm"), sum)
    }

    /// The text (B, T) as rows (T·B, width), and the table of words.
    fn encode(&self, case: &mut Case) -> [NodeId; 2] {
        let text = tokens(self.vocab, self.batch * STEPS);
        let at = |row: usize| (row % self.batch) * STEPS + row / self.batch;
        let ids = (0..text.len()).map(|row| text[at(row)]).collect();
        let ids = case.ids("ids", ids);
        let places = (0..text.len()).map(|row| (row / self.batch) as u32);
        let places = case.ids("places", places.collect());
        let segment = case.ids("segment", vec![0]);
        let words = self.parameter(case, "words", &[self.vocab, self.width]);
        let positions = self.parameter(case, "positions", &[512, self.width]);
        let types = self.parameter(case, "types", &[2, self.width]);
        let word = case.graph.embedding(ids, words);
        let position = case.graph.embedding(places, positions);
        let kind = case.graph.embedding(segment, types);
        let sum = case.graph.add(word, position);
        let sum = case.graph.broadcast_add(sum, kind);
        let mut x = self.norm(case, "norm", sum);
        for layer in 0..self.layers {
            x = self.layer(case, &format!("layer.{layer}"), x);
        }
        [x, words]
    }
}

/// 15 % of the tokens masked.
pub fn masked_lm() -> Case {
    let config = Config {
        vocab: 8192,
        width: 256,
        layers: 4,
        heads: 4,
        inner: 1024,
        batch: 16,
        rank: None,
    };
    let (width, count) = (config.width, config.batch * STEPS);
    let masked = count * 15 / 100;
    let mut case = Case::new(count, 0.01);
    let [hidden, words] = config.encode(&mut case);
    let row = |at: usize| (at % STEPS * config.batch + at / STEPS) as u32;
    let rows = case.ids("rows", (0..masked).map(|at| row(6 * at)).collect());
    let chosen = case.graph.embedding(rows, hidden);
    let chosen = config.linear(&mut case, "transform", chosen, [width, width]);
    let chosen = case.graph.gelu(chosen);
    let x = config.norm(&mut case, "transform.norm", chosen);
    let bias = config.filled(&mut case, "output.bias", config.vocab, 0.0);
    let logits = case.graph.matmul_bt(x, words);
    let logits = case.graph.bias_add(logits, bias);
    case.cross_entropy(logits, &tokens(config.vocab, masked), config.vocab);
    case
}

/// BERT-base as a classifier of two classes.
pub fn lora() -> Case {
    let config = Config {
        vocab: 30_522,
        width: 768,
        layers: 12,
        heads: 12,
        inner: 3072,
        batch: 8,
        rank: Some(8),
    };
    let width = config.width;
    let mut case = Case::new(config.batch * STEPS, 0.01);
    let [hidden, _] = config.encode(&mut case);
    let rows = case.ids("rows", (0..config.batch as u32).collect());
    let first = case.graph.embedding(rows, hidden);
    let pooled = config.linear(&mut case, "pooler", first, [width, width]);
    let pooled = case.graph.tanh(pooled);
    let weight = case.parameter("classifier.weight", &[width, 2], BOUND);
    let bias = case.filled("classifier.bias", 2, 0.0);
    let logits = case.graph.matmul(pooled, weight);
    let logits = case.graph.bias_add(logits, bias);
    let labels: Vec<u32> = (0..config.batch as u32).map(|b| b % 2).collect();
    case.cross_entropy(logits, &labels, 2);
    case
}
