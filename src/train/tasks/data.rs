//! The text of a run: read, tokenised and divided once, shared by all stages and repeats.

mod chats;
mod held_out;
mod pictures;
mod read;
#[cfg(test)]
mod tests;
mod texts;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::models::Reading;
use crate::objectives::criterion::{PictureData, Purpose, ToCome};
use crate::objectives::{Labelled, Problem};
use crate::text::chat::{self, ChatDocuments};
use crate::text::rng::Rng;
use crate::text::{Documents, Split, TaggedDocuments, TaggedText, Tokenizer, split, tokenise};
use crate::train::config::{RunConfig, StageConfig, TextChoice};
use crate::train::task::{self, Unit};
use chats::Scribe;
use pictures::PREPROCESSOR;
pub(crate) use pictures::Plan as PicturePlan;
use read::{given, options, tokenizer};
pub(in crate::train) use texts::{Texts, located};

/// Tokenised text with its labels.
pub(in crate::train) struct Data {
    pub tokenizer: Arc<Tokenizer>,
    pub documents: Arc<Documents>,
    /// The same texts with a label on every word, for word classifiers.
    pub tagged: Option<Arc<TaggedDocuments>>,
    /// The pictures that have their labels, where the data are pictures.
    pub pictures: Option<PictureData>,
    /// What of the same texts is learned, where they are conversations.
    pub chats: Option<Arc<ChatDocuments>>,
    /// The chat template that made texts of these.
    pub template: Option<String>,
    /// What to do if classes are amounts, where they look like it.
    amounts: Option<String>,
    validation: f64,
    test_share: f64,
    seed: u64,
    all: bool,
    /// Whether a stage learns from labels; where none does, they mean nothing.
    learns: bool,
    /// Whether the tokeniser was not trained on these texts.
    pub given: bool,
}

/// Numbers of the documents in each part.
pub(in crate::train) struct Parts {
    pub train: Vec<u32>,
    pub validation: Vec<u32>,
    pub test: Vec<u32>,
}

impl Parts {
    /// The documents that a split is scored on; `None` where there are none.
    pub fn held_out(&self, split: task::Split) -> Option<&[u32]> {
        let documents = match split {
            task::Split::Validation => &self.validation,
            task::Split::Test => &self.test,
        };
        (!documents.is_empty()).then_some(documents)
    }

    /// What a model will be asked of the documents when it is trained on so many batches.
    pub fn to_come(&self, seed: u64, batches: u64) -> Vec<ToCome<'_>> {
        let train = ToCome {
            docs: &self.train,
            purpose: Purpose::Training(seed),
            batches,
        };
        let held_out = [&self.validation, &self.test].map(|docs| ToCome {
            docs,
            purpose: Purpose::Scoring,
            batches: u64::MAX,
        });
        let parts = [train].into_iter().chain(held_out);
        parts.filter(|part| !part.docs.is_empty()).collect()
    }
}

/// Documents that a language model is validated on: enough for a steady perplexity, few enough
/// to be scored often.
const HELD_OUT_TEXTS: f64 = 200.0;

impl Data {
    /// Reads what the run file names; tokeniser and tokens come from the cache where they can.
    /// With `all` nothing is held out: what is scored is all that there is.
    pub fn open(config: &RunConfig, folder: &Path, all: bool) -> Result<Data> {
        let cache = read::cache(folder);
        let learns = config.stages.iter().any(|s| s.objective.needs_labels());
        let texts = Texts::of(config)?;
        let (mut learned, mut template, mut shown) = (None, None, None);
        let (tokenizer, documents) = if let Texts::Pictures(sources) = &texts {
            let (data, documents, tokenizer) = pictures::open(config, sources, folder)?;
            shown = Some(data);
            (tokenizer, documents)
        } else if let Texts::Chats(sources, kind) = &texts {
            let tokenizer = given(config)?.ok_or_else(|| {
                let message = "is not set; say which model to start from with --init DIR";
                Error::value("stage.init", message)
            })?;
            let scribe = Scribe::of(config, &tokenizer)?;
            let (documents, turns) = chat::read(sources, *kind, &scribe.encoder(&tokenizer))?;
            (learned, template) = (Some(Arc::new(turns)), scribe.text());
            (tokenizer, documents)
        } else if let Texts::Files(sources) = &texts {
            let tokenizer = tokenizer(config, sources, &cache)?;
            let documents = tokenise(sources, &tokenizer, Some(&cache))?;
            let documents = if all {
                documents
            } else {
                held_out::cut(documents, config, &tokenizer)
            };
            (tokenizer, documents)
        } else {
            let mut examples = Vec::new();
            texts.each(&mut |_, example| {
                examples.push(example);
                Ok(())
            })?;
            let tokenizer = match given(config)? {
                Some(tokenizer) => tokenizer,
                None => {
                    let seen = examples.iter().filter(|e| e.split != Some(Split::Test));
                    Tokenizer::train_on(seen.map(|e| e.text.clone()), &options(config))?
                }
            };
            (
                tokenizer.clone(),
                Documents::from_examples(examples, &tokenizer)?,
            )
        };
        let tagged = match texts {
            Texts::Tagged(files) => {
                let words: Vec<TaggedText> =
                    files.into_iter().flat_map(|file| file.texts).collect();
                Some(Arc::new(TaggedDocuments::new(&words, &tokenizer)?))
            }
            _ => None,
        };
        read::require_known(config, &documents, &tokenizer)?;
        let cached = documents.from_cache().then_some(", from the cache");
        let cached = cached.unwrap_or_default();
        match &shown {
            Some(data) => log::info!("{} pictures", data.pictures.len()),
            None => log::info!(
                "{} documents, {} tokens, vocabulary {}{cached}",
                documents.len(),
                documents.tokens(),
                tokenizer.vocab_size(),
            ),
        }
        let given = shown.is_none() && given(config)?.is_some();
        let amounts = held_out::amounts(config, &documents).filter(|_| !all);
        if let Some(amounts) = &amounts {
            log::warn!("{amounts}");
        }
        Ok(Data {
            tokenizer: Arc::new(tokenizer),
            documents: Arc::new(documents),
            tagged,
            pictures: shown,
            chats: learned,
            template,
            amounts,
            validation: config.data.validation,
            test_share: config.data.test_share,
            seed: config.seed,
            all,
            learns,
            given,
        })
    }

    /// The files beside a model's weights: name and content. They are the tokeniser's, of which a classifier's
    /// names what fills batches; or what says how pictures are preprocessed.
    pub fn companions(&self, reading: Reading, classifies: bool) -> Result<Vec<(String, Vec<u8>)>> {
        if let Some(data) = &self.pictures {
            let text = format!("{:#}\n", data.way.to_json());
            return Ok(vec![(PREPROCESSOR.into(), text.into_bytes())]);
        }
        if reading != Reading::Rows {
            let text = self.tokenizer.to_json()?;
            return Ok(vec![("tokenizer.json".into(), text.into_bytes())]);
        }
        let place = || Path::new("a temporary folder");
        let folder = tempfile::tempdir().map_err(|e| Error::write(place(), e))?;
        let padded = classifies.then(|| self.tokenizer.padded());
        let tokenizer = padded.as_ref().unwrap_or(&self.tokenizer);
        tokenizer.save_folder(folder.path())?;
        let entries = std::fs::read_dir(folder.path()).map_err(|e| Error::read(place(), e))?;
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| Error::read(place(), e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let content = std::fs::read(entry.path()).map_err(|e| Error::read(place(), e))?;
            files.push((name, content));
        }
        files.sort_unstable();
        Ok(files)
    }

    /// Whether a document is of texts that come with labels.
    pub fn may_have_label(&self, doc: u32) -> bool {
        self.documents.split(doc) != Some(Split::Unsup)
    }

    /// The texts whose words have labels.
    pub fn tagged(&self) -> Result<&TaggedDocuments> {
        self.tagged.as_deref().ok_or_else(|| Error::NoLabels {
            what: "a word classifier".into(),
            found: "none".into(),
        })
    }

    /// The documents that a stage reads, divided for one unit.
    pub fn parts(&self, stage: &StageConfig, unit: &Unit) -> Result<Parts> {
        self.require_folds(stage, unit)?;
        let mut parts = match (stage.objective.labels(), stage.objective.problem()) {
            (Labelled::None, _) => self.text(stage, unit),
            (Labelled::OfWords, _) => self.tagged_parts(unit),
            (Labelled::OfTurns, _) => Ok(self.any(unit, |_| true)),
            (Labelled::OfTexts, Problem::SingleLabel) | (Labelled::OfPictures, _) => {
                self.labelled(unit)
            }
            (Labelled::OfTexts, _) => self.any_labelled(unit),
        }?;
        if let Some(count) = stage.train_texts.filter(|_| !self.all) {
            if count > parts.train.len() {
                let there = parts.train.len();
                let message = format!(
                    "is {count}, and there are {there} texts to learn from; leave it out for all of them"
                );
                let place = format!("stage.{}.train_texts", stage.name);
                return Err(Error::value(place, message));
            }
            let by_class = stage.objective.problem() == Problem::SingleLabel;
            let documents = &self.documents;
            parts.train = split::sample(documents, &parts.train, count, by_class, unit.seed);
        }
        Ok(parts)
    }

    /// Texts whose words have labels, divided for one unit.
    fn tagged_parts(&self, unit: &Unit) -> Result<Parts> {
        let documents = &self.documents;
        let test = documents.filter(|d| documents.split(d) == Some(Split::Test));
        if self.all {
            let test = if test.is_empty() {
                documents.filter(|_| true)
            } else {
                test
            };
            return Ok(Parts {
                train: test.clone(),
                validation: Vec::new(),
                test,
            });
        }
        let rest = documents.filter(|d| documents.split(d) != Some(Split::Test));
        Ok(self.divide(unit, rest, test))
    }

    /// The labelled documents of one unit, divided by chance: their labels need not be classes.
    fn any_labelled(&self, unit: &Unit) -> Result<Parts> {
        if self.all {
            return self.all_labelled();
        }
        Ok(self.any(unit, |doc| self.documents.label(doc).is_some()))
    }

    /// The documents of one unit for which `is` holds, divided by chance.
    fn any(&self, unit: &Unit, is: impl Fn(u32) -> bool) -> Parts {
        let documents = &self.documents;
        let of = |split| documents.filter(|d| documents.split(d) == Some(split) && is(d));
        let (test, validation) = (of(Split::Test), of(Split::Validation));
        let rest = documents.filter(|d| {
            let held = matches!(documents.split(d), Some(Split::Test | Split::Validation));
            is(d) && !held
        });
        if unit.fold.is_none() && !validation.is_empty() && !test.is_empty() {
            return Parts {
                train: rest,
                validation,
                test,
            };
        }
        self.divide(unit, [rest, validation].concat(), test)
    }

    /// Divides texts by chance: a fold's, or what is not for testing already.
    fn divide(&self, unit: &Unit, rest: Vec<u32>, test: Vec<u32>) -> Parts {
        let shuffled = |mut docs: Vec<u32>, purpose| {
            docs.sort_unstable();
            Rng::new(self.seed, &[0xD117, purpose]).shuffle(&mut docs);
            docs
        };
        let hold = |docs: Vec<u32>, share: f64, purpose| {
            let mut held = shuffled(docs, purpose);
            let count = (held.len() as f64 * share).round() as usize;
            let mut rest = held.split_off(count.min(held.len().saturating_sub(1)));
            rest.sort_unstable();
            held.sort_unstable();
            (rest, held)
        };
        let (rest, test) = match unit.fold {
            Some((fold, folds)) => {
                let order = shuffled([rest, test].concat(), 0);
                let part = |own: bool| {
                    let docs = order.iter().enumerate();
                    let mut docs: Vec<u32> = docs
                        .filter(|(n, _)| (n % folds == fold) == own)
                        .map(|(_, &doc)| doc)
                        .collect();
                    docs.sort_unstable();
                    docs
                };
                (part(false), part(true))
            }
            None if test.is_empty() => hold(rest, self.test_share, 1),
            None => (rest, test),
        };
        let (train, validation) = hold(rest, self.validation, 2);
        Parts {
            train,
            validation,
            test,
        }
    }

    /// The labelled documents of one unit, divided.
    fn labelled(&self, unit: &Unit) -> Result<Parts> {
        if self.all {
            return self.all_labelled();
        }
        let documents = &self.documents;
        let all = documents.labelled();
        let validation = ("data.validation", self.validation);
        let (rest, test) = match unit.fold {
            Some((fold, folds)) => {
                let mut parts = split::k_fold(documents, &all, folds, self.seed)?;
                let part = parts.swap_remove(fold);
                (part.train, part.test)
            }
            None => {
                let test = documents.labelled_in(Split::Test);
                let chosen_by = documents.labelled_in(Split::Validation);
                // Of pictures two folders are usual, train and val, and the second is what is scored.
                let scored = self.pictures.is_some() && !chosen_by.is_empty();
                if test.is_empty() && !scored {
                    let parts = [validation, ("data.test_share", self.test_share)];
                    self.require_enough(&all, "the data", &parts)?;
                    self.hold(&all, self.test_share)?
                } else if chosen_by.is_empty() {
                    (
                        documents.filter(|d| {
                            documents.label(d).is_some() && documents.split(d) != Some(Split::Test)
                        }),
                        test,
                    )
                } else {
                    let train = documents.filter(|d| {
                        documents.label(d).is_some()
                            && !matches!(documents.split(d), Some(Split::Test | Split::Validation))
                    });
                    documents.check_labels(&train, &test)?;
                    return Ok(Parts {
                        train,
                        validation: chosen_by,
                        test,
                    });
                }
            }
        };
        let place = match unit.fold {
            Some(_) => "the training part of a fold",
            None => "the training data",
        };
        self.require_enough(&rest, place, &[validation])?;
        let (train, validation) = self.hold(&rest, self.validation)?;
        documents.check_labels(&train, &validation)?;
        documents.check_labels(&train, &test)?;
        Ok(Parts {
            train,
            validation,
            test,
        })
    }

    /// Labelled documents to score all of: the test part, where the data name one.
    fn all_labelled(&self) -> Result<Parts> {
        let test = self.documents.labelled_in(Split::Test);
        let test = if test.is_empty() {
            self.documents.labelled()
        } else {
            test
        };
        if test.is_empty() {
            return Err(Error::NoLabels {
                what: "scoring a classifier".into(),
                found: "none".into(),
            });
        }
        Ok(Parts {
            train: test.clone(),
            validation: Vec::new(),
            test,
        })
    }

    /// The documents that a pretraining stage reads, some to validate it on, and, where it reads
    /// those of `data.path` and they have no labels, some to test it on.
    pub fn text(&self, stage: &StageConfig, unit: &Unit) -> Result<Parts> {
        let documents = &self.documents;
        if self.all {
            let all = documents.filter(|_| true);
            return Ok(Parts {
                train: all.clone(),
                validation: all,
                test: Vec::new(),
            });
        }
        let has_labels = !documents.labelled().is_empty();
        let further = documents.filter(|d| {
            if has_labels {
                documents.label(d).is_none() && documents.split(d) != Some(Split::Test)
            } else {
                documents.split(d) == Some(Split::Unsup)
            }
        });
        let choice = match stage.text {
            TextChoice::Auto if has_labels && !further.is_empty() => TextChoice::Unlabelled,
            TextChoice::Auto => TextChoice::All,
            choice => choice,
        };
        let (own, test) = match choice {
            TextChoice::Unlabelled => (Vec::new(), Vec::new()),
            _ if has_labels && (self.learns || unit.fold.is_some()) => {
                (self.training_texts(unit)?, Vec::new())
            }
            _ => self.texts()?,
        };
        let mut chosen = own;
        if choice != TextChoice::Train {
            // What has no label among what has one is in both.
            let tested: HashSet<u32> = test.iter().copied().collect();
            chosen.extend(further);
            chosen.retain(|doc| !tested.contains(doc));
            chosen.sort_unstable();
            chosen.dedup();
        }
        if chosen.len() < 2 {
            return Err(Error::NoSteps {
                unit: unit.name.clone(),
                reason: format!(
                    "the data have {} texts for it; name some with --unlabelled, or set text = \"train\"",
                    chosen.len()
                ),
            });
        }
        let share = self
            .validation
            .min(HELD_OUT_TEXTS / chosen.len() as f64)
            .min(0.5);
        let (train, validation) = self.hold(&chosen, share)?;
        Ok(Parts {
            train,
            validation,
            test,
        })
    }

    /// All labelled texts but those that will be tested on.
    fn training_texts(&self, unit: &Unit) -> Result<Vec<u32>> {
        let mut parts = self.labelled(unit)?;
        parts.train.append(&mut parts.validation);
        parts.train.sort_unstable();
        Ok(parts.train)
    }
}
