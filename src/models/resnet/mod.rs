//! Residual networks (He et al. 2015), with the stride of a bottleneck in its 3 × 3 convolution, as torchvision
//! has them (v1.5).

#[cfg(feature = "train")]
mod family;

mod config;

pub use config::{Block, Depth as ResNetDepth, ResNetConfig, ResNetModel, Stem};
#[cfg(feature = "train")]
pub use family::RESNET;

use super::network::{Network, PictureClassifier};
use crate::error::Result;
use crate::nn::{BatchNorm2d, Conv2d, Conv2dShape, Linear, Vars};
use crate::ops::{self, Unary, Window};
use crate::tensor::{Depth, Tape, Tensor};

/// The output layer, as a prefix in files.
pub const CLASSIFIER: &str = "fc";

/// A convolution and the norm behind it.
struct Normed {
    conv: Conv2d,
    norm: BatchNorm2d,
}

impl Normed {
    /// Under two names; the convolution has no bias, which the norm would take away.
    fn new(v: &Vars, [conv, norm]: [&str; 2], shape: Conv2dShape) -> Result<Normed> {
        Ok(Normed {
            conv: v.conv2d(conv, shape.he().without_bias())?,
            norm: v.batch_norm2d(norm, shape.outputs)?,
        })
    }

    fn forward(&self, tape: &Tape, x: &Tensor, frozen: bool) -> Result<Tensor> {
        let y = self.conv.forward(tape, x)?;
        self.norm.forward(tape, &y, frozen)
    }
}

/// Convolutions, past which the input is led as it is, or through one of 1 × 1.
struct ResidualBlock {
    convs: Vec<Normed>,
    downsample: Option<Normed>,
}

impl ResidualBlock {
    fn new(
        v: &Vars,
        kind: Block,
        [inputs, inside]: [usize; 2],
        stride: usize,
    ) -> Result<ResidualBlock> {
        let outputs = inside * kind.expansion();
        let wide = Window::square(3).padding(1);
        let windows = match kind {
            Block::Basic => vec![wide.stride(stride), wide],
            Block::Bottleneck => vec![Window::square(1), wide.stride(stride), Window::square(1)],
        };
        let (mut convs, mut width) = (Vec::new(), inputs);
        for (n, &window) in windows.iter().enumerate() {
            let next = if n + 1 == windows.len() {
                outputs
            } else {
                inside
            };
            let names = [format!("conv{}", n + 1), format!("bn{}", n + 1)];
            let shape = Conv2dShape::new(width, next, window);
            convs.push(Normed::new(v, [&names[0], &names[1]], shape)?);
            width = next;
        }
        let straight = stride == 1 && inputs == outputs;
        let shape = Conv2dShape::new(inputs, outputs, Window::square(1).stride(stride));
        let downsample = || Normed::new(&v.at("downsample"), ["0", "1"], shape);
        Ok(ResidualBlock {
            convs,
            downsample: (!straight).then(downsample).transpose()?,
        })
    }

    fn forward(&self, tape: &Tape, x: &Tensor, frozen: bool) -> Result<Tensor> {
        let mut y = x.clone();
        for (n, conv) in self.convs.iter().enumerate() {
            if n > 0 {
                y = ops::unary(tape, &y, Unary::Relu)?;
            }
            y = conv.forward(tape, &y, frozen)?;
        }
        let past = match &self.downsample {
            Some(conv) => conv.forward(tape, x, frozen)?,
            None => x.clone(),
        };
        let sum = ops::add(tape, &y, &past)?;
        ops::unary(tape, &sum, Unary::Relu)
    }
}

/// The model with its output layer.
pub struct ResNetClassifier {
    stem: Normed,
    pool: Option<Window>,
    blocks: Vec<ResidualBlock>,
    fc: Linear,
    frozen_norms: bool,
}

impl ResNetClassifier {
    /// Declares the model, under torchvision's names.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn new(v: &Vars, config: &ResNetConfig) -> Result<ResNetClassifier> {
        let (window, pool) = match config.stem {
            Stem::Imagenet => (
                Window::square(7).stride(2).padding(3),
                Some(Window::square(3).stride(2).padding(1)),
            ),
            Stem::Small => (Window::square(3).padding(1), None),
        };
        let bottom = v.depth(Depth::Embeddings);
        let mut width = config.embedding_size;
        let stem = Conv2dShape::new(config.num_channels, width, window);
        let stem = Normed::new(&bottom, ["conv1", "bn1"], stem)?;
        let mut blocks = Vec::new();
        let stages = config.hidden_sizes.iter().zip(&config.depths);
        for (stage, (&inside, &depth)) in stages.enumerate() {
            let layer = v.at(format!("layer{}", stage + 1));
            for n in 0..depth {
                let stride = if stage > 0 && n == 0 { 2 } else { 1 };
                let v = layer.at(n).depth(Depth::Layer(blocks.len()));
                let kind = config.layer_type;
                blocks.push(ResidualBlock::new(&v, kind, [width, inside], stride)?);
                width = inside * kind.expansion();
            }
        }
        Ok(ResNetClassifier {
            stem,
            pool,
            blocks,
            fc: v.linear(CLASSIFIER, width, config.labels.count())?,
            frozen_norms: false,
        })
    }
}

impl Network for ResNetClassifier {
    fn set_frozen_norms(&mut self, on: bool) {
        self.frozen_norms = on;
    }

    fn as_picture_classifier(&self) -> Option<&dyn PictureClassifier> {
        Some(self)
    }
}

impl PictureClassifier for ResNetClassifier {
    fn logits(&self, tape: &Tape, pixels: &Tensor) -> Result<Tensor> {
        let frozen = self.frozen_norms;
        let x = ops::cast(tape, pixels, tape.activations())?;
        let x = self.stem.forward(tape, &x, frozen)?;
        let mut x = ops::unary(tape, &x, Unary::Relu)?;
        if let Some(pool) = &self.pool {
            x = ops::max_pool2d(tape, &x, pool)?;
        }
        for block in &self.blocks {
            x = block.forward(tape, &x, frozen)?;
        }
        let x = ops::adaptive_avg_pool2d(tape, &x, [1, 1])?;
        let x = ops::flatten(tape, &x)?;
        self.fc.forward(tape, &x)
    }
}
