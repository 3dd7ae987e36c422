//! Parquet files, and several files that are one data set.

use std::fs;
use std::path::{Path, PathBuf};

use melos::text::corpus::{
    Example, Format, Source, Split, describe, is_tagged, read, read_tagged, same_columns,
};
use melos::text::{LabelKind, corpus};
use melos::{Error, Result};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/parquet")
        .join(name)
}

fn examples(source: &Source) -> Result<Vec<Example>> {
    let mut examples = Vec::new();
    read(source, &mut |example| {
        examples.push(example);
        Ok(())
    })?;
    Ok(examples)
}

fn labels(source: &Source) -> Result<Vec<Option<String>>> {
    let examples = examples(source)?.into_iter();
    Ok(examples.map(|example| example.label).collect())
}

fn some(labels: &[&str]) -> Vec<Option<String>> {
    labels.iter().map(|label| Some(label.to_string())).collect()
}

#[test]
fn parquet_says_what_pyarrow_wrote() {
    for name in ["none", "snappy", "gzip"] {
        let source = Source::new(fixture(&format!("{name}.parquet")));
        assert_eq!(source.resolve_format().unwrap(), Format::Parquet);
        let found = examples(&source).unwrap();
        let texts: Vec<(&str, &str)> = (found.iter())
            .map(|e| (e.text.as_str(), e.pair.as_deref().unwrap()))
            .collect();
        assert_eq!(
            texts,
            [
                ("It is late.", "It is not early."),
                ("Größe 走れ", "a\nb"),
                ("She said \"so", "He, too"),
            ]
        );
        let own: Vec<Option<&str>> = found.iter().map(|e| e.label.as_deref()).collect();
        assert_eq!(own, [Some("1"), Some("0"), None]);
        assert_eq!(found[2].line, Some(3));
        let of = |column: &str, kind: LabelKind| {
            labels(&Source {
                label: Some(column.into()),
                label_kind: kind,
                ..source.clone()
            })
        };
        let numbers = of("score", LabelKind::Number).unwrap();
        assert_eq!(numbers, some(&["0.5", "-1.25", "3.0"]));
        assert_eq!(
            of("tags", LabelKind::Several).unwrap(),
            some(&["sad,long", "", "sad"])
        );
        assert_eq!(
            of("checked", LabelKind::Class).unwrap(),
            some(&["true", "false", "true"])
        );
        let missing = of("nothing", LabelKind::Class).unwrap_err().to_string();
        assert!(
            missing.contains("idx, sentence1, sentence2, label"),
            "{missing}"
        );
    }
    let binary = examples(&Source::new(fixture("binary.parquet"))).unwrap();
    assert_eq!(binary[1].text, "and so on");
    let words = fixture("words.parquet");
    assert!(is_tagged(&words).unwrap());
    let described = describe(&Source::new(&words), true).unwrap();
    assert_eq!(
        (described.format.as_str(), described.encoding),
        ("parquet", None)
    );
    let texts = read_tagged(&Source::new(&words)).unwrap();
    assert_eq!(texts[0].words, ["EU", "rejects", "it"]);
    assert_eq!(texts[0].tags, ["3", "0", "0"]);
    let described = describe(&Source::new(fixture("snappy.parquet")), false).unwrap();
    assert_eq!(described.format, "parquet");
    assert_eq!(described.pair.as_deref(), Some("sentence2"));
}

#[test]
fn parquet_that_is_damaged_or_compressed_otherwise_is_refused() {
    let error = labels(&Source::new(fixture("zstd.parquet"))).unwrap_err();
    let said = error.to_string();
    for word in ["zstd.parquet", "compressed by zstd", "snappy"] {
        assert!(said.contains(word), "{said}");
    }
    let root = TempDir::new().unwrap();
    let whole = fs::read(fixture("snappy.parquet")).unwrap();
    let path = root.path().join("a.parquet");
    let mut wrong = 0;
    // Cut anywhere, and with any byte changed: an error or other text, no panic.
    for cut in (4..whole.len()).step_by(29) {
        fs::write(&path, &whole[..cut]).unwrap();
        let error = labels(&Source::new(&path)).unwrap_err();
        assert!(matches!(error, Error::Folder { .. }), "{cut}: {error:?}");
        assert!(
            error.to_string().contains("damaged or cut short"),
            "{error}"
        );
    }
    for at in (4..whole.len()).step_by(13) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(&path, &bytes).unwrap();
        wrong += usize::from(labels(&Source::new(&path)).is_err());
    }
    assert!(wrong > 30, "{wrong}");
    // What is no Parquet is read as lines of JSON, and refused as such.
    fs::write(&path, "text,label\na,1\n").unwrap();
    let error = labels(&Source::new(&path)).unwrap_err();
    assert!(
        matches!(error, Error::MalformedRow { line: 1, .. }),
        "{error:?}"
    );
}

fn write(root: &Path, name: &str, text: &str) -> PathBuf {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_folder_of_tables_is_one_data_set() {
    let root = TempDir::new().unwrap();
    let shards = root.path().join("shards");
    write(&shards, "b.csv", "label,text\n2,two\n");
    write(&shards, "a.tsv", "Text\tLabel\none\t1\n");
    fs::copy(fixture("binary.parquet"), shards.join("c.parquet")).unwrap();
    write(&shards, "README.md", "not a table");
    let source = Source::new(&shards);
    assert_eq!(source.resolve_format().unwrap(), Format::Tables);
    assert_eq!(labels(&source).unwrap(), some(&["1", "2", "a", "b"]));
    let files = source.files().unwrap();
    assert_eq!(files.len(), 3);
    same_columns(&files).unwrap();
    assert!(examples(&source).unwrap().iter().all(|e| e.split.is_none()));
    write(&shards, "d.csv", "text,opinion,sentiment\nthree,so,3\n");
    let error = same_columns(&source.files().unwrap()).unwrap_err();
    assert!(matches!(error, Error::ConfigValue { .. }), "{error:?}");
    let error = error.to_string();
    for word in [
        "data.path",
        "a.tsv",
        "label 'Label'",
        "d.csv",
        "label 'sentiment'",
        "opinion",
    ] {
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn names_of_files_tell_the_parts() {
    let root = TempDir::new().unwrap();
    let glue = root.path().join("SST-2");
    write(&glue, "train.tsv", "sentence\tlabel\none\t1\n");
    write(&glue, "dev.tsv", "sentence\tlabel\ntwo\t0\n");
    // As GLUE gives it out, without labels.
    let test = write(&glue, "test.tsv", "index\tsentence\n0\tthree\n");
    let parts = |source: &Source| -> Vec<Option<Split>> {
        let examples = examples(source).unwrap().into_iter();
        examples.map(|e| e.split).collect()
    };
    let source = Source::new(&glue);
    assert_eq!(
        parts(&source),
        [Some(Split::Validation), Some(Split::Train)]
    );
    fs::write(test, "sentence\tlabel\nthree\t0\n").unwrap();
    let all = [Split::Validation, Split::Test, Split::Train].map(Some);
    assert_eq!(parts(&source), all);
    // Only where one is to train on; and not against what the run says.
    let whole = Source {
        split: Some(Split::Test),
        ..source
    };
    assert_eq!(parts(&whole), [Some(Split::Test); 3]);
    let other = root.path().join("other");
    write(&other, "test_reviews.csv", "text,label\na,1\n");
    write(&other, "more.csv", "text,label\nb,1\n");
    assert_eq!(parts(&Source::new(&other)), [None, None]);
    // Of text alone, the test part is not read.
    let text = Source::unlabelled(&glue);
    assert_eq!(parts(&text), [Some(Split::Unsup); 2]);
    corpus::same_columns(&text.files().unwrap()).unwrap();
}
