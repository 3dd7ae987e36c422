//! The ways in which frozen weights are packed: blocks of 32 or 256 numbers that share a scale, as in GGUF,
//! read bit for bit as its Python package reads them, and written as it, or llama.cpp, writes them; and
//! blocks of 64, NF4, whose scales may be packed as well.

mod float;
mod k;
mod k_quantise;
mod legacy;
mod nf4;
mod nf4_double;

pub use float::FloatType;
#[cfg(feature = "train")]
pub(crate) use nf4_double::{DYNAMIC, joined};

use half::f16;
use rayon::prelude::*;

/// Blocks that are packed or unpacked as one piece of work.
const PIECE: usize = 512;

/// How the numbers of a tensor are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // named as in llama.cpp
pub enum BlockType {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Nf4,
    Nf4Double,
}

/// Type, its number in GGUF, its name, numbers and bytes of a block.
const TYPES: [(BlockType, Option<u32>, &str, usize, usize); 15] = [
    (BlockType::F32, Some(0), "F32", 1, 4),
    (BlockType::F16, Some(1), "F16", 1, 2),
    (BlockType::Bf16, Some(30), "BF16", 1, 2),
    (BlockType::Q8_0, Some(8), "Q8_0", 32, 34),
    (BlockType::Q4_0, Some(2), "Q4_0", 32, 18),
    (BlockType::Q4_1, Some(3), "Q4_1", 32, 20),
    (BlockType::Q5_0, Some(6), "Q5_0", 32, 22),
    (BlockType::Q5_1, Some(7), "Q5_1", 32, 24),
    (BlockType::Q2K, Some(10), "Q2_K", 256, 84),
    (BlockType::Q3K, Some(11), "Q3_K", 256, 110),
    (BlockType::Q4K, Some(12), "Q4_K", 256, 144),
    (BlockType::Q5K, Some(13), "Q5_K", 256, 176),
    (BlockType::Q6K, Some(14), "Q6_K", 256, 210),
    (BlockType::Nf4, None, "NF4", 64, 36),
    (BlockType::Nf4Double, None, "NF4_DOUBLE", 1024, 536),
];

/// Types of llama.cpp that are not read.
const OTHERS: [(u32, &str); 22] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
    (42, "Q2_0"),
];

impl BlockType {
    /// Those that pack several numbers, in the order by which the kernels number them.
    pub const PACKED: [BlockType; 12] = [
        BlockType::Q8_0,
        BlockType::Q4_0,
        BlockType::Q4_1,
        BlockType::Q5_0,
        BlockType::Q5_1,
        BlockType::Q2K,
        BlockType::Q3K,
        BlockType::Q4K,
        BlockType::Q5K,
        BlockType::Q6K,
        BlockType::Nf4,
        BlockType::Nf4Double,
    ];

    /// The type with this number in files, or what is known of a number that is none.
    pub(crate) fn numbered(number: u32) -> Result<BlockType, String> {
        let found = TYPES.iter().find(|(_, id, ..)| *id == Some(number));
        found.map(|(kind, ..)| *kind).ok_or_else(|| {
            let other = OTHERS.iter().find(|(id, _)| *id == number);
            other.map_or(format!("unknown type {number}"), |(_, name)| {
                (*name).to_string()
            })
        })
    }

    /// All types.
    pub fn all() -> impl Iterator<Item = BlockType> {
        TYPES.iter().map(|(kind, ..)| *kind)
    }

    fn row(self) -> &'static (BlockType, Option<u32>, &'static str, usize, usize) {
        // Every type has its row; the tests hold that.
        let at = TYPES.iter().position(|(kind, ..)| *kind == self);
        &TYPES[at.unwrap_or(0)]
    }

    /// Its number in GGUF, which does not have all.
    pub(crate) fn number(self) -> Option<u32> {
        self.row().1
    }

    /// llama.cpp's name for it.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// The type of that name, in any case, with or without its underline.
    pub fn named(name: &str) -> Option<BlockType> {
        let plain = |name: &str| name.to_lowercase().replace('_', "");
        BlockType::all().find(|kind| plain(kind.name()) == plain(name))
    }

    /// Numbers of a block.
    pub fn elements(self) -> usize {
        self.row().3
    }

    /// What the length of a tensor's rows is a multiple of: a block, but where blocks run on across rows.
    pub fn row_unit(self) -> usize {
        match self {
            BlockType::Nf4Double => nf4_double::SHARE,
            _ => self.elements(),
        }
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        self.row().4
    }

    /// Bytes of so many numbers, which are whole rows; `None` where they are not, or too many.
    pub fn bytes_of(self, elements: usize) -> Option<usize> {
        let blocks = elements.div_ceil(self.elements());
        let whole = elements.is_multiple_of(self.row_unit());
        whole.then(|| blocks.checked_mul(self.bytes())).flatten()
    }

    /// The float type that it is, if it is one.
    pub fn float_type(self) -> Option<FloatType> {
        match self {
            BlockType::F32 => Some(FloatType::F32),
            BlockType::F16 => Some(FloatType::F16),
            BlockType::Bf16 => Some(FloatType::Bf16),
            _ => None,
        }
    }

    /// Whether numbers can be packed so, not only read.
    pub fn packs(self) -> bool {
        !matches!(self, BlockType::Q2K | BlockType::Q3K)
    }

    /// Where in a block the numbers stand that scale all others, in f16 but NF4's, which are f32.
    pub fn scales(self) -> &'static [usize] {
        match self {
            BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K => &[0, 2],
            BlockType::Q2K => &[80, 82],
            BlockType::Q3K => &[108],
            BlockType::Q6K => &[208],
            BlockType::Nf4Double => &[0, 4],
            _ => &[0],
        }
    }

    /// The first number among those that scale blocks which is infinite or none; of packed types.
    pub fn not_finite(self, bytes: &[u8]) -> Option<f32> {
        let of = |block: &[u8], at: usize| match self {
            BlockType::Nf4 | BlockType::Nf4Double => {
                f32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
            }
            _ => half_at(block, at),
        };
        let blocks = bytes.chunks_exact(self.bytes());
        let mut all = blocks.flat_map(|block| self.scales().iter().map(move |at| of(block, *at)));
        all.find(|scale| !scale.is_finite())
    }

    /// The numbers of whole blocks; of a tensor, or of some of its rows.
    pub fn dequantise(self, bytes: &[u8]) -> Vec<f32> {
        if let Some(float) = self.float_type() {
            return float.decode(bytes);
        }
        let (size, count) = (self.bytes(), self.elements());
        let mut values = vec![0.0; bytes.len() / size * count];
        let pieces = values.par_chunks_mut(count * PIECE);
        pieces
            .zip(bytes.par_chunks(size * PIECE))
            .for_each(|(values, bytes)| {
                let blocks = values.chunks_exact_mut(count).zip(bytes.chunks_exact(size));
                blocks.for_each(|(out, block)| self.unpack(block, out));
            });
        values
    }

    /// Numbers as whole blocks of this type: as many of them as rows need. `None` for a type that is
    /// only read.
    pub fn quantise(self, values: &[f32]) -> Option<Vec<u8>> {
        match self {
            BlockType::Q2K | BlockType::Q3K => return None,
            BlockType::Nf4Double => return Some(nf4_double::pack(values)),
            BlockType::F32 | BlockType::F16 | BlockType::Bf16 => {
                return Some(self.float_type()?.encode(values));
            }
            _ => {}
        }
        let (size, count) = (self.bytes(), self.elements());
        let mut bytes = vec![0; values.len() / count * size];
        let pieces = bytes.par_chunks_mut(size * PIECE);
        pieces
            .zip(values.par_chunks(count * PIECE))
            .for_each(|(bytes, values)| {
                let blocks = bytes.chunks_exact_mut(size).zip(values.chunks_exact(count));
                blocks.for_each(|(block, values)| self.pack(values, block));
            });
        Some(bytes)
    }

    fn unpack(self, block: &[u8], out: &mut [f32]) {
        match self {
            BlockType::F32 | BlockType::F16 | BlockType::Bf16 => {}
            BlockType::Q8_0 => legacy::unpack_q8_0(block, out),
            BlockType::Q4_0 => legacy::unpack_centred(block, out, None, 8),
            BlockType::Q5_0 => legacy::unpack_centred(block, out, Some(2), 16),
            BlockType::Q4_1 => legacy::unpack_shifted(block, out, None),
            BlockType::Q5_1 => legacy::unpack_shifted(block, out, Some(4)),
            BlockType::Q2K => k::unpack_q2(block, out),
            BlockType::Q3K => k::unpack_q3(block, out),
            BlockType::Q4K => k::unpack_q4(block, out),
            BlockType::Q5K => k::unpack_q5(block, out),
            BlockType::Q6K => k::unpack_q6(block, out),
            BlockType::Nf4 => nf4::unpack(block, out),
            BlockType::Nf4Double => nf4_double::unpack(block, out),
        }
    }

    fn pack(self, values: &[f32], block: &mut [u8]) {
        match self {
            BlockType::Q8_0 => legacy::pack_q8_0(values, block),
            BlockType::Q4_0 => legacy::pack_centred(values, block, None, 8),
            BlockType::Q5_0 => legacy::pack_centred(values, block, Some(2), 16),
            BlockType::Q4_1 => legacy::pack_shifted(values, block, None, 15),
            BlockType::Q5_1 => legacy::pack_shifted(values, block, Some(4), 31),
            BlockType::Q4K => k_quantise::pack_q4(values, block),
            BlockType::Q5K => k_quantise::pack_q5(values, block),
            BlockType::Q6K => k_quantise::pack_q6(values, block),
            BlockType::Nf4 => nf4::pack(values, block),
            // Not packed, or not block by block.
            BlockType::F32 | BlockType::F16 | BlockType::Bf16 => {}
            BlockType::Q2K | BlockType::Q3K | BlockType::Nf4Double => {}
        }
    }
}

/// The values of NF4's steps.
pub(crate) fn nf4_values() -> &'static [f32] {
    &nf4::VALUES
}

/// The f16 at a place of a block.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Puts an f16 at a place of a block, and says what it is.
fn put_half(block: &mut [u8], at: usize, value: f32) -> f32 {
    let half = f16::from_f32(value);
    block[at..at + 2].copy_from_slice(&half.to_le_bytes());
    half.to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_row_a_number_and_a_name_of_its_own() {
        for (kind, number, name, elements, bytes) in TYPES {
            assert_eq!(number.map(BlockType::numbered), number.map(|_| Ok(kind)));
            assert_eq!(BlockType::named(&name.to_lowercase()), Some(kind));
            assert_eq!((kind.number(), kind.name()), (number, name));
            assert_eq!(kind.bytes_of(elements * 3), Some(bytes * 3));
            assert_eq!(kind.bytes_of(elements * 3 + 1).is_some(), elements == 1);
        }
        for (number, name) in OTHERS {
            assert_eq!(BlockType::numbered(number), Err(name.to_string()));
        }
        let unknown = BlockType::numbered(77).unwrap_err();
        assert!(unknown.contains("77"), "{unknown}");
    }

    #[test]
    fn what_is_packed_lies_within_half_a_step_of_what_it_was() {
        let wave = |i: usize| (i as f32 * 0.37).sin() * 0.8 + (i as f32 * 0.011).cos() * 0.3;
        let values: Vec<f32> = (0..256 * 600).map(wave).collect();
        let range = 2.2;
        for (kind, levels) in [
            (BlockType::Q8_0, 255.0),
            (BlockType::Q4_0, 16.0),
            (BlockType::Q4_1, 15.0),
            (BlockType::Q5_0, 32.0),
            (BlockType::Q5_1, 31.0),
            (BlockType::Q4K, 15.0),
            (BlockType::Q5K, 31.0),
            (BlockType::Q6K, 64.0),
            // Its steps are widest at the ends.
            (BlockType::Nf4, 6.5),
            (BlockType::Nf4Double, 6.5),
        ] {
            let bytes = kind.quantise(&values).unwrap();
            assert_eq!(Some(bytes.len()), kind.bytes_of(values.len()));
            let back = kind.dequantise(&bytes);
            let worst = values.iter().zip(&back).map(|(a, b)| (a - b).abs());
            let worst = worst.fold(0.0, f32::max);
            // A step, where the scales of the sub-blocks are rounded or one end is cut off.
            assert!(worst <= 1.1 * range / levels, "{}: {worst}", kind.name());
            assert!(worst > 0.0, "{}", kind.name());
            // A part is what it is in the whole.
            let (size, count) = (kind.bytes(), kind.elements());
            let part = kind.dequantise(&bytes[size * 3..size * 5]);
            assert_eq!(part, back[count * 3..count * 5]);
        }
        assert!(BlockType::Q2K.quantise(&values).is_none());
        let zeros = [0.0; 256];
        for kind in BlockType::all().filter(|k| !matches!(k, BlockType::Q2K | BlockType::Q3K)) {
            let back = kind.dequantise(&kind.quantise(&zeros).unwrap());
            assert!(back.iter().all(|x| *x == 0.0), "{}", kind.name());
        }
    }

    #[test]
    fn halves_are_where_they_are_put() {
        let mut block = [0; 6];
        assert_eq!(put_half(&mut block, 2, 1.5), 1.5);
        assert_eq!(half_at(&block, 2), 1.5);
        assert_eq!(block[..2], [0, 0]);
    }
}
