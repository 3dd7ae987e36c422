//! A learning-rate range test (Smith 2017, section 3.3): a few steps under a rate that grows from step to
//! step; where the loss falls fastest is a rate to train with.

use std::path::Path;

use plotters::prelude::*;
use serde::Serialize;

use super::artifacts::curves::OKABE_ITO;
use super::config::RunConfig;
use super::probe::{Probe, ProbeOptions};
use super::report::markdown;
use super::tasks::TaskFactory;
use crate::atomic::write_file;
use crate::error::{Error, Result};

/// The test ends where the loss is this much above its lowest.
const BEYOND: f64 = 4.0;

/// What each loss counts of the next in their mean.
const DECAY: f64 = 0.9;

/// A mean loss that falls by no more than this share of itself does not fall.
const FALL: f64 = 0.01;

/// Rows of the table, about.
const ROWS: usize = 20;

/// Rates from and to.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The rate of the first step.
    pub from: f64,
    /// The rate of the last.
    pub to: f64,
}

impl Range {
    /// The rate of a step of so many: each a constant factor above the one before.
    fn at(self, step: u64, of: u64) -> f64 {
        let share = (step - 1) as f64 / (of.max(2) - 1) as f64;
        self.from * (self.to / self.from).powf(share)
    }
}

/// A step of the test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tried {
    /// Its rate.
    pub lr: f64,
    /// The loss of its batch, before its update.
    pub loss: f64,
    /// The exponential mean of the losses up to it.
    pub smooth: f64,
}

/// What the test found.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// The stage.
    pub stage: String,
    /// The steps, up to where the loss went beyond all bounds.
    pub steps: Vec<Tried>,
    /// The rate at which the loss falls fastest; `None` where it never fell.
    pub suggested: Option<f64>,
}

/// Tries the rates of a range on a stage. Nothing that is learned is kept.
///
/// # Errors
/// [`Error::ConfigValue`] for a range that does not rise; those of preparing and training.
pub fn find(
    config: &RunConfig,
    options: &ProbeOptions<'_>,
    range: Range,
    factory: &mut TaskFactory,
) -> Result<Found> {
    let rises = 0.0 < range.from && range.from < range.to && (range.to as f32).is_finite();
    if !rises {
        let message = "expected positive rates, the first below the last, as --from 1e-7 --to 1";
        return Err(Error::value("--from", message));
    }
    let mut probe = Probe::prepare(config, options, factory)?;
    let rate = |step| range.at(step, options.steps);
    let mut losses = Vec::new();
    let mut lowest = f64::MAX;
    probe.sweep(rate, |loss| {
        losses.push(f64::from(loss));
        let mean = smoothed(&losses).last().copied().unwrap_or(0.0);
        lowest = lowest.min(mean);
        mean.is_finite() && mean <= BEYOND * lowest
    })?;
    let means = smoothed(&losses);
    let tried = (1..).zip(losses.iter().zip(means));
    let tried = tried.map(|(step, (&loss, smooth))| Tried {
        lr: rate(step),
        loss,
        smooth,
    });
    let steps: Vec<Tried> = tried.filter(|t| t.smooth.is_finite()).collect();
    Ok(Found {
        stage: probe.stage().name.clone(),
        suggested: steepest(&steps),
        steps,
    })
}

/// The exponential mean, unbiased at its beginning.
fn smoothed(losses: &[f64]) -> Vec<f64> {
    let (mut sum, mut weight) = (0.0, 0.0);
    let mean = |&loss: &f64| {
        sum = DECAY * sum + (1.0 - DECAY) * loss;
        weight = DECAY * weight + (1.0 - DECAY);
        sum / weight
    };
    losses.iter().map(mean).collect()
}

/// The rate at which the mean loss falls fastest over the rate's logarithm, before it is lowest.
fn steepest(steps: &[Tried]) -> Option<f64> {
    // The first means are of few losses.
    let steps = &steps[steps.len() / 10..];
    let (first, by_loss) = (steps.first()?, |a: &&Tried, b: &&Tried| {
        a.smooth.total_cmp(&b.smooth)
    });
    let lowest = steps.iter().min_by(by_loss)?;
    if lowest.smooth > (1.0 - FALL) * first.smooth {
        return None;
    }
    let falling = steps.iter().take_while(|step| step.lr <= lowest.lr);
    let falling: Vec<Tried> = falling.copied().collect();
    let slope = |three: &[Tried]| match three {
        [before, at, after] => {
            let slope = (after.smooth - before.smooth) / (after.lr / before.lr).ln();
            Some((slope, at.lr))
        }
        _ => None,
    };
    let slopes = falling.windows(3).filter_map(slope);
    let fastest = slopes.min_by(|a, b| a.0.total_cmp(&b.0))?;
    (fastest.0 < 0.0).then_some(fastest.1)
}

/// A rate as it is written: "3.2e-4".
fn shown(rate: f64) -> String {
    format!("{rate:.1e}")
}

impl Found {
    /// The losses as a table, and what they suggest.
    pub fn table(&self) -> String {
        let head = ["learning rate", "loss", "mean loss"].map(String::from);
        let every = self.steps.len().div_ceil(ROWS).max(1);
        let rows = self.steps.iter().step_by(every).map(|step| {
            let [loss, mean] = [step.loss, step.smooth].map(|loss| format!("{loss:.4}"));
            [shown(step.lr), loss, mean]
        });
        let table = markdown(&[head].into_iter().chain(rows).collect::<Vec<_>>());
        let said = match self.suggested {
            Some(rate) => {
                let (name, rate) = (&self.stage, shown(rate));
                format!("the loss falls fastest at {rate}: --set stage.{name}.lr={rate}")
            }
            None => "the loss does not fall at any of these rates; try others (--from, --to), or more steps".into(),
        };
        format!("{table}\n{said}\n")
    }

    /// Draws the losses over the rates.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DiskFull`].
    pub fn draw(&self, path: &Path) -> Result<()> {
        let mut svg = String::new();
        self.render(&mut svg)
            .map_err(|e| Error::io("draw", path, std::io::Error::other(e.to_string())))?;
        write_file(path, svg.as_bytes())
    }

    fn render(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let means = || self.steps.iter().map(|step| step.smooth);
        let low = means().fold(f64::MAX, f64::min);
        // The end of the test would flatten the rest.
        let first = self.steps.first().map_or(1.0, |step| step.smooth);
        let high = means().fold(first, f64::max).min(1.5 * first);
        let [from, to] = [self.steps.first(), self.steps.last()].map(|s| s.map_or(1.0, |s| s.lr));
        let margin = (0.05 * (high - low)).max(1e-3);
        let root = SVGBackend::with_string(svg, (900, 520)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(
                format!("{}: learning rates", self.stage),
                ("sans-serif", 20),
            )
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(
                (from..to.max(1.001 * from)).log_scale(),
                low - margin..high + margin,
            )?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc("learning rate")
            .y_desc("mean loss")
            .x_label_formatter(&|x| format!("{x:.0e}"))
            .draw()?;
        let colour = |n: usize| RGBColor(OKABE_ITO[n].0, OKABE_ITO[n].1, OKABE_ITO[n].2);
        let within = self
            .steps
            .iter()
            .map(|s| (s.lr, s.smooth.min(high + margin)));
        chart.draw_series(LineSeries::new(within, colour(0).stroke_width(2)))?;
        if let Some(rate) = self.suggested {
            let ends = [(rate, low - margin), (rate, high + margin)];
            let line = chart.draw_series(LineSeries::new(ends, colour(4).stroke_width(2)))?;
            line.label(format!("falls fastest: {}", shown(rate)))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour(4)));
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::LowerLeft)
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK.mix(0.3))
                .draw()?;
        }
        root.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(loss: impl Fn(f64) -> f64) -> Vec<Tried> {
        let range = Range {
            from: 1e-6,
            to: 10.0,
        };
        let tried = |step| {
            let lr = range.at(step, 141);
            let loss = loss(lr.log10());
            Tried {
                lr,
                loss,
                smooth: loss,
            }
        };
        (1..=141).map(tried).collect()
    }

    #[test]
    fn rates_rise_by_a_factor_from_the_first_to_the_last() {
        let range = Range {
            from: 1e-4,
            to: 1.0,
        };
        for (step, rate) in [(1, 1e-4), (2, 1e-3), (4, 1e-1), (5, 1.0)] {
            assert!((range.at(step, 5) / rate - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn the_steepest_point_before_the_lowest_is_suggested() {
        // A fall that is fastest at 1e-3, and a faster rise beyond 1e-1.
        let curve = |x: f64| 5.0 - (2.0 * (x + 3.0)).tanh() + (4.0 * (x - 0.0)).exp();
        let found = steepest(&steps(curve)).unwrap();
        assert!((found.log10() + 3.0).abs() < 0.06, "{found}");
        assert_eq!(steepest(&steps(|x| 5.0 + x)), None);
        assert_eq!(steepest(&[]), None);
    }

    #[test]
    fn the_mean_of_the_first_losses_is_unbiased() {
        let means = smoothed(&[2.0, 2.0, 4.0]);
        assert!((means[0] - 2.0).abs() < 1e-12 && (means[1] - 2.0).abs() < 1e-12);
        // (0.81 · 2 + 0.9 · 2 + 4) / (0.81 + 0.9 + 1)
        assert!((means[2] - 7.42 / 2.71).abs() < 1e-12, "{}", means[2]);
    }
}
