//! Where a training step's time goes: `melos profile`.

use std::time::Instant;

use serde::Serialize;

use super::config::RunConfig;
use super::probe::{Probe, ProbeOptions};
use super::progress::thousands;
use super::report::markdown;
use super::tasks::TaskFactory;
use crate::device::{Gpu, KernelTime, Profile, Timing};
use crate::error::Result;

/// A profiled stage. Times are in seconds, means over the steps.
#[derive(Debug, Clone, Serialize)]
pub struct StageProfile {
    /// Run name.
    pub name: String,
    /// Stage name.
    pub stage: String,
    /// Model, data, adapter, in a line.
    pub summary: String,
    /// The adapter, its interface and driver.
    pub adapter: String,
    /// How commands were timed: `timestamps` or `one by one`.
    pub timing: String,
    /// Steps that were profiled.
    pub steps: u64,
    /// A step as training does it, from the host's point of view.
    pub step_seconds: f64,
    /// Tokens of those steps per second.
    pub tokens_per_second: f64,
    /// All commands of a step on the device.
    pub device_seconds: f64,
    /// Share of a step in which the device has nothing to do; unknown without timestamps.
    pub idle: Option<f64>,
    /// Dispatches, copies and clears of a step.
    pub commands: f64,
    /// Host time to encode one of them, in the step where that took least.
    pub encode_seconds_per_command: f64,
    /// Host time to submit one of them, likewise; unknown of software adapters, which run them
    /// meanwhile.
    pub submit_seconds_per_command: Option<f64>,
    /// Most floating-point operations a second that the device was measured to do.
    pub peak_flops: f64,
    /// Most bytes a second, of a copy.
    pub peak_bytes: f64,
    /// By kernel, the slowest first.
    pub kernels: Vec<KernelRow>,
    /// Every command of every step.
    #[serde(skip)]
    pub timeline: Timeline,
}

/// One kernel's part in a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelRow {
    /// Name in the catalogue, or `copy`, `clear`.
    pub kernel: &'static str,
    /// Runs per step.
    pub count: f64,
    /// Seconds per step.
    pub seconds: f64,
    /// Share of the time of all commands.
    pub share: f64,
    /// Floating-point operations a second, where the kernel's contract counts them.
    pub flops: Option<f64>,
    /// Bytes read and written a second, likewise.
    pub bytes: Option<f64>,
}

/// All commands of the profiled steps, in order.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// What ran.
    pub profile: Profile,
    /// How many of the commands each step has.
    pub steps: Vec<usize>,
}

/// Prepares a stage as `melos train` would, runs `steps` steps to warm up, the same steps again for
/// their time, and once more for that of each command. A stage that starts from an earlier one's
/// model starts from where that one began: its steps cost the same.
///
/// # Errors
/// [`crate::Error::UnknownName`], [`crate::Error::ConfigValue`] for a stage that is not there or does not train;
/// those of [`TaskFactory::build`] and of training.
pub fn profile(
    config: &RunConfig,
    options: &ProbeOptions<'_>,
    factory: &mut TaskFactory,
) -> Result<StageProfile> {
    let mut steps = Probe::prepare(config, options, factory)?;
    let gpu = steps.gpu.clone();
    // Records the passes of all lengths that occur, and compiles what they need.
    steps.run(|| ())?;
    let plain = Plain::measure(&gpu, &mut steps)?;

    let mut sent = gpu.sent().commands;
    let mut per_step = Vec::new();
    let (profile, _) = gpu.profile(|| {
        steps.run(|| {
            let now = gpu.sent().commands;
            per_step.push((now - sent) as usize);
            sent = now;
        })
    })?;
    let peak = gpu.peak()?;

    let n = options.steps as f64;
    let kernels = profile.kernels();
    let device_seconds = kernels.iter().map(|k| k.seconds).sum::<f64>() / n;
    let timed = profile.timing == Timing::Timestamps;
    Ok(StageProfile {
        name: steps.config.name.clone(),
        stage: steps.stage().name.clone(),
        summary: steps.info.summary,
        adapter: gpu.caps().to_string(),
        timing: profile.timing.to_string(),
        steps: options.steps,
        step_seconds: plain.seconds,
        tokens_per_second: plain.tokens / plain.seconds,
        device_seconds,
        // Commands that overlap when they are not timed leave less than nothing.
        idle: timed.then(|| (1.0 - device_seconds / plain.seconds).max(0.0)),
        commands: plain.commands,
        encode_seconds_per_command: plain.encode_seconds,
        submit_seconds_per_command: (!gpu.caps().is_cpu).then_some(plain.submit_seconds),
        peak_flops: peak.flops,
        peak_bytes: peak.bytes,
        kernels: rows(&kernels, n),
        timeline: Timeline {
            profile,
            steps: per_step,
        },
    })
}

fn rows(kernels: &[KernelTime], steps: f64) -> Vec<KernelRow> {
    let all: f64 = kernels.iter().map(|k| k.seconds).sum();
    let rate =
        |work: Option<f64>, seconds: f64| work.filter(|_| seconds > 0.0).map(|w| w / seconds);
    let row = |k: &KernelTime| KernelRow {
        kernel: k.name,
        count: k.count as f64 / steps,
        seconds: k.seconds / steps,
        share: k.seconds / all.max(f64::MIN_POSITIVE),
        flops: rate(k.counts.flops, k.seconds),
        bytes: rate(k.counts.bytes, k.seconds),
    };
    kernels.iter().map(row).collect()
}

/// Steps as training does them, without a clock on the device.
struct Plain {
    /// Of a step.
    seconds: f64,
    /// Of a step.
    tokens: f64,
    /// Of a step.
    commands: f64,
    /// Of a command, in the step where it took least.
    encode_seconds: f64,
    /// Likewise.
    submit_seconds: f64,
}

impl Plain {
    fn measure(gpu: &Gpu, steps: &mut Probe) -> Result<Plain> {
        gpu.wait()?;
        let first = gpu.sent();
        let mut last = first;
        let mut least = [f64::INFINITY; 2];
        let began = Instant::now();
        let tokens = steps.run(|| {
            let now = gpu.sent();
            let commands = (now.commands - last.commands).max(1);
            let took = [
                now.encoding - last.encoding,
                now.submitting - last.submitting,
            ];
            least = [0, 1].map(|i| least[i].min(took[i] / commands as f64));
            last = now;
        })?;
        gpu.wait()?;
        let n = steps.count as f64;
        Ok(Plain {
            seconds: began.elapsed().as_secs_f64() / n,
            tokens: tokens as f64 / n,
            commands: (last.commands - first.commands) as f64 / n,
            encode_seconds: least[0],
            submit_seconds: least[1],
        })
    }
}

impl StageProfile {
    /// The profile as a table, with a few lines below it.
    pub fn table(&self) -> String {
        let head = [
            "kernel",
            "runs a step",
            "ms a step",
            "share %",
            "GFLOP/s",
            "% of peak",
            "GB/s",
            "% of peak",
        ];
        let giga = |rate: Option<f64>| {
            rate.map_or("–".into(), |r| {
                let digits = if r < 1e10 { 2 } else { 1 };
                format!("{:.digits$}", r / 1e9)
            })
        };
        let of = |rate: Option<f64>, peak: f64| {
            rate.map_or("–".into(), |r| format!("{:.0}", 100.0 * r / peak))
        };
        let mut cells = vec![head.map(String::from)];
        for k in &self.kernels {
            cells.push([
                k.kernel.to_string(),
                format!("{:.1}", k.count).replace(".0", ""),
                format!("{:.3}", 1e3 * k.seconds),
                format!("{:.1}", 100.0 * k.share),
                giga(k.flops),
                of(k.flops, self.peak_flops),
                giga(k.bytes),
                of(k.bytes, self.peak_bytes),
            ]);
        }
        let idle = match self.idle {
            Some(share) => format!("{:.1} % idle", 100.0 * share),
            None => "idle share unknown".into(),
        };
        format!(
            "{}\n{}: {}\ntimes {}, means of {} steps\n\
             step {:.2} ms, commands {:.2} ms, {idle}; {} tokens/s\n\
             {:.0} commands a step, {:.2} µs each to encode{}\n\
             measured peak: {:.1} GFLOP/s of fma, {:.1} GB/s of copying\n",
            markdown(&cells),
            self.stage,
            self.summary,
            match self.idle {
                Some(_) => "by the device's timestamps",
                None => "of commands sent one by one, the wait for each included",
            },
            self.steps,
            1e3 * self.step_seconds,
            1e3 * self.device_seconds,
            thousands(self.tokens_per_second),
            self.commands,
            1e6 * self.encode_seconds_per_command,
            match self.submit_seconds_per_command {
                Some(seconds) => format!(", {:.2} µs to submit", 1e6 * seconds),
                None => String::new(),
            },
            self.peak_flops / 1e9,
            self.peak_bytes / 1e9,
        )
    }
}
