//! Rotary position embedding.

use super::kernel::{lanes, run, stored};
use crate::device::{Gpu, Groups, params};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tape, Tensor};

const OP: &str = "rope";

/// The cosines and sines of every position's angles.
#[derive(Clone)]
pub struct RopeTable {
    /// (P, R/2, 2)
    table: Tensor,
    positions: usize,
}

impl RopeTable {
    /// For positions 0..P, inside a recording too: `turns` holds (cosine, sine) of R/2 angles for each of them in turn.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are as many for each position; [`Error::TooLarge`].
    pub fn new(gpu: &Gpu, positions: usize, turns: &[[f32; 2]]) -> Result<RopeTable> {
        if turns.is_empty() || !turns.len().is_multiple_of(positions) {
            return Err(Error::Shape {
                op: OP,
                arg: "turns",
                expected: format!("as many angles for each of {positions} positions"),
                found: turns.len().to_string(),
            });
        }
        let pairs = turns.len() / positions;
        // An even number of rows: the kernel reads two pairs at once.
        let rows = positions.next_multiple_of(2);
        let mut all: Vec<f32> = turns.iter().flatten().copied().collect();
        all.resize(rows * pairs * 2, 0.0);
        Ok(RopeTable {
            table: Tensor::constant(gpu, [rows, pairs, 2], &all)?,
            positions,
        })
    }

    /// P
    pub fn positions(&self) -> usize {
        self.positions
    }
}

/// Turns the first R columns of each of `heads` heads of x (B, T, NH·D), f32 or f16, by the angles of
/// its position: column i with column i + R/2. (Su et al. 2021, eq. 34; the pairs as in Llama.)
///
/// A row stands at its place in its sequence, or where `positions` (B, T) u32 says, which holds
/// numbers below the table's.
///
/// # Errors
/// [`Error::Shape`] unless the heads divide the width, R ≤ D, and the table has T positions;
/// [`Error::DType`].
pub fn rope(
    tape: &Tape,
    x: &Tensor,
    heads: usize,
    table: &RopeTable,
    positions: Option<&Tensor>,
) -> Result<Tensor> {
    x.expect_float(OP, "x")?;
    let [batch, steps, columns] = x.dims3(OP, "x")?;
    let pairs = table.table.dims()[1];
    if heads == 0 || !columns.is_multiple_of(heads) || columns / heads < 2 * pairs {
        let expected = format!("(B, T, C), C in {heads} heads of {} or more", 2 * pairs);
        return Err(x.wrong_shape(OP, "x", expected));
    }
    match positions {
        Some(positions) => positions.expect(OP, "positions", &[batch, steps], DType::U32)?,
        None if steps > table.positions => {
            let expected = format!("(B, T, C) with T <= {}, as the table has", table.positions);
            return Err(x.wrong_shape(OP, "x", expected));
        }
        None => {}
    }
    let gpu = tape.gpu();
    let y = Tensor::empty(gpu, x.shape().clone(), x.dtype())?;
    let turn = Turn {
        heads,
        pairs,
        steps,
        last: table.positions - 1,
        table: table.table.clone(),
        positions: positions.cloned(),
    };
    turn.queue(x, &y, false, 0)?;
    tape.record_map(OP, x, &y, move |_, dy, dx| {
        turn.queue(dy, &dx.grad, true, dx.flag())
    });
    Ok(y)
}

struct Turn {
    heads: usize,
    pairs: usize,
    steps: usize,
    last: usize,
    table: Tensor,
    positions: Option<Tensor>,
}

impl Turn {
    fn queue(&self, x: &Tensor, y: &Tensor, inverse: bool, accumulate: u32) -> Result<()> {
        let (rows, width) = (x.shape().rows(), x.shape().last() / self.heads);
        let lanes = lanes(width).min(lanes(self.pairs));
        let (width, pairs) = (width / lanes, self.pairs / lanes);
        let params = params! {
            n: u32 = rows * self.heads * (width - pairs),
            width: u32,
            pairs: u32,
            heads: u32 = self.heads,
            steps: u32 = self.steps,
            has_positions: u32 = self.positions.is_some(),
            last: u32 = self.last,
            accumulate: u32,
        };
        let variant = stored(x, lanes).with("INVERSE", inverse);
        // Without positions nothing is read of them.
        let positions = self.positions.as_ref().unwrap_or(&self.table);
        let tensors = [x, &self.table, positions, y];
        let groups = Groups::cover(params.n as usize, 256);
        run(x.gpu(), ("rope", &variant), &params, tensors, groups)
    }
}
