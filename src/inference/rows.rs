//! Many texts through a model: those of like length together, so that little of the work is padding.

use super::Loaded;
use crate::error::Result;
use crate::objectives::batch::Batch;
use crate::objectives::feed::{Feed, Pass, Passes};
use crate::ops::TokenIndex;
use crate::tensor::{Tape, Tensor};
use crate::text::{Rows, padded};

/// Texts that share a pass; a power of two.
const BATCH: usize = 32;

/// A text in its frame of special tokens.
#[derive(Debug, Clone, Default)]
pub(super) struct Framed {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// The type of each.
    pub types: Vec<u32>,
}

/// The passes recorded so far.
#[derive(Default)]
pub(super) struct Runner(Passes);

impl Runner {
    /// Runs `forward` over all texts, none longer than `most`; `each` is given the number of a text, and
    /// its part of the outputs.
    ///
    /// # Errors
    /// Those of `forward` and of the device.
    pub fn run(
        &mut self,
        loaded: &Loaded,
        texts: &[Framed],
        most: usize,
        forward: impl Fn(&Tape, &Feed) -> Result<Tensor>,
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<()> {
        let gpu = &loaded.gpu;
        let pad = loaded.tokenizer.vocabulary().roles().pad.unwrap_or(0);
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&n| texts[n].ids.len());
        for numbers in order.chunks(BATCH) {
            let longest = numbers.iter().map(|&n| texts[n].ids.len()).max();
            let time = padded(longest.unwrap_or(0).max(1), most);
            // Few shapes, and a single text does not wait for a whole batch.
            let batch = numbers.len().next_power_of_two();
            let rows = batch_of(numbers.iter().map(|&n| &texts[n]), [batch, time], pad);
            let pass = self.0.of(time * BATCH + batch, || {
                let feed = Feed::new(gpu, &rows, Vec::new())?;
                Pass::inference(gpu, feed, |tape, feed| Ok(vec![forward(tape, feed)?]))
            })?;
            pass.feed.write(&rows, &[])?;
            for outputs in pass.run(gpu)? {
                let values = outputs.to_vec::<f32>()?;
                let parts = values.chunks(values.len() / batch);
                numbers
                    .iter()
                    .zip(parts)
                    .for_each(|(&n, part)| each(n, part));
            }
        }
        Ok(())
    }
}

fn batch_of<'a>(
    texts: impl Iterator<Item = &'a Framed>,
    [batch, time]: [usize; 2],
    pad: u32,
) -> Batch {
    let mut ids = vec![pad; batch * time];
    let mut token_types = vec![0; batch * time];
    let mut lens = vec![0; batch];
    for (row, text) in texts.enumerate() {
        let (from, length) = (row * time, text.ids.len());
        ids[from..from + length].copy_from_slice(&text.ids);
        token_types[from..from + length].copy_from_slice(&text.types);
        lens[row] = length as u32;
    }
    Batch::of_rows(Rows {
        time,
        batch,
        index: TokenIndex::of_rows(&ids, &lens),
        ids,
        token_types,
        lens,
    })
}
