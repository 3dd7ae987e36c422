//! Batches and splits: what they hold, that they are decided by the seed, that they resume.
#![cfg(feature = "train")]

mod splits;

use std::sync::Arc;

use melos::Error;
use melos::ops::TokenIndex;
use melos::text::Stream;
use melos::text::batch::{IGNORE, NO_DOC, Position};
use melos::text::bucket::{BucketBatches, BucketOptions, Keep, LENGTHS, SequenceBatch};
use melos::text::corpus::Example;
use melos::text::documents::Documents;
use melos::text::lm::{LmBatch, LmBatches, LmOptions};
use melos::text::tokenizer::{EOS, PAD, Tokenizer, TokenizerOptions, UNK};

/// Document `i` has `lengths[i]` words, all different from those of other documents.
fn documents(lengths: &[usize]) -> Arc<Documents> {
    let words = |doc: usize, length: usize| -> String {
        let letter = |n: usize| (b'a' + (n % 26) as u8) as char;
        let word = |w: usize| {
            [letter(doc / 26), letter(doc), letter(w / 26), letter(w)]
                .iter()
                .collect()
        };
        (0..length).map(word).collect::<Vec<String>>().join(" ")
    };
    let texts: Vec<String> = lengths
        .iter()
        .enumerate()
        .map(|(i, &n)| words(i, n))
        .collect();
    let options = TokenizerOptions {
        vocab_size: 100_000,
        min_frequency: 1,
        ..Default::default()
    };
    let tokenizer = Tokenizer::train_on(texts.clone(), &options).unwrap();
    // Every third document is positive; every tenth unlabelled.
    let examples = texts.into_iter().enumerate().map(|(i, text)| Example {
        text,
        pair: None,
        label: (i % 10 != 9).then(|| if i % 3 == 0 { "pos" } else { "neg" }.to_owned()),
        ..Example::default()
    });
    Arc::new(Documents::from_examples(examples, &tokenizer).unwrap())
}

fn some_lengths(count: usize) -> Vec<usize> {
    (0..count).map(|i| 1 + (i * i * 7 + i) % 60).collect()
}

fn everything(documents: &Documents) -> Vec<u32> {
    (0..documents.len() as u32).collect()
}

const LM: LmOptions = LmOptions {
    batch: 3,
    window: 7,
    shuffle: true,
    word_dropout: 0.0,
};

fn lm_epoch(batches: &mut LmBatches) -> Vec<LmBatch> {
    (0..batches.batches_per_epoch())
        .map(|_| batches.next_batch())
        .collect()
}

/// The lanes of an epoch put together again: (inputs, targets).
fn lanes(epoch: &[LmBatch]) -> Vec<(Vec<u32>, Vec<u32>)> {
    let size = epoch[0].batch;
    let mut lanes = vec![(Vec::new(), Vec::new()); size];
    for batch in epoch {
        for (b, lane) in lanes.iter_mut().enumerate() {
            for t in 0..batch.time {
                let (id, target) = (batch.ids[t * size + b], batch.targets[t * size + b]);
                if t < batch.lens[b] as usize {
                    lane.0.push(id);
                    lane.1.push(target as u32);
                } else {
                    assert_eq!((id, target), (PAD, IGNORE));
                }
            }
        }
    }
    lanes
}

#[test]
fn lm_lanes_are_the_stream() {
    let documents = documents(&some_lengths(23));
    let which: Vec<u32> = everything(&documents)
        .into_iter()
        .filter(|d| d % 5 != 0)
        .collect();
    let options = LmOptions {
        shuffle: false,
        ..LM
    };
    let mut batches = LmBatches::new(documents.clone(), &which, options, 1).unwrap();
    let mut stream = vec![EOS];
    for &doc in &which {
        stream.extend_from_slice(documents.ids(doc));
        stream.push(EOS);
    }
    assert_eq!(batches.tokens_per_epoch(), stream.len() as u64 - 1);
    let epoch = lm_epoch(&mut batches);
    let (inputs, targets): (Vec<_>, Vec<_>) = lanes(&epoch).into_iter().unzip();
    assert_eq!(inputs.concat(), stream[..stream.len() - 1]);
    assert_eq!(targets.concat(), stream[1..]);
    for batch in &epoch {
        assert_eq!(batch.reset, batch.position.index == 0);
        assert_eq!(batch.index, TokenIndex::new(&batch.ids, &batch.lens));
    }
}

#[test]
fn lm_epochs_hold_the_same_documents_in_another_order() {
    let documents = documents(&some_lengths(40));
    let which = everything(&documents);
    let mut batches = LmBatches::new(documents.clone(), &which, LM, 5).unwrap();
    let (first, second) = (lm_epoch(&mut batches), lm_epoch(&mut batches));
    let targets = |epoch: &[LmBatch]| {
        lanes(epoch)
            .into_iter()
            .flat_map(|lane| lane.1)
            .collect::<Vec<_>>()
    };
    let (mut first, mut second) = (targets(&first), targets(&second));
    assert_ne!(first, second);
    first.sort_unstable();
    second.sort_unstable();
    assert_eq!(first, second);
    // The order in which documents are named does not matter; the seed does.
    let reversed: Vec<u32> = which.iter().rev().copied().collect();
    let start = |which: &[u32], seed| {
        LmBatches::new(documents.clone(), which, LM, seed)
            .unwrap()
            .next_batch()
    };
    assert_eq!(start(&which, 5), start(&reversed, 5));
    assert_ne!(start(&which, 5).ids, start(&which, 6).ids);
}

#[test]
fn lm_resumes() {
    let documents = documents(&some_lengths(30));
    let which = everything(&documents);
    let options = LmOptions {
        word_dropout: 0.2,
        ..LM
    };
    let mut straight = LmBatches::new(documents.clone(), &which, options.clone(), 9).unwrap();
    let per_epoch = straight.batches_per_epoch();
    for stop in [0, 1, per_epoch - 1, per_epoch, per_epoch + 3] {
        let mut straight = LmBatches::new(documents.clone(), &which, options.clone(), 9).unwrap();
        (0..stop).for_each(|_| _ = straight.next_batch());
        let saved = serde_json::to_string(&straight.position()).unwrap();
        let position: Position = serde_json::from_str(&saved).unwrap();
        let mut resumed = LmBatches::new(documents.clone(), &which, options.clone(), 0).unwrap();
        resumed.seek(position);
        for _ in 0..per_epoch + 2 {
            assert_eq!(straight.next_batch(), resumed.next_batch());
        }
    }
    assert!(
        straight.next_batch().ids.contains(&UNK),
        "word dropout did nothing"
    );
    assert!(!straight.next_batch().targets.contains(&(UNK as i32)));
}

#[test]
fn lm_with_more_lanes_than_tokens() {
    let documents = documents(&[2]);
    let options = LmOptions { batch: 8, ..LM };
    let mut batches = LmBatches::new(documents, &[0], options, 1).unwrap();
    let batch = batches.next_batch();
    assert_eq!(batch.lens, [1, 1, 1, 0, 0, 0, 0, 0]);
    assert_eq!(batch.targets.iter().filter(|&&t| t != IGNORE).count(), 3);
}

const BUCKETS: BucketOptions = BucketOptions {
    batch: 4,
    max_len: 50,
    keep: Keep::Tail,
    shuffle: true,
    word_dropout: 0.0,
    autoencode: false,
};

fn epoch(batches: &mut BucketBatches) -> Vec<SequenceBatch> {
    (0..batches.batches_per_epoch())
        .map(|_| batches.next_batch())
        .collect()
}

fn column(batch: &SequenceBatch, b: usize) -> Vec<u32> {
    (0..batch.lens[b] as usize)
        .map(|t| batch.ids[t * batch.batch + b])
        .collect()
}

#[test]
fn buckets_hold_every_document_once() {
    let documents = documents(&some_lengths(131));
    let which: Vec<u32> = everything(&documents)
        .into_iter()
        .filter(|d| d % 7 != 0)
        .collect();
    for (shuffle, keep) in [(true, Keep::Tail), (false, Keep::Head)] {
        let options = BucketOptions {
            shuffle,
            keep,
            ..BUCKETS
        };
        let mut batches = BucketBatches::new(documents.clone(), &which, options, 3).unwrap();
        let mut seen = Vec::new();
        let all = epoch(&mut batches);
        for batch in &all {
            assert!(LENGTHS.contains(&batch.time) || batch.time == 50);
            assert!(batches.lengths().contains(&batch.time));
            assert_eq!(batch.ids.len(), batch.time * 4);
            assert_eq!(batch.index, TokenIndex::new(&batch.ids, &batch.lens));
            for b in 0..batch.batch {
                let (doc, found) = (batch.docs[b], column(batch, b));
                if doc == NO_DOC {
                    assert_eq!((batch.lens[b], batch.labels[b]), (0, IGNORE));
                    continue;
                }
                seen.push(doc);
                let text = documents.ids(doc);
                let words = text.len().min(49);
                let kept = match keep {
                    Keep::Head => &text[..words],
                    Keep::Tail => &text[text.len() - words..],
                };
                assert_eq!(found, kept);
                assert_eq!(
                    batch.labels[b],
                    documents.label(doc).map_or(IGNORE, |l| l as i32)
                );
            }
        }
        let short = all
            .iter()
            .filter(|batch| batch.docs.contains(&NO_DOC))
            .count();
        assert!(short <= 1, "only one batch may be short, {short} are");
        seen.sort_unstable();
        assert_eq!(seen, which);
    }
}

#[test]
fn buckets_waste_little() {
    let documents = documents(&some_lengths(400));
    let mut batches =
        BucketBatches::new(documents.clone(), &everything(&documents), BUCKETS, 3).unwrap();
    let all = epoch(&mut batches);
    let padded: usize = all.iter().map(|batch| batch.time * batch.batch).sum();
    let used: u32 = all.iter().flat_map(|batch| &batch.lens).sum();
    assert!((used as usize) * 3 > padded * 2, "{used} of {padded}");
    assert!(batches.lengths().len() <= 4);
}

#[test]
fn buckets_resume() {
    let documents = documents(&some_lengths(70));
    let which = everything(&documents);
    let options = BucketOptions {
        word_dropout: 0.3,
        autoencode: true,
        ..BUCKETS
    };
    let make = |seed| BucketBatches::new(documents.clone(), &which, options.clone(), seed).unwrap();
    let per_epoch = make(4).batches_per_epoch();
    for stop in [0, 5, per_epoch, 2 * per_epoch + 1] {
        let mut straight = make(4);
        (0..stop).for_each(|_| _ = straight.next_batch());
        let mut resumed = make(0);
        resumed.seek(straight.position());
        for _ in 0..per_epoch + 1 {
            assert_eq!(straight.next_batch(), resumed.next_batch());
        }
    }
    let docs = |batches: &mut BucketBatches| {
        epoch(batches)
            .into_iter()
            .flat_map(|b| b.docs)
            .collect::<Vec<_>>()
    };
    let mut batches = make(4);
    assert_ne!(docs(&mut batches), docs(&mut batches), "epochs differ");
    assert_ne!(docs(&mut make(4)), docs(&mut make(5)), "seeds differ");
}

#[test]
fn the_decoder_says_what_the_encoder_read() {
    let documents = documents(&some_lengths(20));
    let options = BucketOptions {
        word_dropout: 0.4,
        autoencode: true,
        ..BUCKETS
    };
    let mut batches =
        BucketBatches::new(documents.clone(), &everything(&documents), options, 2).unwrap();
    let mut dropped = [0, 0];
    for batch in epoch(&mut batches) {
        let decoder = batch.decoder.as_ref().unwrap();
        assert_eq!(decoder.index, TokenIndex::new(&decoder.ids, &decoder.lens));
        for b in 0..batch.batch {
            let mut before = EOS;
            for t in 0..batch.time {
                let at = t * batch.batch + b;
                if t >= decoder.lens[b] as usize {
                    assert_eq!((decoder.ids[at], decoder.targets[at]), (PAD, IGNORE));
                    continue;
                }
                let target = decoder.targets[at] as u32;
                if t == batch.lens[b] as usize {
                    assert_eq!((t + 1, target), (decoder.lens[b] as usize, EOS));
                    continue;
                }
                assert_ne!(target, UNK, "targets are never dropped");
                assert!(decoder.ids[at] == before || decoder.ids[at] == UNK);
                assert!(batch.ids[at] == target || batch.ids[at] == UNK);
                dropped[0] += usize::from(batch.ids[at] == UNK);
                dropped[1] += usize::from(decoder.ids[at] == UNK);
                before = target;
            }
        }
    }
    assert!(
        dropped[0] > 50 && dropped[1] > 50 && dropped[0] != dropped[1],
        "{dropped:?}"
    );
}

#[test]
fn bad_options() {
    let documents = documents(&[3, 4]);
    let lm = |options, which: &[u32]| {
        LmBatches::new(documents.clone(), which, options, 1)
            .err()
            .unwrap()
    };
    let buckets = |options, which: &[u32]| {
        BucketBatches::new(documents.clone(), which, options, 1)
            .err()
            .unwrap()
    };
    let argument = |error: Error, name: &str| {
        assert!(
            matches!(error, Error::Argument { arg, .. } if arg == name),
            "{error:?}"
        );
    };
    argument(lm(LmOptions { batch: 0, ..LM }, &[0]), "batch");
    argument(lm(LmOptions { window: 0, ..LM }, &[0]), "length");
    argument(
        lm(
            LmOptions {
                window: usize::MAX,
                ..LM
            },
            &[0],
        ),
        "length",
    );
    argument(
        lm(
            LmOptions {
                word_dropout: 1.0,
                ..LM
            },
            &[0],
        ),
        "word_dropout",
    );
    argument(
        lm(
            LmOptions {
                word_dropout: f32::NAN,
                ..LM
            },
            &[0],
        ),
        "word_dropout",
    );
    argument(
        buckets(
            BucketOptions {
                max_len: 1,
                ..BUCKETS
            },
            &[0],
        ),
        "max_len",
    );
    assert!(matches!(lm(LM, &[]), Error::EmptyText { .. }));
    assert!(matches!(buckets(BUCKETS, &[]), Error::EmptyText { .. }));
}
