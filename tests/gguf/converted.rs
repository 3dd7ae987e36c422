//! Models as GGUF files and back, against what llama.cpp's converter makes of the same folder: Gemma's first, and
//! Phi-3 with longrope.

use std::fs;
use std::path::Path;

use melos::hub::gguf::{BlockType, GgufFile, Quant, export};
use melos::models::open;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support;

/// The model of `tests/fixtures/hf` with byte pairs as many as it has rows.
fn folder_of(name: &str, into: &TempDir) -> std::path::PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hf");
    let out = into.path().join(name);
    fs::create_dir(&out).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(from.join(name).join(file), out.join(file)).unwrap();
    }
    let letters = ('!'..='~').take(37).enumerate();
    let vocabulary: serde_json::Map<String, Value> = letters
        .map(|(id, letter)| (letter.to_string(), json!(id)))
        .collect();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    fs::write(out.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    out
}

#[test]
fn a_folder_becomes_what_the_converter_makes_of_it() {
    let folder = TempDir::new().unwrap();
    let all = support::json("converted.json");
    for (name, expected) in all.as_object().unwrap() {
        let (from, out) = (
            folder_of(name, &folder),
            folder.path().join(format!("{name}.gguf")),
        );
        let model = open(&from).unwrap();
        export(&model, &out, Quant::named("f32").unwrap()).unwrap();
        let file = GgufFile::open(&out).unwrap();
        let keys = expected["keys"].as_object().unwrap();
        assert!(keys.len() > 10, "{name}");
        for (key, wanted) in keys.iter().filter(|(key, _)| !key.starts_with("general.")) {
            // No window, as where there is no such key.
            if key == "phi3.attention.sliding_window" && *wanted == 0 {
                assert!(file.value(key).is_none());
                continue;
            }
            let found = match (file.number(key).unwrap(), file.text(key).ok().flatten()) {
                (Some(number), _) => json!(number),
                (None, text) => json!(text),
            };
            match (found.as_f64(), wanted.as_f64()) {
                (Some(found), Some(wanted)) => {
                    assert_eq!(found as f32, wanted as f32, "{name}: {key}")
                }
                _ => assert_eq!(found, *wanted, "{name}: {key}"),
            }
        }
        let tensors = expected["tensors"].as_object().unwrap();
        let mut names: Vec<&str> = file.names().collect();
        names.sort_unstable();
        let mut wanted: Vec<&str> = tensors.keys().map(String::as_str).collect();
        wanted.sort_unstable();
        assert_eq!(names, wanted, "{name}");
        for (tensor, wanted) in tensors {
            let (kind, bytes) = file.blocks(tensor).unwrap();
            assert_eq!(kind, BlockType::F32);
            let mut sides = file.tensor_info(tensor).unwrap().shape.clone();
            sides.reverse();
            let digest = Sha256::digest(bytes)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>();
            assert_eq!(json!([sides, digest]), *wanted, "{name}: {tensor}");
        }

        // And back: what was in the folder.
        let again = open(&out).unwrap();
        let layout = model.layout(model.architecture().unwrap()).unwrap();
        assert!(again.report(&layout).unwrap().is_exact(), "{name}");
        for tensor in model.names() {
            let [found, wanted] = [&again, &model].map(|m| m.values(tensor).unwrap());
            // Gemma's are 1 more there.
            let moved = name.starts_with("gemma") && tensor.contains("norm");
            let most = |x: f32| {
                if moved {
                    f32::EPSILON * (x.abs() + 1.0)
                } else {
                    0.0
                }
            };
            let near = |(a, b): (&f32, &f32)| (a - b).abs() <= most(*b);
            assert!(
                found.len() == wanted.len() && found.iter().zip(&wanted).all(near),
                "{name}: {tensor}"
            );
        }
        for key in [
            "model_type",
            "head_dim",
            "num_key_value_heads",
            "rms_norm_eps",
            "rope_theta",
        ] {
            let [ours, theirs] =
                [&again.config, &model.config].map(|c| c[key].as_f64().map(|x| x as f32));
            assert!(theirs.is_none() || ours == theirs, "{name}: {key}");
        }
        assert_eq!(again.config["model_type"], model.config["model_type"]);
    }
}
