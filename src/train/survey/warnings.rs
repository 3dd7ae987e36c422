//! What may be wrong with data, and the key that helps.

use serde::Serialize;

use super::stage::StageSurvey;
use super::{Rows, Survey, TokenizerSurvey};
use crate::objectives;
use crate::text::corpus::{Described, HeaderRow};
use crate::train::config::{RunConfig, StageConfig, StageKind};

/// What may be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The key of the run file that helps.
    pub key: String,
    /// The stages that it concerns; none where it is all of them.
    pub stages: Vec<String>,
    /// What was found, and what to do.
    pub message: String,
}

/// Shares above which something is said.
const CUT: f64 = 0.05;
const UNKNOWN: f64 = 0.02;
const PADDING: f64 = 0.5;
/// How much more frequent a class may be than another.
const IMBALANCE: f64 = 10.0;

/// What was said so far, and of which stage it is now.
#[derive(Default)]
struct Warnings {
    said: Vec<Warning>,
    stage: Option<String>,
}

impl Warnings {
    /// Says something where it is so.
    fn when(&mut self, so: bool, key: impl Into<String>, message: impl FnOnce() -> String) {
        if !so {
            return;
        }
        let warning = Warning {
            key: key.into(),
            stages: self.stage.iter().cloned().collect(),
            message: message(),
        };
        // Stages that divide the same texts have the same faults.
        let same =
            |said: &&mut Warning| (&said.key, &said.message) == (&warning.key, &warning.message);
        match self.said.iter_mut().find(same) {
            Some(said) => said.stages.extend(warning.stages),
            None => self.said.push(warning),
        }
    }
}

/// What is said of a run's data.
pub fn of(survey: &Survey, config: &RunConfig) -> Vec<Warning> {
    let mut warnings = Warnings::default();
    survey
        .files
        .iter()
        .for_each(|file| of_file(&mut warnings, file));
    of_rows(&mut warnings, &survey.rows);
    of_tokenizer(&mut warnings, &survey.tokenizer, config);
    for (stage, own) in survey.stages.iter().zip(&config.stages) {
        warnings.stage = Some(stage.name.clone());
        of_stage(&mut warnings, stage, own, config);
    }
    warnings.said
}

fn of_file(warnings: &mut Warnings, file: &Described) {
    let path = file.path.display();
    let columns = file.columns.join(", ");
    let text = file.text.as_deref().unwrap_or_default();
    warnings.when(file.guessed, "data.text_column", || {
        format!("'{path}': '{text}' was taken for the text, of {columns}, by what stands in it; name the one that is")
    });
    let header = file.header == Some(HeaderRow::Guessed);
    warnings.when(header, "data.text_column", || {
        format!(
            "'{path}': its first row ({columns}) was taken for a header by the look of it; name a column, and it is \
             one, or give one by number, if it is a text"
        )
    });
}

fn of_rows(warnings: &mut Warnings, rows: &Rows) {
    let all = rows.rows;
    let place = |what: &str| {
        let place = rows.places.iter().find(|(name, _)| *name == what);
        place.map_or(String::new(), |(_, place)| {
            let path = place.path.display();
            let repeats = place
                .repeats
                .as_ref()
                .map(|(other, line)| match *other == place.path {
                    true => format!(", as {line}"),
                    false => format!(", as '{}' {line}", other.display()),
                });
            format!(
                " (the first: '{path}' {} {}{})",
                place.unit,
                place.number,
                repeats.unwrap_or_default()
            )
        })
    };
    let (empty, repeated) = (rows.empty, rows.repeated);
    warnings.when(empty > 0, "data.text_column", || {
        let place = place("empty");
        format!("{empty} of {all} rows have no text{place}; take them out, or name the column that has it")
    });
    warnings.when(repeated > 0, "data.path", || {
        let place = place("repeated");
        format!(
            "{repeated} of {all} rows repeat the text of an earlier one{place}: they weigh more, and may stand on \
             both sides of a split; keep one of each"
        )
    });
    warnings.when(rows.disagreeing > 0, "data.label_column", || {
        let place = place("disagreeing");
        format!(
            "{} of these have another label than before{place}; only one can be right",
            rows.disagreeing
        )
    });
    warnings.when(rows.unreadable > 0, "data.path", || {
        let place = place("unreadable");
        format!(
            "{} of {all} rows have characters that were lost when they were written (U+FFFD){place}; take the text \
             from its source",
            rows.unreadable
        )
    });
    warnings.when(rows.garbled > 0, "data.path", || {
        let place = place("garbled");
        format!(
            "{} of {all} rows look like UTF-8 that was taken for Windows-1252, as Ã© for é{place}; \
             `iconv -f UTF-8 -t WINDOWS-1252` undoes it",
            rows.garbled
        )
    });
    warnings.when(rows.control > 0, "data.path", || {
        let place = place("control");
        format!(
            "{} of {all} rows have control characters{place}; take them out",
            rows.control
        )
    });
}

fn of_tokenizer(warnings: &mut Warnings, tokenizer: &TokenizerSurvey, config: &RunConfig) {
    let share = tokenizer.unknown_share();
    let (key, remedy) = if config.tokenizer.file.is_some() {
        (
            "tokenizer.file",
            "take a tokeniser of the language and spelling of the data",
        )
    } else if tokenizer.given {
        (
            "stage.init",
            "start from a model of the language of the data",
        )
    } else if tokenizer.vocabulary >= config.tokenizer.vocabulary {
        ("tokenizer.vocabulary", "raise it")
    } else {
        (
            "tokenizer.min_frequency",
            "lower it, or let tokenizer.kind cut words in pieces",
        )
    };
    warnings.when(share > UNKNOWN, key, || {
        format!(
            "{:.1} % of the tokens ({} of {}) are unknown words; {remedy}",
            100.0 * share,
            tokenizer.unknown,
            tokenizer.tokens
        )
    });
}

fn of_stage(
    warnings: &mut Warnings,
    survey: &StageSurvey,
    stage: &StageConfig,
    config: &RunConfig,
) {
    let at = |key: &str| format!("stage.{}.{key}", stage.name);
    if let Some(error) = &survey.refused {
        warnings.when(true, format!("stage.{}", stage.name), || {
            format!("would be refused: {error}")
        });
        return;
    }
    of_parts(warnings, survey, stage, config);
    of_labels(warnings, survey);
    let (coverage, lengths) = (&survey.coverage, survey.lengths);
    let key = stage.objective.length_key();
    let packs = objectives::owners("packing").contains(&survey.objective);
    let share = coverage.cut as f64 / coverage.texts.max(1) as f64;
    // With the special tokens of a pair.
    let enough = lengths.most + 3;
    let remedy = if packs {
        format!("{key} = {enough} reads nineteen of twenty whole, packing = true all of every one")
    } else {
        format!("{key} = {enough} reads nineteen of twenty whole")
    };
    let places = coverage.answers.as_ref().filter(|places| places.lost > 0);
    warnings.when(share >= CUT || places.is_some(), at(key), || {
        let lost = places.map(|places| {
            format!(
                ", and with them {} of {} {}, in {} texts, of which {} keep none",
                places.lost, places.all, places.what, places.texts, places.emptied
            )
        });
        format!(
            "cuts {} of {} texts ({:.1} %): {:.1} % of the tokens are never read{}; {remedy}",
            coverage.cut,
            coverage.texts,
            100.0 * share,
            100.0 * coverage.unread as f64 / coverage.tokens.max(1) as f64,
            lost.unwrap_or_default()
        )
    });
    warnings.when(coverage.second_cut > 0, at(key), || {
        format!(
            "cuts the second text of {} pairs; raise it, or shorten the texts",
            coverage.second_cut
        )
    });
    let few = (survey.train.texts as usize) < stage.batch && !stage.objective.fills();
    warnings.when(few, at("batch"), || {
        format!(
            "is {}, and there are {} texts to learn from: the other rows stay empty; lower it",
            stage.batch, survey.train.texts
        )
    });
    let (padding, longest) = (survey.batch.padding, lengths.longest + 3);
    let shorter = longest < survey.batch.length;
    let helps = if packs { "packing" } else { key };
    warnings.when(
        padding > PADDING && !few && (packs || shorter),
        at(helps),
        || {
            let remedy = if packs {
                "packing = true fills them with text".to_string()
            } else {
                format!("{key} = {longest} is enough for the longest text")
            };
            format!(
                "{:.0} % of a batch only fills its rows up; {remedy}",
                100.0 * padding
            )
        },
    );
}

fn of_parts(
    warnings: &mut Warnings,
    survey: &StageSurvey,
    stage: &StageConfig,
    config: &RunConfig,
) {
    let (leaks, tested) = (survey.leaks, survey.test.texts);
    let test = match config.data.test {
        Some(_) => "data.test",
        None => "data.path",
    };
    warnings.when(leaks.test > 0, test, || {
        format!(
            "{} of {tested} texts that are tested on stand among those that are learned from: the error will look \
             too small; take them out of one of the two",
            leaks.test
        )
    });
    warnings.when(leaks.validation > 0, "data.path", || {
        format!(
            "{} of {} texts that choose the best checkpoint stand among those that are learned from; keep one of \
             each",
            leaks.validation, survey.validation.texts
        )
    });
    warnings.when(leaks.pretrained > leaks.test, "data.unlabelled", || {
        format!(
            "{} of {tested} texts that are tested on were read, without labels, by a stage before; leave them out \
             of that text where the test is to be of unseen texts",
            leaks.pretrained
        )
    });
    let untested = tested == 0 && stage.kind == StageKind::Finetune;
    warnings.when(untested, "data.test_share", || {
        "is 0, and nothing else is there to test on".into()
    });
}

fn of_labels(warnings: &mut Warnings, survey: &StageSurvey) {
    let Some(labels) = &survey.labels else {
        return;
    };
    let of = labels.of;
    warnings.when(labels.without > 0, "data.label_column", || {
        format!(
            "{} {of} have no label, and are not learned from",
            labels.without
        )
    });
    let learned = || labels.classes.iter().filter(|class| class.train > 0);
    if let (Some(imbalance), Some(least), Some(most)) = (
        labels.imbalance,
        learned().min_by_key(|class| class.train),
        learned().max_by_key(|class| class.train),
    ) {
        warnings.when(imbalance >= IMBALANCE, "data.path", || {
            format!(
                "class '{}' has {} {of} to learn from, '{}' {}: whoever always says '{}' is right in {:.0} %; add {of} \
                 of the rare one, and look at F1, not at the error",
                least.name,
                least.train,
                most.name,
                most.train,
                most.name,
                100.0 * most.train as f64 / learned().map(|c| c.train).sum::<u64>() as f64
            )
        });
    }
    let untested = labels
        .classes
        .iter()
        .filter(|class| class.test == 0)
        .count();
    warnings.when(
        untested > 0 && survey.test.texts > 0,
        "data.test_share",
        || {
            format!(
                "{untested} of {} classes have no {of} to be tested on",
                labels.classes.len()
            )
        },
    );
}
