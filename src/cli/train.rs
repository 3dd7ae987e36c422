//! `melos train`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::bars::Bars;
use super::run_options::RunOptions;
use super::{exit, output, signals};
use crate::error::Result;
use crate::train::config::{Overrides, RunConfig};
use crate::train::page::commands::quote;
use crate::train::plan;
use crate::train::progress::{JsonLines, Lines, Progress, Quiet, is_interactive};
use crate::train::run::{Accept, Outcome, Start};
use crate::train::{self, tasks};

/// What describes a new run, and so does not go with --resume.
const NEW_RUN: [&str; 12] = [
    "file",
    "preset",
    "data",
    "unlabelled",
    "text",
    "pair",
    "label",
    "image",
    "init",
    "scale",
    "seed",
    "out",
];

/// Pretrain and fine-tune as a run file or preset says.
#[derive(Debug, Args)]
pub struct Train {
    #[command(flatten)]
    options: RunOptions,
    /// Run folder; must be new or empty [default: runs/NAME-001, -002, …].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the run in this folder, bit for bit as if it had never stopped; with --epochs N, or --set
    /// stage.NAME.budget.epochs=N, train a stage that is done on, to a longer budget.
    #[arg(long, value_name = "DIR", conflicts_with_all = NEW_RUN)]
    resume: Option<PathBuf>,
    /// Where the last checkpoint is damaged, go on from the newest good one.
    #[arg(long, requires = "resume", conflicts_with_all = NEW_RUN)]
    from_last_good: bool,
    /// Go on although the data or the settings are not those that the run was begun with.
    #[arg(long, requires = "resume", conflicts_with_all = NEW_RUN)]
    accept_changed_data: bool,
    /// Only read the data and say what would be done: columns, classes, lengths, steps, parameters, memory
    /// against the adapter's limits.
    #[arg(long)]
    dry_run: bool,
    /// No progress, only the result.
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// One JSON object per line on standard output, progress and result.
    #[arg(long)]
    json: bool,
}

impl Train {
    fn progress(&self) -> Box<dyn Progress> {
        if self.json {
            Box::new(JsonLines(output::results()))
        } else if self.quiet {
            Box::new(Quiet)
        } else if is_interactive() {
            Box::new(Bars::new())
        } else {
            Box::new(Lines::new(output::Notes, Duration::from_secs(5)))
        }
    }

    pub(super) fn run(self) -> Result<ExitCode> {
        let adapter = self.options.adapter.as_deref();
        if self.dry_run {
            return self.plan(adapter);
        }
        let start = match &self.resume {
            Some(folder) => Start::Resume {
                folder: folder.clone(),
                set: self.options.in_run(folder)?,
                accept: Accept {
                    last_good: self.from_last_good,
                    changed: self.accept_changed_data,
                },
            },
            None => Start::New {
                config: Box::new(self.options.config()?),
                out: self.out.clone(),
            },
        };
        let stop = signals::stop_flag()?;
        let mut progress = self.progress();
        let outcome = train::train(start, adapter, progress.as_mut(), &stop);
        drop(progress);
        match outcome? {
            Outcome::Finished { folder, report } => {
                if self.json {
                    output::print_json(
                        &serde_json::json!({ "event": "report", "folder": folder, "report": report }),
                    )?;
                } else {
                    output::print(&report.table())?;
                    let folder = folder.display();
                    output::note(&format!(
                        "results, curves and models: {folder}, to look at: {folder}/report.html"
                    ));
                }
                Ok(ExitCode::SUCCESS)
            }
            Outcome::Interrupted { folder } => {
                let adapter = self
                    .options
                    .adapter
                    .as_deref()
                    .map_or(String::new(), |a| format!(" --adapter {}", quote(a)));
                output::note(&format!(
                    "interrupted; a checkpoint is written. Go on with:\n  melos train --resume {}{adapter}",
                    quote_path(&folder)
                ));
                Ok(ExitCode::from(exit::INTERRUPTED))
            }
        }
    }

    fn plan(&self, adapter: Option<&str>) -> Result<ExitCode> {
        let config = match &self.resume {
            Some(folder) => {
                let overrides = Overrides {
                    set: self.options.in_run(folder)?,
                    ..Overrides::default()
                };
                RunConfig::read(&folder.join("config.toml"), &overrides)?
            }
            None => self.options.config()?,
        };
        let plan = plan::plan(&config, tasks::adapter_limits(adapter, &config)?)?;
        if self.json {
            output::print_json(&plan)?;
        } else {
            output::print(&plan.table())?;
        }
        plan.check()?;
        Ok(ExitCode::SUCCESS)
    }
}

fn quote_path(path: &Path) -> String {
    quote(&path.display().to_string())
}
