//! `config.json` of a residual network, and what a run file says of one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::models::config::{ImageSize, Labels, most, parsed, sizes, wrong};

/// `model_type` in `config.json`.
pub(super) const MODEL_TYPE: &str = "melos-resnet";

/// What a residual block is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Block {
    /// Two 3 × 3 convolutions.
    #[default]
    Basic,
    /// 1 × 1, 3 × 3 with the stride, and 1 × 1 to four times as many channels.
    Bottleneck,
}

impl Block {
    /// Channels that a block makes, over those inside it.
    pub fn expansion(self) -> usize {
        match self {
            Block::Basic => 1,
            Block::Bottleneck => 4,
        }
    }
}

/// How pictures come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// A 7 × 7 convolution of stride 2 and a pool: for pictures of some 200 pixels a side.
    #[default]
    Imagenet,
    /// A 3 × 3 convolution: for pictures of some 32 pixels a side.
    Small,
}

/// A residual network that classifies pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResNetConfig {
    /// Size of the pictures, where it is known; layers take any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<ImageSize>,
    /// Numbers of a pixel.
    pub num_channels: usize,
    /// How pictures come in.
    pub stem: Stem,
    /// What a block is made of.
    pub layer_type: Block,
    /// Channels that the first convolution makes.
    pub embedding_size: usize,
    /// Channels inside of the blocks of each stage.
    pub hidden_sizes: Vec<usize>,
    /// Blocks of each stage.
    pub depths: Vec<usize>,
    /// What its outputs are called.
    #[serde(flatten)]
    pub labels: Labels,
    /// Fields that melos has no use for.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for ResNetConfig {
    fn default() -> ResNetConfig {
        ResNetConfig {
            image_size: None,
            num_channels: 3,
            stem: Stem::Imagenet,
            layer_type: Block::Basic,
            embedding_size: 64,
            hidden_sizes: vec![64, 128, 256, 512],
            depths: vec![2, 2, 2, 2],
            labels: Labels::default(),
            other: Map::new(),
        }
    }
}

impl ResNetConfig {
    /// The configuration in a `config.json`.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`] when a field has the wrong type or value.
    pub fn from_json(json: &Value) -> Result<ResNetConfig> {
        let config: ResNetConfig = parsed(MODEL_TYPE, json)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks that such a model can be built.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`].
    pub fn validate(&self) -> Result<()> {
        sizes(&[
            ("num_channels", self.num_channels, most::CHANNELS),
            ("embedding_size", self.embedding_size, most::WIDTH),
            ("hidden_sizes", self.hidden_sizes.len(), most::LAYERS),
            ("id2label", self.labels.count(), most::LABELS),
        ])?;
        if self.hidden_sizes.len() != self.depths.len() {
            let [stages, depths] = [self.hidden_sizes.len(), self.depths.len()];
            let message = format!("has {depths} numbers; expected {stages}, one for each stage");
            return Err(wrong("depths", message));
        }
        for (&width, &depth) in self.hidden_sizes.iter().zip(&self.depths) {
            sizes(&[
                ("hidden_sizes", width, most::WIDTH / 4),
                ("depths", depth, most::LAYERS),
            ])?;
        }
        Ok(())
    }

    /// Channels of the last stage's result: what the head reads.
    pub fn outputs(&self) -> usize {
        self.hidden_sizes.last().copied().unwrap_or(0) * self.layer_type.expansion()
    }

    /// The configuration that a file of torchvision's names and shapes tells of, as a `config.json`.
    pub(super) fn told(shapes: &BTreeMap<&str, &[usize]>) -> Option<Value> {
        let at = |name: &str| shapes.get(name).copied();
        let &[width, channels, side, _] = at("conv1.weight")? else {
            return None;
        };
        at("bn1.running_mean")?;
        let (mut depths, mut hidden_sizes) = (Vec::new(), Vec::new());
        for stage in 1.. {
            let Some(first) = at(&format!("layer{stage}.0.conv1.weight")) else {
                break;
            };
            hidden_sizes.push(first[0]);
            let block = |n: usize| format!("layer{stage}.{n}.conv1.weight");
            depths.push((0..).take_while(|n| at(&block(*n)).is_some()).count());
        }
        let bottleneck = at("layer1.0.conv3.weight").is_some();
        let mut config = json!({
            "model_type": MODEL_TYPE,
            "architectures": ["ResNetForImageClassification"],
            "num_channels": channels,
            "stem": if side == 7 { "imagenet" } else { "small" },
            "layer_type": if bottleneck { "bottleneck" } else { "basic" },
            "embedding_size": width,
            "hidden_sizes": hidden_sizes,
            "depths": depths,
        });
        if let Some([labels, _]) = at("fc.weight") {
            config["num_labels"] = (*labels).into();
        }
        (!depths_of(&config).is_empty()).then_some(config)
    }
}

fn depths_of(config: &Value) -> &[Value] {
    config["depths"].as_array().map_or(&[], |depths| depths)
}

/// `[model]` of a run file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResNetModel {
    /// 18, 34, 50 or 101 layers.
    pub depth: Depth,
    /// How pictures come in: "imagenet" or "small".
    pub stem: Stem,
    /// Channels of the first stage, which each next one doubles.
    pub width: usize,
}

/// The layers of a residual network, by which it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub enum Depth {
    /// 18
    #[default]
    D18,
    /// 34
    D34,
    /// 50
    D50,
    /// 101
    D101,
}

impl TryFrom<usize> for Depth {
    type Error = String;

    fn try_from(depth: usize) -> Result<Depth, String> {
        Ok(match depth {
            18 => Depth::D18,
            34 => Depth::D34,
            50 => Depth::D50,
            101 => Depth::D101,
            other => return Err(format!("is {other}; expected 18, 34, 50 or 101")),
        })
    }
}

impl From<Depth> for usize {
    fn from(depth: Depth) -> usize {
        match depth {
            Depth::D18 => 18,
            Depth::D34 => 34,
            Depth::D50 => 50,
            Depth::D101 => 101,
        }
    }
}

impl Default for ResNetModel {
    fn default() -> ResNetModel {
        ResNetModel {
            depth: Depth::D18,
            stem: Stem::Imagenet,
            width: 64,
        }
    }
}

impl From<ResNetModel> for ResNetConfig {
    fn from(model: ResNetModel) -> ResNetConfig {
        let (layer_type, depths) = match model.depth {
            Depth::D18 => (Block::Basic, [2, 2, 2, 2]),
            Depth::D34 => (Block::Basic, [3, 4, 6, 3]),
            Depth::D50 => (Block::Bottleneck, [3, 4, 6, 3]),
            Depth::D101 => (Block::Bottleneck, [3, 4, 23, 3]),
        };
        ResNetConfig {
            stem: model.stem,
            layer_type,
            embedding_size: model.width,
            hidden_sizes: [1, 2, 4, 8].map(|times| times * model.width).to_vec(),
            depths: depths.to_vec(),
            ..ResNetConfig::default()
        }
    }
}
