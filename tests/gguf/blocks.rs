//! Blocks against those of the gguf package and of llama.cpp, bit for bit.

use melos::hub::gguf::BlockType;

use crate::support::{floats, raw};

const FILE: &str = "blocks.safetensors";

#[test]
fn blocks_have_the_numbers_that_the_gguf_package_finds() {
    // Both kinds of NF4 are none of GGUF's.
    for kind in BlockType::all().filter(|kind| !kind.name().starts_with("NF4")) {
        let name = kind.name();
        let blocks = raw(FILE, &format!("{name}.blocks"));
        let expected = floats(FILE, &format!("{name}.values"));
        let found = kind.dequantise(&blocks);
        assert_eq!(found.len(), expected.len(), "{name}");
        let bits = |all: &[f32]| all.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(&found) == bits(&expected), "{name}");
        // Blocks at random say different things.
        assert!(expected.windows(2).any(|pair| pair[0] != pair[1]), "{name}");
    }
}

#[test]
fn numbers_are_packed_as_the_gguf_package_packs_them() {
    let source = floats(FILE, "source");
    for kind in [
        BlockType::F16,
        BlockType::Bf16,
        BlockType::Q8_0,
        BlockType::Q4_0,
        BlockType::Q4_1,
        BlockType::Q5_0,
        BlockType::Q5_1,
    ] {
        let expected = raw(FILE, &format!("{}.packed", kind.name()));
        let found = kind.quantise(&source).unwrap();
        let off = (0..found.len()).find(|&at| found[at] != expected[at]);
        let block = off.map(|at| at / kind.bytes());
        assert_eq!(off, None, "{}: block {block:?}", kind.name());
    }
}

/// The steps of a sub-block whose scale is rounded to 0 mean nothing, and are not compared.
#[test]
fn numbers_are_packed_as_llama_cpp_packs_them() {
    let source = floats(FILE, "source");
    for kind in [BlockType::Q4K, BlockType::Q5K, BlockType::Q6K] {
        let expected = raw(FILE, &format!("{}.packed", kind.name()));
        let packed = kind.quantise(&source).unwrap();
        assert_eq!(packed.len(), expected.len());
        let (ours, theirs) = (kind.dequantise(&packed), kind.dequantise(&expected));
        let off = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
        let at = (0..ours.len()).find(|&i| ours[i] != theirs[i]);
        let block = at.map(|at| at / 256);
        assert_eq!(
            (off, block),
            (0, None),
            "{} of {} numbers of {}",
            off,
            ours.len(),
            kind.name()
        );
    }
}
