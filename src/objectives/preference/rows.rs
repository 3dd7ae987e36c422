//! Two rows of tokens for each document, as arrays and as tensors.

use crate::error::Result;
use crate::models::{CausalLm, Tokens};
use crate::objectives::batch::{Batch, Targets};
use crate::objectives::feed::Feed;
use crate::ops::{self, Binary};
use crate::tensor::{DType, Tape, Tensor};
use crate::text::batch::NO_DOC;
use crate::text::chat::PreferenceRows;

/// A batch of these rows, with its documents.
pub(super) fn batch(rows: PreferenceRows, docs: Vec<u32>) -> Batch {
    Batch::of_rows(rows.inputs).of(docs)
}

/// A number for each document that there is.
pub(super) fn of_each(docs: &[u32], number: f32) -> Targets {
    let number = [number];
    let of = |doc: &u32| (*doc != NO_DOC).then_some(&number[..]);
    Targets::numbers(&docs.iter().map(of).collect::<Vec<_>>(), 1)
}

/// The cross entropy of the targets of each row, added up: (R, 1).
pub(super) fn entropies(
    tape: &Tape,
    model: &dyn CausalLm,
    tokens: &Tokens<'_>,
    targets: &Tensor,
) -> Result<Tensor> {
    let losses = model.token_losses(tape, tokens, targets)?;
    sums(tape, &losses, tokens)
}

/// The sums of numbers (R·T) of tokens, row by row: (R, 1).
pub(super) fn sums(tape: &Tape, numbers: &Tensor, tokens: &Tokens<'_>) -> Result<Tensor> {
    let [rows, time] = tokens.ids.ids().dims2("preference", "ids")?;
    let ones = Tensor::empty(tape.gpu(), [1, time], DType::F32)?;
    ones.fill(1.0)?;
    ops::linear(tape, &numbers.reshaped([rows, time])?, &ones, None)
}

/// a − b of numbers (2·B, 1), where a are those of the first half: (B, 1).
pub(super) fn difference(tape: &Tape, numbers: &Tensor) -> Result<Tensor> {
    let [first, second] = halves(tape, numbers)?;
    ops::binary(tape, Binary::Sub, &first, &second)
}

/// Both halves of numbers (2·B, 1): (B, 1) each.
pub(super) fn halves(tape: &Tape, numbers: &Tensor) -> Result<[Tensor; 2]> {
    let count = numbers.len() / 2;
    let line = numbers.reshaped([1, 2 * count])?;
    let half = |at| ops::columns(tape, &line, at * count, count)?.reshaped([count, 1]);
    Ok([half(0)?, half(1)?])
}

/// What was uploaded under that name, as a column (N, 1).
pub(super) fn column(feed: &Feed, name: &'static str) -> Result<Tensor> {
    let numbers = feed.floats(name)?;
    numbers.reshaped([numbers.len(), 1])
}
