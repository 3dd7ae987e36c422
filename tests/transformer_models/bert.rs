//! BERT with each of its heads, and adapted.

use melos::Result;
use melos::models::bert::{self, BertConfig, BertForPreTraining};
use melos::models::{
    Labels, MaskedLm, MaskedNextSentence, MaskedTokens, NextSentence, Pooling, ProblemType, embed,
};
use melos::nn::{LoraPlan, Vars};
use melos::ops;

use crate::common::gpu;
use crate::encoders::{self, Batch, masked};
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
        config.labels.problem_type = Some(ProblemType::MultiLabelClassification);
    } else if name == "bert_regression" {
        config.labels = Labels::named(&["value"], None);
    }
    let v = Vars::new();
    let model = new(&v, &config).unwrap();
    (Model::new(gpu(), name, folder, &v, plan), model, v, config)
}

#[test]
fn masked_lm_is_transformers() {
    let none = LoraPlan::default();
    let (model, lm, ..) = bert("bert_mlm", "bert_mlm", bert::masked_lm, &none);
    encoders::masked_lm(&model, &lm);
}

#[test]
fn pretraining_is_transformers() {
    let none = LoraPlan::default();
    let name = "bert_pretraining";
    let (model, both, ..) = bert(name, name, BertForPreTraining::new, &none);
    let batch = Batch::of(&model);
    let inputs = batch.inputs();
    let tape = model.inference();
    model.hidden_states(&both.encoder.hidden_states(&tape, &inputs).unwrap());
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
    let (model, classifier, _, config) = bert(name, folder, bert::classifier, plan);
    encoders::classifier(&model, &classifier, &config.labels);
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
    let (model, tagger, ..) = bert(name, name, bert::tagger, &none);
    encoders::tagger(&model, &tagger);
}

/// LoRA on query and value, the classifier trained too.
fn adapted() -> LoraPlan {
    let targets = ["self.query", "self.value"];
    encoders::adapted("bert.encoder.layer", targets, &["classifier"])
}

#[test]
fn lora_is_pefts_and_leaves_the_base_alone() {
    let plan = adapted();
    let model = classifier("bert_lora", "bert_classifier", &plan);
    encoders::leaves_the_base_alone(&model, &plan, "bert_classifier");
}

#[test]
fn merged_lora_is_pefts() {
    let new = bert::classifier;
    let (model, classifier, v, _) = bert("bert_lora", "bert_classifier", new, &adapted());
    encoders::merged(&model, &classifier, &v);
}

/// As sentence-transformers: the first token's vector or the mean over those that count.
#[test]
fn sentence_embeddings_are_pooled_hidden_states() {
    let none = LoraPlan::default();
    let new = |v: &Vars, config: &BertConfig| bert::encoder(&v.at("bert"), config);
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
    let (tied, _, _, mut config) = bert("bert_mlm", "bert_mlm", bert::masked_lm, &none);
    config.tie_word_embeddings = false;
    let v = Vars::new();
    let lm = bert::masked_lm(&v, &config).unwrap();
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
