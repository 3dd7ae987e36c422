//! `melos predict`.

use std::io::{BufRead, stdin};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::model_options::ModelOptions;
use super::output;
use crate::error::{Error, Result};
use crate::inference::{self, Prediction, Tagger, Word};
use crate::text::Example;
use crate::text::corpus::Lines;
use crate::train::{run, tasks};

/// Texts read from standard input before the model sees them: one batch.
const AT_ONCE: usize = 64;

/// Predict the label of a text, or of each of its words.
#[derive(Debug, Args)]
pub struct Predict {
    /// Model folder, or a run folder (its best model).
    model: PathBuf,
    /// The text; `-` or nothing: one text per line from standard input.
    text: Option<String>,
    /// Texts are pairs: a tab stands between the first and the second.
    #[arg(long)]
    pairs: bool,
    /// One JSON object per text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: ModelOptions,
}

#[derive(Serialize)]
struct Tagged<'a> {
    text: &'a str,
    words: Vec<Word>,
}

impl Predict {
    pub(super) fn run(self) -> Result<()> {
        let folder = run::resolve_model(&self.model)?;
        let (base, adapter) = (&self.options.base, &self.options.adapter);
        let (base, adapter) = (base.as_deref(), adapter.as_deref());
        if inference::is_tagger(&folder, base)? {
            let tagger = Tagger::open(tasks::open_gpu(adapter)?, &folder, base)?;
            return self.each(&mut |texts| {
                let mut texts = texts.iter();
                texts.try_for_each(|text| self.print_words(text, tagger.tag(text)?))
            });
        }
        let mut model = inference::open_model(&folder, base, adapter)?;
        self.each(&mut |texts| {
            let examples = texts.into_iter().map(|text| self.example(text));
            inference::predict(model.as_mut(), examples.collect::<Result<Vec<_>>>()?)?
                .iter()
                .try_for_each(|p| self.print(p))
        })
    }

    fn each(&self, show: &mut dyn FnMut(Vec<String>) -> Result<()>) -> Result<()> {
        match &self.text {
            Some(text) if text != "-" => show(vec![text.clone()]),
            _ => each_of_stdin(show),
        }
    }

    /// A text or a pair of texts to be classified.
    fn example(&self, text: String) -> Result<Example> {
        let (text, pair) = match (self.pairs, text.split_once('\t')) {
            (false, _) => (text, None),
            (true, Some((text, pair))) => (text.to_string(), Some(pair.to_string())),
            (true, None) => {
                return Err(Error::ConfigValue {
                    place: "--pairs".into(),
                    message: format!("needs a tab between two texts; '{text}' has none"),
                });
            }
        };
        Ok(Example {
            text,
            pair,
            ..Example::default()
        })
    }

    fn print(&self, prediction: &Prediction) -> Result<()> {
        output::show(self.json, prediction, || {
            let each = prediction.probabilities.iter();
            let each: Vec<String> = each.map(|(label, p)| format!("{label} {p:.4}")).collect();
            format!("{}\t{}\n", prediction.label, each.join("  "))
        })
    }

    /// A word a line and an empty line, as CoNLL has it.
    fn print_words(&self, text: &str, words: Vec<Word>) -> Result<()> {
        let line = |w: &Word| format!("{}\t{}\t{:.4}\n", w.word, w.label, w.score);
        let tagged = Tagged { text, words };
        output::show(self.json, &tagged, || {
            tagged.words.iter().map(line).collect::<String>() + "\n"
        })
    }
}

/// Hands on lines in batches, so that a long file needs no more memory than a short one. What is no
/// text ends it, once the lines before have been answered.
pub(super) fn each_batch(
    input: impl BufRead,
    name: &Path,
    show: &mut dyn FnMut(Vec<String>) -> Result<()>,
) -> Result<()> {
    let mut lines = Lines::of(input, name)?;
    loop {
        let mut texts = Vec::new();
        let wrong = loop {
            match lines.next() {
                Ok(Some(line)) => texts.push(line.to_owned()),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
            if texts.len() == AT_ONCE {
                break None;
            }
        };
        let ends = texts.len() < AT_ONCE;
        if !texts.is_empty() {
            show(texts)?;
        }
        match wrong {
            Some(error) => return Err(error),
            None if ends => return Ok(()),
            None => {}
        }
    }
}

/// [`each_batch`] of standard input.
pub(super) fn each_of_stdin(show: &mut dyn FnMut(Vec<String>) -> Result<()>) -> Result<()> {
    each_batch(stdin().lock(), Path::new("standard input"), show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_batches_and_bad_ones_are_named() {
        let mut sizes = Vec::new();
        let text = "ein Film\r\n".repeat(AT_ONCE + 1);
        let name = Path::new("somewhere");
        each_batch(text.as_bytes(), name, &mut |t| {
            assert!(t.iter().all(|x| x == "ein Film"));
            sizes.push(t.len());
            Ok(())
        })
        .unwrap();
        assert_eq!(sizes, [AT_ONCE, 1]);
        let mut answered = Vec::new();
        let error = each_batch(&b"gut\nsch\xf6n\nnie\n"[..], name, &mut |t| {
            answered.extend(t);
            Ok(())
        })
        .unwrap_err();
        assert_eq!(answered, ["gut"]);
        assert!(matches!(error, Error::NotUtf8 { line: 2, .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains("somewhere"), "{error}");
    }

    #[test]
    fn marks_and_encodings_are_no_part_of_a_text() {
        let text = "\u{feff}ein Film\n\nzwei 走\n";
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [text.as_bytes(), &wide] {
            let mut found = Vec::new();
            each_batch(bytes, Path::new("x"), &mut |t| {
                found.extend(t);
                Ok(())
            })
            .unwrap();
            assert_eq!(found, ["ein Film", "", "zwei 走"]);
        }
    }
}
