//! Parts for training, validation and test.

use std::collections::BTreeMap;

use melos::Error;
use melos::text::documents::Documents;
use melos::text::split::{holdout, k_fold, sample};

use super::{documents, everything, some_lengths};

fn by_class(documents: &Documents, docs: &[u32]) -> BTreeMap<Option<u32>, usize> {
    let mut counts = BTreeMap::new();
    docs.iter()
        .for_each(|&doc| *counts.entry(documents.label(doc)).or_default() += 1);
    counts
}

#[test]
fn folds_partition_and_balance() {
    let documents = documents(&some_lengths(103));
    let from = documents.labelled();
    let folds = k_fold(&documents, &from, 10, 1).unwrap();
    let mut tested = Vec::new();
    for fold in &folds {
        let mut both = [fold.train.clone(), fold.test.clone()].concat();
        both.sort_unstable();
        assert_eq!(both, from);
        tested.extend_from_slice(&fold.test);
    }
    tested.sort_unstable();
    assert_eq!(tested, from);
    let total = by_class(&documents, &from);
    for fold in &folds {
        for (class, count) in by_class(&documents, &fold.test) {
            assert!(count.abs_diff(total[&class] / 10) <= 1);
        }
        assert!(fold.test.len().abs_diff(from.len() / 10) <= 1);
    }
    assert_eq!(folds, k_fold(&documents, &from, 10, 1).unwrap());
    assert_ne!(folds, k_fold(&documents, &from, 10, 2).unwrap());
}

#[test]
fn holdout_takes_its_share_of_each_class() {
    let documents = documents(&some_lengths(200));
    let from = everything(&documents);
    let (rest, held) = holdout(&documents, &from, 0.25, 1).unwrap();
    let mut both = [rest.clone(), held.clone()].concat();
    both.sort_unstable();
    assert_eq!(both, from);
    let total = by_class(&documents, &from);
    for (class, count) in by_class(&documents, &held) {
        assert_eq!(count, (total[&class] as f64 * 0.25).round() as usize);
    }
    assert_eq!((rest, held), holdout(&documents, &from, 0.25, 1).unwrap());
}

#[test]
fn a_sample_has_every_class_in_its_share_and_a_larger_one_has_it_too() {
    let documents = documents(&some_lengths(200));
    let from = documents.labelled();
    let total = by_class(&documents, &from);
    let mut smaller = Vec::new();
    for count in [1, 7, 40, from.len()] {
        let chosen = sample(&documents, &from, count, true, 3);
        assert_eq!(chosen.len(), count);
        assert!(chosen.is_sorted_by(|a, b| a < b));
        assert!(smaller.iter().all(|doc| chosen.contains(doc)));
        for (class, of) in by_class(&documents, &chosen) {
            let share = total[&class] as f64 * count as f64 / from.len() as f64;
            assert!(
                (of as f64 - share).abs() <= 1.0,
                "{of} of class {class:?}, {share} expected"
            );
        }
        smaller = chosen;
    }
    assert_eq!(smaller, from);
    assert_ne!(
        sample(&documents, &from, 40, true, 3),
        sample(&documents, &from, 40, true, 4)
    );
    assert_eq!(sample(&documents, &from, 40, false, 3).len(), 40);
}

#[test]
fn bad_splits() {
    let documents = documents(&some_lengths(20));
    let from = documents.labelled();
    let argument =
        |result: Result<(), Error>| assert!(matches!(result, Err(Error::Argument { .. })));
    argument(holdout(&documents, &from, 1.0, 1).map(drop));
    argument(holdout(&documents, &from, f64::NAN, 1).map(drop));
    argument(k_fold(&documents, &from, 1, 1).map(drop));
    let small = |result: Result<(), Error>, words: &str| match result {
        Err(error @ Error::EmptyClass { .. }) => {
            assert!(error.to_string().contains(words), "{error}")
        }
        other => panic!("{other:?}"),
    };
    small(
        k_fold(&documents, &from, 10, 1).map(drop),
        "'pos' has 6 of the 10 examples",
    );
    small(
        holdout(&documents, &[0, 1], 0.5, 1).map(drop),
        "1 of the 2 examples",
    );
}
