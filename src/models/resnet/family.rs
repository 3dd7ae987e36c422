//! Residual networks as a family: torchvision's names of tensors, and the head.

use serde_json::{Value, json};

use super::config::MODEL_TYPE;
use super::{CLASSIFIER, ResNetClassifier, ResNetConfig, ResNetModel, Stem};
use crate::error::Result;
use crate::hub::{Format, Head};
use crate::models::config::{class, declared, no_head, written};
use crate::models::{
    Config, Dropouts, Extent, Family, Labels, Network, PictureModel, PictureShape, Reading,
};
use crate::nn::Vars;

/// Residual networks.
pub struct ResNetFamily;

/// Residual networks, for the list of families.
pub static RESNET: ResNetFamily = ResNetFamily;

static FORMAT: Format = Format {
    model_type: MODEL_TYPE,
    module: "",
    classes: &[class(
        Head::Picture,
        "ResNetForImageClassification",
        &["fc.weight", "layer1.0.conv1.weight"],
    )],
    prefix: "",
    roots: &["conv1.", "bn1.", "layer"],
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
    shaped: Some(ResNetConfig::told),
    defaults: || json!({}),
    declare: |json, head| declared(&ResNetConfig::from_json(json)?, head),
};

impl Family for ResNetFamily {
    fn title(&self) -> &'static str {
        "ResNet"
    }

    fn format(&self) -> &'static Format {
        &FORMAT
    }

    fn read(&self, json: &Value) -> Result<Box<dyn Config>> {
        Ok(Box::new(ResNetConfig::from_json(json)?))
    }

    fn pictures(&self) -> Option<PictureModel> {
        Some(PictureModel::of::<ResNetModel>("resnet"))
    }
}

impl From<ResNetModel> for Box<dyn Config> {
    fn from(model: ResNetModel) -> Box<dyn Config> {
        Box::new(ResNetConfig::from(model))
    }
}

impl Config for ResNetConfig {
    fn family(&self) -> &'static dyn Family {
        &RESNET
    }

    fn to_json(&self) -> Value {
        written(MODEL_TYPE, self)
    }

    fn extent(&self) -> Extent {
        let pixels = self.image_size.map_or(224 * 224, |s| s.height * s.width);
        let stem = match self.stem {
            Stem::Imagenet => pixels / 4,
            Stem::Small => pixels,
        };
        let first = match self.stem {
            Stem::Imagenet => pixels / 16,
            Stem::Small => pixels,
        };
        // A stage has twice the channels and a quarter of the pixels of the one before, so that the first is
        // the widest. Of each convolution what it made, that normalised and behind its function.
        let inside = self.hidden_sizes.first().copied().unwrap_or(0);
        let expansion = self.layer_type.expansion();
        let blocks: usize = self.depths.iter().sum();
        Extent {
            layers: blocks,
            base: pixels * self.num_channels + 3 * stem * self.embedding_size,
            layer: first * inside * 3 * (2 + expansion) / 2,
            recomputed: None,
            widest: stem * self.embedding_size.max(inside * expansion),
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

    fn set_dropouts(&mut self, _: &Dropouts) {}

    fn build(&self, v: &Vars, head: Head) -> Result<Box<dyn Network>> {
        match head {
            Head::Picture => Ok(Box::new(ResNetClassifier::new(v, self)?)),
            _ => Err(no_head(&RESNET)),
        }
    }
}
