//! DistilBERT with each of its heads, and adapted.

use melos::Result;
use melos::models::distilbert::{self, DistilBertConfig};
use melos::nn::{LoraPlan, Vars};

use crate::common::gpu;
use crate::encoders;
use crate::support::{self, Model};

/// A model with the values of the fixture, its handles and its configuration.
fn distilbert<M>(
    name: &str,
    folder: &str,
    new: impl Fn(&Vars, &DistilBertConfig) -> Result<M>,
    plan: &LoraPlan,
) -> (Model, M, Vars, DistilBertConfig) {
    let config = DistilBertConfig::from_json(&support::config(folder)).unwrap();
    let v = Vars::new();
    let model = new(&v, &config).unwrap();
    (Model::new(gpu(), name, folder, &v, plan), model, v, config)
}

#[test]
fn masked_lm_is_transformers() {
    let (name, none) = ("distilbert_mlm", LoraPlan::default());
    let (model, lm, ..) = distilbert(name, name, distilbert::masked_lm, &none);
    encoders::masked_lm(&model, &lm);
}

fn classifier(name: &str, plan: &LoraPlan) -> Model {
    let (folder, new) = ("distilbert_classifier", distilbert::classifier);
    let (model, classifier, _, config) = distilbert(name, folder, new, plan);
    encoders::classifier(&model, &classifier, &config.labels);
    model
}

#[test]
fn classifier_is_transformers() {
    classifier("distilbert_classifier", &LoraPlan::default()).covers_all();
}

#[test]
fn token_classifier_is_transformers() {
    let (name, none) = ("distilbert_token_classifier", LoraPlan::default());
    let (model, tagger, ..) = distilbert(name, name, distilbert::tagger, &none);
    encoders::tagger(&model, &tagger);
}

/// LoRA on q_lin and v_lin, both layers of the head trained too.
fn adapted() -> LoraPlan {
    let whole = ["pre_classifier", "classifier"];
    encoders::adapted("distilbert.transformer.layer", ["q_lin", "v_lin"], &whole)
}

#[test]
fn lora_is_pefts_and_leaves_the_base_alone() {
    let plan = adapted();
    let model = classifier("distilbert_lora", &plan);
    encoders::leaves_the_base_alone(&model, &plan, "distilbert_classifier");
}

#[test]
fn merged_lora_is_pefts() {
    let (folder, new) = ("distilbert_classifier", distilbert::classifier);
    let (model, classifier, v, _) = distilbert("distilbert_lora", folder, new, &adapted());
    encoders::merged(&model, &classifier, &v);
}

/// Attention's result goes on as it is: with attention weights kept, a layer drops once.
#[test]
fn only_the_feed_forward_half_is_dropped() {
    let config = DistilBertConfig {
        dropout: 0.25,
        attention_dropout: 0.0,
        ..DistilBertConfig::default()
    };
    let model = distilbert::encoder(&Vars::new(), &config).unwrap();
    assert!(model.layers.iter().all(|l| l.dropouts == [0.0, 0.25]));
}
