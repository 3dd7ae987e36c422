//! LoRA adapters: PEFT's matching rules, round trips, merging, refusals.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use melos::error::Error;
use melos::hub::adapter::{
    self, Adapter, AdapterConfig, Bias, Target, Targets, Update, Weights, merged_weight,
};
use melos::hub::{self, Architecture, Array, Checkpoint, Layout, SaveOptions};
use melos::models::{self, open};
use melos::nn::LinearShape;
use melos::ops::WeightLayout;
use serde_json::{Value, json as value};

use super::support::*;

const PAIRS: [(&str, &str); 5] = [
    ("bert_classifier", "bert_lora"),
    ("gpt2_lm", "gpt2_lora"),
    ("distilbert_classifier", "distilbert_lora"),
    ("roberta_classifier", "roberta_lora"),
    ("llama_lm", "llama_dora"),
];

fn opened(base: &str, lora: &str) -> (Checkpoint, Adapter) {
    let base = open(&fixture(base)).unwrap();
    (base, adapter::read(&fixture(lora)).unwrap())
}

#[test]
fn what_peft_wrote_is_written_again_to_the_byte() {
    for (base, lora) in PAIRS {
        let (base, adapter) = opened(base, lora);
        let layout = base.layout(base.architecture().unwrap()).unwrap();
        let weights = adapter.fit(&layout).unwrap();
        let out = tempfile::tempdir().unwrap();
        let out = out.path().join("again");
        adapter::save(&out, &adapter.config, &layout, &weights).unwrap();
        let bytes = |at: &Path| fs::read(at.join("adapter_model.safetensors")).unwrap();
        assert!(
            bytes(&out) == bytes(&fixture(lora)),
            "{lora}: weights differ"
        );
        let (ours, theirs) = (
            json(&out.join("adapter_config.json")),
            json(&fixture(lora).join("adapter_config.json")),
        );
        for (key, ours) in ours.as_object().unwrap() {
            // Where PEFT has nothing at all, an empty default says the same.
            assert_eq!(theirs.get(key), Some(ours), "{lora}: {key}");
        }
        // What PEFT must be told: all that it does not take for granted.
        for key in [
            "r",
            "lora_alpha",
            "target_modules",
            "fan_in_fan_out",
            "peft_type",
            "task_type",
        ] {
            assert_eq!(ours[key], theirs[key], "{lora}: {key}");
        }
        for key in [
            "use_rslora",
            "use_dora",
            "rank_pattern",
            "alpha_pattern",
            "modules_to_save",
            "bias",
        ] {
            assert_eq!(ours[key], theirs[key], "{lora}: {key}");
        }
    }
}

#[test]
fn merged_weights_are_those_of_peft() {
    for (base, lora) in PAIRS {
        let (base, adapter) = opened(base, lora);
        let (model, report) = adapter::merge(&base, &adapter).unwrap();
        assert!(report.is_exact(), "{report}");
        let expected = read_raw(&fixture(&format!("{lora}.safetensors")));
        let expected: Vec<_> = (expected.iter())
            .filter_map(|(name, raw)| Some((name.strip_prefix("merged.")?, raw.values())))
            .collect();
        assert!(!expected.is_empty());
        for (name, array) in &model.tensors {
            let ours = array.values();
            let Some((_, theirs)) = expected.iter().find(|(n, _)| n == name) else {
                assert_eq!(ours, base.values(name).unwrap(), "{name} was not adapted");
                continue;
            };
            assert_ne!(
                Some(ours.to_vec()),
                base.values(name).ok(),
                "{name} was adapted"
            );
            for (a, b) in ours.iter().zip(theirs) {
                // PEFT sums up to four products, scales and adds in f32: a few roundings of numbers
                // below 4; here there is one.
                assert!(
                    (a - b).abs() <= 4.0 * 4.0 * f32::EPSILON,
                    "{name}: {a}, PEFT has {b}"
                );
            }
        }
        let out = tempfile::tempdir().unwrap();
        let out = out.path().join("merged");
        hub::save(&out, &model, &SaveOptions::default()).unwrap();
        let merged = open(&out).unwrap();
        assert!(merged.names().eq(base.names()));
    }
}

#[test]
fn a_merge_computes_exactly_in_either_layout() {
    // Numbers whose products and sums f32 holds exactly: W + 0.5·B·A.
    for fan_in_fan_out in [false, true] {
        let linear = LinearShape {
            layout: if fan_in_fan_out {
                WeightLayout::InOut
            } else {
                WeightLayout::OutIn
            },
            ..LinearShape::new(3, 2)
        };
        let array = |shape: &[usize], values: &[f32]| Array::new(shape, values.to_vec()).unwrap();
        let update = Update {
            target: Target {
                module: "m".into(),
                linear,
                rank: 2,
                scale: 0.5,
            },
            a: array(&[2, 3], &[1.0, 2.0, 3.0, -1.0, 0.0, 4.0]),
            b: array(&[2, 2], &[2.0, 4.0, -6.0, 8.0]),
            magnitude: None,
        };
        let (shape, base, expected) = match fan_in_fan_out {
            false => (
                [2, 3],
                [10., 20., 30., 40., 50., 60.],
                [9., 22., 41., 33., 44., 67.],
            ),
            true => (
                [3, 2],
                [10., 40., 20., 50., 30., 60.],
                [9., 33., 22., 44., 41., 67.],
            ),
        };
        assert_eq!(merged_weight(&array(&shape, &base), &update), expected);
    }
}

/// What placing an altered bert_lora on a base says.
fn unfit(base: &str, tensors: impl FnOnce(&mut Tensors), config: impl FnOnce(&mut Value)) -> Error {
    let dir = adapter("bert_lora", tensors, config);
    let adapter = adapter::read(dir.path()).unwrap();
    refused(adapter::adapt(&open(&fixture(base)).unwrap(), &adapter))
}

#[test]
fn every_tensor_needs_a_place_and_every_place_its_tensor() {
    const QUERY: &str = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight";
    let base = "bert_classifier";
    let rename = |to: &'static str| {
        move |tensors: &mut Tensors| {
            let found = tensors.iter_mut().find(|(name, _)| name == QUERY);
            found.unwrap().0 = to.into();
        }
    };
    let another = "belongs to another base model";
    let misspelt = "base_model.model.bert.encoder.layer.0.attention.self.qeury.lora_A.weight";
    says(
        unfit(base, rename(misspelt), same),
        &[
            "'bert.encoder.layer.0.attention.self.query.lora_A.weight': is missing",
            another,
        ],
    );
    says(
        unfit(
            base,
            |t| t.push((misspelt.into(), Raw::f32(&[2, 16], &[0.0; 32]))),
            same,
        ),
        &[
            misspelt,
            "has no place in a BertForSequenceClassification",
            another,
        ],
    );
    says(
        unfit(
            base,
            rename("bert.encoder.layer.0.attention.self.query.lora_A.weight"),
            same,
        ),
        &["has no place: PEFT's names begin with 'base_model.model.'"],
    );
    let embedding = "base_model.model.bert.embeddings.word_embeddings.lora_embedding_A";
    says(
        unfit(base, rename(embedding), same),
        &[embedding, "adapts an embedding"],
    );
    says(
        unfit(base, |t| get(t, QUERY).shape = vec![4, 8], same),
        &[QUERY, "has shape [4, 8], expected [2, 16]", another],
    );
    let nan = |t: &mut Tensors| get(t, QUERY).bytes[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
    says(unfit(base, nan, same), &[QUERY, "holds NaN", "diverged"]);
    says(
        unfit(base, kept, |c| c["r"] = 3.into()),
        &["has shape [2, 16], expected [3, 16]"],
    );
    says(
        unfit(base, kept, |c| c["target_modules"] = value!(["query"])),
        &["value.lora_A.weight': has no place"],
    );
    says(
        unfit(base, kept, |c| {
            c["target_modules"] = value!(["query", "value", "key"])
        }),
        &["key.lora_A.weight': is missing"],
    );
    says(
        unfit(base, kept, |c| c["modules_to_save"] = Value::Null),
        &["'base_model.model.classifier.bias': has no place"],
    );
    says(
        unfit(base, kept, |c| c["bias"] = "lora_only".into()),
        &["query.bias': is missing, which adapter_config.json asks for"],
    );
    // The base has one layer only, or is another model altogether.
    says(
        unfit("bert_token_classifier", kept, same),
        &["layer.1.attention.self", "has no place", another],
    );
    says(
        unfit("gpt2_lm", kept, same),
        &["target_modules match nothing in a GPT2ForSequenceClassification"],
    );
    says(
        unfit(base, kept, |c| c["task_type"] = "SEQ_2_SEQ_LM".into()),
        &["an adapter for the task SEQ_2_SEQ_LM, which melos has no bert for"],
    );
    // The adapter brings a head, the base lacks more than that.
    let folder = model(
        "bert_pretraining",
        |t| t.retain(|(n, _)| !n.contains("pooler")),
        same,
    );
    let dir = adapter("bert_lora", kept, same);
    let adapter = adapter::read(dir.path()).unwrap();
    says(
        refused(adapter::merge(&open(folder.path()).unwrap(), &adapter)),
        &["lacks 2 tensors of the model: bert.pooler.dense.weight, bert.pooler.dense.bias"],
    );
}

#[test]
fn a_head_of_the_adapter_makes_the_class() {
    // PEFT's usual case: the base was pretrained, the adapter classifies into three.
    let base = open(&fixture("bert_pretraining")).unwrap();
    let adapter = adapter::read(&fixture("bert_lora")).unwrap();
    let (model, report) = adapter::merge(&base, &adapter).unwrap();
    assert_eq!(model.architecture, class("BertForSequenceClassification"));
    assert_eq!((report.missing.len(), report.unexpected.len()), (0, 7));
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("merged");
    hub::save(&out, &model, &SaveOptions::default()).unwrap();
    let merged = open(&out).unwrap();
    assert_eq!(merged.config["id2label"]["2"], "LABEL_2");
    let head = "base_model.model.classifier.weight";
    let mut raw = read_raw(&fixture("bert_lora").join("adapter_model.safetensors"));
    assert_eq!(
        merged.values("classifier.weight").unwrap(),
        get(&mut raw, head).values()
    );
}

/// Weights of the right names and shapes, of no meaning.
fn invented<'a>(config: &AdapterConfig, model: &Layout, whole: &[&str]) -> Weights<'a> {
    let bare = model.architecture.is_bare();
    let zeros = |shape: &[usize]| {
        let values = Cow::from(vec![0.5f32; shape.iter().product()]);
        Array::new(shape, values).unwrap()
    };
    let targets = config.targets(model, bare, Path::new("")).unwrap();
    Weights {
        updates: (targets.into_iter())
            .map(|target| Update {
                a: zeros(&[target.rank, target.linear.inputs]),
                b: zeros(&[target.linear.outputs, target.rank]),
                magnitude: (config.use_dora).then(|| zeros(&[target.linear.outputs])),
                target,
            })
            .collect(),
        whole: (whole.iter())
            .map(|name| (name.to_string(), zeros(model.shape(name).unwrap())))
            .collect(),
        ..Weights::default()
    }
}

#[test]
fn names_in_files_are_those_that_peft_gives() {
    // As PEFT 0.21 wrote them, for each of these.
    let base = open(&fixture("bert_mlm")).unwrap();
    let names_of = |class: Architecture, fields: Value, whole: &[&str]| {
        let model = base.layout(class).unwrap();
        let config = config(fields);
        let weights = invented(&config, &model, whole);
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("adapter");
        adapter::save(&out, &config, &model, &weights).unwrap();
        let again = adapter::read(&out).unwrap();
        let back = again.fit(&model).unwrap();
        assert_eq!(back.elements(), weights.elements());
        assert!(back.whole.keys().eq(weights.whole.keys()));
        let raw = read_raw(&out.join("adapter_model.safetensors"));
        let names: Vec<String> = (raw.into_iter())
            .map(|(name, _)| name.strip_prefix("base_model.model.").unwrap().to_string())
            .collect();
        (names, again.config)
    };
    let (names, config) = names_of(
        class("BertModel"),
        value!({"task_type": "FEATURE_EXTRACTION", "target_modules": "encoder.*(query)", "bias": "lora_only"}),
        &["bert.encoder.layer.0.attention.self.query.bias"],
    );
    let query = "encoder.layer.0.attention.self.query";
    let parts = ["base_layer.bias", "lora_A.weight", "lora_B.weight"];
    assert_eq!(names, parts.map(|part| format!("{query}.{part}")));
    assert_eq!(config.bias, Bias::LoraOnly);
    assert_eq!(
        config.target_modules,
        Some(Targets::Pattern("encoder.*(query)".into()))
    );

    let all: Vec<String> = (base
        .layout(class("BertForMaskedLM"))
        .unwrap()
        .tensors
        .into_iter())
    .filter_map(|(name, _)| name.ends_with(".bias").then_some(name))
    .collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let (names, config) = names_of(
        class("BertForMaskedLM"),
        value!({"bias": "all", "lora_alpha": 12.5}),
        &all,
    );
    // Twelve biases, the decoder's copy, two layers with A and B.
    assert_eq!(names.len(), all.len() + 1 + 4);
    assert!(names.contains(&"cls.predictions.decoder.bias".to_string()));
    assert!(names.contains(&format!("bert.{query}.base_layer.bias")));
    assert!(names.contains(&"bert.embeddings.LayerNorm.bias".to_string()));
    // What PEFT would have taken for granted is said.
    let said = Targets::Names(vec!["query".into(), "value".into()]);
    assert_eq!(
        (config.target_modules, config.lora_alpha),
        (Some(said), 12.5)
    );
}

#[test]
fn adapters_are_written_only_whole() {
    let model = gpt2();
    let config = config(value!({"target_modules": ["c_attn"], "r": 2}));
    let dir = tempfile::tempdir().unwrap();
    let save = |config: &AdapterConfig, weights: &Weights| {
        let out = dir.path().join("out");
        let error = refused(adapter::save(&out, config, &model, weights));
        assert!(
            fs::read_dir(dir.path()).unwrap().next().is_none(),
            "something was left"
        );
        error
    };
    let good = invented(&config, &model, &[]);
    let mut fewer = good.clone();
    fewer.updates.pop();
    says(
        save(&config, &fewer),
        &["asks for 2 layers and 0 whole tensors, others were trained"],
    );
    let more = invented(&config, &model, &["transformer.ln_f.weight"]);
    says(save(&config, &more), &["others were trained"]);
    let mut wrong = good.clone();
    wrong.updates[0].a = Array::new(&[3, 16], vec![0.0; 48]).unwrap();
    says(
        save(&config, &wrong),
        &["asks for rank 2 in 'transformer.h.0.attn.c_attn', A has shape [3, 16]"],
    );
    let mut none = config.clone();
    none.r = 0;
    says(
        save(&none, &good),
        &["out/adapter_config.json: has rank r = 0"],
    );

    // The embedding is the output layer: PEFT would train a copy of it, unless told.
    let mut tied = config.clone();
    tied.modules_to_save = Some(vec!["wte".into()]);
    let weights = invented(&tied, &model, &["transformer.wte.weight"]);
    says(
        save(&tied, &weights),
        &[
            "'transformer.wte' in modules_to_save",
            "set ensure_weight_tying",
        ],
    );
    tied.ensure_weight_tying = true;
    adapter::save(&dir.path().join("out"), &tied, &model, &weights).unwrap();
}

#[test]
fn the_trainable_share_is_what_peft_counts() {
    // print_trainable_parameters() on the fixtures' models.
    for ((base, lora), (trainable, all)) in PAIRS.into_iter().zip([(307, 5166), (448, 4952)]) {
        // Found where the adapter says: beside it.
        let summary = hub::inspect(&fixture(lora), None, &models::formats()).unwrap();
        let figures = summary.adapter.clone().unwrap();
        assert_eq!(
            (figures.base.as_deref(), figures.trainable, figures.all),
            (Some(base), trainable, Some(all))
        );
        let share = figures.share().unwrap();
        assert!(
            (share - 100.0 * trainable as f64 / all as f64).abs() < 1e-9,
            "{share}"
        );
        assert_eq!((summary.kind, summary.parameters), ("adapter", trainable));
    }
    let dir = adapter("bert_lora", kept, |c| {
        c["base_model_name_or_path"] = "far/away".into()
    });
    let figures = hub::inspect(dir.path(), None, &models::formats())
        .unwrap()
        .adapter
        .unwrap();
    assert_eq!((figures.all, figures.share()), (None, None));
    let figures = hub::inspect(
        dir.path(),
        Some(&fixture("bert_classifier")),
        &models::formats(),
    )
    .unwrap()
    .adapter;
    assert_eq!(figures.unwrap().all, Some(5166));
}

/// What an adapter names as its base is looked for from where melos runs, then in the folder that the
/// adapter itself lies in; nowhere else, so that a folder inside of the adapter is not taken for it.
#[test]
fn the_base_of_an_adapter_is_found_by_one_rule() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let copy = |from: &Path, to: &Path| {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    let named = |base: &str| {
        copy(&fixture("bert_lora"), &at("lora"));
        let file = at("lora/adapter_config.json");
        let mut config = json(&file);
        config["base_model_name_or_path"] = base.into();
        fs::write(&file, config.to_string()).unwrap();
        adapter::read(&at("lora")).unwrap().base_folder()
    };
    let base = fixture("bert_classifier");
    copy(&base, &at("lora/inside"));
    copy(&base, &at("beside"));
    assert_eq!(named(&base.display().to_string()).unwrap(), base);
    assert_eq!(named("beside").unwrap(), at("beside"));
    says(
        refused(named("inside")),
        &["base model 'inside', which is not there", "--base DIR"],
    );
    says(
        refused(named("")),
        &["does not name its base model", "--base DIR"],
    );
    // Training, inference and `inspect` go by the same rule.
    named("beside").unwrap();
    let opened = models::Pretrained::open(&at("lora"), None).unwrap();
    assert_eq!(opened.base, Some(at("beside")));
    let summary = hub::inspect(&at("lora"), None, &models::formats()).unwrap();
    assert!(summary.adapter.unwrap().all.is_some());
}
