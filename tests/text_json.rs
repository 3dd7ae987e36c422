//! JSON as people have it: lists, keys that nobody knows, texts that are none.
#![cfg(feature = "train")]

use std::fs;

use melos::text::corpus::{Column, LabelKind, Source, read};
use melos::{Error, Result};
use tempfile::TempDir;

type Row = (String, Option<String>, Option<String>);

struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn source(&self, name: &str, text: impl AsRef<[u8]>) -> Source {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        Source::new(path)
    }
}

/// Texts, their pairs and their labels.
fn all(source: &Source) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    read(source, &mut |example| {
        rows.push((example.text, example.pair, example.label));
        Ok(())
    })?;
    Ok(rows)
}

fn rows(of: &[(&str, Option<&str>)]) -> Vec<Row> {
    let owned = |text: &str| text.to_string();
    of.iter()
        .map(|(text, label)| (owned(text), None, label.map(owned)))
        .collect()
}

/// The line and the words of a row that is refused.
fn refused(source: &Source, line: u64, words: &[&str]) {
    let error = all(source).unwrap_err();
    let at = matches!(&error, Error::MalformedRow { line: found, .. } if *found == line);
    assert!(at, "line {line}: {error:?}");
    let error = error.to_string();
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
    assert!(!error.contains("at line") && error.len() < 400, "{error}");
}

#[test]
fn a_list_is_read_as_lines_are() {
    let place = Place::new();
    let expected = rows(&[("one [", Some("a")), ("zwei, 走れ", Some("3")), ("x", None)]);
    let objects = [
        "{\"text\":\"one [\",\"label\":\"a\"}",
        "{\"label\":3,\"text\":\"zwei, 走れ\",\"more\":{\"a\":[1,{}]}}",
        "{\"text\":\"x\",\"label\":null}",
    ];
    let compact = format!("[{}]", objects.join(","));
    let pretty = objects.join(",\n  ").replace(",\"", ",\n    \"");
    let pretty = format!("\n [\n  {pretty}\n]\n");
    for text in [
        objects.join("\n"),
        compact,
        pretty.clone(),
        pretty.replace('\n', "\r\n"),
    ] {
        for name in ["a.json", "a.jsonl"] {
            for mark in ["", "\u{feff}"] {
                let source = place.source(name, format!("{mark}{text}"));
                assert_eq!(all(&source).unwrap(), expected, "{name} {text}");
            }
        }
    }
    let wide: Vec<u8> = format!("\u{feff}{pretty}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(all(&place.source("a.json", wide)).unwrap(), expected);
    // More objects than are looked at before keys are chosen.
    let many: Vec<String> = (0..1234)
        .map(|n| format!("{{\"text\":\"t{n}\",\"label\":{}}}", n % 2))
        .collect();
    for text in [many.join("\n"), format!("[{}]", many.join(",\n"))] {
        let found = all(&place.source("many.json", text)).unwrap();
        assert_eq!(found.len(), 1234);
        assert_eq!(found[1233].0, "t1233");
    }
    let empty = all(&place.source("a.json", " [ ]\n")).unwrap_err();
    assert!(matches!(empty, Error::EmptyText { .. }), "{empty:?}");
}

#[test]
fn what_is_wrong_in_a_list_has_its_line() {
    let place = Place::new();
    let list = |text: &str| place.source("a.json", text);
    let good = "[\n{\"text\":\"a\",\"label\":1},\n";
    refused(
        &list(&format!("{good}{{\"text\":\"b\"}}\n]")),
        3,
        &["no label", "(text) is 'label'"],
    );
    refused(
        &list(&format!("{good}\n{{\n\"label\":2\n}}]")),
        4,
        &["no text", "(label)"],
    );
    refused(
        &list(&format!("{good}{{\"text\":[\"b\"],\"label\":2}}]")),
        3,
        &["found a list", "of its own"],
    );
    refused(
        &list(&format!("{good}7]")),
        3,
        &["one list of JSON objects: found a number"],
    );
    let long = "long ".repeat(1000);
    refused(&list(&format!("{good}\"{long}\"]")), 3, &["found a string"]);
    refused(&list(good), 3, &["ends within its list"]);
    refused(
        &list(&format!("{good}{{\"text\":\"b\",\"label\":2}}\n]\n[]")),
        5,
        &["trailing"],
    );
    refused(
        &list(&format!("{good}{{\"text\":\"b\" \"label\":2}}]")),
        3,
        &["expected"],
    );
    refused(
        &list(&format!("{good}{{\"text\":\"\\ud83d\",\"label\":2}}]")),
        3,
        &["surrogate"],
    );
    let mut bytes = format!("{good}{{\"text\":\"b").into_bytes();
    bytes.extend(b"\xff\",\"label\":2}]");
    let error = all(&place.source("a.json", bytes)).unwrap_err();
    assert!(matches!(error, Error::NotUtf8 { line: 3, .. }), "{error:?}");
    // One object that is the whole table, and one that runs over lines.
    refused(
        &list("{\"text\":{\"0\":\"a\"},\"label\":{\"0\":1}}"),
        1,
        &["found an object", "of its own"],
    );
    refused(&list("{\n\"text\":\"a\"\n}"), 1, &["within a list"]);
}

#[test]
fn keys_are_found_by_name_and_by_content() {
    let place = Place::new();
    let unlabelled = |source: Source| Source {
        label_optional: true,
        ..source
    };
    // Capital letters do not matter, order does not matter.
    let found = all(&place.source("a.jsonl", "{\"Label\":1,\"Text\":\"a\"}\n")).unwrap();
    assert_eq!(found, rows(&[("a", Some("1"))]));
    // Nobody knows these keys: the text is what has the words.
    let text = "{\"id\":\"doc-1-2-3-4-5-6-7-8\",\"says\":\"so it goes\",\"by\":\"K.V.\",\"label\":\"exceedingly negative\"}\n\
                {\"id\":\"doc-2-3-4-5-6-7-8-9\",\"by\":\"K.V.\",\"says\":\"and so on\",\"label\":\"quite positive\"}\n";
    let expected = rows(&[
        ("so it goes", Some("exceedingly negative")),
        ("and so on", Some("quite positive")),
    ]);
    assert_eq!(all(&place.source("b.jsonl", text)).unwrap(), expected);
    // A label that nobody names is asked for, and the keys are said; a text that is none as well.
    let missing = |source: &Source, role: &str, keys: &str| {
        let error = all(source).unwrap_err().to_string();
        assert!(error.contains(&format!("has no {role} column")), "{error}");
        assert!(
            error.contains(&format!("it has: {keys}")) && error.contains("; name one by its key"),
            "{error}"
        );
        assert!(error.contains(&format!("data.{role}_column")), "{error}");
    };
    missing(
        &place.source("c.jsonl", "{\"says\":\"a b\",\"mood\":1}\n{\"mood\":2}\n"),
        "label",
        "says, mood (first row: a b)",
    );
    let numbers = unlabelled(place.source("d.jsonl", "{\"a\":1,\"b\":\"2026-01-02\"}\n"));
    missing(&numbers, "text", "a, b");
    let wrong = Source {
        text: Some(Column::from("say")),
        ..place.source("b.jsonl", text)
    };
    missing(&wrong, "text", "id, says, by, label");
    // A key may be a number, as may be a column.
    let numbered = Source {
        text: Some(Column::from("0")),
        label: Some(Column::from("1")),
        ..place.source("e.jsonl", "{\"0\":\"a\",\"1\":\"x\"}\n")
    };
    assert_eq!(all(&numbered).unwrap(), rows(&[("a", Some("x"))]));
    // The first object may lack what the others have: it is named, not the file.
    refused(
        &place.source("f.jsonl", "{\"label\":1}\n{\"text\":\"a\",\"label\":1}\n"),
        1,
        &["no text"],
    );
    // A pair is not the text.
    let pair = Source {
        pair: Some(Column::from("answer")),
        ..unlabelled(place.source(
            "g.json",
            "[{\"ask\":\"why so\",\"answer\":\"because it is as it is\"}]",
        ))
    };
    let expected = [(
        "why so".to_string(),
        Some("because it is as it is".to_string()),
        None,
    )];
    assert_eq!(all(&pair).unwrap(), expected);
    // Lists of labels, in a list.
    let several = Source {
        label_kind: LabelKind::Several,
        ..place.source("h.json", "[{\"text\":\"a\",\"labels\":[\"x\",\"y\"]}]")
    };
    assert_eq!(all(&several).unwrap(), rows(&[("a", Some("x,y"))]));
}
