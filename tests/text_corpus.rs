//! Reading corpora: the official layouts, the generic formats, and every way they can be wrong.
#![cfg(feature = "train")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use melos::text::corpus::{Column, Example, Format, Source, Split, read};
use melos::{Error, Result};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn write(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A gzipped tar of everything below `root`, names starting with `prefix`.
fn archive(root: &Path, prefix: &str, to: &Path) {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(prefix, root).unwrap();
    fs::write(to, gzip(&builder.into_inner().unwrap())).unwrap();
}

fn all(source: &Source) -> Result<Vec<Example>> {
    let mut examples = Vec::new();
    read(source, &mut |example| {
        let line = None;
        examples.push(Example { line, ..example });
        Ok(())
    })?;
    Ok(examples)
}

fn example(text: &str, label: Option<&str>, split: Option<Split>) -> Example {
    Example {
        text: text.into(),
        label: label.map(str::to_owned),
        split,
        ..Example::default()
    }
}

fn sorted(mut examples: Vec<Example>) -> Vec<Example> {
    examples.sort_by(|a, b| a.text.cmp(&b.text));
    examples
}

fn tiny_imdb() -> TempDir {
    let root = folder();
    for (name, text) in [
        ("train/pos/0_9.txt", "good"),
        ("train/neg/0_1.txt", "bad <br /><br />really"),
        ("train/unsup/0_0.txt", "perhaps"),
        ("test/pos/0_8.txt", "nice"),
        ("test/neg/0_2.txt", "poor"),
        ("train/urls_pos.txt", "http://example.org"),
        ("README", "read me"),
    ] {
        write(&root, &format!("aclImdb/{name}"), text);
    }
    root
}

#[test]
fn imdb_archive_and_folder_are_equal() {
    let root = tiny_imdb();
    let tar = root.path().join("reviews.tar.gz");
    archive(&root.path().join("aclImdb"), "aclImdb", &tar);
    let from_tar = sorted(all(&Source::new(&tar)).unwrap());
    let expected = [
        example("bad \n\nreally", Some("neg"), Some(Split::Train)),
        example("good", Some("pos"), Some(Split::Train)),
        example("nice", Some("pos"), Some(Split::Test)),
        example("perhaps", None, Some(Split::Unsup)),
        example("poor", Some("neg"), Some(Split::Test)),
    ];
    assert_eq!(from_tar, expected);
    assert_eq!(sorted(all(&Source::new(root.path())).unwrap()), expected);
    assert_eq!(
        sorted(all(&Source::new(root.path().join("aclImdb"))).unwrap()),
        expected
    );
}

#[test]
fn unlabelled_text_leaves_the_test_part_out() {
    let root = tiny_imdb();
    let examples = sorted(all(&Source::unlabelled(root.path())).unwrap());
    let texts: Vec<&str> = examples.iter().map(|e| e.text.as_str()).collect();
    assert_eq!(texts, ["bad \n\nreally", "good", "perhaps"]);
    assert!(
        examples
            .iter()
            .all(|e| e.label.is_none() && e.split == Some(Split::Unsup))
    );
}

#[test]
fn rotten_tomatoes_in_every_form() {
    let root = folder();
    // Windows-1252: 0x85 is an ellipsis, 0x91 a quotation mark, 0x97 a dash, 0xe9 an e acute.
    let neg = write(
        &root,
        "rt-polaritydata/rt-polarity.neg",
        b"na\xefve\x85 \x91bad\nand \x97\n",
    );
    let pos = write(&root, "rt-polaritydata/rt-polarity.pos", "déjà vu, good\n");
    let expected = [
        example("naïve… ‘bad", Some("neg"), None),
        example("and —", Some("neg"), None),
        example("déjà vu, good", Some("pos"), None),
    ];
    let tar = root.path().join("rt.tar.gz");
    archive(
        &root.path().join("rt-polaritydata"),
        "rt-polaritydata",
        &tar,
    );
    for path in [
        root.path(),
        &root.path().join("rt-polaritydata"),
        &neg,
        &pos,
    ] {
        assert_eq!(
            all(&Source::new(path)).unwrap(),
            expected,
            "{}",
            path.display()
        );
    }
    assert_eq!(
        sorted(all(&Source::new(&tar)).unwrap()),
        sorted(expected.to_vec())
    );
}

#[test]
fn csv_with_quoted_line_breaks() {
    let root = folder();
    let text = "id,sentiment,review\r\n1,pos,\"a \"\"b\"\",\nc\"\r\n2,,plain\r\n3,-1,other\r\n";
    let expected = [
        example("a \"b\",\nc", Some("pos"), None),
        example("plain", None, None),
        example("other", Some("-1"), None),
    ];
    let path = write(&root, "a.csv", text);
    assert_eq!(all(&Source::new(&path)).unwrap(), expected);
    let path = write(&root, "b.csv.gz", gzip(text.as_bytes()));
    assert_eq!(all(&Source::new(&path)).unwrap(), expected);
    // By name and by number; a byte order mark is no part of the first header.
    let path = write(&root, "c.csv", "\u{feff}what,kind\nhello,x\nyou,y\n");
    let source = Source {
        text: Some("what".into()),
        label: Some("kind".into()),
        ..Source::new(&path)
    };
    assert_eq!(
        all(&source).unwrap(),
        [
            example("hello", Some("x"), None),
            example("you", Some("y"), None)
        ]
    );
    let source = Source {
        text: Some(Column::Index(1)),
        label: Some(Column::Index(0)),
        header: Some(true),
        ..Source::new(&path)
    };
    assert_eq!(all(&source).unwrap()[0], example("x", Some("hello"), None));
}

#[test]
fn pairs_without_labels_are_text_where_nothing_learns_from_labels() {
    let root = folder();
    let csv = write(&root, "a.csv", "mr,ref\nname[X],X is nice.\n");
    let row = "{\"mr\": \"name[X]\", \"ref\": \"X is nice.\"}\n";
    let jsonl = write(&root, "a.jsonl", row);
    for path in [csv, jsonl] {
        let source = Source {
            text: Some("mr".into()),
            pair: Some("ref".into()),
            ..Source::new(&path)
        };
        let error = all(&source).unwrap_err().to_string();
        assert!(error.contains("label"), "{error}");
        let source = Source {
            label_optional: true,
            ..source
        };
        let pair = Some("X is nice.".into());
        let expected = Example {
            pair,
            ..example("name[X]", None, None)
        };
        assert_eq!(all(&source).unwrap(), [expected]);
    }
}

#[test]
fn tsv_without_header() {
    let root = folder();
    // The layout of Amazon's reviews: label, category, form, text; quotation marks are plain.
    let path = write(
        &root,
        "a.tsv",
        "1\tbooks\traw\t\"A fine book indeed\n0\tdvd\traw\tdull\n",
    );
    let source = Source {
        label: Some("0".into()),
        ..Source::new(&path)
    };
    let expected = [
        example("\"A fine book indeed", Some("1"), None),
        example("dull", Some("0"), None),
    ];
    assert_eq!(all(&source).unwrap(), expected);
    let unlabelled = all(&Source::unlabelled(&path)).unwrap();
    assert_eq!(unlabelled[1], example("dull", None, Some(Split::Unsup)));
    // Two columns need no telling.
    let path = write(&root, "b.tsv", "pos\tgood and long\nneg\tbad\n");
    assert_eq!(
        all(&Source::new(&path)).unwrap()[1],
        example("bad", Some("neg"), None)
    );
}

#[test]
fn jsonl_txt_wikitext_folder() {
    let root = folder();
    let path = write(
        &root,
        "a.jsonl",
        "{\"text\":\"x\\ny\",\"label\":1}\n\n{\"text\":\"z\",\"label\":null}\n",
    );
    let expected = [example("x\ny", Some("1"), None), example("z", None, None)];
    assert_eq!(all(&Source::new(&path)).unwrap(), expected);
    let path = write(&root, "b.txt.gz", gzip(b"one\r\n\r\n two \r\nthree"));
    let texts = |path: &Path| {
        all(&Source::new(path))
            .unwrap()
            .into_iter()
            .map(|e| e.text)
            .collect::<Vec<_>>()
    };
    assert_eq!(texts(&path), ["one", "two", "three"]);
    let path = write(
        &root,
        "wiki.train.tokens",
        " \n = A = \n \n x <unk> \n = = B = = \n y \n = t = \n \n = C = \n \n z\n",
    );
    assert_eq!(
        texts(&path),
        ["= A =\nx <unk>\n= = B = =\ny\n= t =", "= C =\nz"]
    );
    write(&root, "books/b/2.txt", "second\nbook");
    write(&root, "books/a/1.txt", "first");
    write(&root, "books/c/empty.txt", "");
    assert_eq!(texts(&root.path().join("books")), ["first", "second\nbook"]);
}

#[test]
fn a_stated_format_overrides_the_name() {
    let root = folder();
    let path = write(&root, "reviews.dat", "one\ntwo\n");
    let source = Source {
        format: Some("txt".parse().unwrap()),
        ..Source::new(&path)
    };
    assert_eq!(all(&source).unwrap().len(), 2);
    assert!(matches!(
        "nonsense".parse::<Format>(),
        Err(Error::UnknownFormat { .. })
    ));
    let source = Source {
        split: Some(Split::Test),
        ..source
    };
    assert!(
        all(&source)
            .unwrap()
            .iter()
            .all(|e| e.split == Some(Split::Test))
    );
}

#[test]
fn content_hash_follows_the_content() {
    let root = tiny_imdb();
    let hash = |path: &Path| Source::new(path).content_hash().unwrap();
    let before = hash(root.path());
    assert_eq!(before, hash(root.path()));
    write(&root, "aclImdb/train/pos/0_9.txt", "better");
    assert_ne!(before, hash(root.path()));
}

/// Each malformed corpus and what its error must say.
#[test]
fn every_error_says_what_and_where() {
    let root = folder();
    let fails = |source: Source| all(&source).unwrap_err();
    let says = |error: &Error, words: &[&str]| {
        let text = error.to_string();
        assert!(
            words.iter().all(|word| text.contains(word)),
            "{text} lacks one of {words:?}"
        );
    };

    let error = fails(Source::new(root.path().join("nothing.csv")));
    assert!(matches!(error, Error::FileMissing { .. }), "{error:?}");
    says(&error, &["nothing.csv", "check the path"]);

    let path = write(&root, "a.txt", b"good\nb\xffd\n");
    let error = fails(Source::new(&path));
    assert!(
        matches!(
            error,
            Error::NotUtf8 {
                line: 2,
                offset: 6,
                ..
            }
        ),
        "{error:?}"
    );
    says(&error, &["a.txt", "line 2", "byte 6", "iconv"]);

    let path = write(&root, "b.csv", b"text,label\ngood,1\nb\xffd,0\n");
    assert!(matches!(
        fails(Source::new(&path)),
        Error::NotUtf8 {
            line: 3,
            offset: 18,
            ..
        }
    ));

    write(&root, "utf/x.txt", b"a\nb\xff");
    let error = fails(Source::new(root.path().join("utf")));
    assert!(
        matches!(
            error,
            Error::NotUtf8 {
                line: 2,
                offset: 3,
                ..
            }
        ),
        "{error:?}"
    );

    for name in ["empty.txt", "empty.csv", "empty.jsonl", "empty.tokens"] {
        let error = fails(Source::new(write(&root, name, "")));
        assert!(
            matches!(error, Error::EmptyText { .. }),
            "{name}: {error:?}"
        );
    }
    let error = fails(Source::new(write(&root, "header.csv", "text,label\n")));
    assert!(matches!(error, Error::EmptyText { .. }), "{error:?}");

    let error = fails(Source::new(write(
        &root,
        "c.csv",
        "text,label\ngood,1\nbad\n",
    )));
    assert!(
        matches!(error, Error::MalformedRow { line: 3, .. }),
        "{error:?}"
    );
    says(&error, &["c.csv", "line 3", "expected 2 fields", "found 1"]);

    let error = fails(Source::new(write(
        &root,
        "d.jsonl",
        "{\"text\":\"a\",\"label\":1}\n{\"text\":\n",
    )));
    assert!(
        matches!(error, Error::MalformedRow { line: 2, .. }),
        "{error:?}"
    );
    let error = fails(Source::new(write(
        &root,
        "e.jsonl",
        "{\"text\":3,\"label\":1}\n",
    )));
    assert!(
        matches!(error, Error::MalformedRow { line: 1, .. }),
        "{error:?}"
    );
    let error = fails(Source::new(write(
        &root,
        "f.jsonl",
        "{\"text\":\"a\",\"label\":[1]}\n",
    )));
    assert!(
        matches!(error, Error::MalformedRow { line: 1, .. }),
        "{error:?}"
    );

    let error = fails(Source::new(write(
        &root,
        "g.jsonl",
        "{\"text\":\"a\",\"mark\":1}\n",
    )));
    assert!(
        matches!(error, Error::ColumnMissing { role: "label", .. }),
        "{error:?}"
    );
    says(&error, &["text, mark"]);
    let path = write(&root, "h.csv", "text,label\na,1\n");
    let error = fails(Source {
        text: Some("body".into()),
        ..Source::new(&path)
    });
    says(&error, &["h.csv", "no text column 'body'", "text, label"]);
    let error = fails(Source {
        label: Some("7".into()),
        ..Source::new(&path)
    });
    says(&error, &["no label column number 7"]);
    // A header of unknown names would else become a class of one text.
    let rows = "good film,yes\nbad film,no\n".repeat(6);
    let unknown = format!("quote,verdict\n{rows}");
    let error = fails(Source::new(write(&root, "j.csv", &unknown)));
    says(&error, &["j.csv", "label column", "quote, verdict"]);
    let error = fails(Source::new(write(&root, "i.tsv", "1\tbooks\tsome text\n")));
    assert!(
        matches!(error, Error::ColumnMissing { role: "label", .. }),
        "{error:?}"
    );

    let error = fails(Source::new(write(&root, "j.pdf", "x")));
    assert!(matches!(error, Error::UnknownFormat { .. }), "{error:?}");
    says(&error, &["j.pdf", ".csv", "state the format"]);
    fs::create_dir(root.path().join("void")).unwrap();
    assert!(matches!(
        fails(Source::new(root.path().join("void"))),
        Error::UnknownFormat { .. }
    ));
    for format in [Format::Imdb, Format::RottenTomatoes] {
        let source = Source {
            format: Some(format),
            ..Source::new(root.path().join("void"))
        };
        assert!(matches!(fails(source), Error::UnknownFormat { .. }));
    }

    let broken = tiny_imdb();
    fs::remove_file(broken.path().join("aclImdb/train/neg/0_1.txt")).unwrap();
    let error = fails(Source::new(broken.path()));
    assert!(matches!(error, Error::EmptyClass { .. }), "{error:?}");
    says(&error, &["'neg'", "train"]);
    assert_eq!(all(&Source::unlabelled(broken.path())).unwrap().len(), 2);

    let path = write(&root, "half/rt-polarity.pos", "good\n");
    assert!(matches!(
        fails(Source::new(&path)),
        Error::FileMissing { .. }
    ));
    write(&root, "half/rt-polarity.neg", "");
    assert!(matches!(
        fails(Source::new(&path)),
        Error::EmptyClass { .. }
    ));

    // An archive cut short.
    let imdb = tiny_imdb();
    let tar = root.path().join("cut.tar.gz");
    archive(&imdb.path().join("aclImdb"), "aclImdb", &tar);
    let bytes = fs::read(&tar).unwrap();
    fs::write(&tar, &bytes[..bytes.len() - 60]).unwrap();
    let error = fails(Source::new(&tar));
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    says(&error, &["cut.tar.gz", "complete"]);
}

/// A gzip file cut short must not pass for a shorter corpus.
#[test]
fn truncated_gzip_is_an_error() {
    let root = folder();
    let bytes = gzip("a line of text\n".repeat(1000).as_bytes());
    let path = write(&root, "a.txt.gz", &bytes[..bytes.len() - 9]);
    assert!(matches!(all(&Source::new(&path)), Err(Error::Io { .. })));
}
