//! Operators that choose or average rows.

use super::kernel::{lanes, run, stored};
use crate::device::{Gpu, Groups, params};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tape, Tensor};

/// Marks a place that no row takes.
const NONE: u32 = u32::MAX;

/// Which rows of a matrix [`select_rows`] takes: M of N, such as the masked positions of a batch.
#[derive(Clone)]
pub struct RowSelection {
    /// (M) row numbers, then `u32::MAX`.
    rows: Tensor,
    /// (N) where each row went, or `u32::MAX`: so its gradient is a gather too.
    inverse: Tensor,
}

impl RowSelection {
    /// Memory for `m` of `n` rows, to be filled by [`RowSelection::write`].
    ///
    /// # Errors
    /// [`Error::Argument`] for no rows, [`Error::TooLarge`] beyond the adapter's limits.
    pub fn empty(gpu: &Gpu, n: usize, m: usize) -> Result<RowSelection> {
        Ok(RowSelection {
            rows: Tensor::empty(gpu, [m], DType::U32)?,
            inverse: Tensor::empty(gpu, [n], DType::U32)?,
        })
    }

    /// Replaces the rows: up to M numbers below N, in any order, none of them twice. Where one is
    /// `u32::MAX`, and behind the last, stand zeros.
    ///
    /// # Errors
    /// [`Error::Shape`] for more than M, [`Error::Argument`] for a row that is not there or there
    /// twice, [`Error::Device`] inside a recording.
    pub fn write(&self, rows: &[u32]) -> Result<()> {
        const OP: &str = "row selection";
        if rows.len() > self.len() {
            return Err(Error::Shape {
                op: OP,
                arg: "rows",
                expected: format!("at most {} rows", self.len()),
                found: format!("{} rows", rows.len()),
            });
        }
        let mut inverse = vec![NONE; self.inverse.len()];
        for (place, &row) in (0u32..).zip(rows).filter(|(_, row)| **row != NONE) {
            let free = inverse.get_mut(row as usize).filter(|held| **held == NONE);
            let Some(slot) = free else {
                return Err(Error::Argument {
                    op: OP,
                    arg: "rows",
                    value: format!("row {row} of {}", self.inverse.len()),
                    expected: "rows of the matrix, each at most once",
                });
            };
            *slot = place;
        }
        let mut padded = rows.to_vec();
        padded.resize(self.len(), NONE);
        self.rows.write(&padded)?;
        self.inverse.write(&inverse)
    }

    /// M: how many rows come out.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Never true: a selection has room for at least one row.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// Queues y[m] (=|+=) x[rows[m]], zeros for rows beyond x.
fn gather_rows(x: &Tensor, rows: &Tensor, y: &Tensor, accumulate: u32) -> Result<()> {
    let width = x.shape().last();
    let lanes = lanes(width);
    let params = params! {
        rows: u32 = rows.len(),
        width: u32 = width / lanes,
        sources: u32 = x.shape().rows(),
        accumulate: u32,
    };
    let kernel = ("gather_rows", &stored(x, lanes));
    let groups = Groups::Linear(rows.len() as u64);
    run(x.gpu(), kernel, &params, [rows, x, y], groups)
}

/// The chosen rows of `x` (…, C) with N rows in all, as (M, C); zeros where nothing is chosen.
///
/// # Errors
/// [`Error::Shape`] when the selection is one of another N, [`Error::DType`] when `x` does not hold
/// floats.
pub fn select_rows(tape: &Tape, x: &Tensor, rows: &RowSelection) -> Result<Tensor> {
    const OP: &str = "select_rows";
    x.expect_float(OP, "x")?;
    if x.shape().rows() != rows.inverse.len() {
        return Err(x.wrong_shape(OP, "x", format!("{} rows", rows.inverse.len())));
    }
    let y = Tensor::empty(tape.gpu(), [rows.len(), x.shape().last()], x.dtype())?;
    gather_rows(x, &rows.rows, &y, 0)?;
    let rows = rows.clone();
    tape.record_map(OP, x, &y, move |_, dy, dx| {
        gather_rows(dy, &rows.inverse, &dx.grad, dx.flag())
    });
    Ok(y)
}

/// The mean of the first `lens[b]` rows of each sequence: `x` (B, T, C), `lens` (B) u32, to (B, C).
/// A length of 0 gives zeros, one above T counts as T. (The mean pooling of sentence-transformers.)
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`].
pub fn mean_pool(tape: &Tape, x: &Tensor, lens: &Tensor) -> Result<Tensor> {
    const OP: &str = "mean_pool";
    x.expect_float(OP, "x")?;
    let &[batch, steps, cols] = x.dims() else {
        return Err(x.wrong_shape(OP, "x", "(B, T, C)"));
    };
    lens.expect(OP, "lens", &[batch], DType::U32)?;
    let gpu = tape.gpu();
    let y = Tensor::empty(gpu, [batch, cols], x.dtype())?;
    let lanes = lanes(cols);
    let variant = stored(x, lanes);
    let width = cols / lanes;
    let params = params! { steps: u32, width: u32 };
    let grid = Groups::Grid([width.div_ceil(64) as u32, batch as u32, 1]);
    let kernel = ("mean_pool_fwd", &variant);
    run(gpu, kernel, &params, [lens, x, &y], grid)?;
    let lens = lens.clone();
    tape.record_map(OP, x, &y, move |gpu, dy, dx| {
        let params = params! {
            rows: u32 = batch * steps,
            steps: u32,
            width: u32,
            accumulate: u32 = dx.flag(),
        };
        let groups = Groups::Linear((batch * steps) as u64);
        let tensors = [&lens, dy, &dx.grad];
        run(gpu, ("mean_pool_bwd", &variant), &params, tensors, groups)
    });
    Ok(y)
}
