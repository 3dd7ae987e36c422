//! Embedding: a gather forward, a scatter-add backward.

use super::float::Float;

/// y (N, C): row `ids[n]` of the table (V, C).
pub fn embedding<F: Float>(table: &[F], width: usize, ids: &[u32]) -> Vec<F> {
    ids.iter()
        .flat_map(|id| &table[*id as usize * width..][..width])
        .copied()
        .collect()
}

/// dtable (V, C): every row of dy (N, C) added to the row it came from, in the order of n.
pub fn embedding_bwd<F: Float>(ids: &[u32], dy: &[F], vocabulary: usize, width: usize) -> Vec<F> {
    let mut dtable = vec![F::ZERO; vocabulary * width];
    for (n, id) in ids.iter().enumerate() {
        for c in 0..width {
            dtable[*id as usize * width + c] += dy[n * width + c];
        }
    }
    dtable
}
