//! Means with their 95 % intervals.

use serde::Serialize;

/// A mean and the half-width or bounds of its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The mean or proportion.
    pub mean: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl Interval {
    /// Half the interval's width.
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }
}

/// Mean of repeated measurements with Student's t interval: mean ± t(0.975, n−1) · s / √n.
///
/// `None` for fewer than two values: one value says nothing about the spread. Folds of a
/// cross-validation share training texts, so their interval is somewhat too narrow.
pub fn student_t(values: &[f64]) -> Option<Interval> {
    let n = values.len();
    if n < 2 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    let half = t_quantile(n - 1) * (variance / n as f64).sqrt();
    Some(Interval {
        mean,
        low: mean - half,
        high: mean + half,
    })
}

/// Proportion `hits / total` with Wilson's score interval (Wilson 1927), which stays within 0
/// and 1 and is right near them. `None` where `total` is 0.
pub fn wilson(hits: u64, total: u64) -> Option<Interval> {
    if total == 0 {
        return None;
    }
    let (n, z2) = (total as f64, Z * Z);
    let p = hits as f64 / n;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    Some(Interval {
        mean: p,
        low: (centre - half).max(0.0),
        high: (centre + half).min(1.0),
    })
}

/// 0.975 quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// 0.975 quantile of Student's t with `freedom` degrees of freedom.
fn t_quantile(freedom: usize) -> f64 {
    const TABLE: [f64; 10] = [
        12.706_204_7,
        4.302_652_73,
        3.182_446_31,
        2.776_445_11,
        2.570_581_84,
        2.446_911_85,
        2.364_624_25,
        2.306_004_14,
        2.262_157_16,
        2.228_138_85,
    ];
    match TABLE.get(freedom.saturating_sub(1)) {
        Some(&t) => t,
        // Cornish-Fisher expansion in 1/n (Abramowitz & Stegun 26.7.5): 1e-5 from n = 11 on.
        None => {
            let n = freedom as f64;
            let (z3, z5, z7) = (Z.powi(3), Z.powi(5), Z.powi(7));
            Z + (z3 + Z) / (4.0 * n)
                + (5.0 * z5 + 16.0 * z3 + 3.0 * Z) / (96.0 * n * n)
                + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * Z) / (384.0 * n.powi(3))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() < tolerance, "{a} is not {b}");
    }

    #[test]
    fn t_quantiles_are_those_of_the_tables() {
        // R: qt(0.975, n)
        for (n, t) in [
            (1, 12.70620),
            (2, 4.302653),
            (9, 2.262157),
            (11, 2.200985),
            (15, 2.131450),
            (29, 2.045230),
            (100, 1.983972),
            (100_000, 1.959988),
        ] {
            near(t_quantile(n), t, 5e-5);
        }
    }

    #[test]
    fn student_interval_by_hand() {
        // mean 20, s = 2, n = 3: 20 ± 4.302653 · 2 / √3
        let i = student_t(&[18.0, 20.0, 22.0]).unwrap();
        near(i.mean, 20.0, 1e-12);
        near(i.half_width(), 4.968_275, 1e-5);
        assert_eq!(student_t(&[1.0]), None);
    }

    #[test]
    fn wilson_interval_by_hand() {
        // Newcombe 1998, table I: 81/263 → 0.2553 to 0.3662; 0/20 → 0 to 0.1611
        let i = wilson(81, 263).unwrap();
        near(i.low, 0.2553, 5e-5);
        near(i.high, 0.3662, 5e-5);
        let i = wilson(0, 20).unwrap();
        near(i.low, 0.0, 1e-12);
        near(i.high, 0.1611, 5e-5);
        assert_eq!(wilson(0, 0), None);
    }
}
