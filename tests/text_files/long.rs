//! Long texts: cut in pieces, read on from one to the next, their ends held out.

use std::fs;
use std::path::PathBuf;

use melos::text::corpus::{Format, Source, Split};
use melos::text::split::holdout;
use melos::text::{
    CausalBatches, CausalLayout, CausalOptions, LmBatches, LmOptions, Stream, Tokenizer,
    TokenizerKind, TokenizerOptions, tokenise,
};

use super::{folder, texts, write};

fn bytes_in_pairs() -> TokenizerOptions {
    TokenizerOptions {
        kind: TokenizerKind::Bpe,
        vocab_size: 300,
        min_frequency: 1,
        ..TokenizerOptions::default()
    }
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
    let options = bytes_in_pairs();
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
    let options = bytes_in_pairs();
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
    let options = bytes_in_pairs();
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
