//! Which kernel forms are fastest for the sizes of a run: `melos tune`.

use std::path::PathBuf;

use serde::Serialize;

use super::config::{RunConfig, StageKind};
use super::probe::{Probe, ProbeOptions};
use super::report::markdown;
use super::tasks::TaskFactory;
use crate::device::Measured;
use crate::error::{Error, Result};

/// What was measured, and where it is kept.
#[derive(Debug, Clone, Serialize)]
pub struct Tuned {
    /// The adapter, its interface and driver.
    pub adapter: String,
    /// The file that later runs read, where there is a folder for it.
    pub file: Option<PathBuf>,
    /// By class of sizes, in the order of their first use.
    pub measured: Vec<Measured>,
    /// All that is known of the device, as a table that can be shipped.
    #[serde(skip)]
    pub table: String,
}

/// Prepares a stage as `melos train` would, or one after the other all that train, and times every
/// form of every operation that its first steps need. The fastest are kept for all later runs.
///
/// # Errors
/// Those of preparing and training; [`Error::ConfigValue`] where `MELOS_KERNELS` leaves no choice.
pub fn tune(
    config: &RunConfig,
    options: &ProbeOptions<'_>,
    factory: &mut TaskFactory,
) -> Result<Tuned> {
    let gpu = factory.gpu(options.adapter)?.clone();
    if let Some(rung) = gpu.rung() {
        let message = format!("forces the rung {rung:?}, which is then no choice; unset it");
        return Err(Error::value("MELOS_KERNELS", message));
    }
    gpu.tuning().anew();
    let train = config
        .stages
        .iter()
        .filter(|s| s.kind != StageKind::Evaluate);
    let mut stages: Vec<Option<&str>> = train.map(|s| Some(s.name.as_str())).collect();
    if options.stage.is_some() || stages.is_empty() {
        stages = vec![options.stage];
    }
    for stage in stages {
        let options = ProbeOptions { stage, ..*options };
        Probe::prepare(config, &options, factory)?.run(|| ())?;
    }
    Ok(Tuned {
        adapter: gpu.caps().to_string(),
        file: gpu.tuning().path().map(PathBuf::from),
        measured: gpu.tuning().measured(),
        table: gpu.tuning().export()?,
    })
}

impl Tuned {
    /// The measurements as a table.
    pub fn table(&self) -> String {
        let head = ["sizes", "form", "ms", "ratio"];
        let mut cells = vec![head.map(String::from)];
        for Measured { class, forms } in &self.measured {
            let best = forms.first().map_or(0.0, |f| f.seconds);
            for (index, time) in forms.iter().enumerate() {
                cells.push([
                    match index {
                        0 => class.clone(),
                        _ => String::new(),
                    },
                    time.form.clone(),
                    format!("{:.3}", 1e3 * time.seconds),
                    format!("{:.2}", time.seconds / best.max(f64::MIN_POSITIVE)),
                ]);
            }
        }
        let file = match &self.file {
            Some(file) => format!("kept in {}", file.display()),
            None => "not kept: there is no cache folder (MELOS_CACHE)".into(),
        };
        format!("{}\n{}\n{file}\n", markdown(&cells), self.adapter)
    }
}
