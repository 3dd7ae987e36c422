//! What a stage makes of the texts.

use std::collections::HashSet;

use serde::Serialize;

use super::labels::{self, LabelSurvey};
use super::rows::Raw;
use crate::error::{Error, Result};
use crate::models::Beside;
use crate::models::Reading;
use crate::objectives::batch;
use crate::objectives::coverage::Coverage;
use crate::train::config::{RunConfig, StageConfig, StageKind};
use crate::train::run::units;
use crate::train::tasks::{Data, Lesson, Parts, choose, first_init, open_source};

/// What a stage makes of the texts; of one that repeats, its first unit.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StageSurvey {
    /// Stage name.
    pub name: String,
    /// What it learns.
    pub objective: &'static str,
    /// Why it would be refused, where it would.
    pub refused: Option<String>,
    /// What is learned from.
    pub train: Part,
    /// What the best checkpoint is chosen by.
    pub validation: Part,
    /// What is tested on.
    pub test: Part,
    /// What is asked and was learned from.
    pub leaks: Leaks,
    /// What labels there are, where it learns some.
    pub labels: Option<LabelSurvey>,
    /// How long the texts are that are learned from.
    pub lengths: Lengths,
    /// How much of the texts is read that are learned from.
    pub coverage: Coverage,
    /// Batches of an epoch.
    pub batches: u64,
    /// What a budget of tokens counts, in an epoch.
    pub work: u64,
    /// The first batch.
    pub batch: Batch,
}

/// One part of the data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Texts, or pieces of long ones.
    pub texts: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Those of them that stand for an unknown word.
    pub unknown: u64,
}

/// Texts for testing that stand among those that are learned from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Leaks {
    /// Of the test part, in the stage's own training part.
    pub test: u64,
    /// Of the validation part, likewise.
    pub validation: u64,
    /// Of the test part, in what the stages before were pretrained on.
    pub pretrained: u64,
}

/// How many tokens texts have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Lengths {
    /// Half of the texts have no more.
    pub median: u64,
    /// Nineteen of twenty have no more.
    pub most: u64,
    /// The longest has.
    pub longest: u64,
}

/// What the model is given at once.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Batch {
    /// Its rows.
    pub rows: u64,
    /// Tokens of a row, filled up.
    pub length: u64,
    /// Share of its places that only fill rows up.
    pub padding: f64,
    /// What its rows say, special tokens with them: the first few.
    pub texts: Vec<String>,
}

/// Rows of a batch that are shown.
const SHOWN: usize = 8;

/// Tokens of the documents `docs` that stand for unknown words.
pub fn unknown(data: &Data, docs: &[u32]) -> u64 {
    let Some(unknown) = data.tokenizer.vocabulary().roles().unk else {
        return 0;
    };
    let count = |&doc: &u32| {
        data.documents
            .ids(doc)
            .iter()
            .filter(|&&id| id == unknown)
            .count()
    };
    docs.iter().map(|doc| count(doc) as u64).sum()
}

/// Surveys a stage; what it is pretrained on goes into `pretrained`. A `strict` survey fails where the stage
/// would, and makes no batch.
pub fn survey(
    config: &RunConfig,
    stage: &StageConfig,
    (data, raw): (&Data, &Raw),
    pretrained: &mut HashSet<u128>,
    strict: bool,
) -> Result<StageSurvey> {
    let mut survey = StageSurvey {
        name: stage.name.clone(),
        objective: stage.objective.name(),
        ..StageSurvey::default()
    };
    let vocabulary = data.tokenizer.vocabulary();
    let init = first_init(config, stage)?;
    let mut source = open_source(init.as_deref(), Beside::default(), stage)?;
    let mut model = choose(config, stage, source.as_ref(), vocabulary)?;
    vocabulary.fits(model.vocab_size())?;
    let all = units(config);
    let unit = all
        .iter()
        .find(|unit| config.stages[unit.stage].name == stage.name);
    let Some(unit) = unit else {
        return Ok(survey);
    };
    let lesson = Lesson::prepare(data, config, (stage, unit), &mut model, &mut source);
    let mut lesson = match lesson {
        Ok(lesson) => lesson,
        Err(error) if strict || matches!(error, Error::ConfigValue { .. }) => return Err(error),
        Err(error) => {
            survey.refused = Some(error.to_string());
            return Ok(survey);
        }
    };
    let parts = &lesson.parts;
    let part = |docs: &[u32]| Part {
        texts: docs.len() as u64,
        tokens: docs
            .iter()
            .map(|&doc| data.documents.ids(doc).len() as u64)
            .sum(),
        unknown: unknown(data, docs),
    };
    survey.train = part(&parts.train);
    survey.validation = part(&parts.validation);
    survey.test = part(&parts.test);
    survey.leaks = leaks(data, raw, parts, pretrained);
    if stage.kind == StageKind::Pretrain {
        pretrained.extend(texts(data, raw, &parts.train));
    }
    survey.labels = labels::survey(data, stage, parts);
    survey.lengths = lengths(data, &parts.train);
    survey.coverage = lesson.criterion.coverage(&parts.train)?;
    survey.batches = lesson.stream.per_epoch();
    survey.work = lesson.stream.work_per_epoch();
    if strict {
        return Ok(survey);
    }
    let first = lesson.stream.next(1, 1);
    survey.batch = shown(&first, model.reading(), data)?;
    Ok(survey)
}

/// What tells the texts of documents from others; pieces of a text are none.
fn texts<'a>(data: &'a Data, raw: &'a Raw, docs: &'a [u32]) -> impl Iterator<Item = u128> + 'a {
    docs.iter()
        .filter_map(|&doc| match data.documents.text_of(doc) {
            (row, false) => raw.text(row),
            _ => None,
        })
}

fn leaks(data: &Data, raw: &Raw, parts: &Parts, pretrained: &HashSet<u128>) -> Leaks {
    let learned: HashSet<u128> = texts(data, raw, &parts.train).collect();
    let count = |docs: &[u32], known: &HashSet<u128>| {
        texts(data, raw, docs)
            .filter(|text| known.contains(text))
            .count() as u64
    };
    Leaks {
        test: count(&parts.test, &learned),
        validation: count(&parts.validation, &learned),
        pretrained: count(&parts.test, pretrained),
    }
}

fn lengths(data: &Data, docs: &[u32]) -> Lengths {
    let mut all: Vec<u64> = docs
        .iter()
        .map(|&doc| data.documents.ids(doc).len() as u64)
        .collect();
    all.sort_unstable();
    let at = |share: f64| {
        let place = (all.len() as f64 * share).ceil() as usize;
        all.get(place.saturating_sub(1)).copied().unwrap_or(0)
    };
    Lengths {
        median: at(0.5),
        most: at(0.95),
        longest: at(1.0),
    }
}

fn shown(batch: &batch::Batch, reading: Reading, data: &Data) -> Result<Batch> {
    let (Some((ids, shape)), Some(lens)) = (batch.tokens(), batch.lens()) else {
        return Ok(Batch::default());
    };
    let by_row = reading == Reading::Rows;
    let [rows, length] = if by_row { shape } else { [shape[1], shape[0]] };
    let filled: u64 = lens.iter().map(|&len| u64::from(len)).sum();
    let text = |(row, &len): (usize, &u32)| {
        let at = |t: usize| {
            ids[if by_row {
                row * length + t
            } else {
                t * rows + row
            }]
        };
        let own: Vec<u32> = (0..len as usize).map(at).collect();
        data.tokenizer.decode_with(&own, false)
    };
    let full = lens.iter().enumerate().filter(|(_, len)| **len > 0);
    Ok(Batch {
        rows: rows as u64,
        length: length as u64,
        padding: 1.0 - filled as f64 / ((rows * length).max(1)) as f64,
        texts: full.take(SHOWN).map(text).collect::<Result<_>>()?,
    })
}
