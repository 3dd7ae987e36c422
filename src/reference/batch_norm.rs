//! Batch normalisation (Ioffe and Szegedy 2015, algorithms 1 and 2), its running statistics as PyTorch's.

use super::float::Float;

/// Means and biased variances of the columns of x (R, C).
pub fn moments<F: Float>(x: &[F], width: usize) -> [Vec<F>; 2] {
    let count = F::of((x.len() / width) as f64);
    let mut mean = vec![F::ZERO; width];
    for (i, x) in x.iter().enumerate() {
        mean[i % width] += *x;
    }
    mean.iter_mut().for_each(|m| *m = *m / count);
    let mut var = vec![F::ZERO; width];
    for (i, x) in x.iter().enumerate() {
        let d = *x - mean[i % width];
        var[i % width] += d * d;
    }
    var.iter_mut().for_each(|v| *v = *v / count);
    [mean, var]
}

/// Running statistics after a batch x: (1 − momentum) of what they were, and of the batch's mean and unbiased
/// variance the rest.
pub fn running<F: Float>(x: &[F], [mean, var]: [&[F]; 2], momentum: f64) -> [Vec<F>; 2] {
    let (width, share) = (mean.len(), F::of(momentum));
    let rows = x.len() / width;
    let [own_mean, own_var] = moments(x, width);
    let unbiased = F::of(rows as f64) / F::of(rows as f64 - 1.0);
    let mixed = |old: &[F], new: &[F], factor: F| {
        let both = old.iter().zip(new);
        both.map(|(o, n)| (F::ONE - share) * *o + share * *n * factor)
            .collect()
    };
    [
        mixed(mean, &own_mean, F::ONE),
        mixed(var, &own_var, unbiased),
    ]
}

/// y (R, C) by these means and variances.
pub fn normalise<F: Float>(
    x: &[F],
    [mean, var]: [&[F]; 2],
    [gamma, beta]: [&[F]; 2],
    eps: f64,
) -> Vec<F> {
    let width = mean.len();
    let one = |(i, x): (usize, &F)| {
        let c = i % width;
        (*x - mean[c]) / (var[c] + F::of(eps)).sqrt() * gamma[c] + beta[c]
    };
    x.iter().enumerate().map(one).collect()
}

/// Gradients of x, gamma and beta; `own` where the statistics are those of x itself, which change with it.
pub fn normalise_bwd<F: Float>(
    x: &[F],
    [mean, var]: [&[F]; 2],
    gamma: &[F],
    eps: f64,
    own: bool,
    dy: &[F],
) -> [Vec<F>; 3] {
    let width = mean.len();
    let count = F::of((x.len() / width) as f64);
    let rstd: Vec<F> = (var.iter())
        .map(|v| F::ONE / (*v + F::of(eps)).sqrt())
        .collect();
    let (mut dgamma, mut dbeta) = (vec![F::ZERO; width], vec![F::ZERO; width]);
    for (i, dy) in dy.iter().enumerate() {
        let c = i % width;
        dgamma[c] += *dy * (x[i] - mean[c]) * rstd[c];
        dbeta[c] += *dy;
    }
    let one = |(i, dy): (usize, &F)| {
        let c = i % width;
        let n = (x[i] - mean[c]) * rstd[c];
        let through = (dbeta[c] + n * dgamma[c]) / count;
        gamma[c] * rstd[c] * if own { *dy - through } else { *dy }
    };
    let dx = dy.iter().enumerate().map(one).collect();
    [dx, dgamma, dbeta]
}
