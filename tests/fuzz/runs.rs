//! Files of melos's own: run files, checkpoints, the cache, what a run folder holds.

use std::fs;

use melos::Error;
use melos::hub::Array;
use melos::text::documents::tokenise;
use melos::text::{Source, Tokenizer};
use melos::train::artifacts::checkpoints::Checkpoints;
use melos::train::artifacts::fingerprint::Fingerprint;
use melos::train::artifacts::log::{self, MetricsLog};
use melos::train::estimate::DataSizes;
use melos::train::report::UnitResult;
use melos::train::state::TrainerState;
use melos::train::tasks::planned;
use melos::train::{Overrides, RunConfig, TensorMap};
use sha2::{Digest, Sha256};

use crate::engine::{Target, files, fixture, folder, joined, most, write_files};

pub fn run_file() -> Target {
    Target {
        seeds: [
            "../../presets/demo.toml",
            "../../presets/hashire-merosu.toml",
            "../../presets/bert-mlm-nsp.toml",
            "../../presets/gpt2.toml",
            "../../presets/finetune.toml",
            "fuzz/seeds/run.toml",
        ]
        .map(fixture)
        .to_vec(),
        words: &[
            "[[stage]]",
            "[model]",
            "[data]",
            "[tokenizer]",
            "[scale.small]",
            "kind",
            "pretrain",
            "finetune",
            "evaluate",
            "objective",
            "classify",
            "lm",
            "sa",
            "mlm",
            "clm",
            "words",
            "joint",
            "budget",
            "steps",
            "epochs",
            "tokens",
            "lr",
            "batch",
            "bptt",
            "max_len",
            "schedule",
            "warmup",
            "cosine",
            "optimizer",
            "adamw",
            "sgd",
            "lora",
            "rank",
            "targets",
            "init",
            "seeds",
            "folds",
            "run_folds",
            "hidden",
            "layers",
            "heads",
            "dropout",
            "precision",
            "f16",
            "freeze",
            ".*",
            "(",
            "memory_limit",
            "1 PB",
            "lr_scale",
            "1979-05-27",
            "inf",
            "nan",
            "'''",
            "\"\"\"",
            "= {",
            "}",
            "[",
            "]",
            ".",
        ],
        read: Box::new(|_, input| {
            let Ok(text) = std::str::from_utf8(input) else {
                return Err(Error::FileMissing {
                    path: "text".into(),
                });
            };
            let mut config = RunConfig::parse(text, "run.toml", &Overrides::default())?;
            let sets = text.lines().filter(|line| line.contains('=')).take(3);
            let overrides = Overrides {
                scale: Some("small".into()),
                set: sets.map(str::to_string).collect(),
                ..Overrides::default()
            };
            let _ = RunConfig::parse(text, "run.toml", &overrides);
            config.settle();
            let _ = Fingerprint::of_settings(&config);
            let data = DataSizes {
                vocabulary: config.tokenizer.vocabulary,
                classes: 2,
            };
            for stage in config.stages.iter().take(8) {
                let _ = planned(&config, stage, data).map(|estimate| estimate.total());
            }
            Ok(())
        }),
    }
}

/// The sums that a folder's files should have.
fn sums(files: &[(&str, &[u8])]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let line = |(name, bytes): &(&str, &[u8])| format!("{}  {name}\n", hex(&Sha256::digest(bytes)));
    files.iter().map(line).collect()
}

pub fn checkpoint() -> Target {
    let kept = folder();
    let state = TrainerState {
        unit: "a.1".into(),
        step: 7,
        tokens: 100,
        train_seconds: 0.5,
        spent: Default::default(),
        seconds: 1.5,
        seed: 1,
        evaluated: false,
        best: Some((0.5, 7)),
        tie: 0.0,
        since_best: 0,
        loss: None,
        position: serde_json::json!({ "epoch": 0, "batch": 7 }),
        sealed: true,
    };
    let array = Array::new(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap();
    let tensors = TensorMap::from([("weight".to_string(), array)]);
    let saved = Checkpoints::new(kept.path(), 1)
        .save(&tensors, &state)
        .unwrap();
    const NAMES: [&str; 3] = ["trainer.json", "tensors.safetensors", "SHA256SUMS"];
    let contents = NAMES.map(|name| fs::read(saved.join(name)).unwrap());
    let whole: Vec<(&str, &[u8])> = NAMES
        .iter()
        .zip(&contents)
        .map(|(n, c)| (*n, &c[..]))
        .collect();
    let seed = joined(&whole);
    Target {
        seeds: vec![seed],
        words: &[
            "step",
            "unit",
            "best",
            "sealed",
            "true",
            "false",
            "position",
            "F32",
            "F16",
            "shape",
            "@@ SHA256SUMS\n",
        ],
        read: Box::new(move |folder, input| {
            let path = folder.join("checkpoint-7");
            fs::create_dir_all(&path).unwrap();
            write_files(&path, input, &NAMES);
            // Of most inputs the sums are right, and what lies behind them is read.
            if most(input) {
                let found: Vec<(String, Vec<u8>)> = (files(input).into_iter())
                    .filter(|(name, _)| NAMES[..2].contains(&name.as_str()))
                    .map(|(name, _)| (name.clone(), fs::read(path.join(name)).unwrap()))
                    .collect();
                let mut found: Vec<(&str, &[u8])> =
                    found.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
                found.sort();
                fs::write(path.join("SHA256SUMS"), sums(&found)).unwrap();
            }
            let all = Checkpoints::new(folder, 1);
            let _ = all.resume();
            let result = Checkpoints::load(&path).map(drop);
            let _ = Checkpoints::new(folder, 1).from_last_good(true).resume();
            for entry in fs::read_dir(folder).unwrap() {
                let _ = fs::remove_dir_all(entry.unwrap().path());
            }
            result
        }),
    }
}

pub fn cache() -> Target {
    let kept = folder();
    let data = kept.path().join("data.csv");
    fs::write(&data, "text,label\na good film,pos\nbad,neg\nfine,pos\n").unwrap();
    let tokenizer =
        Tokenizer::train_on(["a good film", "bad fine good a"], &Default::default()).unwrap();
    let sources = [Source::new(&data)];
    let made = kept.path().join("cache");
    tokenise(&sources, &tokenizer, Some(&made)).unwrap();
    let name = fs::read_dir(&made)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .file_name();
    let whole = fs::read(made.join(&name)).unwrap();
    Target {
        seeds: vec![whole],
        words: &[
            "MELOSTOK",
            "\0\0\0\0",
            "\u{7f}\u{7f}",
            "\"key\"",
            "\"label_names\"",
            "[]",
            "pos",
        ],
        read: Box::new(move |folder, input| {
            let mut bytes = input.to_vec();
            // The digest of what lies behind the header, then of the header: right but for few.
            if most(input) {
                let end = bytes.len().saturating_sub(32);
                if let Some((header, payload)) = bytes[..end].split_at_checked(64) {
                    let digest = Sha256::new()
                        .chain_update(payload)
                        .chain_update(header)
                        .finalize();
                    bytes[end..].copy_from_slice(&digest);
                }
            }
            let _ = &kept;
            fs::write(folder.join(&name), bytes).unwrap();
            let documents = tokenise(&sources, &tokenizer, Some(folder))?;
            let kept = documents.from_cache();
            for doc in 0..documents.len() as u32 + 1 {
                let _ = (
                    documents.texts(doc),
                    documents.label(doc),
                    documents.continues(doc, 0),
                );
            }
            let _ = (
                documents.labelled(),
                documents.in_pieces(2, true, tokenizer.vocabulary()).len(),
            );
            match kept {
                true => Ok(()),
                false => Err(Error::EmptyText {
                    path: folder.into(),
                }),
            }
        }),
    }
}

pub fn records() -> Target {
    let scores = r#"{"loss":0.5,"examples":4,"tokens":9}"#;
    let done = format!(
        r#"{{"unit":"a","stage":"a","seed":1,"fold":null,"steps":3,"tokens":9,"tokens_per_second":1.5,"seconds":2,"best_step":3,"validation":null,"test":null,"x":{scores}}}"#
    );
    let lines = b"{\"unit\":\"a\",\"step\":1,\"loss\":0.5}\n{\"unit\":\"a\",\"step\":2,\"split\":\"validation\"}\n{\"unit\":\"a\",\"step\":9,\"split\":\"test\"}\n";
    let run = String::from_utf8(fixture("fuzz/seeds/run.toml")).unwrap();
    let config = RunConfig::parse(&run, "run.toml", &Overrides::default()).unwrap();
    let kept = folder();
    let now = Fingerprint::of_settings(&config).unwrap();
    now.write(kept.path()).unwrap();
    let fingerprint = fs::read(kept.path().join("fingerprint.json")).unwrap();
    let names = ["done.json", "metrics.jsonl", "fingerprint.json"];
    Target {
        seeds: vec![joined(&[
            ("done.json", done.as_bytes()),
            ("metrics.jsonl", lines),
            ("fingerprint.json", &fingerprint),
        ])],
        words: &[
            "unit",
            "step",
            "split",
            "test",
            "validation",
            "null",
            "{",
            "}",
            "\n",
            "settings",
            "data",
        ],
        read: Box::new(move |folder, input| {
            write_files(folder, input, &names);
            let metrics = folder.join("metrics.jsonl");
            if metrics.exists() {
                let _ = log::read(&metrics);
                MetricsLog::open(&metrics)?.rewind("a", 1, false)?;
            }
            let found = Fingerprint::read(folder)?.map(|was| was.changes(&now));
            UnitResult::read(folder)?;
            found.map(drop).ok_or(Error::FileMissing {
                path: folder.into(),
            })
        }),
    }
}
