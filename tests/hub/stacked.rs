//! Several adapters in one base.

use std::fs;

use melos::hub::adapter::{self, Adapter, merge_all};
use melos::models::open;
use serde_json::{Value, json as value};

use super::support::*;

/// The adapter of the fixtures, with another alpha.
fn twin(folder: &tempfile::TempDir, alpha: u64) -> Adapter {
    let own = folder.path().join("twin");
    fs::create_dir_all(&own).unwrap();
    let weights = "adapter_model.safetensors";
    fs::copy(fixture("llama_lora").join(weights), own.join(weights)).unwrap();
    let mut config: Value = json(&fixture("llama_lora").join("adapter_config.json"));
    config["lora_alpha"] = value!(alpha);
    fs::write(own.join("adapter_config.json"), config.to_string()).unwrap();
    adapter::read(&own).unwrap()
}

#[test]
fn several_adapters_add_up_by_their_weights() {
    let folder = tempfile::tempdir().unwrap();
    let base = open(&fixture("llama_lm")).unwrap();
    let first = adapter::read(&fixture("llama_lora")).unwrap();
    let second = twin(&folder, 10);
    let others = [(&second, -0.75), (&first, 2.0)];
    let (model, _) = merge_all(&base, &first, 0.5, &others).unwrap();
    // Rank 2, alphas 6 and 10.
    let factor = 0.5 * 3.0 - 0.75 * 5.0 + 2.0 * 3.0;
    let layout = base.layout(base.architecture().unwrap()).unwrap();
    let updates = first.fit(&layout).unwrap().updates;
    assert_eq!(updates.len(), 7);
    for update in updates {
        let name = format!("{}.weight", update.target.module);
        let (plain, found) = (base.values(&name).unwrap(), model.tensors[&name].values());
        let (a, b) = (update.a.values(), update.b.values());
        let (inputs, rank) = (update.target.linear.inputs, update.target.rank);
        for (at, (plain, found)) in plain.iter().zip(found.iter()).enumerate() {
            let (o, i) = (at / inputs, at % inputs);
            let product = |r: usize| f64::from(b[o * rank + r]) * f64::from(a[r * inputs + i]);
            let wanted = f64::from(*plain) + factor * (0..rank).map(product).sum::<f64>();
            let off = (f64::from(*found) - wanted).abs();
            assert!(
                off <= 1e-6 * wanted.abs().max(0.1),
                "{name}: {found} {wanted}"
            );
        }
    }
    let words = "model.embed_tokens.weight";
    assert_eq!(model.tensors[words].values(), base.values(words).unwrap());
}

#[test]
fn what_adapters_hold_whole_is_not_added_up() {
    let base = open(&fixture("bert_classifier")).unwrap();
    let own = adapter::read(&fixture("bert_lora")).unwrap();
    for (weight, others) in [(0.5, vec![]), (1.0, vec![(&own, 1.0)])] {
        let error = merge_all(&base, &own, weight, &others)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("whole"), "{error}");
    }
    assert!(merge_all(&base, &own, 1.0, &[]).is_ok());
    // Nor is what has lengths, which are of the whole.
    let base = open(&fixture("llama_lm")).unwrap();
    let [dora, lora] =
        ["llama_dora", "llama_lora"].map(|name| adapter::read(&fixture(name)).unwrap());
    for (first, weight, others) in [
        (&dora, 0.5, vec![]),
        (&dora, 1.0, vec![(&lora, 1.0)]),
        (&lora, 1.0, vec![(&dora, 1.0)]),
    ] {
        let error = merge_all(&base, first, weight, &others).err().unwrap();
        assert!(error.to_string().contains("DoRA"), "{error}");
    }
}
