//! What a run comes to: one row per stage, as a table and as `results.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::config::{RunConfig, StageConfig, StageKind};
pub use super::markdown::markdown;
use super::progress::thousands;
use super::spent::Spent;
use super::stats::{Interval, student_t, wilson};
use crate::atomic::write_file;
use crate::bounded;
use crate::error::{Error, Result};
use crate::objectives::evidence::Asked;
use crate::objectives::metrics::{self, Form, METRICS, Metric};
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
    /// Where they went, and those before the first step; of versions that did not measure it, nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Spent>,
    /// The step whose weights the model has.
    pub best_step: Option<u64>,
    /// Whether it ended before its budget, for want of patience.
    #[serde(default)]
    pub stopped_early: bool,
    /// What its evaluations warn of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
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

    /// Removes `done.json`, so that the unit goes on.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(folder: &Path) -> Result<()> {
        let path = folder.join(DONE);
        std::fs::remove_file(&path).map_err(|e| Error::io("remove", path, e))
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

/// A metric of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Mean {
    /// With its 95 % interval: Student's t over repeats; of a share of answers of one run Wilson's.
    Within(Interval),
    /// Of one run.
    Plain(f64),
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
    /// By what the stage's best checkpoint is chosen.
    #[serde(with = "metrics::by_name")]
    pub metric: Option<&'static Metric>,
    /// The metrics by their names: means over the repeats, of the test texts; where the run has none, of
    /// those for validation.
    #[serde(flatten)]
    pub metrics: BTreeMap<&'static str, Mean>,
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
            (!own.is_empty()).then(|| row(stage, &own, &units))
        });
        let kind_of = |u: &UnitResult| stages.iter().find(|s| s.name == u.stage).map(|s| s.kind);
        let score = |u: &UnitResult| {
            let scores = u.validation.as_ref().or(u.test.as_ref());
            scores.map_or([f64::MAX; 2], Scores::to_minimise)
        };
        let best = |kind| {
            let own = units.iter().filter(|u| kind_of(u) == Some(kind));
            own.min_by(|a, b| by_score(&score(a), &score(b)))
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
        let shown: Vec<&Metric> = (METRICS.iter())
            .filter(|metric| {
                self.rows
                    .iter()
                    .any(|r| r.metrics.contains_key(metric.name))
            })
            .collect();
        let mut head = vec!["model".to_string()];
        head.extend(shown.iter().map(|metric| self.title(metric)));
        let rest = ["trained %", "peak MiB", "runs", "tokens/s", "seconds"];
        head.extend(rest.map(String::from));
        let trained = 1 + shown.len();
        let mut cells = vec![head];
        let known = |cell: Option<String>| cell.unwrap_or("–".into());
        for row in &self.rows {
            let trains = row.kind != StageKind::Evaluate;
            let mebibytes = |bytes| thousands(bytes as f64 / f64::from(1 << 20));
            let value = |metric: &&Metric| {
                let mean = row.metrics.get(metric.name);
                known(mean.map(|mean| cell(metric, mean, row.repeats)))
            };
            let mut line = vec![row.model.clone()];
            line.extend(shown.iter().map(value));
            line.extend([
                known(trains.then(|| percent(row.trainable, row.parameters))),
                known(row.peak_memory.map(mebibytes)),
                row.repeats.to_string(),
                known(trains.then(|| thousands(row.tokens_per_second))),
                thousands(row.seconds),
            ]);
            cells.push(line);
        }
        let says = |column: usize, cell: &str| cell != "–" && (column != trained || cell != "100");
        let kept: Vec<usize> = (0..cells[0].len())
            .filter(|&column| cells[1..].iter().any(|row| says(column, &row[column])))
            .collect();
        let cut = |row: &Vec<String>| kept.iter().map(|&column| row[column].clone()).collect();
        cells.iter().map(cut).collect()
    }

    /// A metric's column: of labels the part of the data that was scored, and whether there are intervals.
    fn title(&self, metric: &Metric) -> String {
        let part = match (is_of_language(metric), tested(metric, &self.units)) {
            (true, _) => "",
            (false, true) => "test ",
            (false, false) => "validation ",
        };
        let within = |row: &Row| row.interval(metric.name).is_some();
        let interval = if self.rows.iter().any(within) {
            " (95 %)"
        } else {
            ""
        };
        format!("{part}{}{interval}", metric.title)
    }
}

/// Whether a metric is one of texts without labels: those of all stages are compared, whatever was scored.
fn is_of_language(metric: &Metric) -> bool {
    metric
        .asked
        .iter()
        .all(|asked| matches!(asked, Asked::Tokens | Asked::MaskedTokens))
}

/// Whether a metric is known of texts for testing.
fn tested(metric: &Metric, units: &[UnitResult]) -> bool {
    let known = |u: &UnitResult| {
        u.test
            .as_ref()
            .is_some_and(|s| s.value(metric.name).is_some())
    };
    units.iter().any(known)
}

/// The order of two scores, as [`Scores::to_minimise`] gives them, the better first.
pub fn by_score(a: &[f64; 2], b: &[f64; 2]) -> std::cmp::Ordering {
    a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1]))
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

/// The score by which a model is judged.
pub fn measure(scores: &Scores) -> Option<Measure> {
    let metric = scores.metric()?;
    Some(Measure {
        name: metric.title,
        value: metric.in_unit(scores.value(metric.name)?),
        is_ratio: metric.form == Form::Ratio,
    })
}

impl Row {
    /// The interval of a metric, where there is one.
    pub fn interval(&self, metric: &str) -> Option<Interval> {
        match self.metrics.get(metric) {
            Some(Mean::Within(interval)) => Some(*interval),
            _ => None,
        }
    }
}

/// The scores of the test texts, or else of those for validation.
fn either(unit: &UnitResult) -> Option<&Scores> {
    unit.test.as_ref().or(unit.validation.as_ref())
}

fn row(stage: &StageConfig, units: &[&UnitResult], all: &[UnitResult]) -> Row {
    let n = units.len() as f64;
    let scores: Vec<&Scores> = units.iter().filter_map(|u| either(u)).collect();
    let told: Vec<&'static Metric> = scores.iter().flat_map(|s| s.told()).map(|t| t.0).collect();
    let is_told =
        |metric: &&'static Metric| metric.name != "macro_f1" || stage.metric == Some(metric);
    let mut metrics = BTreeMap::new();
    for metric in told.into_iter().filter(is_told) {
        let part = (is_of_language(metric), tested(metric, all));
        let judged = units.iter().filter_map(|u| match part {
            (true, _) => either(u),
            (false, true) => u.test.as_ref(),
            (false, false) => u.validation.as_ref(),
        });
        if let Some(mean) = mean(metric, &judged.collect::<Vec<_>>()) {
            metrics.insert(metric.name, mean);
        }
    }
    let first = units.first();
    Row {
        model: stage.name.clone(),
        kind: stage.kind,
        repeats: units.len(),
        metric: scores.first().and_then(|s| s.metric()),
        metrics,
        parameters: first.map_or(0, |u| u.parameters),
        trainable: first.map_or(0, |u| u.trainable),
        peak_memory: units.iter().filter_map(|u| u.peak_memory).max(),
        tokens_per_second: units.iter().map(|u| u.tokens_per_second).sum::<f64>() / n,
        seconds: units.iter().map(|u| u.seconds).sum(),
    }
}

/// The mean of a metric over runs, with its interval where one is known.
fn mean(metric: &Metric, runs: &[&Scores]) -> Option<Mean> {
    let values: Vec<f64> = runs.iter().filter_map(|s| s.value(metric.name)).collect();
    if let Some(interval) = student_t(&values) {
        return Some(Mean::Within(interval));
    }
    let (value, scores) = (*values.first()?, runs.first()?);
    let classes = scores.classes.as_ref().filter(|c| !c.confusion.is_empty());
    let right = classes.map(|classes| classes.right());
    let hits = match (metric.name, right) {
        ("accuracy", Some(right)) => Some(right),
        ("error", Some(right)) => Some(scores.examples - right.min(scores.examples)),
        _ => None,
    };
    let interval = hits.and_then(|hits| wilson(hits, scores.examples));
    Some(interval.map_or(Mean::Plain(value), Mean::Within))
}

/// "20.31 ± 0.82" for repeats; "20.31 (19.52 to 21.12)" for one run, whose interval is lopsided.
fn cell(metric: &Metric, mean: &Mean, repeats: usize) -> String {
    let shown = |value: f64| metric.shown(value);
    match mean {
        Mean::Plain(value) => shown(*value),
        Mean::Within(i) if repeats > 1 => format!("{} ± {}", shown(i.mean), shown(i.half_width())),
        Mean::Within(i) => format!("{} ({} to {})", shown(i.mean), shown(i.low), shown(i.high)),
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
            spent: None,
            best_step: Some(5),
            stopped_early: false,
            warnings: Vec::new(),
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
