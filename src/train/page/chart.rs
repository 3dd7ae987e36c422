//! A chart: SVG that stretches with the page, under labels that do not.

use maud::{Markup, html};
use serde_json::json;

use super::series::{Point, Spread};

/// What is drawn of one stage, in its colour.
#[derive(Debug, Default)]
pub struct Line {
    pub name: String,
    /// Number of its colour.
    pub colour: usize,
    /// Faint lines behind it, one for each unit.
    pub raw: Vec<Vec<Point>>,
    /// The line itself, and how far its units are apart.
    pub band: Vec<Spread>,
    /// Whether each of its points was measured: a dashed line with dots.
    pub measured: bool,
    /// Points that stand out: the best checkpoints.
    pub best: Vec<Point>,
}

/// Lines over the steps of training.
#[derive(Debug)]
pub struct Chart<'a> {
    pub title: &'a str,
    pub lines: Vec<Line>,
    /// Whether the scale is one of powers.
    pub is_ratio: bool,
    /// Whether it takes the whole width of the page.
    pub is_wide: bool,
}

/// The drawing's own width and height, whatever its size on the page.
const SIZE: f64 = 1000.0;

/// From values to the drawing.
struct Scale {
    right: f64,
    low: f64,
    high: f64,
    is_ratio: bool,
}

impl Scale {
    fn x(&self, step: f64) -> f64 {
        SIZE * step / self.right
    }

    fn y(&self, value: f64) -> f64 {
        let at = |v: f64| if self.is_ratio { v.max(1e-12).ln() } else { v };
        let (low, high) = (at(self.low), at(self.high));
        SIZE * (1.0 - ((at(value) - low) / (high - low)).clamp(0.0, 1.0))
    }

    fn path(&self, points: impl IntoIterator<Item = Point>) -> String {
        let points = points
            .into_iter()
            .zip(["M"].into_iter().chain(std::iter::repeat("L")));
        let point = |((x, y), mark)| format!("{mark}{:.1} {:.1}", self.x(x), self.y(y));
        points.map(point).collect()
    }

    /// Round marks: lines of no length, whose caps do not stretch.
    fn dots(&self, points: impl IntoIterator<Item = Point>) -> String {
        let dot = |(x, y)| format!("M{:.1} {:.1}h0", self.x(x), self.y(y));
        points.into_iter().map(dot).collect()
    }
}

impl Chart<'_> {
    /// What all that matters fits in: of the faint lines a hundredth may stick out on each side.
    fn scale(&self) -> Option<Scale> {
        let raw = self.lines.iter().flat_map(|l| l.raw.iter().flatten());
        let mut raw: Vec<Point> = raw.copied().filter(|p| p.1.is_finite()).collect();
        raw.sort_by(|a, b| a.1.total_cmp(&b.1));
        let out = raw.len() / 100;
        let bands = self.lines.iter().flat_map(|l| &l.band);
        let ends = bands.flat_map(|s| [(s.step, s.low), (s.step, s.high)]);
        let ends = ends.filter(|p| p.1.is_finite());
        let points: Vec<Point> = raw[out..raw.len() - out]
            .iter()
            .copied()
            .chain(ends)
            .collect();
        let right = points.iter().map(|p| p.0).reduce(f64::max)?;
        let low = points.iter().map(|p| p.1).reduce(f64::min)?;
        let high = points.iter().map(|p| p.1).reduce(f64::max)?;
        let (low, high) = if high - low <= 1e-6 * high.abs() {
            // What stays the same lies in the middle.
            (low - low.abs().max(1e-9), high + high.abs().max(1e-9))
        } else if self.is_ratio && low > 0.0 {
            (low / 1.05, high * 1.05)
        } else {
            let margin = 0.05 * (high - low);
            // What is never negative begins at zero rather than below it.
            let floor = if low >= 0.0 { 0.0 } else { f64::MIN };
            ((low - margin).max(floor), high + margin)
        };
        Some(Scale {
            right: right.max(1.0),
            low,
            high,
            is_ratio: self.is_ratio && low > 0.0,
        })
    }

    /// The chart as HTML; nothing where there is nothing to draw.
    pub fn draw(&self) -> Markup {
        let Some(scale) = self.scale() else {
            return html! {};
        };
        let lines = self.lines.iter().map(|line| {
            let points: Vec<_> = line
                .band
                .iter()
                .map(|s| (s.step, rounded(s.mean)))
                .collect();
            let name = if line.measured {
                format!("{} (validation)", line.name)
            } else {
                line.name.clone()
            };
            json!({ "name": name, "colour": line.colour, "points": points })
        });
        let lines = serde_json::Value::from(lines.collect::<Vec<_>>());
        let across = ticks(0.0, scale.right);
        let up = if scale.is_ratio {
            powers(scale.low, scale.high)
        } else {
            ticks(scale.low, scale.high)
        };
        html! {
            figure .wide[self.is_wide] data-lines=(lines) data-right=(scale.right) {
                figcaption { (self.title) }
                .plot role="img" aria-label=(self.title) {
                    svg viewBox="0 0 1000 1000" preserveAspectRatio="none" aria-hidden="true" {
                        @for tick in &up {
                            path.grid d=(format!("M0 {:.1}H1000", scale.y(*tick))) {}
                        }
                        @for line in &self.lines { (draw(line, &scale)) }
                    }
                    @for tick in &up {
                        span.up style=(format!("top:{:.2}%", scale.y(*tick) / 10.0)) { (number(*tick)) }
                    }
                    @for tick in across {
                        span.across style=(format!("left:{:.2}%", scale.x(tick) / 10.0)) { (number(tick)) }
                    }
                    .cursor {}
                }
                output { "step" }
            }
        }
    }
}

fn draw(line: &Line, scale: &Scale) -> Markup {
    let colour = format!("--c: var(--c{})", line.colour);
    let means = || line.band.iter().map(|s| (s.step, s.mean));
    let edge = line.band.iter().map(|s| (s.step, s.high));
    let back = line.band.iter().rev().map(|s| (s.step, s.low));
    html! {
        g style=(colour) {
            @for raw in &line.raw { path.raw .of-many[line.raw.len() > 1] d=(scale.path(raw.iter().copied())) {} }
            @if line.band.iter().any(|s| s.high > s.low) {
                path.band d=(scale.path(edge.chain(back)) + "Z") {}
            }
            path.line .measured[line.measured] d=(scale.path(means())) {}
            @if line.measured { path.dots d=(scale.dots(means())) {} }
            @if !line.best.is_empty() {
                path.best d=(scale.dots(line.best.iter().copied())) {}
                path.core d=(scale.dots(line.best.iter().copied())) {}
            }
        }
    }
}

/// To five digits: what nobody reads fills no page.
fn rounded(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

/// About five round numbers between two.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power);
    let step = step.into_iter().find(|s| *s >= rough).unwrap_or(rough);
    let (from, to) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (from..=to).map(|n| n as f64 * step).collect()
}

/// Round numbers on a scale of powers.
fn powers(low: f64, high: f64) -> Vec<f64> {
    let from = low.log10().floor() as i32;
    let to = high.log10().ceil() as i32;
    let all = (from..=to).flat_map(|n| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(n)));
    let inside: Vec<f64> = all.filter(|v| (low..=high).contains(v)).collect();
    match inside.len() {
        0..3 => ticks(low, high),
        3..8 => inside,
        _ => (from..=to)
            .map(|n| 10f64.powi(n))
            .filter(|v| (low..=high).contains(v))
            .collect(),
    }
}

/// A number as briefly as it can be said.
fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size != 0.0 && size < 1e-3 => format!("{value:.1e}").replace(".0e", "e"),
        _ if size < 10_000.0 => format!("{}", (value * 1e6).round() / 1e6),
        _ if size < 1e6 => format!("{}k", (value / 10.0).round() / 100.0),
        _ => format!("{}M", (value / 1e4).round() / 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 770.0), [0.0, 200.0, 400.0, 600.0]);
        assert_eq!(powers(11.0, 400.0), [20.0, 50.0, 100.0, 200.0]);
        assert_eq!(powers(0.5, 90_000.0), [1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        assert_eq!(powers(12.5, 13.4).len(), ticks(12.5, 13.4).len());
        let shown = [0.0, 0.2, 0.0004, 1500.0, 12_000.0, 3e6].map(number);
        assert_eq!(shown, ["0", "0.2", "4e-4", "1500", "12k", "3M"]);
    }

    #[test]
    fn a_chart_of_nothing_is_nothing_and_names_are_escaped() {
        let mut chart = Chart {
            title: "loss",
            lines: Vec::new(),
            is_ratio: false,
            is_wide: false,
        };
        assert_eq!(chart.draw().into_string(), "");
        let band = |step, mean| Spread {
            step,
            mean,
            low: mean,
            high: mean,
        };
        chart.lines.push(Line {
            name: "<b>\"'&".into(),
            band: vec![band(1.0, 3.0), band(10.0, 1.0)],
            ..Line::default()
        });
        let drawn = chart.draw().into_string();
        assert!(
            !drawn.contains("<b>") && drawn.contains("&lt;b&gt;"),
            "{drawn}"
        );
        let flat = Chart {
            title: "rate",
            lines: vec![Line {
                band: vec![band(1.0, 0.01), band(10.0, 0.01)],
                ..Line::default()
            }],
            is_ratio: false,
            is_wide: false,
        };
        let drawn_flat = flat.draw().into_string();
        assert!(
            drawn_flat.contains("M100.0 500.0L1000.0 500.0"),
            "{drawn_flat}"
        );
        // y goes down the page: the first point is the higher one.
        assert!(drawn.contains("M100.0 45.5L1000.0 954.5"), "{drawn}");
    }
}
