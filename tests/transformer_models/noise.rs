//! NEFTune: noise on the embeddings of a batch while it trains.

use std::path::Path;

use melos::hub::Head;
use melos::kernels::philox::philox4x32;
use melos::models::{Tokens, read_config};
use melos::nn::Vars;
use melos::ops::TokenIds;
use melos::optim::StepState;
use melos::tensor::{Tape, Tensor};
use serde_json::json;

use crate::common::gpu;
use crate::reference::{assert_near, assert_same_bits, cast, tolerance};
use crate::support;

/// With every token once, the noise on a row of embeddings is noise on a row of the table.
#[test]
fn noise_is_alpha_over_the_root_of_a_rows_numbers() {
    const STEPS: usize = 9;
    let gpu = gpu();
    let mut config = support::config("llama_lm");
    config["tie_word_embeddings"] = json!(false);
    let config = read_config(&config, Path::new("llama")).unwrap();
    let vars = Vars::new();
    let network = config.build(&vars, Head::CausalLm).unwrap();
    let store = vars.store(&gpu, 3, |_| 1.0).unwrap();
    let lm = network.as_causal_lm().unwrap();
    let ids: Vec<u32> = (1..=STEPS as u32).collect();
    let tokens = TokenIds::from_host(&gpu, 1, STEPS, &ids).unwrap();
    let lens = Tensor::from_slice(&gpu, [1], &[STEPS as u32]).unwrap();
    let targets = Tensor::from_slice(&gpu, [STEPS], &ids).unwrap();
    let weights = Tensor::from_slice(&gpu, [STEPS], &[1.0 / STEPS as f32; STEPS]).unwrap();
    let state = StepState::new(&gpu, 1).unwrap();
    let loss = |training: bool, noise: f32| {
        let tape = match training {
            true => Tape::training(&gpu, state.tensor()),
            false => Tape::inference(&gpu),
        };
        let inputs = Tokens {
            noise,
            ..Tokens::new(&tokens, &lens)
        };
        let loss = lm.loss(&tape, &inputs, &targets, &weights).unwrap();
        loss.to_vec::<f32>().unwrap()
    };
    let plain = loss(true, 0.0);
    assert_same_bits("not trained", &loss(false, 40.0), &plain);
    let noisy = loss(true, 40.0);
    assert!((noisy[0] - plain[0]).abs() > 1e-3, "{noisy:?} {plain:?}");

    let table = store.get("model.embed_tokens.weight").unwrap();
    let mut values = table.to_vec::<f32>().unwrap();
    let width = table.shape().last();
    let words: Vec<u32> = state.tensor().to_vec().unwrap();
    let scale = 40.0 / ((STEPS * width) as f32).sqrt();
    for e in 0..STEPS * width {
        // The draw and the seed stand behind the learning rate.
        let counter = [e as u32 / 4, 0, words[1], 0];
        let word = philox4x32(counter, [words[2], words[3]])[e % 4];
        let drawn = f64::from(word >> 8) / 8_388_608.0 - 1.0;
        let row = ids[e / width] as usize;
        values[row * width + e % width] += scale * drawn as f32;
    }
    table.write(&values).unwrap();
    assert_near(
        "noise",
        &noisy,
        &cast(&loss(false, 0.0)),
        tolerance::TRANSFORMER,
    );
}
