//! RoBERTa and XLM-R with each of their heads, and adapted.

use melos::models::Config;
use melos::models::roberta::{self, RobertaConfig};
use melos::nn::{LoraPlan, Vars, Wanted};
use melos::ops::TokenIds;
use melos::tensor::{Tape, Tensor};
use melos::{Error, Result};
use serde_json::json;

use crate::common::gpu;
use crate::encoders::{self, Batch};
use crate::reference::{assert_same_bits, tolerance};
use crate::support::{self, Model};

/// A model with the values of the fixture, its handles and its configuration.
fn roberta<M>(
    name: &str,
    folder: &str,
    new: impl Fn(&Vars, &RobertaConfig) -> Result<M>,
    plan: &LoraPlan,
) -> (Model, M, Vars, RobertaConfig) {
    let config = RobertaConfig::from_json(&support::config(folder)).unwrap();
    let v = Vars::new();
    let model = new(&v, &config).unwrap();
    (Model::new(gpu(), name, folder, &v, plan), model, v, config)
}

#[test]
fn masked_lm_is_transformers() {
    for (name, multilingual) in [("roberta_mlm", false), ("xlm_roberta_mlm", true)] {
        let none = LoraPlan::default();
        let (model, lm, _, config) = roberta(name, name, roberta::masked_lm, &none);
        assert_eq!(config.multilingual, multilingual);
        encoders::masked_lm(&model, &lm);
    }
}

/// The file of the bare class has no prefix.
#[test]
fn the_pooler_is_transformers() {
    let config = RobertaConfig::from_json(&support::config("roberta_model")).unwrap();
    let v = Vars::new();
    let encoder = roberta::pooled(&v, &config).unwrap();
    let model = Model::unprefixed(gpu(), "roberta_model", "roberta.", &v);
    let batch = Batch::of(&model);
    let pooled = encoder.pooled(&model.inference(), &batch.inputs());
    model.near("act.pooled", &pooled.unwrap(), tolerance::TRANSFORMER);
}

fn classifier(name: &str, plan: &LoraPlan) -> Model {
    let (folder, new) = ("roberta_classifier", roberta::classifier);
    let (model, classifier, _, config) = roberta(name, folder, new, plan);
    encoders::classifier(&model, &classifier, config.labels());
    model
}

#[test]
fn classifier_is_transformers() {
    classifier("roberta_classifier", &LoraPlan::default()).covers_all();
}

#[test]
fn token_classifier_is_transformers() {
    let (name, none) = ("roberta_token_classifier", LoraPlan::default());
    let (model, tagger, ..) = roberta(name, name, roberta::tagger, &none);
    encoders::tagger(&model, &tagger);
}

/// LoRA on query and value, the whole head trained too.
fn adapted() -> LoraPlan {
    let whole = ["classifier.dense", "classifier.out_proj"];
    encoders::adapted(
        "roberta.encoder.layer",
        ["self.query", "self.value"],
        &whole,
    )
}

#[test]
fn lora_is_pefts_and_leaves_the_base_alone() {
    let plan = adapted();
    let model = classifier("roberta_lora", &plan);
    encoders::leaves_the_base_alone(&model, &plan, "roberta_classifier");
}

#[test]
fn merged_lora_is_pefts() {
    let (folder, new) = ("roberta_classifier", roberta::classifier);
    let (model, classifier, v, _) = roberta("roberta_lora", folder, new, &adapted());
    encoders::merged(&model, &classifier, &v);
}

/// As many tokens as there are positions behind the padding token's, and types that nobody reads.
#[test]
fn positions_begin_behind_padding_and_types_are_not_read() {
    let (name, none) = ("roberta_mlm", LoraPlan::default());
    let (model, lm, _, config) = roberta(name, name, roberta::masked_lm, &none);
    assert_eq!(
        (config.bert.max_position_embeddings, config.positions()),
        (16, 14)
    );
    let gpu = &model.gpu;
    let run = |steps: usize, kind: u32| {
        let ids = TokenIds::from_host(gpu, 1, steps, &vec![5; steps])?;
        let types = TokenIds::from_host(gpu, 1, steps, &vec![kind; steps])?;
        let lens = Tensor::from_slice(gpu, [1], &[steps as u32])?;
        let inputs = melos::models::Tokens {
            types: Some(&types),
            ..melos::models::Tokens::new(&ids, &lens)
        };
        let hidden = lm
            .encoder
            .forward(&Tape::inference(gpu), &inputs, &Wanted::All);
        hidden?.to_vec::<f32>()
    };
    let plain = run(14, 0).unwrap();
    assert_same_bits("types", &plain, &run(14, 1).unwrap());
    let error = run(15, 0).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");
    assert!(error.to_string().contains("T <= 14"), "{error}");
}

#[test]
fn configurations_that_cannot_be_are_refused() {
    for (field, value, words) in [
        ("pad_token_id", json!(null), "positions are counted from it"),
        ("max_position_embeddings", json!(2), "positions begin at 2"),
        ("hidden_size", json!("wide"), "roberta"),
        ("is_decoder", json!(true), "is_decoder is true"),
    ] {
        let json = json!({"model_type": "roberta", field: value});
        let error = RobertaConfig::from_json(&json).unwrap_err();
        assert!(matches!(error, Error::ModelConfig { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}
