//! What every family of encoders is asked: its heads against transformers, its adapters against PEFT.

use melos::models::encoder::{EncoderClassifier, EncoderMaskedLm, EncoderTagger};
use melos::models::{
    Answers, Classifier, Labels, MaskedLm, MaskedTokens, ProblemType, Tagger, Tokens,
};
use melos::nn::{LoraPlan, LoraUpdate, Vars};
use melos::ops::{self, TokenIds};
use melos::tensor::Tensor;

use crate::common::fixture::Fixture;
use crate::reference::{assert_same_bits, tolerance};
use crate::support::Model;

/// Inputs on the device.
pub struct Batch {
    ids: TokenIds,
    types: Option<TokenIds>,
    lens: Tensor,
}

impl Batch {
    pub fn of(model: &Model) -> Batch {
        let types = "input.token_types";
        let types = model.fixture.has(types).then_some(types);
        Batch {
            ids: model.ids(),
            types: types.map(|name| model.fixture.ids(&model.gpu, name)),
            lens: model.lens(),
        }
    }

    pub fn inputs(&self) -> Tokens<'_> {
        Tokens {
            types: self.types.as_ref(),
            ..Tokens::new(&self.ids, &self.lens)
        }
    }
}

/// Positions with a label, and the labels.
pub fn masked(model: &Model) -> (Vec<u32>, Vec<u32>) {
    let labels = model.fixture.u32("input.labels");
    let labelled = (0..).zip(&labels).filter(|(_, l)| **l != u32::MAX);
    labelled.map(|(at, label)| (at, *label)).unzip()
}

/// Hidden states, logits, loss, gradients and training of a masked LM.
pub fn masked_lm(model: &Model, lm: &EncoderMaskedLm) {
    let batch = Batch::of(model);
    let inputs = batch.inputs();
    let tape = model.inference();
    model.hidden_states(&lm.encoder.hidden_states(&tape, &inputs).unwrap());
    let logits = lm.logits(&tape, &inputs, &model.all_rows()).unwrap();
    model.near_inside("act.logits", &logits);
    let (rows, targets) = masked(model);
    let masked = MaskedTokens {
        rows: &model.selection(&rows),
        targets: &model.u32s(&targets),
        weights: &model.mean_weights(&targets),
    };
    model.covers_all();
    model.trains_alike(|tape| lm.loss(tape, &inputs, &masked));
}

/// The same of a classifier of sequences.
pub fn classifier(model: &Model, classifier: &EncoderClassifier, labels: &Labels) {
    let batch = Batch::of(model);
    let inputs = batch.inputs();
    let tape = model.inference();
    let states = classifier.encoder.hidden_states(&tape, &inputs).unwrap();
    model.hidden_states(&states);
    if model.fixture.has("act.pooled") {
        let first = ops::column(&tape, &states[states.len() - 1], 0).unwrap();
        let pooled = classifier.head.pooled(&tape, &first).unwrap();
        model.near("act.pooled", &pooled, tolerance::TRANSFORMER);
    }
    let logits = classifier.logits(&tape, &inputs).unwrap();
    model.near("act.logits", &logits, tolerance::TRANSFORMER);
    let rows = model.lens().len();
    let (problem, outputs) = (labels.problem(), labels.count());
    let (targets, per_row) = match problem {
        ProblemType::SingleLabelClassification => {
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
    model.trains_alike(|tape| {
        let answers = Answers {
            problem,
            ..Answers::classes(&targets, &weights)
        };
        classifier.loss(tape, &inputs, &answers)
    });
}

/// The same of a classifier of tokens.
pub fn tagger(model: &Model, tagger: &EncoderTagger) {
    let batch = Batch::of(model);
    let inputs = batch.inputs();
    let tape = model.inference();
    model.hidden_states(&tagger.encoder.hidden_states(&tape, &inputs).unwrap());
    labels_tokens(model, tagger);
}

/// Of any family's: the logits, and how they train.
pub fn labels_tokens(model: &Model, tagger: &dyn Tagger) {
    let batch = Batch::of(model);
    let inputs = batch.inputs();
    let tape = model.inference();
    model.near_inside("act.logits", &tagger.logits(&tape, &inputs).unwrap());
    let labels = model.fixture.u32("input.labels");
    let (targets, weights) = (model.u32s(&labels), model.mean_weights(&labels));
    model.covers_all();
    model.trains_alike(|tape| {
        let logits = tagger.logits(tape, &inputs)?;
        let flat = logits.reshaped([logits.shape().rows(), logits.shape().last()])?;
        ops::cross_entropy(tape, &flat, &targets, &weights)
    });
}

/// LoRA of rank 2, alpha 6 on `targets` of two layers whose names begin with `layer` and a number, and
/// modules trained whole.
pub fn adapted(layer: &str, targets: [&str; 2], whole: &[&str]) -> LoraPlan {
    let update = LoraUpdate {
        rank: 2,
        scale: 6.0 / 2.0,
        dropout: 0.0,
        part: None,
    };
    let name = |l: usize, part| format!("{layer}.{l}.attention.{part}");
    let modules = (0..2).flat_map(|l| targets.map(|part| name(l, part)));
    LoraPlan {
        modules_to_save: whole.iter().map(|name| name.to_string()).collect(),
        ..LoraPlan::of(modules, &update)
    }
}

/// After training: what is frozen has the base's bits and no gradient.
pub fn leaves_the_base_alone(model: &Model, plan: &LoraPlan, base: &str) {
    model.covers_all();
    let base = Fixture::open(&format!("hf/{base}/model"));
    let mut frozen = 0;
    for spec in model.store.specs().filter(|s| !plan.trains(&s.name)) {
        let param = model.store.get(&spec.name).unwrap();
        assert!(param.grad().is_none(), "{} has a gradient", spec.name);
        let after = param.to_vec::<f32>().unwrap();
        assert_same_bits(&spec.name, &after, &base.f32(&spec.name));
        frozen += after.len();
    }
    let (all, trained) = model.store.counts();
    assert_eq!(all - trained, frozen);
    // One buffer of gradients, one of values: adapters and classifier stand together.
    assert!(model.store.groups().len() <= 2);
}

/// Merged, the plain model has PEFT's weights and computes what the adapted one did.
pub fn merged(model: &Model, classifier: &EncoderClassifier, v: &Vars) {
    v.merge().unwrap();
    let merged = model.fixture.names("merged.");
    assert!(merged.len() >= 4);
    for name in merged {
        let param = model.store.get(&name).unwrap();
        model.near(&format!("merged.{name}"), &param, tolerance::MATMUL);
    }
    let batch = Batch::of(model);
    let logits = classifier
        .logits(&model.inference(), &batch.inputs())
        .unwrap();
    model.near("act.logits", &logits, tolerance::TRANSFORMER);
}
