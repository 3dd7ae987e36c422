//! BERT's steps.

use crate::device::Gpu;
use crate::error::Result;
use crate::models::bert::{self, BertConfig};
use crate::models::{Classifier, MaskedLm, MaskedTokens, Tokens};
use crate::nn::{LoraPlan, LoraUpdate, Vars};
use crate::ops::{self, RowSelection, TokenIds};
use crate::optim::OptimizerKind;
use crate::tensor::{DType, Tensor};

use super::{Case, Training, tokens};

/// Tokens of a sequence.
const STEPS: usize = 128;

fn suffix(precision: DType) -> &'static str {
    match precision {
        DType::F16 => "_f16",
        _ => "",
    }
}

fn ids(gpu: &Gpu, vocab: usize, batch: usize) -> Result<(TokenIds, Tensor)> {
    let ids = TokenIds::from_host(gpu, batch, STEPS, &tokens(vocab, batch * STEPS))?;
    let lens = Tensor::from_slice(gpu, [batch], &vec![STEPS as u32; batch])?;
    Ok((ids, lens))
}

/// T2: masked LM of a small BERT, 15 % of the tokens masked.
pub fn masked_lm(precision: DType) -> Case {
    const BATCH: usize = 16;
    let build = move |gpu: &Gpu| {
        let config = BertConfig {
            vocab_size: 8192,
            hidden_size: 256,
            num_hidden_layers: 4,
            num_attention_heads: 4,
            intermediate_size: 1024,
            ..BertConfig::default()
        };
        let v = Vars::new();
        let model = bert::masked_lm(&v, &config)?;
        let training = Training::with(gpu, &v, OptimizerKind::ADAMW, precision, |_| true)?;
        let (ids, lens) = ids(gpu, config.vocab_size, BATCH)?;
        let count = BATCH * STEPS;
        let masked: Vec<u32> = (0..count as u32)
            .step_by(6)
            .take(count * 15 / 100)
            .collect();
        let selection = RowSelection::empty(gpu, count, masked.len())?;
        selection.write(&masked)?;
        let targets = tokens(config.vocab_size, masked.len());
        let targets = Tensor::from_slice(gpu, [masked.len()], &targets)?;
        let weights = vec![1.0 / masked.len() as f32; masked.len()];
        let weights = Tensor::from_slice(gpu, [masked.len()], &weights)?;
        training.record(|tape| {
            let inputs = Tokens::new(&ids, &lens);
            let masked = MaskedTokens {
                rows: &selection,
                targets: &targets,
                weights: &weights,
            };
            model.loss(tape, &inputs, &masked)
        })
    };
    Case {
        name: format!(
            "T2_bert_mlm_L4_C256_V8192_B{BATCH}_T{STEPS}{}",
            suffix(precision)
        ),
        tokens: BATCH * STEPS,
        build: Box::new(build),
    }
}

/// T3: BERT-base as a classifier of two classes, LoRA of rank 8 on queries and values.
pub fn lora(precision: DType) -> Case {
    const BATCH: usize = 8;
    let build = move |gpu: &Gpu| {
        let config = BertConfig::default();
        let update = LoraUpdate {
            rank: 8,
            scale: 2.0,
            dropout: 0.1,
            part: None,
        };
        let v = Vars::new();
        let model = bert::classifier(&v, &config)?;
        let adapted = |name: &String| name.ends_with(".query") || name.ends_with(".value");
        let names = v
            .linears()
            .into_iter()
            .map(|(name, _)| name)
            .filter(adapted);
        let plan = LoraPlan {
            modules_to_save: vec!["classifier".into()],
            ..LoraPlan::of(names, &update)
        };
        v.adapt(&plan)?;
        let training = Training::with(gpu, &v, OptimizerKind::ADAMW, precision, |name| {
            plan.trains(name)
        })?;
        let (ids, lens) = ids(gpu, config.vocab_size, BATCH)?;
        let labels: Vec<u32> = (0..BATCH as u32).map(|b| b % 2).collect();
        let targets = Tensor::from_slice(gpu, [BATCH], &labels)?;
        let weights = Tensor::from_slice(gpu, [BATCH], &[1.0 / BATCH as f32; BATCH])?;
        training.record(|tape| {
            let logits = model.logits(tape, &Tokens::new(&ids, &lens))?;
            ops::cross_entropy(tape, &logits, &targets, &weights)
        })
    };
    Case {
        name: format!(
            "T3_bert_base_lora_r8_B{BATCH}_T{STEPS}{}",
            suffix(precision)
        ),
        tokens: BATCH * STEPS,
        build: Box::new(build),
    }
}
