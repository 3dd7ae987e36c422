//! The examination: cases on every kind of context, training, timing.

use std::collections::BTreeMap;
use std::time::Instant;

use super::cases::{CASES, Case};
use super::evidence::{Evidence, Pass};
use super::proof::poison;
use super::report::{KernelRow, NotRun, Report, StepRow, TrainingRow};
use super::steps::{self, tiny};
use crate::device::{AdapterChoice, Caps, Findings, Gpu, Optional, Ran, Rung};
use crate::error::{Error, Result};
use crate::kernels::catalogue;
use crate::reference::compare::compare;
use crate::reference::tolerance::{self, Tolerance};

/// What is examined.
#[derive(Debug, Clone)]
pub struct Options {
    /// The adapter, as [`AdapterChoice::wanted`] names it.
    pub adapter: Option<String>,
    /// Time training steps as well: minutes on a software driver.
    pub steps: bool,
    /// Keep what is wrong for later runs, in the cache folder.
    pub keep: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            adapter: None,
            steps: true,
            keep: true,
        }
    }
}

/// What is known of a kernel.
#[derive(Default)]
struct Seen {
    cases: usize,
    over_naive: f64,
    faults: Vec<String>,
}

#[derive(Default)]
struct Table(BTreeMap<Ran, Seen>);

impl Table {
    fn add(&mut self, evidence: &Evidence) {
        for pass in [&evidence.forward, &evidence.backward] {
            for ran in &pass.kernels {
                self.add_to(*ran, pass);
            }
        }
    }

    fn add_to(&mut self, ran: Ran, pass: &Pass) {
        let seen = self.0.entry(ran).or_default();
        seen.cases += 1;
        seen.over_naive = seen.over_naive.max(pass.over_naive);
        seen.faults.extend(pass.faults.iter().cloned());
    }

    /// A kernel that cannot be compiled or dispatched.
    fn broken(&mut self, kernel: &str, half: bool, fault: String) {
        if let Some(source) = catalogue::get(kernel) {
            let ran = Ran {
                kernel: source.name,
                half,
            };
            let pass = Pass {
                over_naive: f64::INFINITY,
                faults: vec![fault],
                kernels: Default::default(),
            };
            self.add_to(ran, &pass);
        }
    }

    fn rows(&self) -> Vec<KernelRow> {
        let row = |(ran, seen): (&Ran, &Seen)| KernelRow {
            kernel: ran.kernel.into(),
            rung: rung(ran.kernel).map_or("portable", Optional::name).into(),
            f16: ran.half,
            cases: seen.cases,
            over_naive: seen.over_naive.is_finite().then_some(seen.over_naive),
            right: seen.faults.is_empty(),
            faults: seen.faults.clone(),
        };
        self.0.iter().map(row).collect()
    }

    /// What must be left out, and what cannot be.
    fn judge(&self, findings: &mut Findings) {
        for (ran, _) in self.0.iter().filter(|(_, seen)| !seen.faults.is_empty()) {
            match rung(ran.kernel) {
                Some(part) => findings.left_out.insert(part),
                None if ran.half => findings.left_out.insert(Optional::F16),
                None => findings.wrong.insert(ran.kernel.into()),
            };
        }
    }
}

/// What melos leaves out where this kernel is wrong; `None` for those that run anywhere.
fn rung(kernel: &str) -> Option<Optional> {
    match kernel {
        "matmul_tile" => Some(Optional::Tile),
        "matmul_coop" => Some(Optional::Matrix),
        "matmul_image" | "matmul_pack" => Some(Optional::Image),
        _ if kernel.contains("subgroup") => Some(Optional::Subgroup),
        _ => None,
    }
}

/// Contexts in which operators choose other kernels.
fn contexts(gpu: &Gpu) -> Vec<Gpu> {
    let mut all = vec![gpu.clone()];
    // A forced rung is the only one.
    if gpu.rung().is_some() {
        return all;
    }
    all.push(gpu.portable_f16());
    // Software drivers choose these of themselves.
    if gpu.caps().broadcasts() && !gpu.caps().is_cpu {
        all.push(gpu.forced(Rung::Subgroup));
        if gpu.caps().reads_images() {
            all.push(gpu.forced(Rung::Image));
        }
    }
    all
}

/// Examines an adapter. `progress` is told what is being tried.
///
/// # Errors
/// Where no adapter can be opened, or where what is wrong cannot be kept. A device that fails on the way
/// is in the report.
pub fn examine(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Report> {
    let began = Instant::now();
    let gpu = Gpu::open_whole(&AdapterChoice {
        wanted: options.adapter.clone(),
        checked: false,
    })?;
    let caps = gpu.caps().clone();
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        adapter: caps.name.clone(),
        driver: format!("{}, {}", caps.backend, caps.driver),
        kernels: Vec::new(),
        not_run: Vec::new(),
        training: Vec::new(),
        peak_gflops: None,
        peak_gbytes: None,
        steps: Vec::new(),
        left_out: Vec::new(),
        wrong: Vec::new(),
        stopped: None,
        seconds: 0.0,
    };
    let mut table = Table::default();
    let ended = prove_all(&gpu, &mut table, progress)
        .and_then(|()| train(&gpu, &mut report, progress))
        .and_then(|()| time(&gpu, options, &mut report, progress));
    report.stopped = ended.err().map(|error| error.to_string());
    report.kernels = table.rows();
    report.not_run = not_run(&table, &caps, &mut report.stopped);
    let mut findings = gpu.findings();
    table.judge(&mut findings);
    if options.keep && report.stopped.is_none() {
        gpu.keep(&findings)?;
    }
    report.left_out = findings.names().into_iter().map(String::from).collect();
    report.wrong = findings.wrong.into_iter().collect();
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

fn prove_all(gpu: &Gpu, table: &mut Table, progress: &mut dyn FnMut(&str)) -> Result<()> {
    let contexts = contexts(gpu);
    for context in &contexts {
        poison(context)?;
    }
    for case in CASES.iter().filter(|case| !case.half || gpu.caps().f16) {
        let count = if case.both { contexts.len() } else { 1 };
        progress(case.name);
        for context in &contexts[..count] {
            prove_case(case, context, table)?;
        }
    }
    Ok(())
}

fn prove_case(case: &Case, gpu: &Gpu, table: &mut Table) -> Result<()> {
    match (case.run)(gpu) {
        Ok(all) => {
            all.iter().for_each(|evidence| table.add(evidence));
            Ok(())
        }
        Err(Error::Kernel { kernel, message }) => {
            table.broken(&kernel, case.half, format!("{}: {message}", case.name));
            Ok(())
        }
        Err(error) => {
            let context = format!("{}: {error}", case.name);
            Err(Error::Device {
                adapter: gpu.caps().name.clone(),
                message: context,
            })
        }
    }
}

/// Every kernel of the catalogue that no proof ran; one that should have is an end before its time.
fn not_run(table: &Table, caps: &Caps, stopped: &mut Option<String>) -> Vec<NotRun> {
    let mut all = Vec::new();
    for kernel in catalogue::iter().map(|source| source.name) {
        if table.0.keys().any(|ran| ran.kernel == kernel) {
            continue;
        }
        let lacks = match rung(kernel) {
            Some(Optional::Matrix) if caps.matrix.is_none() => "no matrix units of f16",
            Some(Optional::Subgroup | Optional::Image) if !caps.broadcasts() => {
                "no subgroups of 8 lanes or more"
            }
            _ => {
                stopped.get_or_insert_with(|| format!("no proof ran {kernel}"));
                "no proof ran it"
            }
        };
        all.push(NotRun {
            kernel: kernel.into(),
            why: lacks.into(),
        });
    }
    all
}

fn train(gpu: &Gpu, report: &mut Report, progress: &mut dyn FnMut(&str)) -> Result<()> {
    progress("training");
    for model in tiny::TINY {
        let run = || -> Result<Vec<f32>> {
            let mut step = (model.build)(&gpu.fork())?;
            model.losses.iter().map(|_| step.run()).collect()
        };
        let (losses, again) = (run()?, run()?);
        let naive: Vec<f32> = model.losses.iter().map(|l| *l as f32).collect();
        // No naive program to measure by.
        let tolerance = Tolerance {
            factor: 0.0,
            ..tolerance::TRAINING_LOSS
        };
        let near = compare(&losses, &model.losses, &naive, tolerance)
            .fault
            .is_none();
        let same = losses
            .iter()
            .zip(&again)
            .all(|(a, b)| a.to_bits() == b.to_bits());
        let off_by = losses.iter().zip(&model.losses);
        let off_by = off_by.map(|(got, want)| (f64::from(*got) - want).abs() / want);
        report.training.push(TrainingRow {
            model: model.name.into(),
            off_by: off_by.fold(0.0, f64::max),
            losses,
            expected: model.losses.to_vec(),
            right: near && same,
        });
    }
    Ok(())
}

/// Seconds that a step's runs take together, at least; at most so many runs.
const LONG: f64 = 1.0;
const RUNS: usize = 50;

fn time(
    gpu: &Gpu,
    options: &Options,
    report: &mut Report,
    progress: &mut dyn FnMut(&str),
) -> Result<()> {
    progress("peak");
    let peak = gpu.peak()?;
    (report.peak_gflops, report.peak_gbytes) = (Some(peak.flops / 1e9), Some(peak.bytes / 1e9));
    if !options.steps {
        return Ok(());
    }
    for case in steps::cases(gpu)
        .into_iter()
        .filter(|case| case.name.starts_with('T'))
    {
        progress(&case.name);
        // In a context of its own, whose memory goes when it is done.
        let seconds = median_seconds(&gpu.fork(), &case);
        let (seconds, note) = match seconds {
            Ok(seconds) => (Some(seconds), None),
            Err(error @ (Error::OutOfMemory { .. } | Error::TooLarge { .. })) => {
                (None, Some(error.to_string()))
            }
            Err(error) => return Err(error),
        };
        report.steps.push(StepRow {
            step: case.name,
            seconds,
            tokens_per_second: seconds.map(|s| case.tokens as f64 / s),
            note,
        });
    }
    Ok(())
}

fn median_seconds(gpu: &Gpu, case: &steps::Case) -> Result<f64> {
    let mut step = (case.build)(gpu)?;
    // Compiles, and measures forms.
    step.run()?;
    let (began, mut all) = (Instant::now(), Vec::new());
    while all.len() < 3 || (began.elapsed().as_secs_f64() < LONG && all.len() < RUNS) {
        let one = Instant::now();
        step.run()?;
        all.push(one.elapsed().as_secs_f64());
    }
    all.sort_by(f64::total_cmp);
    Ok(all[all.len() / 2])
}
