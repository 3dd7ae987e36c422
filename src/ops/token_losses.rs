//! Cross entropy of every row by itself, for losses of whole sequences: what a row's counts is known only on
//! the way back.
//!
//! As in [`linear_cross_entropy`](super::linear_cross_entropy) the logits of a linear layer are never stored
//! whole. They are computed once more on the way back, chunk by chunk, where each row's gradient is weighted by
//! what arrives at its loss.

use super::elementwise::axpy;
use super::logits::{LinearLogits, whole};
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
    let layer = LinearLogits::new(OP, x, (w, b), targets)?;
    let rows = x.shape().rows();
    let losses = Tensor::empty(tape.gpu(), [rows], DType::F32)?;
    layer.losses(&ones(&losses)?, &losses, 0.0, None)?;
    let inputs: Vec<&Tensor> = [Some(x), Some(w), b].into_iter().flatten().collect();
    tape.record_one(OP, &inputs, &losses, move |cx, upstream| {
        let mut room = |input: &Tensor| cx.sink(input)?.map(Room::new).transpose();
        let rooms = [
            room(&layer.x)?,
            room(&layer.w)?,
            layer.b.as_ref().map_or(Ok(None), room)?,
        ];
        let scratch = Tensor::empty(cx.gpu(), [rows], DType::F32)?;
        let grads = rooms.each_ref().map(|room| Some(&room.as_ref()?.own));
        layer.losses(upstream, &scratch, 0.0, Some(grads))?;
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
    whole(logits, [targets, &ones, &losses], 0.0, false)?;
    let (saved, targets) = (logits.clone(), targets.clone());
    tape.record_map(OP, logits, &losses, move |gpu, upstream, dx| {
        let scratch = Tensor::empty(gpu, [rows], DType::F32)?;
        let own = whole(&saved, [&targets, upstream, &scratch], 0.0, true)?;
        axpy(&dx.grad, &own, 1.0, None, dx.accumulate)
    });
    Ok(losses)
}

fn ones(like: &Tensor) -> Result<Tensor> {
    let ones = Tensor::empty(like.gpu(), like.shape().clone(), DType::F32)?;
    ones.fill(1.0)?;
    Ok(ones)
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
