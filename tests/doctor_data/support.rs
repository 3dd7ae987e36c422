//! Starting the doctor in a folder of its own, on tables with planted faults.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

pub struct Workplace(TempDir);

impl Workplace {
    pub fn new() -> Workplace {
        Workplace(TempDir::new().unwrap())
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, contents).unwrap();
        path
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_melos"))
            .args(arguments)
            .current_dir(self.0.path())
            .env("MELOS_CACHE", self.0.path().join("cache"))
            // There is no device, and none is missed.
            .env("MELOS_ADAPTER", "none of this name")
            .env_remove("RUST_LOG")
            .output()
            .unwrap()
    }

    /// The survey of a run file that begins so and has one stage, "s", of these lines.
    pub fn survey(&self, head: &str, stage: &str) -> Value {
        let text = format!("name = \"own\"\n{head}\n[[stage]]\nname = \"s\"\n{stage}\n");
        self.write("run.toml", text);
        self.json(&["doctor", "run.toml", "--json"])
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub fn refused(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
        error
    }
}

/// Whole numbers of a value.
pub fn numbers<const N: usize>(of: &Value, keys: [&str; N]) -> [u64; N] {
    keys.map(|key| of[key].as_u64().unwrap_or_else(|| panic!("{key}: {of}")))
}

/// The messages of the warnings with this key.
pub fn warned(survey: &Value, key: &str) -> Vec<String> {
    let all = survey["warnings"].as_array().unwrap().iter();
    let of = all.filter(|w| w["key"] == key);
    of.map(|w| w["message"].as_str().unwrap().to_string())
        .collect()
}

/// What the warnings with this key say, where there is one.
pub fn says(survey: &Value, key: &str, words: &[&str]) {
    let all = warned(survey, key);
    let has = all
        .iter()
        .any(|message| words.iter().all(|word| message.contains(word)));
    assert!(
        has,
        "{words:?} is not said of {key}: {}",
        survey["warnings"]
    );
}

/// A number in letters: words of letters and digits are cut in two.
pub fn letters(number: usize) -> String {
    let digits = number.to_string().into_bytes().into_iter();
    digits
        .map(|digit| char::from(digit - b'0' + b'a'))
        .collect()
}

/// `words` words of a few, and one in their middle that no other text has.
pub fn text(number: usize, words: usize) -> String {
    let word = |n: usize| format!("w{}", letters((number * 7 + n * (1 + number % 5)) % 40));
    let mut all: Vec<String> = (0..words).map(word).collect();
    all.insert(words / 2, format!("t{}", letters(number)));
    all.join(" ")
}

pub const SMALL: &str =
    "[tokenizer]\nvocabulary = 1000\nmin_frequency = 1\n[model]\nembedding = 8\nhidden = 8\n";
pub const PIECES: &str =
    "[tokenizer]\nkind = \"wordpiece\"\nvocabulary = 1000\nmin_frequency = 1\n";
pub const SIZES: &str = "hidden = 16\nlayers = 1\nheads = 2\nmax_positions = 64\n";

pub fn files(more: &str) -> String {
    format!("[data]\nsource = \"files\"\n{more}")
}

/// A table of 60 texts of 5 tokens, with 4 copies (1 with another label), 3 rows without text, 2 without a
/// label, 6 texts of 40 tokens, and a test table in which 7 of 20 texts stand in it.
pub fn classes(w: &Workplace) {
    let mut train = String::from("text,label\n");
    for n in 0..60 {
        train += &format!("{},{}\n", text(n, 4), ["x", "y"][n % 2]);
    }
    for n in [3, 5, 7] {
        train += &format!("{},y\n", text(n, 4));
    }
    train += &format!("{},x\n", text(9, 4));
    train += ",x\n \"\"\u{20},y\n   ,x\n"
        .replace(" \"\" ", "  ")
        .as_str();
    train += &format!("{},\n{},\n", text(70, 4), text(71, 4));
    for n in 80..86 {
        train += &format!("{},y\n", text(n, 39));
    }
    w.write("train.csv", train);
    let mut test = String::from("text,label\n");
    for n in (0..7).chain(200..213) {
        test += &format!("{},{}\n", text(n, 4), ["x", "y"][n % 2]);
    }
    w.write("test.csv", test);
}
