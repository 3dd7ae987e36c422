//! A run that was stopped and resumed ends with the bits of one that was not.
#![cfg(unix)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::support::{Workplace, head, stage};

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
    let checkpoint = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.unwrap().file_name();
        name.to_string_lossy().starts_with("checkpoint-")
    };
    let mut unit = std::fs::read_dir(w.path(&format!("stopped/{first}"))).unwrap();
    assert!(unit.any(checkpoint));

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

#[test]
fn a_stage_that_is_done_is_trained_on_by_its_budget() {
    let stages = |steps: u64| {
        let lines = format!("budget = {{ steps = {steps} }}\neval_every = 5");
        [
            stage("a", "finetune", &lines),
            stage("b", "finetune", "init = \"a\""),
        ]
    };
    let w = Workplace::new(&stages(30));
    w.good(&["train", "run.toml", "--quiet", "--out", "whole"]);
    w.write("run.toml", head() + &stages(15).concat());
    w.good(&["train", "run.toml", "--quiet", "--out", "grown"]);
    let set = ["--set", "stage.a.budget.steps=30"];
    let out = w.run(&[&["train", "--resume", "grown"], &set[..]].concat());
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    for line in [
        "a: is kept, and goes on from",
        "checkpoint-15",
        "b: begins with 'a'",
        "trained again",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    for unit in ["a", "b"] {
        let read = |out: &str| w.read(&format!("{out}/{unit}/model/model.safetensors"));
        assert!(read("whole") == read("grown"), "{unit}: other bits");
    }
    let error = w.refused(&["train", "--resume", "grown", "--set", "stage.a.lr=1"], 2);
    assert!(
        error.contains("stage.a.lr: cannot become another"),
        "{error}"
    );
    let plan = w.good(&[
        "train",
        "--resume",
        "grown",
        "--dry-run",
        "--set",
        "stage.a.budget.steps=77",
    ]);
    assert!(plan.contains("77"), "{plan}");
}

/// A run file of one stage that takes a while.
#[test]
fn a_longer_run_is_asked_for_by_the_shorter_options() {
    let w = Workplace::new(&[
        stage("lm", "pretrain", "objective = \"lm\""),
        stage("a", "finetune", "init = \"lm\"\nbudget = { epochs = 1 }"),
    ]);
    w.good(&["train", "run.toml", "--quiet", "--out", "run"]);
    // Of all stages the one that fine-tunes.
    w.good(&["train", "--resume", "run", "--epochs", "2", "--dry-run"]);
    w.good(&["train", "--resume", "run", "--epochs", "2", "--quiet"]);
    w.good(&[
        "train", "run.toml", "--epochs", "2", "--quiet", "--out", "whole",
    ]);
    let model = "a/model/model.safetensors";
    assert!(w.read(&format!("run/{model}")) == w.read(&format!("whole/{model}")));
    for (option, value, key) in [
        ("--lr", "0.5", "stage.a.lr"),
        ("--batch", "3", "stage.a.batch"),
    ] {
        let said = w.refused(&["train", "--resume", "run", option, value], 2);
        assert!(
            said.contains(key) && said.contains("stage.NAME.budget"),
            "{said}"
        );
    }
    // One of several has to be named.
    let w = Workplace::new(&[stage("a", "finetune", ""), stage("b", "finetune", "")]);
    w.good(&["train", "run.toml", "--quiet", "--out", "run"]);
    let before = w.read("run/config.toml");
    let said = w.refused(&["train", "--resume", "run", "--epochs", "9"], 2);
    for word in [
        "--epochs: may mean any of 2 stages",
        "--set 'stage.a.budget={ epochs = 9 }'",
        "--set 'stage.b.budget={ epochs = 9 }'",
    ] {
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(w.read("run/config.toml"), before);
}

fn classifier() -> Workplace {
    let lines = "budget = { steps = 400 }\nsave_every = 7";
    Workplace::new(&[stage("classifier", "finetune", lines)])
}

fn same_bits(w: &Workplace, out: &str) {
    let model = "classifier/model/model.safetensors";
    let read = |out: &str| w.read(&format!("{out}/{model}"));
    assert!(read("whole") == read(out), "{out}: other bits");
    assert_eq!(metrics(w, "whole"), metrics(w, out));
}

#[test]
fn a_second_process_is_told_of_the_first_and_a_kill_frees_the_folder() {
    let w = classifier();
    w.good(&["train", "run.toml", "--quiet", "--out", "whole"]);
    let mut first = w
        .command(&["train", "run.toml", "--quiet", "--out", "stopped"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    interrupt(&w, &mut first, "-STOP");
    let holder = format!("process {} is working in this run folder", first.id());
    for arguments in [
        &["train", "--resume", "stopped"][..],
        &["train", "--resume", "stopped", "--from-last-good"],
        &["train", "run.toml", "--out", "stopped"],
    ] {
        let out = w.run(arguments);
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(5), "{error}");
        assert!(error.contains(&holder), "{error}");
    }
    first.kill().unwrap();
    first.wait().unwrap();
    w.good(&["train", "--quiet", "--resume", "stopped"]);
    same_bits(&w, "stopped");
    w.nothing_half_written();
}

#[test]
fn a_limit_on_the_size_of_files_ends_as_a_full_disk_does() {
    let w = classifier();
    w.good(&["train", "run.toml", "--quiet", "--out", "whole"]);
    let inner = w.command(&["train", "run.toml", "--quiet", "--out", "limited"]);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -f 40; exec \"$0\" \"$@\""])
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(w.path(""));
    for (key, value) in inner.get_envs() {
        match value {
            Some(value) => limited.env(key, value),
            None => limited.env_remove(key),
        };
    }
    let error = w.refused_as(limited, 5);
    assert!(
        error.contains("the limit on the size of files is reached"),
        "{error}"
    );
    assert!(error.contains("ulimit -f"), "{error}");
    w.good(&["train", "--quiet", "--resume", "limited"]);
    same_bits(&w, "limited");
}

#[test]
fn damage_and_changes_are_named_and_the_switches_go_on_in_spite_of_them() {
    let w = classifier();
    let train = ["train", "run.toml", "--quiet", "--out"];
    w.write(
        "reviews.csv",
        std::fs::read(super::support::data("reviews.csv")).unwrap(),
    );
    let run = String::from_utf8(w.read("run.toml")).unwrap();
    let path = super::support::data("reviews.csv").display().to_string();
    w.write("run.toml", run.replace(&path, "reviews.csv"));
    w.good(&[&train[..], &["whole"]].concat());
    let mut child = w
        .command(&[&train[..], &["stopped"]].concat())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    interrupt(&w, &mut child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));

    let reviews = w.read("reviews.csv");
    w.write(
        "reviews.csv",
        [&reviews[..], b"one more film,positive\n"].concat(),
    );
    let error = w.refused(&["train", "--resume", "stopped"], 2);
    assert!(
        error.contains("the content of data.path is another"),
        "{error}"
    );
    assert!(error.contains("--accept-changed-data"), "{error}");
    w.write("reviews.csv", &reviews);

    let mut steps: Vec<u64> = std::fs::read_dir(w.path("stopped/classifier"))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name();
            name.to_str()?.strip_prefix("checkpoint-")?.parse().ok()
        })
        .collect();
    steps.sort_unstable();
    let file = format!(
        "stopped/classifier/checkpoint-{}/trainer.json",
        steps[steps.len() - 1]
    );
    let text = String::from_utf8(w.read(&file)).unwrap();
    w.write(&file, text.replacen("\"seed\": 1", "\"seed\": 2", 1));
    let error = w.refused(&["train", "--resume", "stopped"], 5);
    for said in [
        "trainer.json: is damaged",
        "--from-last-good",
        &format!("checkpoint-{}", steps[steps.len() - 2]),
    ] {
        assert!(error.contains(said), "{error}");
    }
    w.good(&[
        "train",
        "--quiet",
        "--resume",
        "stopped",
        "--from-last-good",
    ]);
    same_bits(&w, "stopped");
    for switch in ["--from-last-good", "--accept-changed-data"] {
        for new in [&["train", switch][..], &["train", "run.toml", switch]] {
            let out = w.run(new);
            assert_eq!(out.status.code(), Some(2), "{switch} is for --resume");
        }
    }
}

/// While texts are read and made tokens of there is no step to wait for.
#[test]
fn ctrl_c_ends_the_reading_of_texts_at_once() {
    let w = Workplace::new(&[stage("lm", "pretrain", "objective = \"lm\"")]);
    let line = "one of very many lines of text that are read for a long time\n";
    let many: String = (0..600_000).map(|n| format!("{n} {line}")).collect();
    w.write("many.txt", many);
    let run = String::from_utf8(w.read("run.toml")).unwrap();
    let path = super::support::data("unlabelled.txt").display().to_string();
    w.write("run.toml", run.replace(&path, "many.txt"));
    let mut child = w
        .command(&["train", "run.toml", "--quiet", "--out", "run"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !w.path("run/config.toml").is_file() {
        assert!(began.elapsed() < Duration::from_secs(60), "no run folder");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none(), "was read too fast");
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let asked = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
}
