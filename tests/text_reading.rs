//! Files as people have them: tables without known names, with other separators, in other encodings.
#![cfg(feature = "train")]

use std::fs;
use std::path::PathBuf;

use melos::text::corpus::{Example, Format, Source, Split, read, read_tagged};
use melos::text::split::holdout;
use melos::text::{
    CausalBatches, CausalLayout, CausalOptions, LabelKind, LmBatches, LmOptions, Stream, Tokenizer,
    TokenizerKind, TokenizerOptions, tokenise,
};
use melos::{Error, Result};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn write(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn all(source: &Source) -> Result<Vec<(String, Option<String>)>> {
    let mut examples = Vec::new();
    read(source, &mut |example: Example| {
        examples.push((example.text, example.label));
        Ok(())
    })?;
    Ok(examples)
}

fn texts(source: &Source) -> Vec<String> {
    let examples = all(source).unwrap().into_iter();
    examples.map(|(text, _)| text).collect()
}

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

/// A text of `words` words in sentences, of which no two are alike.
fn book(words: usize) -> String {
    let word = |n: usize| format!("w{}{}", n % 7, if n % 9 == 8 { "." } else { "" });
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn one_long_text_is_cut_and_its_end_held_out() {
    let root = folder();
    let path = write(&root, "book.txt", book(3000));
    let options = TokenizerOptions {
        kind: TokenizerKind::Bpe,
        vocab_size: 300,
        min_frequency: 1,
        ..TokenizerOptions::default()
    };
    let tokenizer = Tokenizer::train(&[Source::new(&path)], &options).unwrap();
    let vocabulary = tokenizer.vocabulary();
    let read = |sources: &[Source]| tokenise(sources, &tokenizer, None).unwrap();
    let whole = read(&[Source::new(&path)]);
    let tokens = whole.ids(0).to_vec();
    assert_eq!(whole.len(), 1);
    for length in [50, 128, 1_000_000] {
        let cut = read(&[Source::new(&path)]).in_pieces(length, true, vocabulary);
        let pieces = cut.len();
        assert!(pieces >= (tokens.len() / length).max(20), "{pieces}");
        let ids: Vec<&[u32]> = (0..pieces as u32).map(|doc| cut.ids(doc)).collect();
        assert_eq!(ids.concat(), tokens);
        let words = |ids: &&[u32]| !ids.is_empty() && !vocabulary.continues(ids[0]);
        assert!(ids[1..].iter().all(words));
        let longest = ids.iter().map(|ids| ids.len()).max().unwrap();
        assert!(
            longest <= tokens.len().div_ceil(20).min(length * 5 / 4 + 8),
            "{longest}"
        );
        let all: Vec<u32> = (0..pieces as u32).collect();
        let held = holdout(&cut, &all, 0.1, 7).unwrap().1;
        let tail = pieces - held.len();
        assert_eq!(held, all[tail..], "{length}");
        let share = held.len() as f64 / pieces as f64;
        assert!((0.05..0.15).contains(&share), "{share}");
    }
    // A book for every part of the data; of labelled rows and parts of many texts nothing is cut.
    let other = write(&root, "other.txt", book(200));
    let rows = write(
        &root,
        "rows.csv",
        "text,label\na long text,x\nanother one,\n",
    );
    let sources = [Source::new(&rows), Source::unlabelled(&other)];
    let cut = read(&sources).in_pieces(64, false, vocabulary);
    assert!(cut.len() > 10);
    assert_eq!(cut.labelled().len(), 1);
    assert_eq!(
        cut.filter(|doc| cut.split(doc) == Some(Split::Unsup)).len(),
        cut.len() - 2
    );
    assert_eq!(cut.label_names(), ["x"]);
    let test = Source {
        split: Some(Split::Test),
        ..Source::new(&path)
    };
    assert_eq!(read(&[test]).in_pieces(64, false, vocabulary).len(), 1);
    let short = write(&root, "short.txt", "a few words");
    assert_eq!(
        read(&[Source::new(&short)])
            .in_pieces(2, false, vocabulary)
            .len(),
        1
    );
}

#[test]
fn of_several_books_every_end_is_held_out() {
    let root = folder();
    let options = TokenizerOptions {
        kind: TokenizerKind::Bpe,
        vocab_size: 300,
        min_frequency: 1,
        ..TokenizerOptions::default()
    };
    let shelf = |books: usize, words: usize| -> PathBuf {
        let path = root.path().join(format!("shelf-{books}-{words}"));
        fs::create_dir_all(&path).unwrap();
        for n in 0..books {
            fs::write(path.join(format!("{n}.txt")), book(words + 7 * n)).unwrap();
        }
        path
    };
    let folder = shelf(3, 2000);
    let tokenizer = Tokenizer::train(&[Source::new(&folder)], &options).unwrap();
    let vocabulary = tokenizer.vocabulary();
    let read = |path: &PathBuf| tokenise(&[Source::new(path)], &tokenizer, None).unwrap();
    // A list of long texts is a shelf as well.
    let rows: Vec<String> = (0..3)
        .map(|n| format!("{{\"text\":\"{}\"}}", book(2000 + 7 * n)))
        .collect();
    let list = write(&root, "list.json", format!("[{}]", rows.join(",\n")));
    let list = Source {
        label_optional: true,
        ..Source::new(list)
    };
    for documents in [read(&folder), tokenise(&[list], &tokenizer, None).unwrap()] {
        let lengths: Vec<usize> = (0..3).map(|doc| documents.ids(doc).len()).collect();
        let cut = documents.in_pieces(100, true, vocabulary);
        let all: Vec<u32> = (0..cut.len() as u32).collect();
        let (rest, held) = holdout(&cut, &all, 0.1, 7).unwrap();
        let share = held.len() as f64 / cut.len() as f64;
        assert!((0.08..0.12).contains(&share), "{share}");
        // Where each book ends, in pieces: the last ones of each are held out, and nothing else.
        let (mut tokens, mut ends) = (0, Vec::new());
        for &doc in &all {
            tokens += cut.ids(doc).len();
            if tokens == lengths[..=ends.len()].iter().sum::<usize>() {
                ends.push(doc + 1);
            }
        }
        assert_eq!(ends.len(), 3);
        for (start, end) in [0, ends[0], ends[1]].into_iter().zip(ends) {
            let own: Vec<u32> = held
                .iter()
                .copied()
                .filter(|d| (start..end).contains(d))
                .collect();
            assert!(
                (1..=(end - start) / 5).contains(&(own.len() as u32)),
                "{own:?}"
            );
            assert_eq!(own, (end - own.len() as u32..end).collect::<Vec<_>>());
        }
        assert_eq!(rest.len() + held.len(), cut.len());
    }
    // Many books: whole ones are held out where text is read on; where it is not, most of each would be
    // lost. Texts that are a little longer than what is read of them are left alone.
    let many = shelf(24, 600);
    assert_eq!(read(&many).in_pieces(64, true, vocabulary).len(), 24);
    let tokens = read(&many).tokens() as usize;
    let pieces = read(&many).in_pieces(64, false, vocabulary).len();
    assert!(pieces >= tokens / 80, "{pieces} of {tokens}");
    assert_eq!(read(&many).in_pieces(1000, false, vocabulary).len(), 24);
    // Few texts that are no longer than what is read of them.
    assert_eq!(
        read(&shelf(3, 20)).in_pieces(64, false, vocabulary).len(),
        3
    );
}

#[test]
fn pieces_of_a_text_are_read_on_as_the_text_was() {
    let root = folder();
    let options = TokenizerOptions {
        kind: TokenizerKind::Bpe,
        vocab_size: 300,
        min_frequency: 1,
        ..TokenizerOptions::default()
    };
    let play = |name: &str| -> String {
        (0..120)
            .map(|n| format!("{name} {n}:\n  Line {n}, said so.\n\n"))
            .collect()
    };
    let paths = ["a", "b"].map(|name| write(&root, &format!("{name}.txt"), play(name)));
    let sources = paths.each_ref().map(|path| {
        let source = Source::new(path).one_text(None, true).unwrap();
        assert_eq!(source.format, Some(Format::Whole));
        source
    });
    let tokenizer = Tokenizer::train(&sources, &options).unwrap();
    let vocabulary = tokenizer.vocabulary();
    let documents = tokenise(&sources, &tokenizer, None).unwrap();
    assert_eq!(documents.len(), 2);
    let whole = [documents.ids(0).to_vec(), documents.ids(1).to_vec()];
    assert!(
        tokenizer
            .decode(&whole[0])
            .unwrap()
            .contains("a 7:\n  Line 7, said so.\n\na 8")
    );
    let cut = std::sync::Arc::new(documents.in_pieces(64, true, vocabulary));
    assert!(cut.len() > 20);
    let all: Vec<u32> = (0..cut.len() as u32).collect();
    let eos = vocabulary.need("eos_token", "this test").unwrap();
    let orders = [[0, 1], [1, 0]].map(|order| {
        let text = |n: usize| [&whole[n][..], &[eos]].concat();
        [vec![eos], text(order[0]), text(order[1])].concat()
    });
    let mut found = Vec::new();
    for seed in 0..8 {
        let options = CausalOptions {
            batch: 1,
            max_len: 50,
            layout: CausalLayout::Stream,
            buckets: false,
            shuffle: seed > 0,
            prompt_loss: false,
        };
        let mut batches = CausalBatches::new(cut.clone(), &all, vocabulary, options, seed).unwrap();
        assert_eq!(batches.tokens_per_epoch() as usize, orders[0].len() - 1);
        // Windows come in any order; each is a stretch of one of the two orders of the texts.
        let mut windows = Vec::new();
        for _ in 0..orders[0].len().div_ceil(50) {
            let batch = batches.next_at(0.0);
            let length = batch.inputs.lens[0] as usize;
            let mut window = batch.inputs.ids[..length].to_vec();
            window.push(batch.targets[length - 1] as u32);
            windows.push(window);
        }
        let fits = |order: &Vec<u32>| {
            let is =
                |window: &Vec<u32>| order.windows(window.len()).any(|part| part == &window[..]);
            windows.iter().all(is)
        };
        let order = orders.iter().position(fits);
        found.push(order.unwrap_or_else(|| panic!("{seed}: a window is no part of the texts")));
    }
    assert_eq!(found[0], 0);
    assert!(found.contains(&1));
    // An LSTM's lanes, too: of one text in pieces, and of that text as it was.
    let lm = |documents: melos::text::Documents| {
        let all: Vec<u32> = (0..documents.len() as u32).collect();
        let options = LmOptions {
            batch: 3,
            window: 11,
            shuffle: true,
            word_dropout: 0.0,
        };
        let mut batches = LmBatches::new(std::sync::Arc::new(documents), &all, options, 5).unwrap();
        let count = batches.batches_per_epoch();
        (0..count).map(|_| batches.next_at(0.0)).collect::<Vec<_>>()
    };
    let one = || tokenise(&sources[..1], &tokenizer, None).unwrap();
    assert_eq!(lm(one()), lm(one().in_pieces(64, true, vocabulary)));
}

#[test]
fn a_txt_is_lines_or_one_text_as_it_is_asked_for() {
    let root = folder();
    let path = write(&root, "a.txt", "one\r\n\r\n  two\r\n");
    let read_as = |told: Option<bool>, by_default: bool| {
        texts(&Source::new(&path).one_text(told, by_default).unwrap())
    };
    for (told, by_default) in [(None, true), (Some(true), false)] {
        assert_eq!(read_as(told, by_default), ["one\n\n  two"]);
    }
    for (told, by_default) in [(None, false), (Some(false), true)] {
        assert_eq!(read_as(told, by_default), ["one", "two"]);
    }
    // What is no .txt is left as it is.
    let table = write(&root, "a.csv", "text\none\ntwo\n");
    let source = Source::unlabelled(&table)
        .one_text(Some(true), true)
        .unwrap();
    assert_eq!(texts(&source), ["one", "two"]);
}
