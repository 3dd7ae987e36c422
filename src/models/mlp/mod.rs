//! The multilayer perceptron: a picture's pixels in a row, hidden layers, an output for each class.

#[cfg(feature = "train")]
mod family;

mod config;

pub use config::{MlpConfig, MlpModel};
#[cfg(feature = "train")]
pub use family::MLP;

use super::network::{Network, PictureClassifier};
use crate::error::{Error, Result};
use crate::nn::{Linear, Vars};
use crate::ops;
use crate::tensor::{Depth, Tape, Tensor};

/// The output layer, as a prefix in files.
pub const CLASSIFIER: &str = "classifier";

/// The model with its output layer.
pub struct MlpClassifier {
    hidden: Vec<Linear>,
    classifier: Linear,
    config: MlpConfig,
}

impl MlpClassifier {
    /// Declares the model: layers as PyTorch's `nn.Linear`, which read pixels row by row, the channels of
    /// each side by side.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn new(v: &Vars, config: &MlpConfig) -> Result<MlpClassifier> {
        let mut width = config.inputs();
        let mut hidden = Vec::with_capacity(config.hidden_sizes.len());
        for (n, &next) in config.hidden_sizes.iter().enumerate() {
            let layers = v.at("hidden").depth(Depth::Layer(n));
            hidden.push(layers.linear(n, width, next)?);
            width = next;
        }
        Ok(MlpClassifier {
            hidden,
            classifier: v.linear(CLASSIFIER, width, config.labels.count())?,
            config: config.clone(),
        })
    }
}

impl Network for MlpClassifier {
    fn as_picture_classifier(&self) -> Option<&dyn PictureClassifier> {
        Some(self)
    }
}

impl PictureClassifier for MlpClassifier {
    fn logits(&self, tape: &Tape, pixels: &Tensor) -> Result<Tensor> {
        let config = &self.config;
        let size = config.image_size;
        let own = [size.height, size.width, config.num_channels];
        let count = match pixels.dims() {
            [count, picture @ ..] if picture == own => *count,
            found => {
                return Err(Error::Shape {
                    op: "mlp",
                    arg: "pixels",
                    expected: format!("(N, {}, {}, {})", own[0], own[1], own[2]),
                    found: format!("{found:?}"),
                });
            }
        };
        let mut x = pixels.reshaped([count, config.inputs()])?;
        for layer in &self.hidden {
            let y = layer.forward(tape, &x)?;
            let y = ops::unary(tape, &y, config.hidden_act.into())?;
            x = ops::dropout(tape, &y, config.hidden_dropout_prob)?;
        }
        self.classifier.forward(tape, &x)
    }
}
