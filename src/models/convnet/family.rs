//! Plain convolutional networks as a family: torchvision's names of tensors, and the head.

use serde_json::{Value, json};

use super::config::MODEL_TYPE;
use super::{CLASSIFIER, ConvNetClassifier, ConvNetConfig, ConvNetModel};
use crate::error::Result;
use crate::hub::{Format, Head};
use crate::models::config::{class, declared, no_head, written};
use crate::models::{
    Config, Dropouts, Extent, Family, ImageSize, Labels, Network, PictureModel, PictureShape,
    Reading,
};
use crate::nn::Vars;

/// Plain convolutional networks.
pub struct ConvNetFamily;

/// Plain convolutional networks, for the list of families.
pub static CONVNET: ConvNetFamily = ConvNetFamily;

static FORMAT: Format = Format {
    model_type: MODEL_TYPE,
    module: "",
    classes: &[class(
        Head::Picture,
        "ConvNetForImageClassification",
        &["classifier.6.weight", "features.0.weight"],
    )],
    prefix: "",
    roots: &[
        "features.",
        "classifier.0.",
        "classifier.1.",
        "classifier.3.",
        "classifier.4.",
    ],
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
    shaped: Some(ConvNetConfig::told),
    defaults: || json!({}),
    declare: |json, head| declared(&ConvNetConfig::from_json(json)?, head),
};

impl Family for ConvNetFamily {
    fn title(&self) -> &'static str {
        "convolutional network"
    }

    fn format(&self) -> &'static Format {
        &FORMAT
    }

    fn read(&self, json: &Value) -> Result<Box<dyn Config>> {
        Ok(Box::new(ConvNetConfig::from_json(json)?))
    }

    fn pictures(&self) -> Option<PictureModel> {
        Some(PictureModel::of::<ConvNetModel>("convnet"))
    }
}

impl From<ConvNetModel> for Box<dyn Config> {
    fn from(model: ConvNetModel) -> Box<dyn Config> {
        Box::new(ConvNetConfig::from(model))
    }
}

impl Config for ConvNetConfig {
    fn family(&self) -> &'static dyn Family {
        &CONVNET
    }

    fn to_json(&self) -> Value {
        written(MODEL_TYPE, self)
    }

    fn extent(&self) -> Extent {
        let size = self.image_size.unwrap_or(ImageSize::square(224));
        let results = self.results(size).unwrap_or_default();
        // What each layer made, with its gradient.
        let numbers: Vec<usize> = results.iter().map(|r| r.iter().product()).collect();
        Extent {
            layers: 1,
            base: size.height * size.width * self.num_channels,
            layer: 2 * numbers.iter().sum::<usize>() + 4 * self.hidden_sizes.iter().sum::<usize>(),
            recomputed: None,
            widest: numbers.iter().copied().max().unwrap_or(0),
        }
    }

    fn reading(&self) -> Reading {
        Reading::Pictures(PictureShape {
            size: self.image_size,
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
        self.image_size = shape.size.or(self.image_size);
        self.num_channels = shape.channels;
        self.validate()
    }

    fn set_dropouts(&mut self, d: &Dropouts) {
        self.hidden_dropout_prob = d.hidden.unwrap_or(self.hidden_dropout_prob);
    }

    fn build(&self, v: &Vars, head: Head) -> Result<Box<dyn Network>> {
        match head {
            Head::Picture => Ok(Box::new(ConvNetClassifier::new(v, self)?)),
            _ => Err(no_head(&CONVNET)),
        }
    }
}
