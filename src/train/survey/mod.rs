//! What is in the data of a run, before hours are spent on them: `melos doctor RUN.toml`.
//!
//! Texts are read as training reads them, divided as it divides them and made into the batches that it
//! would get; nothing is trained, and no device is opened.

mod labels;
mod pictures;
mod plain;
mod rows;
mod stage;
mod table;
mod warnings;

use std::path::Path;

use serde::Serialize;

use super::config::RunConfig;
use super::tasks::{Data, Texts};
use crate::error::{Error, Result};
use crate::images::ImageSource;
use crate::text::Source;
use crate::text::chat;
use crate::text::corpus::{self, Described};
pub use labels::{Class, LabelSurvey, Numbers};
pub use pictures::PictureSurvey;
pub use plain::plain;
pub use rows::{Place, Rows};
pub use stage::{Batch, Leaks, Lengths, Part, StageSurvey};
pub use warnings::Warning;

/// What is in the data of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Survey {
    /// Run name.
    pub name: String,
    /// What each file is read as.
    pub files: Vec<Described>,
    /// The rows of all of them.
    pub rows: Rows,
    /// What they are, where they are pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pictures: Option<PictureSurvey>,
    /// What made tokens of them.
    pub tokenizer: TokenizerSurvey,
    /// What each stage makes of them, its first repeat.
    pub stages: Vec<StageSurvey>,
    /// What may be wrong, each with the key that helps.
    pub warnings: Vec<Warning>,
}

/// What a tokeniser makes of the texts.
#[derive(Debug, Clone, Serialize)]
pub struct TokenizerSurvey {
    /// Tokens that it has.
    pub vocabulary: usize,
    /// Tokens of all texts.
    pub tokens: u64,
    /// Those of them that stand for an unknown word.
    pub unknown: u64,
    /// Whether it is given, and not trained on these texts.
    pub given: bool,
}

impl TokenizerSurvey {
    /// Share of unknown tokens.
    pub fn unknown_share(&self) -> f64 {
        self.unknown as f64 / self.tokens.max(1) as f64
    }
}

/// Reads the data of a run and says what is in them.
///
/// # Errors
/// A run file that cannot be used; data that cannot be read. Data that can be read and not be trained on
/// are what is said of a stage.
pub fn survey(config: &RunConfig) -> Result<Survey> {
    look(config, false)
}

/// The same for who is about to train: what of the data a stage would refuse is an error, and no batch is
/// made.
///
/// # Errors
/// As [`survey`]; those that training would end with before its first step.
pub fn before_training(config: &RunConfig) -> Result<Survey> {
    look(config, true)
}

fn look(config: &RunConfig, strict: bool) -> Result<Survey> {
    let mut config = config.clone();
    config.check()?;
    config.data.require()?;
    config.settle();
    let config = &config;
    let texts = Texts::of(config)?;
    let files = described(config, &texts)?;
    let pictures = matches!(texts, Texts::Pictures(_));
    let (mut rows, mut raw) = match pictures {
        true => Default::default(),
        false => rows::read(&texts)?,
    };
    let place = || Path::new("a temporary folder");
    let folder = tempfile::tempdir().map_err(|e| Error::write(place(), e))?;
    let data = Data::open(config, folder.path(), false)?;
    if let Some(data) = &data.pictures {
        (rows, raw) = rows::of_pictures(&data.pictures);
    }
    let documents = &data.documents;
    let all = documents.filter(|_| true);
    let tokenizer = TokenizerSurvey {
        vocabulary: data.tokenizer.vocab_size(),
        tokens: documents.tokens(),
        unknown: stage::unknown(&data, &all),
        given: data.given,
    };
    let mut pretrained = Default::default();
    let stages = (config.stages.iter())
        .map(|one| stage::survey(config, one, (&data, &raw), &mut pretrained, strict))
        .collect::<Result<Vec<_>>>()?;
    let mut survey = Survey {
        name: config.name.clone(),
        files,
        rows,
        pictures: data.pictures.as_ref().map(PictureSurvey::of),
        tokenizer,
        stages,
        warnings: Vec::new(),
    };
    survey.warnings = warnings::of(&survey, config);
    Ok(survey)
}

/// What the files of a run are read as.
fn described(config: &RunConfig, texts: &Texts) -> Result<Vec<Described>> {
    match texts {
        Texts::Made(_) => Ok(Vec::new()),
        Texts::Pictures(sources) => {
            let of = |source: &ImageSource| {
                Ok(Described {
                    path: source.path.clone(),
                    format: source.format()?.about().to_string(),
                    ..Described::default()
                })
            };
            sources.iter().map(of).collect()
        }
        Texts::Files(sources) => sources.iter().map(|s| corpus::describe(s, false)).collect(),
        Texts::Chats(sources, _) => {
            let of = |source: &Source| {
                Ok(Described {
                    path: source.path.clone(),
                    format: source.resolve_format()?.name(),
                    text: Some(chat::form(source)?.to_string()),
                    ..Described::default()
                })
            };
            sources.iter().map(of).collect()
        }
        Texts::Tagged(_) => {
            let data = &config.data;
            let files = data.path.iter().chain(&data.test);
            let source = |path| Source {
                text: data.text_column.clone(),
                label: data.label_column.clone(),
                ..Source::new(path)
            };
            files
                .map(|path| corpus::describe(&source(path), true))
                .collect()
        }
    }
}
