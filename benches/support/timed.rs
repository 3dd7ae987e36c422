//! How `tools/compare` times a training step: ours in `examples/step.rs`, other frameworks' in
//! programs of their own that include this file. Each prints one line of JSON.

#[path = "usage.rs"]
mod usage;

use std::error::Error;
use std::time::Instant;

use serde_json::json;

/// Steps that do not count: kernels are compiled and tuned in them.
const WARM_UP: usize = 3;

/// What the command line asks for: `STEP COUNT [BACKEND]`.
pub struct Asked {
    /// T1 to T6.
    pub step: String,
    /// Steps to time.
    pub count: usize,
    pub backend: String,
}

impl Asked {
    /// `backend` is the one for who names none.
    pub fn new(backend: &str) -> Result<Asked, Box<dyn Error>> {
        let mut words = std::env::args().skip(1);
        let mut word = || {
            words
                .next()
                .ok_or("usage: step T1|T2|T3|T4|T5|T6 COUNT [BACKEND]")
        };
        Ok(Asked {
            step: word()?,
            count: word()?.parse()?,
            backend: word().unwrap_or(backend.into()),
        })
    }
}

/// Who runs the step, and on what.
pub struct Program {
    pub framework: &'static str,
    pub version: &'static str,
    pub adapter: Option<String>,
    /// Tokens of a batch.
    pub tokens: usize,
}

/// Runs `step`, which trains once and returns the loss when all its work is done, and prints what
/// came of it. `device_mib` is asked at the end for the most device memory that was held.
pub fn report<E>(
    asked: &Asked,
    program: Program,
    mut step: impl FnMut() -> Result<f32, E>,
    device_mib: impl FnOnce() -> Option<f64>,
) -> Result<(), E> {
    let mut losses = Vec::new();
    let mut seconds = Vec::new();
    let mut cpu = None;
    let mut cold = (None, None);
    for number in 0..WARM_UP + asked.count {
        if number == WARM_UP {
            cpu = usage::cpu_seconds();
        }
        let began = Instant::now();
        losses.push(step()?);
        seconds.push(began.elapsed().as_secs_f64());
        if number == 0 {
            cold = (usage::age(), usage::cpu_seconds());
        }
    }
    let cpu = usage::cpu_seconds()
        .zip(cpu)
        .map(|(after, before)| (after - before) / asked.count as f64);
    let timed = &mut seconds[WARM_UP..];
    timed.sort_by(f64::total_cmp);
    let line = json!({
        "framework": program.framework,
        "version": program.version,
        "backend": asked.backend,
        "adapter": program.adapter,
        "step": asked.step,
        "tokens": program.tokens,
        "seconds": timed.get(timed.len() / 2),
        "cpu_seconds": cpu,
        "cold_seconds": cold.0,
        "cold_cpu_seconds": cold.1,
        "first_loss": losses.first(),
        "last_loss": losses.last(),
        "peak_rss_mib": usage::peak_memory(),
        "device_mib": device_mib(),
    });
    println!("{line}");
    Ok(())
}
