//! Learning-rate schedules: pure functions of (step, total steps), so a resumed run needs no
//! state to continue one.

use serde::{Deserialize, Serialize};

/// How the learning rate moves over a stage, as a factor of the stage's `lr`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The same rate throughout, after an optional linear warm-up.
    Constant {
        /// Share of all steps spent rising from 0 to `lr`; 0 ≤ warmup < 1.
        #[serde(default)]
        warmup: f64,
    },
    /// Linear warm-up, then linear decay to `end` × lr at the last step.
    Linear {
        /// Share of all steps spent rising from 0 to `lr`.
        #[serde(default)]
        warmup: f64,
        /// Factor of `lr` reached at the end.
        #[serde(default)]
        end: f64,
    },
    /// Linear warm-up, then half a cosine down to `end` × lr (Loshchilov & Hutter 2017, eq. 5,
    /// without restarts).
    Cosine {
        /// Share of all steps spent rising from 0 to `lr`.
        #[serde(default)]
        warmup: f64,
        /// Factor of `lr` reached at the end.
        #[serde(default)]
        end: f64,
    },
    /// Slanted triangular (Howard & Ruder 2018, ULMFiT, eq. 3): a short rise, a long fall.
    SlantedTriangular {
        /// Share of all steps spent rising.
        #[serde(default = "default_cut_frac")]
        cut_frac: f64,
        /// How many times smaller the lowest rate is than the highest.
        #[serde(default = "default_ratio")]
        ratio: f64,
    },
}

fn default_cut_frac() -> f64 {
    0.1
}

fn default_ratio() -> f64 {
    32.0
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant { warmup: 0.0 }
    }
}

impl Schedule {
    /// The factor of the stage's learning rate at `step` (1 is the first) of `total` steps.
    ///
    /// Steps outside `1..=total` are clamped, so the result always lies in `0.0..=1.0`.
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        let total = total.max(1);
        let step = step.clamp(1, total);
        match *self {
            Self::Constant { warmup } => rise(step, total, warmup).unwrap_or(1.0),
            Self::Linear { warmup, end } => rise(step, total, warmup)
                .unwrap_or_else(|| 1.0 + (end - 1.0) * progress(step, total, warmup)),
            Self::Cosine { warmup, end } => rise(step, total, warmup).unwrap_or_else(|| {
                let turn = (std::f64::consts::PI * progress(step, total, warmup)).cos();
                end + (1.0 - end) * 0.5 * (1.0 + turn)
            }),
            Self::SlantedTriangular { cut_frac, ratio } => {
                // The paper counts t from 0; at least one step rises, so `cut` is never 0.
                let t = (step - 1) as f64;
                let cut = (total as f64 * cut_frac).floor().max(1.0);
                let p = if t < cut {
                    t / cut
                } else {
                    1.0 - (t - cut) / (total as f64 - cut).max(1.0)
                };
                (1.0 + p * (ratio - 1.0)) / ratio
            }
        }
    }

    /// What is wrong with the numbers, if anything, as `(key, message)`.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let share = |key, value: f64| {
            (!(0.0..1.0).contains(&value)).then(|| {
                (
                    key,
                    format!("{value} is not a share of the steps; expected 0 ≤ {key} < 1"),
                )
            })
        };
        match *self {
            Self::Constant { warmup } => share("warmup", warmup),
            Self::Linear { warmup, end } | Self::Cosine { warmup, end } => share("warmup", warmup)
                .or_else(|| {
                    (!(0.0..=1.0).contains(&end))
                        .then(|| ("end", format!("{end} is not a factor in 0 ≤ end ≤ 1")))
                }),
            Self::SlantedTriangular { cut_frac, ratio } => {
                share("cut_frac", cut_frac).or_else(|| {
                    (!(ratio >= 1.0 && ratio.is_finite())).then(|| {
                        (
                            "ratio",
                            format!("{ratio} is not a finite number of at least 1"),
                        )
                    })
                })
            }
        }
    }
}

/// Steps of a warm-up that takes the share `warmup` of `total`.
fn warmup_steps(total: u64, warmup: f64) -> u64 {
    (total as f64 * warmup).round() as u64
}

/// The factor during the warm-up, or nothing after it. Step 1 already moves the weights.
fn rise(step: u64, total: u64, warmup: f64) -> Option<f64> {
    let steps = warmup_steps(total, warmup);
    (step <= steps).then(|| step as f64 / steps as f64)
}

/// How much of the part after the warm-up is done: 0 at its beginning, 1 at the last step.
fn progress(step: u64, total: u64, warmup: f64) -> f64 {
    let steps = warmup_steps(total, warmup);
    let length = (total - steps).max(1) as f64;
    (step - steps) as f64 / length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn constant_rises_then_stays() {
        let s = Schedule::Constant { warmup: 0.2 };
        near(s.factor(1, 10), 0.5);
        near(s.factor(2, 10), 1.0);
        near(s.factor(10, 10), 1.0);
        near(Schedule::default().factor(1, 10), 1.0);
    }

    #[test]
    fn linear_ends_where_it_says() {
        let s = Schedule::Linear {
            warmup: 0.2,
            end: 0.1,
        };
        near(s.factor(2, 10), 1.0);
        near(s.factor(6, 10), 0.55);
        near(s.factor(10, 10), 0.1);
    }

    #[test]
    fn cosine_is_half_way_down_in_the_middle() {
        let s = Schedule::Cosine {
            warmup: 0.0,
            end: 0.0,
        };
        near(s.factor(5, 10), 0.5);
        near(s.factor(10, 10), 0.0);
    }

    #[test]
    fn slanted_triangular_follows_the_paper() {
        // T = 100, cut_frac = 0.1, ratio = 32: eq. 3 by hand.
        let s = Schedule::SlantedTriangular {
            cut_frac: 0.1,
            ratio: 32.0,
        };
        near(s.factor(1, 100), 1.0 / 32.0);
        near(s.factor(6, 100), (1.0 + 0.5 * 31.0) / 32.0);
        near(s.factor(11, 100), 1.0);
        near(s.factor(56, 100), (1.0 + 0.5 * 31.0) / 32.0);
    }

    #[test]
    fn any_step_gives_a_factor_between_0_and_1() {
        let all = [
            Schedule::Constant { warmup: 0.9 },
            Schedule::Linear {
                warmup: 0.99,
                end: 0.0,
            },
            Schedule::Cosine {
                warmup: 0.5,
                end: 1.0,
            },
            Schedule::SlantedTriangular {
                cut_frac: 0.0,
                ratio: 1.0,
            },
            Schedule::SlantedTriangular {
                cut_frac: 0.99,
                ratio: 32.0,
            },
        ];
        for schedule in all {
            for total in [0, 1, 2, 3, 100] {
                for step in 0..=total + 1 {
                    let f = schedule.factor(step, total);
                    assert!((0.0..=1.0).contains(&f), "{schedule:?} {step}/{total}: {f}");
                }
            }
        }
    }

    #[test]
    fn impossible_numbers_are_named() {
        assert_eq!(
            Schedule::Constant { warmup: 1.0 }.problem().unwrap().0,
            "warmup"
        );
        assert_eq!(
            Schedule::Cosine {
                warmup: 0.0,
                end: 2.0
            }
            .problem()
            .unwrap()
            .0,
            "end"
        );
        let s = Schedule::SlantedTriangular {
            cut_frac: 0.1,
            ratio: f64::NAN,
        };
        assert_eq!(s.problem().unwrap().0, "ratio");
        assert!(Schedule::default().problem().is_none());
    }
}
