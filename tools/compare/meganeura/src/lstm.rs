//! T1 and T4: embedding 256, LSTM 512, output layer, for 32 sequences. There is no LSTM layer: the
//! graph has a node for everything that each time step does.

use meganeura::NodeId;

use crate::{Case, tokens};

const VOCAB: usize = 10_000;
const WIDTH: usize = 256;
const HIDDEN: usize = 512;
const BATCH: usize = 32;

/// Cuts (rows, width) in two behind `first` rows.
fn cut(case: &mut Case, x: NodeId, rows: usize, first: usize, width: usize) -> [NodeId; 2] {
    let sizes = [first, rows - first];
    let [a, b] = sizes.map(|rows| rows as u32);
    let flat = case.graph.reshape(x, &[rows * width]);
    let a = case.graph.split_a(flat, 1, a, b, width as u32);
    let b = case
        .graph
        .split_b(flat, 1, sizes[0] as u32, b, width as u32);
    let [rows_a, rows_b] = sizes;
    [
        case.graph.reshape(a, &[rows_a, width]),
        case.graph.reshape(b, &[rows_b, width]),
    ]
}

/// Cuts every row of (BATCH, width) in its middle.
fn halves(case: &mut Case, x: NodeId, width: usize) -> [NodeId; 2] {
    let (batch, half) = (BATCH as u32, width as u32 / 2);
    let flat = case.graph.reshape(x, &[BATCH * width]);
    let a = case.graph.split_a(flat, batch, half, half, 1);
    let b = case.graph.split_b(flat, batch, half, half, 1);
    [a, b].map(|part| case.graph.reshape(part, &[BATCH, width / 2]))
}

/// The rows of each of `steps` time steps.
fn apart(case: &mut Case, x: NodeId, steps: usize, width: usize) -> Vec<NodeId> {
    if steps == 1 {
        return vec![x];
    }
    let half = steps / 2;
    let [a, b] = cut(case, x, steps * BATCH, half * BATCH, width);
    let mut all = apart(case, a, half, width);
    all.extend(apart(case, b, steps - half, width));
    all
}

/// The opposite.
fn together(case: &mut Case, parts: &[NodeId], width: usize) -> NodeId {
    if let [one] = parts {
        return *one;
    }
    let (a, b) = parts.split_at(parts.len() / 2);
    let rows = [a, b].map(|part| part.len() * BATCH);
    let [a, b] = [a, b].map(|part| together(case, part, width));
    let a = case.graph.reshape(a, &[rows[0] * width]);
    let b = case.graph.reshape(b, &[rows[1] * width]);
    let [rows_a, rows_b] = rows.map(|rows| rows as u32);
    let all = case.graph.concat(a, b, 1, rows_a, rows_b, width as u32);
    case.graph.reshape(all, &[rows[0] + rows[1], width])
}

/// The hidden states of every time step, (BATCH, HIDDEN) each, of a text (T, B).
fn states(case: &mut Case, text: &[u32]) -> Vec<NodeId> {
    let bound = 1.0 / (HIDDEN as f32).sqrt();
    let steps = text.len() / BATCH;
    let ids = case.ids("ids", text.to_vec());
    let table = case.parameter("embedding", &[VOCAB, WIDTH], 0.1);
    let w_ih = case.parameter("w_ih", &[WIDTH, 4 * HIDDEN], bound);
    let w_hh = case.parameter("w_hh", &[HIDDEN, 4 * HIDDEN], bound);
    let bias = case.parameter("bias", &[4 * HIDDEN], bound);
    let embedded = case.graph.embedding(ids, table);
    let x = case.graph.matmul(embedded, w_ih);
    let x = case.graph.bias_add(x, bias);
    let mut states: Vec<NodeId> = Vec::new();
    let mut cell: Option<NodeId> = None;
    for x in apart(case, x, steps, 4 * HIDDEN) {
        let gates = match states.last() {
            Some(&h) => {
                let product = case.graph.matmul(h, w_hh);
                case.graph.add(x, product)
            }
            None => x,
        };
        let [a, b] = halves(case, gates, 4 * HIDDEN);
        let [i, f] = halves(case, a, 2 * HIDDEN);
        let [g, o] = halves(case, b, 2 * HIDDEN);
        let graph = &mut case.graph;
        let (i, f) = (graph.sigmoid(i), graph.sigmoid(f));
        let (g, o) = (graph.tanh(g), graph.sigmoid(o));
        let written = graph.mul(i, g);
        let next = match cell {
            Some(cell) => {
                let kept = graph.mul(f, cell);
                graph.add(kept, written)
            }
            None => written,
        };
        cell = Some(next);
        let squashed = graph.tanh(next);
        states.push(graph.mul(o, squashed));
    }
    states
}

fn output(case: &mut Case, hidden: NodeId, outputs: usize) -> NodeId {
    let bound = 1.0 / (HIDDEN as f32).sqrt();
    let weight = case.parameter("output.weight", &[HIDDEN, outputs], bound);
    let bias = case.parameter("output.bias", &[outputs], bound);
    let product = case.graph.matmul(hidden, weight);
    case.graph.bias_add(product, bias)
}

pub fn language_model() -> Case {
    const COUNT: usize = 64 * BATCH;
    let mut case = Case::new(COUNT, 0.0);
    let text = tokens(VOCAB, COUNT + BATCH);
    let states = states(&mut case, &text[..COUNT]);
    let hidden = together(&mut case, &states, HIDDEN);
    let logits = output(&mut case, hidden, VOCAB);
    case.cross_entropy(logits, &text[BATCH..], VOCAB);
    case
}

/// Of two classes.
pub fn classifier() -> Case {
    const COUNT: usize = 256 * BATCH;
    let mut case = Case::new(COUNT, 0.0);
    let states = states(&mut case, &tokens(VOCAB, COUNT));
    let logits = output(&mut case, states[states.len() - 1], 2);
    let labels: Vec<u32> = (0..BATCH as u32).map(|b| b % 2).collect();
    case.cross_entropy(logits, &labels, 2);
    case
}
