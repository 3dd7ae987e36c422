//! The commands of docs/guides, run as they stand there, on small data and for a few steps.
#![cfg(all(feature = "cli", unix))]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

const BASE: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// Starts melos; a run that begins is a short one.
const MELOS: &str = r#"#!/bin/sh
case "$*" in
  *--resume*) exec MELOS "$@" ;;
  train*) exec MELOS "$@" --set 'stage.*.budget={steps=3}' --set 'stage.*.batch=4' --set 'stage.*.eval_every=2' ;;
  *) exec MELOS "$@" ;;
esac
"#;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What stands in the page's blocks of a language, in order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(opened) = line.strip_prefix("```") else {
            continue;
        };
        let inside: Vec<&str> = lines.by_ref().take_while(|l| *l != "```").collect();
        if opened == language {
            found.push(inside.join("\n"));
        }
    }
    found
}

/// Rows of a small table whose texts go with their labels.
fn rows(line: impl Fn(usize, &str, bool) -> String) -> String {
    let things = [
        "film", "soup", "lamp", "book", "train", "song", "garden", "chair",
    ];
    (0..64)
        .map(|n| line(n, things[n / 2 % 8], n % 2 == 0))
        .collect()
}

fn word(good: bool) -> &'static str {
    if good { "wonderful" } else { "dreadful" }
}

/// A small file for each that the guides name.
fn write_data(folder: &Path) {
    let write = |name: &str, text: String| fs::write(folder.join(name), text).unwrap();
    let review = |n: usize, thing: &str, good| format!("{} {thing} number {n}", word(good));
    let label = |good| if good { "positive" } else { "negative" };
    let csv = rows(|n, thing, good| format!("{},{}\n", review(n, thing, good), label(good)));
    write("reviews.csv", format!("text,label\n{csv}"));
    let pairs = rows(|n, thing, same| {
        let other = if same { thing } else { "nothing" };
        format!(
            "a {thing} {n},the {other},{}\n",
            if same { "yes" } else { "no" }
        )
    });
    write("pairs.csv", format!("sentence1,sentence2,label\n{pairs}"));
    let words = rows(|n, thing, good| {
        format!(
            "the\tO\n{}\tB-praise\n{thing}\tI-praise\n{n}\tO\n\n",
            word(good)
        )
    });
    write("words.conll", words);
    let stars = rows(|n, thing, good| {
        format!(
            "{},{}\n",
            review(n, thing, good),
            if good { 7 + n % 3 } else { 1 + n % 4 }
        )
    });
    write("stars.csv", format!("text,score\n{stars}"));
    let topics = rows(|n, thing, good| {
        let liked = if good { r#", "liked""# } else { "" };
        format!(
            "{{\"text\": \"{}\", \"labels\": [\"{thing}\"{liked}]}}\n",
            review(n, thing, good)
        )
    });
    write("topics.jsonl", topics);
    let book =
        rows(|n, thing, good| format!("The {thing} was {}.\n\nChapter {n} began.\n", word(good)));
    write("book.txt", book.repeat(20));
    write(
        "texts.txt",
        rows(|n, thing, good| format!("{}\n", review(n, thing, good))),
    );
    write(
        "more.txt",
        rows(|n, thing, good| format!("more of {}\n", review(n + 64, thing, good))),
    );
    let chat = rows(|n, thing, good| {
        let said = |role: &str, text: &str| format!(r#"{{"role": "{role}", "content": "{text}"}}"#);
        let asked = said("user", &format!("How is {thing} {n}?"));
        format!(
            "{{\"messages\": [{asked}, {}]}}\n",
            said("assistant", word(good))
        )
    });
    write("chat.jsonl", chat);
    let preferences = rows(|n, thing, good| {
        let asked = format!(r#"[{{"role": "user", "content": "How is {thing} {n}?"}}]"#);
        let (better, worse) = (word(good), word(!good));
        format!("{{\"prompt\": {asked}, \"chosen\": \"{better}\", \"rejected\": \"{worse}\"}}\n")
    });
    write("preferences.jsonl", preferences);
    write_pictures(folder);
    fs::copy(repository("tests/data/novel.txt"), folder.join("novel.txt")).unwrap();
}

/// MNIST's four files, and photographs of two classes, all of them small.
fn write_pictures(folder: &Path) {
    let idx = |axes: &[u32], bytes: &[u8]| {
        let lengths = axes.iter().flat_map(|n| n.to_be_bytes());
        let begin = [0, 0, 8, axes.len() as u8].into_iter();
        begin
            .chain(lengths)
            .chain(bytes.iter().copied())
            .collect::<Vec<u8>>()
    };
    fs::create_dir(folder.join("mnist")).unwrap();
    for (name, count) in [("train", 40), ("t10k", 10)] {
        let pixels: Vec<u8> = (0..count * 784).map(|n| (n % 251) as u8).collect();
        let labels: Vec<u8> = (0..count).map(|n| (n % 2) as u8).collect();
        let put = |what: &str, bytes: Vec<u8>| {
            fs::write(folder.join(format!("mnist/{name}-{what}-ubyte")), bytes).unwrap();
        };
        put("images-idx3", idx(&[count, 28, 28], &pixels));
        put("labels-idx1", idx(&[count], &labels));
    }
    let colour = fs::read(repository("tests/fixtures/images/colour.png")).unwrap();
    let other = fs::read(repository("tests/fixtures/images/colour.jpg")).unwrap();
    for (class, picture) in [("ants", colour), ("bees", other)] {
        fs::create_dir_all(folder.join("photos").join(class)).unwrap();
        for number in 0..12 {
            fs::write(
                folder.join(format!("photos/{class}/{number}.png")),
                &picture,
            )
            .unwrap();
        }
    }
}

fn run(folder: &Path, script: &str) {
    let path = format!(
        "{}:{}",
        folder.join("bin").display(),
        std::env::var("PATH").unwrap()
    );
    let out = Command::new("sh")
        .args(["-e", "-c", script])
        .current_dir(folder)
        .env("PATH", path)
        .env("MELOS_CACHE", folder.join("cache"))
        // No guide needs the network: the model it names is a folder here.
        .env("HF_HUB_OFFLINE", "1")
        .env("NODEVICE_SELECT", "1")
        .env_remove("RUST_LOG")
        .output()
        .expect("sh starts");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{script}\n{said}");
}

/// A folder to work in, with a program called `melos`.
fn workplace() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("bin")).unwrap();
    let program = folder.path().join("bin/melos");
    let started = format!("'{}'", env!("CARGO_BIN_EXE_melos"));
    fs::write(&program, MELOS.replace("MELOS", &started)).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    write_data(folder.path());
    folder
}

/// The model that the guides start from: a tiny one in its place.
fn base() -> &'static Path {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let folder = workplace();
        let sizes = "--set model.hidden=16 --set model.layers=2 --set model.heads=2 --set model.max_positions=128";
        let train = format!("melos train --preset bert-mlm --data texts.txt {sizes} --set stage.pretrain.max_len=32 --out base");
        run(folder.path(), &train);
        folder
    });
    Box::leak(Box::new(made.path().join("base/pretrain/model")))
}

/// A tiny language model with a chat template, as a GGUF file.
fn write_language_model(folder: &Path) {
    let tiny = folder.join("tiny");
    fs::create_dir(&tiny).unwrap();
    for file in [
        "model/config.json",
        "model/model.safetensors",
        "tokenizer.json",
    ] {
        let from = repository("tests/fixtures/chat").join(file);
        fs::copy(&from, tiny.join(from.file_name().unwrap())).unwrap();
    }
    let template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    fs::write(tiny.join("chat_template.jinja"), template).unwrap();
    fs::write(
        tiny.join("tokenizer_config.json"),
        r#"{"eos_token": "<|im_end|>"}"#,
    )
    .unwrap();
    run(folder, "melos convert tiny model.gguf --quant f16");
}

fn follow(guide: &str) {
    let page = fs::read_to_string(repository(&format!("docs/guides/{guide}.md"))).unwrap();
    let scripts = blocks(&page, "sh");
    assert!(
        scripts.iter().any(|s| s.contains("melos train")),
        "{guide} trains nothing"
    );
    let folder = workplace();
    let model = folder.path().join(BASE);
    fs::create_dir_all(&model).unwrap();
    for entry in fs::read_dir(base()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    if scripts.iter().any(|s| s.contains("model.gguf")) {
        write_language_model(folder.path());
    }
    for script in scripts {
        run(folder.path(), &script);
    }
}

macro_rules! guides {
    ($($name:ident $page:literal)*) => {
        $(#[test] fn $name() { follow($page) })*
        const PAGES: &[&str] = &[$($page),*];
    };
}

guides! {
    classify "classify"
    pairs "pairs"
    words "words"
    regression "regression"
    several_labels "several-labels"
    language_model "language-model"
    lora "lora"
    chat "chat"
    continue_bert "continue-bert"
    japanese "japanese"
    images "images"
}

/// tests/library.rs runs what the page on Rust shows.
#[test]
fn every_page_is_listed_and_followed() {
    let index = fs::read_to_string(repository("docs/guides/README.md")).unwrap();
    for entry in fs::read_dir(repository("docs/guides")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let page = name.strip_suffix(".md").unwrap();
        assert!(
            PAGES.contains(&page) || ["README", "rust"].contains(&page),
            "no test follows {name}"
        );
        assert!(
            page == "README" || index.contains(&format!("({name})")),
            "README.md does not list {name}"
        );
    }
}
