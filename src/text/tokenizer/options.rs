//! What to train a tokeniser for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How text is cut into tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenizerKind {
    /// Lower-cased words and punctuation, the most frequent ones; all others are unknown.
    #[default]
    Word,
    /// Byte-level byte-pair encoding as in GPT-2: reversible, nothing is unknown.
    Bpe,
    /// BERT's WordPiece: words, cut in the longest pieces that the vocabulary has.
    Wordpiece,
    /// Characters.
    Char,
    /// Japanese: morphemes, then WordPiece or characters.
    Morpheme,
}

/// Which special tokens a tokeniser has, and what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// `<pad>`, `<unk>`, `<bos>`, `<eos>`.
    Lstm,
    /// `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]`, `[MASK]`.
    Bert,
    /// `<|endoftext|>`.
    Gpt2,
}

/// How morphemes are cut further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subword {
    /// In the longest pieces that the vocabulary has.
    #[default]
    Wordpiece,
    /// In characters.
    Character,
}

/// What to train.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerOptions {
    /// How text is cut.
    pub kind: TokenizerKind,
    /// Largest size of the vocabulary, special tokens included.
    pub vocab_size: usize,
    /// Words (BPE, WordPiece: pairs) that occur less often stay out. Dai & Le leave out words
    /// seen once.
    pub min_frequency: u64,
    /// The special tokens; by default the LSTM's for words and BPE, BERT's for the others.
    pub family: Option<Family>,
    /// WordPiece, characters, morphemes: lower-case.
    pub lowercase: bool,
    /// WordPiece: take accents away; by default as `lowercase` says.
    pub strip_accents: Option<bool>,
    /// WordPiece: cut around every Chinese character.
    pub tokenize_chinese_chars: bool,
    /// WordPiece: how many characters the vocabulary has at most, the most frequent ones; by
    /// default a fifth of its size, 1000 at least.
    pub alphabet: Option<usize>,
    /// Morphemes: how they are cut further.
    pub subword: Subword,
    /// Morphemes: the dictionary, by default as [`super::morphemes::Dictionary::find`] says.
    pub dictionary: Option<PathBuf>,
}

impl Default for TokenizerOptions {
    fn default() -> Self {
        Self {
            kind: TokenizerKind::Word,
            vocab_size: 30_000,
            min_frequency: 2,
            family: None,
            lowercase: true,
            strip_accents: None,
            tokenize_chinese_chars: true,
            alphabet: None,
            subword: Subword::Wordpiece,
            dictionary: None,
        }
    }
}
