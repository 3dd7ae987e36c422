//! `config.json` of a plain convolutional network, and what a run file says of one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Result;
use crate::models::config::{
    ImageSize, Labels, PictureAct, most, parsed, probabilities, shortest, sizes, wrong,
};
use crate::ops::Window;

/// `model_type` in `config.json`.
pub(super) const MODEL_TYPE: &str = "melos-convnet";

/// The output layer, as a prefix in files.
pub const CLASSIFIER: &str = "classifier.6";

/// A square window, as PyTorch's layers have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slide {
    /// Taps of a side.
    pub kernel: usize,
    /// Pixels from one position to the next.
    #[serde(default = "one")]
    pub stride: usize,
    /// Pixels beyond each edge.
    #[serde(default)]
    pub padding: usize,
}

fn one() -> usize {
    1
}

impl Slide {
    pub(super) const fn of(kernel: usize, stride: usize, padding: usize) -> Slide {
        Slide {
            kernel,
            stride,
            padding,
        }
    }

    /// The same for operators.
    pub(super) fn window(self) -> Window {
        Window::square(self.kernel)
            .stride(self.stride)
            .padding(self.padding)
    }

    /// Its positions along a side; `None` where it does not fit.
    fn positions(self, side: usize) -> Option<usize> {
        let room = (side + 2 * self.padding).checked_sub(self.kernel)?;
        Some(room / self.stride.max(1) + 1)
    }
}

/// A layer below the classifier, which is named by its place among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// A convolution.
    Conv {
        /// Channels that it makes.
        outputs: usize,
        /// Its window.
        #[serde(flatten)]
        slide: Slide,
    },
    /// Batch normalisation.
    BatchNorm,
    /// The network's function.
    Activation,
    /// The largest of each window.
    MaxPool(Slide),
    /// The mean of each window.
    AvgPool(Slide),
}

/// A plain convolutional network that classifies pictures: layers one after another, two hidden layers, an
/// output for each class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConvNetConfig {
    /// Size of the pictures, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<ImageSize>,
    /// Numbers of a pixel.
    pub num_channels: usize,
    /// Layers below the classifier.
    pub features: Vec<Feature>,
    /// The side that means bring their result to; without it pictures must be of one size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooled: Option<usize>,
    /// Widths of the two hidden layers.
    pub hidden_sizes: [usize; 2],
    /// The function behind convolutions and hidden layers.
    pub hidden_act: PictureAct,
    /// Probability of dropping hidden units.
    #[serde(serialize_with = "shortest")]
    pub hidden_dropout_prob: f32,
    /// Whether units are dropped before a hidden layer, as in AlexNet, and not behind it.
    pub dropout_first: bool,
    /// What its outputs are called.
    #[serde(flatten)]
    pub labels: Labels,
    /// Fields that melos has no use for.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl ConvNetConfig {
    /// The configuration in a `config.json`.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`] when a field has the wrong type or value.
    pub fn from_json(json: &Value) -> Result<ConvNetConfig> {
        let config: ConvNetConfig = parsed(MODEL_TYPE, json)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks that such a model can be built.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`].
    pub fn validate(&self) -> Result<()> {
        let [lower, upper] = self.hidden_sizes;
        sizes(&[
            ("num_channels", self.num_channels, most::CHANNELS),
            ("features", self.features.len(), most::LAYERS),
            ("pooled", self.pooled.unwrap_or(1), most::SIDE),
            ("hidden_sizes", lower, most::WIDTH),
            ("hidden_sizes", upper, most::WIDTH),
            ("id2label", self.labels.count(), most::LABELS),
        ])?;
        for feature in &self.features {
            let slide = match feature {
                Feature::Conv { outputs, slide } => {
                    sizes(&[("features", *outputs, most::WIDTH)])?;
                    slide
                }
                Feature::MaxPool(slide) | Feature::AvgPool(slide) => slide,
                Feature::BatchNorm | Feature::Activation => continue,
            };
            sizes(&[
                ("features", slide.kernel, most::SIDE),
                ("features", slide.stride, most::SIDE),
                ("features", slide.padding + 1, most::SIDE),
            ])?;
        }
        let inputs = self.inputs()?;
        if inputs > most::FEED_FORWARD {
            let message = format!("leaves {inputs} numbers of a picture to the classifier");
            return Err(wrong("features", message));
        }
        probabilities(&[("hidden_dropout_prob", self.hidden_dropout_prob)])
    }

    /// Channels that the last convolution makes.
    fn channels(&self) -> usize {
        let made = self
            .features
            .iter()
            .rev()
            .find_map(|feature| match feature {
                Feature::Conv { outputs, .. } => Some(*outputs),
                _ => None,
            });
        made.unwrap_or(self.num_channels)
    }

    /// Height and width of what layers make of pictures of `size`, and channels, layer by layer.
    pub(super) fn results(&self, size: ImageSize) -> Result<Vec<[usize; 3]>> {
        let (mut sides, mut channels) = ([size.height, size.width], self.num_channels);
        let mut results = Vec::with_capacity(self.features.len());
        for (n, feature) in self.features.iter().enumerate() {
            let slide = match feature {
                Feature::Conv { outputs, slide } => {
                    channels = *outputs;
                    Some(slide)
                }
                Feature::MaxPool(slide) | Feature::AvgPool(slide) => Some(slide),
                Feature::BatchNorm | Feature::Activation => None,
            };
            if let Some(slide) = slide {
                let [Some(down), Some(across)] = sides.map(|side| slide.positions(side)) else {
                    let [height, width] = sides;
                    let message = format!(
                        "leaves {height} by {width} pixels to layer {n}, whose window has {}; take larger pictures \
                         or fewer layers",
                        slide.kernel
                    );
                    return Err(wrong("image_size", message));
                };
                sides = [down, across];
            }
            results.push([sides[0], sides[1], channels]);
        }
        Ok(results)
    }

    /// Numbers of a picture that the classifier reads.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`] where the size of the pictures must be known and is not, or is too small.
    pub fn inputs(&self) -> Result<usize> {
        match (self.pooled, self.image_size) {
            (Some(side), None) => Ok(side * side * self.channels()),
            (Some(side), Some(size)) => {
                self.results(size)?;
                Ok(side * side * self.channels())
            }
            (None, Some(size)) => {
                let results = self.results(size)?;
                let own = [size.height, size.width, self.num_channels];
                Ok(results.last().unwrap_or(&own).iter().product())
            }
            (None, None) => Err(wrong(
                "image_size",
                "is not given, and without pooled the classifier's size follows from it",
            )),
        }
    }

    /// Whether these are the shapes of its layers below the classifier.
    pub(super) fn has(&self, shapes: &BTreeMap<&str, &[usize]>) -> bool {
        let mut channels = self.num_channels;
        let mut own = 0;
        for (n, feature) in self.features.iter().enumerate() {
            let (name, shape) = match feature {
                Feature::Conv { outputs, slide } => {
                    let shape = vec![*outputs, channels, slide.kernel, slide.kernel];
                    channels = *outputs;
                    ("weight", shape)
                }
                Feature::BatchNorm => ("running_mean", vec![channels]),
                _ => continue,
            };
            if shapes.get(&*format!("features.{n}.{name}")) != Some(&&shape[..]) {
                return false;
            }
            own += 1;
        }
        let weights = shapes.iter().filter(|(name, shape)| {
            name.starts_with("features.") && (shape.len() == 4 || name.ends_with(".running_mean"))
        });
        weights.count() == own
    }
}
