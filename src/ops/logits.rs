//! Rows of logits, their cross entropies, and what these are made of: a linear layer of which the logits are never
//! there whole, or logits that exist.
//!
//! Rows of a layer are taken in chunks: a chunk's logits are computed, turned into their own gradient in
//! place, and used up (dx, dW, db) before the next chunk overwrites them. Memory is
//! O(N·D + V·D) plus one chunk, whatever N·V is.

use super::elementwise::axpy;
use super::kernel::{lanes, run};
use super::matmul::{Product, Shared, product};
use super::reduce::sum_columns;
use crate::device::{Gpu, Groups, params};
use crate::error::Result;
use crate::kernels::Variant;
use crate::tensor::{DType, Tensor};

/// Bytes of logits held at a time. A chunk should be large enough for the matrix product to run
/// at speed (hundreds of rows) and small enough to stay in a last-level cache: at V = 10,000 this
/// is 819 rows.
const CHUNK_BYTES: usize = 32 << 20;

/// Rows of this type start on 256 bytes when their number is a multiple of this, whatever their
/// width.
fn row_align(dtype: DType) -> usize {
    dtype.align(256)
}

/// A linear layer, what it is given, and what its outputs should be.
pub(super) struct LinearLogits {
    /// (N, D) f32 or f16
    pub x: Tensor,
    /// (V, D) f32, f16 or packed
    pub w: Tensor,
    /// (V)
    pub b: Option<Tensor>,
    /// (N) u32
    targets: Tensor,
}

impl LinearLogits {
    /// Checks all shapes.
    pub fn new(
        op: &'static str,
        x: &Tensor,
        (w, b): (&Tensor, Option<&Tensor>),
        targets: &Tensor,
    ) -> Result<LinearLogits> {
        let [rows, width] = x.dims2(op, "x")?;
        let [vocab, _] = w.dims2(op, "w")?;
        x.expect_float(op, "x")?;
        w.expect_weight(op, "w")?;
        w.expect(op, "w", &[vocab, width], w.dtype())?;
        if let Some(b) = b {
            b.expect(op, "b", &[vocab], DType::F32)?;
        }
        targets.expect(op, "targets", &[rows], DType::U32)?;
        Ok(LinearLogits {
            x: x.clone(),
            w: w.clone(),
            b: b.cloned(),
            targets: targets.clone(),
        })
    }

    /// Computes the rows' losses, times their weights, and with `grads` those gradients of x, W and b, all f32,
    /// that there is room for.
    pub fn losses(
        &self,
        weights: &Tensor,
        losses: &Tensor,
        smoothing: f32,
        grads: Option<[Option<&Tensor>; 3]>,
    ) -> Result<()> {
        let gpu = self.x.gpu();
        let (rows, width) = (self.x.shape().rows(), self.x.shape().last());
        let vocab = self.w.shape().rows();
        let most = chunk_rows(rows, vocab, row_align(self.x.dtype()));
        let line = line(vocab);
        let [dx, dw, db] = grads.unwrap_or_default();
        // What is made of W is made once for all chunks.
        let shared_w = Shared::default();
        for first in (0..rows).step_by(most) {
            let count = most.min(rows - first);
            let x = self.x.window(first * width, [count, width])?;
            let logits = Tensor::empty(gpu, [count, line], DType::F32)?;
            let shared_logits = Shared::default();
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
                smoothing,
                gradient: grads.is_some(),
            };
            softmax(gpu, [&self.targets, weights, &logits, losses], None, &chunk)?;
            let accumulate = first > 0;
            if let Some(dx) = dx {
                let dx = dx.window(first * width, [count, width])?;
                product(&Product {
                    columns_a: Some(vocab),
                    shared_a: Some(&shared_logits),
                    shared_b: Some(&shared_w),
                    ..Product::new(&logits, &self.w, &dx)
                })?;
            }
            if let Some(dw) = dw {
                product(&Product {
                    trans_a: true,
                    columns_a: Some(vocab),
                    shared_a: Some(&shared_logits),
                    accumulate,
                    ..Product::new(&logits, &x, dw)
                })?;
            }
            if let Some(db) = db {
                sum_columns(&logits, db, accumulate)?;
            }
        }
        Ok(())
    }
}

/// The weighted losses of rows of logits that exist, and with `gradient` that of the logits.
pub(super) fn whole(
    logits: &Tensor,
    [targets, weights, losses]: [&Tensor; 3],
    smoothing: f32,
    gradient: bool,
) -> Result<Tensor> {
    // The kernel puts the gradient in the logits' place.
    let own = Tensor::empty(logits.gpu(), logits.shape().clone(), DType::F32)?;
    axpy(&own, logits, 1.0, None, false)?;
    let all = Chunk {
        first: 0,
        vocab: logits.shape().last(),
        smoothing,
        gradient,
    };
    softmax(logits.gpu(), [targets, weights, &own, losses], None, &all)?;
    Ok(own)
}

/// Rows of a chunk, equal ones as far as that goes.
fn chunk_rows(rows: usize, vocab: usize, align: usize) -> usize {
    let fit = CHUNK_BYTES / (vocab * size_of::<f32>());
    let fit = (fit / align * align).max(align);
    // Equal chunks: the last one should not be a sliver.
    let chunks = rows.div_ceil(fit);
    rows.div_ceil(chunks).next_multiple_of(align)
}

/// Floats from one row of logits to the next: those of large vocabularies start on 256 bytes, so
/// that copies and vectors of four suit them.
fn line(vocab: usize) -> usize {
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
    let [rows, line] = logits.dims2("softmax", "logits")?;
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
