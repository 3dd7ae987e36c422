//! One of the training steps of `benches/steps.rs`, timed as `tools/compare` times every framework's.
//!
//! `cargo run --release --example step -- T1 5`; `T2_f16` and `T3_f16` in mixed precision

#[path = "../benches/support/timed.rs"]
mod timed;

use std::error::Error;

use melos::device::{AdapterChoice, Gpu};
use timed::{Asked, Program};

fn main() -> Result<(), Box<dyn Error>> {
    let asked = Asked::new("wgpu")?;
    let gpu = Gpu::open(&AdapterChoice::default())?;
    let (step, half) = match asked.step.strip_suffix("_f16") {
        Some(step) => (step, true),
        None => (&*asked.step, false),
    };
    let case = melos::doctor::steps::cases(&gpu)
        .into_iter()
        .filter(|case| case.name.ends_with("_f16") == half)
        .find(|case| case.name.starts_with(&format!("{step}_")))
        .ok_or_else(|| format!("no step {}", asked.step))?;
    let mut step = (case.build)(&gpu)?;
    let program = Program {
        framework: "melos",
        version: env!("CARGO_PKG_VERSION"),
        adapter: Some(gpu.caps().name.clone()),
        tokens: case.tokens,
    };
    let gpu = step.gpu().clone();
    let peak = move || Some(gpu.memory().peak as f64 / 1048576.0);
    timed::report(&asked, program, || Ok(step.run()?), peak)
}
