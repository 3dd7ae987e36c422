//! Adapters as GGUF files, against what llama.cpp's `convert_lora_to_gguf.py` makes of the same adapter.

use std::fs;
use std::path::{Path, PathBuf};

use melos::hub::adapter;
use melos::hub::gguf::{GgufFile, export_adapter, import_adapter, is_adapter_file};
use melos::models::open;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::fixture;

fn hf(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hf");
    folder.join(name)
}

/// The numbers of a file's tensors.
fn numbers(file: &GgufFile) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let mut names: Vec<&str> = file.names().collect();
    names.sort_unstable();
    let of = |name: &str| {
        let (kind, bytes) = file.blocks(name).unwrap();
        let shape = file.tensor_info(name).unwrap().shape.clone();
        (name.to_string(), shape, kind.dequantise(bytes))
    };
    names.into_iter().map(of).collect()
}

/// The fixture's adapter, of which `change` changes the configuration.
fn changed(folder: &TempDir, change: impl Fn(&mut Value)) -> adapter::Adapter {
    let own = folder.path().join("changed");
    fs::create_dir_all(&own).unwrap();
    let weights = "adapter_model.safetensors";
    fs::copy(hf("llama_lora").join(weights), own.join(weights)).unwrap();
    let text = fs::read(hf("llama_lora").join("adapter_config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&text).unwrap();
    change(&mut config);
    fs::write(own.join("adapter_config.json"), config.to_string()).unwrap();
    adapter::read(&own).unwrap()
}

#[test]
fn an_adapter_is_written_as_llama_cpp_writes_it() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("adapter.gguf");
    let (base, own) = (
        open(&hf("llama_lm")).unwrap(),
        adapter::read(&hf("llama_lora")).unwrap(),
    );
    export_adapter(&base, &own, &out).unwrap();
    assert!(is_adapter_file(&out).unwrap());
    let [ours, theirs] = [&out, &fixture("llama_lora.gguf")].map(|p| GgufFile::open(p).unwrap());
    for key in [
        "general.architecture",
        "general.type",
        "adapter.type",
        "adapter.lora.alpha",
    ] {
        assert!(theirs.value(key).is_some(), "{key}");
        assert_eq!(ours.value(key), theirs.value(key), "{key}");
    }
    assert_eq!(numbers(&ours), numbers(&theirs));
    assert_eq!(numbers(&theirs).len(), 14);
    let again = export_adapter(&base, &own, &out).unwrap_err().to_string();
    assert!(again.contains("is there already"), "{again}");
}

/// Readers multiply by alpha / r alone.
#[test]
fn scales_of_their_own_go_into_the_numbers() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("adapter.gguf");
    let base = open(&hf("llama_lm")).unwrap();
    let own = changed(&folder, |config| {
        config["use_rslora"] = json!(true);
        config["alpha_pattern"] = json!({"q_proj": 12});
    });
    export_adapter(&base, &own, &out).unwrap();
    let [ours, plain] = [&out, &fixture("llama_lora.gguf")].map(|p| GgufFile::open(p).unwrap());
    let root = 2f64.sqrt();
    for ((name, _, found), (_, _, plain)) in numbers(&ours).iter().zip(&numbers(&plain)) {
        // 6 / √2 or 12 / √2 in place of 6 / 2.
        let factor = match (name.ends_with(".lora_b"), name.contains("attn_q")) {
            (false, _) => 1.0,
            (true, false) => root,
            (true, true) => 2.0 * root,
        };
        assert!(plain.iter().any(|x| *x != 0.0), "{name}");
        for (found, plain) in found.iter().zip(plain) {
            let wanted = f64::from(*plain) * factor;
            assert!(
                (f64::from(*found) - wanted).abs() <= 1e-6 * wanted.abs(),
                "{name}"
            );
        }
    }
}

#[test]
fn an_adapter_comes_back_as_it_was() {
    let folder = TempDir::new().unwrap();
    let base = open(&hf("llama_lm")).unwrap();
    let out = folder.path().join("back");
    import_adapter(&base, &fixture("llama_lora.gguf"), &out).unwrap();
    let (ours, theirs) = (
        adapter::read(&out).unwrap(),
        adapter::read(&hf("llama_lora")).unwrap(),
    );
    let layout = base.layout(base.architecture().unwrap()).unwrap();
    let [a, b] = [&ours, &theirs].map(|adapter| adapter.fit(&layout).unwrap().updates);
    assert_eq!(a.len(), 7);
    for (a, b) in a.iter().zip(&b) {
        assert_eq!(a.target, b.target);
        assert_eq!((a.a.values(), a.b.values()), (b.a.values(), b.b.values()));
    }
}

#[test]
fn what_has_no_place_in_such_a_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let (base, other) = (
        open(&hf("llama_lm")).unwrap(),
        open(&hf("qwen3_lm")).unwrap(),
    );
    let error = |done: melos::Result<()>| done.unwrap_err().to_string();
    let said = error(import_adapter(&other, &fixture("llama_lora.gguf"), &out));
    assert!(
        said.contains("adapts a llama, and the base is a qwen3"),
        "{said}"
    );
    let said = error(import_adapter(&base, &fixture("llama.gguf"), &out));
    assert!(said.contains("is no LoRA adapter"), "{said}");
    let said = open(&fixture("llama_lora.gguf")).unwrap_err().to_string();
    assert!(said.contains("is no model by itself"), "{said}");
    let bert = open(&hf("bert_classifier")).unwrap();
    let own = adapter::read(&hf("bert_lora")).unwrap();
    let said = error(export_adapter(&bert, &own, &folder.path().join("out.gguf")));
    assert!(said.contains("llama.cpp has no adapters for"), "{said}");
    let dora = adapter::read(&hf("llama_dora")).unwrap();
    let said = error(export_adapter(
        &base,
        &dora,
        &folder.path().join("out.gguf"),
    ));
    assert!(said.contains("DoRA") && said.contains("merge it"), "{said}");
    assert!(!out.exists());
}
