//! Embedding.

use melos::error::Result;
use melos::ops::{self, TokenIds, TokenIndex};
use melos::tensor::{Tape, Tensor};

use crate::reference::embedding::{embedding, embedding_bwd};
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float, assert_near};
use crate::support::{Op, gpu, input, prove};

pub struct Rows {
    pub tokens: TokenIds,
    pub ids: Vec<u32>,
    pub lens: Vec<u32>,
    pub vocab: usize,
    pub width: usize,
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
}

#[test]
fn rows_of_a_table() {
    let gpu = gpu();
    // Few words and many tokens: each row is met often. Many words: most rows are never met.
    for (steps, batch, vocab, width) in [
        (1, 1, 1, 1),
        (1, 3, 65, 63),
        (41, 3, 5, 65),
        (3, 5, 257, 123),
        (65, 1, 3, 257),
        (17, 33, 63, 4),
    ] {
        for padded in [false, true] {
            let mut data = Data::new((steps * batch) as u64);
            let ids = data.ids(steps * batch, vocab as u32);
            let lens = match padded {
                true => data.lengths(batch, steps as u32),
                false => vec![steps as u32; batch],
            };
            let tokens = TokenIds::empty(&gpu, steps, batch).unwrap();
            tokens.write(&ids, &TokenIndex::new(&ids, &lens)).unwrap();
            let table = input(&[vocab, width], data.peaked(vocab * width, 1.0, 20.0));
            let op = Rows {
                tokens,
                ids,
                lens,
                vocab,
                width,
            };
            prove(&op, &gpu, &[table]);
        }
    }
}

#[test]
fn a_token_beyond_the_table_is_zeros() {
    let gpu = gpu();
    let table = Tensor::from_slice(&gpu, [2, 3], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let tokens = TokenIds::from_host(&gpu, 3, 1, &[1, 2, u32::MAX]).unwrap();
    let y = ops::embedding(&Tape::inference(&gpu), &table, &tokens).unwrap();
    let want = [4.0, 5.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    assert_near("beyond", &y.to_vec().unwrap(), &want, tolerance::EXACT);
}
