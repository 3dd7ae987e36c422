//! Plain convolutional networks as a family: torchvision's names of tensors, and the head.

use serde_json::Value;

use super::config::MODEL_TYPE;
use super::{CLASSIFIER, ConvNetClassifier, ConvNetConfig, ConvNetModel};
use crate::error::Result;
use crate::hub::{Format, Head};
use crate::models::config::class;
use crate::models::picture::{FORMAT, PictureConfig, PictureFamily};
use crate::models::{Extent, ImageSize, Labels, Network, PictureShape};
use crate::nn::Vars;

/// Plain convolutional networks.
pub static CONVNET: PictureFamily<ConvNetConfig> = PictureFamily::new(
    "convnet",
    "convolutional network",
    Format {
        model_type: MODEL_TYPE,
        classes: &[class(
            Head::Picture,
            "ConvNetForImageClassification",
            &["classifier.6.weight", "features.0.weight"],
        )],
        roots: &[
            "features.",
            "classifier.0.",
            "classifier.1.",
            "classifier.3.",
            "classifier.4.",
        ],
        label_layers: &[CLASSIFIER],
        shaped: Some(ConvNetConfig::told),
        ..FORMAT
    },
);

impl PictureConfig for ConvNetConfig {
    type Model = ConvNetModel;
    const FAMILY: &'static PictureFamily<ConvNetConfig> = &CONVNET;

    fn read(json: &Value) -> Result<ConvNetConfig> {
        ConvNetConfig::from_json(json)
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
        Some(&mut self.hidden_dropout_prob)
    }

    fn declare(&self, v: &Vars) -> Result<Box<dyn Network>> {
        Ok(Box::new(ConvNetClassifier::new(v, self)?))
    }
}
