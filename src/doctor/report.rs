//! What the doctor found, as a table and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

/// A kernel on the adapter.
#[derive(Debug, Clone, Serialize)]
pub struct KernelRow {
    /// Its name in the catalogue.
    pub kernel: String,
    /// portable, subgroup, image, tile or matrix.
    pub rung: String,
    /// Whether its variants for 16-bit floats are meant.
    pub f16: bool,
    /// Proofs that ran it.
    pub cases: usize,
    /// The worst error of results that it had a part in, in errors of a plain f32 program on the same data
    /// or in roundings of the result, whichever is more; infinite (in JSON: null) where it gave no numbers.
    pub over_naive: f64,
    /// Whether all of its results are right.
    pub right: bool,
    /// How many results are wrong.
    pub fault_count: usize,
    /// The first of them, what is wrong and its details each.
    pub faults: Vec<String>,
}

/// Wrong kernels whose first fault is shown.
const SHOWN: usize = 5;

/// A kernel that was not run, and why.
#[derive(Debug, Clone, Serialize)]
pub struct NotRun {
    /// Its name in the catalogue.
    pub kernel: String,
    /// What the adapter lacks.
    pub why: String,
}

/// A tiny model's first ten steps.
#[derive(Debug, Clone, Serialize)]
pub struct TrainingRow {
    /// The model.
    pub model: String,
    /// The losses.
    pub losses: Vec<f32>,
    /// PyTorch's, in f64.
    pub expected: Vec<f64>,
    /// The largest distance, as a share of the expected loss.
    pub off_by: f64,
    /// Whether that is no more than rounding explains, and the same when run twice.
    pub right: bool,
}

/// How long a training step takes.
#[derive(Debug, Clone, Serialize)]
pub struct StepRow {
    /// The step, by its sizes.
    pub step: String,
    /// Seconds, the median of those that ran; none where there is no memory for it.
    pub seconds: Option<f64>,
    /// Tokens a second.
    pub tokens_per_second: Option<f64>,
    /// Why it did not run.
    pub note: Option<String>,
}

/// What [`examine`](super::examine) found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Of melos.
    pub version: String,
    /// The adapter's name.
    pub adapter: String,
    /// Graphics interface, driver and its version.
    pub driver: String,
    /// Kernels that ran.
    pub kernels: Vec<KernelRow>,
    /// Kernels that this adapter cannot run.
    pub not_run: Vec<NotRun>,
    /// Tiny models.
    pub training: Vec<TrainingRow>,
    /// 10⁹ f32 operations a second, fused multiply-adds in registers.
    pub peak_gflops: Option<f64>,
    /// 10⁹ bytes a second that a copy reads and writes.
    pub peak_gbytes: Option<f64>,
    /// Training steps, timed.
    pub steps: Vec<StepRow>,
    /// What melos leaves out on this adapter from now on.
    pub left_out: Vec<String>,
    /// Kernels that are wrong and that nothing can take the place of.
    pub wrong: Vec<String>,
    /// Why later runs will not know what was found.
    pub not_kept: Option<String>,
    /// What ended the examination before its time.
    pub stopped: Option<String>,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Report {
    /// Whether every kernel that ran is right, every model trained as it should, and nothing was left
    /// untried without a reason.
    pub fn is_right(&self) -> bool {
        self.stopped.is_none()
            && self.kernels.iter().all(|row| row.right)
            && self.training.iter().all(|row| row.right)
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut out = format!("{} ({})\n\n", self.adapter, self.driver);
        let width = self
            .kernels
            .iter()
            .map(|row| row.kernel.len())
            .max()
            .unwrap_or(0)
            .max(6);
        let _ = writeln!(
            out,
            "{:width$}  {:<9} {:<4} {:>5}  {:>11}  verdict",
            "kernel", "rung", "", "cases", "error/naive"
        );
        for row in &self.kernels {
            let error = match row.over_naive {
                error if !error.is_finite() => "no number".into(),
                error if error < 1e4 => format!("{error:.2}"),
                error => format!("{error:.1e}"),
            };
            let half = if row.f16 { "f16" } else { "f32" };
            let verdict = if row.right { "right" } else { "WRONG" };
            let _ = writeln!(
                out,
                "{:width$}  {:<9} {half:<4} {:>5}  {error:>11}  {verdict}",
                row.kernel, row.rung, row.cases
            );
        }
        for not in &self.not_run {
            let _ = writeln!(out, "{:width$}  not run: {}", not.kernel, not.why);
        }
        out.push('\n');
        for row in &self.training {
            let verdict = if row.right { "right" } else { "WRONG" };
            let last = row.losses.last().copied().unwrap_or(f32::NAN);
            let _ = writeln!(
                out,
                "a tiny {} trains: after {} steps loss {last:.6}, at most {:.1e} from PyTorch's: {verdict}",
                row.model,
                row.losses.len(),
                row.off_by
            );
        }
        if let (Some(flops), Some(bytes)) = (self.peak_gflops, self.peak_gbytes) {
            let _ = writeln!(
                out,
                "\npeak: {flops:.0} GFLOP/s of f32 in registers, {bytes:.1} GB/s copied"
            );
        }
        for row in &self.steps {
            let _ = match (row.seconds, row.tokens_per_second) {
                (Some(seconds), Some(rate)) => {
                    writeln!(
                        out,
                        "{}: {seconds:.4} s a step, {rate:.0} tokens/s",
                        row.step
                    )
                }
                _ => writeln!(
                    out,
                    "{}: {}",
                    row.step,
                    row.note.as_deref().unwrap_or("not run")
                ),
            };
        }
        out.push('\n');
        out += &self.verdict();
        out
    }

    fn verdict(&self) -> String {
        let mut out = String::new();
        let wrong: Vec<&KernelRow> = self.kernels.iter().filter(|row| !row.right).collect();
        for row in wrong.iter().take(SHOWN) {
            let fault = row.faults.first().map_or("", String::as_str);
            let _ = writeln!(
                out,
                "{} ({}), {} faults, first {fault}",
                row.kernel, row.rung, row.fault_count
            );
        }
        if wrong.len() > SHOWN {
            let _ = writeln!(out, "and {} kernels more: see --json", wrong.len() - SHOWN);
        }
        if let Some(why) = &self.stopped {
            let _ = writeln!(out, "The examination ended early: {why}");
        }
        if let Some(why) = &self.not_kept {
            let _ = writeln!(out, "Later runs will not know what was found here: {why}");
        } else if !self.left_out.is_empty() {
            let _ = writeln!(
                out,
                "melos leaves out on this adapter from now on: {}. Another driver is examined anew.",
                self.left_out.join(", ")
            );
        }
        if !self.wrong.is_empty() {
            let _ = writeln!(
                out,
                "Wrong, and nothing can take their place: {}. Do not trust results of this adapter with \
                 this driver; try a newer driver, or another adapter (`melos devices`).",
                self.wrong.join(", ")
            );
        }
        let seconds = self.seconds;
        let _ = if self.is_right() {
            let count = self.kernels.len();
            writeln!(
                out,
                "All {count} kernels and variants are right on this adapter ({seconds:.0} s)."
            )
        } else {
            writeln!(
                out,
                "NOT right on this adapter ({seconds:.0} s). Please report it with `melos doctor --json`."
            )
        };
        out
    }
}
