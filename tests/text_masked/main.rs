//! Masked-LM batches: ratios, whole words, static and dynamic masks, schedules, pairs, resuming.
#![cfg(feature = "train")]

mod masks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use melos::Error;
use melos::ops::TokenIndex;
use melos::text::Stream;
use melos::text::batch::IGNORE;
use melos::text::corpus::Example;
use melos::text::documents::Documents;
use melos::text::masked::{Layout, MaskedBatch, MaskedBatches, MaskedOptions};
use melos::text::masking::{MaskRate, Masking, RateShape};
use melos::text::pairs::PairOptions;
use melos::text::tokenizer::{Tokenizer, TokenizerOptions};
use melos::text::vocabulary::{Roles, Vocabulary};

const PAD: u32 = 0;
const UNK: u32 = 1;
const CLS: u32 = 2;
const SEP: u32 = 3;

/// Documents of `lengths` words, every tenth `.`; word `w` of document `d` is its own.
fn corpus(lengths: &[usize]) -> (Arc<Documents>, Vocabulary) {
    let word = |doc: usize, w: usize| match w % 10 {
        9 => ".".to_owned(),
        _ => [doc / 26, doc, w / 26, w]
            .map(|n| (b'a' + (n % 26) as u8) as char)
            .iter()
            .collect(),
    };
    let texts: Vec<String> = (0..)
        .zip(lengths)
        .map(|(d, &n)| (0..n).map(|w| word(d, w)).collect::<Vec<_>>().join(" "))
        .collect();
    let options = TokenizerOptions {
        vocab_size: 1_000_000,
        min_frequency: 1,
        ..Default::default()
    };
    let tokenizer = Tokenizer::train_on(texts.clone(), &options).unwrap();
    let examples = texts.into_iter().map(|text| Example {
        text,
        pair: None,
        label: None,
        ..Example::default()
    });
    let documents = Documents::from_examples(examples, &tokenizer).unwrap();
    let size = tokenizer.vocab_size() + 1;
    let roles = Roles {
        pad: Some(PAD),
        unk: Some(UNK),
        cls: Some(CLS),
        sep: Some(SEP),
        mask: Some(size as u32 - 1),
        ..Roles::default()
    };
    // Two of three words continue the one before.
    let continues: Vec<u32> = (4..size as u32 - 1).filter(|id| id % 3 != 0).collect();
    let period = tokenizer.id(".").into_iter().collect();
    let vocabulary = Vocabulary::new(size, roles, &[], &continues, "test")
        .with_sentence_marks(period, Vec::new());
    (Arc::new(documents), vocabulary)
}

fn options() -> MaskedOptions {
    MaskedOptions {
        batch: 8,
        max_len: 64,
        layout: Layout::Sentences,
        buckets: true,
        shuffle: true,
        masking: Masking::default(),
        pairs: PairOptions::default(),
    }
}

/// The usual masks, of this rate.
fn masking_at(rate: MaskRate) -> Masking {
    Masking {
        rate,
        ..Masking::default()
    }
}

fn masking(masking: Masking) -> MaskedOptions {
    MaskedOptions {
        masking,
        ..options()
    }
}

fn stream(corpus: &(Arc<Documents>, Vocabulary), options: &MaskedOptions) -> MaskedBatches {
    let all: Vec<u32> = (0..corpus.0.len() as u32).collect();
    MaskedBatches::new(corpus.0.clone(), &all, &corpus.1, options, 7).unwrap()
}

fn epoch(batches: &mut MaskedBatches, progress: f64) -> Vec<MaskedBatch> {
    (0..batches.batches_per_epoch())
        .map(|_| batches.next_at(progress))
        .collect()
}

fn lengths() -> Vec<usize> {
    (0..300).map(|i| 1 + (i * i * 7 + i) % 150).collect()
}

/// The row as it was before it was masked.
fn originals(batch: &MaskedBatch) -> Vec<u32> {
    let mut ids = batch.inputs.ids.clone();
    for (&row, &target) in batch.rows.iter().zip(&batch.targets).take(batch.masked) {
        ids[row as usize] = target as u32;
    }
    ids
}

#[test]
fn rows_are_framed_and_only_text_is_predicted() {
    let corpus = corpus(&lengths());
    for layout in [Layout::Sentences, Layout::Packed, Layout::Pairs] {
        let options = MaskedOptions {
            layout,
            ..options()
        };
        let mut batches = stream(&corpus, &options);
        let shapes: BTreeMap<usize, usize> = batches.shapes().into_iter().collect();
        for batch in epoch(&mut batches, 0.0) {
            let (time, rows) = (batch.inputs.time, &batch.inputs);
            assert_eq!(shapes[&time], batch.rows.len());
            assert_eq!(batch.targets.len(), batch.rows.len());
            assert!(batch.rows[..batch.masked].is_sorted_by(|a, b| a < b));
            assert!(batch.rows[batch.masked..].iter().all(|&r| r == u32::MAX));
            assert!(batch.targets[batch.masked..].iter().all(|&t| t == IGNORE));
            let original = originals(&batch);
            for b in 0..8 {
                let (row, len) = (b * time, rows.lens[b] as usize);
                let masked = batch.rows[..batch.masked]
                    .iter()
                    .filter(|&&r| r as usize / time == b)
                    .count();
                assert!(original[row + len..row + time].iter().all(|&id| id == PAD));
                assert!(
                    rows.token_types[row + len..row + time]
                        .iter()
                        .all(|&t| t == 0)
                );
                if len == 0 {
                    assert_eq!(masked, 0);
                    continue;
                }
                assert!(masked >= 1);
                assert_eq!((original[row], original[row + len - 1]), (CLS, SEP));
                let texts = original[row..row + len]
                    .iter()
                    .filter(|&&id| id == SEP)
                    .count();
                match layout {
                    Layout::Sentences => assert_eq!(texts, 1),
                    Layout::Packed => assert!(texts >= 1 && len <= 64),
                    Layout::Pairs => assert_eq!(texts, 2),
                }
            }
            for &row in &batch.rows[..batch.masked] {
                let id = original[row as usize];
                assert!(id > SEP, "{id} is special");
                assert!((row as usize % time) < rows.lens[row as usize / time] as usize);
            }
            assert_eq!(rows.index, TokenIndex::of_rows(&rows.ids, &rows.lens));
        }
    }
}

#[test]
fn no_text_is_lost_and_blocks_are_full() {
    let corpus = corpus(&lengths());
    for layout in [Layout::Sentences, Layout::Packed] {
        let options = MaskedOptions {
            layout,
            ..options()
        };
        let all = epoch(&mut stream(&corpus, &options), 0.0);
        let mut found: Vec<u32> = all
            .iter()
            .flat_map(originals)
            .filter(|&id| id > SEP)
            .collect();
        let mut expected: Vec<u32> = (0..300).flat_map(|d| corpus.0.ids(d).to_vec()).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert!(found == expected, "{layout:?}");
        if layout == Layout::Packed {
            let lens: Vec<u32> = all.iter().flat_map(|b| b.inputs.lens.clone()).collect();
            // All but one block and the rows without one; a last place may not hold token and [SEP].
            assert!(lens.iter().filter(|&&len| len < 63).count() <= 1 + 7);
            assert!(all.iter().all(|batch| batch.inputs.time == 64));
        }
    }
}

#[test]
fn half_of_the_pairs_are_true() {
    let corpus = corpus(&(0..200).map(|i| 40 + i * 5 % 300).collect::<Vec<_>>());
    let options = MaskedOptions {
        layout: Layout::Pairs,
        ..options()
    };
    // Which document a word is from; "." is from all.
    let mut home = BTreeMap::new();
    for doc in 0..200 {
        for (place, &id) in corpus.0.ids(doc).iter().enumerate() {
            if !corpus.1.ends_sentence(id) {
                home.insert(id, (doc, place));
            }
        }
    }
    let (mut labels, mut ends) = ([0usize; 2], 0);
    for batch in epoch(&mut stream(&corpus, &options), 0.0) {
        let (time, original) = (batch.inputs.time, originals(&batch));
        let next = batch.next_sentence.as_ref().unwrap();
        for b in 0..8 {
            let len = batch.inputs.lens[b] as usize;
            if len == 0 {
                assert_eq!(next[b], IGNORE);
                continue;
            }
            let row = &original[b * time..b * time + len];
            let types = &batch.inputs.token_types[b * time..b * time + len];
            let middle = row.iter().position(|&id| id == SEP).unwrap();
            assert!(types[..=middle].iter().all(|&t| t == 0));
            assert!(types[middle + 1..].iter().all(|&t| t == 1));
            let (first, second) = (&row[1..middle], &row[middle + 1..len - 1]);
            assert!(!first.is_empty() && !second.is_empty());
            let of = |ids: &[u32]| ids.iter().find_map(|id| home.get(id).copied());
            if let (Some((a, place)), Some((other, after))) = (of(first), of(second)) {
                assert_eq!(a == other, next[b] == 0);
                assert!(a != other || place < after);
            }
            labels[next[b] as usize] += 1;
            ends += usize::from(corpus.1.ends_sentence(first[first.len() - 1]));
        }
    }
    let all = labels[0] + labels[1];
    // A binomial share of more than 500 pairs: standard deviation below 0.0224.
    assert!(all > 500);
    assert!(
        (labels[1] as f64 / all as f64 - 0.5).abs() < 0.09,
        "{labels:?}"
    );
    // A tenth would by chance; what is too long loses its end half of the time.
    assert!(
        ends * 10 > all * 4,
        "{ends} of {all} first texts end a sentence"
    );
}

#[test]
fn streams_are_decided_by_the_seed_and_resume() {
    let corpus = corpus(&lengths());
    let all: Vec<u32> = (0..corpus.0.len() as u32).collect();
    for layout in [Layout::Sentences, Layout::Packed, Layout::Pairs] {
        let options = MaskedOptions {
            layout,
            ..options()
        };
        let make =
            |seed| MaskedBatches::new(corpus.0.clone(), &all, &corpus.1, &options, seed).unwrap();
        let (mut one, mut two, mut other) = (make(1), make(1), make(2));
        let steps = 2 * one.batches_per_epoch() + 3;
        let run: Vec<MaskedBatch> = (0..steps).map(|_| one.next_at(0.3)).collect();
        assert!(run.iter().all(|batch| *batch == two.next_at(0.3)));
        assert_ne!(run[0], other.next_at(0.3));
        for at in [1, one.batches_per_epoch(), one.batches_per_epoch() + 2] {
            let mut resumed = make(1);
            resumed.seek(run[at as usize].position);
            for batch in &run[at as usize..] {
                assert_eq!(*batch, resumed.next_at(0.3));
            }
            assert_eq!(resumed.position(), one.position());
        }
    }
}

#[test]
fn wrong_options_and_vocabularies_are_refused() {
    let (documents, vocabulary) = corpus(&[20, 30]);
    let try_with = |options: &MaskedOptions, vocabulary: &Vocabulary, which: &[u32]| {
        MaskedBatches::new(documents.clone(), which, vocabulary, options, 1)
            .err()
            .expect("an error")
            .to_string()
    };
    let of_rate = |rate| masking_at(MaskRate::constant(rate));
    let shares = |replace, random| Masking {
        replace,
        random,
        ..Masking::default()
    };
    for (wrong, arg) in [
        (of_rate(0.0), "rate = 0"),
        (of_rate(1.5), "rate = 1.5"),
        (shares(-0.1, 0.1), "replace = -0.1"),
        (shares(0.8, 0.3), "random = 0.3"),
        (shares(f64::NAN, 0.3), "replace = NaN"),
    ] {
        let error = try_with(&masking(wrong), &vocabulary, &[0, 1]);
        assert!(error.contains(arg), "{error}");
    }
    let short = MaskedOptions {
        max_len: 4,
        ..options()
    };
    assert!(try_with(&short, &vocabulary, &[0]).contains("max_len = 4"));
    let error = MaskedBatches::new(documents.clone(), &[], &vocabulary, &options(), 1).err();
    assert!(matches!(error, Some(Error::EmptyText { .. })));
    let pairs = MaskedOptions {
        layout: Layout::Pairs,
        ..options()
    };
    assert!(try_with(&pairs, &vocabulary, &[0]).contains("documents = 1"));
    let roles = Roles {
        mask: None,
        ..vocabulary.roles()
    };
    let bare = Vocabulary::new(vocabulary.size(), roles, &[], &[], "some/tokenizer.json");
    let error = try_with(&options(), &bare, &[0]);
    assert!(
        error.contains("some/tokenizer.json") && error.contains("no mask_token"),
        "{error}"
    );
    assert!(vocabulary.fits(vocabulary.size()).is_ok());
    let error = vocabulary.fits(10).unwrap_err().to_string();
    assert!(error.contains("vocab_size is 10"), "{error}");
}
