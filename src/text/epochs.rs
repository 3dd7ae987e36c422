//! Which items share a batch, epoch after epoch, and where in that order a stream stands.
//!
//! Items (documents, sequences) of similar length share a batch, padded to one of a few lengths:
//! the GPU step is recorded once for each shape, so there must be few. A bucket that cannot fill
//! its last batch hands the rest to the next longer one; only the very last batch of an epoch is
//! short.

use super::batch::Position;
use super::rng::Rng;

/// Padded lengths. Each is at most half as long again as the one before, but for the shortest
/// and the longest, where documents are few.
pub const LENGTHS: [usize; 12] = [16, 32, 48, 64, 96, 128, 192, 256, 400, 600, 1000, 2000];

/// The members of [`LENGTHS`] below `max_len`, and `max_len`.
pub(super) fn padded_lengths(max_len: usize) -> Vec<usize> {
    let shorter = LENGTHS.into_iter().filter(|&length| length < max_len);
    shorter.chain([max_len]).collect()
}

/// The shapes of batches.
pub(super) struct Shape {
    /// B, rows of every batch.
    pub(super) batch: usize,
    /// Padded lengths, ascending; the last one holds every item.
    pub(super) lengths: Vec<usize>,
    /// Draw the order anew for every epoch; otherwise by length, then by number.
    pub(super) shuffle: bool,
}

/// One batch to come.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// T, the padded length.
    pub(super) time: usize,
    /// B items or, in the last batch of an epoch, fewer.
    pub(super) items: Vec<u32>,
}

/// The endless order of batches.
pub(super) struct Epochs {
    /// Items with their lengths.
    items: Vec<(u32, usize)>,
    shape: Shape,
    plan: Vec<Plan>,
    planned: Option<u64>,
    position: Position,
}

impl Epochs {
    /// `items`, of which there is one at least, have the lengths `lengths`.
    pub(super) fn new(items: Vec<u32>, lengths: Vec<usize>, shape: Shape, seed: u64) -> Self {
        let mut epochs = Self {
            items: items.into_iter().zip(lengths).collect(),
            shape,
            plan: Vec::new(),
            planned: None,
            position: Position::start(seed),
        };
        epochs.plan();
        epochs
    }

    /// Batches in an epoch, the same for every epoch.
    pub(super) fn batches(&self) -> u64 {
        self.items.len().div_ceil(self.shape.batch) as u64
    }

    /// Items in an epoch.
    pub(super) fn items(&self) -> usize {
        self.items.len()
    }

    /// The padded lengths that occur, ascending.
    pub(super) fn lengths(&self) -> Vec<usize> {
        let mut lengths: Vec<usize> = self.plan.iter().map(|plan| plan.time).collect();
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }

    /// Position of the batch that comes next.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Continues from a position.
    pub(super) fn seek(&mut self, position: Position) {
        self.position = position.normal(self.batches());
        self.planned = None;
        self.plan();
    }

    /// The next batch and its position.
    pub(super) fn advance(&mut self) -> (Plan, Position) {
        self.plan();
        let position = self.position;
        self.position = position.next(self.batches());
        (self.plan[position.index as usize].clone(), position)
    }

    fn plan(&mut self) {
        if self.planned == Some(self.position.epoch) {
            return;
        }
        let Shape {
            batch,
            lengths,
            shuffle,
        } = &self.shape;
        let key = |purpose| [purpose, self.position.epoch];
        let mut items = self.items.clone();
        if *shuffle {
            Rng::new(self.position.seed, &key(0xB0)).shuffle(&mut items);
        }
        let mut buckets: Vec<Vec<u32>> = vec![Vec::new(); lengths.len()];
        for (item, length) in items {
            let fits = lengths.partition_point(|&padded| padded < length);
            buckets[fits.min(lengths.len() - 1)].push(item);
        }
        let longest = buckets
            .iter()
            .rposition(|bucket| !bucket.is_empty())
            .unwrap_or(0);
        let mut plan = Vec::new();
        let mut waiting: Vec<u32> = Vec::new();
        for (bucket, (items, &time)) in buckets.into_iter().zip(lengths).enumerate() {
            waiting.extend(items);
            while waiting.len() >= *batch || (bucket == longest && !waiting.is_empty()) {
                let rest = waiting.split_off(waiting.len().min(*batch));
                plan.push(Plan {
                    time,
                    items: std::mem::replace(&mut waiting, rest),
                });
            }
        }
        if *shuffle {
            Rng::new(self.position.seed, &key(0xB1)).shuffle(&mut plan);
        }
        self.plan = plan;
        self.planned = Some(self.position.epoch);
    }
}
