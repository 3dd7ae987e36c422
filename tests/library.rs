//! melos as a library: the examples that README and guides show, and the same runs as a program makes them.
#![cfg(feature = "train")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use melos::hub::Head;
use melos::models::{MaskedTokens, Network};
use melos::nn::Param;
use melos::objectives::batch::{Batch, Batches, Named, Targets};
use melos::objectives::criterion::{Criterion, Purpose, Setup, Tally};
use melos::objectives::feed::Feed;
use melos::objectives::scores::Scores;
use melos::objectives::{Classify, Labelled, Mlm, Objective, WrongOption};
use melos::prelude::*;
use melos::text::{Keep, LabelledBatch, LabelledBatches, LabelledOptions};
use melos::train::config::{
    Budget, DataConfig, Lora, ModelConfig, RunConfig, StageConfig, TokenizerConfig, TokenizerKind,
    TransformerModel,
};
use melos::train::progress::Quiet;
use melos::train::run::{Outcome, Start};
use melos::train::{StopFlag, train};
use serde::{Deserialize, Serialize};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn run(config: RunConfig, out: &Path) -> Outcome {
    let start = Start::New {
        config: Box::new(config),
        out: Some(out.to_path_buf()),
    };
    train(start, None, &mut Quiet, &StopFlag::default()).unwrap()
}

/// A BERT of a few hundred parameters, after a few steps of masked LM.
fn base(folder: &Path) -> PathBuf {
    let sizes = TransformerModel {
        hidden: 16,
        layers: 2,
        heads: 2,
        max_positions: 64,
        ..TransformerModel::default()
    };
    let model = ModelConfig::Transformer("bert", sizes);
    let stage = StageConfig {
        budget: Budget::Steps(3),
        batch: 4,
        ..StageConfig::pretrain("mlm", Mlm::default())
    };
    let config = RunConfig {
        tokenizer: TokenizerConfig {
            kind: TokenizerKind::Wordpiece,
            vocabulary: 400,
            min_frequency: 1,
            ..TokenizerConfig::default()
        },
        stages: vec![stage],
        ..RunConfig::new("base", model, DataConfig::files(data("unlabelled.txt")))
    };
    run(config, folder).model().unwrap()
}

/// An example, built with the profile, the features and, from the package's folder, the settings of cargo
/// that this test has: what was built for it is used again.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    // TARGET/PROFILE/deps/TEST
    let folders: Vec<&Path> = test.ancestors().collect();
    let profile = match folders[2].file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        own => own,
    };
    let features = [
        ("default", cfg!(feature = "default")),
        ("train", cfg!(feature = "train")),
        ("fetch", cfg!(feature = "fetch")),
        ("cli", cfg!(feature = "cli")),
    ];
    let on: Vec<&str> = (features.into_iter())
        .filter_map(|(name, on)| on.then_some(name))
        .collect();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--example", name, "--profile", profile])
        .args(["--no-default-features", "--features", &on.join(",")])
        .arg("--target-dir")
        .arg(folders[3])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.unwrap().success());
    Command::new(folders[2].join("examples").join(name))
}

#[test]
fn a_run_from_a_program_leaves_what_the_command_line_leaves_and_answers() {
    let place = tempfile::tempdir().unwrap();
    let base = base(&place.path().join("base"));
    let stage = StageConfig {
        init: Some(base.display().to_string()),
        lora: Some(Lora::default()),
        lr: 1e-2,
        optimizer: OptimizerKind::default(),
        budget: Budget::Steps(4),
        batch: 8,
        ..StageConfig::finetune("lora", Classify::default())
    };
    let config = RunConfig {
        stages: vec![stage],
        ..RunConfig::pretrained("reviews", DataConfig::files(data("reviews.csv")))
    };
    let folder = place.path().join("lora");
    let outcome = run(config, &folder);
    let Outcome::Finished { report, .. } = &outcome else {
        panic!("was interrupted");
    };
    assert!(report.table().contains("lora"), "{}", report.table());
    for file in ["config.toml", "metrics.jsonl", "results.json"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    let adapter = outcome.model().unwrap();
    assert!(adapter.join("adapter_config.json").is_file());
    let mut model = melos::open(&adapter).unwrap();
    let answers = melos::predict(model.as_mut(), ["wonderful from the first scene"]).unwrap();
    let labels: Vec<&str> = (answers[0].probabilities.iter())
        .map(|(label, _)| label.as_str())
        .collect();
    assert_eq!(labels, ["negative", "positive"]);
    let sum: f32 = answers[0].probabilities.iter().map(|(_, p)| p).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    let scores = model
        .evaluate(&DataConfig::files(data("reviews_test.csv")))
        .unwrap();
    assert!(scores.examples > 0);

    // The example, as a user runs it, on the same base.
    let shown = example("finetune_lora")
        .args([&base, &data("reviews.csv")])
        .current_dir(place.path())
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&shown.stdout),
        String::from_utf8_lossy(&shown.stderr),
    );
    assert!(shown.status.success(), "{out}{err}");
    assert!(out.contains("the best adapter: "), "{out}");
    assert!(out.contains("rarely is a film this good: "), "{out}");
    assert!(err.contains("step"), "no progress: {err}");
    let adapter = place
        .path()
        .join("runs/reviews-001/lora/model/adapter_config.json");
    assert!(adapter.is_file(), "{}", adapter.display());
}

/// An objective of a program's own: to say each token of a text again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Echo {
    max_len: usize,
}

impl Objective for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn about(&self) -> &'static str {
        "each token again"
    }

    fn labels(&self) -> Labelled {
        Labelled::None
    }

    fn head(&self) -> Option<Head> {
        Some(Head::MaskedLm)
    }

    fn length(&self) -> usize {
        self.max_len
    }

    fn check(&self) -> Result<(), WrongOption> {
        Ok(())
    }

    fn criterion(&self, setup: Setup) -> Result<Box<dyn Criterion>> {
        Ok(Box::new(Echoes {
            max_len: self.max_len,
            setup,
        }))
    }
}

struct Echoes {
    max_len: usize,
    setup: Setup,
}

impl Criterion for Echoes {
    fn title(&self) -> String {
        "echo".into()
    }

    fn batches(&self, docs: &[u32], purpose: Purpose) -> Result<Box<dyn Batches>> {
        let options = LabelledOptions {
            batch: self.setup.batch,
            max_len: self.max_len,
            keep: Keep::Head,
            buckets: true,
            shuffle: purpose != Purpose::Scoring,
        };
        let (documents, vocabulary) = (
            self.setup.documents.clone(),
            self.setup.tokenizer.vocabulary(),
        );
        let stream = LabelledBatches::new(documents, docs, vocabulary, options, 1)?;
        let work = docs.len() as u64;
        Ok(Box::new(Named::new(stream, work, |b: LabelledBatch| {
            let (ids, time) = (b.inputs.ids.clone(), b.inputs.time);
            let lens = b.inputs.lens.clone();
            let said = |at: usize| {
                if at % time < lens[at / time] as usize {
                    ids[at] as i32
                } else {
                    -1
                }
            };
            let targets = Targets::classes((0..ids.len()).map(said).collect());
            let all = (0..ids.len() as u32).collect();
            Batch::of_rows(b.inputs)
                .rows("all", all, ids.len())
                .targets("targets", targets)
        })))
    }

    fn loss(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Tensor> {
        let model = network.as_masked_lm().expect("a masked LM");
        let (targets, weights) = feed.targets("targets")?;
        let masked = MaskedTokens {
            rows: feed.rows("all")?,
            targets,
            weights,
        };
        model.loss(tape, &feed.tokens()?, &masked)
    }

    fn tally(&self) -> Box<dyn Tally + '_> {
        Box::new(Mean(0.0, 0))
    }
}

struct Mean(f64, u64);

impl Tally for Mean {
    fn add(&mut self, batch: &Batch, outputs: &[Tensor]) -> Result<()> {
        let count = batch.count("targets") as u64;
        self.0 += f64::from(outputs[0].to_vec::<f32>()?[0]) * count as f64;
        self.1 += count;
        Ok(())
    }

    fn scores(&self) -> Result<Scores> {
        Scores::mean(self.0, self.1)
    }
}

#[test]
fn an_objective_of_ones_own_is_trained_and_scored_like_any() {
    let place = tempfile::tempdir().unwrap();
    let base = base(&place.path().join("base"));
    let stage = StageConfig {
        init: Some(base.display().to_string()),
        lr: 3e-2,
        budget: Budget::Steps(30),
        batch: 8,
        eval_every: Some(10),
        ..StageConfig::pretrain("echo", Echo { max_len: 24 })
    };
    let config = RunConfig {
        stages: vec![stage],
        ..RunConfig::pretrained("echo", DataConfig::files(data("unlabelled.txt")))
    };
    let folder = place.path().join("run");
    let Outcome::Finished { report, .. } = run(config, &folder) else {
        panic!("was interrupted");
    };
    let metrics = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let losses: Vec<f64> = (metrics.lines())
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["event"] == "loss")
        .map(|line| line["loss"].as_f64().unwrap())
        .collect();
    assert!(losses[29] < 0.8 * losses[0], "{losses:?}");
    let scores = report.units[0].validation.as_ref().unwrap();
    assert!(scores.loss < losses[0], "{scores:?}");
    let written = std::fs::read_to_string(folder.join("config.toml")).unwrap();
    assert!(written.contains("objective = \"echo\""), "{written}");
}

#[allow(dead_code)]
#[path = "../examples/own_model.rs"]
mod own_model;

#[test]
fn the_example_of_a_model_of_ones_own_runs() {
    own_model::main().unwrap();
}

struct Line(Linear);

impl Line {
    fn new(v: &Vars) -> Result<Line> {
        Ok(Line(v.linear("line", 1, 1)?))
    }
}

/// y = 2x + 1 is found, and comes back from the file with the same bits; another model's file does not.
#[test]
fn a_model_of_ones_own_learns_and_is_saved_and_loaded() {
    let (gpu, v) = (common::gpu(), Vars::new());
    let model = Line::new(&v).unwrap();
    let mut trainer = Trainer::new(&gpu, &v, OptimizerKind::ADAM, 1).unwrap();
    let x = Tensor::from_slice(&gpu, [4, 1], &[0f32, 1.0, 2.0, 3.0]).unwrap();
    let y = Tensor::from_slice(&gpu, [4, 1], &[1f32, 3.0, 5.0, 7.0]).unwrap();
    let weights = Tensor::from_slice(&gpu, [4], &[0.25f32; 4]).unwrap();
    let step = trainer
        .record(|tape| ops::squared_error(tape, &model.0.forward(tape, &x)?, &y, &weights))
        .unwrap();
    for _ in 0..600 {
        trainer.step(&step, 0.05).unwrap();
    }
    assert!(step.loss().unwrap() < 1e-4, "{}", step.loss().unwrap());
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("line.safetensors");
    trainer.save(&file).unwrap();
    let loaded = load(&gpu, &file, Line::new).unwrap();
    for (a, b) in [
        (&model.0.weight, &loaded.0.weight),
        (
            model.0.bias.as_ref().unwrap(),
            loaded.0.bias.as_ref().unwrap(),
        ),
    ] {
        let [a, b] = [a, b].map(|p| p.get().unwrap().to_vec::<f32>().unwrap());
        assert_eq!(a, b);
        assert!(
            (a[0] - if a[0] > 1.5 { 2.0 } else { 1.0 }).abs() < 0.05,
            "{a:?}"
        );
    }
    let wider = |v: &Vars| v.linear("line", 2, 1);
    let refused = load(&gpu, &file, wider).err().unwrap().to_string();
    assert!(
        refused.contains("line.weight") && refused.contains("expected"),
        "{refused}"
    );
    let other = |v: &Vars| v.linear("curve", 1, 1);
    let refused = load(&gpu, &file, other).err().unwrap().to_string();
    assert!(refused.contains("no tensor of this model"), "{refused}");
}

/// A layer with a buffer: what it divides by is saved with the model and never trained.
struct Scaled(Linear, Param);

impl Scaled {
    fn new(v: &Vars) -> Result<Scaled> {
        let scale = v.buffer("scale", [1, 1], Init::Constant(4.0))?;
        Ok(Scaled(v.linear("line", 1, 1)?, scale))
    }
}

#[test]
fn a_buffer_is_saved_and_loaded_and_never_trained() {
    let (gpu, v) = (common::gpu(), Vars::new());
    let model = Scaled::new(&v).unwrap();
    let mut trainer = Trainer::new(&gpu, &v, OptimizerKind::ADAMW, 1).unwrap();
    assert_eq!(trainer.parameters(), 2, "a buffer is no parameter");
    assert!(model.1.get().unwrap().grad().is_none());
    let x = Tensor::from_slice(&gpu, [1, 1], &[2f32]).unwrap();
    let y = Tensor::from_slice(&gpu, [1, 1], &[3f32]).unwrap();
    let weights = Tensor::from_slice(&gpu, [1], &[1f32]).unwrap();
    let before = model.0.weight.get().unwrap().to_vec::<f32>().unwrap();
    let step = trainer
        .record(|tape| {
            let scaled = ops::mul(tape, &model.0.forward(tape, &x)?, &model.1.get()?)?;
            ops::squared_error(tape, &scaled, &y, &weights)
        })
        .unwrap();
    for _ in 0..5 {
        trainer.step(&step, 0.1).unwrap();
    }
    let after = model.0.weight.get().unwrap().to_vec::<f32>().unwrap();
    assert_ne!(before, after);
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("scaled.safetensors");
    trainer.save(&file).unwrap();
    let loaded = load(&gpu, &file, Scaled::new).unwrap();
    assert_eq!(loaded.1.get().unwrap().to_vec::<f32>().unwrap(), [4.0]);
    let weight = loaded.0.weight.get().unwrap().to_vec::<f32>().unwrap();
    assert_eq!(weight, after);
}

#[test]
fn pages_show_the_examples_as_they_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, page) in [
        ("finetune_lora", "docs/guides/rust.md"),
        ("own_model", "README.md"),
    ] {
        let shown = std::fs::read_to_string(root.join(page)).unwrap();
        let file = root.join(format!("examples/{name}.rs"));
        let text = std::fs::read_to_string(file).unwrap();
        let code = &text[text.find("\nuse ").unwrap()..];
        assert!(
            shown.contains(code.trim()),
            "{name}.rs is another in {page}"
        );
        let lines = code.lines().filter(|line| !line.trim().is_empty());
        assert!(
            lines.count() <= 30,
            "{name}.rs has more than 30 lines of code"
        );
    }
}
