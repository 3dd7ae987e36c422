//! The options that say which run is meant: shared by `train` and `profile`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::{Error, Result};
use crate::hub;
use crate::train::config::{
    ModelConfig, Overrides, PRESETS, PretrainedModel, RunConfig, Source, StageConfig, preset,
};
use crate::train::probe::ProbeOptions;
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
    /// Labelled text: IMDB's or Rotten Tomatoes' archive or folder, or csv, tsv, jsonl, parquet files with
    /// the same columns, or a folder of them; pictures in a folder for each class. To pretrain: any text.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    data: Vec<PathBuf>,
    /// Further text to pretrain on; labels in it are not read.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    unlabelled: Vec<PathBuf>,
    /// Column (by name, or by number from 0) or key of the text [default: found by its name].
    #[arg(long, value_name = "COLUMN", visible_alias = "text-column")]
    text: Option<String>,
    /// That of the second text of a pair [default: found by its name, where --text is not given].
    #[arg(long, value_name = "COLUMN", visible_alias = "pair-column")]
    pair: Option<String>,
    /// That of the label [default: found by its name].
    #[arg(long, value_name = "COLUMN", visible_alias = "label-column")]
    label: Option<String>,
    /// That of the paths in a table of pictures [default: found by its name].
    #[arg(long, value_name = "COLUMN", visible_alias = "image-column")]
    image: Option<String>,
    /// Learning rate of the stages that fine-tune; where none does, of those that pretrain.
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,
    /// Passes over the data, of the same stages.
    #[arg(long, value_name = "N")]
    epochs: Option<f64>,
    /// Texts a step, of the same stages.
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Transformer's model folder, or an adapter's (or a run's), to start from instead of random
    /// weights; or a model of the Hugging Face Hub, as org/name or org/name@revision, which is fetched.
    #[arg(long, value_name = "DIR|NAME")]
    init: Option<PathBuf>,
    /// Lay the run file's [scale.NAME] over it; presets have `small`.
    #[arg(long, value_name = "NAME")]
    scale: Option<String>,
    /// Change one key, as stage.finetune.lr=0.001 or stage.*.batch=16; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Seed of the run.
    #[arg(long)]
    seed: Option<u64>,
    /// Adapter, by part of its name or by its number in `melos devices`; MELOS_ADAPTER does the same.
    #[arg(long, value_name = "NAME|INDEX")]
    pub(super) adapter: Option<String>,
}

impl RunOptions {
    /// A few steps of a stage of this run, on the adapter that is asked for.
    pub(super) fn probe<'a>(&'a self, stage: Option<&'a str>, steps: u64) -> ProbeOptions<'a> {
        ProbeOptions {
            stage,
            steps,
            adapter: self.adapter.as_deref(),
        }
    }

    fn overrides(&self) -> Overrides {
        let columns = [
            ("text", &self.text),
            ("pair", &self.pair),
            ("label", &self.label),
            ("image", &self.image),
        ];
        let columns = columns.into_iter().filter_map(|(role, column)| {
            let name = toml::Value::String(column.clone()?);
            Some(format!("data.{role}_column={name}"))
        });
        Overrides {
            scale: self.scale.clone(),
            main: self.main().map(|(_, set)| set).collect(),
            set: columns.chain(self.set.iter().cloned()).collect(),
        }
    }

    /// What the shorter options set in a stage, with their names.
    fn main(&self) -> impl Iterator<Item = (&'static str, String)> {
        let all = [
            ("--lr", self.lr.map(|rate| format!("lr={rate}"))),
            (
                "--epochs",
                self.epochs.map(|n| format!("budget={{ epochs = {n} }}")),
            ),
            ("--batch", self.batch.map(|n| format!("batch={n}"))),
        ];
        all.into_iter()
            .filter_map(|(option, set)| Some((option, set?)))
    }

    /// What is changed of the run in a folder, as `--set` has it: the shorter options mean its only stage
    /// that fine-tunes or, where none does, that pretrains.
    ///
    /// # Errors
    /// [`Error::ConfigValue`] where they may mean several stages; those of reading the run.
    pub(super) fn in_run(&self, folder: &Path) -> Result<Vec<String>> {
        let mut set = Vec::new();
        if let Some((option, first)) = self.main().next() {
            let config = RunConfig::read(&folder.join("config.toml"), &Overrides::default())?;
            let stages = config.main_stages();
            let key = |stage: &StageConfig, text: &str| format!("stage.{}.{text}", stage.name);
            let [stage] = stages[..] else {
                let keys = stages.iter().map(|s| format!("--set '{}'", key(s, &first)));
                let keys: Vec<String> = keys.collect();
                let message = format!(
                    "may mean any of {} stages of this run; name the one: {}",
                    stages.len(),
                    keys.join(", ")
                );
                return Err(Error::value(option, message));
            };
            set.extend(self.main().map(|(_, text)| key(stage, &text)));
        }
        set.extend_from_slice(&self.set);
        Ok(set)
    }

    /// The run that they name, checked: that of a run file or preset, or of data alone. `None` where they
    /// name nothing.
    pub(super) fn named(&self) -> Result<Option<RunConfig>> {
        if self.file.is_some() || self.preset.is_some() {
            return self.config().map(Some);
        }
        if let Some(data) = self.data.first() {
            let config = survey::plain(data, &self.overrides())?;
            return self.complete(config).map(Some);
        }
        let used = [
            ("--set", !self.set.is_empty()),
            ("--scale", self.scale.is_some()),
            ("--init", self.init.is_some()),
            ("--seed", self.seed.is_some()),
            ("--unlabelled", !self.unlabelled.is_empty()),
            ("--text", self.text.is_some()),
            ("--pair", self.pair.is_some()),
            ("--label", self.label.is_some()),
            ("--image", self.image.is_some()),
            ("--lr", self.lr.is_some()),
            ("--epochs", self.epochs.is_some()),
            ("--batch", self.batch.is_some()),
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
        let config = match (&self.file, &self.preset) {
            (Some(file), _) => RunConfig::read(file, &overrides)?,
            (None, Some(name)) => preset(name)?.config(&overrides)?,
            (None, None) => PRESETS[0].config(&overrides)?,
        };
        if config.data.source == Source::Demo && !self.data.is_empty() {
            let message =
                "the demo makes its own text; choose a preset for your own, as --preset lstm";
            return Err(Error::value("--data", message));
        }
        self.complete(config)
    }

    /// A run with what every run may be told.
    fn complete(&self, mut config: RunConfig) -> Result<RunConfig> {
        if !self.data.is_empty() {
            config.data.path = self.data.iter().cloned().collect();
        }
        if let Some(seed) = self.seed {
            config.seed = seed;
        }
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
