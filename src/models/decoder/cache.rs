//! Generation: the keys and values of what was read, and a step recorded once and replayed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{DecoderLayers, DecoderLm};
use crate::device::{Gpu, Recording};
use crate::error::{Error, Result};
use crate::models::network::Writer;
use crate::nn::Wanted;
use crate::ops::{RowSelection, TokenIds, TokenIndex};
use crate::tensor::{DType, Tape, Tensor};

const OP: &str = "generate";

/// The keys and values of every layer, for B sequences of up to S tokens.
pub struct KeyValueCache {
    /// (B, S, KH·D), keys and values of each layer.
    layers: Vec<(Tensor, Tensor)>,
    rows: usize,
    capacity: usize,
    /// Tokens of each row that are in the cache.
    filled: Vec<usize>,
}

impl KeyValueCache {
    /// An empty cache for `rows` sequences of up to `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::Argument`] for a capacity beyond the model's positions; [`Error::TooLarge`].
    pub fn new<L: DecoderLayers>(
        gpu: &Gpu,
        layers: &L,
        rows: usize,
        capacity: usize,
    ) -> Result<KeyValueCache> {
        if capacity > layers.positions() {
            let expected = "at most the positions that config.json says; generate fewer tokens";
            return Err(Error::argument(OP, "capacity", capacity, expected));
        }
        let room = || Tensor::empty(gpu, [rows, capacity, layers.kept()], DType::F32);
        Ok(KeyValueCache {
            layers: (0..layers.stack().count())
                .map(|_| Ok((room()?, room()?)))
                .collect::<Result<_>>()?,
            rows,
            capacity,
            filled: vec![0; rows],
        })
    }

    /// Keys and values of each layer, (B, S, KH·D).
    pub fn layers(&self) -> &[(Tensor, Tensor)] {
        &self.layers
    }

    /// Tokens of each row that are in the cache.
    pub fn lens(&self) -> &[usize] {
        &self.filled
    }

    /// Tokens that a row can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all but the first `kept` tokens of every row.
    pub fn keep(&mut self, kept: usize) {
        for filled in &mut self.filled {
            *filled = kept.min(*filled);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.filled.fill(0);
    }
}

/// Reading T more tokens of every sequence, recorded: T = the prompt's length at first, then 1.
pub struct Step {
    gpu: Gpu,
    place: Place,
    last: RowSelection,
    steps: usize,
    recording: Recording,
    /// (B, V)
    logits: Tensor,
}

impl Step {
    /// Records reading `steps` tokens of every sequence of `cache`.
    ///
    /// # Errors
    /// As [`DecoderLayers::forward`].
    pub fn new<L: DecoderLayers>(
        gpu: &Gpu,
        model: &DecoderLm<L>,
        cache: &KeyValueCache,
        steps: usize,
    ) -> Result<Step> {
        let rows = cache.rows;
        let place = Place {
            ids: TokenIds::empty(gpu, rows, steps)?,
            positions: TokenIds::empty(gpu, rows, steps)?,
            starts: Tensor::empty(gpu, [rows], DType::U32)?,
            lens: Tensor::empty(gpu, [rows], DType::U32)?,
        };
        let last = RowSelection::empty(gpu, rows * steps, rows)?;
        let (recording, logits) = gpu.record(|| {
            let tape = Tape::inference(gpu);
            let wanted = Wanted::Rows(last.clone());
            let hidden = model.layers.read(&tape, &place, cache, &wanted)?;
            model.decode(&tape, &hidden)
        })?;
        Ok(Step {
            gpu: gpu.clone(),
            place,
            last,
            steps,
            recording,
            logits,
        })
    }

    /// Reads the next tokens of every row, at most as many as the step was recorded for and at
    /// least one, and returns the logits of what follows the last of each: (B, V), row by row.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of rows or tokens; [`Error::Argument`] when the cache is
    /// full.
    pub fn run(&self, cache: &mut KeyValueCache, tokens: &[&[u32]]) -> Result<Vec<f32>> {
        let fits = |row: &&[u32]| (1..=self.steps).contains(&row.len());
        if tokens.len() != cache.rows || !tokens.iter().all(fits) {
            let lens: Vec<String> = tokens.iter().map(|row| row.len().to_string()).collect();
            return Err(Error::Shape {
                op: OP,
                arg: "tokens",
                expected: format!("{} rows of 1 to {} tokens", cache.rows, self.steps),
                found: format!("rows of {}", lens.join(", ")),
            });
        }
        let mut starts = Vec::new();
        let mut lens = Vec::new();
        let mut last = Vec::new();
        let (mut ids, mut positions) = (Vec::new(), Vec::new());
        for (row, (own, filled)) in tokens.iter().zip(&cache.filled).enumerate() {
            // A query's position is counted from the end of what the row then holds. Where a row is
            // shorter than the step, padding follows it, unseen, until the next tokens replace it.
            let end = filled + self.steps;
            if end > cache.capacity {
                let (value, expected) = (
                    format!("{end} tokens in all"),
                    "at most the cache's capacity",
                );
                return Err(Error::argument(OP, "tokens", value, expected));
            }
            starts.push(*filled as u32);
            lens.push(end as u32);
            last.push((row * self.steps + own.len() - 1) as u32);
            for t in 0..self.steps {
                ids.push(own.get(t).copied().unwrap_or(0));
                positions.push((filled + t) as u32);
            }
        }
        // No gradients here: every position in one place will do.
        let index = TokenIndex::new(&ids, &vec![0; self.steps]);
        self.place.ids.write(&ids, &index)?;
        self.place.positions.write(&positions, &index)?;
        self.place.starts.write(&starts)?;
        self.place.lens.write(&lens)?;
        self.last.write(&last)?;
        self.gpu.replay(&self.recording)?;
        for (filled, own) in cache.filled.iter_mut().zip(tokens) {
            *filled += own.len();
        }
        self.logits.to_vec()
    }
}

/// Sequences that a model writes, each pass recorded once for its length.
pub(super) struct DecoderWriter<'a, L> {
    gpu: Gpu,
    model: &'a DecoderLm<L>,
    cache: KeyValueCache,
    steps: HashMap<usize, Step>,
}

impl<'a, L: DecoderLayers> DecoderWriter<'a, L> {
    pub fn new(
        gpu: &Gpu,
        model: &'a DecoderLm<L>,
        rows: usize,
        capacity: usize,
    ) -> Result<DecoderWriter<'a, L>> {
        Ok(DecoderWriter {
            gpu: gpu.clone(),
            model,
            cache: KeyValueCache::new(gpu, &model.layers, rows, capacity)?,
            steps: HashMap::new(),
        })
    }
}

impl<L: DecoderLayers> Writer for DecoderWriter<'_, L> {
    fn read(&mut self, tokens: &[&[u32]]) -> Result<Vec<f32>> {
        let steps = tokens.iter().map(|row| row.len()).max().unwrap_or(0).max(1);
        let step = match self.steps.entry(steps) {
            Entry::Occupied(step) => step.into_mut(),
            Entry::Vacant(place) => {
                place.insert(Step::new(&self.gpu, self.model, &self.cache, steps)?)
            }
        };
        step.run(&mut self.cache, tokens)
    }

    fn rewind(&mut self, kept: usize) {
        self.cache.keep(kept);
    }
}

/// Where the tokens of a step stand.
pub struct Place {
    /// (B, T)
    pub ids: TokenIds,
    /// (B, T)
    pub positions: TokenIds,
    /// (B) u32, tokens before them.
    pub starts: Tensor,
    /// (B) u32, tokens with them.
    pub lens: Tensor,
}
