//! How labels are read.
#![cfg(feature = "train")]

use melos::text::{Source, corpus};
use tempfile::TempDir;

#[test]
fn several_labels_may_be_none_and_lists() {
    let root = TempDir::new().unwrap();
    let read = |name: &str, text: &str, several| -> melos::Result<Vec<_>> {
        let path = root.path().join(name);
        std::fs::write(&path, text).unwrap();
        let source = Source {
            several,
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
