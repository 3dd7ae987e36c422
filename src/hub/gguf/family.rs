//! What a family says of its models in GGUF files, and how tensors are placed in them.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::file::GgufFile;
use super::write::Meta;
use crate::error::Result;

/// How a family's models lie in GGUF files.
pub struct Gguf {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// Numbers of `config.json` that the metadata has one by one.
    pub keys: &'static [&'static [Key]],
    /// Its tensors.
    pub tensors: &'static [&'static [Name]],
    /// Tensors that follow from the configuration.
    pub ignored: &'static [&'static str],
    /// How its tokenisers of SentencePiece treat spaces.
    pub spaces: Spaces,
    /// Completes `config.json` by what no table tells.
    pub read: fn(&GgufFile, &mut Map<String, Value>) -> Result<()>,
    /// What no table tells of a complete `config.json`; or why a reader would load such a model wrongly.
    pub write: fn(&Value) -> Result<Told, String>,
}

/// What a family puts into a file beside what its tables tell.
#[derive(Debug, Default)]
pub struct Told {
    /// Metadata, by its name behind that of the architecture.
    pub metadata: Vec<(&'static str, Meta)>,
    /// Tensors that follow from the configuration: name and numbers.
    pub tensors: Vec<(&'static str, Vec<f32>)>,
}

/// A number of the metadata, and of `config.json`.
pub struct Key {
    /// Its name behind that of the architecture, `attention.head_count`.
    pub gguf: &'static str,
    /// In `config.json`.
    pub config: &'static str,
    /// What it is.
    pub kind: Number,
    /// Whether files without it are refused.
    pub needed: bool,
}

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// From 0 on.
    Whole,
    /// Of 32 bits.
    Real,
}

impl Key {
    /// A whole number that every file has.
    pub const fn whole(gguf: &'static str, config: &'static str) -> Key {
        let (kind, needed) = (Number::Whole, true);
        Key {
            gguf,
            config,
            kind,
            needed,
        }
    }

    /// A number that every file has.
    pub const fn real(gguf: &'static str, config: &'static str) -> Key {
        let (kind, needed) = (Number::Real, true);
        Key {
            gguf,
            config,
            kind,
            needed,
        }
    }

    /// The same, which a file may lack.
    pub const fn or_default(self) -> Key {
        Key {
            needed: false,
            ..self
        }
    }
}

/// A tensor's name in GGUF, its canonical one, and how it is placed; `{}` is the number of the layer.
pub type Name = (&'static str, &'static str, Placed);

/// How the numbers of a tensor stand in GGUF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// As in safetensors.
    Same,
    /// (out, in), of what is (in, out) in safetensors.
    Transposed,
    /// Rows of a head in pairs, for the other form of RoPE: 0, D/2, 1, D/2 + 1, …; so many heads says this
    /// key of the metadata.
    Paired(&'static str),
    /// With 1 added.
    PlusOne,
}

/// How a tokeniser of SentencePiece treats spaces, of which GGUF says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spaces {
    /// One is put before a text, and behind special tokens.
    Before,
    /// None is put anywhere, and words are cut behind them.
    AsTheyAre,
}

/// The number of `name` where it is that of `pattern` with a number in the place of `{}`; 0 where there is
/// none.
fn matched(pattern: &str, name: &str) -> Option<usize> {
    match pattern.split_once("{}") {
        None => (pattern == name).then_some(0),
        Some((before, behind)) => {
            let digits = name.strip_prefix(before)?.strip_suffix(behind)?;
            let number: usize = digits.parse().ok()?;
            (number.to_string() == digits).then_some(number)
        }
    }
}

fn filled(pattern: &str, number: usize) -> String {
    pattern.replacen("{}", &number.to_string(), 1)
}

impl Gguf {
    /// The canonical name of a tensor of a file, and how it is placed.
    pub(super) fn canonical(&self, name: &str) -> Option<(String, Placed)> {
        self.tensors
            .iter()
            .copied()
            .flatten()
            .find_map(|(theirs, ours, placed)| {
                let number = matched(theirs, name)?;
                Some((filled(ours, number), *placed))
            })
    }

    /// The name in files of a canonical tensor, and how it is placed there.
    pub(super) fn stored(&self, name: &str) -> Option<(String, Placed)> {
        self.tensors
            .iter()
            .copied()
            .flatten()
            .find_map(|(theirs, ours, placed)| {
                let number = matched(ours, name)?;
                Some((filled(theirs, number), *placed))
            })
    }

    /// A key of the architecture's own.
    pub fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// The numbers of `config.json` that the table tells.
    pub(super) fn numbers(&self, file: &GgufFile) -> Result<Map<String, Value>> {
        let mut config = Map::new();
        for key in self.keys.iter().copied().flatten() {
            let name = self.key(key.gguf);
            let value = match key.kind {
                Number::Whole => file.whole(&name)?.map(|n| json!(n)),
                Number::Real => file.number(&name)?.map(real),
            };
            match value {
                Some(value) => drop(config.insert(key.config.into(), value)),
                None if key.needed => return Err(file.lacks(&name)),
                None => {}
            }
        }
        Ok(config)
    }
}

/// An f32 in its shortest digits: 0.1, not 0.10000000149011612.
pub fn real(value: f32) -> Value {
    let digits: f64 = value.to_string().parse().unwrap_or(f64::from(value));
    json!(digits)
}

impl Placed {
    /// The shape in safetensors of a tensor that has this shape in GGUF, and the other way round.
    pub(super) fn shape(self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        if self == Placed::Transposed {
            shape.reverse();
        }
        shape
    }

    /// Where each row is to be taken from, where rows change their places; `None` where they cannot.
    pub(super) fn rows(self, count: usize, heads: usize, into_file: bool) -> Option<Vec<usize>> {
        let size = count.checked_div(heads)?;
        if size * heads != count || !size.is_multiple_of(2) {
            return None;
        }
        let half = size / 2;
        let from = |row: usize| {
            let (head, at) = (row / size * size, row % size);
            head + match into_file {
                true => at % 2 * half + at / 2,
                false => at % half * 2 + at / half,
            }
        };
        Some((0..count).map(from).collect())
    }
}

/// The rows of a matrix in another order; a row is so many things.
pub(super) fn reordered<T: Copy>(all: &[T], order: &[usize]) -> Vec<T> {
    let width = all.len() / order.len().max(1);
    let rows = order.iter().map(|row| &all[row * width..][..width]);
    rows.collect::<Vec<_>>().concat()
}

/// A matrix of so many columns with rows and columns exchanged.
pub(super) fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let rows = values.len() / columns.max(1);
    let each = (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c]));
    each.collect()
}

/// Bytes with each row in the place that `order` says; as they are without one.
pub(super) fn in_order<'a>(bytes: &'a [u8], order: Option<&[usize]>) -> Cow<'a, [u8]> {
    match order {
        Some(order) => reordered(bytes, order).into(),
        None => bytes.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Gguf = Gguf {
        architecture: "x",
        keys: &[],
        tensors: &[
            &[("token_embd.weight", "words.weight", Placed::Same)],
            &[(
                "blk.{}.attn_q.weight",
                "layers.{}.q.weight",
                Placed::Paired("h"),
            )],
        ],
        ignored: &[],
        spaces: Spaces::Before,
        read: |_, _| Ok(()),
        write: |_| Ok(Told::default()),
    };

    #[test]
    fn names_go_there_and_back() {
        let theirs = TABLE.canonical("blk.12.attn_q.weight").unwrap();
        assert_eq!(theirs, ("layers.12.q.weight".into(), Placed::Paired("h")));
        let ours = TABLE.stored(&theirs.0).unwrap();
        assert_eq!(ours.0, "blk.12.attn_q.weight");
        assert_eq!(TABLE.stored("words.weight").unwrap().0, "token_embd.weight");
        for none in [
            "blk.x.attn_q.weight",
            "blk.012.attn_q.weight",
            "blk..attn_q.weight",
            "words.weight",
        ] {
            assert!(TABLE.canonical(none).is_none(), "{none}");
        }
    }

    #[test]
    fn rows_in_pairs_go_back_to_their_halves() {
        // Two heads of four rows.
        let paired = Placed::Paired("h");
        let there = paired.rows(8, 2, true).unwrap();
        assert_eq!(there, [0, 2, 1, 3, 4, 6, 5, 7]);
        let size = paired.rows(12, 2, true).unwrap();
        assert_eq!(size[..6], [0, 3, 1, 4, 2, 5]);
        let values: Vec<u32> = (0..24).collect();
        let stored = reordered(&values, &size);
        assert_eq!(stored[..6], [0, 1, 6, 7, 2, 3]);
        let back = paired.rows(12, 2, false).unwrap();
        assert_eq!(reordered(&stored, &back), values);
        for (rows, heads) in [(8, 3), (6, 2), (8, 0)] {
            assert!(paired.rows(rows, heads, true).is_none());
        }
    }

    #[test]
    fn a_matrix_is_transposed() {
        assert_eq!(
            transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3),
            [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]
        );
    }
}
