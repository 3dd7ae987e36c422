//! Llama and its kin with each of their heads, and adapted.

use melos::models::llama::LlamaConfig;
use melos::nn::{LoraPlan, LoraUpdate, Vars};
use serde_json::Value;

use crate::common::fixture::fixtures;
use crate::common::gpu;
use crate::reference::tolerance;
use crate::support::{self, Model};
use crate::{decoders, encoders};

fn config(folder: &str) -> LlamaConfig {
    LlamaConfig::from_json(&support::config(folder)).unwrap()
}

fn language_model(name: &str, folder: &str, plan: &LoraPlan) -> (Model, Vars) {
    let v = Vars::new();
    let lm = config(folder).language_model(&v).unwrap();
    let model = Model::new(gpu(), name, folder, &v, plan);
    decoders::language_model(&model, &lm);
    (model, v)
}

macro_rules! language_models_are_transformers {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            language_model(stringify!($name), stringify!($name), &LoraPlan::default());
        }
    )*};
}

language_models_are_transformers! {
    llama_lm mistral_lm qwen2_lm qwen3_lm gemma_lm gemma2_lm gemma3_lm phi3_lm
}

#[test]
fn classifier_is_transformers() {
    let (name, v) = ("llama_classifier", Vars::new());
    let classifier = config(name).classifier(&v).unwrap();
    let model = Model::new(gpu(), name, name, &v, &LoraPlan::default());
    decoders::classifier(&model, &classifier);
}

#[test]
fn token_classifier_is_transformers() {
    let (name, v) = ("llama_token_classifier", Vars::new());
    let tagger = config(name).tagger(&v).unwrap();
    let model = Model::new(gpu(), name, name, &v, &LoraPlan::default());
    encoders::labels_tokens(&model, &tagger);
}

/// On all linear layers but the last.
fn adapted() -> LoraPlan {
    let v = Vars::new();
    config("llama_lm").language_model(&v).unwrap();
    let update = LoraUpdate {
        rank: 2,
        scale: 3.0,
        dropout: 0.0,
        part: None,
    };
    let modules = v.linears().into_iter();
    LoraPlan {
        modules: modules
            .map(|(name, _)| (name, vec![update.clone()]))
            .collect(),
        modules_to_save: vec![],
        ..LoraPlan::default()
    }
}

#[test]
fn lora_is_pefts() {
    let plan = adapted();
    assert_eq!(plan.modules.len(), 7);
    language_model("llama_lora", "llama_lm", &plan);
}

/// Rows of learned lengths.
fn weight_decomposed() -> LoraPlan {
    let update = LoraUpdate {
        rank: 3,
        scale: 2.0,
        dropout: 0.0,
        part: None,
    };
    let layers = ["self_attn.q_proj", "mlp.down_proj"];
    LoraPlan {
        dora: true,
        ..LoraPlan::of(layers.map(|l| format!("model.layers.0.{l}")), &update)
    }
}

#[test]
fn dora_is_pefts() {
    let (model, _) = language_model("llama_dora", "llama_lm", &weight_decomposed());
    model.covers_all();
}

#[test]
fn merged_adapters_are_pefts() {
    for (name, plan) in [
        ("llama_lora", adapted()),
        ("llama_dora", weight_decomposed()),
    ] {
        let v = Vars::new();
        let _lm = config("llama_lm").language_model(&v).unwrap();
        let model = Model::new(gpu(), name, "llama_lm", &v, &plan);
        v.merge().unwrap();
        let merged = model.fixture.names("merged.");
        assert_eq!(merged.len(), plan.modules.len());
        for name in merged {
            let param = model.store.get(&name).unwrap();
            model.near(&format!("merged.{name}"), &param, tolerance::MATMUL);
        }
    }
}

/// Of real models' settings and of each kind of scaling: the angles of transformers.
#[test]
fn rotary_angles_are_transformers() {
    let cases = std::fs::read_to_string(fixtures().join("rope.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&cases).unwrap();
    assert_eq!(cases.len(), 8);
    for case in &cases {
        let config = LlamaConfig::from_json(&case["config"]).unwrap();
        let (frequencies, scale) = config
            .angles(case["length"].as_u64().unwrap() as usize)
            .unwrap();
        let kind = &case["config"]["rope_parameters"]["rope_type"];
        let want = case["frequencies"].as_array().unwrap().iter();
        let want: Vec<f64> = want.map(|f| f.as_f64().unwrap()).collect();
        for (got, want) in frequencies.iter().zip(&want) {
            let off = (f64::from(*got) - want).abs() / want;
            assert!(off < 3e-7, "{kind}: {got} for {want}");
        }
        assert_eq!(frequencies.len(), want.len());
        let want = case["scale"].as_f64().unwrap();
        assert!((f64::from(scale) - want).abs() < 1e-6 * want, "{kind}");
    }
}

#[test]
fn angles_that_cannot_be_are_refused() {
    let with = |rope: Value| {
        let mut json = support::config("llama_lm");
        json["rope_parameters"] = rope;
        LlamaConfig::from_json(&json).map(drop)
    };
    for (rope, said) in [
        (serde_json::json!({"rope_type": "linear"}), "no factor"),
        (
            serde_json::json!({"rope_type": "linear", "factor": 0.0}),
            "no numbers",
        ),
        (
            serde_json::json!({"rope_type": "linear", "factor": "two"}),
            "factor",
        ),
        (serde_json::json!({"rope_type": "spiral"}), "spiral"),
        (serde_json::json!({"rope_theta": 0.5}), "above 1"),
        (
            serde_json::json!({"rope_type": "longrope", "short_factor": [1.0]}),
            "short_factor",
        ),
    ] {
        let error = with(rope.clone()).unwrap_err().to_string();
        assert!(
            error.contains("rope") && error.contains(said),
            "{rope}: {error}"
        );
    }
    with(serde_json::json!({"rope_type": "linear", "factor": 2.0})).unwrap();
}
