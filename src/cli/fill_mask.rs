//! `melos fill-mask`.

use std::path::PathBuf;

use clap::Args;

use super::input::Input;
use super::model_options::ModelOptions;
use super::output;
use super::sheet::{self, Fields, Sheet};
use crate::error::Result;
use crate::inference::{Blank, FillMask as Filler, Guess};
use crate::text::Example;

/// Guess the tokens behind [MASK] in texts.
#[derive(Debug, Args)]
pub struct FillMask {
    /// Model folder, an adapter's, or a run's (its best model).
    model: PathBuf,
    #[command(flatten)]
    input: Input,
    /// How many guesses for each mask.
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    /// File to write: a row for each guess, with its text's own columns, as .csv, .tsv or .jsonl
    /// [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// One JSON object per mask on standard output.
    #[arg(long, conflicts_with = "out")]
    json: bool,
    #[command(flatten)]
    options: ModelOptions,
}

impl FillMask {
    pub(super) fn run(self) -> Result<()> {
        let model = self.options.open(&self.model, Filler::open)?;
        let line = |g: &Guess| format!("{:.4}  {}\t{}\n", g.score, g.token_str, g.sequence);
        let mut out = self.out.as_deref().map(Sheet::begin).transpose()?;
        self.input.each(None, false, &mut |examples| {
            for Example { text, row, .. } in examples {
                let blanks = model.fill(&text, self.top)?;
                match &mut out {
                    Some(out) => out.write(blanks.iter().flat_map(|b| rows(&row, b)).collect())?,
                    None => blanks.iter().try_for_each(|b| {
                        output::show(self.json, b, || b.guesses.iter().map(line).collect())
                    })?,
                }
            }
            Ok(())
        })?;
        out.map_or(Ok(()), Sheet::finish)
    }
}

/// A row for each guess of a mask, behind the columns of its text.
fn rows<'a>(own: &'a Fields, blank: &'a Blank) -> impl Iterator<Item = Fields> + 'a {
    blank.guesses.iter().map(|guess| {
        let mut row = own.clone();
        sheet::add(&mut row, "position", blank.position.into());
        sheet::add(&mut row, "probability", sheet::number(guess.score));
        sheet::add(&mut row, "token", guess.token.into());
        sheet::add(&mut row, "prediction", guess.token_str.clone().into());
        sheet::add(&mut row, "sequence", guess.sequence.clone().into());
        row
    })
}
