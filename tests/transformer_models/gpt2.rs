//! GPT-2 with each of its heads, and adapted.

use melos::models::gpt2::{Gpt2Config, Gpt2ForSequenceClassification, Gpt2LmHead, Head};
use melos::nn::{LoraPlan, LoraUpdate, merge_adapters};

use crate::common::gpu;
use crate::reference::tolerance;
use crate::support::{self, Model};

fn gpt2(name: &str, folder: &str, head: Head, plan: &LoraPlan) -> (Model, Gpt2Config) {
    let config = Gpt2Config::from_json(&support::config(folder)).unwrap();
    let specs = config.specs(head, plan).unwrap();
    (Model::new(gpu(), name, folder, specs, plan), config)
}

fn language_model(name: &str, plan: &LoraPlan) -> Model {
    let (model, config) = gpt2(name, "gpt2_lm", Head::Lm, plan);
    let lm = Gpt2LmHead::new(&model.store, &config, plan).unwrap();
    let ids = model.ids();
    let tape = model.inference();
    model.hidden_states(&lm.gpt2.hidden_states(&tape, &ids).unwrap());
    let logits = lm.logits(&tape, &ids, &model.all_rows()).unwrap();
    model.near_inside("act.logits", &logits);
    // The target of a position is the label of the next.
    let steps = model.fixture.shape("input.ids")[1];
    let labels = model.fixture.u32("input.labels");
    let shifted: Vec<u32> = labels
        .chunks(steps)
        .flat_map(|row| [&row[1..], &[u32::MAX]].concat())
        .collect();
    let (targets, weights) = (model.u32s(&shifted), model.mean_weights(&shifted));
    model.covers_all();
    model.trains_alike(|tape| lm.loss(tape, &ids, &targets, &weights));
    model
}

#[test]
fn language_model_is_transformers() {
    language_model("gpt2_lm", &LoraPlan::default());
}

#[test]
fn classifier_is_transformers() {
    let (none, name) = (LoraPlan::default(), "gpt2_classifier");
    let (model, config) = gpt2(name, name, Head::SequenceClassification, &none);
    let classifier = Gpt2ForSequenceClassification::new(&model.store, &config, &none).unwrap();
    let ids = model.ids();
    let tape = model.inference();
    model.hidden_states(&classifier.gpt2.hidden_states(&tape, &ids).unwrap());
    let steps = model.fixture.shape("input.ids")[1] as u32;
    let lens = model.fixture.u32("input.lens");
    let last: Vec<u32> = (0..)
        .zip(&lens)
        .map(|(b, len)| b * steps + len - 1)
        .collect();
    let last = model.selection(&last);
    let logits = classifier.logits(&tape, &ids, &last).unwrap();
    model.near("act.logits", &logits, tolerance::TRANSFORMER);
    let labels = model.fixture.u32("input.labels");
    let (targets, weights) = (model.u32s(&labels), model.mean_weights(&labels));
    model.covers_all();
    model.trains_alike(|tape| classifier.loss(tape, &ids, &last, &targets, &weights));
}

/// Rank-stabilised, with a rank and an alpha of its own for each layer.
fn adapted() -> LoraPlan {
    let update = |rank: usize, alpha: f32| LoraUpdate {
        rank,
        scale: alpha / (rank as f32).sqrt(),
        dropout: 0.0,
        part: None,
    };
    let module = |l: usize| format!("transformer.h.{l}.attn.c_attn");
    LoraPlan {
        modules: [
            (module(0), vec![update(3, 5.0)]),
            (module(1), vec![update(4, 6.0)]),
        ]
        .into(),
        modules_to_save: vec![],
    }
}

#[test]
fn lora_is_pefts() {
    let plan = adapted();
    let model = language_model("gpt2_lora", &plan);
    let base = crate::common::fixture::Fixture::open("hf/gpt2_lm/model");
    for spec in model.store.specs().filter(|s| !plan.trains(&s.name)) {
        let after = model
            .store
            .get(&spec.name)
            .unwrap()
            .to_vec::<f32>()
            .unwrap();
        crate::reference::assert_same_bits(&spec.name, &after, &base.f32(&spec.name));
    }
}

#[test]
fn merged_lora_is_pefts() {
    let plan = adapted();
    let (model, config) = gpt2("gpt2_lora", "gpt2_lm", Head::Lm, &plan);
    merge_adapters(&model.store, &config.linear_layers(Head::Lm), &plan).unwrap();
    let merged = model.fixture.names("merged.");
    assert_eq!(merged.len(), 2);
    for name in merged {
        let param = model.store.get(&name).unwrap();
        model.near(&format!("merged.{name}"), &param, tolerance::MATMUL);
    }
}
