//! The multilayer perceptron as a family: its files, its head.

use serde_json::Value;

use super::config::MODEL_TYPE;
use super::{CLASSIFIER, MlpClassifier, MlpConfig, MlpModel};
use crate::error::Result;
use crate::hub::{Format, Head};
use crate::models::config::class;
use crate::models::picture::{FORMAT, PictureConfig, PictureFamily};
use crate::models::{Extent, Labels, Network, PictureShape};
use crate::nn::Vars;

/// The multilayer perceptron.
pub static MLP: PictureFamily<MlpConfig> = PictureFamily::new(
    "mlp",
    "multilayer perceptron",
    Format {
        model_type: MODEL_TYPE,
        classes: &[class(
            Head::Picture,
            "MlpForImageClassification",
            &["classifier.weight"],
        )],
        roots: &["hidden."],
        label_layers: &[CLASSIFIER],
        ..FORMAT
    },
);

impl PictureConfig for MlpConfig {
    type Model = MlpModel;
    const FAMILY: &'static PictureFamily<MlpConfig> = &MLP;

    fn read(json: &Value) -> Result<MlpConfig> {
        MlpConfig::from_json(json)
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

    fn shape(&self) -> PictureShape {
        PictureShape {
            size: Some(self.image_size),
            channels: self.num_channels,
        }
    }

    fn reshape(&mut self, shape: PictureShape) -> Result<()> {
        self.image_size = shape.size.unwrap_or(self.image_size);
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
        Ok(Box::new(MlpClassifier::new(v, self)?))
    }
}
