//! What a classifier gets wrong: its confusion matrix, its classes one by one, its worst answers.

use maud::{Markup, html};

use crate::objectives::analysis::{Analysis, Answer};
use crate::objectives::scores::ClassScores;
use crate::train::progress::thousands;

/// Classes whose matrix is still read; of more, the commonest confusions are told.
const MATRIX: usize = 20;

/// Confusions that are told.
const CONFUSIONS: usize = 12;

/// Everything about the answers to one set of texts.
pub fn answers(classes: Option<&ClassScores>, analysis: Option<&Analysis>) -> Markup {
    let known = analysis.map(|a| &a.classes[..]).unwrap_or_default();
    let name = |class: usize| {
        known
            .get(class)
            .cloned()
            .unwrap_or_else(|| class.to_string())
    };
    html! {
        @if let Some(classes) = classes {
            @if classes.confusion.len() <= MATRIX {
                (matrix(&classes.confusion, &name))
                (each(classes, &name))
            } @else {
                (confusions(&classes.confusion, &name))
                details { summary { "each class" } (each(classes, &name)) }
            }
        }
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
        td .right[right] style=(format!("--share:{share:.1}%")) title=(format!("{share:.1} % of {}", thousands(of as f64))) {
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

fn each(classes: &ClassScores, name: &dyn Fn(usize) -> String) -> Markup {
    let confusion = &classes.confusion;
    let share = |part: u64, of: u64| match of {
        0 => "–".to_string(),
        of => format!("{:.3}", part as f64 / of as f64),
    };
    html! {
        .scroll { table {
            thead { tr {
                th { "class" } th.number { "precision" } th.number { "recall" }
                th.number { "F1" } th.number { "texts" }
            } }
            tbody { @for (class, f1) in classes.f1.iter().enumerate() {
                @let there: u64 = confusion[class].iter().sum();
                @let said: u64 = confusion.iter().map(|row| row[class]).sum();
                tr {
                    td { (name(class)) }
                    td.number { (share(confusion[class][class], said)) }
                    td.number { (share(confusion[class][class], there)) }
                    td.number { (format!("{f1:.3}")) }
                    td.number { (thousands(there as f64)) }
                }
            } }
        } }
    }
}

fn worst(answers: &[Answer]) -> Markup {
    html! {
        h3 { "Most wrong" }
        p.note { "Worst first; texts as the tokeniser gives them back." }
        ol.worst { @for answer in answers {
            li {
                p.verdict {
                    "said " b.said { (or_none(&answer.said)) } ", is " b.truth { (or_none(&answer.truth)) }
                    span.off { "off by " (format!("{:.3}", answer.off)) }
                }
                blockquote { (answer.text) }
                @if let Some(pair) = &answer.pair { blockquote { (pair) } }
            }
        } }
    }
}

fn or_none(labels: &str) -> &str {
    if labels.is_empty() { "none" } else { labels }
}
