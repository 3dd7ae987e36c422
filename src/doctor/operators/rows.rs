//! Rows of a table by id.

use crate::device::Gpu;
use crate::doctor::proof::Op;
use crate::error::Result;
use crate::ops::{self, TokenIds, TokenIndex};
use crate::reference::embedding::{embedding, embedding_bwd};
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float};
use crate::tensor::{Tape, Tensor};

/// Rows of a table, some of them padding.
pub struct Rows {
    pub tokens: TokenIds,
    ids: Vec<u32>,
    lens: Vec<u32>,
    vocab: usize,
    width: usize,
}

impl Rows {
    /// Of `steps` × `batch` tokens; with `padded`, of other lengths.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(
        gpu: &Gpu,
        data: &mut Data,
        [steps, batch, vocab, width]: [usize; 4],
        padded: bool,
    ) -> Result<Rows> {
        let ids = data.ids(steps * batch, vocab as u32);
        let lens = if padded {
            data.lengths(batch, steps as u32)
        } else {
            vec![steps as u32; batch]
        };
        let tokens = TokenIds::empty(gpu, steps, batch)?;
        tokens.write(&ids, &TokenIndex::new(&ids, &lens))?;
        Ok(Rows {
            tokens,
            ids,
            lens,
            vocab,
            width,
        })
    }
}

impl Op for Rows {
    fn name(&self) -> String {
        format!("embedding of {} tokens", self.ids.len())
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![ops::embedding(tape, &inputs[0], &self.tokens)?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![embedding(&inputs[0], self.width, &self.ids)]
    }
    fn backward<F: Float>(&self, _: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        // Padding is in no segment of the index, and so adds nothing.
        let mut dy = dy[0].clone();
        let batch = self.lens.len();
        for (position, row) in dy.chunks_mut(self.width).enumerate() {
            if (position / batch) as u32 >= self.lens[position % batch] {
                row.fill(F::ZERO);
            }
        }
        vec![embedding_bwd(&self.ids, &dy, self.vocab, self.width)]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::EXACT, tolerance::EMBEDDING_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["embedding_bwd"]
    }
}

/// Rows of an f32 table, as f16: what a model begins with.
pub struct HalfRows(pub Rows);

impl Op for HalfRows {
    fn name(&self) -> String {
        format!("{} in f16", self.0.name())
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.0.run(tape, inputs)
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        self.0.forward(inputs)
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        self.0.backward(inputs, dy)
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        self.0.tolerance()
    }
    fn begins_in_f16(&self) -> bool {
        true
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        self.0.backward_kernels()
    }
}
