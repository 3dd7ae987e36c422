//! What a run comes to: one row per stage, as a table and as `results.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::config::{RunConfig, StageKind};
use super::progress::thousands;
use super::stats::{Interval, student_t, wilson};
use crate::atomic::write_file;
use crate::bounded;
use crate::error::{Error, Result};
use crate::objectives::scores::Scores;

const DONE: &str = "done.json";

/// What one unit came to; `done.json` in its folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitResult {
    /// Folder name.
    pub unit: String,
    /// Stage name.
    pub stage: String,
    /// The unit's seed.
    pub seed: u64,
    /// (index, of how many) in a cross-validation.
    pub fold: Option<(usize, usize)>,
    /// Numbers that the model has.
    #[serde(default)]
    pub parameters: u64,
    /// Those of them that were trained.
    #[serde(default)]
    pub trainable: u64,
    /// The most device memory held at once, in bytes.
    #[serde(default)]
    pub peak_memory: Option<u64>,
    /// Steps done.
    pub steps: u64,
    /// Tokens read.
    pub tokens: u64,
    /// Training tokens per second; evaluation and files are not counted in.
    pub tokens_per_second: f64,
    /// Wall-clock seconds, everything counted in.
    pub seconds: f64,
    /// The step whose weights the model has.
    pub best_step: Option<u64>,
    /// That model's scores on the validation split.
    pub validation: Option<Scores>,
    /// That model's scores on the test split.
    pub test: Option<Scores>,
}

impl UnitResult {
    /// Writes `done.json`.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join(DONE), self)
    }

    /// Whether the unit in a folder is done.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(DONE).is_file()
    }

    /// Reads `done.json`; `None` where the unit is not done.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Folder`] where the file is damaged.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(DONE);
        let Some(text) = bounded::read_if_there(&path, bounded::SETTINGS)? else {
            return Ok(None);
        };
        let damaged = |e| format!("is damaged: {e}; delete it to finish this stage again");
        let result = bounded::json(&text);
        result
            .map(Some)
            .map_err(|e| Error::folder(path, damaged(e)))
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|e| Error::io("write", path, e.into()))?;
    text.push(b'\n');
    write_file(path, &text)
}

/// One stage's row.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Stage name.
    pub model: String,
    /// What the stage does.
    pub kind: StageKind,
    /// Units behind the row.
    pub repeats: usize,
    /// Error of a classifier, 0 to 1, with its 95 % interval: Student's t over repeats, Wilson's over the
    /// texts where there is one unit. Of the test texts, or where the run has none those for validation.
    pub error: Option<Interval>,
    /// Mean perplexity, of the test split or else the validation split.
    pub perplexity: Option<f64>,
    /// Mean accuracy on masked tokens, or with several labels a text, likewise.
    pub accuracy: Option<f64>,
    /// Mean F1 of several labels a text, or of entities, likewise.
    pub f1: Option<f64>,
    /// Mean squared error of numbers, likewise.
    pub squared_error: Option<f64>,
    /// Mean correlation of numbers, likewise.
    pub correlation: Option<f64>,
    /// Numbers that the model has.
    pub parameters: u64,
    /// Those of them that were trained.
    pub trainable: u64,
    /// The most device memory held at once, in bytes.
    pub peak_memory: Option<u64>,
    /// Mean training tokens per second.
    pub tokens_per_second: f64,
    /// Seconds of all units together.
    pub seconds: f64,
}

/// A whole run's outcome.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Run name.
    pub name: String,
    /// One row per stage, in the run file's order.
    pub rows: Vec<Row>,
    /// Folder, relative to the run folder, of the model that `melos predict RUN` uses: the
    /// finetuned one with the lowest validation score.
    pub model: Option<String>,
    /// All units.
    pub units: Vec<UnitResult>,
}

impl Report {
    /// Puts together what the units came to.
    pub fn new(config: &RunConfig, units: Vec<UnitResult>) -> Self {
        let stages = &config.stages;
        let rows = stages.iter().filter_map(|stage| {
            let own = units.iter().filter(|u| u.stage == stage.name);
            let own: Vec<&UnitResult> = own.collect();
            (!own.is_empty()).then(|| row(&stage.name, stage.kind, &own, tested(&units)))
        });
        let kind_of = |u: &UnitResult| stages.iter().find(|s| s.name == u.stage).map(|s| s.kind);
        let score = |u: &UnitResult| {
            let scores = u.validation.as_ref().or(u.test.as_ref());
            scores.map_or(f64::MAX, Scores::to_minimise)
        };
        let best = |kind| {
            let own = units.iter().filter(|u| kind_of(u) == Some(kind));
            own.min_by(|a, b| score(a).total_cmp(&score(b)))
        };
        let model = best(StageKind::Finetune).or_else(|| best(StageKind::Pretrain));
        Self {
            name: config.name.clone(),
            rows: rows.collect(),
            model: model.map(|u| format!("{}/model", u.unit)),
            units,
        }
    }

    /// Writes `results.json`.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join("results.json"), self)
    }

    /// The table, in Markdown; without the columns that say nothing of any row.
    pub fn table(&self) -> String {
        markdown(&self.cells())
    }

    /// The table's rows of cells, the first of them the head.
    pub fn cells(&self) -> Vec<Vec<String>> {
        const TRAINED: usize = 7;
        let error = match tested(&self.units) {
            true => "test error % (95 %)",
            false => "validation error % (95 %)",
        };
        let head = [
            "model",
            error,
            "perplexity",
            "accuracy %",
            "F1",
            "squared error",
            "correlation",
            "trained %",
            "peak MiB",
            "runs",
            "tokens/s",
            "seconds",
        ];
        let mut cells = vec![head.map(String::from)];
        let known = |cell: Option<String>| cell.unwrap_or("–".into());
        for row in &self.rows {
            let trains = row.kind != StageKind::Evaluate;
            let mebibytes = |bytes| thousands(bytes as f64 / f64::from(1 << 20));
            cells.push([
                row.model.clone(),
                known(row.error.map(|e| interval(&e, row.repeats))),
                known(row.perplexity.map(|p| format!("{p:.2}"))),
                known(row.accuracy.map(|a| format!("{:.2}", 100.0 * a))),
                known(row.f1.map(|f1| format!("{f1:.3}"))),
                known(row.squared_error.map(|e| format!("{e:.4}"))),
                known(row.correlation.map(|c| format!("{c:.3}"))),
                known(trains.then(|| percent(row.trainable, row.parameters))),
                known(row.peak_memory.map(mebibytes)),
                row.repeats.to_string(),
                known(trains.then(|| thousands(row.tokens_per_second))),
                thousands(row.seconds),
            ]);
        }
        let says = |column: usize, cell: &str| cell != "–" && (column != TRAINED || cell != "100");
        let kept: Vec<usize> = (0..cells[0].len())
            .filter(|&column| cells[1..].iter().any(|row| says(column, &row[column])))
            .collect();
        let cut = |row: &[String; 12]| kept.iter().map(|&column| row[column].clone()).collect();
        cells.iter().map(cut).collect()
    }
}

/// Whether classes were asked for on texts for testing.
fn tested(units: &[UnitResult]) -> bool {
    let classes = |u: &UnitResult| u.test.as_ref().is_some_and(|s| s.classes.is_some());
    units.iter().any(classes)
}

/// A score by its name, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measure {
    /// As its users call it, with its unit.
    pub name: &'static str,
    /// In that unit.
    pub value: f64,
    /// Whether it is drawn on a scale of powers.
    #[serde(skip)]
    pub is_ratio: bool,
}

impl Measure {
    /// Its value, with as many digits as it deserves.
    pub fn shown(&self) -> String {
        let digits = if self.name.ends_with('%') || self.is_ratio {
            2
        } else {
            3
        };
        format!("{:.digits$}", self.value)
    }
}

/// Of all scores the one that says most about what is learned.
pub fn measure(scores: &Scores) -> Option<Measure> {
    let of = |name, value: Option<f64>| {
        value.map(|value| Measure {
            name,
            value,
            is_ratio: false,
        })
    };
    let error = scores.classes.as_ref().map(|c| 100.0 * c.error);
    let perplexity = of("perplexity", scores.perplexity).map(|m| Measure {
        is_ratio: true,
        ..m
    });
    (of("correlation", scores.correlation))
        .or(of("F1", scores.f1))
        .or(of("error %", error))
        .or(perplexity)
        .or(of("accuracy %", scores.accuracy.map(|a| 100.0 * a)))
}

fn row(name: &str, kind: StageKind, units: &[&UnitResult], tested: bool) -> Row {
    let n = units.len() as f64;
    let judged = units.iter().map(|u| match tested {
        true => &u.test,
        false => &u.validation,
    });
    let classes: Vec<_> = judged
        .filter_map(|s| s.as_ref()?.classes.as_ref())
        .collect();
    let error = match classes[..] {
        [one] => wilson(one.wrong(), one.confusion.iter().flatten().sum()),
        _ => student_t(&classes.iter().map(|c| c.error).collect::<Vec<_>>()),
    };
    let mean = |of: fn(&Scores) -> Option<f64>| {
        let scores = units.iter();
        let all: Vec<f64> = scores
            .filter_map(|u| of(u.test.as_ref().or(u.validation.as_ref())?))
            .collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    };
    let first = units.first();
    Row {
        model: name.into(),
        kind,
        repeats: units.len(),
        error,
        perplexity: mean(|s| s.perplexity),
        accuracy: mean(|s| s.accuracy),
        f1: mean(|s| s.f1),
        squared_error: mean(|s| s.is_of_numbers().then_some(s.loss)),
        correlation: mean(|s| s.correlation),
        parameters: first.map_or(0, |u| u.parameters),
        trainable: first.map_or(0, |u| u.trainable),
        peak_memory: units.iter().filter_map(|u| u.peak_memory).max(),
        tokens_per_second: units.iter().map(|u| u.tokens_per_second).sum::<f64>() / n,
        seconds: units.iter().map(|u| u.seconds).sum(),
    }
}

/// "20.31 ± 0.82" for repeats; "20.31 (19.52 to 21.12)" for one run, whose interval is lopsided.
fn interval(error: &Interval, repeats: usize) -> String {
    let (mean, low, high) = (100.0 * error.mean, 100.0 * error.low, 100.0 * error.high);
    if repeats > 1 {
        format!("{mean:.2} ± {:.2}", 100.0 * error.half_width())
    } else {
        format!("{mean:.2} ({low:.2} to {high:.2})")
    }
}

/// A share as "12.34"; "100" where it is whole.
pub fn percent(part: u64, whole: u64) -> String {
    if part == whole {
        "100".into()
    } else {
        format!("{:.2}", 100.0 * part as f64 / whole as f64)
    }
}

/// Rows of cells as a Markdown table with aligned columns; the first row is the head.
pub fn markdown<R: AsRef<[String]>>(cells: &[R]) -> String {
    let columns = cells.first().map_or(0, |row| row.as_ref().len());
    let width = |column: usize| {
        let widths = cells.iter().map(|row| row.as_ref()[column].chars().count());
        widths.max().unwrap_or(0).max(3)
    };
    let mut text = String::new();
    for (index, row) in cells.iter().enumerate() {
        for (column, cell) in row.as_ref().iter().enumerate() {
            let pad = " ".repeat(width(column) - cell.chars().count());
            // Names stand to the left, numbers to the right.
            text += &match column {
                0 => format!("| {cell}{pad} "),
                _ => format!("| {pad}{cell} "),
            };
        }
        text += "|\n";
        if index == 0 {
            for column in 0..columns {
                let dashes = "-".repeat(width(column));
                text += &match column {
                    0 => format!("| {dashes} "),
                    _ => format!("| {}: ", &dashes[1..]),
                };
            }
            text += "|\n";
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::config::{Overrides, preset};

    fn unit(stage: &str, unit: &str, wrong: u64) -> UnitResult {
        let test = Scores::classifier(30.0, vec![vec![50 - wrong, wrong], vec![0, 50]]).unwrap();
        UnitResult {
            unit: unit.into(),
            stage: stage.into(),
            seed: 1,
            fold: None,
            parameters: 100,
            trainable: 100,
            peak_memory: None,
            steps: 10,
            tokens: 1000,
            tokens_per_second: 1234.5,
            seconds: 2.0,
            best_step: Some(5),
            validation: Some(test.clone()),
            test: Some(test),
        }
    }

    #[test]
    fn a_table_of_repeats_and_a_single_run() {
        let config = preset("demo").unwrap().config(&Overrides::default());
        let config = config.unwrap();
        let mut pretrain = unit("pretrain-lm", "pretrain-lm", 0);
        pretrain.test = Some(Scores::language(30.0 * 10f64.ln(), 30).unwrap());
        let units = vec![
            pretrain,
            unit("lstm", "lstm.1", 18),
            unit("lstm", "lstm.2", 20),
            unit("lstm", "lstm.3", 22),
            unit("lm-lstm", "lm-lstm", 10),
        ];
        let report = Report::new(&config, units);
        assert_eq!(
            report.table(),
            "\
| model       |   test error % (95 %) | perplexity | runs | tokens/s | seconds |
| ----------- | --------------------: | ---------: | ---: | -------: | ------: |
| pretrain-lm |                     – |      10.00 |    1 |    1,234 |       2 |
| lstm        |          20.00 ± 4.97 |          – |    3 |    1,234 |       6 |
| lm-lstm     | 10.00 (5.52 to 17.44) |          – |    1 |    1,234 |       2 |
"
        );
        assert_eq!(report.model.as_deref(), Some("lm-lstm/model"));
    }

    #[test]
    fn results_come_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(UnitResult::read(dir.path()).unwrap(), None);
        let result = unit("lstm", "lstm.1", 3);
        result.write(dir.path()).unwrap();
        assert_eq!(UnitResult::read(dir.path()).unwrap(), Some(result));
        std::fs::write(dir.path().join("done.json"), "{").unwrap();
        assert!(
            UnitResult::read(dir.path())
                .unwrap_err()
                .to_string()
                .contains("is damaged")
        );
    }
}
