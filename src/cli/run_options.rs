//! The options that say which run is meant: shared by `train` and `profile`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::{Error, Result};
use crate::hub;
use crate::train::config::{
    ModelConfig, Overrides, PRESETS, PretrainedModel, RunConfig, Source, preset,
};
use crate::train::survey;

/// A run file or preset, and what is changed in it.
#[derive(Debug, Args)]
pub struct RunOptions {
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
    /// Transformer's model folder, or an adapter's (or a run's), to start from instead of random
    /// weights; or a model of the Hugging Face Hub, as org/name or org/name@revision, which is fetched.
    #[arg(long, value_name = "DIR|NAME")]
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
    /// Adapter, by part of its name or by its number in `melos devices`; MELOS_ADAPTER does the same.
    #[arg(long, value_name = "NAME|INDEX")]
    pub(super) adapter: Option<String>,
}

impl RunOptions {
    fn overrides(&self) -> Overrides {
        Overrides {
            scale: self.scale.clone(),
            set: self.set.clone(),
        }
    }

    /// The run that they name, checked: that of a run file or preset, or of data alone. `None` where they
    /// name nothing.
    pub(super) fn named(&self) -> Result<Option<RunConfig>> {
        if self.file.is_some() || self.preset.is_some() {
            return self.config().map(Some);
        }
        if let Some((data, more)) = self.data.split_first() {
            let config = survey::plain(data, &self.overrides())?;
            return self.complete(config, more).map(Some);
        }
        let used = [
            ("--set", !self.set.is_empty()),
            ("--scale", self.scale.is_some()),
            ("--init", self.init.is_some()),
            ("--seed", self.seed.is_some()),
            ("--unlabelled", !self.unlabelled.is_empty()),
        ];
        match used.iter().find(|(_, used)| *used) {
            None => Ok(None),
            Some((option, _)) => {
                let message = "is for runs: name a run file, --preset NAME or --data PATH";
                Err(Error::value(*option, message))
            }
        }
    }

    /// The run they describe, checked.
    pub(super) fn config(&self) -> Result<RunConfig> {
        let overrides = self.overrides();
        let mut config = match (&self.file, &self.preset) {
            (Some(file), _) => RunConfig::read(file, &overrides)?,
            (None, Some(name)) => preset(name)?.config(&overrides)?,
            (None, None) => PRESETS[0].config(&overrides)?,
        };
        if let Some((data, more)) = self.data.split_first() {
            if config.data.source == Source::Demo {
                return Err(Error::ConfigValue {
                    place: "--data".into(),
                    message: "the demo makes its own text; choose a preset for real data, as --preset lstm-rt".into(),
                });
            }
            config.data.path = Some(data.clone());
            return self.complete(config, more);
        }
        self.complete(config, &[])
    }

    /// A run with what every run may be told; `more` are the data beside the first.
    fn complete(&self, mut config: RunConfig, more: &[PathBuf]) -> Result<RunConfig> {
        if let Some(seed) = self.seed {
            config.seed = seed;
        }
        let learns = config.stages.iter().any(|s| s.objective.needs_labels());
        if learns && !more.is_empty() {
            return Err(Error::ConfigValue {
                place: "--data".into(),
                message: "labelled text is one file, folder or archive; give further text to pretrain on with --unlabelled".into(),
            });
        }
        config.data.unlabelled.extend_from_slice(more);
        config.data.unlabelled.extend_from_slice(&self.unlabelled);
        if let Some(init) = &self.init {
            start_from(&mut config, init)?;
        }
        config.check()?;
        Ok(config)
    }
}

/// Makes every stage that starts from nothing start from a folder's model.
fn start_from(config: &mut RunConfig, init: &Path) -> Result<()> {
    match config.model {
        ModelConfig::Pretrained(_) => {}
        ModelConfig::Lstm(_) => {
            return Err(Error::ConfigValue {
                place: "--init".into(),
                message: "is for transformers; an LSTM's stage names its own with init".into(),
            });
        }
        _ => config.model = ModelConfig::Pretrained(PretrainedModel::default()),
    }
    // As a path that cannot be taken for a stage's name, and that holds wherever the run is resumed; so
    // does a name on the Hub.
    let path = match hub::model_name(init) {
        Some(_) => init.to_path_buf(),
        None => std::path::absolute(init).unwrap_or_else(|_| init.to_path_buf()),
    };
    let none = config.stages.iter_mut().filter(|s| s.init.is_none());
    for stage in none {
        stage.init = Some(path.display().to_string());
    }
    Ok(())
}
