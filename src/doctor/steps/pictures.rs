//! A residual network's step.

use super::{Case, Training};
use crate::device::Gpu;
use crate::error::Result;
use crate::models::PictureClassifier;
use crate::models::resnet::{ResNetClassifier, ResNetConfig};
use crate::nn::{Vars, mean_cross_entropy};
use crate::optim::OptimizerKind;
use crate::reference::Data;
use crate::tensor::{DType, Tensor};

/// T7: ResNet-18 on pictures of 64 pixels a side, all of it trained, by plain gradient descent.
pub fn resnet(precision: DType) -> Case {
    const BATCH: usize = 32;
    const SIDE: usize = 64;
    let build = move |gpu: &Gpu| -> Result<_> {
        let config = ResNetConfig::default();
        let v = Vars::new();
        let model = ResNetClassifier::new(&v, &config)?;
        let kind = OptimizerKind::Sgd { weight_decay: 0.0 };
        let training = Training::with(gpu, &v, kind, precision, |_| true)?;
        let dims = [BATCH, SIDE, SIDE, config.num_channels];
        let pixels = Data::new(7).normal(dims.iter().product(), 1.0);
        let pixels = Tensor::from_slice(gpu, dims, &pixels)?;
        let labels: Vec<u32> = (0..BATCH as u32).map(|b| b % 2).collect();
        let targets = Tensor::from_slice(gpu, [BATCH], &labels)?;
        training.record(|tape| {
            let logits = model.logits(tape, &pixels)?;
            mean_cross_entropy(tape, &logits, &targets)
        })
    };
    let suffix = match precision {
        DType::F16 => "_f16",
        _ => "",
    };
    Case {
        name: format!("T7_resnet18_B{BATCH}_{SIDE}x{SIDE}{suffix}"),
        tokens: BATCH,
        build: Box::new(build),
    }
}
