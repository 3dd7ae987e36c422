//! The texts that a run file names, as they stand in its files.

use std::path::{Path, PathBuf};

use super::read::sources;
use super::{chats, pictures};
use crate::error::{Error, Result};
use crate::images::ImageSource;
use crate::objectives::{Labelled, OBJECTIVES};
use crate::text::chat::Kind;
use crate::text::demo::{self, DemoOptions};
use crate::text::{Example, Source, Split, TaggedText, chat, corpus};
use crate::train::config::{DataConfig, RunConfig, Source as DataSource, StageConfig, StageKind};

/// Where the texts of a run come from.
pub(in crate::train) enum Texts {
    /// Files that are read when they are asked for.
    Files(Vec<Source>),
    /// Files of texts with a label on every word.
    Tagged(Vec<TaggedFile>),
    /// Files of conversations.
    Chats(Vec<Source>, Kind),
    /// Pictures.
    Pictures(Vec<ImageSource>),
    /// Texts of the generator.
    Made(Vec<Example>),
}

/// A file of texts with a label on every word.
pub(in crate::train) struct TaggedFile {
    path: PathBuf,
    /// The part of the data that it is.
    split: Option<Split>,
    pub texts: Vec<TaggedText>,
}

impl Texts {
    /// Those of a run file.
    ///
    /// # Errors
    /// Those of reading texts whose words have labels, and the first rows of files.
    pub fn of(config: &RunConfig) -> Result<Texts> {
        let by_word = |s: &StageConfig| s.objective.labels() == Labelled::OfWords;
        pictures::check(config)?;
        Ok(if config.data.source == DataSource::Images {
            Texts::Pictures(pictures::sources(config))
        } else if config.stages.iter().any(by_word) {
            Texts::Tagged(tagged(&config.data)?)
        } else if config.stages.iter().any(chats::reads) {
            Texts::Chats(chats::sources(&config.data)?, chats::kind(config)?)
        } else if config.data.source == DataSource::Demo {
            let sizes = &config.data.demo;
            Texts::Made(demo::examples(&DemoOptions {
                seed: config.seed,
                unlabelled: sizes.unlabelled,
                train: sizes.train,
                validation: sizes.validation,
                test: sizes.test,
            }))
        } else {
            refuse_words(config)?;
            Texts::Files(sources(config)?)
        })
    }

    /// Gives each text to `each`, in the order of the documents that are made of them, with the file that it
    /// stands in.
    ///
    /// # Errors
    /// Those of reading and of `each`.
    pub fn each(&self, each: &mut dyn FnMut(&Path, Example) -> Result<()>) -> Result<()> {
        let nowhere = PathBuf::new();
        match self {
            Texts::Files(sources) => sources.iter().try_for_each(|source| {
                corpus::read(source, &mut |example| each(&source.path, example)).map(drop)
            }),
            Texts::Tagged(files) => files.iter().try_for_each(|file| {
                file.texts.iter().try_for_each(|text| {
                    let example = Example {
                        text: text.words.join(" "),
                        split: file.split,
                        ..Example::default()
                    };
                    each(&file.path, example)
                })
            }),
            Texts::Chats(sources, kind) => sources.iter().try_for_each(|source| {
                let read = chat::each(source, *kind, &mut |line, item| {
                    let (text, pair) = item.said();
                    let example = Example {
                        text,
                        pair,
                        split: source.split,
                        line: Some(line),
                        ..Example::default()
                    };
                    each(&source.path, example)
                });
                read.map(drop)
            }),
            Texts::Pictures(sources) => sources.iter().try_for_each(|source| {
                source.read(&mut |item| {
                    let example = Example {
                        label: item.label,
                        split: item.split,
                        ..Example::default()
                    };
                    each(Path::new(&item.name), example)
                })
            }),
            Texts::Made(examples) => {
                let mut examples = examples.iter().cloned();
                examples.try_for_each(|example| each(&nowhere, example))
            }
        }
    }
}

/// Refuses files of words with labels, which no stage learns: else one would hear of columns or formats.
fn refuse_words(config: &RunConfig) -> Result<()> {
    let data = &config.data;
    let told = data.text_column.is_some();
    for path in data.path.iter().chain(&data.test).filter(|_| !told) {
        if !path.is_file() || !corpus::is_only_tagged(path)? {
            continue;
        }
        let mut objectives = OBJECTIVES.iter().map(|o| o.standard());
        let objective = objectives.find(|o| o.labels() == Labelled::OfWords);
        let name = objective.as_ref().map_or("", |o| o.name());
        let set = |stage: &str| format!("--set stage.{stage}.objective={name}");
        let learns = |stage: &&StageConfig| {
            stage.objective.needs_labels() && stage.kind != StageKind::Evaluate
        };
        let stage = config.stages.iter().find(learns);
        let message = match stage.filter(|_| config.model.lstm().is_none()) {
            Some(stage) => format!("{name} learns these: {}", set(&stage.name)),
            None => format!(
                "take a file of texts; what learns these is a transformer: --preset finetune --init DIR {}",
                set("finetune")
            ),
        };
        let path = path.display();
        let place = stage.map_or("data.path".into(), |s| {
            format!("stage.{}.objective", s.name)
        });
        return Err(Error::value(
            place,
            format!("every word of '{path}' has a label; {message}"),
        ));
    }
    Ok(())
}

/// Files of texts with labelled words.
fn tagged(data: &DataConfig) -> Result<Vec<TaggedFile>> {
    let split = data.test.as_ref().map(|_| Split::Train);
    let own = data.path.iter().map(|path| (path.clone(), split));
    let test = data.test.iter();
    let files = own.chain(test.map(|path| (path.clone(), Some(Split::Test))));
    let read = |(path, split): (PathBuf, Option<Split>)| {
        let texts = corpus::read_tagged(&Source {
            text: data.text_column.clone(),
            label: data.label_column.clone(),
            ..Source::new(&path)
        })?;
        Ok(TaggedFile { path, split, texts })
    };
    files.map(read).collect()
}

/// A label that no example teaches, with the place where it stands.
pub(in crate::train) fn located(error: Error, config: &RunConfig) -> Error {
    let Error::UnseenLabel {
        label,
        mut place,
        known,
    } = error
    else {
        return error;
    };
    let mut found = false;
    let mut look = |path: &Path, example: Example| {
        let names = example.label.as_deref().unwrap_or_default();
        let is = names == label || names.split(',').any(|name| name.trim() == label);
        if let (false, true, Some(line)) = (found, is, example.line) {
            place = format!("'{}' line {line}", path.display());
            found = true;
        }
        Ok(())
    };
    // What cannot be read again is not what is being said.
    let _ = Texts::of(config).and_then(|texts| texts.each(&mut look));
    Error::UnseenLabel {
        label,
        place,
        known,
    }
}
