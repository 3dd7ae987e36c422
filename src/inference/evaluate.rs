//! Trained models of any kind, for `melos predict` and `melos eval`.

use std::path::{Path, PathBuf};

use super::Classifier;
use super::answers::Model;
use super::predict::cut;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::models::{Beside, Pretrained, Reading, is_adapter};
use crate::objectives::scores::Scores;
use crate::objectives::{AnyObjective, OBJECTIVES};
use crate::text::Example;
use crate::train::config::{DataConfig, Problem, RunConfig, Source, StageConfig, StageKind};
use crate::train::run::units;
use crate::train::task::{Split, TaskRequest};
use crate::train::tasks::{self, TaskFactory};

/// Texts scored at a time.
const BATCH: usize = 8;

/// Opens a model folder: melos's own, a Hugging Face folder, or an adapter's with its base, and what belongs to
/// it beside.
///
/// # Errors
/// Whatever the files or the device report.
pub fn open_model(
    folder: &Path,
    beside: Beside<'_>,
    adapter: Option<&str>,
) -> Result<Box<dyn Model>> {
    if beside.base.is_some() && !is_adapter(folder) {
        let message = format!("is for adapters, and {} is none", folder.display());
        return Err(Error::value("--base", message));
    }
    let gpu = tasks::open_gpu(adapter)?;
    let source = Pretrained::open_beside(folder, beside)?;
    Ok(Box::new(Trained {
        gpu,
        folder: folder.to_path_buf(),
        base: beside.base.map(Path::to_path_buf),
        adapters: beside.adapters.to_vec(),
        labels: source.labels().unwrap_or_default(),
        pairs: source.config.labels().text_pairs,
        classifier: None,
    }))
}

/// Opens a model folder, or an adapter's, on the best adapter (device) there is.
///
/// # Errors
/// As [`open_model`].
pub fn open(folder: &Path) -> Result<Box<dyn Model>> {
    open_model(folder, Beside::default(), None)
}

/// A trained model's folder.
struct Trained {
    gpu: Gpu,
    folder: PathBuf,
    base: Option<PathBuf>,
    adapters: Vec<(PathBuf, f64)>,
    labels: Vec<String>,
    pairs: Option<bool>,
    /// Opened when it is first used.
    classifier: Option<Classifier>,
}

impl Trained {
    fn beside(&self) -> Beside<'_> {
        Beside {
            base: self.base.as_deref(),
            adapters: &self.adapters,
        }
    }

    fn classifier(&mut self) -> Result<&mut Classifier> {
        let opened = match self.classifier.take() {
            Some(classifier) => classifier,
            None => Classifier::open(self.gpu.fork(), &self.folder, self.beside())?,
        };
        Ok(self.classifier.insert(opened))
    }

    /// The objective that a class was trained on, as it is scored.
    fn objective(&self, source: &Pretrained) -> Result<AnyObjective> {
        let problem = source.config.labels().problem().into();
        let head = source.architecture.map(|class| class.head());
        let learned =
            (OBJECTIVES.iter().map(|o| o.standard())).find(|o| head.is_some() && o.head() == head);
        let scoring = learned.and_then(|o| o.scoring(cut(&*source.config), problem));
        let problem = "has no head with a score of its own; fine-tune it";
        scoring.ok_or_else(|| Error::folder(&self.folder, problem))
    }
}

impl Model for Trained {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn problem(&self) -> Problem {
        let classifier = self.classifier.as_ref();
        classifier.map_or(Problem::SingleLabel, Classifier::problem)
    }

    fn pairs(&self) -> Option<bool> {
        self.pairs
    }

    fn predict(&mut self, texts: &[Example]) -> Result<Vec<Vec<f32>>> {
        self.classifier()?.predict(texts)
    }

    fn evaluate(&mut self, data: &DataConfig) -> Result<Scores> {
        let source = Pretrained::open_beside(&self.folder, self.beside())?;
        let mut data = data.clone();
        if let Reading::Pictures(_) = source.config.reading() {
            data.source = Source::Images;
        }
        let stage = StageConfig {
            batch: BATCH,
            init: Some(self.folder.display().to_string()),
            ..StageConfig::new("eval", StageKind::Evaluate, self.objective(&source)?)
        };
        let config = RunConfig {
            stages: vec![stage],
            ..RunConfig::pretrained("eval", data)
        };
        let unit = units(&config).remove(0);
        let request = TaskRequest {
            config: &config,
            stage: &config.stages[0],
            unit: &unit,
            init: Some(self.folder.clone()),
            beside: self.beside(),
            adapter: None,
            folder: &std::env::temp_dir(),
        };
        let mut factory = TaskFactory::of_all_texts(self.gpu.fork());
        let mut task = factory.build(&request)?;
        let split = if config.stages[0].objective.needs_labels() {
            Split::Test
        } else {
            Split::Validation
        };
        task.evaluate(split)?.ok_or_else(|| Error::NoLabels {
            what: "scoring a model".into(),
            found: "none".into(),
        })
    }
}
