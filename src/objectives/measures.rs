//! The formulas of metrics that are more than a share: of a confusion matrix, and of numbers.

/// Matthews' correlation of a confusion matrix, for any number of classes (Gorodkin 2004); 0 where one
/// side does not vary, as scikit-learn has it.
pub fn mcc(confusion: &[Vec<u64>]) -> f64 {
    let k = confusion.len();
    let there: Vec<f64> = (confusion.iter())
        .map(|row| row.iter().sum::<u64>() as f64)
        .collect();
    let said: Vec<f64> = (0..k)
        .map(|c| confusion.iter().map(|row| row[c]).sum::<u64>() as f64)
        .collect();
    let right: u64 = (0..k).map(|c| confusion[c][c]).sum();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let all: f64 = there.iter().sum();
    let of = |a: &[f64], b: &[f64]| all * all - dot(a, b);
    let spread = of(&said, &said) * of(&there, &there);
    if spread == 0.0 {
        return 0.0;
    }
    (right as f64 * all - dot(&there, &said)) / spread.sqrt()
}

/// Pearson's correlation; `None` where one side does not vary.
pub fn pearson(pairs: &[(f64, f64)]) -> Option<f64> {
    let n = pairs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / n;
    let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        xy += (x - mx) * (y - my);
        xx += (x - mx).powi(2);
        yy += (y - my).powi(2);
    }
    // One root each: their product may be too large or too small.
    (xx > 0.0 && yy > 0.0).then(|| (xy / xx.sqrt() / yy.sqrt()).clamp(-1.0, 1.0))
}

/// Spearman's correlation: Pearson's of the ranks; equal numbers share the mean of theirs.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    let side = |of: fn(&(f64, f64)) -> f64| ranks(&pairs.iter().map(of).collect::<Vec<_>>());
    let (x, y) = (side(|p| p.0), side(|p| p.1));
    pearson(&x.into_iter().zip(y).collect::<Vec<_>>())
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    for same in order.chunk_by(|&a, &b| values[a] == values[b]) {
        // `total_cmp` parts 0 from -0, `==` does not: both stand side by side.
        let first = order.partition_point(|&at| values[at] < values[same[0]]);
        let rank = first as f64 + (same.len() as f64 + 1.0) / 2.0;
        same.iter().for_each(|&at| ranks[at] = rank);
    }
    ranks
}

/// Mean squared difference.
pub fn mse(pairs: &[(f64, f64)]) -> Option<f64> {
    mean_of(pairs, |d| d * d)
}

/// Mean absolute difference.
pub fn mae(pairs: &[(f64, f64)]) -> Option<f64> {
    mean_of(pairs, f64::abs)
}

fn mean_of(pairs: &[(f64, f64)], of: fn(f64) -> f64) -> Option<f64> {
    let sum: f64 = pairs.iter().map(|(t, y)| of(t - y)).sum();
    (!pairs.is_empty()).then(|| sum / pairs.len() as f64)
}

/// Share of the truth's variance that is explained, 1 − Σ(t − y)² / Σ(t − t̄)². Of a truth that does not
/// vary 1 where all is right and 0 where it is not, as scikit-learn has it; `None` for less than two.
pub fn r2(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.len() < 2 {
        return None;
    }
    let mean = pairs.iter().map(|p| p.0).sum::<f64>() / pairs.len() as f64;
    let left: f64 = pairs.iter().map(|(t, y)| (t - y).powi(2)).sum();
    let all: f64 = pairs.iter().map(|(t, _)| (t - mean).powi(2)).sum();
    Some(match (left == 0.0, all == 0.0) {
        (true, _) => 1.0,
        (false, true) => 0.0,
        (false, false) => 1.0 - left / all,
    })
}
