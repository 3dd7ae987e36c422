//! How the next token is chosen.

use crate::error::{Error, Result};
use crate::text::rng::Rng;

pub(super) const OP: &str = "generate";

/// How the next token is chosen; named as in transformers' `generate`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0: always the most probable token.
    pub temperature: f32,
    /// Choose among so many of the most probable tokens; 0: all.
    pub top_k: usize,
    /// Choose among the most probable tokens that have this probability together.
    pub top_p: f32,
    /// Choose among tokens that are at least so many times as probable as the most probable one; 0: all
    /// (Nguyen et al. 2024).
    pub min_p: f32,
    /// Tokens that stand there already become so many times less likely (Keskar et al. 2019).
    pub repetition_penalty: f32,
    /// Seed of the draws.
    pub seed: u64,
    /// Most tokens to write.
    pub max_tokens: usize,
    /// Texts that end the writing where they appear; they are left out.
    pub stop: Vec<String>,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_k: 50,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 1,
            max_tokens: 100,
            stop: Vec::new(),
        }
    }
}

impl Sampling {
    pub(super) fn check(&self) -> Result<()> {
        let (temperature, top_p, min_p) = (self.temperature, self.top_p, self.min_p);
        let penalty = self.repetition_penalty;
        let (arg, value, expected) = if !(temperature >= 0.0 && temperature.is_finite()) {
            ("temperature", temperature, "0 or a positive number")
        } else if !(top_p > 0.0 && top_p <= 1.0) {
            ("top_p", top_p, "more than 0, at most 1")
        } else if !(0.0..=1.0).contains(&min_p) {
            ("min_p", min_p, "0 to 1")
        } else if !(penalty > 0.0 && penalty.is_finite()) {
            ("repetition_penalty", penalty, "a positive number")
        } else {
            return Ok(());
        };
        Err(Error::argument(OP, arg, value, expected))
    }

    /// The next token for these logits, after the tokens `before`.
    pub(super) fn choose(&self, logits: &mut [f32], before: &[u32], rng: &mut Rng) -> u32 {
        let all = self.candidates(logits, before);
        let mut left = rng.unit() * all.iter().map(|(_, weight)| weight).sum::<f64>();
        for (id, weight) in &all {
            left -= weight;
            if left < 0.0 {
                return *id;
            }
        }
        all.last().map_or(0, |(id, _)| *id)
    }

    /// The tokens to choose among for these logits, after the tokens `before`: the most probable first, each with
    /// how many times as probable as that it is.
    pub fn candidates(&self, logits: &mut [f32], before: &[u32]) -> Vec<(u32, f64)> {
        if self.repetition_penalty != 1.0 {
            let mut seen = before.to_vec();
            seen.sort_unstable();
            seen.dedup();
            for id in seen {
                if let Some(z) = logits.get_mut(id as usize) {
                    *z = if *z > 0.0 {
                        *z / self.repetition_penalty
                    } else {
                        *z * self.repetition_penalty
                    };
                }
            }
        }
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let logit = |id: &u32| logits[*id as usize];
        if self.temperature == 0.0 {
            // The first of equals.
            let last = order.iter().rev();
            let best = last.max_by(|a, b| logit(a).total_cmp(&logit(b)));
            return best.map(|id| (*id, 1.0)).into_iter().collect();
        }
        order.sort_by(|a, b| logit(b).total_cmp(&logit(a)));
        if self.top_k > 0 {
            order.truncate(self.top_k);
        }
        let peak = order.first().map_or(0.0, logit);
        let temperature = f64::from(self.temperature);
        let weight = |id: &u32| (f64::from(logit(id) - peak) / temperature).exp();
        let mut all: Vec<(u32, f64)> = order.iter().map(|id| (*id, weight(id))).collect();
        let sum: f64 = all.iter().map(|(_, weight)| weight).sum();
        // Those before which less than top_p is reached: at least one.
        let (mut kept, mut mass) = (0, 0.0);
        while kept < all.len() && (kept == 0 || mass < f64::from(self.top_p) * sum) {
            mass += all[kept].1;
            kept += 1;
        }
        all.truncate(kept);
        all.retain(|(_, weight)| *weight >= self.min_p.into());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(sampling: &Sampling, logits: &[f32], before: &[u32]) -> Vec<u32> {
        let mut rng = Rng::new(sampling.seed, &[1]);
        let choose = |_| sampling.choose(&mut logits.to_vec(), before, &mut rng);
        (0..4000).map(choose).collect()
    }

    #[test]
    fn draws_follow_temperature_top_k_and_top_p() {
        let logits = [0.0, 2f32.ln(), 5f32.ln(), 0.0];
        let all = Sampling {
            top_k: 0,
            ..Sampling::default()
        };
        let share = |draws: &[u32], id| {
            draws.iter().filter(|&&d| d == id).count() as f64 / draws.len() as f64
        };
        let found = draws(&all, &logits, &[]);
        // 4 standard deviations of a share of 4000 draws are at most 0.032.
        for (id, want) in [(0, 1.0), (1, 2.0), (2, 5.0), (3, 1.0)] {
            assert!((share(&found, id) - want / 9.0).abs() < 0.032, "{id}");
        }
        let greedy = Sampling {
            temperature: 0.0,
            ..all.clone()
        };
        assert!(draws(&greedy, &logits, &[]).iter().all(|&d| d == 2));
        let two = Sampling {
            top_k: 2,
            ..all.clone()
        };
        let found = draws(&two, &logits, &[]);
        assert_eq!(share(&found, 1) + share(&found, 2), 1.0);
        assert!((share(&found, 2) - 5.0 / 7.0).abs() < 0.032);
        // 5/9 alone is less than 0.6, with 2/9 more than it.
        let nucleus = Sampling {
            top_p: 0.6,
            ..all.clone()
        };
        let found = draws(&nucleus, &logits, &[]);
        assert_eq!(share(&found, 1) + share(&found, 2), 1.0);
        assert!(share(&found, 1) > 0.2);
        let penalised = Sampling {
            repetition_penalty: 100.0,
            temperature: 0.0,
            ..all
        };
        assert!(draws(&penalised, &logits, &[2]).iter().all(|&d| d == 1));
    }
}
