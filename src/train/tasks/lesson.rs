//! What a stage is taught with, before there is a device.

use std::sync::Arc;

use super::data::{Data, Parts, located};
use crate::error::{Error, Result};
use crate::hub::Head;
use crate::models::{Config, Labels as ModelLabels, Pretrained, Reading, tokenizer_of};
use crate::objectives::Labelled;
use crate::objectives::batch::Batches;
use crate::objectives::criterion::{Criterion, Purpose, Setup};
use crate::objectives::labels::Labels;
use crate::text::Frame;
use crate::train::config::{RunConfig, StageConfig, StageKind};
use crate::train::run::units;
use crate::train::task::Unit;

/// What a stage is taught with: the texts of one unit, and what is made of them. There is no device yet.
pub(in crate::train) struct Lesson {
    /// The documents, divided.
    pub parts: Parts,
    /// What is learned of them.
    pub criterion: Box<dyn Criterion>,
    /// The batches of training.
    pub stream: Box<dyn Batches>,
}

impl Lesson {
    /// That of a unit. The model learns what its outputs are called; a source whose head has others is to be
    /// taken without it.
    ///
    /// # Errors
    /// Texts that cannot be divided, or lack the labels that are learned; sizes that no batch has.
    pub fn prepare(
        data: &Data,
        config: &RunConfig,
        (stage, unit): (&StageConfig, &Unit),
        model: &mut Box<dyn Config>,
        source: &mut Option<Pretrained>,
    ) -> Result<Lesson> {
        check_reading(&**model, source.as_ref(), data)?;
        let found = labels(data, source.as_ref(), stage);
        let labels = match found.map_err(|error| located(error, config))? {
            None => {
                if let Some(own) = unnamed(stage) {
                    model.set_labels(own);
                    model.set_padding(Frame::of(data.tokenizer.vocabulary())?.pad);
                }
                None
            }
            Some((labels, kept)) => {
                if let Some(message) = stage.metric.and_then(|metric| labels.refuses(metric)) {
                    return Err(Error::value(
                        format!("stage.{}.metric", stage.name),
                        message,
                    ));
                }
                let weights = stage.objective.class_weights();
                if let Some(label) = weights.and_then(|w| w.unknown(&labels.names)) {
                    let place = format!("stage.{}.class_weights.{label}", stage.name);
                    let known = labels.names.join(", ");
                    let message = format!("is no label of the data; they have: {known}");
                    return Err(Error::value(place, message));
                }
                let pairs = pairs(data, stage);
                if let (StageKind::Evaluate, Some(pairs)) = (stage.kind, pairs) {
                    model.labels().check_pairs(pairs)?;
                }
                model.set_labels(ModelLabels {
                    text_pairs: pairs,
                    ..labels.of_config()
                });
                if model.reading() == Reading::Rows {
                    model.set_padding(Frame::of(data.tokenizer.vocabulary())?.pad);
                }
                if !kept {
                    *source = source.take().map(Pretrained::without_head);
                }
                Some(Arc::new(labels))
            }
        };
        let parts = data.parts(stage, unit);
        let parts = parts.map_err(|error| located(error, config))?;
        let criterion = stage.objective.criterion(Setup {
            documents: data.documents.clone(),
            tagged: data.tagged.clone(),
            chats: data.chats.clone(),
            pictures: data.pictures.clone(),
            tokenizer: data.tokenizer.clone(),
            config: model.clone(),
            labels,
            batch: stage.batch,
            seed: config.seed,
        })?;
        let stream = criterion.batches(&parts.train, Purpose::Training(unit.seed));
        Ok(Lesson {
            stream: stream.map_err(|error| named(error, stage))?,
            parts,
            criterion,
        })
    }
}

/// The labels of a head that says a number of a text for which the data have none.
pub(super) fn unnamed(stage: &StageConfig) -> Option<ModelLabels> {
    let objective = &stage.objective;
    let says = objective.head().is_some_and(Head::has_labels) && !objective.needs_labels();
    says.then(|| ModelLabels {
        text_pairs: Some(false),
        ..ModelLabels::named(&["LABEL_0"], Some(objective.problem().into()))
    })
}

/// Refuses data that a unit after `first` could not learn from, before that takes its hours.
///
/// # Errors
/// Texts that cannot be divided, or lack the labels that are learned.
pub fn require(data: &Data, config: &RunConfig, first: &Unit) -> Result<()> {
    let units = units(config);
    let later = units.iter().skip_while(|unit| unit.name != first.name);
    later.skip(1).try_for_each(|unit| {
        let stage = &config.stages[unit.stage];
        // What a stage is scored on may have labels that its model alone knows.
        if stage.kind != StageKind::Evaluate {
            labels(data, None, stage).map_err(|error| located(error, config))?;
        }
        (data.parts(stage, unit).map(drop)).map_err(|error| located(error, config))
    })
}

/// A size that batches refuse, by the key that sets it.
fn named(error: Error, stage: &StageConfig) -> Error {
    match error {
        Error::Argument { arg, expected, .. } if ["max_len", "length"].contains(&arg) => {
            let (key, length) = (stage.objective.length_key(), stage.objective.length());
            let place = format!("stage.{}.{key}", stage.name);
            Error::value(place, format!("is {length}; expected {expected}"))
        }
        error => error,
    }
}

/// Whether labels are learned of pairs of texts, where they are learned of texts.
fn pairs(data: &Data, stage: &StageConfig) -> Option<bool> {
    let documents = &data.documents;
    let pair = |doc| documents.texts(doc).1.is_some();
    (stage.objective.labels() == Labelled::OfTexts).then(|| (0..documents.len() as u32).any(pair))
}

/// Refuses texts that a model cannot read as they are.
fn check_reading(config: &dyn Config, source: Option<&Pretrained>, data: &Data) -> Result<()> {
    match (config.reading(), &data.pictures) {
        (Reading::Rows, None) | (Reading::Pictures(_), Some(_)) => return Ok(()),
        (Reading::Steps { .. }, None) => {}
        (reading, _) => {
            let (one, other) = match reading {
                Reading::Pictures(_) => ("pictures", "texts"),
                _ => ("texts", "pictures"),
            };
            let message = format!("says that these are {other}, and the model reads {one}");
            return Err(Error::value("data.source", message));
        }
    }
    let documents = &data.documents;
    if (0..documents.len() as u32).any(|doc| documents.texts(doc).1.is_some()) {
        let one = config.family().one();
        let message = format!(
            "is for models that read two texts at once, as the pairs of the data; {one} reads one: name its \
             column with --text COLUMN (data.text_column)"
        );
        return Err(Error::value("data.pair_column", message));
    }
    // Its words have no names but their numbers.
    match source {
        Some(source) if tokenizer_of(&source.path, None)?.hash() != data.tokenizer.hash() => {
            let problem = "its tokenizer.json is not this run's; set tokenizer.file to it";
            Err(Error::folder(&source.path, problem))
        }
        _ => Ok(()),
    }
}

/// What the labels of the data mean to a stage's model, and whether its outputs are those of the source.
fn labels(
    data: &Data,
    source: Option<&Pretrained>,
    stage: &StageConfig,
) -> Result<Option<(Labels, bool)>> {
    let known = source.and_then(Pretrained::labels);
    let known = known.as_deref();
    let fixed = stage.kind == StageKind::Evaluate;
    Ok(match stage.objective.labels() {
        Labelled::None | Labelled::OfTurns => None,
        Labelled::OfTexts | Labelled::OfPictures => {
            let (documents, problem) = (&data.documents, stage.objective.problem());
            Some(Labels::new(documents, problem, known, fixed)?)
        }
        Labelled::OfWords => Some(Labels::of_words(data.tagged()?, known, fixed)?),
    })
}
