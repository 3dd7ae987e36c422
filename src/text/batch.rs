//! What all batches share: their position, the index that makes the embedding's gradient
//! deterministic, word dropout.

use serde::{Deserialize, Serialize};

use super::rng::Rng;
use super::tokenizer::{SPECIALS, UNK};

/// Marks a row of a batch that holds no document.
pub const NO_DOC: u32 = u32::MAX;
/// Marks a target or label that does not count (as `u32`: all bits set).
pub const IGNORE: i32 = -1;

/// Where a stream of batches stands. Streams made with the same documents and options that
/// `seek` the same position yield the same batches from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Seed of the order and of word dropout.
    pub seed: u64,
    /// Passes over the data that are complete.
    pub epoch: u64,
    /// Number, within its pass, of the batch that comes next.
    pub index: u64,
}

impl Position {
    /// The first batch of the first pass.
    pub fn start(seed: u64) -> Self {
        Self {
            seed,
            epoch: 0,
            index: 0,
        }
    }

    /// The same place with an index below `per_epoch`, the batches of a pass.
    pub(super) fn normal(mut self, per_epoch: u64) -> Self {
        self.epoch += self.index / per_epoch;
        self.index %= per_epoch;
        self
    }

    /// The place of the next batch.
    pub(super) fn next(mut self, per_epoch: u64) -> Self {
        self.index += 1;
        self.normal(per_epoch)
    }
}

/// Replaces each word by `<unk>` with probability `p` (Dai & Le 2015, section 2; Iyyer et al.
/// 2015). Special tokens stay. `salt` tells apart several uses for one batch.
pub(super) fn drop_words(ids: &mut [u32], p: f32, position: Position, salt: u64) {
    if p <= 0.0 {
        return;
    }
    let mut rng = Rng::new(
        position.seed,
        &[0xD80F, position.epoch, position.index, salt],
    );
    for id in ids {
        // Drawn for every position, so that what is dropped here does not depend on what is there.
        if rng.chance(f64::from(p)) && *id >= SPECIALS.len() as u32 {
            *id = UNK;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_dropout_has_its_rate_and_spares_specials() {
        let position = Position {
            seed: 1,
            epoch: 2,
            index: 3,
        };
        let mut ids = vec![10; 10_000];
        ids[..100].fill(3);
        drop_words(&mut ids, 0.3, position, 0);
        assert!(ids[..100].iter().all(|&id| id == 3));
        let dropped = ids.iter().filter(|&&id| id == UNK).count();
        // 2970 expected; 4 standard deviations are 183.
        assert!(dropped.abs_diff(2970) < 183, "{dropped}");
        let mut again = vec![10; 10_000];
        again[..100].fill(3);
        drop_words(&mut again, 0.3, position, 0);
        assert_eq!(ids, again);
        drop_words(&mut again, 0.3, position, 1);
        assert_ne!(ids, again);
    }
}
