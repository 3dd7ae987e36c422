//! The program from outside: exit codes, messages, and commands that need no GPU.

use std::process::{Command, Output};

fn melos(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_melos"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn refused(arguments: &[&str], code: i32) -> String {
    let out = melos(arguments);
    let error = text(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{arguments:?}: {error}");
    assert!(out.stdout.is_empty(), "{arguments:?} wrote to stdout");
    assert!(!error.contains("panicked"), "{error}");
    error
}

#[test]
fn help_lists_the_exit_codes() {
    let out = melos(&["--help"]);
    assert!(out.status.success());
    let help = text(&out.stdout);
    for word in [
        "train",
        "eval",
        "predict",
        "devices",
        "kernels",
        "presets",
        "profile",
        "tune",
        "130  interrupted",
    ] {
        assert!(help.contains(word), "{word} is not in\n{help}");
    }
}

#[test]
fn presets_are_listed_and_shown() {
    let list = text(&melos(&["presets"]).stdout);
    assert_eq!(list.lines().count(), 31);
    assert!(list.starts_with("demo "));
    let shown = text(&melos(&["presets", "show", "lm-lstm-rt"]).stdout);
    assert!(shown.contains("[scale.small]"));
}

#[test]
fn wrong_arguments_end_with_2() {
    refused(&["trian"], 2);
    refused(&["train", "x.toml", "--preset", "demo"], 2);
    refused(&["train", "--resume", "runs/x", "--seed", "1"], 2);
    let error = refused(&["train", "--preset", "dmeo"], 2);
    assert_eq!(
        error.lines().next(),
        Some(
            "melos: there is no preset 'dmeo': did you mean 'demo'?; there is: demo, lstm, lm-lstm, sa-lstm, lstm-imdb, lm-lstm-imdb, sa-lstm-imdb, lstm-rt, lm-lstm-rt, sa-lstm-rt, lstm-20ng, lm-lstm-20ng, sa-lstm-20ng, lstm-dbpedia, lm-lstm-dbpedia, sa-lstm-dbpedia, bert-mlm, bert-mlm-nsp, gpt2, hashire-merosu, finetune, lora, mlp, lenet, image-transfer, sft, sft-full, dpo, orpo, kto, reward"
        )
    );
    let error = refused(&["train", "--set", "model.hiden=3"], 2);
    assert!(error.contains("did you mean 'hidden'?"), "{error}");
    let error = refused(&["train", "--preset", "lstm-rt"], 2);
    assert!(error.contains("--data PATH"), "{error}");
    let error = refused(&["train", "--data", "x"], 2);
    assert!(error.contains("the demo makes its own text"), "{error}");
}

#[test]
fn missing_files_end_with_5_and_say_why() {
    let error = refused(&["train", "/nowhere/run.toml"], 5);
    assert!(
        error.starts_with("melos: no such file or folder: '/nowhere/run.toml'"),
        "{error}"
    );
    refused(&["train", "--preset", "lstm-rt", "--data", "/nowhere"], 5);
    refused(&["train", "--resume", "/nowhere"], 5);
    refused(&["predict", "/nowhere", "a text"], 5);
    refused(&["eval", "/nowhere", "--data", "x"], 5);
}

#[test]
fn a_dry_run_sizes_every_stage() {
    let out = melos(&["train", "--preset", "lm-lstm-imdb", "--dry-run", "--json"]);
    let plan: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    // 30,000 × 512 + 4·1,024·(512 + 1,024 + 2) + (1,024 + 1) · 30,000
    assert_eq!(
        plan["stages"][0]["size"]["parameters"],
        15_360_000 + 6_299_648 + 30_750_000
    );
    assert_eq!(plan["stages"][1]["name"], "finetune");
    let out = melos(&["train", "--dry-run"]);
    assert!(
        text(&out.stdout).contains("| pretrain-lm "),
        "{}",
        text(&out.stdout)
    );
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_is_no_error() {
    let command = format!("{} presets show demo | true", env!("CARGO_BIN_EXE_melos"));
    let out = Command::new("sh").args(["-c", &command]).output().unwrap();
    assert!(out.stderr.is_empty(), "{}", text(&out.stderr));
}

#[test]
fn kernels_are_listed() {
    let out = melos(&["kernels", "list"]);
    assert!(out.status.success());
}

#[cfg(unix)]
#[test]
fn names_and_files_say_nothing_to_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("\x1b[2J\u{202e}run.toml");
    let name = path.to_str().unwrap();
    let shown = "\\u{1b}[2J\\u{202e}run.toml";
    let missing = refused(&["train", name], 5);
    std::fs::write(&path, format!("name = \"\x07{}\"\n", "x".repeat(500_000))).unwrap();
    let control = refused(&["train", name], 2);
    std::fs::write(
        &path,
        format!("name = \"{}\"\nkey = 1\n", "x".repeat(500_000)),
    )
    .unwrap();
    let long = refused(&["train", name], 2);
    let escape = refused(&["inspect", name], 5);
    for error in [&missing, &control, &long, &escape] {
        assert!(error.contains(shown), "{error}");
        assert!(!error.contains(['\x1b', '\x07', '\u{202e}']), "{error:?}");
        assert!(error.len() < 10_000, "{}", error.len());
    }
    assert!(control.contains("bytes left out"), "{control}");
}

#[cfg(unix)]
#[test]
fn a_run_file_is_no_pipe_and_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let error = refused(&["train", path.to_str().unwrap()], 5);
    assert!(error.contains("run.toml: is a pipe"), "{error}");
    let data = ["--preset", "lstm-rt", "--data", path.to_str().unwrap()];
    let out = folder.path().join("run");
    let arguments = [&["train", "--out", out.to_str().unwrap()][..], &data].concat();
    let error = refused(&arguments, 5);
    assert!(error.contains("run.toml: is a pipe"), "{error}");
    assert!(!out.exists());
    let error = refused(&["train", folder.path().to_str().unwrap()], 5);
    assert!(error.contains("is a folder"), "{error}");
}

#[test]
fn shells_and_man_learn_every_command() {
    let help = text(&melos(&["--help"]).stdout);
    let commands = help.split("Commands:").nth(1).unwrap().lines().skip(1);
    let names: Vec<&str> = commands
        .map_while(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(
        names.contains(&"train") && names.contains(&"man") && names.len() > 15,
        "{names:?}"
    );
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = text(&melos(&["completions", shell]).stdout);
        for word in names.iter().chain(&["resume"]) {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    refused(&["completions", "tcsh"], 2);
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("man/man1");
    assert!(melos(&["man", folder.to_str().unwrap()]).status.success());
    for name in names {
        let page = folder.join(format!("melos-{name}.1"));
        let page = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(page.contains(".TH") && page.contains("SYNOPSIS"), "{page}");
    }
    assert!(folder.join("melos.1").is_file());
    let beyond = dir.path().join("file");
    std::fs::write(&beyond, "").unwrap();
    refused(&["man", beyond.to_str().unwrap()], 5);
}
