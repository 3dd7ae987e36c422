//! The key-value cache: token by token the same logits as all at once.

use melos::Error;
use melos::models::decoder::{KeyValueCache, Step};
use melos::models::gpt2::{Gpt2Config, gpt2_lm};
use melos::models::{CausalLm, Tokens};
use melos::nn::{HiddenAct, Vars};
use melos::ops::{RowSelection, TokenIds};
use melos::tensor::{DType, Tape, Tensor};

use crate::common::gpu;
use crate::reference::tolerance;
use crate::reference::{Data, assert_near, cast};

const VOCAB: usize = 29;
const CAPACITY: usize = 16;

fn config() -> Gpt2Config {
    Gpt2Config {
        vocab_size: VOCAB,
        n_positions: CAPACITY,
        n_embd: 24,
        n_layer: 2,
        n_head: 3,
        activation_function: HiddenAct::GeluNew,
        // Such that attention is not uniform.
        initializer_range: 0.3,
        scale_attn_by_inverse_layer_idx: true,
        ..Gpt2Config::default()
    }
}

fn argmax(logits: &[f32]) -> u32 {
    let best = (0..).zip(logits).max_by(|a, b| a.1.total_cmp(b.1));
    best.unwrap().0
}

#[test]
fn cached_steps_are_the_whole_pass() {
    let gpu = gpu();
    let v = Vars::new();
    let model = gpt2_lm(&v, &config()).unwrap();
    v.store(&gpu, 5, |_| 0.0).unwrap();
    // What follows the last token of each row, from a pass over all of it.
    let whole = |rows: &[Vec<u32>]| {
        let steps = rows.iter().map(Vec::len).max().unwrap();
        let padded: Vec<u32> = rows
            .iter()
            .flat_map(|row| [&row[..], &vec![0; steps - row.len()]].concat())
            .collect();
        let ids = TokenIds::from_host(&gpu, rows.len(), steps, &padded).unwrap();
        let last = RowSelection::empty(&gpu, padded.len(), rows.len()).unwrap();
        let ends = rows.iter().enumerate();
        let ends: Vec<u32> = ends
            .map(|(b, r)| (b * steps + r.len() - 1) as u32)
            .collect();
        last.write(&ends).unwrap();
        let lens = Tensor::empty(&gpu, [rows.len()], DType::U32).unwrap();
        let inputs = Tokens::new(&ids, &lens);
        let logits = model
            .logits(&Tape::inference(&gpu), &inputs, &last)
            .unwrap();
        logits.to_vec::<f32>().unwrap()
    };

    let mut data = Data::new(2);
    let mut rows: Vec<Vec<u32>> = [5, 2, 4].map(|len| data.ids(len, VOCAB as u32)).to_vec();
    let mut cache = KeyValueCache::new(&gpu, &model.layers, rows.len(), CAPACITY).unwrap();
    let prefill = Step::new(&gpu, &model, &cache, 5).unwrap();
    let step = Step::new(&gpu, &model, &cache, 1).unwrap();
    // Twice: a cleared cache must not remember.
    for _ in 0..2 {
        let prompts: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        let mut logits = prefill.run(&mut cache, &prompts).unwrap();
        let mut seen = Vec::new();
        loop {
            let want = cast(&whole(&rows));
            assert_near("logits", &logits, &want, tolerance::TRANSFORMER);
            if cache.lens().contains(&12) {
                break;
            }
            let next: Vec<u32> = logits.chunks(VOCAB).map(argmax).collect();
            rows.iter_mut()
                .zip(&next)
                .for_each(|(row, token)| row.push(*token));
            seen.extend(next.clone());
            let one: Vec<&[u32]> = next.chunks(1).collect();
            logits = step.run(&mut cache, &one).unwrap();
        }
        assert_eq!(cache.lens(), [12, 9, 11]);
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 2, "the model says always the same: {seen:?}");
        cache.clear();
        rows = [5, 2, 4].map(|len| data.ids(len, VOCAB as u32)).to_vec();
    }
}

#[test]
fn what_the_cache_cannot_hold() {
    let gpu = gpu();
    let v = Vars::new();
    let model = gpt2_lm(&v, &config()).unwrap();
    v.store(&gpu, 5, |_| 0.0).unwrap();
    let result = KeyValueCache::new(&gpu, &model.layers, 1, CAPACITY + 1).map(|_| ());
    assert!(matches!(
        result,
        Err(Error::Argument {
            arg: "capacity",
            ..
        })
    ));
    let mut cache = KeyValueCache::new(&gpu, &model.layers, 1, 4).unwrap();
    let step = Step::new(&gpu, &model, &cache, 2).unwrap();
    for wrong in [&[][..], &[&[1, 2, 3][..]], &[&[]], &[&[1], &[2]]] {
        let result = step.run(&mut cache, wrong);
        assert!(matches!(result, Err(Error::Shape { .. })), "{wrong:?}");
    }
    step.run(&mut cache, &[&[1, 2]]).unwrap();
    step.run(&mut cache, &[&[3, 4]]).unwrap();
    let full = step.run(&mut cache, &[&[5]]);
    assert!(matches!(full, Err(Error::Argument { arg: "tokens", .. })));
    assert_eq!(cache.lens(), [4]);
}
