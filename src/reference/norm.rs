//! Layer normalisation (Ba et al. 2016, eq. 4) over the last axis, biased variance as in PyTorch, and
//! root-mean-square normalisation (Zhang and Sennrich 2019, eq. 4).

use super::float::Float;

/// (mean, 1 / √(variance + eps)) of a row.
fn moments<F: Float>(row: &[F], eps: f64) -> (F, F) {
    let count = F::of(row.len() as f64);
    let mean = row.iter().fold(F::ZERO, |sum, x| sum + *x) / count;
    let squares = row
        .iter()
        .fold(F::ZERO, |sum, x| sum + (*x - mean) * (*x - mean));
    (mean, F::ONE / (squares / count + F::of(eps)).sqrt())
}

/// y (N, C) of x (N, C), gamma (C), beta (C).
pub fn layer_norm<F: Float>(x: &[F], gamma: &[F], beta: &[F], eps: f64) -> Vec<F> {
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks(gamma.len()) {
        let (mean, rstd) = moments(row, eps);
        for (c, x) in row.iter().enumerate() {
            y.push((*x - mean) * rstd * gamma[c] + beta[c]);
        }
    }
    y
}

/// The gradients of a layer normalisation.
pub struct LayerNormGrads<F> {
    /// (N, C)
    pub dx: Vec<F>,
    /// (C)
    pub dgamma: Vec<F>,
    /// (C)
    pub dbeta: Vec<F>,
}

/// All gradients, from that of y.
pub fn layer_norm_bwd<F: Float>(x: &[F], gamma: &[F], eps: f64, dy: &[F]) -> LayerNormGrads<F> {
    let width = gamma.len();
    let count = F::of(width as f64);
    let mut grads = LayerNormGrads {
        dx: Vec::with_capacity(x.len()),
        dgamma: vec![F::ZERO; width],
        dbeta: vec![F::ZERO; width],
    };
    for (row, dy) in x.chunks(width).zip(dy.chunks(width)) {
        let (mean, rstd) = moments(row, eps);
        let (mut mean_g, mut mean_gn) = (F::ZERO, F::ZERO);
        for c in 0..width {
            let n = (row[c] - mean) * rstd;
            grads.dgamma[c] += dy[c] * n;
            grads.dbeta[c] += dy[c];
            mean_g += dy[c] * gamma[c];
            mean_gn += dy[c] * gamma[c] * n;
        }
        mean_g = mean_g / count;
        mean_gn = mean_gn / count;
        for c in 0..width {
            let n = (row[c] - mean) * rstd;
            grads
                .dx
                .push(rstd * (dy[c] * gamma[c] - mean_g - n * mean_gn));
        }
    }
    grads
}

/// 1 / √(mean square + eps) of a row.
fn rstd<F: Float>(row: &[F], eps: f64) -> F {
    let squares = row.iter().fold(F::ZERO, |sum, x| sum + *x * *x);
    F::ONE / (squares / F::of(row.len() as f64) + F::of(eps)).sqrt()
}

/// y (N, C) of x (N, C), with factors `offset` + gamma (C).
pub fn rms_norm<F: Float>(x: &[F], gamma: &[F], offset: f64, eps: f64) -> Vec<F> {
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks(gamma.len()) {
        let rstd = rstd(row, eps);
        for (c, x) in row.iter().enumerate() {
            y.push(*x * rstd * (F::of(offset) + gamma[c]));
        }
    }
    y
}

/// (dx, dgamma), from the gradient of y.
pub fn rms_norm_bwd<F: Float>(
    x: &[F],
    gamma: &[F],
    offset: f64,
    eps: f64,
    dy: &[F],
) -> (Vec<F>, Vec<F>) {
    let width = gamma.len();
    let (mut dx, mut dgamma) = (Vec::with_capacity(x.len()), vec![F::ZERO; width]);
    for (row, dy) in x.chunks(width).zip(dy.chunks(width)) {
        let rstd = rstd(row, eps);
        let mut mean = F::ZERO;
        for c in 0..width {
            dgamma[c] += dy[c] * row[c] * rstd;
            mean += dy[c] * (F::of(offset) + gamma[c]) * row[c] * rstd;
        }
        mean = mean / F::of(width as f64);
        for c in 0..width {
            dx.push(rstd * (dy[c] * (F::of(offset) + gamma[c]) - row[c] * rstd * mean));
        }
    }
    (dx, dgamma)
}
