//! The conversations that a run file names: their files, and the template that makes text of them.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::models::template_of;
use crate::text::chat::{Encoder, Kind, Learn, Template};
use crate::text::{Source, Split, Tokenizer};
use crate::train::config::{DataConfig, RunConfig, StageConfig};
use crate::train::run::resolve_model;

/// The files of conversations.
///
/// # Errors
/// Those of looking at them.
pub(super) fn sources(data: &DataConfig) -> Result<Vec<Source>> {
    let split = data.test.as_ref().map(|_| Split::Train);
    let own = data.path.iter().map(|path| (path, split));
    let test = data.test.iter().map(|path| (path, Some(Split::Test)));
    let mut sources = Vec::new();
    for (path, split) in own.chain(test) {
        let source = Source {
            split,
            label_optional: true,
            ..Source::new(path)
        };
        sources.extend(source.files()?);
    }
    Ok(sources)
}

/// Whether a stage reads conversations.
pub(super) fn reads(stage: &StageConfig) -> bool {
    stage.objective.conversation().is_some()
}

/// What the rows of a run's files say of answers.
///
/// # Errors
/// [`Error::ConfigValue`] for stages that learn of different kinds.
pub(super) fn kind(config: &RunConfig) -> Result<Kind> {
    let stages = config.stages.iter();
    let mut kinds = stages.filter_map(|s| Some((s, s.objective.conversation()?.kind)));
    let Some((_, first)) = kinds.next() else {
        return Ok(Kind::default());
    };
    match kinds.find(|(_, kind)| *kind != first) {
        None => Ok(first),
        Some((stage, _)) => {
            let place = format!("stage.{}.objective", stage.name);
            let message = "learns from other rows than the stage before; all stages of a run read the same data: make \
                           two runs of it, the second with --init and the first one's folder";
            Err(Error::value(place, message))
        }
    }
}

/// What makes tokens of conversations.
pub(super) struct Scribe {
    template: Option<Template>,
    learn: Learn,
    /// The key that names a template.
    key: String,
}

impl Scribe {
    /// That of a run: the template that its stages name, or the one of the model that it starts from.
    ///
    /// # Errors
    /// [`Error::ConfigValue`] for stages that name different templates; those of reading a template.
    pub fn of(config: &RunConfig, tokenizer: &Tokenizer) -> Result<Scribe> {
        let stages = config.stages.iter();
        let own = stages.filter_map(|s| Some((s, s.objective.conversation()?)));
        let own: Vec<_> = own.collect();
        let first = own.first().and_then(|(_, read)| read.template);
        let key = |stage: &StageConfig| format!("stage.{}.template", stage.name);
        if let Some((stage, _)) = own.iter().find(|(_, read)| read.template != first) {
            let message =
                "is not that of the stage before; all stages of a run read the same conversations";
            return Err(Error::value(key(stage), message));
        }
        let key = own
            .first()
            .map_or_else(String::new, |(stage, _)| key(stage));
        // Where one stage learns all, what the others learn must be told all the same.
        let all = own.iter().all(|(_, read)| read.learn == Learn::All);
        let template = match first {
            Some(name) => Some(Template::named(&key, name, tokenizer)?),
            None => match folder(config)? {
                Some(folder) => template_of(&folder, None, tokenizer)?,
                None => None,
            },
        };
        Ok(Scribe {
            template,
            learn: if all { Learn::All } else { Learn::Assistant },
            key,
        })
    }

    /// It, with a tokeniser.
    pub fn encoder<'a>(&'a self, tokenizer: &'a Tokenizer) -> Encoder<'a> {
        Encoder {
            tokenizer,
            template: self.template.as_ref(),
            learn: self.learn,
            key: &self.key,
        }
    }

    /// The template as it is written.
    pub fn text(&self) -> Option<String> {
        self.template.as_ref().map(|t| t.text().to_owned())
    }
}

/// The folder that a run's tokeniser comes from.
fn folder(config: &RunConfig) -> Result<Option<PathBuf>> {
    if let Some(file) = &config.tokenizer.file {
        let folder = match file.is_dir() {
            true => Some(file.as_path()),
            false => file.parent(),
        };
        return Ok(folder.map(Path::to_path_buf));
    }
    let is_folder = |init: &&String| config.stages.iter().all(|s| s.name != **init);
    let mut inits = config.stages.iter().filter_map(|s| s.init.as_ref());
    match inits.find(is_folder) {
        None => Ok(None),
        Some(init) => resolve_model(Path::new(init)).map(Some),
    }
}
