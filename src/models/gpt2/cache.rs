//! Generation: the keys and values of what was read, and a step recorded once and replayed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{Gpt2, Gpt2LmHead};
use crate::device::{Gpu, Recording};
use crate::error::{Error, Result};
use crate::models::network::Writer;
use crate::nn::{PreNormBlock, Projections, Wanted};
use crate::ops::{self, RowSelection, TokenIds, TokenIndex};
use crate::tensor::{DType, Tape, Tensor};

const OP: &str = "generate";

/// The keys and values of every layer, for B sequences of up to S tokens.
pub struct Gpt2Cache {
    /// (B, S, C), a pair for each layer.
    layers: Vec<(Tensor, Tensor)>,
    rows: usize,
    capacity: usize,
    /// Tokens of each row that are in the cache.
    filled: Vec<usize>,
}

impl Gpt2Cache {
    /// An empty cache for `rows` sequences of up to `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::Argument`] for a capacity beyond the model's positions; [`Error::TooLarge`].
    pub fn new(gpu: &Gpu, model: &Gpt2, rows: usize, capacity: usize) -> Result<Gpt2Cache> {
        let [positions, width] = model.positions.get()?.dims2(OP, "positions")?;
        if capacity > positions {
            let expected = "at most n_positions of config.json; generate fewer tokens";
            return Err(Error::argument(OP, "capacity", capacity, expected));
        }
        let room = || Tensor::empty(gpu, [rows, capacity, width], DType::F32);
        Ok(Gpt2Cache {
            layers: (0..model.layers.len())
                .map(|_| Ok((room()?, room()?)))
                .collect::<Result<_>>()?,
            rows,
            capacity,
            filled: vec![0; rows],
        })
    }

    /// Tokens of each row that are in the cache.
    pub fn lens(&self) -> &[usize] {
        &self.filled
    }

    /// Tokens that a row can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.filled.fill(0);
    }
}

/// Reading T more tokens of every sequence, recorded: T = the prompt's length at first, then 1.
pub struct Gpt2Step {
    gpu: Gpu,
    place: Place,
    last: RowSelection,
    steps: usize,
    recording: Recording,
    /// (B, V)
    logits: Tensor,
}

impl Gpt2Step {
    /// Records reading `steps` tokens of every sequence of `cache`.
    ///
    /// # Errors
    /// As [`Gpt2::forward`].
    pub fn new(gpu: &Gpu, model: &Gpt2LmHead, cache: &Gpt2Cache, steps: usize) -> Result<Gpt2Step> {
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
            let hidden = model.gpt2.read(&tape, &place, cache, &wanted)?;
            model.decode(&tape, &hidden)
        })?;
        Ok(Gpt2Step {
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
    pub fn run(&self, cache: &mut Gpt2Cache, tokens: &[&[u32]]) -> Result<Vec<f32>> {
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
pub(super) struct Gpt2Writer<'a> {
    gpu: Gpu,
    model: &'a Gpt2LmHead,
    cache: Gpt2Cache,
    steps: HashMap<usize, Gpt2Step>,
}

impl<'a> Gpt2Writer<'a> {
    pub fn new(
        gpu: &Gpu,
        model: &'a Gpt2LmHead,
        rows: usize,
        capacity: usize,
    ) -> Result<Gpt2Writer<'a>> {
        Ok(Gpt2Writer {
            gpu: gpu.clone(),
            model,
            cache: Gpt2Cache::new(gpu, &model.gpt2, rows, capacity)?,
            steps: HashMap::new(),
        })
    }
}

impl Writer for Gpt2Writer<'_> {
    fn read(&mut self, tokens: &[&[u32]]) -> Result<Vec<f32>> {
        let steps = tokens.iter().map(|row| row.len()).max().unwrap_or(0).max(1);
        let step = match self.steps.entry(steps) {
            Entry::Occupied(step) => step.into_mut(),
            Entry::Vacant(place) => {
                place.insert(Gpt2Step::new(&self.gpu, self.model, &self.cache, steps)?)
            }
        };
        step.run(&mut self.cache, tokens)
    }
}

/// Where the tokens of a step stand.
struct Place {
    /// (B, T)
    ids: TokenIds,
    /// (B, T)
    positions: TokenIds,
    /// (B) u32, tokens before them.
    starts: Tensor,
    /// (B) u32, tokens with them.
    lens: Tensor,
}

impl Gpt2 {
    /// The wanted ones of the hidden states (B, T, C) of tokens that follow those in the cache, and
    /// appends theirs.
    fn read(
        &self,
        tape: &Tape,
        place: &Place,
        cache: &Gpt2Cache,
        wanted: &Wanted,
    ) -> Result<Tensor> {
        let words = ops::embedding(tape, &self.words.get()?, &place.ids)?;
        let positions = ops::embedding(tape, &self.positions.get()?, &place.positions)?;
        let mut x = ops::add(tape, &words, &positions)?;
        for (index, (layer, kept)) in self.layers.iter().zip(&cache.layers).enumerate() {
            let wanted = wanted.of_layer(index, self.layers.len());
            x = read_layer(tape, layer, &x, place, kept, wanted)?;
        }
        Ok(self.norm.forward(tape, &x, None)?.y)
    }
}

fn read_layer(
    tape: &Tape,
    layer: &PreNormBlock,
    x: &Tensor,
    place: &Place,
    (keys, values): &(Tensor, Tensor),
    wanted: &Wanted,
) -> Result<Tensor> {
    let Projections::Joint(c_attn) = &layer.attention.projections else {
        let (value, expected) = ("queries, keys and values apart", "GPT-2's joint projection");
        return Err(Error::argument(OP, "layer", value, expected));
    };
    let width = x.shape().last();
    let normed = layer.attention_norm.forward(tape, x, None)?.y;
    let qkv = c_attn.forward(tape, &normed)?;
    ops::cache_append(&qkv, width, &place.starts, keys)?;
    ops::cache_append(&qkv, 2 * width, &place.starts, values)?;
    let q = ops::columns(tape, &qkv, 0, width)?;
    let options = &layer.attention.options;
    let context = ops::attention(tape, &q, keys, values, Some(&place.lens), options)?;
    let context = wanted.of(tape, &context)?;
    let a = layer.attention.output.forward(tape, &context)?;
    layer.finish(tape, &wanted.of(tape, x)?, &a)
}
