//! Entities that the labels of words mark, as seqeval reads them in its default mode (Nakayama 2018,
//! after the conlleval script of CoNLL-2000).

use std::collections::BTreeMap;

use super::evidence::Counts;

/// Whether labels mark entities: all of them are `O` or `B-`, `I-`, `E-`, `S-` and a kind, and some begin
/// or go on.
pub fn are_marked<S: AsRef<str>>(labels: &[S]) -> bool {
    let starts = |label: &S, with: &[&str]| with.iter().any(|w| label.as_ref().starts_with(w));
    let marks = |label: &S| label.as_ref() == "O" || starts(label, &["B-", "I-", "E-", "S-"]);
    labels.iter().all(marks) && labels.iter().any(|label| starts(label, &["B-", "I-"]))
}

/// An entity: its kind, its first word, its last.
pub(super) type Span<'a> = (&'a str, usize, usize);

/// The entities of one text. A label's first letter is its mark, what follows the first hyphen its kind.
pub(super) fn entities<'a>(labels: &[&'a str]) -> Vec<Span<'a>> {
    let mut spans = Vec::new();
    let (mut before, mut kind_before, mut start) = ('O', "", 0);
    for (at, label) in labels.iter().chain([&"O"]).enumerate() {
        let (mark, kind) = parts(label);
        let other = kind != kind_before;
        if ends(before, mark) || (!outside(before) && other) {
            // An end where nothing began is no entity of its own.
            spans.push((kind_before, start, at.saturating_sub(1)));
        }
        if begins(before, mark) || (!outside(mark) && other) {
            start = at;
        }
        (before, kind_before) = (mark, kind);
    }
    spans
}

fn parts(label: &str) -> (char, &str) {
    let mut rest = label.chars();
    let mark = rest.next().unwrap_or('O');
    let rest = rest.as_str();
    let kind = rest.split_once('-').map_or(rest, |(_, kind)| kind);
    (mark, if kind.is_empty() { "_" } else { kind })
}

fn outside(mark: char) -> bool {
    matches!(mark, 'O' | '.')
}

fn ends(before: char, mark: char) -> bool {
    match before {
        'E' | 'S' => true,
        'B' | 'I' => matches!(mark, 'B' | 'S' | 'O'),
        _ => false,
    }
}

fn begins(before: char, mark: char) -> bool {
    match mark {
        'B' | 'S' => true,
        'E' | 'I' => matches!(before, 'E' | 'S' | 'O'),
        _ => false,
    }
}

/// Adds the entities of one text to those of its kinds.
pub(super) fn count(counts: &mut BTreeMap<String, Counts>, truth: &[&str], said: &[&str]) {
    let (truth, said) = (entities(truth), entities(said));
    let mut of = |kind: &str| match counts.contains_key(kind) {
        true => (),
        false => drop(counts.insert(kind.to_string(), Counts::default())),
    };
    truth.iter().chain(&said).for_each(|span| of(span.0));
    for span in &truth {
        if let Some(counts) = counts.get_mut(span.0) {
            counts.there += 1;
            counts.hits += u64::from(said.contains(span));
        }
    }
    for span in &said {
        if let Some(counts) = counts.get_mut(span.0) {
            counts.said += 1;
        }
    }
}
