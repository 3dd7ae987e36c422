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

/// Faults of a kernel that are kept.
const FAULTS: usize = 5;

/// All passes that ran.
#[derive(Default)]
struct Table(Vec<Pass>);

impl Table {
    fn add(&mut self, evidence: Evidence) {
        self.0.extend([evidence.forward, evidence.backward]);
    }

    /// A kernel that cannot be compiled or dispatched.
    fn broken(&mut self, kernel: &str, half: bool, fault: String) {
        let ran = catalogue::get(kernel).map(|source| Ran {
            kernel: source.name,
            half,
            image: false,
        });
        self.0.push(Pass {
            over_naive: f64::INFINITY,
            faults: vec![fault],
            kernels: ran.into_iter().collect(),
        });
    }

    /// The share of a kernel's passes that are at fault.
    fn shares(&self) -> BTreeMap<Ran, f64> {
        let mut counts: BTreeMap<Ran, (f64, f64)> = BTreeMap::new();
        for pass in &self.0 {
            for ran in &pass.kernels {
                let (wrong, all) = counts.entry(*ran).or_default();
                *wrong += f64::from(u8::from(!pass.faults.is_empty()));
                *all += 1.0;
            }
        }
        let share = |(ran, (wrong, all))| (ran, wrong / all);
        counts.into_iter().map(share).collect()
    }

    /// Where a pass is at fault, the kernels in it that are at fault most often are to blame: others ran
    /// rightly elsewhere.
    fn rows(&self) -> Vec<KernelRow> {
        let shares = self.shares();
        let share = |ran: &Ran| shares.get(ran).copied().unwrap_or(0.0);
        let mut rows: BTreeMap<Ran, KernelRow> = BTreeMap::new();
        for pass in &self.0 {
            let most = pass.kernels.iter().map(share).fold(0.0, f64::max);
            for ran in &pass.kernels {
                let row = rows.entry(*ran).or_insert_with(|| KernelRow::of(ran));
                row.cases += 1;
                if pass.faults.is_empty() {
                    row.over_naive = row.over_naive.max(pass.over_naive);
                } else if share(ran) == most {
                    row.right = false;
                    row.over_naive = row.over_naive.max(pass.over_naive);
                    row.fault_count += pass.faults.len();
                    let room = FAULTS.saturating_sub(row.faults.len());
                    row.faults.extend(pass.faults.iter().take(room).cloned());
                }
            }
        }
        rows.into_values().collect()
    }
}

/// What must be left out, and what cannot be.
fn judge(rows: &[KernelRow], findings: &mut Findings) {
    for row in rows.iter().filter(|row| !row.right) {
        match optional(&row.kernel, row.rung == Optional::Image.name()) {
            Some(part) => findings.left_out.insert(part),
            None if row.f16 => findings.left_out.insert(Optional::F16),
            None => findings.wrong.insert(row.kernel.clone()),
        };
    }
}

impl KernelRow {
    fn of(ran: &Ran) -> KernelRow {
        KernelRow {
            kernel: ran.kernel.into(),
            rung: optional(ran.kernel, ran.image)
                .map_or("portable", Optional::name)
                .into(),
            f16: ran.half,
            cases: 0,
            over_naive: 0.0,
            right: true,
            fault_count: 0,
            faults: Vec::new(),
        }
    }
}

/// What melos leaves out where this kernel is wrong; `None` for those that run anywhere.
fn optional(kernel: &str, image: bool) -> Option<Optional> {
    match kernel {
        _ if image => Some(Optional::Image),
        "matmul_tile" => Some(Optional::Tile),
        "matmul_coop" => Some(Optional::Matrix),
        // For products by broadcast alone.
        "matmul_pack" => Some(Optional::Subgroup),
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
/// Where no adapter can be opened. A device that fails on the way is in the report.
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
        not_kept: None,
        stopped: None,
        seconds: 0.0,
    };
    let mut table = Table::default();
    let ended = prove_all(&gpu, &mut table, progress)
        .and_then(|()| train(&gpu, &mut report, progress))
        .and_then(|()| time(&gpu, options, &mut report, progress));
    report.stopped = ended.err().map(|error| error.to_string());
    report.kernels = table.rows();
    report.not_run = not_run(&report.kernels, &caps, &mut report.stopped);
    let mut findings = gpu.findings();
    judge(&report.kernels, &mut findings);
    if options.keep && report.stopped.is_none() {
        report.not_kept = match gpu.keep(&findings) {
            Ok(None) if !findings.is_empty() => Some("there is no cache folder".into()),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
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
            all.into_iter().for_each(|evidence| table.add(evidence));
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
fn not_run(rows: &[KernelRow], caps: &Caps, stopped: &mut Option<String>) -> Vec<NotRun> {
    let mut all = Vec::new();
    for kernel in catalogue::iter().map(|source| source.name) {
        if rows.iter().any(|row| row.kernel == kernel) {
            continue;
        }
        let lacks = match optional(kernel, kernel == "matmul_image") {
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
    // T5 and T6 take minutes on a CPU adapter.
    let timed = |case: &steps::Case| ("T1".."T5").contains(&&case.name[..2]);
    for case in steps::cases(gpu).into_iter().filter(timed) {
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
