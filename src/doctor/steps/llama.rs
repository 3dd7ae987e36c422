//! A small Llama's steps.

use serde_json::json;

use super::{Case, Training, tokens};
use crate::blocks::BlockType;
use crate::device::Gpu;
use crate::models::llama::LlamaConfig;
use crate::models::{CausalLm, Tokens};
use crate::nn::{LoraPlan, LoraUpdate, Vars};
use crate::ops::TokenIds;
use crate::optim::OptimizerKind;
use crate::tensor::{DType, ParamSpec, Tensor};

const BATCH: usize = 2;
/// Tokens of a sequence.
const STEPS: usize = 512;
/// The seed of what is packed.
const SEED: u64 = 1;

/// How the file of SmolLM2 that is at hand has its matrices.
fn packed(spec: &ParamSpec) -> BlockType {
    match spec.name.contains("embed_tokens") {
        true => BlockType::Q8_0,
        false => BlockType::Q4_1,
    }
}

/// T5: a language model of SmolLM2-135M's sizes, LoRA of rank 8 on all its linear layers; T6: the same
/// on matrices that are packed in blocks of four bits.
pub fn lora(on_blocks: bool) -> Case {
    let build = move |gpu: &Gpu| {
        let config = LlamaConfig::from_json(&json!({
            "model_type": "llama",
            "vocab_size": 49_152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 8192,
            "rope_theta": 100_000.0,
            "tie_word_embeddings": true,
        }))?;
        let update = LoraUpdate {
            rank: 8,
            scale: 2.0,
            dropout: 0.0,
            part: None,
        };
        let v = Vars::new();
        let model = config.language_model(&v)?;
        let names = v.linears().into_iter().map(|(name, _)| name);
        let plan = LoraPlan::of(names, &update);
        v.adapt(&plan)?;
        let trained = |name: &str| plan.trains(name);
        let frozen = |spec: &ParamSpec| match (on_blocks, spec.shape.0.len()) {
            (true, 2) => DType::Packed(packed(spec)),
            _ => DType::F32,
        };
        let training = Training::of(
            gpu,
            &v,
            OptimizerKind::ADAMW,
            (DType::F32, &frozen),
            trained,
        )?;
        for spec in training.store.specs() {
            let tensor = training.store.get(&spec.name)?;
            let DType::Packed(kind) = tensor.dtype() else {
                continue;
            };
            let mut values = vec![0.0; tensor.len()];
            spec.init.fill(&mut values, SEED, &spec.name);
            if let Some(bytes) = kind.quantise(&values) {
                tensor.write_blocks(&bytes)?;
            }
        }
        let count = BATCH * STEPS;
        let text = tokens(config.vocab_size, count + 1);
        let ids = TokenIds::from_host(gpu, BATCH, STEPS, &text[..count])?;
        let lens = Tensor::from_slice(gpu, [BATCH], &[STEPS as u32; BATCH])?;
        let targets = Tensor::from_slice(gpu, [count], &text[1..])?;
        let weights = Tensor::from_slice(gpu, [count], &vec![1.0 / count as f32; count])?;
        training.record(|tape| model.loss(tape, &Tokens::new(&ids, &lens), &targets, &weights))
    };
    let (step, base) = if on_blocks {
        ("T6", "_q4_1")
    } else {
        ("T5", "")
    };
    Case {
        name: format!("{step}_smollm2_135m_lora_r8{base}_B{BATCH}_T{STEPS}"),
        tokens: BATCH * STEPS,
        build: Box::new(build),
    }
}
