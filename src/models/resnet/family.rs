//! Residual networks as a family: torchvision's names of tensors, and the head.

use serde_json::Value;

use super::config::MODEL_TYPE;
use super::{CLASSIFIER, ResNetClassifier, ResNetConfig, ResNetModel, Stem};
use crate::error::Result;
use crate::hub::{Format, Head};
use crate::models::config::class;
use crate::models::picture::{FORMAT, PictureConfig, PictureFamily};
use crate::models::{Extent, Labels, Network, PictureShape};
use crate::nn::Vars;

/// Residual networks.
pub static RESNET: PictureFamily<ResNetConfig> = PictureFamily::new(
    "resnet",
    "ResNet",
    Format {
        model_type: MODEL_TYPE,
        classes: &[class(
            Head::Picture,
            "ResNetForImageClassification",
            &["fc.weight", "layer1.0.conv1.weight"],
        )],
        roots: &["conv1.", "bn1.", "layer"],
        label_layers: &[CLASSIFIER],
        shaped: Some(ResNetConfig::told),
        ..FORMAT
    },
);

impl PictureConfig for ResNetConfig {
    type Model = ResNetModel;
    const FAMILY: &'static PictureFamily<ResNetConfig> = &RESNET;

    fn read(json: &Value) -> Result<ResNetConfig> {
        ResNetConfig::from_json(json)
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

    fn shape(&self) -> PictureShape {
        PictureShape {
            size: self.image_size,
            channels: self.num_channels,
        }
    }

    fn reshape(&mut self, shape: PictureShape) -> Result<()> {
        self.image_size = shape.size.or(self.image_size);
        self.num_channels = shape.channels;
        self.validate()
    }

    fn outputs(&self) -> &Labels {
        &self.labels
    }

    fn outputs_mut(&mut self) -> &mut Labels {
        &mut self.labels
    }

    fn dropout(&mut self) -> Option<&mut f32> {
        None
    }

    fn declare(&self, v: &Vars) -> Result<Box<dyn Network>> {
        Ok(Box::new(ResNetClassifier::new(v, self)?))
    }
}
