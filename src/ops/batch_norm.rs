//! Batch normalisation.

use super::elementwise::axpy;
use super::kernel::{lanes, run, stored};
use super::norm::checked;
use super::reduce::sum_columns;
use crate::device::{Groups, params};
use crate::error::Result;
use crate::kernels::Variant;
use crate::tensor::{Backward, DType, Tape, Tensor};

const OP: &str = "batch_norm";

/// Rows that one invocation goes through, at least: so that a channel's numbers are loaded once for many.
const ROWS_PER_SPLIT: usize = 32;
/// Splits of the rows are at most so many, since one invocation adds up what they give.
const MOST_SPLITS: usize = 512;

/// Statistics of the batches that a batch normalisation has seen, which training changes where they lie.
#[derive(Clone)]
pub struct RunningStatistics {
    /// (C)
    pub mean: Tensor,
    /// (C), unbiased.
    pub var: Tensor,
    /// (): how many batches.
    pub tracked: Tensor,
}

/// By which statistics a batch is normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistics {
    /// Its own, of which the running ones take the share `momentum`: training.
    Batch {
        /// PyTorch's 0.1.
        momentum: f32,
    },
    /// The running ones, which stay as they are: evaluation, and a frozen layer in training.
    Running,
}

/// What the kernels are told of the statistics.
struct Saved {
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    mean: Tensor,
    /// 1 / √(variance + eps) of the batch, or running variances.
    spread: Tensor,
    running: bool,
    eps: f32,
}

/// (x − mean) / √(var + eps) · γ + β for each of the last axis' channels, over all other axes. (Ioffe and
/// Szegedy 2015; as `torch.nn.BatchNorm2d`.)
///
/// x (…, C) f32 or f16; gamma, beta (C) f32. Gradients flow to all three; through a batch's own statistics too.
///
/// # Errors
/// [`crate::Error::Shape`], also for a batch of one row that is to be normalised by itself; [`crate::Error::DType`];
/// [`crate::Error::Argument`] unless `eps` is finite and positive.
pub fn batch_norm(
    tape: &Tape,
    x: &Tensor,
    [gamma, beta]: [&Tensor; 2],
    seen: &RunningStatistics,
    by: Statistics,
    eps: f32,
) -> Result<Tensor> {
    let [rows, channels] = checked(OP, x, None, gamma, eps)?;
    let gpu = tape.gpu();
    beta.expect(OP, "beta", &[channels], DType::F32)?;
    seen.mean
        .expect(OP, "running_mean", &[channels], DType::F32)?;
    seen.var
        .expect(OP, "running_var", &[channels], DType::F32)?;
    seen.tracked.expect(OP, "tracked", &[], DType::F32)?;
    let lanes = lanes(channels);
    let (cols, splits) = (channels / lanes, splits(rows));
    let groups = Groups::cover(splits * cols, 64);
    let (mean, spread) = match by {
        Statistics::Running => (seen.mean.clone(), seen.var.clone()),
        Statistics::Batch { momentum } => {
            if rows < 2 {
                let expected = "two rows or more, to be normalised by their own statistics";
                return Err(x.wrong_shape(OP, "x", expected));
            }
            let of_splits = || Tensor::empty(gpu, [splits, channels], DType::F32);
            let (part_mean, squares) = (of_splits()?, of_splits()?);
            let params = params! { rows: u32, cols: u32, splits: u32 };
            let kernel = ("batch_norm_stats", &stored(x, lanes));
            run(gpu, kernel, &params, [x, &part_mean, &squares], groups)?;
            let of_batch = || Tensor::empty(gpu, [channels], DType::F32);
            let (mean, rstd) = (of_batch()?, of_batch()?);
            let params = params! {
                rows: u32,
                cols: u32,
                splits: u32,
                eps: f32,
                momentum: f32,
            };
            let written = [&mean, &rstd, &seen.mean, &seen.var, &seen.tracked];
            let tensors = [&part_mean, &squares].into_iter().chain(written).chain([x]);
            let kernel = ("batch_norm_finish", &stored(x, lanes));
            run(gpu, kernel, &params, tensors, Groups::cover(cols, 64))?;
            (mean, rstd)
        }
    };
    let y = Tensor::empty(gpu, x.shape().clone(), x.dtype())?;
    let running = by == Statistics::Running;
    let reads_x = !running || tape.needs_grad(gamma) || tape.needs_grad(beta);
    let saved = Saved {
        x: if reads_x {
            x.clone()
        } else {
            x.without_values()
        },
        gamma: gamma.clone(),
        beta: beta.clone(),
        mean,
        spread,
        running,
        eps,
    };
    let params = params! { rows: u32, cols: u32, splits: u32, eps: f32 };
    let tensors = [x, &saved.mean, &saved.spread, gamma, beta, &y];
    let kernel = ("batch_norm_fwd", &saved.variant(lanes));
    run(gpu, kernel, &params, tensors, groups)?;
    tape.record_one(OP, &[x, gamma, beta], &y, move |cx, dy| {
        backward(cx, &saved, dy)
    });
    Ok(y)
}

/// Splits of so many rows.
fn splits(rows: usize) -> usize {
    rows.div_ceil(ROWS_PER_SPLIT).min(MOST_SPLITS)
}

impl Saved {
    fn variant(&self, lanes: usize) -> Variant {
        stored(&self.x, lanes).with("RUNNING", self.running)
    }
}

fn backward(cx: &mut Backward, saved: &Saved, dy: &Tensor) -> Result<()> {
    let gpu = dy.gpu();
    let (rows, channels) = (dy.shape().rows(), dy.shape().last());
    let lanes = lanes(channels);
    let (cols, splits) = (channels / lanes, splits(rows));
    let groups = Groups::cover(splits * cols, 64);
    let variant = saved.variant(lanes);
    let sums = [&saved.gamma, &saved.beta].map(|weight| cx.wants(weight));
    let through = !saved.running && cx.wants(&saved.x);
    let mut weights = None;
    if sums.contains(&true) || through {
        let of_splits = || Tensor::empty(gpu, [splits, channels], DType::F32);
        let parts = [of_splits()?, of_splits()?];
        let params = params! { rows: u32, cols: u32, splits: u32, eps: f32 = saved.eps };
        let tensors = [
            dy,
            &saved.x,
            &saved.mean,
            &saved.spread,
            &parts[0],
            &parts[1],
        ];
        let kernel = ("batch_norm_bwd_weights", &variant);
        run(gpu, kernel, &params, tensors, groups)?;
        let of_batch = || Tensor::empty(gpu, [channels], DType::F32);
        let both = [of_batch()?, of_batch()?];
        for (part, sum) in parts.iter().zip(&both) {
            sum_columns(part, sum, false)?;
        }
        for (weight, sum) in [&saved.gamma, &saved.beta].into_iter().zip(&both) {
            if let Some(sink) = cx.sink(weight)? {
                axpy(&sink.grad, sum, 1.0, None, sink.accumulate)?;
            }
        }
        weights = Some(both);
    }
    let Some(dx) = cx.sink(&saved.x)? else {
        return Ok(());
    };
    let params = params! {
        rows: u32,
        cols: u32,
        splits: u32,
        eps: f32 = saved.eps,
        accumulate: u32 = dx.flag(),
    };
    let mut tensors = vec![dy, &saved.spread, &saved.gamma, &dx.grad];
    if let Some([dgamma, dbeta]) = weights.as_ref().filter(|_| through) {
        tensors.extend([&saved.x, &saved.mean, dgamma, dbeta]);
    }
    run(gpu, ("batch_norm_bwd", &variant), &params, tensors, groups)
}
