//! Attention, literally: a whole row of weights for each query, row by row.

use super::float::Float;

/// Sizes and settings of one attention.
#[derive(Clone, Debug)]
pub struct Attention {
    /// B
    pub batch: usize,
    /// T
    pub queries: usize,
    /// S
    pub keys: usize,
    /// NH
    pub heads: usize,
    /// KH: NH / KH neighbouring heads of queries read one of keys and values.
    pub kv_heads: usize,
    /// D
    pub width: usize,
    /// A query sees no key after its own place; the last query stands at the last valid key.
    pub causal: bool,
    /// Keys that a query sees at most, up to its own place.
    pub window: Option<usize>,
    /// Scores become cap · tanh(score / cap).
    pub softcap: Option<f64>,
    /// Keys of each row that count; all without.
    pub lens: Option<Vec<u32>>,
    /// The first key that each query of each row sees (B, T); the very first without.
    pub starts: Option<Vec<u32>>,
    /// Of the scores; 1 / √D without.
    pub scale: Option<f64>,
    /// Factor of each weight (B, NH, T, S), 0 or 1 / (1 - p).
    pub dropout: Option<Vec<f32>>,
}

/// q, k, v or a gradient of them: (B, T, C) or (B, S, C).
type Three<F> = [Vec<F>; 3];

impl Attention {
    /// As many keys as queries, all of them valid, none dropped.
    pub fn new(batch: usize, queries: usize, heads: usize, width: usize) -> Attention {
        Attention {
            batch,
            queries,
            keys: queries,
            heads,
            kv_heads: heads,
            width,
            causal: false,
            window: None,
            softcap: None,
            lens: None,
            starts: None,
            scale: None,
            dropout: None,
        }
    }

    fn sees(&self, b: usize, t: usize, s: usize) -> bool {
        let len = self.lens.as_ref().map_or(self.keys, |l| l[b] as usize);
        let own = len.min(self.keys).saturating_sub(self.queries) + t;
        let near = self.window.is_none_or(|w| s + w > own);
        let begun =
            (self.starts.as_ref()).is_none_or(|all| s >= all[b * self.queries + t] as usize);
        s < len && (!self.causal || s <= own && near && begun)
    }

    fn factor<F: Float>(&self, b: usize, h: usize, t: usize, s: usize) -> F {
        let at = ((b * self.heads + h) * self.queries + t) * self.keys + s;
        self.dropout
            .as_ref()
            .map_or(F::ONE, |m| F::of(m[at].into()))
    }

    fn scale<F: Float>(&self) -> F {
        self.scale
            .map_or(F::ONE / F::of(self.width as f64).sqrt(), F::of)
    }

    /// Where column 0 of a head of queries starts, in (B, T, NH, D).
    fn query(&self, b: usize, t: usize, h: usize) -> usize {
        ((b * self.queries + t) * self.heads + h) * self.width
    }

    /// Where column 0 of the keys, or values, of a head of queries starts, in (B, S, KH, D).
    fn key(&self, b: usize, s: usize, h: usize) -> usize {
        let own = h * self.kv_heads / self.heads;
        ((b * self.keys + s) * self.kv_heads + own) * self.width
    }

    /// (value, slope) of a score, from a product of query and key.
    fn score<F: Float>(&self, dot: F) -> (F, F) {
        let score = self.scale::<F>() * dot;
        match self.softcap {
            Some(cap) => {
                let t = (score / F::of(cap)).tanh();
                (F::of(cap) * t, self.scale::<F>() * (F::ONE - t * t))
            }
            None => (score, self.scale()),
        }
    }

    fn dot<F: Float>(&self, a: &[F], at: usize, b: &[F], bt: usize) -> F {
        let mut sum = F::ZERO;
        for d in 0..self.width {
            sum += a[at + d] * b[bt + d];
        }
        sum
    }

    /// The weights of one query before dropout, 0 for keys that it does not see.
    fn weights<F: Float>(&self, q: &[F], k: &[F], [b, h, t]: [usize; 3]) -> Vec<F> {
        let row = self.query(b, t, h);
        let scores: Vec<Option<F>> = (0..self.keys)
            .map(|s| {
                let dot = || self.dot(q, row, k, self.key(b, s, h));
                self.sees(b, t, s).then(|| self.score(dot()).0)
            })
            .collect();
        let Some(top) = scores.iter().flatten().copied().reduce(F::max) else {
            return vec![F::ZERO; self.keys];
        };
        let mut sum = F::ZERO;
        let powers: Vec<F> = scores
            .iter()
            .map(|score| {
                let power = score.map_or(F::ZERO, |s| (s - top).exp());
                sum += power;
                power
            })
            .collect();
        powers.into_iter().map(|p| p / sum).collect()
    }

    fn each_query(&self, mut each: impl FnMut([usize; 3])) {
        for b in 0..self.batch {
            for h in 0..self.heads {
                for t in 0..self.queries {
                    each([b, h, t]);
                }
            }
        }
    }

    /// (B, T, C)
    pub fn forward<F: Float>(&self, [q, k, v]: [&[F]; 3]) -> Vec<F> {
        let mut out = vec![F::ZERO; q.len()];
        self.each_query(|[b, h, t]| {
            let weights = self.weights(q, k, [b, h, t]);
            let row = self.query(b, t, h);
            for (s, weight) in weights.into_iter().enumerate() {
                if self.sees(b, t, s) {
                    let weight = weight * self.factor(b, h, t, s);
                    for d in 0..self.width {
                        out[row + d] += weight * v[self.key(b, s, h) + d];
                    }
                }
            }
        });
        out
    }

    /// dq, dk, dv
    pub fn backward<F: Float>(&self, [q, k, v]: [&[F]; 3], dout: &[F]) -> Three<F> {
        let zeros = |x: &[F]| vec![F::ZERO; x.len()];
        let (mut dq, mut dk, mut dv) = (zeros(q), zeros(k), zeros(v));
        self.each_query(|[b, h, t]| {
            let weights = self.weights(q, k, [b, h, t]);
            let row = self.query(b, t, h);
            let seen: Vec<usize> = (0..self.keys).filter(|s| self.sees(b, t, *s)).collect();
            // Gradients of the weights before dropout, and their mean under the weights.
            let mut dweights = vec![F::ZERO; self.keys];
            let mut mean = F::ZERO;
            for &s in &seen {
                let key = self.key(b, s, h);
                let factor: F = self.factor(b, h, t, s);
                for d in 0..self.width {
                    dv[key + d] += weights[s] * factor * dout[row + d];
                }
                dweights[s] = factor * self.dot(dout, row, v, key);
                mean += weights[s] * dweights[s];
            }
            for &s in &seen {
                let key = self.key(b, s, h);
                let slope = self.score(self.dot(q, row, k, key)).1;
                let dscore = slope * weights[s] * (dweights[s] - mean);
                for d in 0..self.width {
                    dq[row + d] += dscore * k[key + d];
                    dk[key + d] += dscore * q[row + d];
                }
            }
        });
        [dq, dk, dv]
    }
}
