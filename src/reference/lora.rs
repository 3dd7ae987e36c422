//! A linear layer with one low-rank update (Hu et al. 2021, equation 3), element by element.

use std::ops::Range;

use super::float::Float;

/// x (n, i), W (o, i) or with `in_out` (i, o), b (o), A (r, i), B (rows, r), y (n, o):
/// `y[n][o] = b[o] + Σ_i x[n][i]·W[o][i] + s·Σ_r B[o][r]·Σ_i drop(x)[n][i]·A[r][i]`, the last for
/// the outputs in `rows` only.
#[derive(Clone, Debug)]
pub struct Lora {
    /// rows of x
    pub n: usize,
    /// width of x
    pub i: usize,
    /// width of y
    pub o: usize,
    /// rank
    pub r: usize,
    /// W is (i, o), as GPT-2 stores it.
    pub in_out: bool,
    /// s
    pub scale: f64,
    /// Outputs that the update adds to.
    pub rows: Range<usize>,
    /// Which elements of x pass on to A, and the probability of those that do not.
    pub keep: Option<(Vec<bool>, f64)>,
}

impl Lora {
    fn w(&self, o: usize, i: usize) -> usize {
        if self.in_out {
            i * self.o + o
        } else {
            o * self.i + i
        }
    }

    /// What x is multiplied by on its way to A.
    fn mask<F: Float>(&self, at: usize) -> F {
        match &self.keep {
            None => F::ONE,
            Some((keep, p)) if keep[at] => F::ONE / F::of(1.0 - p),
            Some(_) => F::ZERO,
        }
    }

    /// y, of the inputs x, W, b, A, B.
    pub fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<F> {
        let [x, w, b, a, up] = inputs else {
            panic!("five inputs")
        };
        let mut y = Vec::with_capacity(self.n * self.o);
        for n in 0..self.n {
            let low: Vec<F> = (0..self.r).map(|r| self.low(x, a, n, r)).collect();
            for o in 0..self.o {
                let mut sum = b[o];
                for i in 0..self.i {
                    sum += x[n * self.i + i] * w[self.w(o, i)];
                }
                if self.rows.contains(&o) {
                    for r in 0..self.r {
                        let up = up[(o - self.rows.start) * self.r + r];
                        sum += F::of(self.scale) * up * low[r];
                    }
                }
                y.push(sum);
            }
        }
        y
    }

    fn low<F: Float>(&self, x: &[F], a: &[F], n: usize, r: usize) -> F {
        let mut sum = F::ZERO;
        for i in 0..self.i {
            let at = n * self.i + i;
            sum += self.mask::<F>(at) * x[at] * a[r * self.i + i];
        }
        sum
    }

    /// Gradients of x, W, b, A, B.
    pub fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[F]) -> Vec<Vec<F>> {
        let [x, w, _, a, up] = inputs else {
            panic!("five inputs")
        };
        let mut grads: Vec<Vec<F>> = inputs.iter().map(|v| vec![F::ZERO; v.len()]).collect();
        for n in 0..self.n {
            let low: Vec<F> = (0..self.r).map(|r| self.low(x, a, n, r)).collect();
            let mut dlow = vec![F::ZERO; self.r];
            for o in 0..self.o {
                let d = dy[n * self.o + o];
                grads[2][o] += d;
                for i in 0..self.i {
                    grads[0][n * self.i + i] += d * w[self.w(o, i)];
                    grads[1][self.w(o, i)] += d * x[n * self.i + i];
                }
                if self.rows.contains(&o) {
                    for r in 0..self.r {
                        let at = (o - self.rows.start) * self.r + r;
                        grads[4][at] += F::of(self.scale) * d * low[r];
                        dlow[r] += F::of(self.scale) * d * up[at];
                    }
                }
            }
            for r in 0..self.r {
                for i in 0..self.i {
                    let at = n * self.i + i;
                    grads[3][r * self.i + i] += dlow[r] * self.mask::<F>(at) * x[at];
                    grads[0][at] += dlow[r] * self.mask::<F>(at) * a[r * self.i + i];
                }
            }
        }
        grads
    }
}
