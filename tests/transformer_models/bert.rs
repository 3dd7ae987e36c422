//! BERT with each of its heads, and adapted.

use melos::Result;
use melos::models::bert::{
    Bert, BertConfig, BertForMaskedLm, BertForPreTraining, BertForSequenceClassification,
    BertForTokenClassification,
};
use melos::models::{
    Classifier, MaskedLm, MaskedNextSentence, MaskedTokens, NextSentence, Pooling, Tagger, Tokens,
    classification_loss, embed,
};
use melos::nn::{LoraPlan, LoraUpdate, Vars};
use melos::ops::{self, TokenIds};
use melos::tensor::Tensor;

use crate::common::gpu;
use crate::reference::{assert_near, tolerance};
use crate::support::{self, Model};

/// A model with the values of the fixture, its handles and its configuration.
fn bert<M>(
    name: &str,
    folder: &str,
    new: impl Fn(&Vars, &BertConfig) -> Result<M>,
    plan: &LoraPlan,
) -> (Model, M, Vars, BertConfig) {
    let mut config = BertConfig::from_json(&support::config(folder)).unwrap();
    if name == "bert_multi_label" {
        config.labels.problem_type = Some(melos::models::ProblemType::MultiLabelClassification);
    } else if name == "bert_regression" {
        config.labels = melos::models::Labels::named(&["value"], None);
    }
    let v = Vars::new();
    let model = new(&v, &config).unwrap();
    (Model::new(gpu(), name, folder, &v, plan), model, v, config)
}

/// Inputs on the device.
struct Batch {
    ids: TokenIds,
    types: TokenIds,
    lens: Tensor,
}

impl Batch {
    fn of(model: &Model) -> Batch {
        Batch {
            ids: model.ids(),
            types: model.types(),
            lens: model.lens(),
        }
    }

    fn inputs(&self) -> Tokens<'_> {
        Tokens {
            types: Some(&self.types),
            ..Tokens::new(&self.ids, &self.lens)
        }
    }
}

/// Positions with a label, and the labels.
fn masked(model: &Model) -> (Vec<u32>, Vec<u32>) {
    let labels = model.fixture.u32("input.labels");
    let labelled = (0..).zip(&labels).filter(|(_, l)| **l != u32::MAX);
    labelled.map(|(at, label)| (at, *label)).unzip()
}

#[test]
fn masked_lm_is_transformers() {
    let none = LoraPlan::default();
    let (model, lm, ..) = bert("bert_mlm", "bert_mlm", BertForMaskedLm::new, &none);
    let batch = Batch::of(&model);
    let inputs = batch.inputs();
    let tape = model.inference();
    model.hidden_states(&lm.bert.hidden_states(&tape, &inputs).unwrap());
    let logits = lm.logits(&tape, &inputs, &model.all_rows()).unwrap();
    model.near_inside("act.logits", &logits);
    let (rows, targets) = masked(&model);
    let masked = MaskedTokens {
        rows: &model.selection(&rows),
        targets: &model.u32s(&targets),
        weights: &model.mean_weights(&targets),
    };
    model.covers_all();
    model.trains_alike(|tape| lm.loss(tape, &inputs, &masked));
}

#[test]
fn pretraining_is_transformers() {
    let none = LoraPlan::default();
    let name = "bert_pretraining";
    let (model, both, ..) = bert(name, name, BertForPreTraining::new, &none);
    let batch = Batch::of(&model);
    let inputs = batch.inputs();
    let tape = model.inference();
    model.hidden_states(&both.bert.hidden_states(&tape, &inputs).unwrap());
    let [words, next] = both.logits(&tape, &inputs, &model.all_rows()).unwrap();
    model.near_inside("act.logits", &words);
    model.near("act.nsp_logits", &next, tolerance::TRANSFORMER);
    let (rows, targets) = masked(&model);
    let masked = MaskedTokens {
        rows: &model.selection(&rows),
        targets: &model.u32s(&targets),
        weights: &model.mean_weights(&targets),
    };
    let labels = model.fixture.u32("input.next_sentence_label");
    let next = NextSentence {
        targets: &model.u32s(&labels),
        weights: &model.mean_weights(&labels),
    };
    model.covers_all();
    model.trains_alike(|tape| {
        let [words, next] = both.losses(tape, &inputs, &masked, &next)?;
        ops::add(tape, &words, &next)
    });
}

fn classifier(name: &str, folder: &str, plan: &LoraPlan) -> Model {
    let (model, classifier, _, config) =
        bert(name, folder, BertForSequenceClassification::new, plan);
    let batch = Batch::of(&model);
    let inputs = batch.inputs();
    let tape = model.inference();
    model.hidden_states(&classifier.base.bert.hidden_states(&tape, &inputs).unwrap());
    if model.fixture.has("act.pooled") {
        let pooled = classifier.base.pooled(&tape, &inputs).unwrap();
        model.near("act.pooled", &pooled, tolerance::TRANSFORMER);
    }
    let logits = classifier.logits(&tape, &inputs).unwrap();
    model.near("act.logits", &logits, tolerance::TRANSFORMER);
    let rows = model.lens().len();
    let outputs = config.labels.count();
    let (targets, per_row) = match config.labels.problem() {
        melos::models::ProblemType::SingleLabelClassification => {
            (model.u32s(&model.fixture.u32("input.labels")), 1)
        }
        // Means over the outputs too.
        _ => {
            let values = model.fixture.f32("input.labels");
            let targets = Tensor::from_slice(&model.gpu, [rows, outputs], &values).unwrap();
            (targets, outputs)
        }
    };
    let weights = vec![1.0 / (rows * per_row) as f32; rows];
    let weights = Tensor::from_slice(&model.gpu, [rows], &weights).unwrap();
    let problem = config.labels.problem();
    model.trains_alike(|tape| {
        let logits = classifier.logits(tape, &inputs)?;
        classification_loss(tape, problem, &logits, &targets, &weights)
    });
    model
}

#[test]
fn classifier_of_one_label_is_transformers() {
    let name = "bert_classifier";
    classifier(name, name, &LoraPlan::default()).covers_all();
}

#[test]
fn classifier_of_several_labels_is_transformers() {
    classifier("bert_multi_label", "bert_classifier", &LoraPlan::default());
}

#[test]
fn regression_is_transformers() {
    classifier("bert_regression", "bert_classifier", &LoraPlan::default());
}

#[test]
fn token_classifier_is_transformers() {
    let none = LoraPlan::default();
    let name = "bert_token_classifier";
    let (model, classifier, ..) = bert(name, name, BertForTokenClassification::new, &none);
    let batch = Batch::of(&model);
    let inputs = batch.inputs();
    let tape = model.inference();
    model.hidden_states(&classifier.bert.hidden_states(&tape, &inputs).unwrap());
    model.near_inside("act.logits", &classifier.logits(&tape, &inputs).unwrap());
    let labels = model.fixture.u32("input.labels");
    let (targets, weights) = (model.u32s(&labels), model.mean_weights(&labels));
    model.covers_all();
    model.trains_alike(|tape| {
        let logits = classifier.logits(tape, &inputs)?;
        let flat = logits.reshaped([logits.shape().rows(), logits.shape().last()])?;
        ops::cross_entropy(tape, &flat, &targets, &weights)
    });
}

/// LoRA on query and value, the classifier trained too.
fn adapted() -> LoraPlan {
    let update = LoraUpdate {
        rank: 2,
        scale: 6.0 / 2.0,
        dropout: 0.0,
        part: None,
    };
    let layer = |l: usize, part| format!("bert.encoder.layer.{l}.attention.self.{part}");
    let modules = (0..2).flat_map(|l| ["query", "value"].map(|part| layer(l, part)));
    LoraPlan {
        modules_to_save: vec!["classifier".into()],
        ..LoraPlan::of(modules, &update)
    }
}

#[test]
fn lora_is_pefts_and_leaves_the_base_alone() {
    let plan = adapted();
    let model = classifier("bert_lora", "bert_classifier", &plan);
    model.covers_all();
    let base = crate::common::fixture::Fixture::open("hf/bert_classifier/model");
    let mut frozen = 0;
    for spec in model.store.specs().filter(|s| !plan.trains(&s.name)) {
        let param = model.store.get(&spec.name).unwrap();
        assert!(param.grad().is_none(), "{} has a gradient", spec.name);
        let after = param.to_vec::<f32>().unwrap();
        crate::reference::assert_same_bits(&spec.name, &after, &base.f32(&spec.name));
        frozen += after.len();
    }
    let (all, trained) = model.store.counts();
    assert_eq!(all - trained, frozen);
    // One buffer of gradients, one of values: adapters and classifier stand together.
    assert!(model.store.groups().len() <= 2);
}

#[test]
fn merged_lora_is_pefts() {
    let plan = adapted();
    let new = BertForSequenceClassification::new;
    let (model, classifier, v, _) = bert("bert_lora", "bert_classifier", new, &plan);
    v.merge().unwrap();
    let merged = model.fixture.names("merged.");
    assert!(merged.len() >= 4);
    for name in merged {
        let param = model.store.get(&name).unwrap();
        model.near(&format!("merged.{name}"), &param, tolerance::MATMUL);
    }
    // The plain model computes what the adapted one did.
    let batch = Batch::of(&model);
    let logits = classifier
        .logits(&model.inference(), &batch.inputs())
        .unwrap();
    model.near("act.logits", &logits, tolerance::TRANSFORMER);
}

/// As sentence-transformers: the first token's vector or the mean over those that count.
#[test]
fn sentence_embeddings_are_pooled_hidden_states() {
    let none = LoraPlan::default();
    let new = |v: &Vars, config: &BertConfig| Bert::new(&v.at("bert"), config);
    let (model, encoder, ..) = bert("bert_mlm", "bert_mlm", new, &none);
    let [rows, steps] = model.fixture.shape("input.ids")[..] else {
        panic!("(B, T)")
    };
    let lens = model.fixture.u32("input.lens");
    let last = model.fixture.f32("act.hidden.1");
    let width = last.len() / rows / steps;
    let at = |row: usize, t: usize| &last[(row * steps + t) * width..][..width];
    for (pooling, normalised) in [
        (Pooling::Cls, false),
        (Pooling::Cls, true),
        (Pooling::Mean, false),
        (Pooling::Mean, true),
    ] {
        let mut want: Vec<f64> = Vec::new();
        for (row, len) in lens.iter().enumerate() {
            let count = match pooling {
                Pooling::Cls => 1,
                Pooling::Mean => *len as usize,
            };
            let mut mean = vec![0.0; width];
            for t in 0..count {
                for (m, v) in mean.iter_mut().zip(at(row, t)) {
                    *m += f64::from(*v) / count as f64;
                }
            }
            let length = mean.iter().map(|v| v * v).sum::<f64>().sqrt();
            let scale = if normalised { length } else { 1.0 };
            want.extend(mean.iter().map(|v| v / scale));
        }
        let (batch, tape) = (Batch::of(&model), model.inference());
        let got = embed(&tape, &encoder, &batch.inputs(), pooling, normalised);
        let got = got.unwrap().to_vec::<f32>().unwrap();
        let name = format!("{pooling:?}, normalised {normalised}");
        assert_near(&name, &got, &want, tolerance::TRANSFORMER);
    }
}

/// An output layer of its own, with the values of the embeddings, predicts the same.
#[test]
fn an_untied_decoder_is_its_own_parameter() {
    let none = LoraPlan::default();
    let (tied, _, _, mut config) = bert("bert_mlm", "bert_mlm", BertForMaskedLm::new, &none);
    config.tie_word_embeddings = false;
    let v = Vars::new();
    let lm = BertForMaskedLm::new(&v, &config).unwrap();
    let store = v.store(&tied.gpu, 0, |_| 1.0).unwrap();
    let decoder = store.get("cls.predictions.decoder.weight").unwrap();
    for spec in tied.store.specs() {
        let values = tied.store.get(&spec.name).unwrap().to_vec::<f32>().unwrap();
        store.get(&spec.name).unwrap().write(&values).unwrap();
        if spec.name.ends_with("word_embeddings.weight") {
            decoder.write(&values).unwrap();
        }
    }
    let batch = Batch::of(&tied);
    let logits = lm.logits(&tied.inference(), &batch.inputs(), &tied.all_rows());
    tied.near_inside("act.logits", &logits.unwrap());
    let twice = vec![2.0f32; decoder.len()];
    decoder.write(&twice).unwrap();
    let logits = lm.logits(&tied.inference(), &batch.inputs(), &tied.all_rows());
    let logits = logits.unwrap().to_vec::<f32>().unwrap();
    assert!((logits[0] - tied.fixture.f32("act.logits")[0]).abs() > 1e-2);
}
