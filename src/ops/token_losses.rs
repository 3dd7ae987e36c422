//! Cross entropy of every row by itself, for losses of whole sequences: what a row's counts is known only on
//! the way back.
//!
//! As in [`linear_cross_entropy`](super::linear_cross_entropy) the logits of a linear layer are never stored
//! whole. They are computed once more on the way back, chunk by chunk, where each row's gradient is weighted by
//! what arrives at its loss.

use super::cross_entropy::{Chunk, chunk_rows, line, row_align, softmax};
use super::elementwise::axpy;
use super::matmul::{Product, Shared, product};
use super::reduce::sum_columns;
use crate::error::Result;
use crate::tensor::{DType, Sink, Tape, Tensor};

/// crossentropy(softmax(xᵢ·Wᵀ + b), targetᵢ) of each row, (N).
///
/// x (N, D) and w (V, D) f32 or f16, w packed where it is frozen, b (V), targets (N) u32. A row of target
/// `u32::MAX` costs nothing and moves nothing.
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`]; [`crate::Error::TooLarge`] when a tensor exceeds the adapter.
pub fn linear_token_losses(
    tape: &Tape,
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    targets: &Tensor,
) -> Result<Tensor> {
    const OP: &str = "linear_token_losses";
    let [rows, width] = x.dims2(OP, "x")?;
    let [vocab, _] = w.dims2(OP, "w")?;
    x.expect_float(OP, "x")?;
    w.expect_weight(OP, "w")?;
    w.expect(OP, "w", &[vocab, width], w.dtype())?;
    if let Some(b) = b {
        b.expect(OP, "b", &[vocab], DType::F32)?;
    }
    targets.expect(OP, "targets", &[rows], DType::U32)?;
    let layer = Layer {
        x: x.clone(),
        w: w.clone(),
        b: b.cloned(),
        targets: targets.clone(),
    };
    let losses = Tensor::empty(tape.gpu(), [rows], DType::F32)?;
    let ones = ones(&losses)?;
    layer.chunks(&ones, &losses, false, |_, _, _, _| Ok(()))?;
    let inputs: Vec<&Tensor> = [Some(x), Some(w), b].into_iter().flatten().collect();
    tape.record_one(OP, &inputs, &losses, move |cx, upstream| {
        let dx = cx.sink(&layer.x)?.map(Room::new).transpose()?;
        let dw = cx.sink(&layer.w)?.map(Room::new).transpose()?;
        let db = match &layer.b {
            Some(b) => cx.sink(b)?.map(Room::new).transpose()?,
            None => None,
        };
        let scratch = Tensor::empty(cx.gpu(), [rows], DType::F32)?;
        layer.chunks(upstream, &scratch, true, |first, x, dlogits, shared_w| {
            let shared = Shared::default();
            if let Some(dx) = &dx {
                let own = dx.own.window(first * width, x.shape().clone())?;
                product(&Product {
                    columns_a: Some(vocab),
                    shared_a: Some(&shared),
                    shared_b: Some(shared_w),
                    ..Product::new(dlogits, &layer.w, &own)
                })?;
            }
            if let Some(dw) = &dw {
                product(&Product {
                    trans_a: true,
                    columns_a: Some(vocab),
                    shared_a: Some(&shared),
                    accumulate: first > 0,
                    ..Product::new(dlogits, x, &dw.own)
                })?;
            }
            match &db {
                Some(db) => sum_columns(dlogits, &db.own, first > 0),
                None => Ok(()),
            }
        })?;
        let rooms = [dx, dw, db];
        rooms.iter().flatten().try_for_each(Room::hand_over)
    });
    Ok(losses)
}

/// crossentropy(softmax(logitsᵢ), targetᵢ) of each row, (N), of logits that exist: (N, V) f32 or f16, targets
/// (N) u32. Rows that do not count are those of [`linear_token_losses`].
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`].
pub fn token_losses(tape: &Tape, logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    const OP: &str = "token_losses";
    let [rows, _] = logits.dims2(OP, "logits")?;
    logits.expect_float(OP, "logits")?;
    targets.expect(OP, "targets", &[rows], DType::U32)?;
    let losses = Tensor::empty(tape.gpu(), [rows], DType::F32)?;
    let ones = ones(&losses)?;
    whole(logits, [targets, &ones, &losses], false)?;
    let (saved, targets) = (logits.clone(), targets.clone());
    tape.record_map(OP, logits, &losses, move |gpu, upstream, dx| {
        let scratch = Tensor::empty(gpu, [rows], DType::F32)?;
        let own = whole(&saved, [&targets, upstream, &scratch], true)?;
        axpy(&dx.grad, &own, 1.0, None, dx.accumulate)
    });
    Ok(losses)
}

/// The weighted losses of rows of logits that exist, and, with `gradient`, that of the logits.
fn whole(
    logits: &Tensor,
    [targets, weights, losses]: [&Tensor; 3],
    gradient: bool,
) -> Result<Tensor> {
    // The kernel puts the gradient in the logits' place.
    let own = Tensor::empty(logits.gpu(), logits.shape().clone(), DType::F32)?;
    axpy(&own, logits, 1.0, None, false)?;
    let all = Chunk {
        first: 0,
        vocab: logits.shape().last(),
        smoothing: 0.0,
        gradient,
    };
    let tensors = [targets, weights, &own, losses];
    softmax(logits.gpu(), tensors, None, &all)?;
    Ok(own)
}

fn ones(like: &Tensor) -> Result<Tensor> {
    let ones = Tensor::empty(like.gpu(), like.shape().clone(), DType::F32)?;
    ones.fill(1.0)?;
    Ok(ones)
}

/// A linear layer's tensors, and what its outputs should be.
struct Layer {
    x: Tensor,
    w: Tensor,
    b: Option<Tensor>,
    targets: Tensor,
}

impl Layer {
    /// Computes the logits chunk by chunk and from them the rows' losses, times their weights; gives `each` the
    /// first row of a chunk, its rows of x, its logits, or with `gradient` their gradient in their place, and
    /// what is made of W once for all chunks.
    fn chunks(
        &self,
        weights: &Tensor,
        losses: &Tensor,
        gradient: bool,
        each: impl Fn(usize, &Tensor, &Tensor, &Shared) -> Result<()>,
    ) -> Result<()> {
        let gpu = self.x.gpu();
        let (rows, width) = (self.x.shape().rows(), self.x.shape().last());
        let vocab = self.w.shape().rows();
        let (most, line) = (
            chunk_rows(rows, vocab, row_align(self.x.dtype())),
            line(vocab),
        );
        let shared_w = Shared::default();
        for first in (0..rows).step_by(most) {
            let count = most.min(rows - first);
            let x = self.x.window(first * width, [count, width])?;
            let logits = Tensor::empty(gpu, [count, line], DType::F32)?;
            product(&Product {
                bias: self.b.as_ref(),
                trans_b: true,
                columns_c: Some(vocab),
                shared_b: Some(&shared_w),
                ..Product::new(&x, &self.w, &logits)
            })?;
            let chunk = Chunk {
                first,
                vocab,
                smoothing: 0.0,
                gradient,
            };
            softmax(gpu, [&self.targets, weights, &logits, losses], None, &chunk)?;
            each(first, &x, &logits, &shared_w)?;
        }
        Ok(())
    }
}

/// Where a gradient is computed, in f32, and where it goes.
struct Room {
    sink: Sink,
    own: Tensor,
}

impl Room {
    fn new(sink: Sink) -> Result<Room> {
        let own = match sink.accumulate || sink.grad.is_half() {
            true => Tensor::empty(sink.grad.gpu(), sink.grad.shape().clone(), DType::F32)?,
            false => sink.grad.clone(),
        };
        Ok(Room { sink, own })
    }

    fn hand_over(&self) -> Result<()> {
        match self.own.id() == self.sink.grad.id() {
            true => Ok(()),
            false => axpy(&self.sink.grad, &self.own, 1.0, None, self.sink.accumulate),
        }
    }
}
