//! What a run's folder withstands: a second process, changed data and settings, damage, leftovers.

mod train_support;

use std::fs;
use std::path::Path;

use melos::error::{Error, Result};
use melos::train::artifacts::RunFolder;
use melos::train::progress::{Event, Progress, Quiet};
use melos::train::run::{Accept, Outcome, Start, train};
use melos::train::*;
use train_support::{Plot, Toy, run_file};

const RUN: &str = r#"
name = "toy"
data = { source = "demo" }
[[stage]]
name = "only"
kind = "finetune"
objective = "classify"
lr = 0.05
budget = { steps = 40 }
keep = 3
"#;

const NOTHING: Accept = Accept {
    last_good: false,
    changed: false,
};

fn config(set: &[&str]) -> RunConfig {
    run_file(RUN, set)
}

/// Keeps what is noted.
#[derive(Default)]
struct Notes(Vec<String>);

impl Progress for Notes {
    fn event(&mut self, event: &Event<'_>) {
        if let Event::Note { message } = event {
            self.0.push(message.to_string());
        }
    }
}

fn go(start: Start, plot: &Plot, progress: &mut dyn Progress, stop: &StopFlag) -> Result<Outcome> {
    let mut build = |r: &TaskRequest<'_>| Ok(Box::new(Toy::new(r, plot.clone())?) as Box<dyn Task>);
    train(start, None, &mut build, progress, stop)
}

fn new(config: RunConfig, out: &Path) -> Start {
    Start::New {
        config: Box::new(config),
        out: Some(out.to_path_buf()),
    }
}

fn whole(config: RunConfig, out: &Path) {
    let outcome = go(
        new(config, out),
        &Plot::default(),
        &mut Quiet,
        &StopFlag::default(),
    );
    assert!(
        matches!(outcome, Ok(Outcome::Finished { .. })),
        "{outcome:?}"
    );
}

/// A run that was stopped at step 23; it has checkpoints of 15, 20 and 23.
fn stopped(config: RunConfig, out: &Path) {
    let flag = StopFlag::default();
    let plot = Plot {
        stop_at: Some((23, flag.clone())),
        ..Plot::default()
    };
    let outcome = go(new(config, out), &plot, &mut Quiet, &flag);
    assert!(
        matches!(outcome, Ok(Outcome::Interrupted { .. })),
        "{outcome:?}"
    );
}

/// Goes on to the end; what was noted.
fn resume(folder: &Path, accept: Accept) -> Result<Vec<String>> {
    let start = Start::Resume {
        folder: folder.to_path_buf(),
        set: Vec::new(),
        accept,
    };
    let mut notes = Notes::default();
    match go(start, &Plot::default(), &mut notes, &StopFlag::default())? {
        Outcome::Finished { .. } => Ok(notes.0),
        Outcome::Interrupted { folder } => panic!("interrupted in {}", folder.display()),
    }
}

fn refused(folder: &Path) -> String {
    resume(folder, NOTHING).unwrap_err().to_string()
}

fn same(a: &Path, b: &Path) {
    for file in ["metrics.jsonl", "only/model/model.safetensors"] {
        let read = |folder: &Path| fs::read(folder.join(file)).unwrap();
        assert!(read(a) == read(b), "{file} differs");
    }
}

#[test]
fn a_second_process_is_refused_at_once_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    stopped(config(&[]), &out);
    let before = fs::read(out.join("metrics.jsonl")).unwrap();
    let (held, _) = RunFolder::open(&out).unwrap();
    let mine = format!(
        "process {} is working in this run folder",
        std::process::id()
    );
    for accept in [
        NOTHING,
        Accept {
            last_good: true,
            changed: true,
        },
    ] {
        let error = resume(&out, accept).unwrap_err();
        assert!(matches!(error, Error::Folder { .. }), "{error}");
        assert!(error.to_string().contains(&mine), "{error}");
    }
    let start = new(config(&[]), &out);
    let error = go(start, &Plot::default(), &mut Quiet, &StopFlag::default()).unwrap_err();
    assert!(error.to_string().contains(&mine), "{error}");
    assert_eq!(fs::read(out.join("metrics.jsonl")).unwrap(), before);
    drop(held);
    resume(&out, NOTHING).unwrap();
}

#[test]
fn a_folder_in_which_a_run_did_not_get_far_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    for leftovers in [&[][..], &[".lock"], &[".lock", ".config.toml.77-0.partial"]] {
        let out = dir.path().join(format!("run-{}", leftovers.len()));
        fs::create_dir(&out).unwrap();
        for name in leftovers {
            fs::write(out.join(name), "77\n").unwrap();
        }
        let error = refused(&out);
        assert!(error.contains("no config.toml"), "{error}");
        assert!(error.contains("begin it again with --out"), "{error}");
        whole(config(&[]), &out);
        assert!(!out.join(".config.toml.77-0.partial").exists());
    }
    // Anything else is somebody's: nothing is written beside it.
    let out = dir.path().join("mine");
    fs::create_dir(&out).unwrap();
    fs::write(out.join(".config.toml"), "mine").unwrap();
    let start = new(config(&[]), &out);
    let error = go(start, &Plot::default(), &mut Quiet, &StopFlag::default()).unwrap_err();
    assert!(error.to_string().contains("is not empty"), "{error}");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
}

#[test]
fn settings_that_changed_are_refused_and_taken_if_meant() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, out) = (dir.path().join("plain"), dir.path().join("run"));
    whole(config(&[]), &plain);
    stopped(config(&[]), &out);
    let edit = |from: &str, to: &str| {
        let text = fs::read_to_string(out.join("config.toml")).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(out.join("config.toml"), text.replacen(from, to, 1)).unwrap();
    };
    edit("lr = 0.05", "lr = 0.07");
    let error = resume(&out, NOTHING).unwrap_err();
    assert!(matches!(error, Error::ConfigValue { .. }), "{error}");
    let text = error.to_string();
    for said in [
        "stage.only.lr was 0.05 and is 0.07",
        "--accept-changed-data",
    ] {
        assert!(text.contains(said), "{text}");
    }
    assert!(text.matches(" and is ").count() == 1, "only that: {text}");

    // Put back, and what changes no result changed: on it goes.
    edit("lr = 0.07", "lr = 0.05");
    edit("keep = 3", "keep = 1");
    resume(&out, NOTHING).unwrap();
    same(&plain, &out);

    // What is finished is held to it too.
    edit("lr = 0.05", "lr = 0.09");
    assert!(refused(&out).contains("stage.only.lr"));
    let changed = Accept {
        changed: true,
        ..NOTHING
    };
    let notes = resume(&out, changed).unwrap();
    assert!(
        notes[0].contains("stage.only.lr was 0.05 and is 0.09"),
        "{notes:?}"
    );

    // One that goes on in spite of it is held to its new settings.
    let out = dir.path().join("other");
    stopped(config(&[]), &out);
    let text = fs::read_to_string(out.join("config.toml")).unwrap();
    fs::write(
        out.join("config.toml"),
        text.replacen("steps = 40", "steps = 50", 1),
    )
    .unwrap();
    let error = refused(&out);
    assert!(
        error.contains("stage.only.budget.steps was 40 and is 50"),
        "{error}"
    );
    resume(&out, changed).unwrap();
    assert_eq!(resume(&out, NOTHING).unwrap(), [] as [&str; 0]);
}

#[test]
fn data_that_changed_are_refused_and_data_that_moved_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let (train, test) = (dir.path().join("a.csv"), dir.path().join("b.csv"));
    let more = dir.path().join("more");
    fs::create_dir(&more).unwrap();
    fs::write(&train, "text,label\na,x\nb,y\n").unwrap();
    fs::write(&test, "text,label\nc,x\n").unwrap();
    fs::write(more.join("one.txt"), "one\n").unwrap();
    let with = |out: &Path| {
        let set = format!(
            "data={{source=\"files\", path='{}', test='{}', unlabelled=['{}']}}",
            train.display(),
            test.display(),
            more.display()
        );
        stopped(config(&[&set]), out);
    };
    type Change<'a> = (&'a dyn Fn(), &'a dyn Fn(), &'a [&'a str]);
    let write = |path: &Path, text: &str| fs::write(path, text).unwrap();
    let changes: [Change<'_>; 4] = [
        (
            &|| write(&train, "text,label\na,x\nb,x\n"),
            &|| write(&train, "text,label\na,x\nb,y\n"),
            &["the content of data.path is another"],
        ),
        (
            &|| write(&test, ""),
            &|| write(&test, "text,label\nc,x\n"),
            &["the content of data.test is another"],
        ),
        (
            &|| write(&more.join("two.txt"), ""),
            &|| fs::remove_file(more.join("two.txt")).unwrap(),
            &["the content of data.unlabelled[0] is another"],
        ),
        (
            &|| fs::rename(more.join("one.txt"), more.join("1.txt")).unwrap(),
            &|| fs::rename(more.join("1.txt"), more.join("one.txt")).unwrap(),
            &["the content of data.unlabelled[0] is another"],
        ),
    ];
    let out = dir.path().join("run");
    with(&out);
    for (change, back, said) in changes {
        change();
        let error = refused(&out);
        assert!(said.iter().all(|said| error.contains(said)), "{error}");
        back();
    }
    // Elsewhere, but the same.
    let moved = dir.path().join("moved.csv");
    fs::rename(&train, &moved).unwrap();
    let text = fs::read_to_string(out.join("config.toml")).unwrap();
    fs::write(out.join("config.toml"), text.replace("a.csv", "moved.csv")).unwrap();
    resume(&out, NOTHING).unwrap();

    fs::rename(&moved, &train).unwrap();
    let out = dir.path().join("accepted");
    with(&out);
    write(&train, "text,label\nz,x\nb,x\n");
    refused(&out);
    let accept = Accept {
        changed: true,
        ..NOTHING
    };
    let notes = resume(&out, accept).unwrap();
    assert!(notes[0].contains("data.path"), "{notes:?}");
}

#[test]
fn a_run_in_the_folder_of_its_own_data_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), "one\n").unwrap();
    let out = dir.path().join("runs/here");
    let set = format!("data={{source=\"files\", path='{}'}}", dir.path().display());
    stopped(config(&[&set]), &out);
    resume(&out, NOTHING).unwrap();
}

#[test]
fn a_damaged_last_checkpoint_is_refused_and_the_run_ends_the_same_from_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, out) = (dir.path().join("plain"), dir.path().join("run"));
    whole(config(&[]), &plain);
    stopped(config(&[]), &out);
    let tensors = out.join("only/checkpoint-23/tensors.safetensors");
    let bytes = fs::read(&tensors).unwrap();
    fs::write(&tensors, &bytes[..bytes.len() - 4]).unwrap();
    let error = refused(&out);
    let command = format!("`melos train --resume {} --from-last-good`", out.display());
    for said in [
        "checkpoint-23/tensors.safetensors: is damaged",
        "checkpoint-20",
        &command,
    ] {
        assert!(error.contains(said), "{error}");
    }
    let accept = Accept {
        last_good: true,
        ..NOTHING
    };
    let notes = resume(&out, accept).unwrap();
    assert!(
        notes
            .iter()
            .any(|n| n.contains("checkpoint-23.damaged") && n.contains("step 20")),
        "{notes:?}"
    );
    same(&plain, &out);
}

#[test]
fn damaged_metrics_and_leftovers_never_stop_a_resume() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, out) = (dir.path().join("plain"), dir.path().join("run"));
    whole(config(&[]), &plain);
    stopped(config(&[]), &out);
    let mut metrics = fs::read(out.join("metrics.jsonl")).unwrap();
    metrics.extend(b"\xff\0{\n{\"unit\":\"only\",\"step\":\n\n[]\nhalf");
    fs::write(out.join("metrics.jsonl"), metrics).unwrap();
    let leftovers = [
        ".metrics.jsonl.9-0.partial",
        "only/.checkpoint-25.partial/tensors.safetensors",
        "only/.checkpoint-5.9-3.partial/trainer.json",
        "only/.checkpoint-20.9-4.replaced/trainer.json",
        "only/model.replaced/model.safetensors",
        "only/.done.json.9-9.partial",
    ];
    for name in leftovers {
        let path = out.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "half").unwrap();
    }
    resume(&out, NOTHING).unwrap();
    for name in leftovers {
        let first = out.join(name);
        let folder = first.parent().unwrap();
        let gone = if folder.ends_with("only") || folder == out {
            &first
        } else {
            folder
        };
        assert!(!gone.exists(), "{name} is still there");
    }
    same(&plain, &out);
}

/// Killed when the test scores were written and the result was not.
#[test]
fn scores_of_the_test_split_are_not_written_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, out) = (dir.path().join("plain"), dir.path().join("run"));
    whole(config(&[]), &plain);
    whole(config(&[]), &out);
    fs::remove_file(out.join("only/done.json")).unwrap();
    fs::remove_dir_all(out.join("only/model")).unwrap();
    resume(&out, NOTHING).unwrap();
    same(&plain, &out);
}
