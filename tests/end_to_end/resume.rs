//! A run that was stopped and resumed ends with the bits of one that was not.
#![cfg(unix)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::support::{Workplace, stage};

/// Lines in `metrics.jsonl` after which the run is stopped.
const ENOUGH: usize = 12;

/// Waits until the run has written so many metrics, and stops it.
fn interrupt(w: &Workplace, child: &mut Child, signal: &str) {
    let began = Instant::now();
    loop {
        let lines = std::fs::read_to_string(w.path("stopped/metrics.jsonl")).unwrap_or_default();
        if lines.lines().count() >= ENOUGH {
            break;
        }
        assert!(
            child.try_wait().unwrap().is_none(),
            "ended before it was stopped"
        );
        assert!(began.elapsed() < Duration::from_secs(120), "no metrics");
        std::thread::sleep(Duration::from_millis(2));
    }
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args([signal, &id])
            .status()
            .unwrap()
            .success()
    );
}

/// The lines of a run's metrics that say what was computed.
fn metrics(w: &Workplace, out: &str) -> String {
    String::from_utf8(w.read(&format!("{out}/metrics.jsonl"))).unwrap()
}

fn resumes_exactly(stages: &[String], units: &[&str], signal: &str) {
    resumes_in(&Workplace::new(stages), units, signal);
}

/// As `resumes_exactly`, in a folder with a run file.
pub fn resumes_in(w: &Workplace, units: &[&str], signal: &str) {
    let files: Vec<String> = (units.iter())
        .map(|unit| format!("{unit}/model/model.safetensors"))
        .collect();
    resumes_with(w, units[0], &files, signal);
}

/// Stops the run file's first unit, resumes, and compares these files of the run's folder.
pub fn resumes_with(w: &Workplace, first: &str, files: &[String], signal: &str) {
    w.good(&["train", "run.toml", "--quiet", "--out", "whole"]);

    let mut child = w
        .command(&["train", "run.toml", "--quiet", "--out", "stopped"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    interrupt(w, &mut child, signal);
    let out = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(130), "{error}");
    assert!(error.contains("  melos train --resume stopped"), "{error}");
    w.nothing_half_written();
    assert!(!w.path(&format!("stopped/{}/done.json", first)).exists());
    assert!(w.path(&format!("stopped/{}/last", first)).exists());

    w.good(&["train", "--quiet", "--resume", "stopped"]);
    for file in files {
        let read = |out: &str| w.read(&format!("{out}/{file}"));
        assert!(read("whole") == read("stopped"), "{file}: other bits");
    }
    assert_eq!(metrics(w, "whole"), metrics(w, "stopped"));
}

#[test]
fn a_language_model_and_what_follows_it() {
    resumes_exactly(
        &[
            stage(
                "lm",
                "pretrain",
                "objective = \"lm\"\nbudget = { steps = 400 }\n\
                 dropout = { word = 0.1, embedding = 0.2, output = 0.2 }",
            ),
            stage("classifier", "finetune", "init = \"lm\""),
        ],
        &["lm", "classifier"],
        "-TERM",
    );
}

#[test]
fn an_autoencoder() {
    resumes_exactly(
        &[stage(
            "sa",
            "pretrain",
            "objective = \"sa\"\nbudget = { steps = 400 }\n\
             dropout = { word = 0.1, embedding = 0.2, output = 0.2 }",
        )],
        &["sa"],
        "-INT",
    );
}

#[test]
fn a_classifier() {
    let lines = "budget = { steps = 600 }\noptimizer = { kind = \"nesterov\" }";
    resumes_exactly(
        &[stage("classifier", "finetune", lines)],
        &["classifier"],
        "-TERM",
    );
}
