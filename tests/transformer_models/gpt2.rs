//! GPT-2 with each of its heads, and adapted.

use melos::Result;
use melos::models::gpt2::{Gpt2Config, gpt2_classifier, gpt2_lm};
use melos::nn::{LoraPlan, LoraUpdate, Vars};

use crate::common::gpu;
use crate::decoders;
use crate::reference::tolerance;
use crate::support::{self, Model};

fn gpt2<M>(
    name: &str,
    folder: &str,
    new: impl Fn(&Vars, &Gpt2Config) -> Result<M>,
    plan: &LoraPlan,
) -> (Model, M, Vars) {
    let config = Gpt2Config::from_json(&support::config(folder)).unwrap();
    let v = Vars::new();
    let model = new(&v, &config).unwrap();
    (Model::new(gpu(), name, folder, &v, plan), model, v)
}

fn language_model(name: &str, plan: &LoraPlan) -> Model {
    let (model, lm, _) = gpt2(name, "gpt2_lm", gpt2_lm, plan);
    decoders::language_model(&model, &lm);
    model
}

#[test]
fn language_model_is_transformers() {
    language_model("gpt2_lm", &LoraPlan::default());
}

#[test]
fn classifier_is_transformers() {
    let (none, name) = (LoraPlan::default(), "gpt2_classifier");
    let (model, classifier, _) = gpt2(name, name, gpt2_classifier, &none);
    decoders::classifier(&model, &classifier);
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
        ..LoraPlan::default()
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
    let (model, _, v) = gpt2("gpt2_lora", "gpt2_lm", gpt2_lm, &plan);
    v.merge().unwrap();
    let merged = model.fixture.names("merged.");
    assert_eq!(merged.len(), 2);
    for name in merged {
        let param = model.store.get(&name).unwrap();
        model.near(&format!("merged.{name}"), &param, tolerance::MATMUL);
    }
}
