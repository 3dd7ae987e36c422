//! Whole runs with a toy task: resume, divergence, best checkpoints, repeats, files.

mod longer;
#[path = "../train_support/mod.rs"]
mod train_support;

use std::fs;
use std::path::{Path, PathBuf};

use melos::error::{Error, Result};
use melos::train::artifacts::checkpoints::Checkpoints;
use melos::train::progress::Quiet;
use melos::train::run::{Outcome, Start, resolve_model, train, units};
use melos::train::state::read_tensors;
use melos::train::*;
use train_support::{Plot, Toy, run_file};

const RUN: &str = r#"
name = "toy"
data = { source = "demo" }
[[stage]]
name = "first"
kind = "finetune"
objective = "classify"
lr = 0.05
budget = { steps = 40 }
schedule = { kind = "cosine", warmup = 0.1 }
keep = 3
[[stage]]
name = "second"
kind = "finetune"
objective = "classify"
init = "first"
lr = 0.02
budget = { epochs = 2 }
seeds = [4, 5]
"#;

fn config(set: &[&str]) -> RunConfig {
    run_file(RUN, set)
}

fn begin(config: RunConfig, out: &Path, plot: &Plot, stop: &StopFlag) -> Result<Outcome> {
    let start = Start::New {
        config: Box::new(config),
        out: Some(out.to_path_buf()),
    };
    go(start, plot, stop)
}

/// Goes on in a folder, in spite of nothing.
fn resume(folder: &Path) -> Start {
    resume_with(folder, &[])
}

/// Goes on with some settings changed.
fn resume_with(folder: &Path, set: &[&str]) -> Start {
    Start::Resume {
        folder: folder.to_path_buf(),
        set: set.iter().map(|s| s.to_string()).collect(),
        accept: Default::default(),
    }
}

fn go(start: Start, plot: &Plot, stop: &StopFlag) -> Result<Outcome> {
    let mut build = |r: &TaskRequest<'_>| Ok(Box::new(Toy::new(r, plot.clone())?) as Box<dyn Task>);
    train(start, None, &mut build, &mut Quiet, stop)
}

fn finish(outcome: Result<Outcome>) -> report::Report {
    match outcome.unwrap() {
        Outcome::Finished { report, .. } => report,
        Outcome::Interrupted { folder } => panic!("interrupted in {}", folder.display()),
    }
}

/// Everything that must not depend on whether a run was interrupted.
fn essence(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for unit in ["first", "second.1", "second.2"] {
        for file in ["model/model.safetensors", "model/config.json"] {
            let path = folder.join(unit).join(file);
            all.push((format!("{unit}/{file}"), fs::read(path).unwrap()));
        }
        let checkpoints = Checkpoints::new(&folder.join(unit), 1);
        let last = checkpoints.last().unwrap().unwrap();
        all.push((
            format!("{unit} last"),
            fs::read(last.join("tensors.safetensors")).unwrap(),
        ));
    }
    let losses = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    all.push(("metrics.jsonl".into(), losses.into_bytes()));
    all
}

#[test]
fn an_interrupted_run_ends_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    for set in [
        &[][..],
        &["stage.*.save_every=3", "stage.*.eval_every=7"][..],
    ] {
        let whole = dir.path().join(format!("whole-{}", set.len()));
        finish(begin(
            config(set),
            &whole,
            &Plot::default(),
            &StopFlag::default(),
        ));
        // Steps at an evaluation, just after one, at a checkpoint, at the very end.
        for stop_at in [1, 5, 6, 7, 9, 23, 40] {
            let folder = dir.path().join(format!("stopped-{}-{stop_at}", set.len()));
            let flag = StopFlag::default();
            let plot = Plot {
                stop_at: Some((stop_at, flag.clone())),
                ..Plot::default()
            };
            let mut outcome = begin(config(set), &folder, &plot, &flag);
            // The later stage is stopped at its own step of that number, too.
            let mut stops = 0;
            while let Ok(Outcome::Interrupted { .. }) = outcome {
                stops += 1;
                assert!(stops < 10, "a resumed run does not get further");
                let flag = StopFlag::default();
                let plot = match stops {
                    1 => Plot {
                        stop_at: Some((stop_at + 2, flag.clone())),
                        ..Plot::default()
                    },
                    _ => Plot::default(),
                };
                outcome = go(resume(&folder), &plot, &flag);
            }
            finish(outcome);
            assert!(
                stops >= 1 || stop_at == 40,
                "step {stop_at} stopped nothing"
            );
            for (a, b) in essence(&whole).into_iter().zip(essence(&folder)) {
                assert!(a == b, "{} differs after a stop at step {stop_at}", a.0);
            }
        }
    }
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    finish(begin(
        config(&[]),
        &whole,
        &Plot::default(),
        &StopFlag::default(),
    ));
    // A kill leaves what an error leaves: files up to the last whole one, here at step 15.
    let plot = Plot {
        nan_loss_at: Some(18),
        ..Plot::default()
    };
    begin(config(&[]), &killed, &plot, &StopFlag::default()).unwrap_err();
    fs::create_dir(killed.join("first/.checkpoint-20.partial")).unwrap();
    let plot = Plot::default();
    finish(go(resume(&killed), &plot, &StopFlag::default()));
    assert_eq!(
        plot.steps_run.get(),
        25 + 10 + 10,
        "only the rest is done again"
    );
    for (a, b) in essence(&whole).into_iter().zip(essence(&killed)) {
        assert!(a == b, "{} differs after a kill", a.0);
    }
}

#[test]
fn a_finished_run_is_not_run_again() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let first = finish(begin(
        config(&[]),
        &out,
        &Plot::default(),
        &StopFlag::default(),
    ));
    let plot = Plot::default();
    let again = finish(go(resume(&out), &plot, &StopFlag::default()));
    assert_eq!(plot.steps_run.get(), 0);
    assert_eq!(first.table(), again.table());
}

#[test]
fn a_run_leaves_the_files_it_promises() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let report = finish(begin(
        config(&[]),
        &out,
        &Plot::default(),
        &StopFlag::default(),
    ));
    assert_eq!(report.rows.len(), 2);
    assert_eq!((report.rows[0].repeats, report.rows[1].repeats), (1, 2));
    assert!(report.table().contains(" ± "), "{}", report.table());

    let (_, config) = artifacts::RunFolder::open(&out).unwrap();
    assert_eq!(config.stages[1].seeds, [4, 5]);
    for file in [
        "results.json",
        "report.html",
        "loss-finetune.svg",
        "second.2/done.json",
        "second.2/model/tokenizer.json",
    ] {
        assert!(out.join(file).is_file(), "{file} is missing");
    }
    assert!(!out.join("loss-pretrain.svg").exists());
    let events = fs::read_dir(out.join("first"))
        .unwrap()
        .filter(|e| {
            e.as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with("events.out.tfevents")
        })
        .count();
    assert_eq!(events, 1);
    let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.matches("\"event\":\"loss\"").count(), 40 + 10 + 10);
    assert_eq!(metrics.matches("\"split\":\"test\"").count(), 3);

    // `melos predict RUN` finds a fine-tuned model, and so does the folder of a unit.
    let model = resolve_model(&out).unwrap();
    assert!(model.starts_with(&out) && model.ends_with("model"));
    assert_eq!(
        resolve_model(&out.join("first")).unwrap(),
        out.join("first/model")
    );
    let error = resolve_model(dir.path()).unwrap_err().to_string();
    assert!(error.contains("is no model folder"), "{error}");
}

#[test]
fn the_model_is_that_of_the_best_step() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    // So high a rate that the last step is not the best one.
    let set = [
        "stage.first.lr=2.0",
        "stage.first.schedule={kind=\"constant\"}",
        "stage.first.eval_every=1",
        "stage.first.keep=2",
    ];
    let report = finish(begin(
        config(&set),
        &out,
        &Plot::default(),
        &StopFlag::default(),
    ));
    let best = report.units[0].best_step.unwrap();
    assert!(
        best < 40,
        "the test needs a run whose last step is not its best"
    );
    let log = artifacts::log::read(&out.join("metrics.jsonl")).unwrap();
    let errors: Vec<(u64, f64)> = log
        .iter()
        .filter(|v| v["unit"] == "first" && v["split"] == "validation")
        .map(|v| {
            let scores: Scores = serde_json::from_value(v["scores"].clone()).unwrap();
            (v["step"].as_u64().unwrap(), scores.to_minimise()[0])
        })
        .collect();
    assert_eq!(errors.len(), 40);
    let lowest = errors.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(lowest.0, best);
    let checkpoint =
        read_tensors(&out.join(format!("first/checkpoint-{best}/tensors.safetensors"))).unwrap();
    let model = read_tensors(&out.join("first/model/model.safetensors")).unwrap();
    assert_eq!(checkpoint["w"], model["w"]);
}

#[test]
fn a_nan_loss_stops_the_run_and_names_the_last_good_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    // Step 20 is checkpointed: its loss arrives late, but not too late for the checkpoint.
    let plot = Plot {
        nan_loss_at: Some(20),
        ..Plot::default()
    };
    let error = begin(config(&[]), &out, &plot, &StopFlag::default()).unwrap_err();
    let Error::Diverged {
        step,
        ref checkpoint,
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(step, 20);
    assert_eq!(
        checkpoint.as_deref(),
        Some(out.join("first/checkpoint-15").as_path())
    );
    let text = error.to_string();
    assert!(
        text.contains("NaN")
            && text.contains("checkpoint-15")
            && text.contains("lower the learning"),
        "{text}"
    );
    assert!(!out.join("first/checkpoint-20").exists());
    assert!(!out.join("first/model").exists());
}

#[test]
fn a_weight_that_is_not_finite_is_never_saved() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let plot = Plot {
        nan_weight_at: Some(5),
        ..Plot::default()
    };
    let set = ["stage.first.save_every=5", "stage.first.eval_every=1000"];
    let error = begin(config(&set), &out, &plot, &StopFlag::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("'w' at step 5 is inf; no checkpoint"),
        "{error}"
    );
    assert!(!out.join("first/checkpoint-5").exists());
}

#[test]
fn without_validation_the_last_step_counts() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let plot = Plot {
        no_validation: true,
        ..Plot::default()
    };
    let report = finish(begin(config(&[]), &out, &plot, &StopFlag::default()));
    assert_eq!(report.units[0].best_step, None);
    assert!(report.units[0].test.is_some());
    let last = read_tensors(&out.join("first/checkpoint-40/tensors.safetensors")).unwrap();
    assert_eq!(
        last["w"],
        read_tensors(&out.join("first/model/model.safetensors")).unwrap()["w"]
    );
}

#[test]
fn folders_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = go(resume(dir.path()), &Plot::default(), &StopFlag::default()).unwrap_err();
    assert!(error.to_string().contains("is not a run folder"), "{error}");

    fs::write(dir.path().join("mine.txt"), "precious").unwrap();
    let error = begin(
        config(&[]),
        dir.path(),
        &Plot::default(),
        &StopFlag::default(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("is not empty"), "{error}");

    // A checkpoint of another seed, in a run that knows nothing of how it began.
    let out = dir.path().join("run");
    let flag = StopFlag::default();
    let plot = Plot {
        stop_at: Some((7, flag.clone())),
        ..Plot::default()
    };
    assert!(matches!(
        begin(config(&[]), &out, &plot, &flag),
        Ok(Outcome::Interrupted { .. })
    ));
    fs::remove_file(out.join("fingerprint.json")).unwrap();
    let text = fs::read_to_string(out.join("config.toml")).unwrap();
    fs::write(
        out.join("config.toml"),
        text.replacen("seed = 1", "seed = 9", 1),
    )
    .unwrap();
    let error = go(resume(&out), &Plot::default(), &StopFlag::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is a checkpoint of 'first' with seed 1"),
        "{error}"
    );
}

#[test]
fn units_follow_stages_and_repeats() {
    let mut config = config(&[
        "stage.second.seeds=[]",
        "data={source=\"rt\"}",
        "stage.second.folds=5",
        "stage.second.run_folds=2",
    ]);
    config.settle();
    let units = units(&config);
    let names: Vec<&str> = units.iter().map(|u| u.name.as_str()).collect();
    assert_eq!(names, ["first", "second.1", "second.2"]);
    assert_eq!(units[2].fold, Some((1, 5)));
    assert_eq!(units[0].fold, None);
}

#[test]
fn missing_data_is_said_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let out: PathBuf = dir.path().join("run");
    let set = ["data={source=\"rt\"}"];
    let error = begin(config(&set), &out, &Plot::default(), &StopFlag::default()).unwrap_err();
    assert!(error.to_string().contains("--data PATH"), "{error}");
    let set = ["data={source=\"rt\", path=\"/nowhere/rt.tar.gz\"}"];
    let error = begin(config(&set), &out, &Plot::default(), &StopFlag::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/nowhere/rt.tar.gz: there is no such file or folder"
    );
    assert!(!out.exists());
}
