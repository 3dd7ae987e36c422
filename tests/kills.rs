//! Runs of a toy task, killed at chosen system calls and resumed: nothing is lost, nothing is left over,
//! and every bit is that of a run which was never killed. Programs with kernels and caches are killed by
//! tools/kill-test.
#![cfg(target_os = "linux")]

mod train_support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use melos::train::progress::Quiet;
use melos::train::run::{Accept, Outcome, Start, train};
use melos::train::*;
use serde_json::Value;
use train_support::{Plot, Toy, random, run_file};

/// Kills of a plain `cargo test`; more with `MELOS_KILLS=1000`.
const KILLS: u64 = 60;

/// Where the run that is to be killed has its folder.
const FOLDER: &str = "KILLED_RUN";

/// Everything that a run writes: checkpoints with and without a better score, rotation, a second stage
/// that begins with the first one's model, repeats.
const RUN: &str = r#"
name = "toy"
data = { source = "demo" }
[[stage]]
name = "first"
kind = "finetune"
objective = "classify"
lr = 0.5
schedule = { kind = "constant" }
budget = { steps = 24 }
eval_every = 3
save_every = 4
keep = 1
[[stage]]
name = "second"
kind = "finetune"
objective = "classify"
init = "first"
lr = 0.02
budget = { steps = 8 }
seeds = [4, 5]
"#;

/// Begins, or goes on with, the run in a folder, to its end.
fn go(folder: &Path) {
    let start = match folder.join("config.toml").exists() {
        true => Start::Resume {
            folder: folder.to_path_buf(),
            set: Vec::new(),
            accept: Accept::default(),
        },
        false => Start::New {
            config: Box::new(run_file(RUN, &[])),
            out: Some(folder.to_path_buf()),
        },
    };
    let mut build =
        |r: &TaskRequest<'_>| Ok(Box::new(Toy::new(r, Plot::default())?) as Box<dyn Task>);
    let outcome = train(start, None, &mut build, &mut Quiet, &StopFlag::default());
    assert!(
        matches!(outcome, Ok(Outcome::Finished { .. })),
        "{outcome:?}"
    );
}

/// Not a test by itself: what the tests below start as a process of its own.
#[test]
fn the_run_that_is_killed() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        go(Path::new(&folder));
    }
}

/// The library that kills.
fn killer() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kill_at.so");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &root.join("tools/kill_test/kill_at.c")])
        .status()
        .expect("this test needs a C compiler, cc");
    assert!(status.success(), "kill_at.c does not compile");
    library
}

/// The run in a folder, in a process that counts its calls, or dies at one of them.
fn process(library: &Path, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "the_run_that_is_killed"])
        .env(FOLDER, folder)
        .env("LD_PRELOAD", library)
        .env("KILL_UNDER", folder);
    command
}

/// Kills the run at a call; false where it ended before.
fn kill(library: &Path, folder: &Path, at: u64) -> bool {
    let mut command = process(library, folder);
    let status = command
        .env("KILL_AT", at.to_string())
        .output()
        .unwrap()
        .status;
    assert!(status.success() || status.signal() == Some(9), "{status:?}");
    !status.success()
}

/// Every file of a run by its path, but for what was measured.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            // Of these there is one for each start, or they hold measurements alone.
            if [".lock", "SHA256SUMS", "report.html"].contains(&name.as_str())
                || name.starts_with("events.out")
            {
                continue;
            }
            let mut bytes = fs::read(&path).unwrap();
            if path.extension().is_some_and(|end| end == "json") {
                let mut value = serde_json::from_slice(&bytes).unwrap();
                forget_times(&mut value);
                bytes = value.to_string().into_bytes();
            }
            let place = path.strip_prefix(folder).unwrap();
            all.insert(place.display().to_string(), bytes);
        }
    }
    all
}

fn forget_times(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(forget_times),
        Value::Object(table) => {
            for key in ["seconds", "train_seconds", "tokens_per_second", "spent"] {
                table.remove(key);
            }
            table.values_mut().for_each(forget_times);
        }
        _ => {}
    }
}

#[test]
fn killed_runs_lose_nothing_and_leave_nothing() {
    let library = killer();
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let count = dir.path().join("count");
    let counted = process(&library, &whole).env("KILL_COUNT", &count).output();
    assert!(counted.unwrap().status.success());
    let calls: u64 = fs::read_to_string(&count).unwrap().trim().parse().unwrap();
    assert!(calls > 300, "only {calls} calls are seen");
    let expected = contents(&whole);
    assert!(expected.len() > 20, "{:?}", expected.keys());

    let kills = std::env::var("MELOS_KILLS").map_or(KILLS, |n| n.parse().unwrap());
    let (mut done, mut round) = (0, 0);
    while done < kills {
        round += 1;
        let folder = dir.path().join(format!("killed-{round}"));
        // Spread over the run; a folder in three is killed again as it goes on.
        let place = 1 + (random(round) % calls + done * calls / kills) % calls;
        let again = (round % 3 == 0).then(|| 1 + random(!round) % (calls - place + 20));
        for at in [Some(place), again].into_iter().flatten() {
            done += u64::from(kill(&library, &folder, at));
        }
        go(&folder);
        let found = contents(&folder);
        let (names, wanted): (Vec<_>, Vec<_>) = (found.keys().collect(), expected.keys().collect());
        assert_eq!(names, wanted, "killed at {place}, then {again:?}");
        for (name, bytes) in &expected {
            assert!(
                found[name] == *bytes,
                "{name} is another after kills at {place}, then {again:?}"
            );
        }
        fs::remove_dir_all(folder).unwrap();
    }
    println!("{done} kills at {calls} calls, none lost");
}
