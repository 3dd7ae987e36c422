//! A survey as text.

use std::fmt::Write;

use super::stage::{Batch, Part, StageSurvey};
use super::{Described, Survey};
use crate::text::corpus::HeaderRow;
use crate::train::progress::thousands;
use crate::train::report::markdown;

/// Characters of a row that are shown, and rows.
const WIDTH: usize = 120;
const ROWS: usize = 3;

impl Survey {
    /// All of it as text: what is read, what each stage makes of it, what may be wrong.
    pub fn table(&self) -> String {
        let mut text = self.data();
        if self.warnings.is_empty() {
            text += "\nnothing to warn of\n";
        }
        for warning in &self.warnings {
            let stages = match &warning.stages[..] {
                // The key says it.
                [one] if warning.key.starts_with(&format!("stage.{one}")) => String::new(),
                [] => String::new(),
                some => format!(" (of {})", some.join(", ")),
            };
            let (key, message) = (&warning.key, &warning.message);
            let _ = write!(text, "\nwarning: {key}: {message}{stages}\n");
        }
        text
    }

    /// What is read, and what each stage makes of it.
    pub fn data(&self) -> String {
        let mut text = String::new();
        self.files.iter().for_each(|f| text += &file(f));
        let (rows, tokenizer) = (&self.rows, &self.tokenizer);
        if let Some(pictures) = &self.pictures {
            text += &pictures.text(rows.repeated);
            self.stages.iter().for_each(|s| text += &of_pictures(s));
            return text;
        }
        text += &format!(
            "{} rows, {} empty, {} repeated; {} tokens of a vocabulary of {}, {:.2} % of them unknown\n",
            thousands(rows.rows as f64),
            rows.empty,
            rows.repeated,
            thousands(tokenizer.tokens as f64),
            thousands(tokenizer.vocabulary as f64),
            100.0 * tokenizer.unknown_share()
        );
        self.stages.iter().for_each(|s| text += &stage(s));
        text
    }
}

fn file(file: &Described) -> String {
    let mut text = format!("{}: {}", file.path.display(), file.format);
    if let Some(encoding) = file.encoding {
        text += &format!(", {encoding}");
    }
    if let Some(separator) = file.separator {
        text += &format!(", fields separated by '{}'", separator.escape_default());
    }
    text += match file.header {
        Some(HeaderRow::None) => ", no header",
        Some(HeaderRow::Guessed) => ", a header by the look of it",
        _ => "",
    };
    for (what, column) in [
        ("text", &file.text),
        ("pair", &file.pair),
        ("label", &file.label),
    ] {
        if let Some(column) = column {
            text += &format!("; {what}: {column}");
        }
    }
    text + "\n"
}

fn stage(stage: &StageSurvey) -> String {
    let mut text = format!("\nstage '{}': {}\n", stage.name, stage.objective);
    if stage.refused.is_some() {
        return text;
    }
    let head = ["part", "texts", "tokens", "unknown %", "also in training"];
    let mut cells = vec![head.map(String::from)];
    let leaks = stage.leaks;
    for (name, part, leaks) in [
        ("training", stage.train, None),
        ("validation", stage.validation, Some(leaks.validation)),
        ("test", stage.test, Some(leaks.test)),
    ] {
        let Part {
            texts,
            tokens,
            unknown,
        } = part;
        cells.push([
            name.into(),
            thousands(texts as f64),
            thousands(tokens as f64),
            format!("{:.2}", 100.0 * unknown as f64 / tokens.max(1) as f64),
            leaks.map_or("–".into(), |leaks| leaks.to_string()),
        ]);
    }
    text += &markdown(&cells);
    text += &labels(stage);
    let (lengths, coverage) = (stage.lengths, &stage.coverage);
    text += &format!(
        "lengths: half of the texts have {} tokens or fewer, nineteen of twenty {}, the longest {}\n\
         cut: {} of {} texts, {} of {} tokens never read\n",
        lengths.median,
        lengths.most,
        lengths.longest,
        coverage.cut,
        coverage.texts,
        thousands(coverage.unread as f64),
        thousands(coverage.tokens as f64)
    );
    if let Some(places) = &coverage.answers {
        text += &format!(
            "lost: {} of {} {}, in {} texts\n",
            thousands(places.lost as f64),
            thousands(places.all as f64),
            places.what,
            places.texts
        );
    }
    match stage.batch.rows {
        0 => text,
        _ => text + &batch(&stage.batch, stage.batches),
    }
}

/// A stage that reads pictures.
fn of_pictures(stage: &StageSurvey) -> String {
    let mut text = format!("\nstage '{}': {}\n", stage.name, stage.objective);
    if stage.refused.is_some() {
        return text;
    }
    let head = ["part", "pictures", "also in training"];
    let mut cells = vec![head.map(String::from)];
    for (name, part, leaks) in [
        ("training", stage.train, None),
        ("validation", stage.validation, Some(stage.leaks.validation)),
        ("test", stage.test, Some(stage.leaks.test)),
    ] {
        let leaks = leaks.map_or("–".into(), |leaks: u64| leaks.to_string());
        cells.push([name.into(), thousands(part.texts as f64), leaks]);
    }
    text += &markdown(&cells);
    text += &labels(stage);
    text + &format!("batches: {} an epoch\n", thousands(stage.batches as f64))
}

fn labels(stage: &StageSurvey) -> String {
    let Some(labels) = &stage.labels else {
        return String::new();
    };
    if let Some(numbers) = labels.numbers {
        return format!(
            "numbers: {} from {} to {}, mean {:.4}, standard deviation {:.4}\n",
            numbers.count, numbers.least, numbers.most, numbers.mean, numbers.deviation
        );
    }
    let head = ["label", "training", "validation", "test"];
    let mut cells = vec![head.map(String::from)];
    for class in &labels.classes {
        let counts = [class.train, class.validation, class.test];
        let [train, validation, test] = counts.map(|n| thousands(n as f64));
        cells.push([class.name.clone(), train, validation, test]);
    }
    let mut text = format!("\n{}", markdown(&cells));
    if labels.none_applies > 0 {
        text += &format!(
            "none applies to {} texts for training\n",
            labels.none_applies
        );
    }
    text
}

fn batch(batch: &Batch, batches: u64) -> String {
    let mut text = format!(
        "batches: {} an epoch; the first has {} rows of {} tokens, {:.1} % of them padding\n",
        thousands(batches as f64),
        batch.rows,
        batch.length,
        100.0 * batch.padding
    );
    for row in batch.texts.iter().take(ROWS) {
        let line: String = row.replace(['\n', '\r', '\t'], " ");
        let shown: String = line.chars().take(WIDTH).collect();
        let more = if line.chars().count() > WIDTH {
            "…"
        } else {
            ""
        };
        text += &format!("  | {shown}{more}\n");
    }
    text
}
