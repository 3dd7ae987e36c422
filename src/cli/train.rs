//! `melos train`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::bars::Bars;
use super::{exit, output, signals};
use crate::error::{Error, Result};
use crate::train::config::{
    ModelConfig, Overrides, PRESETS, PretrainedModel, RunConfig, Source, preset,
};
use crate::train::plan;
use crate::train::progress::{JsonLines, Lines, Progress, Quiet, is_interactive};
use crate::train::run::{self, Outcome, Start};
use crate::train::tasks::{self, TaskFactory};

/// Pretrain and fine-tune as a run file or preset says.
#[derive(Debug, Args)]
pub struct Train {
    /// Run file in TOML; without it and without --preset the demo runs.
    #[arg(conflicts_with = "preset")]
    file: Option<PathBuf>,
    /// A run file that comes with melos; `melos presets` lists them.
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Labelled text: IMDB's or Rotten Tomatoes' archive or folder, or a csv, tsv, jsonl file. To
    /// pretrain: any text, several paths if need be.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    data: Vec<PathBuf>,
    /// Further text to pretrain on; labels in it are not read.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    unlabelled: Vec<PathBuf>,
    /// Model folder of BERT, GPT-2 or an adapter (or a run's) to start from instead of random weights.
    #[arg(long, value_name = "DIR")]
    init: Option<PathBuf>,
    /// Lay the run file's [scale.NAME] over it; presets have `small`.
    #[arg(long, value_name = "NAME")]
    scale: Option<String>,
    /// Change one key, as stage.finetune.lr=0.001 or stage.*.batch=16; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seed of the run.
    #[arg(long)]
    seed: Option<u64>,
    /// Run folder; must be new or empty [default: runs/NAME-001, -002, …].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the run in this folder, bit for bit as if it had never stopped.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["file", "preset", "data", "unlabelled", "init", "scale", "set", "seed", "out"])]
    resume: Option<PathBuf>,
    /// Only say what would be done: parameters, steps, memory against the adapter's limits.
    #[arg(long)]
    dry_run: bool,
    /// No progress, only the result.
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// One JSON object per line on standard output, progress and result.
    #[arg(long)]
    json: bool,
    /// Adapter, by part of its name or by its number in `melos devices`; MELOS_ADAPTER does the same.
    #[arg(long, value_name = "NAME|INDEX")]
    adapter: Option<String>,
}

impl Train {
    fn config(&self) -> Result<RunConfig> {
        let overrides = Overrides {
            scale: self.scale.clone(),
            set: self.set.clone(),
        };
        let mut config = match (&self.file, &self.preset) {
            (Some(file), _) => RunConfig::read(file, &overrides)?,
            (None, Some(name)) => preset(name)?.config(&overrides)?,
            (None, None) => PRESETS[0].config(&overrides)?,
        };
        if let Some(seed) = self.seed {
            config.seed = seed;
        }
        if let Some((data, more)) = self.data.split_first() {
            if config.data.source == Source::Demo {
                return Err(Error::ConfigValue {
                    place: "--data".into(),
                    message: "the demo makes its own text; choose a preset for real data, as --preset lstm-rt".into(),
                });
            }
            let learns = config.stages.iter().any(|s| s.objective.needs_labels());
            if learns && !more.is_empty() {
                return Err(Error::ConfigValue {
                    place: "--data".into(),
                    message: "labelled text is one file, folder or archive; give further text to pretrain on with --unlabelled".into(),
                });
            }
            config.data.path = Some(data.clone());
            config.data.unlabelled.extend_from_slice(more);
        }
        config.data.unlabelled.extend_from_slice(&self.unlabelled);
        if let Some(init) = &self.init {
            start_from(&mut config, init)?;
        }
        config.check()?;
        Ok(config)
    }

    fn progress(&self) -> Box<dyn Progress> {
        if self.json {
            Box::new(JsonLines(std::io::stdout()))
        } else if self.quiet {
            Box::new(Quiet)
        } else if is_interactive() {
            Box::new(Bars::new())
        } else {
            Box::new(Lines::new(std::io::stderr(), Duration::from_secs(5)))
        }
    }

    pub(super) fn run(self) -> Result<ExitCode> {
        let adapter = self.adapter.as_deref();
        if self.dry_run {
            return self.plan(adapter);
        }
        let mut factory = TaskFactory::default();
        let start = match &self.resume {
            Some(folder) => Start::Resume(folder.clone()),
            None => {
                let config = Box::new(self.config()?);
                config.data.require()?;
                factory.check(&config, adapter)?;
                Start::New {
                    config,
                    out: self.out.clone(),
                }
            }
        };
        let stop = signals::stop_flag()?;
        let mut progress = self.progress();
        let outcome = run::train(
            start,
            adapter,
            &mut |request| factory.build(request),
            progress.as_mut(),
            &stop,
        );
        drop(progress);
        match outcome? {
            Outcome::Finished { folder, report } => {
                if self.json {
                    output::print_json(
                        &serde_json::json!({ "event": "report", "folder": folder, "report": report }),
                    )?;
                } else {
                    output::print(&report.table())?;
                    output::note(&format!("results, curves and models: {}", folder.display()));
                }
                Ok(ExitCode::SUCCESS)
            }
            Outcome::Interrupted { folder } => {
                let adapter = self
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
            Some(folder) => RunConfig::read(&folder.join("config.toml"), &Overrides::default())?,
            None => self.config()?,
        };
        let plan = plan::plan(&config, tasks::adapter_limits(adapter)?)?;
        if self.json {
            output::print_json(&plan)?;
        } else {
            output::print(&plan.table())?;
        }
        plan.check()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Makes every stage that starts from nothing start from a folder's model.
fn start_from(config: &mut RunConfig, init: &Path) -> Result<()> {
    match config.model {
        ModelConfig::Pretrained(_) => {}
        ModelConfig::Bert(_) | ModelConfig::Gpt2(_) => {
            config.model = ModelConfig::Pretrained(PretrainedModel::default());
        }
        ModelConfig::Lstm(_) => {
            return Err(Error::ConfigValue {
                place: "--init".into(),
                message: "is for transformers; an LSTM's stage names its own with init".into(),
            });
        }
    }
    // As a path that cannot be taken for a stage's name, and that holds wherever the run is resumed.
    let path = std::path::absolute(init).unwrap_or_else(|_| init.to_path_buf());
    let none = config.stages.iter_mut().filter(|s| s.init.is_none());
    for stage in none {
        stage.init = Some(path.display().to_string());
    }
    Ok(())
}

fn quote_path(path: &Path) -> String {
    quote(&path.display().to_string())
}

/// As a shell wants it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,\\".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn a_path_with_a_space_survives_the_shell() {
        assert_eq!(quote("runs/demo-001"), "runs/demo-001");
        assert_eq!(quote("my runs/it's"), r"'my runs/it'\''s'");
    }
}
