//! Curves from a log's lines: smoothed, thinned, and several units as one band.

use serde_json::Value;

use crate::objectives::scores::Scores;
use crate::train::report::{Measure, measure};

/// (step, value)
pub type Point = (f64, f64);

/// Points that are drawn of a curve, at most.
const POINTS: usize = 240;

/// What the log says of one unit.
#[derive(Debug, Default)]
pub struct UnitLog {
    pub loss: Vec<Point>,
    pub rate: Vec<Point>,
    /// Validation.
    pub scores: Vec<(f64, Scores)>,
}

impl UnitLog {
    /// Of the lines about `unit`; what a line lacks or has wrong is left out.
    pub fn of(lines: &[Value], unit: &str) -> Self {
        let mut log = Self::default();
        for line in lines.iter().filter(|line| line["unit"] == unit) {
            let Some(step) = line["step"].as_f64() else {
                continue;
            };
            if let Some(loss) = line["loss"].as_f64() {
                log.loss.push((step, loss));
            }
            if let Some(rate) = line["lr"].as_f64() {
                log.rate.push((step, rate));
            }
            if line["split"] == "validation"
                && let Ok(scores) = serde_json::from_value(line["scores"].clone())
            {
                log.scores.push((step, scores));
            }
        }
        log
    }

    /// The loss on validation texts.
    pub fn validation(&self) -> Vec<Point> {
        self.scores
            .iter()
            .map(|(step, s)| (*step, s.loss))
            .collect()
    }

    /// The measure that says most about what is learned.
    pub fn measures(&self) -> Vec<(f64, Measure)> {
        let measure = |(step, scores): &(f64, Scores)| Some((*step, measure(scores)?));
        self.scores.iter().filter_map(measure).collect()
    }
}

/// An exponential mean over about a fortieth of the points, or five, unbiased at its beginning, and thinned.
pub fn smooth(points: &[Point]) -> Vec<Point> {
    let span = (points.len() as f64 / 40.0).max(5.0);
    let decay = 1.0 - 2.0 / (span + 1.0);
    let (mut mean, mut weight) = (0.0, 0.0);
    let smoothed = points.iter().map(|&(step, value)| {
        mean = decay * mean + (1.0 - decay) * value;
        weight = decay * weight + (1.0 - decay);
        (step, mean / weight)
    });
    let smoothed: Vec<Point> = smoothed.collect();
    let every = smoothed.len().div_ceil(POINTS).max(1);
    let last = smoothed.len().saturating_sub(1);
    let kept =
        |(at, point): (usize, Point)| (at.is_multiple_of(every) || at == last).then_some(point);
    smoothed.into_iter().enumerate().filter_map(kept).collect()
}

/// The lowest and the highest point of each stretch: as rough as all of them.
pub fn rough(points: &[Point]) -> Vec<Point> {
    let every = points.len().div_ceil(POINTS).max(1);
    if every < 3 {
        return points.to_vec();
    }
    let mut kept = Vec::new();
    for stretch in points.chunks(every) {
        let by_value = |a: &&Point, b: &&Point| a.1.total_cmp(&b.1);
        let ends = [
            stretch.iter().min_by(by_value),
            stretch.iter().max_by(by_value),
        ];
        let mut ends: Vec<Point> = ends.into_iter().flatten().copied().collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        kept.append(&mut ends);
    }
    kept
}

/// Several units at one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub step: f64,
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

/// Units together, at the steps of the first of them that the others have reached.
pub fn band(units: &[Vec<Point>]) -> Vec<Spread> {
    let Some((first, others)) = units.split_first() else {
        return Vec::new();
    };
    let together = first.iter().filter_map(|&(step, value)| {
        let mut values = vec![value];
        for unit in others {
            let at = unit.partition_point(|p| p.0 <= step);
            values.push(unit.get(at.checked_sub(1)?)?.1);
        }
        Some(Spread {
            step,
            mean: values.iter().sum::<f64>() / values.len() as f64,
            low: values.iter().copied().fold(f64::MAX, f64::min),
            high: values.iter().copied().fold(f64::MIN, f64::max),
        })
    });
    together.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smooth_curve_keeps_constants_and_ends() {
        let flat: Vec<Point> = (1..=1000).map(|n| (f64::from(n), 2.5)).collect();
        let smooth = smooth(&flat);
        assert!(smooth.len() <= POINTS + 1, "{}", smooth.len());
        assert!(smooth.iter().all(|p| (p.1 - 2.5).abs() < 1e-12));
        assert_eq!((smooth[0].0, smooth[smooth.len() - 1].0), (1.0, 1000.0));
    }

    #[test]
    fn a_rough_curve_keeps_its_peaks() {
        let mut points: Vec<Point> = (0..5000).map(|n| (f64::from(n), 1.0)).collect();
        (points[1234].1, points[4321].1) = (9.0, -9.0);
        let rough = rough(&points);
        assert!(rough.len() <= 2 * POINTS);
        assert!(rough.contains(&(1234.0, 9.0)) && rough.contains(&(4321.0, -9.0)));
        assert!(rough.is_sorted_by(|a, b| a.0 <= b.0));
    }

    #[test]
    fn a_band_ends_where_a_unit_has_not_begun() {
        let units = [
            vec![(1.0, 4.0), (5.0, 2.0), (9.0, 1.0)],
            vec![(4.0, 6.0), (9.0, 3.0)],
        ];
        let expected = [(5.0, 4.0, 2.0, 6.0), (9.0, 2.0, 1.0, 3.0)];
        let found = band(&units);
        let found: Vec<_> = found
            .iter()
            .map(|s| (s.step, s.mean, s.low, s.high))
            .collect();
        assert_eq!(found, expected);
    }
}
