//! Training a tokeniser: counting words, then choosing the vocabulary.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use tokenizers as hf;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{Normalizer, PreTokenizer};

use super::morphemes::{Dictionary, Morphemes};
use super::pipeline::{self, Inner};
use super::{
    Family, SPECIALS, Subword, Tokenizer, TokenizerKind, TokenizerOptions, has_special, internal,
};
use crate::text::corpus::{Source, hex};
use crate::text::documents::Chunks;
use crate::text::words::ascii_words;
use crate::{Error, Result};

/// Changes with what training makes of the same text, so that an older result is not taken for it.
pub(super) const VERSION: u8 = 4;

const FILE: &str = "tokenizer.json";

impl Tokenizer {
    /// Trains on the text of `sources`, or opens what an earlier run trained on the same text
    /// with the same options and left in `cache` (a folder, made if need be).
    ///
    /// # Errors
    /// Those of [`Tokenizer::train`], [`Tokenizer::save_folder`] and [`Tokenizer::open`]. A kept copy
    /// that is damaged is no error: it is made anew.
    pub fn train_cached(
        sources: &[Source],
        options: &TokenizerOptions,
        cache: &Path,
    ) -> Result<Self> {
        let mut hasher = Sha256::new();
        hasher.update([VERSION]);
        // Of the dictionary its content counts, not its place.
        let dictionary = options.dictionary.as_deref();
        if options.kind == TokenizerKind::Morpheme {
            hasher.update(Dictionary::find(dictionary)?.hash());
        }
        let how = TokenizerOptions {
            dictionary: None,
            ..options.clone()
        };
        hasher.update(serde_json::to_vec(&how).unwrap_or_default());
        for source in sources {
            crate::text::cache::add_source(&mut hasher, source)?;
        }
        let key = hex(&hasher.finalize());
        let folder = cache.join(format!("{}.tokenizer", &key[..16]));
        // An LSTM's is the one file, whose special tokens have the ids that its batches count on.
        let of_lstm = options.family() == Family::Lstm;
        crate::text::cache::tokenizer(
            &folder,
            |folder| {
                if of_lstm {
                    Self::load(folder.join(FILE))
                } else {
                    Self::open_with(folder, dictionary)
                }
            },
            || Self::train(sources, options),
            |tokenizer, folder| {
                if of_lstm {
                    tokenizer.save(folder.join(FILE))
                } else {
                    tokenizer.save_folder(folder)
                }
            },
        )
    }
}

/// Counts words, one text after the other, until [`finish`](Self::finish).
///
/// The counts are sums and the vocabulary is sorted by (count, word), so the result does not
/// depend on the number of threads.
pub struct TokenizerTrainer {
    options: TokenizerOptions,
    morphemes: Option<Morphemes>,
    splitter: Inner,
    counts: HashMap<String, u64>,
    /// The counts of the texts that come first; see [`end_of_main_text`](Self::end_of_main_text).
    main: Option<HashMap<String, u64>>,
    chunk: Chunks<String>,
}

impl TokenizerTrainer {
    /// An empty trainer.
    ///
    /// # Errors
    /// [`Error::Argument`] when the vocabulary has no room beside the special tokens (and, for
    /// BPE, the 256 bytes); for morphemes those of [`Dictionary::open`].
    pub fn new(options: &TokenizerOptions) -> Result<Self> {
        let specials = options.family().specials().len();
        let (least, expected) = match options.kind {
            TokenizerKind::Bpe => (
                specials + 256,
                "257 or more for bpe, 260 with the four special tokens",
            ),
            _ => (
                specials + 1,
                "one or more beside the special tokens, which are 4 (lstm), 5 (bert) or 1 (gpt2)",
            ),
        };
        if options.vocab_size < least {
            let size = options.vocab_size;
            return Err(Error::argument("tokeniser", "vocab_size", size, expected));
        }
        let morphemes = match options.kind {
            TokenizerKind::Morpheme => Some(Morphemes {
                dictionary: Dictionary::find(options.dictionary.as_deref())?,
                lowercase: options.lowercase,
                space_is_text: options.characters(),
            }),
            _ => None,
        };
        Ok(Self {
            splitter: pipeline::build(options, BPE::default(), morphemes.clone())?,
            options: options.clone(),
            morphemes,
            counts: HashMap::new(),
            main: None,
            chunk: Chunks::default(),
        })
    }

    /// Counts the words of one text.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the text cannot be split.
    pub fn push(&mut self, text: String) -> Result<()> {
        let bytes = text.len();
        if self.chunk.push(text, bytes) {
            self.count()
        } else {
            Ok(())
        }
    }

    /// Says that the texts so far are those of the task, and what follows is other text. A
    /// vocabulary of whole words then has the task's words first, and the other text's where there
    /// is room: a word that the task never uses is no help, and one that it uses and that is
    /// `<unk>` is lost to it.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when a text cannot be split.
    pub fn end_of_main_text(&mut self) -> Result<()> {
        self.count()?;
        self.main = Some(self.counts.clone());
        Ok(())
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
        if self.morphemes.is_some() {
            // All that a Japanese tokeniser is saved as is vocab.txt, a token a line.
            self.counts.retain(|word, _| !word.contains(['\n', '\r']));
        }
        if self.counts.is_empty() {
            return Err(Error::EmptyText {
                path: "the tokeniser's training text".into(),
            });
        }
        let Self {
            options,
            morphemes,
            counts,
            main,
            ..
        } = self;
        let model: hf::ModelWrapper = match options.kind {
            _ if options.characters() => characters(counts, &options)?.into(),
            TokenizerKind::Word => word_level(counts, main, &options)?.into(),
            TokenizerKind::Bpe => bpe(counts, &options)?.into(),
            _ => wordpiece(counts, &options)?.into(),
        };
        let inner = pipeline::build(&options, model, morphemes)?;
        Tokenizer::wrap(inner, super::files::config_of(&options), "(trained)".into())
    }
}

fn count_words(
    kind: TokenizerKind,
    splitter: &Inner,
    text: &str,
    counts: &mut HashMap<String, u64>,
) -> Result<()> {
    let mut add = |word: &str| match counts.get_mut(word) {
        Some(count) => *count += 1,
        None => _ = counts.insert(word.to_owned(), 1),
    };
    if kind != TokenizerKind::Word {
        return split_by_pattern(splitter, text, &mut add);
    }
    if text.is_ascii() && !has_special(text) {
        ascii_words(&text.to_ascii_lowercase()).for_each(add);
        return Ok(());
    }
    let stretches = text.split_ascii_whitespace();
    for stretch in stretches.filter(|word| !SPECIALS.contains(word)) {
        if stretch.is_ascii() {
            ascii_words(&stretch.to_ascii_lowercase()).for_each(&mut add)
        } else {
            split_by_pattern(splitter, stretch, &mut add)?
        }
    }
    Ok(())
}

fn split_by_pattern(splitter: &Inner, text: &str, add: &mut dyn FnMut(&str)) -> Result<()> {
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

/// Ids for the special tokens and for what occurs often enough: the most frequent first, those that
/// occur often enough in the `main` text before all others.
fn most_frequent(
    mut counts: HashMap<String, u64>,
    main: Option<HashMap<String, u64>>,
    options: &TokenizerOptions,
) -> impl Iterator<Item = (String, u32)> {
    let specials = options.family().specials();
    for special in specials {
        counts.remove(*special);
    }
    counts.retain(|_, count| *count >= options.min_frequency);
    let in_main = |word: &str| main.as_ref().and_then(|main| main.get(word)).copied();
    let mut words: Vec<(Reverse<(u64, u64)>, String)> = counts
        .into_iter()
        .map(|(word, count)| {
            let main = in_main(&word).filter(|&count| count >= options.min_frequency);
            (Reverse((main.unwrap_or(0), count)), word)
        })
        .collect();
    words.sort_unstable();
    let words = words.into_iter().map(|(_, word)| word);
    let specials = specials.iter().map(|special| (*special).to_owned());
    specials.chain(words).take(options.vocab_size).zip(0u32..)
}

fn word_level(
    counts: HashMap<String, u64>,
    main: Option<HashMap<String, u64>>,
    options: &TokenizerOptions,
) -> Result<WordLevel> {
    WordLevel::builder()
        .vocab(most_frequent(counts, main, options).collect())
        .unk_token(unknown(options))
        .build()
        .map_err(internal)
}

/// BPE without a merge: the tokens of a word are its characters.
fn characters(words: HashMap<String, u64>, options: &TokenizerOptions) -> Result<BPE> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    for (word, count) in words {
        for character in word.chars() {
            *counts.entry(character.to_string()).or_default() += count;
        }
    }
    let vocabulary: HashMap<String, u32> = most_frequent(counts, None, options).collect();
    super::files::character_model(vocabulary, unknown(options))
}

/// The token for what the vocabulary does not have.
fn unknown(options: &TokenizerOptions) -> String {
    let specials = options.family().specials();
    // GPT-2 has one special token for everything.
    specials.get(1).unwrap_or(&specials[0]).to_string()
}

fn bpe(counts: HashMap<String, u64>, options: &TokenizerOptions) -> Result<BPE> {
    let trainer = BpeTrainer::builder()
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect::<HashSet<_>>());
    merged(trainer, std::iter::empty(), counts, options)
}

/// Characters of the longest word that WordPiece cuts in pieces.
const LONGEST_WORD: usize = 100;

/// As the library's WordPiece trainer does it: pairs by frequency, `##` before what continues.
///
/// The library numbers the first `##` tokens in the order of a hash map, and breaks ties by these
/// numbers; so they are given here, sorted, and equal text gives equal vocabularies.
fn wordpiece(mut counts: HashMap<String, u64>, options: &TokenizerOptions) -> Result<WordPiece> {
    let mut seen: HashMap<char, u64> = HashMap::new();
    let mut inside: BTreeSet<char> = BTreeSet::new();
    for (word, count) in &counts {
        for character in word.chars() {
            *seen.entry(character).or_default() += count;
        }
        inside.extend(word.chars().skip(1));
    }
    // Nothing is learned from what will be unknown, and the library's time goes with the square of a
    // word's length.
    let words = counts.len();
    counts.retain(|word, _| word.chars().take(LONGEST_WORD + 1).count() <= LONGEST_WORD);
    let longer = words - counts.len();
    if longer > 0 {
        log::warn!(
            "{longer} words have more than {LONGEST_WORD} characters, which WordPiece takes for \
             unknown; no pieces are made of them"
        );
    }
    let mut alphabet: Vec<(char, u64)> = seen.into_iter().collect();
    alphabet.sort_unstable_by_key(|&(character, count)| (Reverse(count), character));
    // A character may stand in the vocabulary twice, with and without ##.
    let room = (options.vocab_size - options.family().specials().len()) / 2;
    let most = (options.alphabet).unwrap_or((options.vocab_size / 5).max(1000));
    alphabet.truncate(most.min(room).max(1));
    let alphabet: BTreeSet<char> = alphabet.into_iter().map(|(c, _)| c).collect();
    let continuing = alphabet.intersection(&inside).map(|c| format!("##{c}"));
    let first = alphabet.iter().map(char::to_string).chain(continuing);
    let first = first.map(|token| hf::AddedToken::from(token, false));
    let trainer = BpeTrainer::builder()
        .continuing_subword_prefix("##".into())
        .limit_alphabet(0);
    let mut model = WordPiece::from_bpe(&merged(trainer, first, counts, options)?);
    model.unk_token = unknown(options);
    Ok(model)
}

fn merged(
    trainer: hf::models::bpe::BpeTrainerBuilder,
    first: impl Iterator<Item = hf::AddedToken>,
    counts: HashMap<String, u64>,
    options: &TokenizerOptions,
) -> Result<BPE> {
    let specials = pipeline::special_tokens(options.family().specials());
    let trainer = trainer
        .show_progress(false)
        .vocab_size(options.vocab_size)
        .min_frequency(options.min_frequency)
        .special_tokens(specials.into_iter().chain(first).collect())
        .build();
    let counts = counts.into_iter().map(|(word, count)| (word.into(), count));
    let counts = counts.collect();
    let mut model = BPE::default();
    trainer.do_train(&counts, &mut model).map_err(internal)?;
    Ok(model)
}

impl TokenizerKind {
    /// Names of all kinds, in run files and on the command line.
    pub const NAMES: &[&str] = &["word", "bpe", "wordpiece", "char", "morpheme"];
}

impl Subword {
    /// Names of all of them, in run files and on the command line.
    pub const NAMES: &[&str] = &["wordpiece", "character"];
}

impl Family {
    /// Names of all of them, on the command line.
    pub const NAMES: &[&str] = &["lstm", "bert", "gpt2"];

    /// That of the models that usually have tokenisers of a kind.
    pub fn usual(kind: TokenizerKind) -> Family {
        match kind {
            TokenizerKind::Word => Family::Lstm,
            TokenizerKind::Bpe => Family::Gpt2,
            TokenizerKind::Wordpiece | TokenizerKind::Char | TokenizerKind::Morpheme => {
                Family::Bert
            }
        }
    }

    /// The special tokens, in the order of their ids.
    pub fn specials(self) -> &'static [&'static str] {
        match self {
            Family::Lstm => &SPECIALS,
            Family::Bert => &["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
            Family::Gpt2 => &["<|endoftext|>"],
        }
    }
}
