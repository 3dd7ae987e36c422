//! NF4 as bitsandbytes has it, and checkpoints that it has quantised. The fixtures are made by
//! `tools/make_bitsandbytes_fixtures.py` with bitsandbytes and transformers.
#![cfg(feature = "train")]

#[path = "common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};

use melos::device::Gpu;
use melos::hub::gguf::BlockType;
use melos::hub::{ElementType, Head};
use melos::models::{self, Pretrained};
use melos::nn::Vars;
use melos::tensor::{DType, ParamStore, Rule};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

/// Of this much are the numbers of `blocks.safetensors`.
const NUMBERS: usize = 64 * 272;

fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bitsandbytes");
    folder.join(name)
}

fn raw(file: &str, tensor: &str) -> Vec<u8> {
    let bytes = std::fs::read(fixture(file)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensor(tensor).unwrap().data().to_vec()
}

fn floats(file: &str, tensor: &str) -> Vec<f32> {
    let bytes = raw(file, tensor);
    let (numbers, _) = bytes.as_chunks::<4>();
    numbers.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn bits(all: &[f32]) -> Vec<u32> {
    all.iter().map(|x| x.to_bits()).collect()
}

/// As `numbers` of the script that made the fixtures.
fn numbers() -> Vec<f32> {
    let mut state = 12345u32;
    let number = |i: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let scale = (1 + i / 64 % 7) as f32 / 8.0;
        ((state >> 8) as f32 / 16_777_216.0 - 0.5) * scale
    };
    (0..NUMBERS).map(number).collect()
}

fn every<T: Copy>(all: &[T], step: usize) -> Vec<T> {
    all.iter().copied().step_by(step).collect()
}

#[test]
fn nf4_is_packed_and_unpacked_as_by_bitsandbytes() {
    let packed = BlockType::Nf4.quantise(&numbers()).unwrap();
    let blocks = packed.chunks_exact(36);
    let steps: Vec<u8> = blocks.flat_map(|b| b[4..].to_vec()).collect();
    assert!(every(&steps, 3) == raw("blocks.safetensors", "steps"));
    let values = BlockType::Nf4.dequantise(&packed);
    let expected = floats("blocks.safetensors", "single.values");
    assert_eq!(bits(&every(&values, 67)), bits(&expected));
}

#[test]
fn nf4_with_double_quantisation_is_packed_and_unpacked_as_by_bitsandbytes() {
    const FILE: &str = "blocks.safetensors";
    let kind = BlockType::Nf4Double;
    let packed = kind.quantise(&numbers()).unwrap();
    assert_eq!(Some(packed.len()), kind.bytes_of(NUMBERS));
    let float = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
    let (mut codes, mut steps) = (Vec::<u8>::new(), Vec::<u8>::new());
    let (largest, mean) = (floats(FILE, "double.largest"), floats(FILE, "double.mean"));
    for (n, block) in packed.chunks_exact(536).enumerate() {
        // PyTorch sums the scales in another order.
        let off = (float(&block[4..8]) - mean[0]).abs();
        assert!(off <= f32::EPSILON * mean[0], "{off}");
        let off = (float(&block[..4]) - largest[n / 16]).abs();
        assert!(off <= f32::EPSILON * mean[0], "{off}");
        codes.extend(&block[8..24]);
        steps.extend(&block[24..]);
    }
    codes.truncate(NUMBERS / 64);
    steps.truncate(NUMBERS / 2);
    assert_eq!(codes, raw(FILE, "double.scales"));
    assert!(every(&steps, 3) == raw(FILE, "steps"));

    // Their scales in our blocks.
    let mut theirs = packed.clone();
    for (n, block) in theirs.chunks_exact_mut(536).enumerate() {
        block[..4].copy_from_slice(&largest[n / 16].to_le_bytes());
        block[4..8].copy_from_slice(&mean[0].to_le_bytes());
    }
    let values = kind.dequantise(&theirs);
    assert_eq!(
        bits(&every(&values[..NUMBERS], 67)),
        bits(&floats(FILE, "double.values"))
    );
    // Of one block with a largest distance of 1 and a mean of 0 the scales are what bytes stand for.
    for (n, value) in floats(FILE, "dynamic").iter().enumerate() {
        let mut block = vec![0xff; 536];
        block[..4].copy_from_slice(&1.0f32.to_le_bytes());
        block[4..8].copy_from_slice(&0.0f32.to_le_bytes());
        block[8] = n as u8;
        let scale = kind.dequantise(&block)[0];
        assert!(scale == *value, "{n}: {scale}, {value}");
    }
}

const LAYER: &str = "model.layers.0.";

#[test]
fn a_checkpoint_of_bitsandbytes_has_the_numbers_that_it_makes_plain() {
    let model = models::open(&fixture("model")).unwrap();
    assert!(model.config["quantization_config"].is_null());
    let own = std::fs::read_to_string(fixture("model/config.json")).unwrap();
    let own: serde_json::Value = serde_json::from_str(&own).unwrap();
    assert!(own["quantization_config"].is_object());
    assert!(models::read_config(&own, &fixture("model")).is_ok());
    let packed = |name: &str| model.info(name).unwrap().dtype;
    for (part, kind) in [
        ("self_attn.q_proj", Some(BlockType::Nf4Double)),
        ("self_attn.k_proj", Some(BlockType::Nf4)),
        ("self_attn.v_proj", None),
        ("self_attn.o_proj", Some(BlockType::Nf4)),
        ("mlp.gate_proj", None),
        ("mlp.up_proj", None),
        // Of shares of 256, which are blocks of 64 with equal scales.
        ("mlp.down_proj", Some(BlockType::Nf4)),
    ] {
        let name = format!("{LAYER}{part}.weight");
        let plain = ElementType::Plain(Dtype::F32);
        assert_eq!(
            packed(&name),
            kind.map_or(plain, ElementType::Packed),
            "{part}"
        );
        let values = model.values(&name).unwrap();
        let expected = floats("logits.safetensors", &format!("plain.{part}"));
        assert_eq!(bits(&every(&values, 37)), bits(&expected), "{part}");
        let Some((found, blocks)) = model.blocks(&name).unwrap() else {
            assert_eq!(kind, None, "{part}");
            continue;
        };
        assert_eq!(Some(found), kind, "{part}");
        let unpacked = found.dequantise(&blocks);
        assert_eq!(bits(&unpacked[..values.len()]), bits(&values), "{part}");
    }
    assert_eq!(
        packed("model.embed_tokens.weight"),
        ElementType::Plain(Dtype::F16)
    );
}

#[test]
fn a_checkpoint_of_bitsandbytes_computes_what_transformers_does() {
    let gpu = Gpu::open_best().unwrap();
    let source = Pretrained::open(&fixture("model"), None).unwrap();
    let vars = Vars::new();
    let network = source.config.build(&vars, Head::CausalLm).unwrap();
    let format = source.architecture.unwrap().format;
    let kinds = source.packed(&vars, format, None);
    // Rows of 32 and 16 are no whole blocks.
    let names: Vec<&str> = kinds.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["k_proj", "q_proj"].map(|p| format!("{LAYER}self_attn.{p}.weight"))
    );
    let store = ParamStore::with_rules(&gpu, vars.specs(), 0, |spec| Rule {
        lr_scale: 0.0,
        decays: false,
        level: 0,
        dtype: kinds
            .get(&spec.name)
            .map_or(DType::F32, |kind| DType::Packed(*kind)),
    });
    let store = store.unwrap();
    source.load(&store, &[]).unwrap();
    vars.bind(&store).unwrap();
    let ids = raw("logits.safetensors", "ids");
    let ids: Vec<u32> = ids
        .as_chunks()
        .0
        .iter()
        .map(|b| u32::from_le_bytes(*b))
        .collect();
    let expected = floats("logits.safetensors", "logits");
    let lm = network.as_causal_lm().unwrap();
    let mut writer = lm.writer(&gpu, 1, ids.len()).unwrap();
    let first = ids.len() - 3;
    let mut found = writer.read(&[&ids[..first]]).unwrap();
    for id in &ids[first..] {
        found.extend(writer.read(&[&[*id]]).unwrap());
    }
    assert_eq!(found.len(), expected.len());
    let most = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    let off = off.fold(0.0, f32::max);
    assert!(most > 0.1 && off < 1e-5 * most.max(1.0), "{off} of {most}");
}

/// What is missing or does not fit is named.
#[test]
fn parts_that_do_not_fit_are_refused() {
    let bytes = std::fs::read(fixture("model/model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let q = format!("{LAYER}self_attn.q_proj.weight");
    let v = format!("{LAYER}self_attn.v_proj.weight");
    let gate = format!("{LAYER}mlp.gate_proj.");
    let state = format!("{q}.quant_state.bitsandbytes__nf4");
    // Which part, its new bytes or none, what is said.
    let cases: [(String, Option<Vec<u8>>, &str); 7] = [
        (format!("{q}.absmax"), None, "is missing"),
        (format!("{q}.absmax"), Some(vec![0; 9]), "has 9 scales"),
        (
            format!("{q}.quant_map"),
            Some(vec![0; 60]),
            "has 15 numbers",
        ),
        (format!("{v}.absmax"), Some(vec![0; 8]), "has 2 scales"),
        (state.clone(), Some(b"{}".to_vec()), "is no state"),
        (
            state,
            Some(br#"{"quant_type":"nf4","blocksize":0,"shape":[3]}"#.to_vec()),
            "says sizes",
        ),
        (
            format!("{gate}weight_format"),
            Some(vec![2]),
            "an order of bytes",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(
        fixture("model/config.json"),
        folder.path().join("config.json"),
    )
    .unwrap();
    for (part, new, said) in &cases {
        let views = file
            .tensors()
            .into_iter()
            .filter(|(name, _)| name != part || new.is_some());
        let views = views.map(|(name, view)| match new {
            Some(new) if name == *part => {
                let dtype = match view.dtype() {
                    Dtype::F32 => Dtype::F32,
                    _ => Dtype::U8,
                };
                let count = new.len() / (dtype.bitsize() / 8);
                (name, TensorView::new(dtype, vec![count], new).unwrap())
            }
            _ => (name, view),
        });
        let path = folder.path().join("model.safetensors");
        safetensors::serialize_to_file(views.collect::<Vec<_>>(), None, &path).unwrap();
        let error = models::open(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains(part.as_str()) && error.contains(said),
            "{part}: {error}"
        );
    }
}
