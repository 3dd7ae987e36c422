//! The multilayer perceptron as a family: its files, its head.

use serde_json::{Value, json};

use super::config::MODEL_TYPE;
use super::{CLASSIFIER, MlpClassifier, MlpConfig, MlpModel};
use crate::error::Result;
use crate::hub::{Format, Head};
use crate::models::config::{class, declared, no_head, written};
use crate::models::{
    Config, Dropouts, Extent, Family, Labels, Network, PictureModel, PictureShape, Reading,
};
use crate::nn::Vars;

/// The multilayer perceptron.
pub struct MlpFamily;

/// The multilayer perceptron, for the list of families.
pub static MLP: MlpFamily = MlpFamily;

static FORMAT: Format = Format {
    model_type: MODEL_TYPE,
    module: "",
    classes: &[class(
        Head::Picture,
        "MlpForImageClassification",
        &["classifier.weight"],
    )],
    prefix: "",
    roots: &["hidden."],
    legacy: &[],
    buffers: &[],
    tied: &[],
    vocabulary: &[],
    positions: &[],
    label_layers: &[CLASSIFIER],
    optional: &[],
    targets: &[],
    gguf: None,
    told: |_| Some(Head::Picture),
    shaped: None,
    defaults: || json!({}),
    declare: |json, head| declared(&MlpConfig::from_json(json)?, head),
};

impl Family for MlpFamily {
    fn title(&self) -> &'static str {
        "multilayer perceptron"
    }

    fn format(&self) -> &'static Format {
        &FORMAT
    }

    fn read(&self, json: &Value) -> Result<Box<dyn Config>> {
        Ok(Box::new(MlpConfig::from_json(json)?))
    }

    fn pictures(&self) -> Option<PictureModel> {
        Some(PictureModel::of::<MlpModel>("mlp"))
    }
}

impl From<MlpModel> for Box<dyn Config> {
    fn from(model: MlpModel) -> Box<dyn Config> {
        Box::new(MlpConfig::from(model))
    }
}

impl Config for MlpConfig {
    fn family(&self) -> &'static dyn Family {
        &MLP
    }

    fn to_json(&self) -> Value {
        written(MODEL_TYPE, self)
    }

    fn extent(&self) -> Extent {
        let widths = || self.hidden_sizes.iter().copied();
        Extent {
            layers: self.hidden_sizes.len(),
            base: self.inputs(),
            // What goes into its function and what comes out, each with its gradient.
            layer: 4 * widths().max().unwrap_or(0),
            recomputed: None,
            widest: widths().chain([self.inputs()]).max().unwrap_or(0),
        }
    }

    fn reading(&self) -> Reading {
        Reading::Pictures(PictureShape {
            size: Some(self.image_size),
            channels: self.num_channels,
        })
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn set_labels(&mut self, labels: Labels) {
        self.labels = labels;
    }

    fn set_pictures(&mut self, shape: PictureShape) -> Result<()> {
        self.image_size = shape.size.unwrap_or(self.image_size);
        self.num_channels = shape.channels;
        self.validate()
    }

    fn set_dropouts(&mut self, d: &Dropouts) {
        self.hidden_dropout_prob = d.hidden.unwrap_or(self.hidden_dropout_prob);
    }

    fn build(&self, v: &Vars, head: Head) -> Result<Box<dyn Network>> {
        match head {
            Head::Picture => Ok(Box::new(MlpClassifier::new(v, self)?)),
            _ => Err(no_head(&MLP)),
        }
    }
}
