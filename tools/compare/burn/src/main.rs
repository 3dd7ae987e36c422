//! The training steps in burn: `step T1|T2|T3|T4 COUNT wgpu|vulkan|cuda|flex`.

#![recursion_limit = "256"]

mod bert;
mod lstm;
#[path = "../../../../benches/support/timed.rs"]
mod timed;
#[path = "../../../../src/doctor/steps/tokens.rs"]
mod tokens;

use std::error::Error;

use burn::module::Module;
use burn::optim::{AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Int, Tensor, TensorData};
use timed::{Asked, Program};
use tokens::tokens;

fn device(backend: &str) -> Result<Device, Box<dyn Error>> {
    let device = match backend {
        "flex" => Device::flex(),
        "wgpu" => Device::wgpu(Default::default()),
        #[cfg(feature = "vulkan")]
        "vulkan" => Device::vulkan(Default::default()),
        #[cfg(feature = "cuda")]
        "cuda" => Device::cuda(0),
        other => return Err(format!("no backend {other} in this build").into()),
    };
    Ok(device.autodiff())
}

/// Ids or targets as a tensor of this shape.
fn ints<const D: usize>(values: Vec<u32>, shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(values, shape).convert::<i32>(), device)
}

/// Of two classes.
fn labels(batch: usize, device: &Device) -> Tensor<1, Int> {
    ints((0..batch as u32).map(|b| b % 2).collect(), [batch], device)
}

fn adam() -> ModuleOptimizer {
    AdamConfig::new().with_epsilon(1e-8).init()
}

fn adamw() -> ModuleOptimizer {
    AdamWConfig::new()
        .with_epsilon(1e-8)
        .with_weight_decay(0.01)
        .init()
}

/// Trains `model` on the loss that `forward` computes from it.
fn train<M: Module>(
    asked: &Asked,
    device: &Device,
    model: M,
    mut optimizer: ModuleOptimizer,
    tokens: usize,
    forward: impl Fn(&M) -> Tensor<1>,
) -> Result<(), Box<dyn Error>> {
    let mut model = Some(model);
    let step = || -> Result<f32, Box<dyn Error>> {
        let taken = model.take().ok_or("an earlier step failed")?;
        let loss = forward(&taken);
        let grads = GradientsParams::from_grads(loss.backward(), &taken);
        model = Some(optimizer.step(1e-3, taken, grads));
        let loss = loss.into_scalar::<f32>();
        device.sync()?;
        Ok(loss)
    };
    let program = Program {
        framework: "burn",
        version: "0.22.1",
        adapter: None,
        tokens,
    };
    timed::report(asked, program, step, || None)
}

fn main() -> Result<(), Box<dyn Error>> {
    let asked = Asked::new("wgpu")?;
    let device = device(&asked.backend)?;
    match asked.step.as_str() {
        "T1" => lstm::language_model(&asked, &device),
        "T2" => bert::masked_lm(&asked, &device),
        "T3" => bert::lora(&asked, &device),
        "T4" => lstm::classifier(&asked, &device),
        other => Err(format!("no step {other}").into()),
    }
}
