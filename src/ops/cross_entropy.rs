//! Linear layer, softmax and cross entropy in one operator; the logits are never stored whole.
//!
//! Rows are taken in chunks: a chunk's logits are computed, turned into their own gradient in
//! place, and used up (dx, dW, db) before the next chunk overwrites them. Memory is
//! O(N·D + V·D) plus one chunk, whatever N·V is. This is the scheme of Liger-Kernel's fused
//! linear cross entropy: the gradients are computed on the way forward and scaled by the
//! upstream gradient on the way back.

use super::elementwise::axpy;
use super::kernel::{lanes, run};
use super::matmul::{Product, Shared, product};
use super::reduce::{sum_columns, total};
use crate::device::{Gpu, Groups, params};
use crate::error::{Error, Result};
use crate::kernels::Variant;
use crate::tensor::{DType, Tape, Tensor};

const OP: &str = "linear_cross_entropy";

/// Bytes of logits held at a time. A chunk should be large enough for the matrix product to run
/// at speed (hundreds of rows) and small enough to stay in a last-level cache: at V = 10,000 this
/// is 819 rows.
const CHUNK_BYTES: usize = 32 << 20;

/// Rows of this type start on 256 bytes when their number is a multiple of this, whatever their
/// width.
pub(super) fn row_align(dtype: DType) -> usize {
    dtype.align(256)
}

/// Σᵢ weightᵢ · crossentropy(softmax(xᵢ·Wᵀ + b), targetᵢ), as (1).
///
/// x (N, D) and w (V, D) f32 or f16, w packed where it is frozen, b (V), targets (N) u32, weights (N). Logits and what is
/// computed from them are f32. A row of weight 0, or of target
/// `u32::MAX`, costs nothing and moves nothing. For a mean over the valid rows give each the
/// weight 1 / their number.
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`]; [`crate::Error::TooLarge`] when a tensor exceeds the adapter.
pub fn linear_cross_entropy(
    tape: &Tape,
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    targets: &Tensor,
    weights: &Tensor,
) -> Result<Tensor> {
    smoothed_linear_cross_entropy(tape, x, (w, b), targets, weights, 0.0)
}

/// [`linear_cross_entropy`] of a layer (w, b), against targets that are smoothed as those of
/// [`smoothed_cross_entropy`].
///
/// # Errors
/// Those of both.
pub fn smoothed_linear_cross_entropy(
    tape: &Tape,
    x: &Tensor,
    (w, b): (&Tensor, Option<&Tensor>),
    targets: &Tensor,
    weights: &Tensor,
    smoothing: f32,
) -> Result<Tensor> {
    check_smoothing(OP, smoothing)?;
    let gpu = tape.gpu();
    let [rows, width] = x.dims2(OP, "x")?;
    let [vocab, _] = w.dims2(OP, "w")?;
    x.expect_float(OP, "x")?;
    w.expect_weight(OP, "w")?;
    w.expect(OP, "w", &[vocab, width], w.dtype())?;
    if let Some(b) = b {
        b.expect(OP, "b", &[vocab], DType::F32)?;
    }
    targets.expect(OP, "targets", &[rows], DType::U32)?;
    weights.expect(OP, "weights", &[rows], DType::F32)?;

    // Gradients for an upstream gradient of 1, of what is trained.
    let room = |input: Option<&Tensor>| {
        let wanted = input.filter(|t| tape.needs_grad(t));
        let room = wanted.map(|t| Tensor::empty(gpu, t.shape().clone(), DType::F32));
        room.transpose()
    };
    let grads = [room(Some(x))?, room(Some(w))?, room(b)?];
    let [dx, dw, db] = &grads;
    let wanted = grads.iter().any(Option::is_some);
    let losses = Tensor::empty(gpu, [rows], DType::F32)?;
    let chunk = chunk_rows(rows, vocab, row_align(x.dtype()));
    let line = line(vocab);
    // What is made of W is made once for all chunks.
    let shared_w = Shared::default();
    for first in (0..rows).step_by(chunk) {
        let count = chunk.min(rows - first);
        let x_chunk = x.window(first * width, [count, width])?;
        let logits = Tensor::empty(gpu, [count, line], DType::F32)?;
        let shared_logits = Shared::default();
        product(&Product {
            bias: b,
            trans_b: true,
            columns_c: Some(vocab),
            shared_b: Some(&shared_w),
            ..Product::new(&x_chunk, w, &logits)
        })?;
        let chunk = Chunk {
            first,
            vocab,
            smoothing,
            gradient: wanted,
        };
        softmax(gpu, [targets, weights, &logits, &losses], None, &chunk)?;
        let accumulate = first > 0;
        if let Some(dx) = dx {
            let dx = dx.window(first * width, [count, width])?;
            product(&Product {
                columns_a: Some(vocab),
                shared_a: Some(&shared_logits),
                shared_b: Some(&shared_w),
                ..Product::new(&logits, w, &dx)
            })?;
        }
        if let Some(dw) = dw {
            product(&Product {
                trans_a: true,
                columns_a: Some(vocab),
                shared_a: Some(&shared_logits),
                accumulate,
                ..Product::new(&logits, &x_chunk, dw)
            })?;
        }
        if let Some(db) = db {
            sum_columns(&logits, db, accumulate)?;
        }
    }
    let loss = total(&losses)?;

    if wanted {
        let inputs: Vec<&Tensor> = [Some(x), Some(w), b].into_iter().flatten().collect();
        let kept = [Some(x.without_values()), Some(w.clone()), b.cloned()];
        tape.record_one(OP, &inputs, &loss, move |cx, upstream| {
            for (input, grad) in kept.iter().zip(&grads) {
                if let (Some(input), Some(grad)) = (input, grad)
                    && let Some(sink) = cx.sink(input)?
                {
                    axpy(&sink.grad, grad, 1.0, Some(upstream), sink.accumulate)?;
                }
            }
            Ok(())
        });
    }
    Ok(loss)
}

/// Σᵢ weightᵢ · crossentropy(softmax(logitsᵢ), targetᵢ), as (1), for few classes: logits (N, K),
/// f32 or f16, targets (N) u32, weights (N). Rows that do not count are those of
/// [`linear_cross_entropy`].
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`].
pub fn cross_entropy(
    tape: &Tape,
    logits: &Tensor,
    targets: &Tensor,
    weights: &Tensor,
) -> Result<Tensor> {
    smoothed_cross_entropy(tape, logits, targets, weights, 0.0)
}

/// [`cross_entropy`] against targets of which the share `smoothing` is spread evenly over all K
/// classes (Szegedy et al. 2016, section 7; `torch.nn.CrossEntropyLoss`'s `label_smoothing`).
///
/// # Errors
/// [`crate::Error::Argument`] unless 0 ≤ smoothing < 1, and those of [`cross_entropy`].
pub fn smoothed_cross_entropy(
    tape: &Tape,
    logits: &Tensor,
    targets: &Tensor,
    weights: &Tensor,
    smoothing: f32,
) -> Result<Tensor> {
    const OP: &str = "cross_entropy";
    check_smoothing(OP, smoothing)?;
    let gpu = tape.gpu();
    let [rows, classes] = logits.dims2(OP, "logits")?;
    logits.expect_float(OP, "logits")?;
    targets.expect(OP, "targets", &[rows], DType::U32)?;
    weights.expect(OP, "weights", &[rows], DType::F32)?;
    // The kernel puts the gradient in the logits' place.
    let dlogits = Tensor::empty(gpu, logits.shape().clone(), DType::F32)?;
    axpy(&dlogits, logits, 1.0, None, false)?;
    let losses = Tensor::empty(gpu, [rows], DType::F32)?;
    let wanted = tape.needs_grad(logits);
    let all = Chunk {
        first: 0,
        vocab: classes,
        smoothing,
        gradient: wanted,
    };
    softmax(gpu, [targets, weights, &dlogits, &losses], None, &all)?;
    let loss = total(&losses)?;
    tape.record_map(OP, logits, &loss, move |_, upstream, dx| {
        axpy(&dx.grad, &dlogits, 1.0, Some(upstream), dx.accumulate)
    });
    Ok(loss)
}

fn check_smoothing(op: &'static str, smoothing: f32) -> Result<()> {
    match (0.0..1.0).contains(&smoothing) {
        true => Ok(()),
        false => Err(Error::argument(
            op,
            "smoothing",
            smoothing,
            "0 <= smoothing < 1",
        )),
    }
}

/// Rows of a chunk, equal ones as far as that goes.
pub(super) fn chunk_rows(rows: usize, vocab: usize, align: usize) -> usize {
    let fit = CHUNK_BYTES / (vocab * size_of::<f32>());
    let fit = (fit / align * align).max(align);
    // Equal chunks: the last one should not be a sliver.
    let chunks = rows.div_ceil(fit);
    rows.div_ceil(chunks).next_multiple_of(align)
}

/// Floats from one row of logits to the next: those of large vocabularies start on 256 bytes, so
/// that copies and vectors of four suit them.
pub(super) fn line(vocab: usize) -> usize {
    match vocab {
        ..1024 => vocab,
        _ => vocab.next_multiple_of(row_align(DType::F32)),
    }
}

/// What is made of a chunk's rows of logits.
pub(super) struct Chunk {
    /// The first row's place in targets, weights and losses.
    pub first: usize,
    /// Floats of a row that count.
    pub vocab: usize,
    /// Share of a target that is spread over all classes.
    pub smoothing: f32,
    /// Whether the gradient is wanted in the logits' place.
    pub gradient: bool,
}

/// Queues the losses of rows of logits and, where wanted, the number of each one's largest logit.
pub(super) fn softmax(
    gpu: &Gpu,
    [targets, weights, logits, losses]: [&Tensor; 4],
    best: Option<&Tensor>,
    chunk: &Chunk,
) -> Result<()> {
    let vocab = chunk.vocab;
    let [rows, line] = logits.dims2(OP, "logits")?;
    let mut variant = Variant::new().with("VEC4", lanes(vocab) == 4 && lanes(line) == 4);
    variant = match best {
        Some(_) => variant.with("ARGMAX", true),
        None => variant.with("GRAD", chunk.gradient),
    };
    let params = params! {
        rows: u32,
        vocab: u32,
        first: u32 = chunk.first,
        smoothing: f32 = chunk.smoothing,
        line: u32,
    };
    let tensors = [targets, weights, logits, losses].into_iter().chain(best);
    let groups = Groups::Linear(rows as u64);
    run(gpu, ("softmax_xent", &variant), &params, tensors, groups)
}

#[cfg(test)]
mod tests {
    use super::{CHUNK_BYTES, DType, chunk_rows, row_align};

    #[test]
    fn chunks_are_aligned_cover_all_rows_and_fit() {
        for align in [DType::F32, DType::F16].map(row_align) {
            for (rows, vocab) in [
                (1, 2),
                (64, 2),
                (2048, 10_000),
                (8192, 30_522),
                (300, 5_000_000),
            ] {
                let chunk = chunk_rows(rows, vocab, align);
                assert!(chunk.is_multiple_of(align));
                assert!(chunk == align || chunk * vocab * 4 <= CHUNK_BYTES + align * vocab * 4);
            }
        }
        assert_eq!(chunk_rows(2048, 10_000, row_align(DType::F32)), 704);
    }
}
