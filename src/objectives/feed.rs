//! The tensors that batches are uploaded to, and the recorded passes that read them.

use std::collections::hash_map::{Entry, HashMap};

use super::batch::{Batch, Values, Wanted};
use crate::device::{Gpu, Recording};
use crate::error::{Error, Result};
use crate::models::Tokens;
use crate::nn::Segments;
use crate::ops::{RowSelection, TokenIds};
use crate::tensor::{DType, Tape, Tensor};

/// Named tensors that live from batch to batch.
pub type Carried = Vec<(String, Tensor)>;

/// A batch on the device: memory that is written anew for every batch of its shapes.
pub struct Feed {
    slots: Vec<(&'static str, Slot)>,
    /// What lives from batch to batch.
    pub carried: Carried,
}

enum Slot {
    Ids(TokenIds),
    Rows(RowSelection),
    Numbers(Tensor),
    Segments(Segments),
    Floats(Tensor),
    Pixels(Tensor),
    Targets { values: Tensor, weights: Tensor },
}

impl Feed {
    /// Memory for batches of the shapes of this one; `carried` lives from batch to batch.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn new(gpu: &Gpu, batch: &Batch, carried: Carried) -> Result<Feed> {
        let slot = |values: &Values| -> Result<Slot> {
            Ok(match values {
                Values::Ids(_, _, [a, b]) => Slot::Ids(TokenIds::empty(gpu, *a, *b)?),
                Values::Rows(rows, of) => Slot::Rows(RowSelection::empty(gpu, *of, rows.len())?),
                Values::Numbers(n) => Slot::Numbers(Tensor::empty(gpu, [n.len()], DType::U32)?),
                Values::Segments(_, _, [a, b]) => Slot::Segments(Segments {
                    positions: TokenIds::empty(gpu, *a, *b)?,
                    starts: Tensor::empty(gpu, [a * b], DType::U32)?,
                }),
                Values::Floats(n) => Slot::Floats(Tensor::empty(gpu, [n.len()], DType::F32)?),
                Values::Pixels(_, shape) => Slot::Pixels(Tensor::empty(gpu, *shape, DType::F32)?),
                Values::Targets(targets) => Slot::Targets {
                    values: match &targets.wanted {
                        Wanted::Classes(_) => Tensor::empty(gpu, [targets.len()], DType::U32)?,
                        Wanted::Numbers(_, width) => {
                            Tensor::empty(gpu, [targets.len(), *width], DType::F32)?
                        }
                    },
                    weights: Tensor::empty(gpu, [targets.len()], DType::F32)?,
                },
            })
        };
        let slots = batch.arrays.iter();
        Ok(Feed {
            slots: slots
                .map(|(name, values)| Ok((*name, slot(values)?)))
                .collect::<Result<_>>()?,
            carried,
        })
    }

    /// Uploads a batch of a step; its answers are weighted so that the losses of all the step's batches
    /// add up to their mean.
    ///
    /// # Errors
    /// [`Error::Shape`] for other arrays than those that there is memory for.
    pub fn write(&self, batch: &Batch, step: &[Batch]) -> Result<()> {
        if batch.resets {
            self.carried.iter().for_each(|(_, tensor)| tensor.clear());
        }
        for ((name, values), (_, slot)) in batch.arrays.iter().zip(&self.slots) {
            match (values, slot) {
                (Values::Ids(ids, index, _), Slot::Ids(tokens)) => tokens.write(ids, index)?,
                (Values::Rows(rows, _), Slot::Rows(selection)) => selection.write(rows)?,
                (Values::Numbers(numbers), Slot::Numbers(tensor)) => tensor.write(numbers)?,
                (Values::Segments(starts, (positions, index), _), Slot::Segments(segments)) => {
                    segments.positions.write(positions, index)?;
                    segments.starts.write(starts)?;
                }
                (Values::Floats(floats), Slot::Floats(tensor)) => tensor.write(floats)?,
                (Values::Pixels(pixels, _), Slot::Pixels(tensor)) => tensor.write(pixels)?,
                (Values::Targets(targets), Slot::Targets { values, weights }) => {
                    match &targets.wanted {
                        // -1 becomes `u32::MAX`, which kernels pass over.
                        Wanted::Classes(classes) => {
                            values.write(&classes.iter().map(|&c| c as u32).collect::<Vec<_>>())?
                        }
                        Wanted::Numbers(numbers, _) => values.write(numbers)?,
                    }
                    let total = step.iter().map(|b| b.mass(name)).sum();
                    weights.write(&targets.weights(total))?;
                }
                _ => return Err(missing(name)),
            }
        }
        Ok(())
    }

    fn slot(&self, name: &'static str) -> Option<&Slot> {
        let found = self.slots.iter().find(|(n, _)| *n == name);
        found.map(|(_, slot)| slot)
    }

    /// The tokens of that name.
    ///
    /// # Errors
    /// [`Error::Argument`] where the batch has none.
    pub fn ids(&self, name: &'static str) -> Result<&TokenIds> {
        match self.slot(name) {
            Some(Slot::Ids(ids)) => Ok(ids),
            _ => Err(missing(name)),
        }
    }

    /// The picked rows of that name.
    ///
    /// # Errors
    /// As [`ids`](Self::ids).
    pub fn rows(&self, name: &'static str) -> Result<&RowSelection> {
        match self.slot(name) {
            Some(Slot::Rows(rows)) => Ok(rows),
            _ => Err(missing(name)),
        }
    }

    /// The whole numbers of that name.
    ///
    /// # Errors
    /// As [`ids`](Self::ids).
    pub fn numbers(&self, name: &'static str) -> Result<&Tensor> {
        match self.slot(name) {
            Some(Slot::Numbers(numbers)) => Ok(numbers),
            _ => Err(missing(name)),
        }
    }

    /// The numbers of that name that stand beside answers.
    ///
    /// # Errors
    /// As [`ids`](Self::ids).
    pub fn floats(&self, name: &'static str) -> Result<&Tensor> {
        match self.slot(name) {
            Some(Slot::Floats(floats)) => Ok(floats),
            _ => Err(missing(name)),
        }
    }

    /// The pictures of that name, (N, H, W, C).
    ///
    /// # Errors
    /// As [`ids`](Self::ids).
    pub fn pixels(&self, name: &'static str) -> Result<&Tensor> {
        match self.slot(name) {
            Some(Slot::Pixels(pixels)) => Ok(pixels),
            _ => Err(missing(name)),
        }
    }

    /// The answers of that name and their weights.
    ///
    /// # Errors
    /// As [`ids`](Self::ids).
    pub fn targets(&self, name: &'static str) -> Result<(&Tensor, &Tensor)> {
        match self.slot(name) {
            Some(Slot::Targets { values, weights }) => Ok((values, weights)),
            _ => Err(missing(name)),
        }
    }

    /// The sequences, as models take them.
    ///
    /// # Errors
    /// As [`ids`](Self::ids).
    pub fn tokens(&self) -> Result<Tokens<'_>> {
        Ok(Tokens {
            ids: self.ids("ids")?,
            types: self.ids("types").ok(),
            lens: self.numbers("lens")?,
            last: self.rows("last").ok(),
            segments: match self.slot("segments") {
                Some(Slot::Segments(segments)) => Some(segments),
                _ => None,
            },
            noise: 0.0,
        })
    }
}

fn missing(name: &'static str) -> Error {
    let expected = "an array of this name, of the kind that the objective's batches have";
    Error::argument("batch", name, "missing", expected)
}

/// One batch shape: its memory on the device, and the pass that reads it.
pub struct Pass {
    /// Where its batches are uploaded to.
    pub feed: Feed,
    /// The commands.
    pub recording: Recording,
    /// What it gives.
    pub results: Vec<Tensor>,
}

impl Pass {
    /// A pass that has been recorded.
    pub fn recorded(feed: Feed, recording: Recording, results: Vec<Tensor>) -> Pass {
        Pass {
            feed,
            recording,
            results,
        }
    }

    /// Records a forward pass without dropout.
    ///
    /// # Errors
    /// Those of `forward`.
    pub fn inference(
        gpu: &Gpu,
        feed: Feed,
        forward: impl FnOnce(&Tape, &Feed) -> Result<Vec<Tensor>>,
    ) -> Result<Pass> {
        let (recording, results) = gpu.record(|| forward(&Tape::inference(gpu), &feed))?;
        Ok(Pass {
            feed,
            recording,
            results,
        })
    }

    /// Runs a forward pass; what it returns is to be read before it runs again.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn run(&self, gpu: &Gpu) -> Result<&[Tensor]> {
        gpu.replay(&self.recording)?;
        Ok(&self.results)
    }
}

/// The passes recorded so far, by the length of their sequences.
#[derive(Default)]
pub struct Passes(HashMap<usize, Pass>);

impl Passes {
    /// The pass for sequences of `length`; recorded by `record` when it is the first of them.
    ///
    /// # Errors
    /// Those of `record`.
    pub fn of(&mut self, length: usize, record: impl FnOnce() -> Result<Pass>) -> Result<&Pass> {
        Ok(match self.0.entry(length) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(record()?),
        })
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
