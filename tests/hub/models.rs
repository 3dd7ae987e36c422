//! Models: round trips, spellings, element types, shards.

use std::collections::BTreeMap;
use std::fs;

use melos::hub::{self, Array, FloatType, LoadReport, Model, SaveOptions, complete};
use melos::models::{self, architecture, open};
use serde_json::json as value;

use super::support::*;

#[test]
fn what_transformers_wrote_is_written_again_to_the_byte() {
    for name in MODELS {
        let folder = fixture(name);
        let checkpoint = open(&folder).unwrap();
        let model = whole(&checkpoint);
        let layout = checkpoint.layout(model.architecture).unwrap();
        let mut report = checkpoint.report(&layout).unwrap();
        if model.architecture.is_bare() {
            let prefix = checkpoint.format.prefix;
            report
                .renamed
                .retain(|r| r.to != format!("{prefix}{}", r.from));
        }
        assert_eq!(report, LoadReport::default(), "{name}");

        let out = tempfile::tempdir().unwrap();
        let out = out.path().join("again");
        hub::save(&out, &model, &SaveOptions::default()).unwrap();
        let list = |folder: &std::path::Path| {
            let entries = fs::read_dir(folder).unwrap();
            let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(list(&out), list(&folder), "{name}");
        let bytes = |folder: &std::path::Path| fs::read(folder.join("model.safetensors")).unwrap();
        assert!(bytes(&out) == bytes(&folder), "{name}: weights differ");
        let (ours, theirs) = (
            json(&out.join("config.json")),
            json(&folder.join("config.json")),
        );
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn a_model_from_scratch_has_every_key_that_transformers_writes() {
    for name in MODELS {
        let theirs = json(&fixture(name).join("config.json"));
        let architecture = architecture(theirs["architectures"][0].as_str().unwrap());
        // What a model knows of itself: no more than sizes, rates, ids and labels.
        let mut own = theirs.clone();
        let keys = own.as_object_mut().unwrap();
        for key in ["architectures", "dtype", "model_type", "initializer_range"] {
            keys.remove(key).unwrap();
        }
        keys.remove("use_cache");
        keys.insert("_name_or_path".into(), "somewhere".into());
        keys.insert("torch_dtype".into(), "float16".into());
        let ours = complete(&own, architecture.unwrap(), FloatType::F32);
        assert_eq!(ours, theirs, "{name}");
    }
    let ours = complete(&value!({}), class("GPT2LMHeadModel"), FloatType::Bf16);
    for id in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        assert_eq!(ours.get(id), Some(&value!(null)), "{id} is always there");
    }
    assert_eq!(ours["dtype"], "bfloat16");
    // A copy of a tied tensor is not written; an output layer of its own is.
    for tied in [true, false] {
        let config = value!({"tie_word_embeddings": tied});
        let ours = complete(&config, class("BertForMaskedLM"), FloatType::F32);
        assert_eq!(ours["tie_word_embeddings"], tied);
    }
}

#[test]
fn a_generating_model_gets_the_generation_config_that_transformers_writes() {
    let folder = fixture("gpt2_lm");
    let checkpoint = open(&folder).unwrap();
    let mut model = whole(&checkpoint);
    model.companions.clear();
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("out");
    hub::save(&out, &model, &SaveOptions::default()).unwrap();
    let file = "generation_config.json";
    assert_eq!(json(&out.join(file)), json(&folder.join(file)));

    // A classifier does not generate, whatever stood beside its base.
    let base = open(&fixture("gpt2_classifier")).unwrap();
    let mut model = whole(&base);
    model.companions = vec![
        (file.into(), b"{}".to_vec()),
        ("1_Pooling/config.json".into(), b"{}".to_vec()),
    ];
    let out = out.with_file_name("classifier");
    hub::save(&out, &model, &SaveOptions::default()).unwrap();
    assert!(!out.join(file).exists());
    assert_eq!(fs::read(out.join("1_Pooling/config.json")).unwrap(), b"{}");
}

#[test]
fn old_spellings_copies_and_buffers_are_read_and_reported() {
    let cases = [
        (
            "bert_pretraining",
            "bert",
            "bert.embeddings.word_embeddings.weight",
        ),
        ("gpt2_lm", "gpt2", "transformer.wte.weight"),
    ];
    for (name, family, words) in cases {
        let new = open(&fixture(name)).unwrap();
        let old = model(
            name,
            |tensors| {
                let table = get(tensors, words).clone();
                let add = |tensors: &mut Tensors, name: &str, raw| tensors.push((name.into(), raw));
                match family {
                    "bert" => {
                        let bias = get(tensors, "cls.predictions.bias").clone();
                        add(tensors, "cls.predictions.decoder.weight", table);
                        add(tensors, "cls.predictions.decoder.bias", bias);
                        add(tensors, "bert.embeddings.position_ids", Raw::i64(&[1, 14]));
                    }
                    _ => {
                        add(tensors, "lm_head.weight", table);
                        add(
                            tensors,
                            "transformer.h.0.attn.bias",
                            Raw::i64(&[1, 1, 14, 14]),
                        );
                        add(tensors, "transformer.h.1.attn.masked_bias", Raw::i64(&[]));
                    }
                }
                spell_old(family, tensors);
            },
            same,
        );
        let checkpoint = open(old.path()).unwrap();
        let layout = checkpoint
            .layout(checkpoint.architecture().unwrap())
            .unwrap();
        let report = checkpoint.report(&layout).unwrap();
        assert!(report.is_exact(), "{report}");
        for name in new.names() {
            assert_eq!(
                checkpoint.values(name).unwrap(),
                new.values(name).unwrap(),
                "{name}"
            );
        }
        let ignored: Vec<&str> = report.ignored.iter().map(|i| i.name.as_str()).collect();
        let expected: &[&str] = match family {
            "bert" => &[
                "embeddings.position_ids",
                "cls.predictions.decoder.weight",
                "cls.predictions.decoder.bias",
            ],
            _ => &["h.0.attn.bias", "h.1.attn.masked_bias", "lm_head.weight"],
        };
        assert_eq!(ignored, expected);
        let heads = new
            .names()
            .filter(|n| n.starts_with("cls.") && !n.contains("LayerNorm"));
        assert_eq!(report.renamed.len(), new.names().count() - heads.count());
        let text = report.to_string();
        assert!(
            text.contains(" renamed: ") && text.contains("3 ignored: "),
            "{text}"
        );
    }
}

#[test]
fn a_tied_copy_stands_for_an_original_that_is_not_there() {
    let folder = model(
        "gpt2_lm",
        |tensors| {
            for (name, _) in tensors.iter_mut() {
                if name == "transformer.wte.weight" {
                    *name = "lm_head.weight".into();
                }
            }
        },
        same,
    );
    let checkpoint = open(folder.path()).unwrap();
    let words = "transformer.wte.weight";
    let original = open(&fixture("gpt2_lm")).unwrap();
    assert_eq!(
        checkpoint.values(words).unwrap(),
        original.values(words).unwrap()
    );
}

#[test]
fn a_checkpoint_of_another_class_misses_the_head_and_brings_its_own() {
    let checkpoint = open(&fixture("bert_pretraining")).unwrap();
    let layout = checkpoint
        .layout(class("BertForTokenClassification"))
        .unwrap();
    let report = checkpoint.report(&layout).unwrap();
    assert_eq!(report.missing, ["classifier.weight", "classifier.bias"]);
    assert_eq!(report.unexpected.len(), 2 + 5 + 2);
    assert!(
        report
            .unexpected
            .contains(&"bert.pooler.dense.bias".to_string())
    );
    let head = |name: &str| name.starts_with("classifier.");
    report.require(&checkpoint.path, head).unwrap();
    says(
        refused(report.require(&checkpoint.path, |_| false)),
        &[
            "bert_pretraining: lacks 2 tensors",
            "classifier.weight, classifier.bias",
        ],
    );
    let text = report.to_string();
    assert!(
        text.starts_with("2 missing (they begin anew): classifier.weight"),
        "{text}"
    );
    assert!(
        text.contains("9 unexpected (not read): ") && text.contains(" and 3 more"),
        "{text}"
    );
}

#[test]
fn narrow_types_hold_the_nearest_numbers() {
    let checkpoint = open(&fixture("bert_mlm")).unwrap();
    let model = whole(&checkpoint);
    let dir = tempfile::tempdir().unwrap();
    // Half a unit in the last place: 11 and 8 bits of precision. Below f16's smallest normal number
    // the spacing is 2^-24.
    for (dtype, name, half_ulp) in [
        (FloatType::F16, "float16", 2f32.powi(-11)),
        (FloatType::Bf16, "bfloat16", 2f32.powi(-8)),
    ] {
        let out = dir.path().join(name);
        let options = SaveOptions {
            dtype: Some(dtype),
            ..SaveOptions::default()
        };
        hub::save(&out, &model, &options).unwrap();
        let narrow = open(&out).unwrap();
        assert_eq!(narrow.config["dtype"], name);
        assert_eq!(narrow.float_type(), dtype);
        assert!(narrow.names().eq(checkpoint.names()));
        for name in checkpoint.names() {
            let (a, b) = (
                checkpoint.values(name).unwrap(),
                narrow.values(name).unwrap(),
            );
            assert_ne!(a, b, "{name} was rounded");
            for (a, b) in a.iter().zip(b) {
                let bound = (half_ulp * a.abs()).max(2f32.powi(-25));
                assert!((a - b).abs() <= bound, "{name}: {a} became {b}");
            }
        }
        // Written again as it is, nothing changes any more.
        let again = dir.path().join(format!("{name}-again"));
        hub::save(&again, &whole(&narrow), &SaveOptions::default()).unwrap();
        let bytes = |f: &std::path::Path| fs::read(f.join("model.safetensors")).unwrap();
        assert!(bytes(&again) == bytes(&out));
    }
}

#[test]
fn shards_hold_what_one_file_holds() {
    let checkpoint = open(&fixture("bert_pretraining")).unwrap();
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("shards");
    let limit = 3000;
    let options = SaveOptions {
        max_shard_bytes: limit,
        ..SaveOptions::default()
    };
    hub::save(&out, &whole(&checkpoint), &options).unwrap();
    assert!(!out.join("model.safetensors").exists());
    let index = json(&out.join("model.safetensors.index.json"));
    let total: usize = (checkpoint.names())
        .map(|n| checkpoint.info(n).unwrap().shape.iter().product::<usize>())
        .sum();
    assert_eq!(
        index["metadata"],
        value!({"total_parameters": total, "total_size": 4 * total})
    );

    let sharded = open(&out).unwrap();
    let files: Vec<_> = sharded.files().collect();
    assert!(files.len() > 5, "{files:?}");
    let last = format!("model-{0:05}-of-{0:05}.safetensors", files.len());
    assert!(out.join(last).is_file());
    for file in &files {
        let held: usize = read_raw(file).iter().map(|(_, raw)| raw.bytes.len()).sum();
        assert!(held as u64 <= limit, "{}: {held}", file.display());
    }
    for name in checkpoint.names() {
        assert_eq!(
            sharded.values(name).unwrap(),
            checkpoint.values(name).unwrap()
        );
    }
    // The index is as good a path as the folder, and one shard can be looked at by itself.
    let by_index = open(&out.join("model.safetensors.index.json")).unwrap();
    assert!(by_index.names().eq(checkpoint.names()));
    let one = open(files[0]).unwrap();
    assert!(one.names().count() < checkpoint.names().count());
    assert_eq!(one.format.model_type, "bert");
}

#[test]
fn a_class_without_head_is_written_without_prefix() {
    let checkpoint = open(&fixture("bert_pretraining")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("encoder");
    let class = Some(class("BertModel"));
    let (class, report) = hub::convert(&checkpoint, &out, class, &SaveOptions::default()).unwrap();
    assert_eq!((class.name(), report.unexpected.len()), ("BertModel", 7));
    let names: Vec<String> = (read_raw(&out.join("model.safetensors")).into_iter())
        .map(|(name, _)| name)
        .collect();
    assert!(
        names.contains(&"embeddings.LayerNorm.bias".to_string()),
        "{names:?}"
    );
    assert!(
        names
            .iter()
            .all(|n| !n.starts_with("bert.") && !n.starts_with("cls."))
    );
    assert_eq!(
        json(&out.join("config.json"))["architectures"],
        value!(["BertModel"])
    );

    // In every spelling it is the same model, and so it comes back.
    let encoder = open(&out).unwrap();
    for (n, (bare, legacy)) in [(true, true), (false, true), (false, false)]
        .into_iter()
        .enumerate()
    {
        let options = SaveOptions {
            bare: Some(bare),
            legacy_names: legacy,
            ..SaveOptions::default()
        };
        let out = dir.path().join(n.to_string());
        hub::convert(&encoder, &out, None, &options).unwrap();
        let raw = read_raw(&out.join("model.safetensors"));
        let norm = format!(
            "{}embeddings.LayerNorm.{}",
            if bare { "" } else { "bert." },
            if legacy { "gamma" } else { "weight" }
        );
        assert!(raw.iter().any(|(name, _)| *name == norm), "{norm}");
        let again = open(&out).unwrap();
        for name in encoder.names() {
            assert_eq!(
                again.values(name).unwrap(),
                checkpoint.values(name).unwrap()
            );
        }
    }
}

#[test]
fn unknown_models_are_opened_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let tensors = vec![("wte.weight".to_string(), Raw::f32(&[2, 1], &[1.0, -2.0]))];
    write_raw(&dir.path().join("model.safetensors"), &tensors);
    fs::write(dir.path().join("config.json"), r#"{"model_type": "mamba"}"#).unwrap();
    let checkpoint = open(dir.path()).unwrap();
    assert_eq!(checkpoint.format.model_type, "");
    assert_eq!(checkpoint.values("wte.weight").unwrap(), [1.0, -2.0]);
    says(
        refused(checkpoint.architecture()),
        &["is no model that melos knows (model_type mamba)"],
    );
    // Without a configuration the names decide.
    let file = dir.path().join("weights.safetensors");
    write_raw(&file, &tensors);
    fs::remove_file(dir.path().join("config.json")).unwrap();
    let bare = open(&file).unwrap();
    assert_eq!(bare.format.model_type, "gpt2");
    assert_eq!(bare.architecture().unwrap(), class("GPT2LMHeadModel"));
    let summary = hub::inspect(&file, None, &models::formats()).unwrap();
    assert_eq!(
        (summary.kind, summary.parameters, summary.bytes),
        ("file", 2, 8)
    );
    assert_eq!(summary.tensors[0].name, "transformer.wte.weight");
}

#[test]
fn a_model_is_written_only_whole() {
    let checkpoint = open(&fixture("gpt2_lm")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let try_save = |alter: &dyn Fn(&mut BTreeMap<String, Array<'_>>)| {
        let mut model: Model = whole(&checkpoint);
        alter(&mut model.tensors);
        let out = dir.path().join("out");
        let error = refused(hub::save(&out, &model, &SaveOptions::default()));
        assert!(
            fs::read_dir(dir.path()).unwrap().next().is_none(),
            "something was left"
        );
        error
    };
    let words = "transformer.wte.weight";
    let missing = try_save(&|tensors| drop(tensors.remove(words)));
    says(
        missing,
        &[
            "cannot be written as a GPT2LMHeadModel",
            "has no 'transformer.wte.weight'",
        ],
    );
    let extra = try_save(&|tensors| {
        tensors.insert("score.weight".into(), Array::new(&[1], vec![0.0]).unwrap());
    });
    says(extra, &["has no tensor 'score.weight'"]);
    let shape = try_save(&|tensors| {
        tensors.insert(words.into(), Array::new(&[1], vec![0.0]).unwrap());
    });
    says(
        shape,
        &["'transformer.wte.weight' has shape [1]", "[37, 16]"],
    );
}

/// Two classes of LSTMs have the same tensors: what their configuration says tells them apart.
#[test]
fn an_lstm_says_itself_what_it_was_trained_for() {
    let dir = tempfile::tempdir().unwrap();
    let gates = |inputs| Raw::f32(&[8, inputs], &[0.5; 24][..8 * inputs]);
    let bias = || Raw::f32(&[8], &[0.0; 8]);
    let tensors: Vec<(String, Raw)> = [
        ("decoder.bias", Raw::f32(&[5], &[0.0; 5])),
        ("decoder.weight", Raw::f32(&[5, 2], &[0.25; 10])),
        ("embedding.weight", Raw::f32(&[5, 3], &[0.1; 15])),
        ("lstm.bias_hh_l0", bias()),
        ("lstm.bias_ih_l0", bias()),
        ("lstm.weight_hh_l0", gates(2)),
        ("lstm.weight_ih_l0", gates(3)),
    ]
    .map(|(name, raw)| (name.to_string(), raw))
    .into();
    write_raw(&dir.path().join("model.safetensors"), &tensors);
    for (objective, name) in [
        (r#""language_model", "bptt": 7"#, "LstmLanguageModel"),
        (
            r#""autoencoder", "max_len": 7, "kept_end": "head""#,
            "SequenceAutoencoder",
        ),
    ] {
        let config = format!(
            r#"{{"model_type": "melos-lstm", "objective": {objective}, "lstm": {{
                "vocab_size": 5, "embedding_size": 3, "hidden_size": 2, "num_layers": 1,
                "bidirectional": false, "head_size": 0, "cell_clip": 0.0,
                "embedding_dropout": 0.0, "layer_dropout": 0.0, "output_dropout": 0.0}}}}"#
        );
        fs::write(dir.path().join("config.json"), config).unwrap();
        let checkpoint = open(dir.path()).unwrap();
        let class = checkpoint.architecture().unwrap();
        assert_eq!(class.name(), name);
        let report = checkpoint.report(&checkpoint.layout(class).unwrap());
        assert!(report.unwrap().is_exact());
        let classifier = models::architecture("LstmClassifier").unwrap();
        assert!(classifier.format.is_head("decoder.weight"));
        assert!(!classifier.format.is_head("lstm.weight_hh_l0"));
    }
}
