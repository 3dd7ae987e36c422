//! Parts of a corpus for training, validation and test: stratified by class, decided by a seed.
//!
//! All functions take and give numbers of documents. Unlabelled documents count as one more
//! class.

use std::collections::BTreeMap;

use super::documents::Documents;
use super::rng::Rng;
use crate::{Error, Result};

/// One fold of a cross-validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Documents to learn from, ascending.
    pub train: Vec<u32>,
    /// Documents to be judged by, ascending. Over all folds, each document is here once.
    pub test: Vec<u32>,
}

/// The documents of each class, shuffled.
fn classes(
    documents: &Documents,
    from: &[u32],
    seed: u64,
    purpose: u64,
) -> BTreeMap<Option<u32>, Vec<u32>> {
    let mut classes: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for &doc in from {
        classes.entry(documents.label(doc)).or_default().push(doc);
    }
    for (class, docs) in &mut classes {
        shuffle(docs, *class, seed, purpose);
    }
    classes
}

fn shuffle(docs: &mut [u32], class: Option<u32>, seed: u64, purpose: u64) {
    docs.sort_unstable();
    let class = class.map_or(u64::MAX, u64::from);
    Rng::new(seed, &[purpose, class]).shuffle(docs);
}

fn name(documents: &Documents, class: Option<u32>) -> String {
    let name = class.and_then(|class| documents.label_names().get(class as usize));
    name.cloned().unwrap_or_else(|| "(unlabelled)".into())
}

/// Holds out `fraction` of each class: the rest, then what was held out, both ascending. Of pieces of
/// a text the last ones are held out.
///
/// # Errors
/// [`Error::Argument`] unless 0 < fraction < 1; [`Error::EmptyClass`] when a class is too small
/// to have a document on both sides.
pub fn holdout(
    documents: &Documents,
    from: &[u32],
    fraction: f64,
    seed: u64,
) -> Result<(Vec<u32>, Vec<u32>)> {
    let classes = classes(documents, from, seed, 1);
    hold(documents, classes, fraction)
}

/// [`holdout`] of texts whose labels mean nothing.
///
/// # Errors
/// Those of [`holdout`].
pub fn holdout_texts(
    documents: &Documents,
    from: &[u32],
    fraction: f64,
    seed: u64,
) -> Result<(Vec<u32>, Vec<u32>)> {
    let mut docs = from.to_vec();
    shuffle(&mut docs, None, seed, 1);
    hold(documents, BTreeMap::from([(None, docs)]), fraction)
}

/// So many of the documents, ascending; `by_class`, every class in its share. Of one seed, the fewer
/// are among the more.
pub fn sample(
    documents: &Documents,
    from: &[u32],
    count: usize,
    by_class: bool,
    seed: u64,
) -> Vec<u32> {
    let classes = if by_class {
        classes(documents, from, seed, 5)
    } else {
        let mut docs = from.to_vec();
        shuffle(&mut docs, None, seed, 5);
        BTreeMap::from([(None, docs)])
    };
    // Half-way marks, so that the first so many hold of each class what its share comes to.
    let mut marked: Vec<(f64, u32)> = (classes.into_values())
        .flat_map(|docs| {
            let size = docs.len() as f64;
            let marks = docs.into_iter().enumerate();
            marks.map(move |(place, doc)| ((place as f64 + 0.5) / size, doc))
        })
        .collect();
    marked.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let mut chosen: Vec<u32> = marked.into_iter().take(count).map(|(_, doc)| doc).collect();
    chosen.sort_unstable();
    chosen
}

fn hold(
    documents: &Documents,
    classes: BTreeMap<Option<u32>, Vec<u32>>,
    fraction: f64,
) -> Result<(Vec<u32>, Vec<u32>)> {
    if !(fraction > 0.0 && fraction < 1.0) {
        let expected = "a number between 0 and 1, both excluded";
        return Err(Error::argument("split", "fraction", fraction, expected));
    }
    let (mut rest, mut held) = (Vec::new(), Vec::new());
    for (class, mut docs) in classes {
        if docs.len() < 2 {
            return Err(Error::EmptyClass {
                class: name(documents, class),
                place: "the documents to split".into(),
                needed: 2,
                found: docs.len(),
                remedy: "add examples of it, or leave it out".into(),
            });
        }
        let places = 0..docs.len();
        let mut order: Vec<(f64, u32)> = (places.zip(&docs))
            .map(|(place, &doc)| {
                let chance = (place as f64 + 0.5) / docs.len() as f64;
                (documents.share_behind(doc).unwrap_or(chance), doc)
            })
            .collect();
        order.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        docs = order.into_iter().map(|(_, doc)| doc).collect();
        let count = (docs.len() as f64 * fraction).round() as usize;
        let (out, stay) = docs.split_at(count.clamp(1, docs.len() - 1));
        held.extend_from_slice(out);
        rest.extend_from_slice(stay);
    }
    rest.sort_unstable();
    held.sort_unstable();
    Ok((rest, held))
}

/// Parts of the given sizes (which add up to 1), each ascending; every class is shared out alike
/// as far as its size allows.
///
/// # Errors
/// [`Error::Argument`] unless all fractions are above 0 and their sum is 1.
pub fn parts<const N: usize>(
    documents: &Documents,
    from: &[u32],
    fractions: [f64; N],
    seed: u64,
) -> Result<[Vec<u32>; N]> {
    let sum: f64 = fractions.iter().sum();
    if !fractions.iter().all(|&f| f > 0.0) || (sum - 1.0).abs() > 1e-6 {
        let (value, expected) = (format!("{fractions:?}"), "numbers above 0 that add up to 1");
        return Err(Error::argument("split", "fractions", value, expected));
    }
    let mut parts = std::array::from_fn(|_| Vec::new());
    for docs in classes(documents, from, seed, 4).into_values() {
        let (mut start, mut share) = (0, 0.0);
        for (part, fraction) in parts.iter_mut().zip(fractions) {
            share += fraction;
            let end = ((docs.len() as f64 * share / sum).round() as usize).min(docs.len());
            part.extend_from_slice(&docs[start..end]);
            start = end;
        }
    }
    parts.iter_mut().for_each(|part| part.sort_unstable());
    Ok(parts)
}

/// `k`-fold cross-validation. The sizes of the folds differ by one at most, and so does the
/// number of documents of any class.
///
/// # Errors
/// [`Error::Argument`] for fewer than two folds; [`Error::EmptyClass`] when a class has fewer
/// documents than there are folds.
pub fn k_fold(documents: &Documents, from: &[u32], k: usize, seed: u64) -> Result<Vec<Fold>> {
    if k < 2 {
        return Err(Error::argument("cross-validation", "folds", k, "2 or more"));
    }
    // Each class is dealt out where the one before stopped, so that sizes stay level.
    let mut dealt = Vec::with_capacity(from.len());
    for (class, docs) in classes(documents, from, seed, 2) {
        if docs.len() < k {
            return Err(Error::EmptyClass {
                class: name(documents, class),
                place: format!("the documents for {k} folds"),
                needed: k,
                found: docs.len(),
                remedy: "add examples of it, leave it out, or ask for fewer folds".into(),
            });
        }
        dealt.extend(docs);
    }
    let fold = |number: usize| {
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for (place, &doc) in dealt.iter().enumerate() {
            if place % k == number {
                test.push(doc)
            } else {
                train.push(doc)
            }
        }
        train.sort_unstable();
        test.sort_unstable();
        Fold { train, test }
    };
    Ok((0..k).map(fold).collect())
}
