//! Files as people have them: tables without known names, with other separators, in other encodings.

use melos::Error;
use melos::text::LabelKind;
use melos::text::corpus::{Source, Split, read_tagged};

use super::{all, folder, texts, write};

fn pairs(of: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
    let each = |(text, label): &(&str, &str)| (text.to_string(), Some(label.to_string()));
    of.iter().map(each).collect()
}

#[test]
fn a_row_behind_a_header_is_data() {
    let root = folder();
    // Labels that come once, in the first row and later; more rows than a guess needs.
    let common = "fair enough,so\nfair play,so\n".repeat(8);
    for name in ["text,label", "Review,Sentiment"] {
        let path = write(&root, "a.csv", format!("{name}\nsplendid,rare\n{common}"));
        let found = all(&Source::new(&path)).unwrap();
        assert_eq!(found.len(), 17);
        assert_eq!(found[0], ("splendid".into(), Some("rare".into())));
    }
    // A first row without a label does not make the second one the first.
    let path = write(
        &root,
        "b.tsv",
        format!("nothing,\nsplendid,rare\n{common}").replace(',', "\t"),
    );
    assert_eq!(all(&Source::new(&path)).unwrap().len(), 18);
}

#[test]
fn the_text_of_a_table_is_told_by_its_content() {
    let root = folder();
    let unlabelled = |text: &str| {
        let path = write(&root, "a.csv", text);
        texts(&Source::unlabelled(&path))
    };
    // Names that are long, over numbers, addresses and labels.
    let found = unlabelled(
        "a_very_long_number_indeed,say,homepage_of_the_author\n\
         17,no more,https://example.org/somewhere/else\n23,yes please,https://example.org/a/b\n",
    );
    assert_eq!(found, ["no more", "yes please"]);
    let found = unlabelled(
        "c1,c2,,\nnot_interesting_at_all,a dull play,,\nnot_interesting_at_all,a dark play,,\n\
         not_interesting_at_all,a sad play,,\ngood,a fine play,,\n",
    );
    assert_eq!(
        found,
        ["a dull play", "a dark play", "a sad play", "a fine play"]
    );
    // A known label is never the text; the row that names it is no text.
    let found = unlabelled("opinion,sentiment\nbad,exceedingly negative\nfine,quite positive\n");
    assert_eq!(found, ["bad", "fine"]);
    // Without a header, nothing is lost.
    assert_eq!(
        unlabelled("1,so it goes\n2,and so on\n"),
        ["so it goes", "and so on"]
    );
    assert_eq!(unlabelled("one\ntwo\n"), ["one", "two"]);
    // With labels that are known, in a table of many columns.
    let text = "id,added,phrase,author,label\nx1,2026-01-02,well done,AB,1\ny2,2026-02-03,all wrong,CD,0\n";
    let path = write(&root, "b.csv", text);
    let expected = pairs(&[("well done", "1"), ("all wrong", "0")]);
    assert_eq!(all(&Source::new(&path)).unwrap(), expected);
    // No text: melos asks.
    let path = write(&root, "c.csv", "a,b\n1,2\n3,4\n");
    let error = all(&Source::unlabelled(&path)).unwrap_err();
    assert!(
        matches!(error, Error::ColumnMissing { role: "text", .. }),
        "{error:?}"
    );
}

#[test]
fn separators_are_told_by_the_first_rows() {
    let root = folder();
    let expected = pairs(&[
        ("well; done, really", "1"),
        ("all\twrong", "0"),
        ("so | so", "1"),
    ]);
    for (name, separator) in [
        ("a.csv", ';'),
        ("b.csv", '\t'),
        ("c.csv", '|'),
        ("d.tsv", ','),
        ("e.tsv", ';'),
    ] {
        for header in ["text,label\n", ""] {
            let header = header.replace(',', &separator.to_string());
            let rows: String = expected
                .iter()
                .map(|(text, label)| format!("\"{text}\"{separator}{}\n", label.as_ref().unwrap()))
                .collect();
            let path = write(&root, name, format!("{header}{rows}"));
            let found = all(&Source::new(&path)).unwrap();
            assert_eq!(found, expected, "{name} {header:?}");
        }
    }
    // A line for Excel is no row.
    for (mark, end) in [("", "\n"), ("\u{feff}", "\r\n")] {
        let text = format!("{mark}sep=;\ntext;label\na, b;1\nc;0\n").replace('\n', end);
        let path = write(&root, "excel.csv", &text);
        let found = all(&Source::new(&path)).unwrap();
        assert_eq!(found, pairs(&[("a, b", "1"), ("c", "0")]));
        let path = write(&root, "excel.csv", format!("{text}d{end}"));
        let error = all(&Source::new(&path)).unwrap_err();
        assert!(
            matches!(error, Error::MalformedRow { line: 5, .. }),
            "{error:?}"
        );
    }
    // The rows that follow are read as the first ones are.
    let path = write(&root, "f.csv", "text;label\ngood;1\nbad\n");
    let error = all(&Source::new(&path)).unwrap_err();
    assert!(
        matches!(error, Error::MalformedRow { line: 3, .. }),
        "{error:?}"
    );
}

fn utf16(text: &str) -> [Vec<u8>; 2] {
    [u16::to_le_bytes, u16::to_be_bytes].map(|unit| text.encode_utf16().flat_map(unit).collect())
}

#[test]
fn text_in_utf_16_is_read() {
    let root = folder();
    let expected = pairs(&[("überaus 走れ", "a"), ("naïve", "b")]);
    for (name, text) in [
        ("a.csv", "text,label\nüberaus 走れ,a\nnaïve,b\n"),
        ("a.tsv", "label\ttext\r\na\tüberaus 走れ\r\nb\tnaïve\r\n"),
        (
            "a.jsonl",
            "{\"text\":\"überaus 走れ\",\"label\":\"a\"}\n{\"text\":\"naïve\",\"label\":\"b\"}\n",
        ),
    ] {
        for mark in ["\u{feff}", ""] {
            for bytes in utf16(&format!("{mark}{text}")) {
                // Without a mark, the first two letters tell.
                let path = write(&root, name, bytes);
                assert_eq!(
                    all(&Source::new(&path)).unwrap(),
                    expected,
                    "{name} {mark:?}"
                );
            }
            let path = write(&root, name, format!("{mark}{text}"));
            assert_eq!(
                all(&Source::new(&path)).unwrap(),
                expected,
                "{name} {mark:?}"
            );
        }
    }
    let books = folder();
    let [le, be] = utf16("\u{feff}eins\r\nzwei");
    write(&books, "a.txt", le);
    write(&books, "b.txt", be);
    assert_eq!(texts(&Source::new(books.path())), ["eins\nzwei"; 2]);
    let path = write(&root, "cut.txt", &utf16("\u{feff}ein Film")[0][..9]);
    let error = all(&Source::new(&path)).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
}

#[test]
fn json_lines_have_many_names() {
    let root = folder();
    let rows = "{\"text\":\"one\",\"label\":\"a\"}\n{\"text\":\"two\",\"label\":\"b\"}\n";
    for name in ["a.json", "a.JSON", "a.ndjson", "a.jsonl"] {
        let path = write(&root, name, rows);
        assert_eq!(
            all(&Source::new(&path)).unwrap(),
            pairs(&[("one", "a"), ("two", "b")])
        );
    }
    let tagged = write(
        &root,
        "t.json",
        "{\"tokens\":[\"one\",\"two\"],\"tags\":[\"X\",\"Y\"]}\n",
    );
    assert_eq!(
        read_tagged(&Source::new(&tagged)).unwrap()[0].words,
        ["one", "two"]
    );
    let says = |text: &str, line: u64, words: &[&str]| {
        let path = write(&root, "wrong.json", text);
        let error = all(&Source::new(&path)).unwrap_err();
        let at = matches!(error, Error::MalformedRow { line: found, .. } if found == line);
        assert!(at, "{error:?}");
        let error = error.to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert!(!error.contains("at line"), "{error}");
    };
    says("{\n \"text\": \"one\"\n}\n", 1, &["one JSON object"]);
    let half = format!("{rows}{{\"text\":\"three \\ud83d\",\"label\":\"a\"}}\n");
    says(&half, 3, &["half of a surrogate pair"]);
    says(
        &format!("{rows}{{\"txt\":\"three\"}}\n"),
        3,
        &["no text", "'text'", "(txt)"],
    );
    says(
        &format!("{rows}{{\"text\":\"three\"}}\n"),
        3,
        &["no label", "'label'", "(text)"],
    );
}

#[test]
fn lists_of_labels_name_what_applies() {
    let root = folder();
    let path = write(
        &root,
        "a.jsonl",
        "{\"text\":\"x\",\"labels\":[\"sad\",\"long\"]}\n{\"text\":\"y\",\"labels\":[]}\n{\"text\":\"z\",\"labels\":[3]}\n",
    );
    let source = Source {
        label_kind: LabelKind::Several,
        split: Some(Split::Train),
        ..Source::new(&path)
    };
    let expected = pairs(&[("x", "sad,long"), ("y", ""), ("z", "3")]);
    assert_eq!(all(&source).unwrap(), expected);
    let error = all(&Source::new(&path)).unwrap_err().to_string();
    assert!(error.contains("multi_label"), "{error}");
}
