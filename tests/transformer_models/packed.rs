//! Several sequences in a row: each has the logits that it has alone, to the bit, and what is learned of them is
//! what is learned of them in rows of their own.

use std::path::Path;

use melos::device::Gpu;
use melos::hub::Head;
use melos::models::{Dropouts, Network, Tokens, read_config};
use melos::nn::{Segments, Vars};
use melos::ops::{RowSelection, TokenIds};
use melos::optim::StepState;
use melos::tensor::{ParamStore, Tape, Tensor};
use serde_json::json;

use crate::common::gpu;
use crate::reference::{Data, assert_near, assert_same_bits, cast, tolerance};
use crate::support;

const TIME: usize = 96;
/// First token and tokens of each sequence.
const SEQUENCES: [(usize, usize); 3] = [(0, 20), (32, 25), (64, 32)];
const MODELS: [&str; 9] = [
    "gpt2_lm",
    "llama_lm",
    "mistral_lm",
    "qwen2_lm",
    "qwen3_lm",
    "gemma_lm",
    "gemma2_lm",
    "gemma3_lm",
    "phi3_lm",
];

struct Model {
    /// Each call of `gpu` makes a queue of its own.
    gpu: Gpu,
    network: Box<dyn Network>,
    store: ParamStore,
    vocabulary: u32,
}

/// A random one with positions for a long row.
fn model(name: &str) -> Model {
    let mut config = support::config(name);
    for key in ["max_position_embeddings", "n_positions"] {
        if !config[key].is_null() {
            config[key] = json!(TIME);
        }
    }
    let mut config = read_config(&config, Path::new(name)).unwrap();
    config.set_dropouts(&Dropouts {
        hidden: Some(0.0),
        attention: Some(0.0),
        classifier: None,
    });
    let vars = Vars::new();
    let network = config.build(&vars, Head::CausalLm).unwrap();
    let gpu = gpu();
    let store = vars.store(&gpu, 3, |_| 1.0).unwrap();
    Model {
        gpu,
        network,
        store,
        vocabulary: config.vocab_size() as u32,
    }
}

/// Rows of tokens.
struct Batch {
    ids: TokenIds,
    lens: Tensor,
    segments: Option<Segments>,
}

impl Batch {
    fn new(gpu: &Gpu, ids: &[u32], starts: Option<&[u32]>) -> Batch {
        let rows = ids.len() / TIME;
        let tokens = |ids: &[u32]| TokenIds::from_host(gpu, rows, TIME, ids).unwrap();
        let segments = starts.map(|starts| {
            let places = starts.iter().enumerate();
            let places: Vec<u32> = places.map(|(t, start)| (t % TIME) as u32 - start).collect();
            Segments {
                positions: tokens(&places),
                starts: Tensor::from_slice(gpu, [starts.len()], starts).unwrap(),
            }
        });
        Batch {
            ids: tokens(ids),
            lens: Tensor::from_slice(gpu, [rows], &vec![TIME as u32; rows]).unwrap(),
            segments,
        }
    }

    fn tokens(&self) -> Tokens<'_> {
        Tokens {
            segments: self.segments.as_ref(),
            ..Tokens::new(&self.ids, &self.lens)
        }
    }
}

/// The sequences in one row, what fills the gaps, and where each token's begins.
fn packed(ids: &[Vec<u32>]) -> (Vec<u32>, Vec<u32>) {
    let (mut row, mut starts) = (vec![1; TIME], vec![0; TIME]);
    for ((start, length), ids) in SEQUENCES.iter().zip(ids) {
        row[*start..start + length].copy_from_slice(ids);
        starts[*start..].fill(*start as u32);
    }
    (row, starts)
}

fn sequences(vocabulary: u32) -> Vec<Vec<u32>> {
    let mut data = Data::new(9);
    let lengths = SEQUENCES.iter();
    lengths
        .map(|(_, length)| data.ids(*length, vocabulary))
        .collect()
}

#[test]
fn sequences_of_a_row_have_the_logits_that_they_have_alone() {
    for name in MODELS {
        let model = model(name);
        let lm = model.network.as_causal_lm().unwrap();
        let logits = |batch: &Batch, from: usize, length: usize| {
            let rows: Vec<u32> = (from..from + length).map(|t| t as u32).collect();
            let selection = RowSelection::empty(&model.gpu, TIME, length).unwrap();
            selection.write(&rows).unwrap();
            let tape = Tape::inference(&model.gpu);
            let logits = lm.logits(&tape, &batch.tokens(), &selection).unwrap();
            logits.to_vec::<f32>().unwrap()
        };
        let all = sequences(model.vocabulary);
        let (row, starts) = packed(&all);
        let together = Batch::new(&model.gpu, &row, Some(&starts));
        for ((start, length), ids) in SEQUENCES.iter().zip(&all) {
            let mut alone = vec![5; TIME];
            alone[..*length].copy_from_slice(ids);
            let alone = logits(&Batch::new(&model.gpu, &alone, None), 0, *length);
            let found = logits(&together, *start, *length);
            assert_same_bits(&format!("{name} at {start}"), &found, &alone);
            if *start > 0 {
                // They would see each other otherwise.
                let mixed = logits(&Batch::new(&model.gpu, &row, None), *start, *length);
                assert!(mixed != alone, "{name} at {start}");
            }
        }
    }
}

#[test]
fn what_is_learned_of_a_row_is_what_is_learned_of_its_sequences() {
    for name in MODELS {
        let model = model(name);
        let gpu = &model.gpu;
        let lm = model.network.as_causal_lm().unwrap();
        let all = sequences(model.vocabulary);
        let total: usize = SEQUENCES.iter().map(|(_, length)| length - 1).sum();
        let learned = |batch: &Batch, targets: &[u32]| {
            for spec in model.store.specs() {
                let tensor = model.store.get(&spec.name).unwrap();
                tensor.grad().unwrap().clear();
            }
            let counts = |t: &u32| {
                if *t == u32::MAX {
                    0.0
                } else {
                    1.0 / total as f32
                }
            };
            let weights: Vec<f32> = targets.iter().map(counts).collect();
            let weights = Tensor::from_slice(gpu, [weights.len()], &weights).unwrap();
            let targets = Tensor::from_slice(gpu, [targets.len()], targets).unwrap();
            let state = StepState::new(gpu, 1).unwrap();
            let tape = Tape::training(gpu, state.tensor());
            let loss = lm.loss(&tape, &batch.tokens(), &targets, &weights).unwrap();
            tape.backward(&loss).unwrap();
            let specs = model.store.specs();
            let grads = specs.map(|spec| {
                let grad = model.store.get(&spec.name).unwrap().grad().unwrap().clone();
                (spec.name.clone(), grad.to_vec::<f32>().unwrap())
            });
            (loss.to_vec::<f32>().unwrap(), grads.collect::<Vec<_>>())
        };
        let next = |ids: &[u32], row: &mut [u32]| row[..ids.len() - 1].copy_from_slice(&ids[1..]);
        let (row, starts) = packed(&all);
        let mut targets = vec![u32::MAX; TIME];
        let (mut apart, mut of_apart) = (vec![5; 3 * TIME], vec![u32::MAX; 3 * TIME]);
        for (n, ((start, length), ids)) in SEQUENCES.iter().zip(&all).enumerate() {
            next(ids, &mut targets[*start..]);
            apart[n * TIME..n * TIME + length].copy_from_slice(ids);
            next(ids, &mut of_apart[n * TIME..]);
        }
        let (loss, grads) = learned(&Batch::new(&model.gpu, &row, Some(&starts)), &targets);
        let (wanted, of_wanted) = learned(&Batch::new(&model.gpu, &apart, None), &of_apart);
        assert_near(name, &loss, &cast(&wanted), tolerance::TRANSFORMER);
        for ((of, got), (_, want)) in grads.iter().zip(&of_wanted) {
            let what = format!("{name}: {of}");
            assert!(want.iter().any(|x| *x != 0.0), "{what}");
            assert_near(&what, got, &cast(want), tolerance::TRANSFORMER);
        }
    }
}
