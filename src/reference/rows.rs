//! Choosing rows and averaging them.

use super::float::Float;

/// (M, C): row `rows[m]` of x (N, C); zeros where that is none of them.
pub fn select_rows<F: Float>(x: &[F], width: usize, rows: &[u32]) -> Vec<F> {
    let row = |row: &u32| match x.chunks(width).nth(*row as usize) {
        Some(values) => values.to_vec(),
        None => vec![F::ZERO; width],
    };
    rows.iter().flat_map(row).collect()
}

/// dx (N, C) by dy (M, C).
pub fn select_rows_bwd<F: Float>(n: usize, width: usize, rows: &[u32], dy: &[F]) -> Vec<F> {
    let mut dx = vec![F::ZERO; n * width];
    for (row, dy) in rows.iter().zip(dy.chunks(width)) {
        if (*row as usize) < n {
            dx[*row as usize * width..][..width].copy_from_slice(dy);
        }
    }
    dx
}

/// (B, C): the mean of the first `lens[b]` of the T rows of x (B, T, C); zeros of none.
pub fn mean_pool<F: Float>(x: &[F], steps: usize, width: usize, lens: &[u32]) -> Vec<F> {
    let mut y = vec![F::ZERO; lens.len() * width];
    for (b, len) in lens.iter().enumerate() {
        let len = (*len as usize).min(steps);
        for c in 0..width {
            let column = (0..len).map(|t| x[(b * steps + t) * width + c]);
            let sum = column.fold(F::ZERO, |sum, x| sum + x);
            y[b * width + c] = sum / F::of(len.max(1) as f64);
        }
    }
    y
}

/// dx (B, T, C) by dy (B, C).
pub fn mean_pool_bwd<F: Float>(steps: usize, width: usize, lens: &[u32], dy: &[F]) -> Vec<F> {
    let mut dx = vec![F::ZERO; lens.len() * steps * width];
    for (b, len) in lens.iter().enumerate() {
        let len = (*len as usize).min(steps);
        for t in 0..len {
            for c in 0..width {
                dx[(b * steps + t) * width + c] = dy[b * width + c] / F::of(len as f64);
            }
        }
    }
    dx
}
