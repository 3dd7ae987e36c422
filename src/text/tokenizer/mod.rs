//! Text to token ids and back: a Hugging Face `tokenizer.json`, trained here or elsewhere.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

mod bytes;
mod files;
mod lengths;
pub mod morphemes;
mod options;
mod pipeline;
mod settings;
mod train;
mod vocab;
mod vocabulary;

pub use options::{Family, Subword, TokenizerKind, TokenizerOptions};
pub use train::TokenizerTrainer;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tokenizers as hf;

use super::corpus::{self, Source};
use super::vocabulary::Vocabulary;
use super::words::ascii_words;
use crate::bounded::{TOKENS, guarded};
use crate::{Error, Result};
use files::Config;
use pipeline::{Cut, Inner};

/// Id of `<pad>`, which fills what is not text.
pub const PAD: u32 = 0;
/// Id of `<unk>`, which stands for every word outside the vocabulary.
pub const UNK: u32 = 1;
/// Id of `<bos>`.
pub const BOS: u32 = 2;
/// Id of `<eos>`, which ends a document.
pub const EOS: u32 = 3;
/// The special tokens, in the order of their ids.
pub const SPECIALS: [&str; 4] = ["<pad>", "<unk>", "<bos>", "<eos>"];

/// Ids that may be without a token, beside three for each token: all have a place in tables.
const GAPS: usize = 1 << 16;

/// Words and punctuation as separate tokens (Dai & Le 2015, section 4): a negated auxiliary
/// stays whole (`isn't`), other clitics stand alone (`film 's`), digits and letters part, runs
/// of dots or dashes are one token, any other sign is one by itself.
const WORDS: &str = r"\p{L}+n['’]t\b|['’](?:s|re|ve|ll|d|m)\b|[\p{L}\p{M}]+|\p{N}+|\.\.+|--+|[^\s]";

/// One text's tokens, or a pair's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Encoding {
    /// The ids.
    pub ids: Vec<u32>,
    /// The tokens as they stand in the vocabulary.
    pub tokens: Vec<String>,
    /// Where each token begins and ends in the original text, in characters; (0, 0) for a
    /// special token that was put in.
    pub offsets: Vec<(usize, usize)>,
    /// The number of the word each token belongs to; none for special tokens.
    pub words: Vec<Option<u32>>,
    /// 0, and 1 in the second text of a pair.
    pub token_types: Vec<u32>,
}

/// Whether a special token is written out in the text.
fn has_special(text: &str) -> bool {
    text.contains('<') && SPECIALS.iter().any(|token| text.contains(token))
}

/// The vocabulary, if the tokeniser cuts text just as [`pipeline`] does for words.
fn word_vocabulary(found: &Inner) -> Result<Option<HashMap<String, u32>>> {
    if !matches!(found.get_model(), hf::ModelWrapper::WordLevel(_)) {
        return Ok(None);
    }
    let parts = |tokenizer: &Inner| {
        let mut json = serde_json::to_value(tokenizer).map_err(|e| internal(e.into()))?;
        if let Some(vocabulary) = json.pointer_mut("/model/vocab") {
            vocabulary.take();
        }
        Ok::<_, Error>(json)
    };
    let own = pipeline::build(
        &TokenizerOptions::default(),
        found.get_model().clone(),
        None,
    )?;
    Ok((parts(found)? == parts(&own)?).then(|| found.get_vocab(true)))
}

/// What is opened, where the library does not panic at it.
fn opened<T>(path: &Path, open: impl FnOnce() -> Result<T>) -> Result<T> {
    guarded(open).unwrap_or_else(|panic| {
        let message = format!("is damaged: its parts do not fit each other ({panic})");
        Err(files::wrong(path, message))
    })
}

fn internal(error: hf::Error) -> Error {
    files::wrong(Path::new("(in memory)"), error.to_string())
}

/// A tokeniser.
///
/// A special token written out in a text (`<unk>` in WikiText) becomes that special token.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: Inner,
    hash: String,
    config: Config,
    vocabulary: Vocabulary,
    /// The vocabulary, when this is the word tokeniser as trained here: ASCII text then needs
    /// no regular expression.
    words: Option<HashMap<String, u32>>,
}

impl Tokenizer {
    /// Trains on the text of `sources`; examples of a test part stay out. Of whole words, those of
    /// labelled sources come first; see [`TokenizerTrainer::end_of_main_text`].
    ///
    /// # Errors
    /// Those of [`corpus::read`] and [`TokenizerTrainer`].
    pub fn train(sources: &[Source], options: &TokenizerOptions) -> Result<Self> {
        let mut trainer = TokenizerTrainer::new(options)?;
        let (task, other): (Vec<&Source>, _) = sources.iter().partition(|s| s.labelled);
        let first_other = task.len();
        for (index, source) in task.into_iter().chain(other).enumerate() {
            if index == first_other && index > 0 {
                trainer.end_of_main_text()?;
            }
            corpus::read(source, &mut |example| match example.split {
                Some(corpus::Split::Test) => Ok(()),
                _ => {
                    if let Some(pair) = example.pair {
                        trainer.push(pair)?;
                    }
                    trainer.push(example.text)
                }
            })?;
        }
        trainer.finish()
    }

    /// Trains on texts in memory.
    ///
    /// # Errors
    /// Those of [`TokenizerTrainer`].
    pub fn train_on<S: Into<String>>(
        texts: impl IntoIterator<Item = S>,
        options: &TokenizerOptions,
    ) -> Result<Self> {
        let mut trainer = TokenizerTrainer::new(options)?;
        for text in texts {
            trainer.push(text.into())?;
        }
        trainer.finish()
    }

    /// That of data without text: nothing is ever cut by it.
    ///
    /// # Errors
    /// Those of [`TokenizerTrainer`].
    pub fn of_no_text() -> Result<Self> {
        let options = TokenizerOptions {
            min_frequency: 1,
            ..TokenizerOptions::default()
        };
        Self::train_on(["-"], &options)
    }

    /// Reads a `tokenizer.json`, or that of a folder, whose first four ids are `<pad>`, `<unk>`,
    /// `<bos>` and `<eos>`, as LSTMs need them.
    ///
    /// # Errors
    /// [`Error::FileMissing`], [`Error::Io`]; [`Error::Tokenizer`] for a truncated or
    /// malformed file, or one whose ids 0 to 3 are not the four special tokens.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let mut path = path.as_ref().to_owned();
        if path.is_dir() {
            path.push("tokenizer.json");
        }
        let place = path.clone();
        opened(&place, || Self::of_lstm(path))
    }

    fn of_lstm(path: PathBuf) -> Result<Self> {
        let inner = files::from_json(&path)?;
        for (id, token) in (0..).zip(SPECIALS) {
            let found = inner.token_to_id(token);
            if found != Some(id) {
                let found = found.map_or("is missing".into(), |found| format!("has id {found}"));
                let message = format!("{token} should have id {id} but {found}; train a new one");
                return Err(Error::Tokenizer { path, message });
            }
        }
        Self::wrap(inner, Config::new(), path)
    }

    /// Opens a tokeniser's folder (or one file in it) as transformers and this crate write it:
    /// `tokenizer.json`, or `vocab.txt` (WordPiece; Japanese when `tokenizer_config.json` says
    /// so), or `vocab.json` and `merges.txt`.
    ///
    /// # Errors
    /// [`Error::FileMissing`], [`Error::Io`]; [`Error::Tokenizer`] for files that are malformed,
    /// unknown or do not belong together; [`Error::Folder`] when Japanese needs a dictionary and
    /// there is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, None)
    }

    /// [`open`](Self::open) with a certain dictionary of morphemes.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, dictionary: Option<&Path>) -> Result<Self> {
        let path = path.as_ref();
        opened(path, || {
            let (inner, config, path) = files::open(path, dictionary)?;
            Self::wrap(inner, config, path)
        })
    }

    /// A tokeniser whose files stand in another one: `tokenizer.json` and `tokenizer_config.json`, in
    /// the file at `path`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] for files that are malformed or missing.
    pub fn of_files(files: &[(String, Vec<u8>)], path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        opened(path, || {
            let (inner, config) = files::within(files, path)?;
            Self::wrap(inner, config, path.to_owned())
        })
    }

    fn wrap(inner: Inner, config: Config, path: PathBuf) -> Result<Self> {
        let (tokens, size) = vocabulary::size(&inner);
        if size > TOKENS.min(GAPS + 4 * tokens) {
            let message = format!(
                "has {tokens} tokens, and one with the id {}; ids are smaller than {TOKENS}, and most \
                 have a token",
                size - 1
            );
            return Err(files::wrong(&path, message));
        }
        let mut json = inner.to_string(false).map_err(internal)?;
        if inner.get_encode_special_tokens() {
            // What the library does not write.
            json.push_str("split_special_tokens");
        }
        let hash = corpus::hex(&Sha256::digest(json.as_bytes()));
        Ok(Self {
            words: word_vocabulary(&inner)?,
            vocabulary: vocabulary::of(&inner, &config, path),
            inner,
            hash,
            config,
        })
    }

    /// The special tokens, and what batches must know of the others.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The same tokeniser, whose `pad_token` is the `eos_token` where it has none: what fills batches
    /// then, and what transformers asks for.
    pub fn padded(&self) -> Tokenizer {
        let roles = self.vocabulary.roles();
        let mut padded = self.clone();
        if let (None, Some(eos)) = (roles.pad, roles.eos) {
            padded.vocabulary = padded.vocabulary.with_padding(eos);
        }
        padded
    }

    /// The text of `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the library cannot write it.
    pub fn to_json(&self) -> Result<String> {
        self.ask(|inner| inner.to_string(true))
    }

    /// Writes `tokenizer.json` (atomically), which Hugging Face tokenizers opens.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DiskFull`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let json = self.to_json()?;
        crate::atomic::write_file(path.as_ref(), json.as_bytes())
    }

    /// The ids of a text, without `<bos>` or `<eos>`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when a tokeniser from elsewhere cannot encode the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let Some(words) = self.words.as_ref().filter(|_| !has_special(text)) else {
            return self.encode_by_pattern(text);
        };
        let id = |word: &str| words.get(word).copied().unwrap_or(UNK);
        if text.is_ascii() {
            return Ok(ascii_words(&text.to_ascii_lowercase()).map(id).collect());
        }
        // No token and no accent reaches across a space, so each stretch may go its own way.
        let mut ids = Vec::new();
        for stretch in text.split_ascii_whitespace() {
            if stretch.is_ascii() {
                ids.extend(ascii_words(&stretch.to_ascii_lowercase()).map(id))
            } else {
                ids.extend(self.encode_by_pattern(stretch)?)
            }
        }
        Ok(ids)
    }

    /// Everything about the tokens of a text or a pair; `special` puts the special tokens in
    /// that frame it (BERT's `[CLS]` and `[SEP]`).
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encoding(&self, text: &str, pair: Option<&str>, special: bool) -> Result<Encoding> {
        let input: hf::EncodeInput = match pair {
            None => text.into(),
            Some(pair) => (text, pair).into(),
        };
        let encoding = self.ask(|inner| inner.encode_char_offsets(input, special))?;
        Ok(Encoding {
            ids: encoding.get_ids().to_vec(),
            tokens: encoding.get_tokens().to_vec(),
            offsets: encoding.get_offsets().to_vec(),
            words: encoding.get_word_ids().to_vec(),
            token_types: encoding.get_type_ids().to_vec(),
        })
    }

    /// The ids of one word of a text that is already split in words; `first` begins the text.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_word(&self, word: &str, first: bool) -> Result<Vec<u32>> {
        if self.is_byte_level() && !first {
            // There the space before a word belongs to it.
            return self.encode(&format!(" {word}"));
        }
        self.encode(word)
    }

    fn is_byte_level(&self) -> bool {
        use hf::PreTokenizerWrapper::ByteLevel;
        matches!(
            self.inner.get_pre_tokenizer(),
            Some(Cut::Library(ByteLevel(_)))
        )
    }

    /// Appends the ids of a text and, where they alone do not tell words apart, whether each
    /// token continues the word before it.
    pub(super) fn encode_into(
        &self,
        text: &str,
        ids: &mut Vec<u32>,
        continues: &mut Vec<bool>,
    ) -> Result<()> {
        if self.is_byte_level() || !matches!(self.inner.get_model(), hf::ModelWrapper::BPE(_)) {
            ids.extend(self.encode(text)?);
            return Ok(());
        }
        // The fast way leaves out the words.
        let encoding = self.ask(|inner| inner.encode(text, false))?;
        ids.extend_from_slice(encoding.get_ids());
        let words = encoding.get_word_ids();
        let same = |at: usize| at > 0 && words[at].is_some() && words[at] == words[at - 1];
        continues.extend((0..words.len()).map(same));
        Ok(())
    }

    /// [`encode`](Self::encode) as any reader of `tokenizer.json` does it: equal, but slower.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when a tokeniser from elsewhere cannot encode the text.
    pub fn encode_by_pattern(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.ask(|inner| inner.encode_fast(text, false))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of ids, special tokens left out.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when a tokeniser from elsewhere cannot decode the ids.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.decode_with(ids, true)
    }

    /// The text of ids, special tokens left out or not.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_with(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.ask(|inner| inner.decode(ids, skip_special))
    }

    /// What the library answers; it panics where parts of a tokeniser do not belong together.
    fn ask<T>(&self, ask: impl FnOnce(&Inner) -> hf::Result<T>) -> Result<T> {
        let answer = guarded(|| ask(&self.inner));
        answer
            .map_err(|panic| internal(panic.into()))?
            .map_err(internal)
    }

    /// The id of one token, if it is in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Size of the vocabulary, special tokens included: every id is smaller.
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.size()
    }

    /// sha256 of the compact `tokenizer.json`, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}
