//! Softmax cross entropy, forward and backward, and the row weights of each objective.

use super::float::Float;
use super::matmul::{MatMul, matmul_bwd, matmul_epilogue};

/// Softmax cross entropy and its gradient.
pub struct CrossEntropy<F> {
    /// Σ_n weight_n · CE_n
    pub loss: F,
    /// `CE_n = logsumexp(logits_n) - logits_n[target_n]`, unweighted; 0 for an ignored row
    pub row_loss: Vec<F>,
    /// logsumexp of each row, ignored ones too
    pub row_lse: Vec<F>,
    /// weight_n · (softmax(logits_n) - onehot(target_n)); 0 for an ignored row
    pub dlogits: Vec<F>,
}

/// logits (N, V); a target below 0 ignores its row. The maximum is taken out before exp.
pub fn cross_entropy<F: Float>(logits: &[F], targets: &[i32], weights: &[F]) -> CrossEntropy<F> {
    let rows = targets.len();
    assert_eq!(weights.len(), rows, "weights");
    let v = logits.len() / rows;
    let mut out = CrossEntropy {
        loss: F::ZERO,
        row_loss: vec![F::ZERO; rows],
        row_lse: vec![F::ZERO; rows],
        dlogits: vec![F::ZERO; logits.len()],
    };
    for (n, row) in logits.chunks(v).enumerate() {
        let largest = row.iter().copied().fold(row[0], F::max);
        let sum = row
            .iter()
            .fold(F::ZERO, |sum, x| sum + (*x - largest).exp());
        out.row_lse[n] = largest + sum.ln();
        let Ok(target) = usize::try_from(targets[n]) else {
            continue;
        };
        out.row_loss[n] = sum.ln() - (row[target] - largest);
        out.loss += weights[n] * out.row_loss[n];
        for (c, x) in row.iter().enumerate() {
            let hit = if c == target { F::ONE } else { F::ZERO };
            out.dlogits[n * v + c] = weights[n] * ((*x - largest).exp() / sum - hit);
        }
    }
    out
}

/// The loss of targets of which the share `e` is spread evenly over all V classes, and its gradient
/// in the logits: (1 - e) CE(target) + e / V Σ_v CE(v), as torch.nn.CrossEntropyLoss has it.
pub fn smoothed_cross_entropy<F: Float>(
    logits: &[F],
    targets: &[i32],
    weights: &[F],
    e: f64,
) -> (F, Vec<F>) {
    let v = logits.len() / targets.len();
    let hard = cross_entropy(logits, targets, weights);
    let hard_share = F::of(1.0 - e);
    let mut loss = hard_share * hard.loss;
    let mut dlogits: Vec<F> = hard.dlogits.iter().map(|g| hard_share * *g).collect();
    for class in 0..v {
        let all = |t: &i32| if *t < 0 { *t } else { class as i32 };
        let targets: Vec<i32> = targets.iter().map(all).collect();
        let spread = cross_entropy(logits, &targets, weights);
        let share = F::of(e / v as f64);
        loss += share * spread.loss;
        for (sum, g) in dlogits.iter_mut().zip(spread.dlogits) {
            *sum += share * g;
        }
    }
    (loss, dlogits)
}

/// 1 / (number of rows that count) for those, 0 for ignored rows: the mean. All 0 if none counts.
pub fn mean_weights<F: Float>(targets: &[i32]) -> Vec<F> {
    let count = targets.iter().filter(|t| **t >= 0).count().max(1);
    let weight = |t: &i32| {
        if *t >= 0 {
            F::ONE / F::of(count as f64)
        } else {
            F::ZERO
        }
    };
    targets.iter().map(weight).collect()
}

/// (T, B): the linear gain (Dai & Le 2015, §2.3). In a row of n words time t, counted from 1, weighs
/// t / n; a row's weights are scaled to sum to 1, and all by 1/B.
pub fn linear_gain_weights<F: Float>(t: usize, lengths: &[u32]) -> Vec<F> {
    let batch = lengths.len();
    let mut weights = vec![F::ZERO; t * batch];
    for (b, n) in lengths.iter().enumerate() {
        let total = (1..=*n).fold(F::ZERO, |sum, t| sum + F::of(f64::from(t) / f64::from(*n)));
        for t in 1..=*n {
            weights[(t as usize - 1) * batch + b] =
                F::of(f64::from(t) / f64::from(*n)) / total / F::of(batch as f64);
        }
    }
    weights
}

/// The loss of a linear layer, and its gradients.
pub struct LinearCrossEntropy<F> {
    /// Σ of the rows
    pub loss: F,
    /// (N)
    pub row_loss: Vec<F>,
    /// (N, V)
    pub logits: Vec<F>,
    /// (N, C)
    pub dx: Vec<F>,
    /// (V, C)
    pub dw: Vec<F>,
    /// (V)
    pub dbias: Vec<F>,
}

/// x (N, C) · W (V, C)ᵀ + bias (V), softmax cross entropy against the targets, and all gradients.
pub fn linear_cross_entropy<F: Float>(
    x: &[F],
    w: &[F],
    bias: Option<&[F]>,
    targets: &[i32],
    weights: &[F],
) -> LinearCrossEntropy<F> {
    let n = targets.len();
    let c = x.len() / n;
    let shape = MatMul::nt(n, w.len() / c, c);
    let logits = matmul_epilogue(&shape, x, w, bias, None);
    let ce = cross_entropy(&logits, targets, weights);
    let grads = matmul_bwd(&shape, x, w, &ce.dlogits);
    LinearCrossEntropy {
        loss: ce.loss,
        row_loss: ce.row_loss,
        logits,
        dx: grads.da,
        dw: grads.db,
        dbias: grads.dbias,
    }
}

/// The same against targets of which the share `e` is spread over all: the loss, and the gradients of x, w and
/// bias.
pub fn smoothed_linear_cross_entropy<F: Float>(
    x: &[F],
    w: &[F],
    bias: Option<&[F]>,
    targets: &[i32],
    weights: &[F],
    e: f64,
) -> (F, [Vec<F>; 3]) {
    let n = targets.len();
    let c = x.len() / n;
    let shape = MatMul::nt(n, w.len() / c, c);
    let logits = matmul_epilogue(&shape, x, w, bias, None);
    let (loss, dlogits) = smoothed_cross_entropy(&logits, targets, weights, e);
    let grads = matmul_bwd(&shape, x, w, &dlogits);
    (loss, [grads.da, grads.db, grads.dbias])
}

/// Losses of an output and a target each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetLoss {
    /// max(z, 0) - z t + ln(1 + exp(-|z|)), as torch.nn.BCEWithLogitsLoss
    BinaryCrossEntropy,
    /// (z - t)²
    SquaredError,
}

/// Σ_n weight_n Σ_k f(z_nk, t_nk), and its gradient by z. Rows of weight 0 are not looked at.
pub fn target_loss<F: Float>(f: TargetLoss, z: &[F], targets: &[F], weights: &[F]) -> (F, Vec<F>) {
    let width = z.len() / weights.len();
    let (mut loss, mut dz) = (F::ZERO, vec![F::ZERO; z.len()]);
    for (i, (z, t)) in z.iter().zip(targets).enumerate() {
        let weight = weights[i / width];
        if weight == F::ZERO {
            continue;
        }
        let (value, slope) = match f {
            TargetLoss::BinaryCrossEntropy => {
                let rest = (F::ONE + (-z.abs()).exp()).ln();
                (z.max(F::ZERO) - *z * *t + rest, z.sigmoid() - *t)
            }
            TargetLoss::SquaredError => ((*z - *t) * (*z - *t), F::of(2.0) * (*z - *t)),
        };
        loss += weight * value;
        dz[i] = weight * slope;
    }
    (loss, dz)
}
