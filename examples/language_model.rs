//! A language model in a few lines: parameters, a training step recorded once and replayed.
//!
//! `cargo run --release --example language_model`

use melos::Result;
use melos::device::{AdapterChoice, Gpu};
use melos::models::lstm::{LstmConfig, LstmLanguageModel};
use melos::models::{RecurrentLm, Tokens};
use melos::nn::Vars;
use melos::ops::TokenIds;
use melos::optim::{Optimizer, OptimizerKind, StepState};
use melos::tensor::{Tape, Tensor};

const STEPS: usize = 16;
const BATCH: usize = 4;

fn main() -> Result<()> {
    let gpu = Gpu::open(&AdapterChoice {
        wanted: None,
        checked: false,
    })?;
    println!("on {}", gpu.caps().name);
    let config = LstmConfig {
        vocab_size: 32,
        embedding_size: 16,
        hidden_size: 32,
        num_layers: 1,
        bidirectional: false,
        head_size: 0,
        cell_clip: 0.0,
        embedding_dropout: 0.1,
        layer_dropout: 0.0,
        output_dropout: 0.1,
    };
    let seed = 1;
    let v = Vars::new();
    let model = LstmLanguageModel::new(&v, &config)?;
    let store = v.store(&gpu, seed, |_| 1.0)?;
    let adam = OptimizerKind::Adam {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
    };
    let optimizer = Optimizer::new(&gpu, adam, &store)?;
    let state = StepState::new(&gpu, seed)?;

    // Four lanes that count, each from another number; time-major.
    let text: Vec<u32> = (0..(STEPS + 1) * BATCH)
        .map(|i| ((i / BATCH + 5 * (i % BATCH)) % 32) as u32)
        .collect();
    let count = STEPS * BATCH;
    let ids = TokenIds::from_host(&gpu, STEPS, BATCH, &text[..count])?;
    let next = Tensor::from_slice(&gpu, [count], &text[BATCH..])?;
    let weights = Tensor::from_slice(&gpu, [count], &vec![1.0 / count as f32; count])?;
    let lens = Tensor::from_slice(&gpu, [BATCH], &[STEPS as u32; BATCH])?;

    // The closure runs once, to be recorded; a replay costs about a microsecond a dispatch.
    let (step, loss) = gpu.record(|| {
        let tape = Tape::training(&gpu, state.tensor());
        let tokens = Tokens::new(&ids, &lens);
        let (loss, _) = model.loss(&tape, &tokens, &[], &next, &weights)?;
        tape.backward(&loss)?;
        optimizer.step(&store, &state, Some(5.0))?;
        Ok(loss)
    })?;
    for number in 1..=60 {
        state.advance(&optimizer, number, 0.01)?;
        gpu.replay(&step)?;
        if number % 20 == 0 {
            println!("step {number}: loss {:.3}", loss.to_vec::<f32>()?[0]);
        }
    }
    Ok(())
}
