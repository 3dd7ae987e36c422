//! `melos tokenizer train|encode|decode|build-dictionary`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::choice::choice;
use super::input::each_of_stdin;
use super::output;
use crate::error::{Error, Result};
use crate::hub::gguf::is_gguf;
use crate::models::tokenizer_of;
use crate::text::tokenizer::morphemes::{self, Dictionary};
use crate::text::tokenizer::{Encoding, Family, Subword};
use crate::text::{Column, Format, Source, Tokenizer, TokenizerKind, TokenizerOptions};

/// Train tokenisers, and see what they do.
#[derive(Debug, Args)]
pub struct TokenizerCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Train(Train),
    Encode(Encode),
    Decode(Decode),
    BuildDictionary(BuildDictionary),
}

impl TokenizerCommand {
    pub(super) fn run(self) -> Result<()> {
        match self.action {
            Action::Train(command) => command.run(),
            Action::Encode(command) => command.run(),
            Action::Decode(command) => command.run(),
            Action::BuildDictionary(command) => command.run(),
        }
    }
}

/// Train a tokeniser on text and write the files that transformers opens.
#[derive(Debug, Args)]
struct Train {
    /// How text is cut into tokens: in pieces of words (wordpiece, bpe), whole words (word, for
    /// LSTMs), characters (char), or, Japanese, morphemes and then pieces or characters (morpheme).
    #[arg(long, value_name = "KIND", value_parser = choice::<TokenizerKind>(TokenizerKind::NAMES))]
    kind: TokenizerKind,
    /// Largest number of tokens, special ones included.
    #[arg(long, value_name = "N", default_value_t = 30_000)]
    vocabulary: usize,
    /// Text: files, archives or folders of any format that `melos train` reads.
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// The format of the data, where it cannot be told from the names.
    #[arg(long)]
    format: Option<Format>,
    /// Column (by name or number) or key that holds the text [default: found by its name].
    #[arg(long, alias = "text", value_name = "COLUMN")]
    text_column: Option<Column>,
    /// A second column of text.
    #[arg(long, alias = "pair", value_name = "COLUMN")]
    pair_column: Option<Column>,
    /// Cut the text after this, as after `。`, and take no notice of line breaks.
    #[arg(long, value_name = "TEXT")]
    sentence_end: Option<String>,
    /// The folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The special tokens; by default those that models of this kind have.
    #[arg(long, value_name = "FAMILY", value_parser = choice::<Family>(Family::NAMES))]
    family: Option<Family>,
    /// What occurs less often stays out.
    #[arg(long, value_name = "N", default_value_t = 2)]
    min_frequency: u64,
    /// Keep capital letters (wordpiece and char; words are always lower-cased, bpe and morphemes
    /// never).
    #[arg(long)]
    cased: bool,
    /// Morphemes: how they are cut further.
    #[arg(
        long,
        value_name = "HOW",
        default_value = "wordpiece",
        value_parser = choice::<Subword>(Subword::NAMES)
    )]
    subword: Subword,
    /// Wordpiece: at most so many characters, the most frequent ones.
    #[arg(long, value_name = "N")]
    alphabet: Option<usize>,
    /// Morphemes: the dictionary, by default where build-dictionary puts it.
    #[arg(long, value_name = "FILE")]
    dictionary: Option<PathBuf>,
}

impl Train {
    fn run(self) -> Result<()> {
        let kind = self.kind;
        let options = TokenizerOptions {
            kind,
            family: Some(self.family.unwrap_or(Family::usual(kind))),
            vocab_size: self.vocabulary,
            min_frequency: self.min_frequency,
            lowercase: !self.cased && kind != TokenizerKind::Morpheme,
            alphabet: self.alphabet,
            subword: self.subword,
            dictionary: self.dictionary,
            ..TokenizerOptions::default()
        };
        let sources: Vec<Source> = self
            .data
            .iter()
            .map(|path| Source {
                format: self.format,
                text: self.text_column.clone(),
                pair: self.pair_column.clone(),
                sentence_end: self.sentence_end.clone(),
                ..Source::unlabelled(path)
            })
            .collect();
        let tokenizer = Tokenizer::train(&sources, &options)?;
        tokenizer.save_folder(&self.out)?;
        output::print(&format!(
            "{} tokens, written to {}\n",
            tokenizer.vocab_size(),
            self.out.display()
        ))
    }
}

/// Show the tokens of a text: ids, tokens, and where in the text they stand.
#[derive(Debug, Args)]
struct Encode {
    /// The tokeniser's folder, one of its files, or a .gguf file.
    tokenizer: PathBuf,
    /// The text; `-` or nothing: one text per line from standard input.
    text: Option<String>,
    /// A second text, which makes a pair of both.
    #[arg(long)]
    pair: Option<String>,
    /// Without [CLS] and [SEP].
    #[arg(long)]
    no_special: bool,
    /// One JSON object per text.
    #[arg(long)]
    json: bool,
    /// Japanese: the dictionary of morphemes.
    #[arg(long, value_name = "FILE")]
    dictionary: Option<PathBuf>,
}

impl Encode {
    fn run(self) -> Result<()> {
        let tokenizer = opened(&self.tokenizer, self.dictionary.as_deref())?;
        let mut show = |texts: Vec<String>| {
            texts.iter().try_for_each(|text| {
                let pair = self.pair.as_deref();
                let encoding = tokenizer.encoding(text, pair, !self.no_special)?;
                self.print(&encoding)
            })
        };
        match &self.text {
            Some(text) if text != "-" => show(vec![text.clone()]),
            _ => each_of_stdin(&mut show),
        }
    }

    fn print(&self, encoding: &Encoding) -> Result<()> {
        output::show(self.json, encoding, || {
            let tokens = encoding.ids.iter().zip(&encoding.tokens);
            let lines = tokens
                .zip(&encoding.offsets)
                .map(|((id, token), (from, to))| format!("{id}\t{token}\t{from}..{to}\n"));
            lines.collect::<String>() + "\n"
        })
    }
}

/// Show the text of ids.
#[derive(Debug, Args)]
struct Decode {
    /// The tokeniser's folder, one of its files, or a .gguf file.
    tokenizer: PathBuf,
    /// The ids; nothing: one sequence per line from standard input.
    ids: Vec<String>,
    /// Leave special tokens in.
    #[arg(long)]
    keep_special: bool,
    /// One JSON object per sequence.
    #[arg(long)]
    json: bool,
    /// Japanese: the dictionary of morphemes.
    #[arg(long, value_name = "FILE")]
    dictionary: Option<PathBuf>,
}

#[derive(Serialize)]
struct Decoded {
    text: String,
}

impl Decode {
    fn run(self) -> Result<()> {
        let tokenizer = opened(&self.tokenizer, self.dictionary.as_deref())?;
        let mut show = |lines: Vec<String>| {
            lines.iter().try_for_each(|line| {
                let ids = parse_ids(line, tokenizer.vocab_size())?;
                let text = tokenizer.decode_with(&ids, !self.keep_special)?;
                let decoded = Decoded { text };
                output::show(self.json, &decoded, || format!("{}\n", decoded.text))
            })
        };
        match self.ids.as_slice() {
            [] => each_of_stdin(&mut show),
            [dash] if dash == "-" => each_of_stdin(&mut show),
            ids => show(vec![ids.join(" ")]),
        }
    }
}

fn opened(path: &Path, dictionary: Option<&Path>) -> Result<Tokenizer> {
    match is_gguf(path) {
        true => tokenizer_of(path, dictionary),
        false => Tokenizer::open_with(path, dictionary),
    }
}

/// Ids with spaces or commas between them, or a JSON list.
fn parse_ids(line: &str, vocabulary: usize) -> Result<Vec<u32>> {
    line.split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']'))
        .filter(|word| !word.is_empty())
        .map(|word| match word.parse::<u32>() {
            Ok(id) if (id as usize) < vocabulary => Ok(id),
            _ => Err(Error::ConfigValue {
                place: format!("id '{word}'"),
                message: format!("should be a number from 0 to {}", vocabulary - 1),
            }),
        })
        .collect()
}

/// Build the dictionary that Japanese text needs from MeCab's sources (Debian: mecab-ipadic).
#[derive(Debug, Args)]
struct BuildDictionary {
    /// The folder with the sources: /usr/share/mecab/dic/ipadic.
    folder: PathBuf,
    /// The file to write; by default in melos's cache folder, where it is found without being
    /// named.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl BuildDictionary {
    fn run(self) -> Result<()> {
        let out = self.out.or_else(morphemes::default_path);
        let out = out.unwrap_or_else(|| morphemes::FILE.into());
        let words = morphemes::build_dictionary(&self.folder, &out)?;
        // What cannot be read again is better known now.
        let hash = Dictionary::open(&out)?.hash()[..16].to_owned();
        output::print(&format!(
            "{words} words ({hash}), written to {}\n",
            out.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::parse_ids;

    #[test]
    fn ids_are_read_from_words_and_lists() {
        assert_eq!(parse_ids("1 2,3", 9).unwrap(), [1, 2, 3]);
        assert_eq!(parse_ids("[4, 5]", 9).unwrap(), [4, 5]);
        for wrong in ["x", "9", "-1"] {
            let error = parse_ids(wrong, 9).unwrap_err().to_string();
            assert!(error.contains("a number from 0 to 8"), "{error}");
        }
    }
}
