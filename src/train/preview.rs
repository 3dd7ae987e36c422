//! Conversations as a stage learns them: token by token, with what is learned and what is cut.

use std::ops::Range;
use std::path::Path;

use serde::Serialize;

use super::config::{RunConfig, StageConfig};
use super::tasks::Data;
use crate::error::{Error, Result};
use crate::text::Tokenizer;
use crate::text::chat::Kind;

/// The conversations of a run, as its first stage that learns of some does.
#[derive(Debug, Clone, Serialize)]
pub struct Preview {
    /// The stage's name.
    pub stage: String,
    /// Tokens of the longest row.
    pub max_len: usize,
    /// What its rows say of answers.
    #[serde(skip)]
    pub kind: Kind,
    /// Conversations, texts, or pairs of them.
    pub rows: u64,
    /// Those of which the end is cut off.
    pub cut: u64,
    /// Those of which nothing is left to learn; of pairs, nothing of one of the answers.
    pub emptied: u64,
    /// Tokens that are read.
    pub read: u64,
    /// Those of them that are learned.
    pub learned: u64,
    /// The first few; of pairs the better text.
    pub shown: Vec<Vec<Piece>>,
    /// The worse text of each pair.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Vec<Piece>>,
    /// Whether each is good, where answers are judged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub good: Vec<bool>,
}

/// A token; or some, where only together they are text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// Their ids.
    pub ids: Vec<u32>,
    /// What they say.
    pub text: String,
    /// Whether they are learned.
    pub learned: bool,
    /// Whether they are cut off.
    pub cut: bool,
}

/// Reads the conversations of a run and shows the first `shown`.
///
/// # Errors
/// [`Error::ConfigValue`] for a run without a stage that learns from conversations; those of reading.
pub fn preview(config: &RunConfig, shown: usize) -> Result<Preview> {
    let mut stages = config.stages.iter();
    let reads = |s: &&StageConfig| s.objective.conversation().is_some();
    let found = stages.find(reads);
    let read = found.and_then(|stage| Some((stage, stage.objective.conversation()?)));
    let Some((stage, way)) = read else {
        let message = "none learns from conversations, as --preset sft does; of other data `melos train --dry-run` \
                       and `melos doctor` say what they hold";
        return Err(Error::value("stage", message));
    };
    config.data.require()?;
    let place = || Path::new("a temporary folder");
    let folder = tempfile::tempdir().map_err(|e| Error::write(place(), e))?;
    let data = Data::open(config, folder.path(), false)?;
    let max_len = stage.objective.length();
    let mut preview = Preview {
        stage: stage.name.clone(),
        max_len,
        kind: way.kind,
        rows: data.documents.len() as u64,
        cut: 0,
        emptied: 0,
        read: 0,
        learned: 0,
        shown: Vec::new(),
        rejected: Vec::new(),
        good: Vec::new(),
    };
    let Some(chats) = &data.chats else {
        return Ok(preview);
    };
    for doc in 0..data.documents.len() as u32 {
        let (text, rejected) = data.documents.texts(doc);
        let learned = [
            chats.learned_of(doc, max_len),
            chats.rejected_of(doc, max_len),
        ];
        let texts = [Some((text, learned[0])), rejected.map(|r| (r, learned[1]))];
        let texts = texts.into_iter().flatten();
        let longer = |(ids, _): (&[u32], usize)| ids.len() > max_len;
        let cut = texts.clone().any(longer);
        let emptied = match way.whole {
            true => cut,
            false => texts.clone().any(|(_, learned)| learned == 0),
        };
        preview.cut += u64::from(cut);
        preview.emptied += u64::from(emptied);
        if !emptied {
            let read = texts.clone().map(|(ids, _)| ids.len().min(max_len));
            preview.read += read.sum::<usize>() as u64;
            preview.learned += texts.map(|(_, learned)| learned).sum::<usize>() as u64;
        }
        if preview.shown.len() < shown {
            let row = |ids: &[u32], own: &[Range<u32>]| {
                // Nothing stands before the first token that could say it.
                let is = |at: u32| at > 0 && own.iter().any(|range| range.contains(&at));
                pieces(&data.tokenizer, ids, max_len, &is)
            };
            preview.shown.push(row(text, chats.learned(doc))?);
            if let Some(rejected) = rejected {
                preview.rejected.push(row(rejected, chats.rejected(doc))?);
            }
            if way.kind == Kind::Judged {
                preview.good.push(chats.is_good(doc));
            }
        }
    }
    Ok(preview)
}

/// The tokens of a row, those put together that make a character only so.
fn pieces(
    tokenizer: &Tokenizer,
    ids: &[u32],
    max_len: usize,
    is: &dyn Fn(u32) -> bool,
) -> Result<Vec<Piece>> {
    /// Tokens of a character.
    const MOST: usize = 4;
    let mut pieces: Vec<Piece> = Vec::new();
    let mut open: Vec<u32> = Vec::new();
    for (at, id) in ids.iter().enumerate() {
        open.push(*id);
        let text = tokenizer.decode_with(&open, false)?;
        let last = at + 1 == ids.len() || open.len() == MOST;
        if !text.contains('\u{fffd}') || last {
            pieces.push(Piece {
                ids: std::mem::take(&mut open),
                text,
                learned: at < max_len && is(at as u32),
                cut: at >= max_len,
            });
        }
    }
    Ok(pieces)
}

impl Preview {
    /// For people: what is learned stands in «», tokens are parted by |, line breaks are shown.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (number, row) in self.shown.iter().enumerate() {
            let of = match (self.kind, self.good.get(number)) {
                (Kind::Pairs, _) => ", better",
                (_, Some(true)) => ", good",
                (_, Some(false)) => ", bad",
                _ => "",
            };
            text += &format!("row {}{of}\n", number + 1);
            text += &self.shown_row(row);
            if let Some(row) = self.rejected.get(number) {
                text += &format!("row {}, worse\n", number + 1);
                text += &self.shown_row(row);
            }
        }
        let share = 100.0 * self.learned as f64 / self.read.max(1) as f64;
        text + &format!(
            "{} rows, {} tokens are read, {} of them learned ({share:.1} %); {} rows are cut at stage.{}.max_len = {}, \
             {} have nothing left to learn\n",
            self.rows, self.read, self.learned, self.cut, self.stage, self.max_len, self.emptied
        )
    }

    fn shown_row(&self, row: &[Piece]) -> String {
        let (mut text, mut learned, mut cut) = (String::new(), false, false);
        for (at, piece) in row.iter().enumerate() {
            if learned && !piece.learned {
                text.push('»');
            }
            if piece.cut && !cut {
                text += &format!(" ✂ cut after {} tokens: ", self.max_len);
                cut = true;
            } else if at > 0 && learned == piece.learned {
                text.push('|');
            }
            if piece.learned && !learned {
                text.push('«');
            }
            learned = piece.learned;
            text += &piece.text.replace('\n', "⏎\n");
        }
        if learned {
            text.push('»');
        }
        text + "\n\n"
    }
}
