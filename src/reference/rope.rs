//! Rotary position embedding (Su et al. 2021, eq. 34), the halves of a head as pairs.

use super::float::Float;

/// y (N, NH, D) of x: of each row its heads' columns i and i + R/2 turned by `turns` (N, R/2), its own
/// cosines and sines; the other way round with `inverse`, which is the gradient.
pub fn rope<F: Float>(
    x: &[F],
    [heads, width]: [usize; 2],
    turns: &[Vec<[f32; 2]>],
    inverse: bool,
) -> Vec<F> {
    let mut y = x.to_vec();
    for (n, turns) in turns.iter().enumerate() {
        for h in 0..heads {
            let first = (n * heads + h) * width;
            for (i, [cos, sin]) in turns.iter().enumerate() {
                let (c, s) = (F::of((*cos).into()), F::of((*sin).into()));
                let s = if inverse { -s } else { s };
                let (a, b) = (x[first + i], x[first + i + turns.len()]);
                y[first + i] = c * a - s * b;
                y[first + i + turns.len()] = c * b + s * a;
            }
        }
    }
    y
}
