//! Text to token ids and back: a Hugging Face `tokenizer.json`, trained here or elsewhere.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokenizers as hf;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::normalizers::{Lowercase, NFC, Sequence};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{Normalizer, PreTokenizer};

use super::corpus::{self, Source};
use super::documents::Chunks;
use super::words::ascii_words;
use crate::{Error, Result};

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

/// Words and punctuation as separate tokens (Dai & Le 2015, section 4): a negated auxiliary
/// stays whole (`isn't`), other clitics stand alone (`film 's`), digits and letters part, runs
/// of dots or dashes are one token, any other sign is one by itself.
const WORDS: &str = r"\p{L}+n['’]t\b|['’](?:s|re|ve|ll|d|m)\b|[\p{L}\p{M}]+|\p{N}+|\.\.+|--+|[^\s]";

/// How text is cut into tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenizerKind {
    /// Lower-cased words and punctuation, the most frequent ones; all others are `<unk>`.
    #[default]
    Word,
    /// Byte-level byte-pair encoding as in GPT-2: reversible, no `<unk>`.
    Bpe,
}

/// What to train.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerOptions {
    /// How text is cut.
    pub kind: TokenizerKind,
    /// Largest size of the vocabulary, special tokens included.
    pub vocab_size: usize,
    /// Words (BPE: pairs) that occur less often stay out. Dai & Le leave out words seen once.
    pub min_frequency: u64,
}

impl Default for TokenizerOptions {
    fn default() -> Self {
        Self {
            kind: TokenizerKind::Word,
            vocab_size: 30_000,
            min_frequency: 2,
        }
    }
}

/// Counts words, one text after the other, until [`finish`](Self::finish).
///
/// The counts are sums and the vocabulary is sorted by (count, word), so the result does not
/// depend on the number of threads.
pub struct TokenizerTrainer {
    options: TokenizerOptions,
    splitter: hf::Tokenizer,
    counts: HashMap<String, u64>,
    chunk: Chunks<String>,
}

impl TokenizerTrainer {
    /// An empty trainer.
    ///
    /// # Errors
    /// [`Error::Argument`] when the vocabulary has no room beside the special tokens (and, for
    /// BPE, the 256 bytes).
    pub fn new(options: &TokenizerOptions) -> Result<Self> {
        let least = match options.kind {
            TokenizerKind::Word => SPECIALS.len() + 1,
            TokenizerKind::Bpe => SPECIALS.len() + 256,
        };
        if options.vocab_size < least {
            return Err(Error::Argument {
                op: "tokeniser",
                arg: "vocab_size",
                value: options.vocab_size.to_string(),
                expected: "5 or more for words, 260 or more for bpe",
            });
        }
        Ok(Self {
            options: options.clone(),
            splitter: pipeline(options.kind, BPE::default())?,
            counts: HashMap::new(),
            chunk: Chunks::default(),
        })
    }

    /// Counts the words of one text.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the text cannot be split.
    pub fn push(&mut self, text: String) -> Result<()> {
        let bytes = text.len();
        match self.chunk.push(text, bytes) {
            true => self.count(),
            false => Ok(()),
        }
    }

    fn count(&mut self) -> Result<()> {
        let texts = self.chunk.take();
        let per_thread = texts.len().div_ceil(rayon::current_num_threads()).max(1);
        let counts: Vec<HashMap<String, u64>> = texts
            .par_chunks(per_thread)
            .map(|texts| {
                let mut counts = HashMap::new();
                for text in texts {
                    count_words(self.options.kind, &self.splitter, text, &mut counts)?;
                }
                Ok(counts)
            })
            .collect::<Result<_>>()?;
        for (word, count) in counts.into_iter().flatten() {
            *self.counts.entry(word).or_default() += count;
        }
        Ok(())
    }

    /// Builds the vocabulary.
    ///
    /// # Errors
    /// [`Error::EmptyText`] when no text had a word.
    pub fn finish(mut self) -> Result<Tokenizer> {
        self.count()?;
        if self.counts.is_empty() {
            return Err(Error::EmptyText {
                path: "the tokeniser's training text".into(),
            });
        }
        let inner = match self.options.kind {
            TokenizerKind::Word => {
                pipeline(TokenizerKind::Word, word_level(self.counts, &self.options)?)?
            }
            TokenizerKind::Bpe => pipeline(TokenizerKind::Bpe, bpe(self.counts, &self.options)?)?,
        };
        Tokenizer::wrap(inner, "(trained)".into())
    }
}

/// Whether a special token is written out in the text.
fn has_special(text: &str) -> bool {
    text.contains('<') && SPECIALS.iter().any(|token| text.contains(token))
}

fn count_words(
    kind: TokenizerKind,
    splitter: &hf::Tokenizer,
    text: &str,
    counts: &mut HashMap<String, u64>,
) -> Result<()> {
    let mut add = |word: &str| match counts.get_mut(word) {
        Some(count) => *count += 1,
        None => _ = counts.insert(word.to_owned(), 1),
    };
    if kind == TokenizerKind::Bpe {
        return split_by_pattern(splitter, text, &mut add);
    }
    if text.is_ascii() && !has_special(text) {
        ascii_words(&text.to_ascii_lowercase()).for_each(add);
        return Ok(());
    }
    for stretch in text
        .split_ascii_whitespace()
        .filter(|word| !SPECIALS.contains(word))
    {
        match stretch.is_ascii() {
            true => ascii_words(&stretch.to_ascii_lowercase()).for_each(&mut add),
            false => split_by_pattern(splitter, stretch, &mut add)?,
        }
    }
    Ok(())
}

fn split_by_pattern(splitter: &hf::Tokenizer, text: &str, add: &mut dyn FnMut(&str)) -> Result<()> {
    let mut normal = hf::NormalizedString::from(text);
    if let Some(normalizer) = splitter.get_normalizer() {
        normalizer.normalize(&mut normal).map_err(internal)?;
    }
    let mut parts = hf::PreTokenizedString::from(normal);
    if let Some(pre) = splitter.get_pre_tokenizer() {
        pre.pre_tokenize(&mut parts).map_err(internal)?;
    }
    for (word, ..) in parts.get_splits(hf::OffsetReferential::Original, hf::OffsetType::Byte) {
        add(word);
    }
    Ok(())
}

fn word_level(mut counts: HashMap<String, u64>, options: &TokenizerOptions) -> Result<WordLevel> {
    for special in SPECIALS {
        counts.remove(special);
    }
    counts.retain(|_, count| *count >= options.min_frequency);
    let mut words: Vec<(String, u64)> = counts.into_iter().collect();
    words.sort_unstable_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
    let words = words.into_iter().map(|(word, _)| word);
    let all = SPECIALS
        .map(String::from)
        .into_iter()
        .chain(words)
        .take(options.vocab_size);
    WordLevel::builder()
        .vocab(all.zip(0u32..).collect())
        .unk_token(SPECIALS[UNK as usize].into())
        .build()
        .map_err(internal)
}

fn bpe(counts: HashMap<String, u64>, options: &TokenizerOptions) -> Result<BPE> {
    let trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(options.vocab_size)
        .min_frequency(options.min_frequency)
        .special_tokens(special_tokens())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let counts = counts
        .into_iter()
        .map(|(word, count)| (word.into(), count))
        .collect();
    let mut model = BPE::default();
    trainer.do_train(&counts, &mut model).map_err(internal)?;
    Ok(model)
}

fn special_tokens() -> Vec<hf::AddedToken> {
    SPECIALS
        .map(|token| hf::AddedToken::from(token, true))
        .into()
}

/// The normaliser, splitter and decoder of a kind around a model.
fn pipeline(kind: TokenizerKind, model: impl Into<hf::ModelWrapper>) -> Result<hf::Tokenizer> {
    let mut tokenizer = hf::Tokenizer::new(model);
    match kind {
        TokenizerKind::Word => {
            let words = SplitPattern::Regex(WORDS.into());
            let split = Split::new(words, hf::SplitDelimiterBehavior::Removed, true);
            tokenizer
                .with_normalizer(Some(Sequence::new(vec![NFC.into(), Lowercase.into()])))
                .with_pre_tokenizer(Some(split.map_err(internal)?));
        }
        TokenizerKind::Bpe => {
            tokenizer
                .with_normalizer(Some(NFC))
                .with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(false)))
                .with_decoder(Some(ByteLevel::default()));
        }
    }
    tokenizer.add_special_tokens(&special_tokens());
    Ok(tokenizer)
}

/// The vocabulary, if the tokeniser cuts text just as [`pipeline`] does for words.
fn word_vocabulary(found: &hf::Tokenizer) -> Result<Option<HashMap<String, u32>>> {
    if !matches!(found.get_model(), hf::ModelWrapper::WordLevel(_)) {
        return Ok(None);
    }
    let parts = |tokenizer: &hf::Tokenizer| {
        let json = serde_json::to_value(tokenizer);
        let mut json = json.map_err(|e| internal(e.into()))?;
        if let Some(vocabulary) = json.pointer_mut("/model/vocab") {
            vocabulary.take();
        }
        Ok::<_, Error>(json)
    };
    let own = pipeline(TokenizerKind::Word, found.get_model().clone())?;
    Ok((parts(found)? == parts(&own)?).then(|| found.get_vocab(true)))
}

fn internal(error: hf::Error) -> Error {
    Error::Tokenizer {
        path: "(in memory)".into(),
        message: error.to_string(),
    }
}

/// A tokeniser whose first four ids are `<pad>`, `<unk>`, `<bos>` and `<eos>`.
///
/// A special token written out in a text (`<unk>` in WikiText) becomes that special token.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: hf::Tokenizer,
    hash: String,
    /// The vocabulary, when this is the word tokeniser as trained here: ASCII text then needs
    /// no regular expression.
    words: Option<HashMap<String, u32>>,
}

impl Tokenizer {
    /// Trains on the text of `sources`; examples of a test part stay out.
    ///
    /// # Errors
    /// Those of [`corpus::read`] and [`TokenizerTrainer`].
    pub fn train(sources: &[Source], options: &TokenizerOptions) -> Result<Self> {
        let mut trainer = TokenizerTrainer::new(options)?;
        for source in sources {
            corpus::read(source, &mut |example| match example.split {
                Some(corpus::Split::Test) => Ok(()),
                _ => trainer.push(example.text),
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

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::FileMissing`], [`Error::Io`]; [`Error::Tokenizer`] for a truncated or
    /// malformed file, or one whose ids 0 to 3 are not the four special tokens.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::read(path, e))?;
        let inner = hf::Tokenizer::from_bytes(&bytes).map_err(|e| Error::Tokenizer {
            path: path.to_owned(),
            message: format!("not a valid tokenizer.json, perhaps cut short ({e}); write it anew"),
        })?;
        Self::wrap(inner, path.to_owned())
    }

    fn wrap(inner: hf::Tokenizer, path: PathBuf) -> Result<Self> {
        for (id, token) in (0..).zip(SPECIALS) {
            let found = inner.token_to_id(token);
            if found != Some(id) {
                let found = found.map_or("is missing".into(), |found| format!("has id {found}"));
                let message = format!("{token} should have id {id} but {found}; train a new one");
                return Err(Error::Tokenizer { path, message });
            }
        }
        let json = inner.to_string(false).map_err(internal)?;
        let hash = corpus::hex(&Sha256::digest(json.as_bytes()));
        let words = word_vocabulary(&inner)?;
        Ok(Self { inner, hash, words })
    }

    /// The text of `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the library cannot write it.
    pub fn to_json(&self) -> Result<String> {
        self.inner.to_string(true).map_err(internal)
    }

    /// Where a tokeniser trained on `sources` with `options` is kept in a cache folder.
    ///
    /// # Errors
    /// [`Error::FileMissing`], [`Error::Io`], [`Error::UnknownFormat`].
    pub fn cached_path(
        cache: &Path,
        sources: &[Source],
        options: &TokenizerOptions,
    ) -> Result<PathBuf> {
        let mut hasher = Sha256::new();
        hasher.update(serde_json::to_vec(options).unwrap_or_default());
        for source in sources {
            hasher.update(source.content_hash()?);
        }
        let key = corpus::hex(&hasher.finalize());
        Ok(cache.join(format!("{}.tokenizer.json", &key[..16])))
    }

    /// Writes `tokenizer.json` (atomically), which Hugging Face tokenizers opens.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DiskFull`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let json = self.to_json()?;
        super::cache::write_atomically(path.as_ref(), |file| {
            std::io::Write::write_all(file, json.as_bytes())
        })
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
            match stretch.is_ascii() {
                true => ids.extend(ascii_words(&stretch.to_ascii_lowercase()).map(id)),
                false => ids.extend(self.encode_by_pattern(stretch)?),
            }
        }
        Ok(ids)
    }

    /// The ids of one word of a text that is already split in words; `first` begins the text.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_word(&self, word: &str, first: bool) -> Result<Vec<u32>> {
        use hf::pre_tokenizers::PreTokenizerWrapper::ByteLevel;
        match self.inner.get_pre_tokenizer() {
            // There the space before a word belongs to it.
            Some(ByteLevel(_)) if !first => self.encode(&format!(" {word}")),
            _ => self.encode(word),
        }
    }

    /// Appends the ids of a text and, where they alone do not tell words apart, whether each
    /// token continues the word before it.
    pub(super) fn encode_into(
        &self,
        text: &str,
        ids: &mut Vec<u32>,
        _continues: &mut Vec<bool>,
    ) -> Result<()> {
        ids.extend(self.encode(text)?);
        Ok(())
    }

    /// [`encode`](Self::encode) as any reader of `tokenizer.json` does it: equal, but slower.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when a tokeniser from elsewhere cannot encode the text.
    pub fn encode_by_pattern(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(internal)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of ids, special tokens left out.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when a tokeniser from elsewhere cannot decode the ids.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(internal)
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
        self.inner.get_vocab_size(true)
    }

    /// sha256 of the compact `tokenizer.json`, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}
