//! `report.html`: a run to look at, in one file that needs no network. All that it shows is read from
//! the run's folder, so that it can be made again at any time.

mod answers;
mod chart;
pub mod commands;
mod series;
mod settings;

use std::path::{Path, PathBuf};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::chart::{Chart, Line};
pub(super) use self::series::UnitLog;
use self::series::{Point, band, rough, smooth};
use super::artifacts::analysis::UnitAnalysis;
use super::artifacts::curves::OKABE_ITO;
use super::artifacts::log;
use super::artifacts::{REPORT, config_of};
use super::config::{RunConfig, StageKind};
use super::progress::{clock, thousands};
use super::report::{Measure, Report, Row, UnitResult, by_score, measure};
use super::run::units;
use super::spent::Spent;
use super::task::Unit;
use crate::atomic::write_file;
use crate::error::Result;
use crate::objectives::scores::Scores;

/// A unit with all that its folder and the log say of it.
struct Told {
    unit: Unit,
    log: UnitLog,
    result: Option<UnitResult>,
    analysis: UnitAnalysis,
}

impl Told {
    fn scores(&self) -> Option<(&'static str, &Scores)> {
        let result = self.result.as_ref()?;
        let test = result.test.as_ref().map(|s| ("test", s));
        test.or(result.validation.as_ref().map(|s| ("validation", s)))
    }
}

/// A run as its folder tells it.
struct Page<'a> {
    config: &'a RunConfig,
    folder: &'a Path,
    told: Vec<Told>,
    report: Report,
}

/// Writes the report of the run in `folder`, finished or not.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io), [`Error::DiskFull`](crate::Error::DiskFull);
/// [`Error::Folder`](crate::Error::Folder) where a file of the run is damaged.
pub fn write(folder: &Path, config: &RunConfig) -> Result<()> {
    let metrics = folder.join("metrics.jsonl");
    let lines = if metrics.exists() {
        log::read(&metrics)?
    } else {
        Vec::new()
    };
    let tell = |unit: Unit| {
        let path = folder.join(&unit.name);
        Ok(Told {
            log: UnitLog::of(&lines, &unit.name),
            result: UnitResult::read(&path)?,
            analysis: UnitAnalysis::read(&path)?,
            unit,
        })
    };
    let told = units(config).into_iter().map(tell);
    let told = told.collect::<Result<Vec<Told>>>()?;
    let results = told.iter().filter_map(|t| t.result.clone()).collect();
    let page = Page {
        config,
        folder,
        report: Report::new(config, results),
        told,
    };
    write_file(&folder.join(REPORT), page.html().into_string().as_bytes())
}

/// The colour of a stage, by its number; there are so many that can be told apart by everyone.
fn colour(stage: usize) -> usize {
    stage % OKABE_ITO.len()
}

fn seconds(seconds: f64) -> String {
    match seconds {
        0.0..10.0 => format!("{seconds:.1} s"),
        0.0..100.0 => format!("{seconds:.0} s"),
        _ => clock(std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default()),
    }
}

impl Page<'_> {
    fn html(&self) -> Markup {
        let name = &self.config.name;
        let colour = |(n, (r, g, b)): (usize, &(u8, u8, u8))| format!("--c{n}:rgb({r} {g} {b});");
        let colours: String = OKABE_ITO.iter().enumerate().map(colour).collect();
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (name) " · melos" }
                    // No icon is asked for, not even of the disk.
                    link rel="icon" href="data:,";
                    style { ":root{" (colours) "}" (PreEscaped(include_str!("style.css"))) }
                }
                body {
                    main {
                        h1 { (name) }
                        @if !self.config.description.is_empty() { p { (self.config.description) } }
                        (self.state())
                        (self.tiles())
                        (self.table())
                        @for kind in [StageKind::Finetune, StageKind::Pretrain] { (self.curves(kind)) }
                        (self.answers())
                        (self.cut())
                        (self.time())
                        (self.commands())
                        (settings::settings(self.config))
                    }
                    script { (PreEscaped(include_str!("hover.js"))) }
                }
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.told.iter().all(|t| t.result.is_some())
    }

    fn state(&self) -> Markup {
        let done = self.report.units.len();
        html! {
            @if !self.is_finished() {
                p.unfinished {
                    "This run is not finished: " (done) " of " (self.told.len())
                    " stages and repeats are done. What follows is what is there so far."
                }
            }
        }
    }

    /// The unit whose model the run is asked by.
    fn best(&self) -> Option<&Told> {
        let model = self.report.model.as_deref()?;
        self.told
            .iter()
            .find(|t| model.strip_suffix("/model") == Some(&t.unit.name))
    }

    fn tiles(&self) -> Markup {
        let units = &self.report.units;
        let tokens: u64 = units.iter().map(|u| u.tokens).sum();
        let all: f64 = units.iter().map(|u| u.seconds).sum();
        let memory = units.iter().filter_map(|u| u.peak_memory).max();
        let best = self.best();
        let measured = best.and_then(|t| {
            let (split, scores) = t.scores()?;
            Some((t, split, measure(scores)?))
        });
        html! {
            .tiles {
                @if let Some((told, split, measure)) = measured {
                    .tile {
                        b { (measure.shown()) }
                        span { (split) " " (measure.name) " of " (told.unit.name) ", the best model" }
                    }
                }
                @if let Some(result) = best.and_then(|t| t.result.as_ref()) {
                    .tile { b { (thousands(result.parameters as f64)) } span { "parameters" } }
                }
                .tile { b { (thousands(tokens as f64)) } span { "tokens read in training" } }
                .tile { b { (seconds(all)) } span { "all stages and repeats together" } }
                @if let Some(memory) = memory {
                    .tile { b { (thousands(memory as f64 / f64::from(1 << 20))) " MiB" } span { "device memory at most" } }
                }
            }
        }
    }

    fn table(&self) -> Markup {
        let rows = &self.report.rows;
        if rows.is_empty() {
            return html! {};
        }
        let cells = self.report.cells();
        let best = self.best().map(|t| &self.config.stages[t.unit.stage].name);
        let high = rows
            .iter()
            .filter_map(|r| r.interval("error"))
            .map(|e| e.high)
            .fold(0.0, f64::max);
        let stage = |row: &Row| self.config.stages.iter().position(|s| s.name == row.model);
        html! {
            h2 { "Results" }
            .scroll { table {
                thead { tr {
                    @for (column, cell) in cells[0].iter().enumerate() { th .number[column > 0] { (cell) } }
                    @if high > 0.0 { th { "0 to " (format!("{:.0} %", 100.0 * high)) } }
                } }
                tbody { @for (row, cells) in rows.iter().zip(&cells[1..]) {
                    tr .best-row[Some(&row.model) == best] {
                        @for (column, cell) in cells.iter().enumerate() { td .number[column > 0] { (cell) } }
                        @if high > 0.0 { td { @if let Some(error) = row.interval("error") {
                            .whisker style=(format!("--c:var(--c{})", colour(stage(row).unwrap_or(0)))) {
                                @let share = |value: f64| 100.0 * value / high;
                                i style=(format!("left:{:.1}%;width:{:.1}%", share(error.low.max(0.0)), share(error.high - error.low.max(0.0)))) {}
                                b style=(format!("left:{:.1}%", share(error.mean))) {}
                            }
                        } } }
                    }
                } }
            } }
            @if high > 0.0 {
                p.note { "Intervals are of 95 %: Student's t over repeats, Wilson's over the texts where there is one run." }
            }
            @for unit in &self.report.units {
                @for warning in &unit.warnings { p.note { b { (unit.unit) ": " } (warning) } }
            }
            @if rows.len() > 1 && best.is_some() {
                p.note { "In bold the stage of the best model, chosen on validation texts." }
            }
        }
    }

    /// The stages of a kind that have something in the log, with their units.
    fn logged(&self, kind: StageKind) -> Vec<(usize, Vec<&Told>)> {
        let stages = self.config.stages.iter().enumerate();
        let stages = stages
            .filter(|(_, stage)| stage.kind == kind)
            .map(|(index, _)| {
                let units = self.told.iter().filter(|t| t.unit.stage == index);
                (
                    index,
                    units.filter(|t| !t.log.loss.is_empty()).collect::<Vec<_>>(),
                )
            });
        stages.filter(|(_, units)| !units.is_empty()).collect()
    }

    /// Curves of one kind of stage: their losses have nothing in common with those of another.
    fn curves(&self, kind: StageKind) -> Markup {
        let stages = self.logged(kind);
        if stages.is_empty() {
            return html! {};
        }
        let name = |index: usize| self.config.stages[index].name.clone();
        let mut loss = Vec::new();
        for (index, units) in &stages {
            let of = |points: fn(&UnitLog) -> Vec<Point>| {
                units.iter().map(|t| points(&t.log)).collect::<Vec<_>>()
            };
            loss.push(Line {
                name: name(*index),
                colour: colour(*index),
                raw: of(|log| rough(&log.loss)),
                band: band(&of(|log| smooth(&log.loss))),
                ..Line::default()
            });
            let validation = of(UnitLog::validation);
            loss.push(Line {
                name: name(*index),
                colour: colour(*index),
                best: best_points(units, &validation),
                band: band(&validation),
                measured: true,
                ..Line::default()
            });
        }
        let rate = |(index, units): &(usize, Vec<&Told>)| Line {
            name: name(*index),
            colour: colour(*index),
            band: band(
                &units
                    .iter()
                    .take(1)
                    .map(|t| rough(&t.log.rate))
                    .collect::<Vec<_>>(),
            ),
            ..Line::default()
        };
        let rate = stages.iter().map(rate).collect();
        html! {
            h2 { @if kind == StageKind::Pretrain { "Pretraining" } @else { "Fine-tuning" } }
            ul.legend { @for (index, units) in &stages {
                li style=(format!("--c:var(--c{})", colour(*index))) {
                    (name(*index))
                    @if units.len() > 1 { " (" (units.len()) " runs)" }
                }
            } }
            .charts {
                (Chart { title: "loss, nats", lines: loss, is_ratio: false, is_wide: true }.draw())
                @for (title, is_ratio, lines) in self.measured(&stages) {
                    (Chart { title: &title, lines, is_ratio, is_wide: false }.draw())
                }
                (Chart { title: "learning rate", lines: rate, is_ratio: false, is_wide: false }.draw())
            }
            p.note {
                "Over steps. Faint: each step's loss; solid: their exponential mean over a fortieth of the steps, or five; "
                "dashed with dots: validation; ringed: the checkpoint that was kept. "
                "Of several runs the line is the mean and the band reaches from the lowest to the highest."
            }
        }
    }

    /// One chart for each measure that the stages are validated by.
    fn measured(&self, stages: &[(usize, Vec<&Told>)]) -> Vec<(String, bool, Vec<Line>)> {
        let mut charts: Vec<(String, bool, Vec<Line>)> = Vec::new();
        for (index, units) in stages {
            let all: Vec<_> = units.iter().map(|t| t.log.measures()).collect();
            let Some((_, first)) = all.iter().flatten().next().copied() else {
                continue;
            };
            let own = |unit: &Vec<(f64, Measure)>| {
                let same = unit.iter().filter(|(_, m)| m.name == first.name);
                same.map(|(step, m)| (*step, m.value))
                    .collect::<Vec<Point>>()
            };
            let points: Vec<Vec<Point>> = all.iter().map(own).collect();
            let line = Line {
                name: self.config.stages[*index].name.clone(),
                colour: colour(*index),
                best: best_points(units, &points),
                band: band(&points),
                measured: true,
                ..Line::default()
            };
            let title = format!("validation {}", first.name);
            match charts.iter_mut().find(|chart| chart.0 == title) {
                Some(chart) => chart.2.push(line),
                None => charts.push((title, first.is_ratio, vec![line])),
            }
        }
        charts
    }

    /// What the classifiers get wrong, each by the best of its repeats.
    fn answers(&self) -> Markup {
        let mut shown: Vec<(&Told, &'static str, &Scores, usize)> = Vec::new();
        for index in 0..self.config.stages.len() {
            let units = self.told.iter().filter(|t| t.unit.stage == index);
            let scored: Vec<_> = units.filter_map(|t| Some((t, t.scores()?))).collect();
            let validated = |t: &Told| {
                let result = t.result.as_ref()?;
                Some(
                    result
                        .validation
                        .as_ref()
                        .or(result.test.as_ref())?
                        .to_minimise(),
                )
            };
            let least = |a: &&(&Told, _), b: &&(&Told, _)| {
                let of = |t: &Told| validated(t).unwrap_or([f64::MAX; 2]);
                by_score(&of(a.0), &of(b.0))
            };
            let Some((told, (split, scores))) = scored.iter().min_by(least) else {
                continue;
            };
            let answered = told.analysis.answers.as_ref();
            if scores.classes.is_some() || answered.is_some_and(|a| !a.worst.is_empty()) {
                shown.push((told, *split, *scores, scored.len()));
            }
        }
        let best = self.best().map(|t| t.unit.stage);
        shown.sort_by_key(|(told, ..)| Some(told.unit.stage) != best);
        html! {
            @for (at, (told, split, scores, of)) in shown.iter().enumerate() {
                @if at == 0 { h2 { "What is answered wrong" } }
                details open[at == 0] {
                    summary {
                        (told.unit.name) ", " (thousands(scores.examples as f64)) " answers of the " (split) " part"
                        @if *of > 1 { "; of " (of) " runs the best on validation texts" }
                    }
                    (answers::answers(scores, told.analysis.answers.as_ref()))
                }
            }
        }
    }

    fn cut(&self) -> Markup {
        let stages = self.config.stages.iter().enumerate();
        let cut: Vec<_> = stages
            .filter(|(_, stage)| stage.kind != StageKind::Evaluate)
            .filter_map(|(index, stage)| {
                let mut units = self.told.iter().filter(|t| t.unit.stage == index);
                Some((stage, units.find_map(|t| t.analysis.coverage.as_ref())?))
            })
            .collect();
        let share = |part: u64, of: u64| format!("{:.2} %", 100.0 * part as f64 / of.max(1) as f64);
        html! {
            @if !cut.is_empty() {
                h2 { "What was cut off" }
                .scroll { table {
                    thead { tr {
                        th { "stage" } th { "its key" } th.number { "training texts" } th.number { "cut" }
                        th.number { "their tokens" } th.number { "never read" }
                    } }
                    tbody { @for (stage, cut) in &cut { tr {
                        td { (stage.name) }
                        td { code { (stage.objective.length_key()) " = " (stage.objective.length()) } }
                        td.number { (thousands(cut.texts as f64)) }
                        td.number { (share(cut.cut, cut.texts)) }
                        td.number { (thousands(cut.tokens as f64)) }
                        td.number { (share(cut.unread, cut.tokens)) }
                    } } }
                } }
            }
        }
    }

    /// What each stage spent, all its repeats together.
    fn spent(&self, row: &Row) -> Vec<(&'static str, f64)> {
        let mut spent = Spent::default();
        for unit in self.report.units.iter().filter(|u| u.stage == row.model) {
            spent += unit.spent.unwrap_or_default();
        }
        spent.parts(row.seconds).to_vec()
    }

    fn time(&self) -> Markup {
        let rows = self.report.rows.iter().map(|row| (row, self.spent(row)));
        let rows: Vec<_> = rows.collect();
        let all = |parts: &[(&str, f64)]| parts.iter().map(|part| part.1).sum::<f64>();
        let longest = rows.iter().map(|(_, parts)| all(parts)).fold(0.0, f64::max);
        let names = rows.first().map(|(_, parts)| parts.clone());
        let colour = |at: usize| format!("var(--c{at})");
        html! {
            @if longest > 0.0 {
                h2 { "Where the time went" }
                ul.legend { @for (at, (name, _)) in names.iter().flatten().enumerate() {
                    li style=(format!("--c:{}", colour(at))) { (name) }
                } }
                .times { @for (row, parts) in &rows {
                    span { (row.model) }
                    .bar title=(told(parts)) { @for (at, (_, part)) in parts.iter().enumerate() {
                        i style=(format!("width:{:.2}%;background:{}", 100.0 * part / longest, colour(at))) {}
                    } }
                    span.number { (seconds(all(parts))) }
                } }
                p.note { "All repeats of a stage together. Text is read once, for the first stage that needs it." }
            }
        }
    }

    fn commands(&self) -> Markup {
        let best = self.best();
        let best = best.map(|t| (&self.config.stages[t.unit.stage], t.unit.name.as_str()));
        html! {
            h2 { "Go on from here" }
            .commands { @for (what, command) in commands::commands(self.folder, best, self.is_finished()) {
                p { (what) }
                pre { code { (command) } }
            } }
        }
    }
}

/// Parts of a time, each with its seconds.
fn told(parts: &[(&str, f64)]) -> String {
    let parts = parts.iter().filter(|(_, part)| *part > 0.0);
    let parts: Vec<String> = parts
        .map(|(name, part)| format!("{name}: {}", seconds(*part)))
        .collect();
    parts.join(", ")
}

/// Where the kept checkpoints stand on the curves of their units, if those are drawn as they are.
fn best_points(units: &[&Told], curves: &[Vec<Point>]) -> Vec<Point> {
    let together = band(curves);
    let best = units.iter().filter_map(|t| {
        let step = t.result.as_ref()?.best_step? as f64;
        let at = together.iter().find(|spread| spread.step == step)?;
        Some((at.step, at.mean))
    });
    best.collect()
}

/// Writes the report of a run's folder again; its path.
///
/// # Errors
/// [`Error::Folder`](crate::Error::Folder) where there is no run; as [`write()`].
pub fn remake(folder: &Path) -> Result<PathBuf> {
    write(folder, &config_of(folder)?)?;
    Ok(folder.join(REPORT))
}
