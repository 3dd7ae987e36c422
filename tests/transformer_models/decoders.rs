//! What every decoder is held to.

use melos::models::decoder::{DecoderClassifier, DecoderLayers, DecoderLm};
use melos::models::{CausalLm, Classifier, Tokens};
use melos::ops;

use crate::reference::tolerance;
use crate::support::Model;

/// Its hidden states, its logits, and how it trains.
pub fn language_model<L: DecoderLayers>(model: &Model, lm: &DecoderLm<L>) {
    let (ids, lens) = (model.ids(), model.lens());
    let inputs = Tokens::new(&ids, &lens);
    let tape = model.inference();
    model.hidden_states(&lm.layers.hidden_states(&tape, &ids).unwrap());
    let logits = lm.logits(&tape, &inputs, &model.all_rows()).unwrap();
    model.near_inside("act.logits", &logits);
    let shifted = model.next_tokens();
    let (targets, weights) = (model.u32s(&shifted), model.mean_weights(&shifted));
    model.covers_all();
    model.trains_alike(|tape| lm.loss(tape, &inputs, &targets, &weights));
}

/// The same of a classifier of sequences.
pub fn classifier<L: DecoderLayers>(model: &Model, classifier: &DecoderClassifier<L>) {
    let (ids, lens, last) = (model.ids(), model.lens(), model.last_tokens());
    let inputs = Tokens {
        last: Some(&last),
        ..Tokens::new(&ids, &lens)
    };
    let tape = model.inference();
    model.hidden_states(&classifier.layers.hidden_states(&tape, &ids).unwrap());
    let logits = classifier.logits(&tape, &inputs).unwrap();
    model.near("act.logits", &logits, tolerance::TRANSFORMER);
    let labels = model.fixture.u32("input.labels");
    let (targets, weights) = (model.u32s(&labels), model.mean_weights(&labels));
    model.covers_all();
    model.trains_alike(|tape| {
        let logits = classifier.logits(tape, &inputs)?;
        ops::cross_entropy(tape, &logits, &targets, &weights)
    });
}
