//! Loss curves as SVG, drawn from `metrics.jsonl`.

use std::collections::BTreeMap;
use std::path::Path;

use plotters::prelude::*;
use serde_json::Value;

use crate::atomic::write_file;
use crate::error::{Error, Result};

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
    /// (step, loss), steps ascending.
    pub training: Vec<(f64, f64)>,
    /// (step, validation loss).
    pub validation: Vec<(f64, f64)>,
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
            curve.training.push((step, loss));
        }
        if let (Some("validation"), Some(loss)) =
            (line["split"].as_str(), line["scores"]["loss"].as_f64())
        {
            curve.validation.push((step, loss));
        }
    }
    let mut curves: Vec<Curve> = by_unit
        .into_values()
        .filter(|c| !c.training.is_empty())
        .collect();
    for curve in &mut curves {
        curve.training = thin(&curve.training, 200);
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

/// Draws the chart; with no curve there is no file.
///
/// # Errors
/// [`Error::Io`] or [`Error::DiskFull`].
pub fn draw(path: &Path, title: &str, curves: &[Curve]) -> Result<()> {
    let points = || {
        curves
            .iter()
            .flat_map(|c| c.training.iter().chain(&c.validation))
    };
    let (Some(right), Some(low), Some(high)) = (
        points().map(|p| p.0).reduce(f64::max),
        points().map(|p| p.1).reduce(f64::min),
        points().map(|p| p.1).reduce(f64::max),
    ) else {
        return Ok(());
    };
    let margin = (0.05 * (high - low)).max(1e-3);
    let mut svg = String::new();
    render(&mut svg, title, curves, right, low - margin, high + margin)
        .map_err(|e| Error::io("draw", path, std::io::Error::other(e.to_string())))?;
    write_file(path, svg.as_bytes())
}

fn render(
    svg: &mut String,
    title: &str,
    curves: &[Curve],
    right: f64,
    low: f64,
    high: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, (900, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0f64..right.max(1.0), low..high)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("step")
        .y_desc("loss (nats); dots: validation")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()?;
    let mut names: Vec<&str> = Vec::new();
    for curve in curves {
        let known = names.iter().position(|n| *n == curve.name);
        let index = known.unwrap_or(names.len());
        let (r, g, b) = OKABE_ITO[index % OKABE_ITO.len()];
        let colour = RGBColor(r, g, b).to_rgba();
        let line = chart.draw_series(LineSeries::new(
            curve.training.iter().copied(),
            colour.mix(0.8).stroke_width(2),
        ))?;
        if known.is_none() {
            names.push(&curve.name);
            line.label(curve.name.as_str()).legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3))
            });
        }
        chart.draw_series(
            curve
                .validation
                .iter()
                .map(|&p| Circle::new(p, 3, colour.filled())),
        )?;
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
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
        assert_eq!(curves[0].training.len(), 200);
        assert!((curves[0].training[0].0 - 3.0).abs() < 1e-9);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("loss.svg");
        draw(&path, "demo", &curves).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("lstm").count(), 1, "one legend entry");
        assert_eq!(svg.matches("<circle").count(), 2);
    }

    #[test]
    fn nothing_to_draw_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("loss.svg");
        draw(&path, "demo", &[]).unwrap();
        assert!(!path.exists());
    }
}
