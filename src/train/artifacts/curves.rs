//! Curves of losses and measures as SVG, drawn from `metrics.jsonl`.

use std::collections::BTreeMap;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use serde_json::Value;

use super::log;
use crate::atomic::write_file;
use crate::error::{Error, Result};
use crate::objectives::scores::Scores;
use crate::train::config::{RunConfig, StageKind};
use crate::train::report::{Measure, measure};
use crate::train::task::Unit;

/// Red, green and blue that everyone can tell apart, on white and on black (Okabe and Ito 2008).
pub const OKABE_ITO: [(u8, u8, u8); 7] = [
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (213, 94, 0),
    (86, 180, 233),
    (240, 228, 66),
];

/// One line of a chart.
#[derive(Debug, Clone, Default)]
pub struct Curve {
    /// Legend; curves of one name share colour and legend entry.
    pub name: String,
    /// (step, value) of its line, steps ascending.
    pub line: Vec<(f64, f64)>,
    /// (step, value) of its dots: validation.
    pub dots: Vec<(f64, f64)>,
}

/// Curves over one axis.
#[derive(Debug, Clone, Default)]
pub struct Panel {
    /// What its values are.
    pub what: String,
    /// Whether they are drawn on a scale of powers.
    pub powers: bool,
    /// Its curves.
    pub curves: Vec<Curve>,
}

/// Draws what the log of the run in `folder` says: losses and measures, each of the pretraining and of the
/// fine-tuning, which have nothing in common.
///
/// # Errors
/// Those of reading the log; [`Error::Io`] or [`Error::DiskFull`].
pub fn draw_all(folder: &Path, config: &RunConfig, units: &[Unit]) -> Result<()> {
    let lines = log::read(&folder.join("metrics.jsonl"))?;
    for (kind, name) in [
        (StageKind::Pretrain, "pretrain"),
        (StageKind::Finetune, "finetune"),
    ] {
        let name_of = |unit: &str| {
            let stage = &config.stages[units.iter().find(|u| u.name == unit)?.stage];
            (stage.kind == kind).then(|| stage.name.clone())
        };
        let title = format!("{}: {name}", config.name);
        let losses = Panel {
            what: "loss (nats); dots: validation".into(),
            powers: false,
            curves: curves(&lines, name_of),
        };
        let file = |what: &str| folder.join(format!("{what}-{name}.svg"));
        draw(&file("loss"), &title, &[losses])?;
        draw(&file("measure"), &title, &measures(&lines, name_of))?;
    }
    Ok(())
}

/// The measures of the units that `name_of` gives a name, over their evaluations: a panel each, but for the
/// loss, which is drawn anyway.
fn measures(log: &[Value], name_of: impl Fn(&str) -> Option<String>) -> Vec<Panel> {
    let mut by_measure: BTreeMap<&str, (bool, BTreeMap<&str, Curve>)> = BTreeMap::new();
    for line in log.iter().filter(|line| line["split"] == "validation") {
        let (Some(unit), Some(step)) = (line["unit"].as_str(), line["step"].as_f64()) else {
            continue;
        };
        let scores = serde_json::from_value::<Scores>(line["scores"].clone()).ok();
        let told = scores.as_ref().and_then(|scores| {
            let judged = scores.metric().is_some_and(|metric| metric.name != "loss");
            measure(scores).filter(|_| judged)
        });
        let (
            Some(Measure {
                name,
                value,
                is_ratio,
            }),
            Some(stage),
        ) = (told, name_of(unit))
        else {
            continue;
        };
        let (_, units) = by_measure
            .entry(name)
            .or_insert((is_ratio, BTreeMap::new()));
        let curve = units.entry(unit).or_insert_with(|| Curve {
            name: stage,
            ..Curve::default()
        });
        curve.line.push((step, value));
        curve.dots.push((step, value));
    }
    let panel = |(name, (powers, units)): (&str, (bool, BTreeMap<&str, Curve>))| Panel {
        what: format!("validation {name}"),
        powers,
        curves: units.into_values().collect(),
    };
    by_measure.into_iter().map(panel).collect()
}

/// The curves of the units that `name_of` gives a name, from a log's lines.
pub fn curves(log: &[Value], name_of: impl Fn(&str) -> Option<String>) -> Vec<Curve> {
    let mut by_unit: BTreeMap<&str, Curve> = BTreeMap::new();
    for line in log {
        let (Some(unit), Some(step)) = (line["unit"].as_str(), line["step"].as_f64()) else {
            continue;
        };
        let Some(name) = name_of(unit) else { continue };
        let curve = by_unit.entry(unit).or_insert_with(|| Curve {
            name,
            ..Curve::default()
        });
        if let Some(loss) = line["loss"].as_f64() {
            curve.line.push((step, loss));
        }
        if let (Some("validation"), Some(loss)) =
            (line["split"].as_str(), line["scores"]["loss"].as_f64())
        {
            curve.dots.push((step, loss));
        }
    }
    let mut curves: Vec<Curve> = by_unit
        .into_values()
        .filter(|c| !c.line.is_empty())
        .collect();
    for curve in &mut curves {
        curve.line = thin(&curve.line, 200);
    }
    curves
}

/// At most `limit` points, each the mean of its neighbours: a long run's noise would otherwise
/// hide its course, and fill megabytes.
fn thin(points: &[(f64, f64)], limit: usize) -> Vec<(f64, f64)> {
    points
        .chunks(points.len().div_ceil(limit).max(1))
        .map(|chunk| {
            let n = chunk.len() as f64;
            (
                chunk.iter().map(|p| p.0).sum::<f64>() / n,
                chunk.iter().map(|p| p.1).sum::<f64>() / n,
            )
        })
        .collect()
}

/// Draws panels below each other; with no curve there is no file.
///
/// # Errors
/// [`Error::Io`] or [`Error::DiskFull`].
pub fn draw(path: &Path, title: &str, panels: &[Panel]) -> Result<()> {
    let drawn: Vec<&Panel> = panels.iter().filter(|p| p.bounds().is_some()).collect();
    if drawn.is_empty() {
        return Ok(());
    }
    let mut svg = String::new();
    render(&mut svg, title, &drawn)
        .map_err(|e| Error::io("draw", path, std::io::Error::other(e.to_string())))?;
    write_file(path, svg.as_bytes())
}

impl Panel {
    /// The last step, and the lowest and highest value as they are drawn.
    fn bounds(&self) -> Option<(f64, f64, f64)> {
        let points = || {
            self.curves
                .iter()
                .flat_map(|c| c.line.iter().chain(&c.dots))
        };
        let values = || points().map(|p| self.place(p.1));
        let right = points().map(|p| p.0).reduce(f64::max)?;
        let (low, high) = (values().reduce(f64::min)?, values().reduce(f64::max)?);
        Some((right, low, high))
    }

    /// Where a value is drawn.
    fn place(&self, value: f64) -> f64 {
        match self.powers {
            true => value.max(f64::MIN_POSITIVE).ln(),
            false => value,
        }
    }

    /// What stands at that place of the axis.
    fn label(&self, place: f64) -> String {
        match self.powers {
            true => format!("{:.1}", place.exp()),
            // As many digits as the axis has marks for.
            false => format!("{:.3}", place)
                .trim_end_matches('0')
                .trim_end_matches('.')
                .into(),
        }
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, title: &str) -> Drawn
    where
        B::ErrorType: 'static,
    {
        let (right, low, high) = self.bounds().unwrap_or_default();
        let margin = (0.05 * (high - low)).max(1e-3);
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(0f64..right.max(1.0), low - margin..high + margin)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc("step")
            .y_desc(self.what.as_str())
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| self.label(*y))
            .draw()?;
        let placed = |&(step, value): &(f64, f64)| (step, self.place(value));
        let mut names: Vec<&str> = Vec::new();
        for curve in &self.curves {
            let known = names.iter().position(|n| *n == curve.name);
            let index = known.unwrap_or(names.len());
            let (r, g, b) = OKABE_ITO[index % OKABE_ITO.len()];
            let colour = RGBColor(r, g, b).to_rgba();
            let line = chart.draw_series(LineSeries::new(
                curve.line.iter().map(placed),
                colour.mix(0.8).stroke_width(2),
            ))?;
            if known.is_none() {
                names.push(&curve.name);
                line.label(curve.name.as_str()).legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3))
                });
            }
            chart.draw_series(
                (curve.dots.iter()).map(|p| Circle::new(placed(p), 3, colour.filled())),
            )?;
        }
        chart
            .configure_series_labels()
            // Losses and errors fall: there is room.
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        Ok(())
    }
}

/// What drawing ends in.
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn render(svg: &mut String, title: &str, panels: &[&Panel]) -> Drawn {
    let height = 520 * panels.len() as u32;
    let root = SVGBackend::with_string(svg, (900, height)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, panel) in root.split_evenly((panels.len(), 1)).iter().zip(panels) {
        panel.draw(area, title)?;
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_chart_shows_both_units_under_one_name() {
        let mut log = Vec::new();
        for unit in ["lstm.1", "lstm.2"] {
            for step in 1..=1000 {
                log.push(json!({ "unit": unit, "step": step, "loss": 1.0 / step as f64 }));
            }
            log.push(json!({ "unit": unit, "step": 1000, "split": "validation", "scores": { "loss": 0.3 } }));
        }
        let curves = curves(&log, |unit| {
            unit.strip_suffix(['1', '2'])
                .map(|s| s.trim_end_matches('.').to_string())
        });
        assert_eq!(curves.len(), 2);
        assert_eq!(curves[0].line.len(), 200);
        assert!((curves[0].line[0].0 - 3.0).abs() < 1e-9);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("loss.svg");
        let panel = Panel {
            curves,
            ..Panel::default()
        };
        draw(&path, "demo", &[panel]).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("lstm").count(), 1, "one legend entry");
        assert_eq!(svg.matches("<circle").count(), 2);
    }

    #[test]
    fn measures_have_a_panel_each() {
        let validation = |unit: &str, step: u32, metric: &str, value: f64| {
            json!({ "unit": unit, "step": step, "split": "validation",
                "scores": { "examples": 9, "loss": 1.0, "metric": metric, metric: value } })
        };
        let mut log = vec![
            json!({ "unit": "a.1", "step": 1, "loss": 2.0 }),
            json!({ "unit": "a.1", "step": 9, "split": "test",
                "scores": { "examples": 9, "loss": 1.0, "metric": "mcc", "mcc": 0.9 } }),
            json!({ "unit": "c", "step": 1, "split": "validation",
                "scores": { "examples": 9, "loss": 1.0, "metric": "loss" } }),
        ];
        for (step, value) in [(2, 0.25), (4, 0.5)] {
            log.push(validation("a.1", step, "mcc", value));
            log.push(validation("a.2", step, "mcc", value / 2.0));
            log.push(validation("b", step, "perplexity", 100.0 * value));
        }
        let panels = measures(&log, |unit| Some(unit[..1].to_string()));
        let said: Vec<(&str, bool, usize)> = panels
            .iter()
            .map(|p| (p.what.as_str(), p.powers, p.curves.len()))
            .collect();
        assert_eq!(
            said,
            [
                ("validation Matthews' correlation", false, 2),
                ("validation perplexity", true, 1)
            ]
        );
        assert_eq!(panels[0].curves[1].dots, [(2.0, 0.125), (4.0, 0.25)]);
        assert_eq!(panels[0].curves[0].name, "a");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("measure.svg");
        draw(&path, "demo", &panels).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        assert_eq!(svg.matches("<circle").count(), 6);
        for text in ["correlation", "validation perplexity"] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn nothing_to_draw_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("loss.svg");
        draw(&path, "demo", &[]).unwrap();
        assert!(!path.exists());
    }
}
