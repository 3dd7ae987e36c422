//! Rows for causal language models and for fine-tuning: what they hold, that they resume.
#![cfg(feature = "train")]

use std::sync::Arc;

use melos::Error;
use melos::ops::TokenIndex;
use melos::text::Stream;
use melos::text::batch::{IGNORE, NO_DOC};
use melos::text::bucket::Keep;
use melos::text::causal::{CausalBatch, CausalBatches, CausalLayout, CausalOptions};
use melos::text::corpus::Example;
use melos::text::documents::Documents;
use melos::text::tokenizer::{Tokenizer, TokenizerOptions};
use melos::text::vocabulary::{Roles, Vocabulary};
use melos::text::{LabelledBatches, LabelledOptions, TaggedBatches, TaggedDocuments, TaggedText};

const PAD: u32 = 0;
const CLS: u32 = 2;
const SEP: u32 = 3;

fn words(first: usize, count: usize) -> String {
    let word = |w: usize| [w / 676, w / 26, w].map(|n| (b'a' + (n % 26) as u8) as char);
    let words = (first..first + count).map(|w| word(w).iter().collect::<String>());
    words.collect::<Vec<_>>().join(" ")
}

/// Documents of so many words, and of a second text of so many; all words differ.
fn documents(lengths: &[(usize, usize)]) -> (Arc<Documents>, Tokenizer) {
    let mut used = 0;
    let mut next = |count| {
        used += count;
        words(used - count, count)
    };
    let examples: Vec<Example> = lengths
        .iter()
        .enumerate()
        .map(|(doc, &(text, pair))| Example {
            text: next(text),
            pair: (pair > 0).then(|| next(pair)),
            label: (doc % 3 != 2).then(|| ["no", "yes"][doc % 2].to_owned()),
            ..Example::default()
        })
        .collect();
    let options = TokenizerOptions {
        vocab_size: 1_000_000,
        min_frequency: 1,
        ..Default::default()
    };
    let texts = examples
        .iter()
        .flat_map(|e| [Some(e.text.clone()), e.pair.clone()]);
    let tokenizer = Tokenizer::train_on(texts.flatten(), &options).unwrap();
    let documents = Documents::from_examples(examples, &tokenizer).unwrap();
    (Arc::new(documents), tokenizer)
}

fn bert(tokenizer: &Tokenizer) -> Vocabulary {
    let roles = Roles {
        pad: Some(PAD),
        cls: Some(CLS),
        sep: Some(SEP),
        ..Roles::default()
    };
    Vocabulary::new(tokenizer.vocab_size(), roles, &[], &[], "test")
}

fn gpt2(tokenizer: &Tokenizer) -> Vocabulary {
    let roles = Roles {
        eos: Some(SEP),
        ..Roles::default()
    };
    Vocabulary::new(tokenizer.vocab_size(), roles, &[], &[], "test")
}

fn all(documents: &Documents) -> Vec<u32> {
    (0..documents.len() as u32).collect()
}

const CAUSAL: CausalOptions = CausalOptions {
    batch: 3,
    max_len: 10,
    layout: CausalLayout::Stream,
    buckets: true,
    shuffle: true,
    prompt_loss: false,
};

fn causal(
    documents: &Arc<Documents>,
    tokenizer: &Tokenizer,
    options: CausalOptions,
) -> CausalBatches {
    let which = all(documents);
    CausalBatches::new(documents.clone(), &which, &gpt2(tokenizer), options, 5).unwrap()
}

fn epoch(batches: &mut CausalBatches) -> Vec<CausalBatch> {
    (0..batches.batches_per_epoch())
        .map(|_| batches.next_batch())
        .collect()
}

#[test]
fn windows_are_the_stream() {
    let lengths: Vec<(usize, usize)> = (0..17).map(|i| (i * 5 % 23, 0)).collect();
    let (documents, tokenizer) = documents(&lengths);
    let options = CausalOptions {
        shuffle: false,
        ..CAUSAL
    };
    let mut batches = causal(&documents, &tokenizer, options);
    let mut stream = vec![SEP];
    for doc in all(&documents)
        .into_iter()
        .filter(|&d| !documents.ids(d).is_empty())
    {
        stream.extend_from_slice(documents.ids(doc));
        stream.push(SEP);
    }
    assert_eq!(batches.tokens_per_epoch(), stream.len() as u64 - 1);
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    for batch in epoch(&mut batches) {
        let rows = &batch.inputs;
        assert_eq!((rows.time, rows.batch), (10, 3));
        for b in 0..3 {
            let (from, end) = (b * 10, b * 10 + rows.lens[b] as usize);
            inputs.extend_from_slice(&rows.ids[from..end]);
            targets.extend(batch.targets[from..end].iter().map(|&t| t as u32));
            assert!(batch.targets[end..from + 10].iter().all(|&t| t == IGNORE));
        }
        assert_eq!(rows.index, TokenIndex::of_rows(&rows.ids, &rows.lens));
        assert_eq!(batch.predicted, rows.lens.iter().sum::<u32>() as usize);
    }
    assert_eq!(inputs, stream[..stream.len() - 1]);
    assert_eq!(targets, stream[1..]);
}

#[test]
fn shuffled_windows_hold_every_token_once_and_resume() {
    let lengths: Vec<(usize, usize)> = (0..40).map(|i| (1 + i * 7 % 30, 0)).collect();
    let (documents, tokenizer) = documents(&lengths);
    let mut batches = causal(&documents, &tokenizer, CAUSAL);
    let run: Vec<Vec<CausalBatch>> = (0..3).map(|_| epoch(&mut batches)).collect();
    assert_ne!(run[0][0].inputs.ids, run[1][0].inputs.ids);
    for epoch in &run {
        let mut found: Vec<i32> = epoch.iter().flat_map(|b| b.targets.clone()).collect();
        found.retain(|&t| t > SEP as i32);
        found.sort_unstable();
        assert!(found.is_sorted_by(|a, b| a < b));
        assert_eq!(found.len() as u64, documents.tokens());
    }
    let run = run.concat();
    for at in [1, 7, batches.batches_per_epoch() as usize] {
        let mut resumed = causal(&documents, &tokenizer, CAUSAL);
        resumed.seek(run[at].position);
        assert!(run[at..].iter().all(|batch| *batch == resumed.next_batch()));
    }
}

#[test]
fn prompts_are_read_and_answers_said() {
    let (documents, tokenizer) = documents(&[(3, 2), (4, 0), (20, 3), (2, 30)]);
    let options = CausalOptions {
        layout: CausalLayout::Documents,
        shuffle: false,
        batch: 1,
        buckets: false,
        ..CAUSAL
    };
    let mut batches = causal(&documents, &tokenizer, options.clone());
    let rows = epoch(&mut batches);
    let ids = |doc| documents.ids(doc);
    let target = |id: u32| id as i32;
    // Prompt, <eos>, answer; the last prompt token says nothing yet.
    assert_eq!(
        rows[0].inputs.ids[..6],
        [ids(0)[0], ids(0)[1], ids(0)[2], SEP, ids(0)[3], ids(0)[4]]
    );
    assert_eq!(rows[0].inputs.lens, [6]);
    assert_eq!(
        rows[0].targets[..6],
        [
            IGNORE,
            IGNORE,
            IGNORE,
            target(ids(0)[3]),
            target(ids(0)[4]),
            3
        ]
    );
    assert_eq!(rows[0].predicted, 3);
    // No prompt: <eos> and the text.
    assert_eq!(rows[1].inputs.ids[..5], [&[SEP], ids(1)].concat());
    assert_eq!(
        rows[1].targets[..5],
        [
            target(ids(1)[0]),
            target(ids(1)[1]),
            target(ids(1)[2]),
            target(ids(1)[3]),
            3
        ]
    );
    // A long prompt loses its beginning: six tokens, <eos> and three make ten.
    assert_eq!(
        rows[2].inputs.ids,
        [&ids(2)[14..20], &[SEP], &ids(2)[20..]].concat()
    );
    assert_eq!(rows[2].predicted, 4);
    // A long answer is cut.
    assert_eq!(rows[3].inputs.ids, [&[SEP], &ids(3)[2..11]].concat());
    assert_eq!(rows[3].targets[9], target(ids(3)[11]));
    let options = CausalOptions {
        prompt_loss: true,
        ..options
    };
    let with_prompt = causal(&documents, &tokenizer, options).next_batch();
    assert_eq!(with_prompt.predicted, 6);
    assert_eq!(with_prompt.targets[0], target(ids(0)[1]));
}

const LABELLED: LabelledOptions = LabelledOptions {
    batch: 4,
    max_len: 20,
    keep: Keep::Head,
    buckets: true,
    shuffle: true,
};

#[test]
fn labelled_rows_are_framed_and_cut() {
    let (documents, tokenizer) = documents(&[(3, 0), (50, 0), (4, 5), (50, 2), (2, 50), (40, 50)]);
    let options = LabelledOptions {
        batch: 1,
        shuffle: false,
        ..LABELLED
    };
    let make = |options: &LabelledOptions, vocabulary: &Vocabulary| {
        let which = all(&documents);
        LabelledBatches::new(documents.clone(), &which, vocabulary, options.clone(), 1).unwrap()
    };
    let row = |options: &LabelledOptions, vocabulary: &Vocabulary, doc: u32| {
        let mut batches = make(options, vocabulary);
        let mut rows = (0..6).map(|_| batches.next_batch());
        let batch = rows.find(|batch| batch.docs == [doc]).unwrap();
        let len = batch.inputs.lens[0] as usize;
        let types: u32 = batch.inputs.token_types.iter().sum();
        (
            batch.inputs.ids[..len].to_vec(),
            types as usize,
            batch.labels[0],
        )
    };
    let vocabulary = bert(&tokenizer);
    let ids = |doc| documents.ids(doc);
    let (cls, sep) = (&[CLS][..], &[SEP][..]);
    let single = [cls, ids(0), sep].concat();
    assert_eq!(row(&options, &vocabulary, 0), (single, 0, 0));
    let head = [cls, &ids(1)[..18], sep].concat();
    assert_eq!(row(&options, &vocabulary, 1), (head, 0, 1));
    let tail = LabelledOptions {
        keep: Keep::Tail,
        ..options.clone()
    };
    let end = [cls, &ids(1)[32..], sep].concat();
    assert_eq!(row(&tail, &vocabulary, 1).0, end);
    let pair = [cls, &ids(2)[..4], sep, &ids(2)[4..], sep].concat();
    assert_eq!(row(&options, &vocabulary, 2), (pair, 6, IGNORE));
    // The longer text gives way; of two long ones the longer keeps the odd token.
    let first_cut = [cls, &ids(3)[..15], sep, &ids(3)[50..], sep].concat();
    assert_eq!(row(&options, &vocabulary, 3), (first_cut, 3, 1));
    let second_cut = [cls, &ids(4)[..2], sep, &ids(4)[2..17], sep].concat();
    assert_eq!(row(&options, &vocabulary, 4).0, second_cut);
    let both_cut = [cls, &ids(5)[..8], sep, &ids(5)[40..49], sep].concat();
    assert_eq!(row(&options, &vocabulary, 5).0, both_cut);
    // GPT-2 has no frame.
    assert_eq!(row(&options, &gpt2(&tokenizer), 0).0, ids(0));
}

#[test]
fn labelled_batches_resume_and_fill_short_ones() {
    let lengths: Vec<(usize, usize)> = (0..23).map(|i| (1 + i * 3 % 40, i % 4)).collect();
    let (documents, tokenizer) = documents(&lengths);
    let make = || {
        let which = all(&documents);
        LabelledBatches::new(documents.clone(), &which, &bert(&tokenizer), LABELLED, 3).unwrap()
    };
    let mut batches = make();
    assert_eq!(
        (batches.batches_per_epoch(), batches.items_per_epoch()),
        (6, 23)
    );
    assert_eq!(batches.lengths(), [16, 20]);
    let run: Vec<_> = (0..15).map(|_| batches.next_batch()).collect();
    let mut docs: Vec<u32> = run[..6]
        .iter()
        .flat_map(|batch| batch.docs.clone())
        .collect();
    docs.sort_unstable();
    assert_eq!(docs.pop(), Some(NO_DOC));
    assert_eq!(docs, all(&documents));
    for at in [1, 6, 11] {
        let mut resumed = make();
        resumed.seek(run[at].position);
        assert!(run[at..].iter().all(|batch| *batch == resumed.next_batch()));
    }
}

#[test]
fn tags_stand_at_the_first_token_of_a_word() {
    let tokenizer = Tokenizer::train_on(
        [words(0, 30)],
        &TokenizerOptions {
            vocab_size: 1000,
            min_frequency: 1,
            ..Default::default()
        },
    )
    .unwrap();
    let words: Vec<String> = words(0, 30).split(' ').map(String::from).collect();
    let texts = [
        // The second word is three tokens.
        TaggedText {
            words: vec![
                words[0].clone(),
                format!("{}-{}", words[1], words[2]),
                words[3].clone(),
            ],
            tags: vec!["O".into(), "B".into(), "I".into()],
        },
        TaggedText {
            words: words.clone(),
            tags: vec!["O".into(); 30],
        },
    ];
    let documents = Arc::new(TaggedDocuments::new(&texts, &tokenizer).unwrap());
    assert_eq!(documents.label_names(), ["B", "I", "O"]);
    let options = LabelledOptions {
        batch: 2,
        shuffle: false,
        buckets: false,
        ..LABELLED
    };
    let mut batches = TaggedBatches::new(
        documents.clone(),
        &[0, 1],
        &bert(&tokenizer),
        options.clone(),
        1,
    )
    .unwrap();
    let batch = batches.next_batch();
    assert_eq!(batch.inputs.lens, [7, 20]);
    assert_eq!(batch.labels[..7], [IGNORE, 2, 0, IGNORE, IGNORE, 1, IGNORE]);
    assert!(batch.labels[7..21].iter().all(|&label| label == IGNORE));
    assert_eq!(batch.labels[21..39], [2; 18]);
    assert_eq!(batch.labels[39], IGNORE);

    let uneven = TaggedText {
        tags: Vec::new(),
        ..texts[0].clone()
    };
    let error = TaggedDocuments::new(&[uneven], &tokenizer).unwrap_err();
    assert!(
        error.to_string().contains("one for each of its words"),
        "{error}"
    );
    let error = TaggedBatches::new(documents, &[9], &bert(&tokenizer), options, 1).err();
    assert!(matches!(error, Some(Error::EmptyText { .. })));
}

#[test]
fn a_vocabulary_without_what_is_needed_is_refused() {
    let (documents, tokenizer) = documents(&[(3, 0)]);
    let none = Vocabulary::new(tokenizer.vocab_size(), Roles::default(), &[], &[], "x.json");
    let error = CausalBatches::new(documents.clone(), &[0], &none, CAUSAL, 1).err();
    assert!(error.unwrap().to_string().contains("no eos_token"));
    let error = LabelledBatches::new(documents, &[0], &none, LABELLED, 1).err();
    assert!(error.unwrap().to_string().contains("which padding needs"));
}

#[test]
fn texts_that_are_scored_come_by_length_with_little_padding() {
    // 70 texts of 1 to 20 words, in no order of their lengths.
    let lengths: Vec<_> = (0..70).map(|n| (n * 7 % 20 + 1, 0)).collect();
    let (documents, tokenizer) = documents(&lengths);
    let all = documents.filter(|_| true);
    let options = LabelledOptions {
        batch: 32,
        max_len: 20,
        buckets: true,
        shuffle: false,
        ..LABELLED
    };
    let mut stream = LabelledBatches::new(documents, &all, &bert(&tokenizer), options, 0).unwrap();
    let (mut seen, mut lengths, mut shapes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..stream.batches_per_epoch() {
        let batch = stream.next_batch();
        let docs = batch.docs.iter().filter(|doc| **doc != NO_DOC);
        seen.extend(docs.copied());
        let lens = batch.inputs.lens.iter().filter(|len| **len > 0);
        lengths.extend(lens.copied());
        let longest = batch.inputs.lens.iter().max().copied().unwrap() as usize;
        assert!((longest..longest + 4).contains(&batch.inputs.time));
        shapes.push((
            batch.inputs.time,
            batch.inputs.ids.len() / batch.inputs.time,
        ));
    }
    // The rows that are empty are those of the shortest; what is too long is cut.
    assert_eq!(
        shapes.iter().map(|shape| shape.1).collect::<Vec<_>>(),
        [32; 3]
    );
    assert_eq!(shapes.last().unwrap().0, 20);
    assert!(lengths.is_sorted() && lengths.len() == 70, "{lengths:?}");
    seen.sort_unstable();
    assert_eq!(seen, all);
}
