//! What a run file names, read: its files, its tokeniser.

use std::path::{Path, PathBuf};

use crate::cache::cache_folder;
use crate::error::{Error, Result};
use crate::hub::{Head, adapter};
use crate::models::{is_adapter, tokenizer_of};
use crate::objectives::Problem;
use crate::text::corpus;
use crate::text::{Documents, LabelKind, Source, Split, Tokenizer, TokenizerOptions};
use crate::train::config::{ModelConfig, RunConfig, StageConfig, StageKind};
use crate::train::run::resolve_model;

pub(super) fn options(config: &RunConfig) -> TokenizerOptions {
    let tokenizer = &config.tokenizer;
    TokenizerOptions {
        kind: tokenizer.kind,
        vocab_size: tokenizer.vocabulary,
        min_frequency: tokenizer.min_frequency,
        family: match (&config.model, config.model.family()) {
            (ModelConfig::Lstm(_), _) => None,
            (_, Some(family)) => Some(family.specials()),
            // Its tokeniser comes from the folder.
            (_, None) => None,
        },
        lowercase: tokenizer.lowercase,
        strip_accents: tokenizer.strip_accents,
        subword: tokenizer.subword,
        dictionary: tokenizer.dictionary.clone(),
        ..TokenizerOptions::default()
    }
}

/// A tokeniser that is not to be trained: the file's, or that of the model that a run starts from.
pub(super) fn given(config: &RunConfig) -> Result<Option<Tokenizer>> {
    let dictionary = config.tokenizer.dictionary.as_deref();
    let is_lstm = config.model.lstm().is_some();
    if let Some(file) = &config.tokenizer.file {
        let given = if is_lstm {
            Tokenizer::load(file)
        } else {
            Tokenizer::open_with(file, dictionary)
        };
        return given.map(Some);
    }
    let is_folder = |init: &&String| config.stages.iter().all(|s| s.name != **init);
    let inits = config.stages.iter().filter_map(|s| s.init.as_ref());
    match inits.filter(|_| !is_lstm).find(is_folder) {
        None => Ok(None),
        Some(init) => {
            let folder = resolve_model(Path::new(init))?;
            let own = tokenizer_of(&folder, dictionary);
            // An adapter's folder need not have one.
            let own = match own.is_err() && is_adapter(&folder) {
                true => tokenizer_of(&adapter::read(&folder)?.base_folder()?, dictionary),
                false => own,
            };
            own.map(Some)
        }
    }
}

/// The run's tokeniser: the given one, the one an earlier run trained on the same text, or a new
/// one.
pub(super) fn tokenizer(config: &RunConfig, sources: &[Source], cache: &Path) -> Result<Tokenizer> {
    if let Some(tokenizer) = given(config)? {
        return Ok(tokenizer);
    }
    let trained = Tokenizer::train_cached(sources, &options(config), cache);
    trained.map_err(|error| match error {
        Error::Argument {
            arg: "vocab_size",
            value,
            expected,
            ..
        } => Error::value(
            "tokenizer.vocabulary",
            format!("is {value}; expected {expected}"),
        ),
        error => error,
    })
}

/// Refuses text of which the tokeniser knows no word: there is nothing to learn.
pub(super) fn require_known(
    config: &RunConfig,
    documents: &Documents,
    tokenizer: &Tokenizer,
) -> Result<()> {
    let vocabulary = tokenizer.vocabulary();
    let knows = |id: &u32| !vocabulary.is_special(*id);
    let some = (0..documents.len() as u32).any(|doc| documents.ids(doc).iter().any(knows));
    if some || documents.tokens() == 0 {
        return Ok(());
    }
    let size = config.tokenizer.vocabulary;
    Err(match (&config.tokenizer.file, given(config)?.is_some()) {
        (Some(_), _) => {
            let message = "knows no word of the data; take the tokeniser of their language";
            Error::value("tokenizer.file", message)
        }
        (None, true) => {
            let message = "starts from a model whose tokeniser knows no word of the data; take one of their \
                           language";
            Error::value("stage.init", message)
        }
        (None, false) if tokenizer.vocab_size() < size => {
            let least = config.tokenizer.min_frequency;
            let message = format!("is {least}, and no word of the data is seen as often; lower it");
            Error::value("tokenizer.min_frequency", message)
        }
        (None, false) => {
            let message =
                format!("is {size}, with which no word of the data is known; set it higher");
            Error::value("tokenizer.vocabulary", message)
        }
    })
}

/// Where tokens and tokenisers are kept: the user's cache, or the run's folder where that is none to
/// write in.
pub(super) fn cache(folder: &Path) -> PathBuf {
    let own = folder.join("cache");
    let Some(cache) = cache_folder() else {
        return own;
    };
    let usable = std::fs::create_dir_all(&cache).and_then(|()| tempfile::tempfile_in(&cache));
    match usable {
        Ok(_) => cache,
        Err(error) => {
            log::warn!(
                "the cache {} cannot be written ({error}); tokens are kept in {} (MELOS_CACHE names \
                 another place)",
                cache.display(),
                own.display()
            );
            own
        }
    }
}

/// The files that a run file names; labels must be there where a stage learns them.
///
/// # Errors
/// Files of `path` with different columns; those of reading their first rows.
pub(super) fn sources(config: &RunConfig) -> Result<Vec<Source>> {
    let data = &config.data;
    let learned: Vec<Problem> = (config.stages.iter())
        .filter(|stage| stage.objective.needs_labels())
        .map(|stage| stage.objective.problem())
        .collect();
    let all = |problem| !learned.is_empty() && learned.iter().all(|p| *p == problem);
    let label_kind = if learned.contains(&Problem::MultiLabel) {
        LabelKind::Several
    } else if all(Problem::Regression) {
        LabelKind::Number
    } else {
        LabelKind::Class
    };
    let labelled = |path: &Path, split: Option<Split>| Source {
        label_kind,
        label_optional: learned.is_empty(),
        split,
        ..data.labelled(path)
    };
    let mut sources = Vec::new();
    // With a test file of its own, everything else is for training.
    let split = data.test.as_ref().map(|_| Split::Train);
    // What writes text must learn its lines.
    let writes = |stage: &StageConfig| match stage.objective.head() {
        Some(Head::CausalLm) => stage.objective.reads_on(),
        // One that is only scored may have been pretrained on short texts.
        Some(Head::RecurrentLm) => stage.kind == StageKind::Pretrain,
        _ => false,
    };
    let writes = config.stages.iter().all(writes);
    let files = |source: Source| -> Result<Vec<Source>> {
        let files = source.files()?.into_iter();
        files
            .map(|file| file.one_text(data.one_text, writes))
            .collect()
    };
    for path in data.path.iter() {
        sources.extend(files(labelled(path, split))?);
    }
    if sources.len() > 1 {
        corpus::same_columns(&sources)?;
    }
    for path in data.test.iter() {
        sources.extend(files(labelled(path, Some(Split::Test)))?);
    }
    for path in &data.unlabelled {
        sources.extend(files(Source::unlabelled(path))?);
    }
    for source in &mut sources {
        source.sentence_end = data.sentence_end.clone();
    }
    Ok(sources)
}
