//! Which items share a batch, epoch after epoch, and where in that order a stream stands.
//!
//! Items (documents, sequences) of similar length share a batch, padded to one of a few lengths:
//! the GPU step is recorded once for each shape, so there must be few. A bucket that cannot fill
//! its last batch hands the rest to the next longer one; only the very last batch of an epoch is
//! short.

use super::batch::Position;
use super::rng::Rng;
use crate::{Error, Result};

/// Padded lengths. Each is at most half as long again as the one before, but for the shortest
/// and the longest, where documents are few.
pub const LENGTHS: [usize; 12] = [16, 32, 48, 64, 96, 128, 192, 256, 400, 600, 1000, 2000];

/// The length to which texts of up to `length` tokens are padded where they come sorted by their length: at
/// most an eighth more of it or 3 tokens, so that few shapes occur and little is padding.
pub fn padded(length: usize, most: usize) -> usize {
    let step = (length.next_power_of_two() / 16).max(4);
    length.next_multiple_of(step).min(most.max(length))
}

/// The shapes of batches.
pub(super) struct Shape {
    /// B, rows of every batch.
    pub(super) batch: usize,
    /// Padded lengths, ascending; the last one holds every item.
    pub(super) lengths: Vec<usize>,
    /// Whether items come sorted by length instead, each batch [`padded`] by itself.
    pub(super) sorted: bool,
    /// Draw the order anew for every epoch; otherwise by length, then by number.
    pub(super) shuffle: bool,
}

impl Shape {
    /// Of batches whose rows hold up to `max_len` tokens, in `buckets` padded to one of a few lengths.
    pub(super) fn new(batch: usize, max_len: usize, buckets: bool, shuffle: bool) -> Self {
        let shorter = LENGTHS.into_iter().filter(|&l| buckets && l < max_len);
        Self {
            batch,
            lengths: shorter.chain([max_len]).collect(),
            sorted: false,
            shuffle,
        }
    }

    /// Of batches that are read once, in whatever order: by length.
    pub(super) fn sorted(batch: usize, max_len: usize) -> Self {
        Self {
            sorted: true,
            ..Self::new(batch, max_len, false, false)
        }
    }
}

/// The numbers of `which` in order, of which there must be one.
pub(super) fn ordered(which: impl IntoIterator<Item = u32>, what: &str) -> Result<Vec<u32>> {
    let mut which: Vec<u32> = which.into_iter().collect();
    which.sort_unstable();
    match which[..] {
        [] => Err(Error::EmptyText { path: what.into() }),
        _ => Ok(which),
    }
}

/// One batch to come.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// T, the padded length.
    pub time: usize,
    /// B items or, in the last batch of an epoch, fewer.
    pub items: Vec<u32>,
}

/// An endless stream of batches: after the last one of an epoch comes the first of the next. The same
/// position gives the same batch, whatever was read before.
pub trait Stream: Send {
    /// What it gives.
    type Batch;

    /// Batches in an epoch, the same for every epoch.
    fn batches_per_epoch(&self) -> u64;

    /// Position of the batch that comes next.
    fn position(&self) -> Position;

    /// Continues from a position.
    fn seek(&mut self, position: Position);

    /// The next batch, at `progress` of the training, 0 to 1: how text is masked may change on the way.
    fn next_at(&mut self, progress: f64) -> Self::Batch;

    /// The next batch of a stream that does not change on the way.
    fn next_batch(&mut self) -> Self::Batch {
        self.next_at(0.0)
    }
}

/// Makes a batch of the items that are planned for it.
pub trait Maker: Send {
    /// What it makes.
    type Batch;

    /// The batch of `plan`, which stands at `position`, at `progress` of the training.
    fn make(&self, plan: &Plan, position: Position, progress: f64) -> Self::Batch;
}

/// Batches of items of like length, in an order that is drawn for every epoch.
pub struct Batches<M> {
    pub(super) maker: M,
    pub(super) epochs: Epochs,
}

impl<M: Maker> Batches<M> {
    /// Documents, or the sequences that they were put together to, in an epoch.
    pub fn items_per_epoch(&self) -> usize {
        self.epochs.items.len()
    }

    /// A stream of the items `which`, all of one length, `batch` of them together.
    ///
    /// # Errors
    /// [`Error::Argument`] for a zero batch; [`Error::EmptyText`] where there is no item.
    pub fn of_equals(
        maker: M,
        which: &[u32],
        (batch, shuffle): (usize, bool),
        seed: u64,
    ) -> Result<Self> {
        if batch == 0 {
            let expected = "1 or more";
            return Err(Error::argument("batches", "batch", batch, expected));
        }
        let which = ordered(which.iter().copied(), "the data to make batches of")?;
        let lengths = vec![1; which.len()];
        let shape = Shape::new(batch, 1, false, shuffle);
        Ok(Batches {
            epochs: Epochs::new(which, lengths, shape, seed),
            maker,
        })
    }

    /// The same stream, each of whose epochs has as many items, the same number of each class: those of a
    /// rare one several times, of a common one others in every epoch. `class` says an item's, below
    /// `classes`; items without one are left out.
    pub fn balanced(mut self, classes: usize, class: impl Fn(u32) -> Option<usize>) -> Self {
        let mut groups = vec![Vec::new(); classes];
        for (at, (item, _)) in self.epochs.items.iter().enumerate() {
            if let Some(group) = class(*item).and_then(|class| groups.get_mut(class)) {
                group.push(at);
            }
        }
        groups.retain(|group| !group.is_empty());
        self.epochs.groups = groups;
        self.epochs.planned = None;
        self.epochs.plan();
        self
    }

    /// The padded lengths T that occur, ascending: the shapes to prepare.
    pub fn lengths(&self) -> Vec<usize> {
        self.epochs.lengths()
    }
}

impl<M: Maker> Stream for Batches<M> {
    type Batch = M::Batch;

    fn batches_per_epoch(&self) -> u64 {
        self.epochs.batches()
    }

    fn position(&self) -> Position {
        self.epochs.position
    }

    fn seek(&mut self, position: Position) {
        self.epochs.seek(position);
    }

    fn next_at(&mut self, progress: f64) -> M::Batch {
        let (plan, position) = self.epochs.advance();
        self.maker.make(&plan, position, progress)
    }
}

/// The endless order of batches.
pub struct Epochs {
    /// Items with their lengths.
    items: Vec<(u32, usize)>,
    /// The places of each class's items, where classes are balanced.
    groups: Vec<Vec<usize>>,
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
            groups: Vec::new(),
            shape,
            plan: Vec::new(),
            planned: None,
            position: Position::start(seed),
        };
        epochs.plan();
        epochs
    }

    fn batches(&self) -> u64 {
        self.items.len().div_ceil(self.shape.batch) as u64
    }

    fn lengths(&self) -> Vec<usize> {
        let mut lengths: Vec<usize> = self.plan.iter().map(|plan| plan.time).collect();
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }

    /// Continues from a position.
    fn seek(&mut self, position: Position) {
        self.position = position.normal(self.batches());
        self.planned = None;
        self.plan();
    }

    /// The next batch and its position.
    fn advance(&mut self) -> (Plan, Position) {
        self.plan();
        let position = self.position;
        self.position = position.next(self.batches());
        (self.plan[position.index as usize].clone(), position)
    }

    /// As many items as there are, each class's in turn, in an order of its own that begins anew when all of
    /// them have come.
    fn drawn(&self, key: &[u64; 2]) -> Vec<(u32, usize)> {
        let mut rng = Rng::new(self.position.seed, key);
        let mut groups = self.groups.clone();
        // What is left over when all classes have had as much falls to others in every epoch.
        rng.shuffle(&mut groups);
        let mut drawn = Vec::with_capacity(self.items.len());
        for (class, group) in groups.iter_mut().enumerate() {
            let share = (self.items.len() + class) / self.groups.len();
            for nth in 0..share {
                if nth % group.len() == 0 {
                    rng.shuffle(group);
                }
                drawn.push(self.items[group[nth % group.len()]]);
            }
        }
        drawn
    }

    fn plan(&mut self) {
        if self.planned == Some(self.position.epoch) {
            return;
        }
        let Shape {
            batch,
            lengths,
            sorted,
            shuffle,
        } = &self.shape;
        let key = |purpose| [purpose, self.position.epoch];
        self.planned = Some(self.position.epoch);
        if *sorted {
            let mut items = self.items.clone();
            items.sort_by_key(|&(item, length)| (length, item));
            let most = lengths.last().copied().unwrap_or(usize::MAX);
            let plan = |items: &[(u32, usize)]| Plan {
                time: padded(items.last().map_or(1, |(_, length)| *length), most),
                items: items.iter().map(|(item, _)| *item).collect(),
            };
            // The one that is not full is that of the shortest: all have as many rows.
            let (rest, full) = items.split_at(items.len() % batch);
            let rest = Some(rest).filter(|rest| !rest.is_empty());
            self.plan = rest
                .into_iter()
                .chain(full.chunks(*batch))
                .map(plan)
                .collect();
            return;
        }
        let mut items = match self.groups[..] {
            [] => self.items.clone(),
            _ => self.drawn(&key(0xB2)),
        };
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Maker for Nothing {
        type Batch = (Plan, Position);

        fn make(&self, plan: &Plan, position: Position, _: f64) -> (Plan, Position) {
            (plan.clone(), position)
        }
    }

    /// Ten items, of which 8 and 9 are of a rare class and 7 is of none.
    fn stream(seed: u64) -> Batches<Nothing> {
        let shape = Shape::new(4, 8, true, true);
        let epochs = Epochs::new((0..10).collect(), vec![5; 10], shape, seed);
        let stream = Batches {
            maker: Nothing,
            epochs,
        };
        stream.balanced(3, |item| match item {
            7 => None,
            item => Some(if item < 7 { 0 } else { 2 }),
        })
    }

    fn epoch(stream: &mut Batches<Nothing>) -> Vec<u32> {
        let batches = (0..stream.batches_per_epoch()).map(|_| stream.next_batch().0.items);
        batches.collect::<Vec<_>>().concat()
    }

    #[test]
    fn a_balanced_epoch_has_each_class_as_often() {
        let mut stream = stream(3);
        assert_eq!(stream.batches_per_epoch(), 3);
        let mut common = std::collections::BTreeSet::new();
        let mut orders = Vec::new();
        for _ in 0..20 {
            let items = epoch(&mut stream);
            let of =
                |range: std::ops::Range<u32>| items.iter().filter(|i| range.contains(i)).count();
            assert_eq!((items.len(), of(0..7), of(8..10), of(7..8)), (10, 5, 5, 0));
            // Each of the rare twice, and one of them a third time; of the common none twice.
            let twice = |item: u32| items.iter().filter(|i| **i == item).count();
            assert_eq!([twice(8), twice(9)].iter().min(), Some(&2));
            assert!((0..7).all(|item| twice(item) <= 1), "{items:?}");
            common.extend(items.iter().copied().filter(|item| *item < 7));
            orders.push(items);
        }
        assert_eq!(
            common.len(),
            7,
            "all of the common class come in some epoch"
        );
        orders.dedup();
        assert_eq!(orders.len(), 20);
    }

    #[test]
    fn a_balanced_stream_goes_on_from_any_position() {
        let mut whole = stream(5);
        let batches: Vec<_> = (0..14).map(|_| whole.next_batch()).collect();
        for (plan, position) in &batches {
            let mut other = stream(5);
            other.seek(*position);
            assert_eq!(&other.next_batch().0, plan);
        }
        assert_ne!(epoch(&mut stream(5)), epoch(&mut stream(6)));
    }
}
