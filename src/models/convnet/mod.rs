//! Plain convolutional networks: LeNet-5, AlexNet, VGG and what is built like them, under torchvision's names.

#[cfg(feature = "train")]
mod family;

mod config;
mod layouts;

pub use config::{CLASSIFIER, ConvNetConfig, Feature, Slide};
#[cfg(feature = "train")]
pub use family::CONVNET;
pub use layouts::{ConvNetModel, Layout};

use super::config::PictureAct;
use super::network::{Network, PictureClassifier};
use crate::error::Result;
use crate::nn::{BatchNorm2d, Conv2d, Conv2dShape, Linear, LinearShape, Vars};
use crate::ops::{self, Unary, Window};
use crate::tensor::{Depth, Tape, Tensor};

/// A layer of the features.
enum Layer {
    Conv(Conv2d),
    Norm(BatchNorm2d),
    Activation,
    MaxPool(Window),
    AvgPool(Window),
}

/// The model with its output layer.
pub struct ConvNetClassifier {
    layers: Vec<Layer>,
    pooled: Option<usize>,
    hidden: [Linear; 2],
    classifier: Linear,
    function: Unary,
    dropout: f32,
    dropout_first: bool,
    frozen_norms: bool,
}

impl ConvNetClassifier {
    /// Declares the model, under torchvision's names.
    ///
    /// # Errors
    /// As [`Vars::param`]; [`crate::Error::ModelConfig`] for sizes that do not fit each other.
    pub fn new(v: &Vars, config: &ConvNetConfig) -> Result<ConvNetClassifier> {
        let mut layers = Vec::with_capacity(config.features.len());
        let (mut width, mut depth) = (config.num_channels, 0);
        // As torchvision starts VGG; PyTorch's own start suits functions that saturate.
        let starts = |shape: Conv2dShape| match config.hidden_act {
            PictureAct::Relu => shape.he(),
            PictureAct::Sigmoid | PictureAct::Tanh => shape,
        };
        for (n, feature) in config.features.iter().enumerate() {
            let v = v.at("features").depth(Depth::Layer(depth));
            layers.push(match feature {
                Feature::Conv { outputs, slide } => {
                    let shape = Conv2dShape::new(width, *outputs, slide.window());
                    width = *outputs;
                    Layer::Conv(v.conv2d(n, starts(shape))?)
                }
                Feature::BatchNorm => Layer::Norm(v.batch_norm2d(n, width)?),
                Feature::Activation => {
                    depth += 1;
                    Layer::Activation
                }
                Feature::MaxPool(slide) => Layer::MaxPool(slide.window()),
                Feature::AvgPool(slide) => Layer::AvgPool(slide.window()),
            });
        }
        let [lower, upper] = config.hidden_sizes;
        let places = if config.dropout_first { [1, 4] } else { [0, 3] };
        let v_hidden = v.at("classifier").depth(Depth::Top);
        Ok(ConvNetClassifier {
            layers,
            pooled: config.pooled,
            hidden: [
                v_hidden.linear(places[0], config.inputs()?, lower)?,
                v_hidden.linear(places[1], lower, upper)?,
            ],
            classifier: v.linear_of(CLASSIFIER, LinearShape::new(upper, config.labels.count()))?,
            function: config.hidden_act.into(),
            dropout: config.hidden_dropout_prob,
            dropout_first: config.dropout_first,
            frozen_norms: false,
        })
    }
}

impl Network for ConvNetClassifier {
    fn set_frozen_norms(&mut self, on: bool) {
        self.frozen_norms = on;
    }

    fn as_picture_classifier(&self) -> Option<&dyn PictureClassifier> {
        Some(self)
    }
}

impl PictureClassifier for ConvNetClassifier {
    fn logits(&self, tape: &Tape, pixels: &Tensor) -> Result<Tensor> {
        let mut x = ops::cast(tape, pixels, tape.activations())?;
        for layer in &self.layers {
            x = match layer {
                Layer::Conv(conv) => conv.forward(tape, &x)?,
                Layer::Norm(norm) => norm.forward(tape, &x, self.frozen_norms)?,
                Layer::Activation => ops::unary(tape, &x, self.function)?,
                Layer::MaxPool(window) => ops::max_pool2d(tape, &x, window)?,
                Layer::AvgPool(window) => ops::avg_pool2d(tape, &x, window)?,
            };
        }
        if let Some(side) = self.pooled {
            x = ops::adaptive_avg_pool2d(tape, &x, [side; 2])?;
        }
        x = ops::flatten(tape, &x)?;
        for layer in &self.hidden {
            if self.dropout_first {
                x = ops::dropout(tape, &x, self.dropout)?;
            }
            let y = layer.forward(tape, &x)?;
            x = ops::unary(tape, &y, self.function)?;
            if !self.dropout_first {
                x = ops::dropout(tape, &x, self.dropout)?;
            }
        }
        self.classifier.forward(tape, &x)
    }
}
