//! The LSTM as a family: its files, its heads.

use serde_json::{Value, json};

use super::config::{MODEL_TYPE, Trained, told};
use super::{
    CLASSIFIER, JointClassifier, Lstm, LstmClassifier, LstmLanguageModel, SequenceAutoencoder,
};
use crate::error::Result;
use crate::hub::{Format, Head};
use crate::models::config::{class, declared, no_head};
use crate::models::{Config, Cut, Dropouts, Extent, Family, Labels, Network, Reading};
use crate::nn::Vars;
use crate::tensor::ParamSpec;
use crate::text::Keep;
use crate::text::tokenizer::Family as Specials;

/// The LSTM of Dai & Le (2015).
pub struct LstmFamily;

/// The LSTM, for the list of families.
pub static LSTM_FAMILY: LstmFamily = LstmFamily;

static FORMAT: Format = Format {
    model_type: MODEL_TYPE,
    module: "",
    classes: &[
        class(Head::Sequence, "LstmClassifier", &["classifier.weight"]),
        class(Head::RecurrentLm, "LstmLanguageModel", &["decoder.weight"]),
        class(
            Head::Autoencoder,
            "SequenceAutoencoder",
            &["decoder.weight"],
        ),
        class(
            Head::Joint,
            "JointClassifier",
            &["classifier.weight", "decoder.weight"],
        ),
    ],
    prefix: "",
    roots: &["embedding.", "lstm."],
    legacy: &[],
    buffers: &[],
    tied: &[],
    vocabulary: &["embedding.weight"],
    positions: &[],
    label_layers: &[CLASSIFIER],
    optional: &[],
    targets: &[],
    gguf: None,
    told,
    shaped: None,
    defaults: || json!({}),
    declare: |json, head| declared(&Lstm::from_json(json)?, head),
};

impl Family for LstmFamily {
    fn title(&self) -> &'static str {
        "LSTM"
    }

    fn one(&self) -> String {
        "an LSTM".into()
    }

    fn specials(&self) -> Specials {
        Specials::Lstm
    }

    fn format(&self) -> &'static Format {
        &FORMAT
    }

    fn read(&self, json: &Value) -> Result<Box<dyn Config>> {
        Ok(Box::new(Lstm::from_json(json)?))
    }

    /// As PyTorch's optimisers do, with which the paper's models are compared.
    fn decays(&self, _: &ParamSpec) -> bool {
        true
    }
}

impl Config for Lstm {
    fn family(&self) -> &'static dyn Family {
        &LSTM_FAMILY
    }

    fn to_json(&self) -> Value {
        self.json()
    }

    fn vocab_size(&self) -> usize {
        self.sizes.vocab_size
    }

    /// It has none: a text is as long as one likes.
    fn positions(&self) -> usize {
        usize::MAX
    }

    fn extent(&self) -> Extent {
        let (e, h) = (self.sizes.embedding_size, self.sizes.hidden_size);
        let directions = self.sizes.lstm_shape().directions();
        Extent {
            layers: self.sizes.num_layers,
            // The embedding and its gradient.
            base: 2 * e,
            // Gates, cell and output, each with its gradient.
            layer: 2 * directions * 6 * h,
            recomputed: None,
            widest: (4 * h).max(e),
        }
    }

    fn reading(&self) -> Reading {
        Reading::Steps {
            word_dropout: self.word_dropout,
            linear_gain: self.linear_gain,
        }
    }

    fn cut(&self) -> Option<Cut> {
        self.trained.as_ref().map(|trained| match trained {
            Trained::LanguageModel { bptt } => Cut {
                length: *bptt,
                kept_end: Keep::default(),
            },
            Trained::Autoencoder { max_len, kept_end }
            | Trained::Classifier {
                max_len, kept_end, ..
            } => Cut {
                length: *max_len,
                kept_end: *kept_end,
            },
        })
    }

    fn set_trained(&mut self, head: Head, cut: Cut) {
        self.trained = self.trained_for(head, cut);
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn set_labels(&mut self, labels: Labels) {
        self.labels = labels;
    }

    fn set_dropouts(&mut self, d: &Dropouts) {
        for dropout in [
            &mut self.sizes.layer_dropout,
            &mut self.sizes.output_dropout,
        ] {
            *dropout = d.hidden.unwrap_or(*dropout);
        }
    }

    fn build(&self, v: &Vars, head: Head) -> Result<Box<dyn Network>> {
        let (sizes, classes) = (&self.sizes, self.labels.count());
        Ok(match head {
            Head::RecurrentLm => Box::new(LstmLanguageModel::new(v, sizes)?),
            Head::Autoencoder => Box::new(SequenceAutoencoder::new(v, sizes)?),
            Head::Sequence => Box::new(LstmClassifier::new(v, sizes, classes)?),
            Head::Joint => Box::new(JointClassifier::new(v, sizes, classes)?),
            _ => return Err(no_head(&LSTM_FAMILY)),
        })
    }
}
