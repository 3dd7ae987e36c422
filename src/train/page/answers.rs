//! What a classifier gets wrong: its confusion matrix, its classes one by one, its worst answers.

use maud::{Markup, html};

use crate::objectives::analysis::{Analysis, Answer};
use crate::objectives::scores::{ClassScores, MATRIX, Scores};
use crate::train::progress::thousands;

/// Confusions that are told.
const CONFUSIONS: usize = 12;

/// Everything about the answers to one set of texts.
pub fn answers(scores: &Scores, analysis: Option<&Analysis>) -> Markup {
    let classes = scores.classes.as_ref();
    let known = classes.map(|c| &c.names[..]).unwrap_or_default();
    let name = |class: usize| {
        known
            .get(class)
            .cloned()
            .unwrap_or_else(|| class.to_string())
    };
    html! {
        @if let Some(classes) = classes {
            @if classes.confusion.len() <= MATRIX {
                @if !classes.confusion.is_empty() { (matrix(&classes.confusion, &name)) }
                (each("class", classes))
            } @else {
                (confusions(&classes.confusion, &name))
                details { summary { "each class" } (each("class", classes)) }
            }
        }
        @if let Some(entities) = &scores.entities { h3 { "Entities" } (each("entity", entities)) }
        @if let Some(analysis) = analysis {
            @if !analysis.worst.is_empty() { (worst(&analysis.worst)) }
        }
    }
}

fn matrix(confusion: &[Vec<u64>], name: &dyn Fn(usize) -> String) -> Markup {
    html! {
        h3 { "Confusion matrix" }
        .scroll { table.matrix {
            thead {
                tr { th {} th.over colspan=(confusion.len()) { "predicted" } }
                tr {
                    th.corner { "true" }
                    @for class in 0..confusion.len() { th { (name(class)) } }
                }
            }
            tbody { @for (truth, row) in confusion.iter().enumerate() {
                tr {
                    th { (name(truth)) }
                    @for (said, count) in row.iter().enumerate() {
                        (cell(*count, row.iter().sum(), truth == said))
                    }
                }
            } }
        } }
        p.note { "A row holds the texts of one class; the deeper a cell's colour, the larger its share of the row." }
    }
}

fn cell(count: u64, of: u64, right: bool) -> Markup {
    let share = 100.0 * count as f64 / of.max(1) as f64;
    html! {
        // Dark writing cannot be read on the deep colours, nor light writing on the pale ones.
        td .right[right] .deep[share > 60.0] style=(format!("--share:{share:.1}%")) title=(format!("{share:.1} % of {}", thousands(of as f64))) {
            (thousands(count as f64))
        }
    }
}

fn confusions(confusion: &[Vec<u64>], name: &dyn Fn(usize) -> String) -> Markup {
    let mut all: Vec<(u64, usize, usize)> = Vec::new();
    for (truth, row) in confusion.iter().enumerate() {
        let wrong = row
            .iter()
            .enumerate()
            .filter(|(said, n)| *said != truth && **n > 0);
        all.extend(wrong.map(|(said, count)| (*count, truth, said)));
    }
    all.sort_by(|a, b| b.0.cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    all.truncate(CONFUSIONS);
    html! {
        h3 { "Commonest confusions of " (confusion.len()) " classes" }
        .scroll { table {
            thead { tr { th { "true" } th { "predicted" } th.number { "texts" } } }
            tbody { @for (count, truth, said) in all {
                tr { td { (name(truth)) } td { (name(said)) } td.number { (thousands(count as f64)) } }
            } }
        } }
    }
}

fn each(what: &str, classes: &ClassScores) -> Markup {
    let rows = classes.table(what);
    html! {
        @if rows.len() > 1 { .scroll { table {
            thead { tr { @for (at, cell) in rows[0].iter().enumerate() { th .number[at > 0] { (cell) } } } }
            tbody { @for row in &rows[1..] {
                tr { @for (at, cell) in row.iter().enumerate() { td .number[at > 0] { (cell) } } }
            } }
        } } }
    }
}

fn worst(answers: &[Answer]) -> Markup {
    html! {
        h3 { "Most wrong" }
        p.note { "Worst first; texts as the tokeniser gives them back, pictures by their names." }
        ol.worst { @for answer in answers {
            li {
                p.verdict {
                    "said " b.said { (or_none(&answer.said)) } ", is " b.truth { (or_none(&answer.truth)) }
                    span.off { "off by " (format!("{:.3}", answer.off)) }
                }
                @if let Some(thumbnail) = &answer.thumbnail { img src=(thumbnail) alt=(answer.text); }
                blockquote { (answer.text) }
                @if let Some(pair) = &answer.pair { blockquote { (pair) } }
            }
        } }
    }
}

fn or_none(labels: &str) -> &str {
    if labels.is_empty() { "none" } else { labels }
}
