//! Adapters beside the weights of a model that is asked: its logits are those of the merged model.

use std::path::{Path, PathBuf};

use melos::hub::adapter::{self, merge_all};
use melos::hub::{self, Head, SaveOptions};
use melos::models::{Beside, Pretrained, Tokens, open};
use melos::nn::Vars;
use melos::ops::{RowSelection, TokenIds};
use melos::tensor::{DType, ParamStore, Rule, Tape, Tensor};

use crate::common::fixture::fixtures;
use crate::common::gpu;
use crate::reference::{assert_near, cast, tolerance};

const IDS: [u32; 9] = [3, 17, 5, 30, 8, 11, 2, 36, 9];

fn hf(name: &str) -> PathBuf {
    fixtures().join("hf").join(name)
}

fn logits(folder: &Path, adapters: &[(PathBuf, f64)]) -> Vec<f32> {
    let beside = Beside {
        base: None,
        adapters,
    };
    let source = Pretrained::open_beside(folder, beside).unwrap();
    assert_eq!(source.plan.is_empty(), adapters.is_empty());
    let vars = Vars::new();
    let network = source.config.build(&vars, Head::CausalLm).unwrap();
    vars.adapt(&source.plan).unwrap();
    let gpu = gpu();
    let store = ParamStore::with_rules(&gpu, vars.specs(), 0, |_| Rule {
        lr_scale: 0.0,
        decays: false,
        level: 0,
        dtype: DType::F32,
    });
    let store = store.unwrap();
    source.load(&store, &[]).unwrap();
    vars.bind(&store).unwrap();
    vars.measure(|_| false).unwrap();
    let ids = TokenIds::from_host(&gpu, 1, IDS.len(), &IDS).unwrap();
    let lens = Tensor::from_slice(&gpu, [1], &[IDS.len() as u32]).unwrap();
    let rows = RowSelection::empty(&gpu, IDS.len(), IDS.len()).unwrap();
    rows.write(&(0..IDS.len() as u32).collect::<Vec<_>>())
        .unwrap();
    let lm = network.as_causal_lm().unwrap();
    let logits = lm.logits(&Tape::inference(&gpu), &Tokens::new(&ids, &lens), &rows);
    logits.unwrap().to_vec::<f32>().unwrap()
}

#[test]
fn adapters_beside_a_model_are_as_merged_into_it() {
    let base = open(&hf("llama_lm")).unwrap();
    let plain = logits(&hf("llama_lm"), &[]);
    let cases: [&[(&str, f64)]; 4] = [
        &[("llama_lora", 1.0)],
        &[("llama_lora", -0.5)],
        &[("llama_lora", 0.5), ("llama_lora", 1.25)],
        &[("llama_dora", 1.0)],
    ];
    for case in cases {
        let read = |(name, weight): &(&str, f64)| (adapter::read(&hf(name)).unwrap(), *weight);
        let adapters: Vec<_> = case.iter().map(read).collect();
        let others: Vec<_> = adapters[1..].iter().map(|(a, w)| (a, *w)).collect();
        let (model, _) = merge_all(&base, &adapters[0].0, adapters[0].1, &others).unwrap();
        let out = tempfile::tempdir().unwrap();
        let merged = out.path().join("merged");
        hub::save(&merged, &model, &SaveOptions::default()).unwrap();
        let want = logits(&merged, &[]);
        let paths: Vec<_> = case.iter().map(|(name, w)| (hf(name), *w)).collect();
        let what = format!("{case:?}");
        let found = logits(&hf("llama_lm"), &paths);
        assert_near(&what, &found, &cast(&want), tolerance::TRANSFORMER);
        let far = |(a, b): (&f32, &f32)| (a - b).abs() > 0.01;
        assert!(found.iter().zip(&plain).any(far), "{what} changes nothing");
    }
}

#[test]
fn what_does_not_belong_beside_a_model_is_refused() {
    let error = |folder: &str, adapters: &[(PathBuf, f64)]| {
        let beside = Beside {
            base: None,
            adapters,
        };
        let opened = Pretrained::open_beside(&hf(folder), beside);
        opened.err().unwrap().to_string()
    };
    let said = error("qwen3_lm", &[(hf("llama_lora"), 1.0)]);
    assert!(said.contains("belongs to another base model"), "{said}");
    let said = error("llama_lm", &[(hf("llama_dora"), 0.5)]);
    assert!(said.contains("DoRA") && said.contains("alone"), "{said}");
    let said = error("llama_lm", &[(hf("llama_lm"), 1.0)]);
    assert!(said.contains("is no adapter folder"), "{said}");
}
