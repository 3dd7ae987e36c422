//! Documents as one stream of tokens, `<eos> text <eos> text <eos> …`: what language models read.

use std::sync::Arc;

use super::documents::Documents;
use super::rng::Rng;

/// Texts one after the other. Those that were cut in pieces are whole here: pieces that follow each other
/// stay together, with no `<eos>` between them.
pub(super) struct Joined {
    documents: Arc<Documents>,
    eos: u32,
    /// The documents, and whether a text ends with each.
    order: Vec<(u32, bool)>,
    /// Where each of them begins, and the end of the last one.
    starts: Vec<u64>,
}

impl Joined {
    /// Of documents that are not empty, in ascending order; their texts are shuffled where there is a
    /// generator.
    pub(super) fn new(
        documents: Arc<Documents>,
        ascending: &[u32],
        eos: u32,
        rng: Option<Rng>,
    ) -> Self {
        let goes_on = |a: &u32, b: &u32| *b == a + 1 && documents.goes_on(*a);
        let mut texts: Vec<&[u32]> = ascending.chunk_by(goes_on).collect();
        if let Some(mut rng) = rng {
            rng.shuffle(&mut texts);
        }
        let ends = |text: &&[u32]| {
            let last = text.len() - 1;
            let each = text.iter().enumerate();
            let each = each.map(move |(at, &doc)| (doc, at == last));
            each.collect::<Vec<_>>()
        };
        let order: Vec<(u32, bool)> = texts.iter().flat_map(ends).collect();
        let mut starts = vec![0];
        let mut end = 0;
        for &(doc, ends) in &order {
            end += documents.ids(doc).len() as u64 + u64::from(ends);
            starts.push(end);
        }
        Self {
            documents,
            eos,
            order,
            starts,
        }
    }

    /// Targets: all tokens, and an `<eos>` for each text.
    pub(super) fn len(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The targets from place `from` on.
    pub(super) fn targets(&self, from: u64) -> impl Iterator<Item = u32> + '_ {
        let first = self.starts.partition_point(|&start| start <= from);
        let first = first.saturating_sub(1).min(self.order.len());
        let skip = (from - self.starts[first]) as usize;
        let text = |&(doc, ends): &(u32, bool)| {
            let ids = self.documents.ids(doc).iter().copied();
            ids.chain(ends.then_some(self.eos))
        };
        self.order[first..].iter().flat_map(text).skip(skip)
    }

    /// The input at target place `from`: the token before it, `<eos>` at the very beginning.
    pub(super) fn before(&self, from: u64) -> u32 {
        let before = from.checked_sub(1);
        let before = before.and_then(|place| self.targets(place).next());
        before.unwrap_or(self.eos)
    }
}
