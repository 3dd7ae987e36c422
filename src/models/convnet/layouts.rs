//! The classics among plain convolutional networks.

#[cfg(feature = "train")]
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Map;
#[cfg(feature = "train")]
use serde_json::Value;

#[cfg(feature = "train")]
use super::config::{CLASSIFIER, MODEL_TYPE};
use super::config::{ConvNetConfig, Feature, Slide};
#[cfg(feature = "train")]
use crate::models::config::written;
use crate::models::config::{ImageSize, Labels, PictureAct};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// LeNet-5 (LeCun et al. 1998), each map reading all of those below it, with the largest of windows.
    Lenet,
    /// AlexNet as torchvision has it (Krizhevsky 2014).
    Alexnet,
    /// VGG (Simonyan and Zisserman 2014) of 11 layers.
    Vgg11,
    /// 13 layers.
    Vgg13,
    /// 16 layers.
    Vgg16,
    /// 19 layers.
    Vgg19,
    /// The same with batch norms.
    #[serde(rename = "vgg11_bn")]
    Vgg11Norm,
    /// 13 layers.
    #[serde(rename = "vgg13_bn")]
    Vgg13Norm,
    /// 16 layers.
    #[serde(rename = "vgg16_bn")]
    Vgg16Norm,
    /// 19 layers.
    #[serde(rename = "vgg19_bn")]
    Vgg19Norm,
}

/// Those that torchvision has weights of.
pub(super) const ALL: [Layout; 9] = [
    Layout::Alexnet,
    Layout::Vgg11,
    Layout::Vgg13,
    Layout::Vgg16,
    Layout::Vgg19,
    Layout::Vgg11Norm,
    Layout::Vgg13Norm,
    Layout::Vgg16Norm,
    Layout::Vgg19Norm,
];

/// Channels of VGG's stages, a pool behind each.
const WIDTHS: [usize; 5] = [64, 128, 256, 512, 512];

const fn conv(outputs: usize, slide: Slide) -> Feature {
    Feature::Conv { outputs, slide }
}

impl Layout {
    /// Its layers, for three channels (LeNet: one) and two classes.
    pub fn config(self) -> ConvNetConfig {
        use Feature::{Activation, MaxPool};
        let vgg = |convs: [usize; 5], norm| ConvNetConfig {
            image_size: None,
            num_channels: 3,
            features: stages(&WIDTHS, &convs, norm),
            pooled: Some(7),
            hidden_sizes: [4096; 2],
            hidden_act: PictureAct::Relu,
            hidden_dropout_prob: 0.5,
            dropout_first: false,
            labels: Labels::default(),
            other: Map::new(),
        };
        let (eleven, thirteen) = ([1, 1, 2, 2, 2], [2, 2, 2, 2, 2]);
        let (sixteen, nineteen) = ([2, 2, 3, 3, 3], [2, 2, 4, 4, 4]);
        match self {
            Layout::Lenet => ConvNetConfig {
                image_size: Some(ImageSize::square(28)),
                num_channels: 1,
                features: vec![
                    conv(6, Slide::of(5, 1, 2)),
                    Activation,
                    MaxPool(Slide::of(2, 2, 0)),
                    conv(16, Slide::of(5, 1, 0)),
                    Activation,
                    MaxPool(Slide::of(2, 2, 0)),
                ],
                pooled: None,
                hidden_sizes: [120, 84],
                hidden_dropout_prob: 0.0,
                ..vgg(eleven, false)
            },
            Layout::Alexnet => ConvNetConfig {
                features: vec![
                    conv(64, Slide::of(11, 4, 2)),
                    Activation,
                    MaxPool(Slide::of(3, 2, 0)),
                    conv(192, Slide::of(5, 1, 2)),
                    Activation,
                    MaxPool(Slide::of(3, 2, 0)),
                    conv(384, Slide::of(3, 1, 1)),
                    Activation,
                    conv(256, Slide::of(3, 1, 1)),
                    Activation,
                    conv(256, Slide::of(3, 1, 1)),
                    Activation,
                    MaxPool(Slide::of(3, 2, 0)),
                ],
                pooled: Some(6),
                dropout_first: true,
                ..vgg(eleven, false)
            },
            Layout::Vgg11 => vgg(eleven, false),
            Layout::Vgg13 => vgg(thirteen, false),
            Layout::Vgg16 => vgg(sixteen, false),
            Layout::Vgg19 => vgg(nineteen, false),
            Layout::Vgg11Norm => vgg(eleven, true),
            Layout::Vgg13Norm => vgg(thirteen, true),
            Layout::Vgg16Norm => vgg(sixteen, true),
            Layout::Vgg19Norm => vgg(nineteen, true),
        }
    }
}

/// VGG's stages of so many 3 × 3 convolutions, with or without norms.
fn stages(widths: &[usize], convs: &[usize], norm: bool) -> Vec<Feature> {
    let mut features = Vec::new();
    for (&width, &count) in widths.iter().zip(convs) {
        for _ in 0..count {
            features.push(conv(width, Slide::of(3, 1, 1)));
            features.extend(norm.then_some(Feature::BatchNorm));
            features.push(Feature::Activation);
        }
        features.push(Feature::MaxPool(Slide::of(2, 2, 0)));
    }
    features
}

impl Default for ConvNetConfig {
    fn default() -> ConvNetConfig {
        Layout::Lenet.config()
    }
}

#[cfg(feature = "train")]
impl ConvNetConfig {
    /// The configuration that a file of torchvision's AlexNet or VGG tells of by its names and shapes, as a
    /// `config.json`.
    pub(super) fn told(shapes: &BTreeMap<&str, &[usize]>) -> Option<Value> {
        let found = ALL.iter().map(|layout| layout.config());
        let mut config = found.into_iter().find(|config| config.has(shapes))?;
        let output = shapes.get(&*format!("{}.weight", CLASSIFIER))?;
        config.labels.num_labels = output.first().copied();
        let mut json = written(MODEL_TYPE, &config);
        json["architectures"] = serde_json::json!(["ConvNetForImageClassification"]);
        Some(json)
    }
}

/// `[model]` of a run file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConvNetModel {
    /// "lenet", "alexnet", "vgg11", "vgg13", "vgg16" or "vgg19", these also with "_bn".
    pub layout: Layout,
    /// The function: "relu", "sigmoid" or "tanh".
    pub activation: PictureAct,
    /// Probability of dropping hidden units; without it the layout's.
    pub dropout: Option<f32>,
}

impl Default for ConvNetModel {
    fn default() -> ConvNetModel {
        ConvNetModel {
            layout: Layout::Lenet,
            activation: PictureAct::Relu,
            dropout: None,
        }
    }
}

impl From<ConvNetModel> for ConvNetConfig {
    fn from(model: ConvNetModel) -> ConvNetConfig {
        let standard = model.layout.config();
        ConvNetConfig {
            hidden_act: model.activation,
            hidden_dropout_prob: model.dropout.unwrap_or(standard.hidden_dropout_prob),
            ..standard
        }
    }
}
