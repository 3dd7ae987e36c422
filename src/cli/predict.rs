//! `melos predict`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::input::{From, Input};
use super::model_options::ModelOptions;
use super::output;
use super::sheet::{self, Fields, Sheet};
use super::words::{Own, Words};
use crate::error::{Error, Result};
use crate::inference::{
    self, Conversations, ImageClassifier, PicturePrediction, Prediction, Tagger, Word,
};
use crate::models::Beside;
use crate::objectives::Problem;
use crate::text::corpus::{is_cut, read_words};
use crate::text::{Column, Example};
use crate::train::{run, tasks};

/// Predict the label of each text, of each of its words, or of each picture.
#[derive(Debug, Args)]
pub struct Predict {
    /// Model folder, or a run folder (its best model).
    model: PathBuf,
    #[command(flatten)]
    input: Input,
    /// Column (by name or number) or key of a second text [default: found by its name, where the model
    /// was trained on pairs].
    #[arg(long, value_name = "COLUMN", visible_alias = "pair")]
    pair_column: Option<Column>,
    /// Texts are pairs: a tab stands between the first and the second [default: as the model says].
    #[arg(long)]
    pairs: bool,
    /// File to write: a row for each text, its own columns and those of the answer, as .csv, .tsv or
    /// .jsonl; of words a row each, or as .conll [default: standard output, in brief].
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// One JSON object per text on standard output.
    #[arg(long, conflicts_with = "out")]
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
        self.options
            .with(|beside, adapter| self.answer(&folder, beside, adapter))
    }

    /// Lets the model in a folder answer.
    fn answer(&self, folder: &Path, beside: Beside<'_>, adapter: Option<&str>) -> Result<()> {
        if inference::is_tagger(folder, beside)? {
            return self.words(&mut Tagger::open(
                tasks::open_gpu(adapter)?,
                folder,
                beside,
            )?);
        }
        if inference::is_image_classifier(folder, beside)? {
            return self.pictures(folder, beside, adapter);
        }
        let mut out = self.out.as_deref().map(Sheet::begin).transpose()?;
        let mut model = inference::open_model(folder, beside, adapter)?;
        let pairs = self.pairs || model.pairs() == Some(true);
        let mut answer = |texts: Vec<Example>| {
            let mut rows: Vec<Fields> = Vec::new();
            let mut examples = Vec::new();
            for mut example in texts {
                rows.push(std::mem::take(&mut example.row));
                examples.push(self.example(example, pairs)?);
            }
            let answers = inference::predict(model.as_mut(), examples)?;
            match &mut out {
                None => answers.iter().try_for_each(|answer| self.print(answer)),
                Some(out) => {
                    let problem = model.problem();
                    for (row, answer) in rows.iter_mut().zip(answers) {
                        extend(row, answer, problem);
                    }
                    out.write(rows)
                }
            }
        };
        let pair = self.pair_column.as_ref();
        let conversations = match self.input.has_column() {
            true => None,
            false => Conversations::of(folder, beside)?,
        };
        match (self.input.from()?, conversations) {
            (From::Paths(paths), Some(conversations)) => {
                paths
                    .into_iter()
                    .try_for_each(|path| match conversations.are_in(path) {
                        true => conversations.each(path, &mut answer),
                        false => self.input.each_of(path, pair, pairs, &mut answer),
                    })?
            }
            _ => self.input.each(pair, pairs, &mut answer)?,
        }
        out.map_or(Ok(()), Sheet::finish)
    }

    /// The classes of pictures.
    fn pictures(&self, folder: &Path, beside: Beside<'_>, adapter: Option<&str>) -> Result<()> {
        let From::Paths(paths) = self.input.from()? else {
            let message = "names no picture; this model reads pictures: name files, folders or archives of them";
            return Err(Error::value("TEXT|PATH", message));
        };
        let mut out = self.out.as_deref().map(Sheet::begin).transpose()?;
        let mut model = ImageClassifier::open(tasks::open_gpu(adapter)?, folder, beside)?;
        let broken = model.predict(&paths, &mut |answers| match &mut out {
            Some(out) => out.write(answers.into_iter().map(row).collect()),
            None => answers
                .iter()
                .try_for_each(|answer| self.print_picture(answer)),
        })?;
        for broken in &broken {
            log::warn!("no answer for '{}': it {}", broken.name, broken.problem);
        }
        out.map_or(Ok(()), Sheet::finish)?;
        match broken.first() {
            None => Ok(()),
            Some(first) => {
                let problem = format!(
                    "{}; {} pictures have no answer",
                    first.problem,
                    broken.len()
                );
                Err(Error::folder(&first.name, problem))
            }
        }
    }

    fn print_picture(&self, answer: &PicturePrediction) -> Result<()> {
        output::show(self.json, answer, || {
            let each = answer.probabilities.iter();
            let each: Vec<String> = each.map(|(label, p)| format!("{label} {p:.4}")).collect();
            let (picture, label) = (&answer.picture, &answer.label);
            format!("{picture}\t{label}\t{}\n", each.join("  "))
        })
    }

    /// The labels of words.
    fn words(&self, tagger: &mut Tagger) -> Result<()> {
        let mut out = self.out.as_deref().map(Words::begin).transpose()?;
        match self.input.from()? {
            From::Paths(paths) => {
                for path in paths {
                    match is_cut(path)? {
                        true => self.cut_words(path, tagger, &mut out)?,
                        false => (self.input).each_of(path, None, false, &mut |examples| {
                            self.texts(examples, tagger, &mut out)
                        })?,
                    }
                }
            }
            _ => (self.input).each(None, false, &mut |examples| {
                self.texts(examples, tagger, &mut out)
            })?,
        }
        out.map_or(Ok(()), Words::finish)
    }

    /// The labels of the words of texts.
    fn texts(&self, all: Vec<Example>, tagger: &mut Tagger, out: &mut Option<Words>) -> Result<()> {
        let each = all.into_iter().map(|e| (Own::of_text(e.row), e.text));
        let (own, texts): (Vec<Own>, Vec<String>) = each.unzip();
        let words = tagger.tag(&texts)?;
        self.show_words(own, &texts, words, out)
    }

    /// The labels of words that are cut already.
    fn cut_words(&self, path: &Path, tagger: &mut Tagger, out: &mut Option<Words>) -> Result<()> {
        let all = read_words(&self.input.source(path))?.into_iter();
        let each = all.map(|text| (text.words.clone(), Own::of_words(text)));
        let (texts, own): (Vec<Vec<String>>, Vec<Own>) = each.unzip();
        let words = tagger.tag_words(&texts)?;
        let texts: Vec<String> = texts.iter().map(|words| words.join(" ")).collect();
        self.show_words(own, &texts, words, out)
    }

    fn show_words(
        &self,
        own: Vec<Own>,
        texts: &[String],
        words: Vec<Vec<Word>>,
        out: &mut Option<Words>,
    ) -> Result<()> {
        match out {
            Some(out) => out.write(own, words),
            None => (texts.iter().zip(words))
                .try_for_each(|(text, words)| self.print_words(text, words)),
        }
    }

    /// A text or a pair of texts to be classified.
    fn example(&self, example: Example, pairs: bool) -> Result<Example> {
        if example.pair.is_some() || !pairs {
            return Ok(example);
        }
        match example.text.split_once('\t') {
            Some((text, pair)) => Ok(Example {
                text: text.to_string(),
                pair: Some(pair.to_string()),
                ..example
            }),
            None if self.pairs => Err(Error::ConfigValue {
                place: "--pairs".into(),
                message: format!("needs a tab between two texts; '{}' has none", example.text),
            }),
            None => Ok(example),
        }
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

/// A picture's row: what was predicted, and the probability of each class.
fn row(answer: PicturePrediction) -> Fields {
    let mut row = vec![("picture".to_string(), answer.picture.into())];
    sheet::add(&mut row, "prediction", answer.label.into());
    for (label, p) in answer.probabilities {
        sheet::add(&mut row, &format!("p_{label}"), sheet::number(p));
    }
    row
}

/// Adds an answer to a text's row: what was predicted, and the probability of each class.
fn extend(row: &mut Fields, answer: Prediction, problem: Problem) {
    match (problem, answer.probabilities.first()) {
        (Problem::Regression, Some((_, y))) if answer.probabilities.len() == 1 => {
            sheet::add(row, "prediction", sheet::number(*y));
            return;
        }
        _ => sheet::add(row, "prediction", answer.label.into()),
    }
    for (label, p) in answer.probabilities {
        sheet::add(row, &format!("p_{label}"), sheet::number(p));
    }
}
