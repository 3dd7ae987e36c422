//! Tokenisers, the tokenised copy on disk, and word vectors.
#![cfg(feature = "train")]

mod documents;
mod kept;
mod tokenizers;
mod vectors;

use melos::text::tokenizer::{Tokenizer, TokenizerKind, TokenizerOptions};

const TEXTS: [&str; 4] = [
    "The film isn't bad... The FILM's good!",
    "Caf\u{e9} and cafe\u{301} are one -- the film, the café.",
    "the 1990s   film-maker said: 'don't go'",
    "the the the film is",
];

fn options(kind: TokenizerKind, vocab_size: usize, min_frequency: u64) -> TokenizerOptions {
    TokenizerOptions {
        kind,
        vocab_size,
        min_frequency,
        ..TokenizerOptions::default()
    }
}

fn words() -> Tokenizer {
    Tokenizer::train_on(TEXTS, &options(TokenizerKind::Word, 1000, 1)).unwrap()
}
