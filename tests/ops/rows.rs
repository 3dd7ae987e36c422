//! Embedding.

use melos::doctor::operators::rows::Rows;
use melos::doctor::proof::input;
use melos::ops::{self, TokenIds};
use melos::tensor::{Tape, Tensor};

use crate::reference::{Data, assert_near, tolerance};
use crate::support::{gpu, prove};

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
            let op = Rows::new(&gpu, &mut data, [steps, batch, vocab, width], padded).unwrap();
            let table = input(&[vocab, width], data.peaked(vocab * width, 1.0, 20.0));
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
