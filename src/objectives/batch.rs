//! Batches as all objectives make them: named arrays on the host.

use crate::kernels::token_index::TokenIndex;
use crate::text::batch::NO_DOC;
use crate::text::{Position, Rows, Stream};

/// A batch on the host.
pub struct Batch {
    /// Length of its sequences: batches of one length share a recorded pass.
    pub length: usize,
    /// What it reads, in the objective's unit, padding not counted.
    pub work: u64,
    /// Whether what is carried from batch to batch begins anew.
    pub resets: bool,
    /// Numbers of the documents in its rows; [`NO_DOC`] for a row without one.
    pub docs: Vec<u32>,
    pub(super) arrays: Vec<(&'static str, Values)>,
}

/// What an array holds.
pub(super) enum Values {
    /// Tokens of this shape, and the same grouped by token.
    Ids(Vec<u32>, TokenIndex, [usize; 2]),
    /// Rows picked from so many.
    Rows(Vec<u32>, usize),
    Numbers(Vec<u32>),
    /// Where the sequence of each token begins in its row; its place there, and the same grouped; the shape.
    Segments(Vec<u32>, (Vec<u32>, TokenIndex), [usize; 2]),
    Floats(Vec<f32>),
    /// Pictures of this shape.
    Pixels(Vec<f32>, [usize; 4]),
    Targets(Targets),
}

/// What a model should say, and how much each answer counts.
pub struct Targets {
    pub(super) wanted: Wanted,
    /// What each answer counts of the step's sum, before that is divided by all that count.
    shares: Vec<f32>,
    /// Answers that count.
    count: usize,
    /// What they count together.
    mass: f64,
}

/// Answers.
pub(super) enum Wanted {
    /// A class each; one below 0 does not count.
    Classes(Vec<i32>),
    /// So many numbers each.
    Numbers(Vec<f32>, usize),
}

impl Targets {
    /// A class each; one below 0 does not count. The loss is a mean over the others.
    pub fn classes(classes: Vec<i32>) -> Targets {
        let counts = |&class: &i32| if class < 0 { 0.0 } else { 1.0 };
        let count = classes.iter().filter(|&&class| class >= 0).count();
        Targets {
            count,
            mass: count as f64,
            shares: classes.iter().map(counts).collect(),
            wanted: Wanted::Classes(classes),
        }
    }

    /// `width` numbers for each answer that there is. The loss is a mean over numbers, as PyTorch's.
    pub fn numbers(answers: &[Option<&[f32]>], width: usize) -> Targets {
        let zeros = vec![0.0; width];
        let values = answers.iter().flat_map(|a| a.unwrap_or(&zeros));
        let counts = |answer: &Option<&[f32]>| if answer.is_some() { 1.0 } else { 0.0 };
        let count = answers.iter().flatten().count();
        Targets {
            wanted: Wanted::Numbers(values.copied().collect(), width),
            shares: answers.iter().map(counts).collect(),
            count,
            mass: count as f64,
        }
    }

    /// The same answers, each `shares[i]` of the whole; `count` of them make one.
    pub fn shared(mut self, shares: Vec<f32>, count: usize) -> Targets {
        self.shares = shares;
        self.count = count;
        self.mass = count as f64;
        self
    }

    /// The same classes, each counting as much more as its weight says. The loss is a weighted mean, as
    /// PyTorch's.
    pub fn weighted(mut self, weights: &[f32]) -> Targets {
        if let Wanted::Classes(classes) = &self.wanted {
            for (share, class) in self.shares.iter_mut().zip(classes) {
                let class = usize::try_from(*class).ok();
                let weight = class.and_then(|class| weights.get(class)).copied();
                *share *= weight.unwrap_or(1.0);
            }
            self.mass = self.shares.iter().map(|&share| f64::from(share)).sum();
        }
        self
    }

    /// How many count.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The classes, where they are classes.
    pub fn as_classes(&self) -> &[i32] {
        match &self.wanted {
            Wanted::Classes(classes) => classes,
            Wanted::Numbers(..) => &[],
        }
    }

    /// Answers in all.
    pub(super) fn len(&self) -> usize {
        self.shares.len()
    }

    /// Weights by which the losses of a step's batches add up to their mean; all answers of the step count
    /// `total` together.
    pub(super) fn weights(&self, total: f64) -> Vec<f32> {
        let total = if total > 0.0 { total } else { 1.0 };
        let width = match self.wanted {
            Wanted::Classes(_) => 1,
            Wanted::Numbers(_, width) => width,
        };
        let weight = |share: &f32| share / total as f32 / width as f32;
        self.shares.iter().map(weight).collect()
    }
}

impl Batch {
    /// A batch of sequences of `length` tokens, that reads `work`.
    pub fn new(length: usize, work: u64) -> Batch {
        Batch {
            length,
            work,
            resets: false,
            docs: Vec::new(),
            arrays: Vec::new(),
        }
    }

    /// A batch of framed rows, as transformers read them: "ids", "types" and "lens".
    pub fn of_rows(rows: Rows) -> Batch {
        let Rows {
            time,
            batch,
            ids,
            token_types,
            lens,
            index,
        } = rows;
        let work = lens.iter().map(|&n| u64::from(n)).sum();
        let types = TokenIndex::of_rows(&token_types, &lens);
        Batch::new(time, work)
            .ids("ids", ids, index, [batch, time])
            .ids("types", token_types, types, [batch, time])
            .numbers("lens", lens)
    }

    /// With the documents in its rows.
    pub fn of(mut self, docs: Vec<u32>) -> Batch {
        self.docs = docs;
        self
    }

    /// With tokens of this shape; `index` has them grouped.
    pub fn ids(
        self,
        name: &'static str,
        ids: Vec<u32>,
        index: TokenIndex,
        shape: [usize; 2],
    ) -> Batch {
        self.with(name, Values::Ids(ids, index, shape))
    }

    /// With rows picked from `of`; `u32::MAX` picks none.
    pub fn rows(self, name: &'static str, rows: Vec<u32>, of: usize) -> Batch {
        self.with(name, Values::Rows(rows, of))
    }

    /// With whole numbers.
    pub fn numbers(self, name: &'static str, numbers: Vec<u32>) -> Batch {
        self.with(name, Values::Numbers(numbers))
    }

    /// With several sequences in each of its framed rows: where in the row each token's begins.
    pub fn segments(self, starts: Vec<u32>) -> Batch {
        let Some((_, shape)) = self.tokens() else {
            return self;
        };
        let time = shape[1].max(1);
        let places = starts
            .iter()
            .enumerate()
            .map(|(at, start)| (at % time) as u32 - start);
        let places: Vec<u32> = places.collect();
        let lens = self.lens().unwrap_or_default();
        let index = TokenIndex::of_rows(&places, lens);
        self.with("segments", Values::Segments(starts, (places, index), shape))
    }

    /// With numbers that stand beside answers.
    pub fn floats(self, name: &'static str, floats: Vec<f32>) -> Batch {
        self.with(name, Values::Floats(floats))
    }

    /// With pictures, (N, H, W, C).
    pub fn pixels(self, name: &'static str, pixels: Vec<f32>, shape: [usize; 4]) -> Batch {
        self.with(name, Values::Pixels(pixels, shape))
    }

    /// With answers.
    pub fn targets(self, name: &'static str, targets: Targets) -> Batch {
        self.with(name, Values::Targets(targets))
    }

    fn with(mut self, name: &'static str, values: Values) -> Batch {
        self.arrays.push((name, values));
        self
    }

    /// The tokens that it reads, "ids", and their shape, where it has some.
    pub fn tokens(&self) -> Option<(&[u32], [usize; 2])> {
        self.arrays.iter().find_map(|(name, values)| match values {
            Values::Ids(ids, _, shape) if *name == "ids" => Some((&ids[..], *shape)),
            _ => None,
        })
    }

    /// The lengths of its rows, "lens", where it has some.
    pub fn lens(&self) -> Option<&[u32]> {
        self.arrays.iter().find_map(|(name, values)| match values {
            Values::Numbers(numbers) if *name == "lens" => Some(&numbers[..]),
            _ => None,
        })
    }

    /// The answers of that name, where it has some.
    pub fn answers(&self, name: &str) -> Option<&Targets> {
        self.arrays.iter().find_map(|(n, values)| match values {
            Values::Targets(targets) if *n == name => Some(targets),
            _ => None,
        })
    }

    /// How many of the answers of that name count.
    pub fn count(&self, name: &str) -> usize {
        self.answers(name).map_or(0, Targets::count)
    }

    /// What the answers of that name count together.
    pub(super) fn mass(&self, name: &str) -> f64 {
        self.answers(name).map_or(0.0, |targets| targets.mass)
    }

    /// Its rows with a document, and that document's number.
    pub fn documents(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        let rows = self.docs.iter().copied().enumerate();
        rows.filter(|(_, doc)| *doc != NO_DOC)
    }
}

/// An endless stream of batches, whatever they are made of.
pub trait Batches: Send {
    /// Batches in an epoch.
    fn per_epoch(&self) -> u64;

    /// What an epoch reads, in the objective's unit.
    fn work_per_epoch(&self) -> u64;

    /// Where the next one begins.
    fn position(&self) -> Position;

    /// Continues from a position.
    fn seek(&mut self, position: Position);

    /// The next one, for step `step` of `total`.
    fn next(&mut self, step: u64, total: u64) -> Batch;
}

/// A stream of texts' batches with a name for each array.
pub struct Named<S, F> {
    stream: S,
    work: u64,
    name: F,
}

impl<S, F> Named<S, F> {
    /// A stream that reads `work` in an epoch, each of its batches named by `name`.
    pub fn new(stream: S, work: u64, name: F) -> Named<S, F> {
        Named { stream, work, name }
    }
}

impl<S: Stream, F: FnMut(S::Batch) -> Batch + Send> Batches for Named<S, F> {
    fn per_epoch(&self) -> u64 {
        self.stream.batches_per_epoch()
    }

    fn work_per_epoch(&self) -> u64 {
        self.work
    }

    fn position(&self) -> Position {
        self.stream.position()
    }

    fn seek(&mut self, position: Position) {
        self.stream.seek(position);
    }

    fn next(&mut self, step: u64, total: u64) -> Batch {
        let last = total.saturating_sub(1).max(1) as f64;
        let progress = step.saturating_sub(1) as f64 / last;
        (self.name)(self.stream.next_at(progress))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_a_step_add_up_to_a_mean() {
        let one = Targets::classes(vec![3, -1, 0]);
        let other = Targets::classes(vec![-1, -1, 7]);
        let total = one.mass + other.mass;
        assert_eq!(one.weights(total), [1.0 / 3.0, 0.0, 1.0 / 3.0]);
        assert_eq!(other.weights(total), [0.0, 0.0, 1.0 / 3.0]);
        // Two answers of two numbers each: a quarter for each number.
        let (a, b) = ([1.0, 2.0], [3.0, 4.0]);
        let numbers = Targets::numbers(&[Some(&a), None, Some(&b)], 2);
        assert_eq!(numbers.weights(numbers.mass), [0.25, 0.0, 0.25]);
        // Nothing counts: no division by nothing.
        assert_eq!(Targets::classes(vec![-1]).weights(0.0), [0.0]);
    }

    #[test]
    fn weighted_classes_add_up_to_a_weighted_mean() {
        // torch.nn.CrossEntropyLoss(weight=[1, 0.5, 4]) divides by the weights of the targets.
        let of = |classes: &[i32]| Targets::classes(classes.to_vec()).weighted(&[1.0, 0.5, 4.0]);
        let (one, other) = (of(&[2, -1, 0]), of(&[1, 1, 1]));
        assert_eq!((one.mass, other.mass), (5.0, 1.5));
        assert_eq!(one.weights(6.5), [4.0f32 / 6.5, 0.0, 1.0 / 6.5]);
        assert_eq!(other.weights(other.mass), [1.0f32 / 3.0; 3]);
        assert_eq!(one.count(), 2);
        // A text of two words that count together as much as its class.
        let shared = Targets::classes(vec![1, 1]).shared(vec![0.25, 0.75], 1);
        let shared = shared.weighted(&[1.0, 0.5]);
        assert_eq!(shared.weights(shared.mass), [0.25, 0.75]);
    }
}
