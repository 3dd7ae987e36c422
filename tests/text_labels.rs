//! How labels are read.
#![cfg(feature = "train")]

use melos::Error;
use melos::text::{LabelKind, Source, corpus};
use tempfile::TempDir;

#[test]
fn several_labels_may_be_none_and_lists() {
    let root = TempDir::new().unwrap();
    let read = |name: &str, text: &str, several| -> melos::Result<Vec<_>> {
        let path = root.path().join(name);
        std::fs::write(&path, text).unwrap();
        let label_kind = match several {
            true => LabelKind::Several,
            false => LabelKind::Class,
        };
        let source = Source {
            label_kind,
            ..Source::new(&path)
        };
        let mut labels = Vec::new();
        corpus::read(&source, &mut |example| {
            labels.push(example.label);
            Ok(())
        })?;
        Ok(labels)
    };
    let owned = |labels: &[Option<&str>]| -> Vec<Option<String>> {
        labels.iter().map(|label| label.map(String::from)).collect()
    };
    let csv = "text,label\na,\"x, y\"\nb,\nc, \nd,x\n";
    let found = read("a.csv", csv, true).unwrap();
    assert_eq!(found, owned(&[Some("x, y"), Some(""), Some(""), Some("x")]));
    let found = read("a.csv", csv, false).unwrap();
    assert_eq!(found, owned(&[Some("x, y"), None, None, Some("x")]));
    // A first row to which alone none applies is no header.
    let first = format!("a,\n{}", "b,x\n".repeat(12));
    assert_eq!(read("b.csv", &first, true).unwrap().len(), 13);
    let line = |label: &str| format!("{{\"text\": \"a\", \"label\": {label}}}\n");
    for (label, expected) in [
        ("[\"x\", \"y\"]", Some("x,y")),
        ("[3, 10]", Some("3,10")),
        ("[]", Some("")),
        ("\"\"", Some("")),
        ("\"x,y\"", Some("x,y")),
        ("null", None),
    ] {
        let found = read("a.jsonl", &line(label), true).unwrap();
        assert_eq!(found, owned(&[expected]), "{label}");
    }
    for (label, several, words) in [
        ("[\"x\"]", false, "needs problem = \"multi_label\""),
        ("{\"x\": 1}", true, "a string, number or boolean"),
        ("[0, 1, 0]", true, "'0' stands twice"),
        ("[\"x,y\"]", true, "without commas"),
        ("[[1]]", true, "strings without commas, or numbers"),
        ("[\"\"]", true, "strings without commas, or numbers"),
    ] {
        let text = line("null") + &line(label);
        let error = read("b.jsonl", &text, several).unwrap_err().to_string();
        assert!(error.contains(words), "{label}: {error}");
        assert!(error.contains("line 2"), "{error}");
    }
}

#[test]
fn a_number_that_is_none_is_refused_where_it_stands() {
    let root = TempDir::new().unwrap();
    let read = |name: &str, text: &str| -> melos::Result<Vec<_>> {
        let path = root.path().join(name);
        std::fs::write(&path, text).unwrap();
        let source = Source {
            label_kind: LabelKind::Number,
            ..Source::new(&path)
        };
        let mut labels = Vec::new();
        corpus::read(&source, &mut |example| {
            labels.push(example.label.unwrap_or("none".into()));
            Ok(())
        })?;
        Ok(labels)
    };
    let good = "label,text\n-1,a\n 2.5e3,b\n,c\n1e-40,d\n";
    let found = read("good.csv", good).unwrap();
    assert_eq!(found, ["-1", "2.5e3", "none", "1e-40"]);
    let good = "{\"text\":\"a\",\"label\":-1.5}\n{\"text\":\"b\",\"label\":null}\n";
    assert_eq!(read("good.jsonl", good).unwrap(), ["-1.5", "none"]);
    // 1e39 is a number, and none that the model's loss can reach.
    for wrong in ["NaN", "inf", "-Infinity", "1e39", "three", "1,5", "0x10"] {
        let csv = format!("text,label\na,1\nb,\"{wrong}\"\n");
        let jsonl =
            format!("{{\"text\":\"a\",\"label\":1}}\n{{\"text\":\"b\",\"label\":\"{wrong}\"}}\n");
        for (name, text, line) in [("a.csv", csv, 3), ("a.jsonl", jsonl, 2)] {
            let error = read(name, &text).unwrap_err();
            let at = matches!(&error, Error::MalformedRow { line: found, .. } if *found == line);
            assert!(at, "{error:?}");
            let error = error.to_string();
            let words = format!("the label '{wrong}' is no finite number");
            assert!(error.contains(&words) && error.contains(name), "{error}");
        }
    }
    // As Python's json writes it.
    let bare = "{\"text\":\"a\",\"label\":1}\n{\"text\":\"b\",\"label\":NaN}\n";
    let error = read("b.jsonl", bare).unwrap_err().to_string();
    assert!(
        error.contains("line 2: ") && error.contains("neither NaN"),
        "{error}"
    );
}
