//! The training steps in candle: `step T1|T2|T3|T4 COUNT cpu|cuda|metal`.

mod bert;
mod lstm;
#[path = "../../../../benches/support/timed.rs"]
mod timed;
#[path = "../../../../src/doctor/steps/tokens.rs"]
mod tokens;

use std::error::Error;

use candle_core::{DType, Device, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use timed::{Asked, Program};
use tokens::tokens;

/// Computes the loss.
type Forward = Box<dyn Fn() -> candle_core::Result<Tensor>>;

/// A step to run.
struct Case {
    forward: Forward,
    tokens: usize,
    weight_decay: f64,
    /// Whether the parameter of this name is trained.
    trained: fn(&str) -> bool,
}

fn device(backend: &str) -> Result<Device, Box<dyn Error>> {
    match backend {
        "cpu" => Ok(Device::Cpu),
        "cuda" => Ok(Device::new_cuda(0)?),
        "metal" => Ok(Device::new_metal(0)?),
        other => Err(format!("no backend {other}").into()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let asked = Asked::new("cpu")?;
    let device = device(&asked.backend)?;
    let parameters = VarMap::new();
    let vb = VarBuilder::from_varmap(&parameters, DType::F32, &device);
    let case = match asked.step.as_str() {
        "T1" => lstm::language_model(vb)?,
        "T2" => bert::masked_lm(vb)?,
        "T3" => bert::lora(vb)?,
        "T4" => lstm::classifier(vb)?,
        other => return Err(format!("no step {other}").into()),
    };
    let trained = parameters.data().lock().map_err(|_| "a broken lock")?;
    let trained = trained
        .iter()
        .filter(|(name, _)| (case.trained)(name))
        .map(|(_, var)| var.clone())
        .collect();
    // Without weight decay it is Adam.
    let settings = ParamsAdamW {
        lr: 1e-3,
        weight_decay: case.weight_decay,
        ..ParamsAdamW::default()
    };
    let mut optimizer = AdamW::new(trained, settings)?;
    let program = Program {
        framework: "candle",
        version: "0.11.1",
        adapter: None,
        tokens: case.tokens,
    };
    let step = || -> Result<f32, Box<dyn Error>> {
        let loss = (case.forward)()?;
        optimizer.backward_step(&loss)?;
        let loss = loss.to_scalar()?;
        device.synchronize()?;
        Ok(loss)
    };
    timed::report(&asked, program, step, || None)
}
