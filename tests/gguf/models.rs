//! Models that llama.cpp's converter wrote, against what transformers computes from them.

use std::collections::BTreeMap;

use melos::device::Gpu;
use melos::hub::gguf::BlockType;
use melos::hub::{self, Head};
use melos::models::{self, Pretrained, formats};
use melos::nn::Vars;
use melos::tensor::{ParamSpec, ParamStore};
use serde_json::json;

use crate::support::{self, fixture, floats, raw};

const MODELS: [&str; 8] = [
    "gpt2", "llama", "llama3", "qwen2", "qwen3", "gemma2", "gemma3", "phi3",
];

#[test]
fn models_compute_what_transformers_computes_from_the_same_file() {
    let gpu = Gpu::open_best().unwrap();
    for name in MODELS {
        let path = fixture(&format!("{name}.gguf"));
        let source = Pretrained::open(&path, None).unwrap();
        let vars = Vars::new();
        let network = source.config.build(&vars, Head::CausalLm).unwrap();
        let specs = vars.specs().into_iter().map(ParamSpec::zeroed).collect();
        let store = ParamStore::new(&gpu, specs, 0, |_| 0.0).unwrap();
        source.load(&store, &[]).unwrap();
        vars.bind(&store).unwrap();

        let ids = raw("logits.safetensors", &format!("{name}.ids"));
        let ids: Vec<u32> = ids
            .as_chunks()
            .0
            .iter()
            .map(|b| u32::from_le_bytes(*b))
            .collect();
        let expected = floats("logits.safetensors", &format!("{name}.logits"));
        let lm = network.as_causal_lm().unwrap();
        let mut writer = lm.writer(&gpu, 1, ids.len()).unwrap();
        let first = ids.len() - 3;
        let mut found = writer.read(&[&ids[..first]]).unwrap();
        for id in &ids[first..] {
            found.extend(writer.read(&[&[*id]]).unwrap());
        }
        assert_eq!(found.len(), expected.len(), "{name}");
        let most = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        let off = off.fold(0.0, f32::max);
        assert!(
            most > 0.1 && off < 1e-5 * most.max(1.0),
            "{name}: {off} of {most}"
        );
    }
}

/// The names of transformers' tensors and those in files, as the gguf package has them.
#[test]
fn every_tensor_has_the_name_that_the_gguf_package_gives_it() {
    let expected = support::json("names.json");
    for name in MODELS {
        let checkpoint = models::open(&fixture(&format!("{name}.gguf"))).unwrap();
        let file = hub::gguf::GgufFile::open(&fixture(&format!("{name}.gguf"))).unwrap();
        let mut known: BTreeMap<&str, &str> = (expected[name].as_object().unwrap().iter())
            .map(|(ours, theirs)| (ours.as_str(), theirs.as_str().unwrap()))
            .collect();
        // Those that are one with another stand once.
        known.retain(|_, theirs| file.tensor_info(theirs).is_some());
        let found: Vec<&str> = checkpoint.names().collect();
        assert_eq!(found, known.keys().copied().collect::<Vec<_>>(), "{name}");
        for (ours, theirs) in known {
            let (stored, info) = (
                file.tensor_info(theirs).unwrap(),
                checkpoint.info(ours).unwrap(),
            );
            assert_eq!(info.dtype.name(), stored.kind.name(), "{ours}");
            let count = |shape: &[usize]| shape.iter().product::<usize>();
            assert_eq!(count(info.shape), count(&stored.shape), "{ours}");
        }
    }
}

#[test]
fn a_file_is_as_good_as_a_folder() {
    let path = fixture("llama3.gguf");
    let checkpoint = models::open(&path).unwrap();
    let class = checkpoint.architecture().unwrap();
    assert_eq!(class.name(), "LlamaForCausalLM");
    let layout = checkpoint.layout(class).unwrap();
    assert!(checkpoint.report(&layout).unwrap().is_exact());
    let config = &checkpoint.config;
    for (key, value) in [
        ("model_type", json!("llama")),
        ("hidden_size", json!(32)),
        ("num_key_value_heads", json!(2)),
        ("head_dim", json!(8)),
        ("rms_norm_eps", json!(1e-6)),
        ("tie_word_embeddings", json!(false)),
        ("vocab_size", json!(40)),
        ("rope_theta", json!(500000.0)),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
    // Nothing but the outcome of Llama 3's scaling stands in the file.
    let scaling = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    });
    assert_eq!(config["rope_scaling"], scaling);

    let summary = hub::inspect(&path, None, &formats()).unwrap();
    assert_eq!(summary.kind, "gguf");
    assert_eq!(summary.problem, None);
    assert!(summary.dtypes.contains_key("Q8_0") && summary.dtypes.contains_key("F32"));
    // What stands beside a file is not its own.
    assert!(checkpoint.beside("config.json").unwrap().is_none());
    assert!(checkpoint.companions().unwrap().is_empty());
}

#[test]
fn blocks_are_had_as_they_lie_with_rows_in_their_places() {
    let checkpoint = models::open(&fixture("llama.gguf")).unwrap();
    for name in [
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.self_attn.v_proj.weight",
    ] {
        let (kind, blocks) = checkpoint.blocks(name).unwrap().unwrap();
        assert_eq!(kind, BlockType::Q8_0);
        assert_eq!(
            kind.dequantise(&blocks),
            checkpoint.values(name).unwrap(),
            "{name}"
        );
    }
    // GPT-2's matrices lie the other way round.
    let other = models::open(&fixture("gpt2.gguf")).unwrap();
    let blocks = |name: &str| other.blocks(name).unwrap();
    assert!(blocks("transformer.h.0.attn.c_attn.weight").is_none());
    assert!(blocks("transformer.wte.weight").is_some());
    assert!(blocks("no.such").is_none());
}
