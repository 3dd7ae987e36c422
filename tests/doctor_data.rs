//! `melos doctor` on data: faults that were planted are counted exactly, whatever is learned of the data.
#![cfg(feature = "cli")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

struct Workplace(TempDir);

impl Workplace {
    fn new() -> Workplace {
        Workplace(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, contents).unwrap();
        path
    }

    fn run(&self, arguments: &[&str]) -> Output {
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
    fn survey(&self, head: &str, stage: &str) -> Value {
        let text = format!("name = \"own\"\n{head}\n[[stage]]\nname = \"s\"\n{stage}\n");
        self.write("run.toml", text);
        self.json(&["doctor", "run.toml", "--json"])
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn refused(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
        error
    }
}

/// Whole numbers of a value.
fn numbers<const N: usize>(of: &Value, keys: [&str; N]) -> [u64; N] {
    keys.map(|key| of[key].as_u64().unwrap_or_else(|| panic!("{key}: {of}")))
}

/// The messages of the warnings with this key.
fn warned(survey: &Value, key: &str) -> Vec<String> {
    let all = survey["warnings"].as_array().unwrap().iter();
    let of = all.filter(|w| w["key"] == key);
    of.map(|w| w["message"].as_str().unwrap().to_string())
        .collect()
}

/// What the warnings with this key say, where there is one.
fn says(survey: &Value, key: &str, words: &[&str]) {
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
fn letters(number: usize) -> String {
    let digits = number.to_string().into_bytes().into_iter();
    digits
        .map(|digit| char::from(digit - b'0' + b'a'))
        .collect()
}

/// `words` words of a few, and one in their middle that no other text has.
fn text(number: usize, words: usize) -> String {
    let word = |n: usize| format!("w{}", letters((number * 7 + n * (1 + number % 5)) % 40));
    let mut all: Vec<String> = (0..words).map(word).collect();
    all.insert(words / 2, format!("t{}", letters(number)));
    all.join(" ")
}

const SMALL: &str =
    "[tokenizer]\nvocabulary = 1000\nmin_frequency = 1\n[model]\nembedding = 8\nhidden = 8\n";
const PIECES: &str = "[tokenizer]\nkind = \"wordpiece\"\nvocabulary = 1000\nmin_frequency = 1\n";
const SIZES: &str = "hidden = 16\nlayers = 1\nheads = 2\nmax_positions = 64\n";

fn files(more: &str) -> String {
    format!("[data]\nsource = \"files\"\n{more}")
}

/// A table of 60 texts of 5 tokens, with 4 copies (1 with another label), 3 rows without text, 2 without a
/// label, 6 texts of 40 tokens, and a test table in which 7 of 20 texts stand in it.
fn classes(w: &Workplace) {
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

#[test]
fn classes_of_texts() {
    let w = Workplace::new();
    classes(&w);
    let data = files("path = \"train.csv\"\ntest = \"test.csv\"\nvalidation = 0");
    let stage = "kind = \"finetune\"\nobjective = \"classify\"\nmax_len = 16\nbatch = 10";
    let survey = w.survey(&format!("{SMALL}{data}"), stage);
    let rows = numbers(
        &survey["rows"],
        ["rows", "empty", "repeated", "disagreeing"],
    );
    // The copies, and the seven texts of the test table, of which one has another label nowhere.
    assert_eq!(rows, [60 + 4 + 3 + 2 + 6 + 20, 3, 4 + 7, 1]);
    let s = &survey["stages"][0];
    assert_eq!(
        numbers(&s["leaks"], ["test", "validation", "pretrained"]),
        [7, 0, 0]
    );
    assert_eq!(s["train"]["texts"], 60 + 4 + 3 + 6);
    assert_eq!(s["train"]["tokens"], 64 * 5 + 6 * 40);
    assert_eq!(s["test"]["texts"], 20);
    // A text of 16 tokens would lose one to the <eos> behind it.
    let cut = numbers(&s["coverage"], ["texts", "cut", "tokens", "unread"]);
    assert_eq!(cut, [73, 6, 560, 6 * (40 - 15)]);
    assert_eq!(s["labels"]["without"], 2);
    let x = numbers(&s["labels"]["classes"][0], ["train", "validation", "test"]);
    let y = numbers(&s["labels"]["classes"][1], ["train", "validation", "test"]);
    assert_eq!([x, y], [[33, 0, 11], [40, 0, 9]]);
    assert_eq!(
        numbers(&s["lengths"], ["median", "most", "longest"]),
        [5, 40, 40]
    );
    // Words of the test table alone are unknown: the tokeniser is trained without it.
    assert_eq!(s["test"]["unknown"], 13);
    assert_eq!(survey["tokenizer"]["unknown"], 13);
    assert_eq!(s["batch"]["rows"], 10);
    assert_eq!(s["batches"], 8);
    let shown = s["batch"]["texts"].as_array().unwrap();
    assert!(
        shown.iter().all(|t| t.as_str().unwrap().starts_with('w')),
        "{shown:?}"
    );
    says(&survey, "data.test", &["7 of 20 texts"]);
    says(
        &survey,
        "data.path",
        &["11 of 95 rows repeat", "'train.csv' line 62, as 5"],
    );
    says(
        &survey,
        "data.text_column",
        &["3 of 95 rows have no text", "line 66"],
    );
    says(
        &survey,
        "data.label_column",
        &["1 of these have another label", "as 11"],
    );
    says(&survey, "data.label_column", &["2 texts have no label"]);
    says(
        &survey,
        "stage.s.max_len",
        &["cuts 6 of 73 texts (8.2 %)", "max_len = 43"],
    );
    // The file, its encoding and its columns.
    let file = &survey["files"][0];
    for (key, value) in [
        ("encoding", "UTF-8"),
        ("format", "csv"),
        ("text", "text"),
        ("label", "label"),
    ] {
        assert_eq!(file[key], value);
    }
}

#[test]
fn padding_is_what_is_not_text() {
    let w = Workplace::new();
    // Sixteen texts of 5 tokens and one of 12, in one batch of 20 rows of 16.
    let rows: String = (0..17)
        .map(|n| format!("{},{}\n", text(n, if n == 16 { 11 } else { 4 }), n % 2))
        .collect();
    w.write("a.csv", format!("text,label\n{rows}"));
    let data = files("path = \"a.csv\"\nvalidation = 0\ntest_share = 0");
    let stage = "kind = \"finetune\"\nobjective = \"classify\"\nmax_len = 64\nbatch = 20";
    let survey = w.survey(&format!("{SMALL}{data}"), stage);
    let batch = &survey["stages"][0]["batch"];
    assert_eq!(numbers(batch, ["rows", "length"]), [20, 16]);
    let padding = 1.0 - (16.0 * 5.0 + 12.0) / 320.0;
    assert!((batch["padding"].as_f64().unwrap() - padding).abs() < 1e-12);
    says(&survey, "stage.s.batch", &["is 20, and there are 17 texts"]);
    says(
        &survey,
        "data.test_share",
        &["nothing else is there to test"],
    );
}

#[test]
fn pairs_lose_their_second_texts() {
    let w = Workplace::new();
    // 40 pairs of 5 and 5 tokens, 3 whose second text has 30, 2 whose first has.
    let pair = |n: usize| match n {
        40..43 => (4, 29),
        43..45 => (29, 4),
        _ => (4, 4),
    };
    let rows: Vec<String> = (0..45)
        .map(|n| {
            let (a, b) = pair(n);
            let (a, b) = (text(n, a), text(n + 100, b));
            format!(
                "{{\"text\":\"{a}\",\"other\":\"{b}\",\"label\":\"{}\"}}",
                ["no", "yes"][n % 2]
            )
        })
        .collect();
    w.write("a.json", format!("[{}]", rows.join(",\n")));
    let data = files("path = \"a.json\"\npair_column = \"other\"\nvalidation = 0\ntest_share = 0");
    let stage = "kind = \"finetune\"\nobjective = \"classify\"\nmax_len = 24\nbatch = 8";
    let survey = w.survey(
        &format!("{PIECES}[model]\nkind = \"bert\"\n{SIZES}{data}"),
        stage,
    );
    let s = &survey["stages"][0];
    // [CLS] a [SEP] b [SEP]: 21 tokens of both.
    let cut = numbers(&s["coverage"], ["texts", "cut", "second_cut", "unread"]);
    let whole: u64 = s["coverage"]["tokens"].as_u64().unwrap();
    assert_eq!(cut[..3], [45, 5, 3]);
    // Words may be cut in pieces: what is read of the five is 21 tokens each, of the others all.
    let long = s["lengths"]["longest"].as_u64().unwrap();
    assert!(long >= 35 && cut[3] > 0 && cut[3] < whole, "{s}");
    says(&survey, "stage.s.max_len", &["second text of 3 pairs"]);
    assert_eq!(survey["files"][0]["pair"], "other");
    let shown = s["batch"]["texts"][0].as_str().unwrap();
    assert_eq!(shown.matches("[SEP]").count(), 2, "{shown}");
}

#[test]
fn several_labels_and_numbers() {
    let w = Workplace::new();
    // 12 texts with "a", 6 of them with "b" as well, 4 with none, in one part.
    let label = |n: usize| match n {
        0..6 => "\"a,b\"",
        6..12 => "a",
        _ => "",
    };
    let rows: String = (0..16)
        .map(|n| format!("{},{}\n", text(n, 4), label(n)))
        .collect();
    w.write("a.csv", format!("text,label\n{rows}"));
    let data = files("path = \"a.csv\"\nvalidation = 0\ntest_share = 0");
    let stage = "kind = \"finetune\"\nobjective = \"classify\"\nbatch = 4\n";
    let several = w.survey(
        &format!("{SMALL}{data}"),
        &format!("{stage}problem = \"multi_label\""),
    );
    let labels = &several["stages"][0]["labels"];
    assert_eq!(labels["none_applies"], 4);
    assert_eq!(labels["without"], 0);
    let counts = |n: usize| {
        (
            labels["classes"][n]["name"].as_str().unwrap(),
            labels["classes"][n]["train"].as_u64(),
        )
    };
    assert_eq!([counts(0), counts(1)], [("a", Some(12)), ("b", Some(6))]);
    assert_eq!(labels["imbalance"], 2.0);
    // Numbers: 1, 2, 3, 4 over and over; two without.
    let rows: String = (0..18)
        .map(|n| {
            let number = if n < 16 {
                format!("{}.5", n % 4)
            } else {
                String::new()
            };
            format!("{},{number}\n", text(n, 4))
        })
        .collect();
    w.write("a.csv", format!("text,label\n{rows}"));
    let numbers = w.survey(
        &format!("{SMALL}{data}"),
        &format!("{stage}problem = \"regression\""),
    );
    let labels = &numbers["stages"][0]["labels"];
    assert_eq!(labels["without"], 2);
    let found = &labels["numbers"];
    assert_eq!(found["count"], 16);
    let value = |key: &str| found[key].as_f64().unwrap();
    assert_eq!(
        [value("least"), value("most"), value("mean")],
        [0.5, 3.5, 2.0]
    );
    assert!((value("deviation") - 1.25f64.sqrt()).abs() < 1e-12);
}

#[test]
fn labels_of_words() {
    let w = Workplace::new();
    // 30 texts of 4 words, 5 of 20, of which 3 are copies of one another.
    let line = |number: usize, words: usize| {
        let words: Vec<String> = (0..words)
            .map(|n| format!("\"w{}\"", letters((number + n) % 30)))
            .collect();
        let tags = vec!["\"O\""; words.len() - 1].join(",") + ",\"B-X\"";
        format!("{{\"tokens\":[{}],\"tags\":[{tags}]}}\n", words.join(","))
    };
    let mut train: String = (0..30).map(|n| line(n, 4)).collect();
    train += &[
        line(1, 20),
        line(2, 20),
        line(3, 20),
        line(3, 20),
        line(3, 20),
    ]
    .concat();
    w.write("a.jsonl", &train);
    // One of the ten stands in the other file.
    let test: String = (0..10)
        .map(|n| line(if n == 0 { 0 } else { n }, if n == 0 { 4 } else { 6 }))
        .collect();
    w.write("test.jsonl", test);
    let data = files("path = \"a.jsonl\"\ntest = \"test.jsonl\"\nvalidation = 0");
    let stage = "kind = \"finetune\"\nobjective = \"token_classify\"\nmax_len = 14\nkept_end = \"head\"\nbatch = 5";
    let survey = w.survey(
        &format!("{PIECES}[model]\nkind = \"bert\"\n{SIZES}{data}"),
        stage,
    );
    let rows = numbers(&survey["rows"], ["rows", "empty", "repeated"]);
    assert_eq!(rows, [45, 0, 3]);
    let s = &survey["stages"][0];
    assert_eq!(s["leaks"]["test"], 1);
    // A row has room for 12 words: each of the five loses the last 8, and with them its B-X.
    let places = numbers(
        &s["coverage"]["answers"],
        ["all", "lost", "texts", "emptied"],
    );
    assert_eq!(places, [30 * 4 + 5 * 20, 5 * 8, 5, 0]);
    let cut = numbers(&s["coverage"], ["texts", "cut", "tokens", "unread"]);
    assert_eq!(cut, [35, 5, 220, 40]);
    let count = |n: usize| s["labels"]["classes"][n]["train"].as_u64().unwrap();
    assert_eq!([count(0), count(1)], [35, 220 - 35]);
    assert_eq!(s["labels"]["of"], "words");
    says(
        &survey,
        "stage.s.max_len",
        &["40 of 220 labels of words, in 5 texts"],
    );
    says(
        &survey,
        "data.path",
        &["3 of 45 rows", "'a.jsonl' text 34, as 33"],
    );
    // Known by its keys without a run file.
    let plain = w.json(&["doctor", "--data", "a.jsonl", "--json"]);
    assert_eq!(plain["stages"][0]["objective"], "token_classify");
    assert_eq!(plain["files"][0]["text"], "tokens");
}

/// Texts of 5 tokens, 6 of 40; 5 copies.
fn lines(w: &Workplace) {
    let mut all: Vec<String> = (0..50).map(|n| text(n, 4)).collect();
    all.extend((50..56).map(|n| text(n, 39)));
    all.extend((0..5).map(|n| text(n, 4)));
    w.write("a.txt", all.join("\n"));
}

#[test]
fn texts_to_pretrain_on() {
    let w = Workplace::new();
    lines(&w);
    let data = files("path = \"a.txt\"\nvalidation = 0\ntest_share = 0");
    let model = |kind: &str| format!("[model]\nkind = \"{kind}\"\n{SIZES}");
    let bert = format!("{PIECES}{}", model("bert"));
    let gpt = format!(
        "[tokenizer]\nkind = \"bpe\"\nvocabulary = 400\n{}",
        model("gpt2")
    );
    let tokens = 55 * 5 + 6 * 40;
    // Tokens in all, texts that are cut, tokens that are never read, answers that are lost.
    for (head, objective, length, expected) in [
        (SMALL, "lm", "bptt = 16", Some((0, 0, None))),
        (SMALL, "sa", "max_len = 16", Some((6, 6 * 25, Some(6 * 25)))),
        (&bert, "mlm", "max_len = 16", Some((0, 0, None))),
        (
            &bert,
            "mlm",
            "max_len = 16\npacking = true",
            Some((0, 0, None)),
        ),
        (&bert, "mlm_nsp", "max_len = 16", None),
        (
            &gpt,
            "clm",
            "max_len = 16\npacking = true",
            Some((0, 0, None)),
        ),
        (&gpt, "clm", "max_len = 16", None),
    ] {
        let stage =
            format!("kind = \"pretrain\"\nobjective = \"{objective}\"\n{length}\nbatch = 4");
        let survey = w.survey(&format!("{head}{data}"), &stage);
        let rows = numbers(&survey["rows"], ["rows", "empty", "repeated"]);
        assert_eq!(rows, [61, 0, 5], "{objective}");
        let s = &survey["stages"][0];
        assert_eq!(s["objective"], objective);
        assert!(s["refused"].is_null(), "{s}");
        assert_eq!(s["train"]["texts"], 61, "{objective}");
        let coverage = &s["coverage"];
        let [cut, unread, all] = numbers(coverage, ["cut", "unread", "tokens"]);
        assert_eq!(all, s["train"]["tokens"].as_u64().unwrap());
        if let Some((cuts, never, lost)) = expected {
            if head == SMALL {
                assert_eq!(all, tokens);
            }
            assert_eq!((cut, unread), (cuts, never), "{objective}");
            assert_eq!(coverage["answers"]["lost"].as_u64(), lost, "{objective}");
        }
        let batch = &s["batch"];
        assert_eq!(batch["rows"], 4, "{objective}");
        assert!(batch["length"].as_u64().unwrap() <= 16, "{objective}");
        assert!(
            (0.0..1.0).contains(&batch["padding"].as_f64().unwrap()),
            "{objective}"
        );
        assert!(
            !batch["texts"].as_array().unwrap().is_empty(),
            "{objective}"
        );
        if objective.starts_with("mlm") {
            assert!(batch["texts"].to_string().contains("[MASK]"), "{batch}");
        }
    }
}

#[test]
fn tokens_that_a_causal_model_never_says() {
    let w = Workplace::new();
    // Bytes are tokens of their own: 256, and <|endoftext|>.
    let rows = [
        "aaaa",
        "bbbbbbbbbbbbbbbbbbbb",
        "cccccccccccccc",
        "ddddddddddddd",
    ];
    w.write("a.txt", rows.join("\n"));
    let head =
        format!("[tokenizer]\nkind = \"bpe\"\nvocabulary = 257\n[model]\nkind = \"gpt2\"\n{SIZES}");
    let data = files("path = \"a.txt\"\nvalidation = 0.25\ntest_share = 0");
    let stage = "kind = \"pretrain\"\nobjective = \"clm\"\nmax_len = 14\nbatch = 2";
    let survey = w.survey(&format!("{head}{data}"), stage);
    let coverage = &survey["stages"][0]["coverage"];
    let train = numbers(&survey["stages"][0]["train"], ["texts", "tokens"]);
    let answers = numbers(&coverage["answers"], ["all", "lost"]);
    assert_eq!(
        answers[0],
        train[0] + train[1],
        "each text has its tokens and an <eos> to say"
    );
    // Of 14 places a text of 13 fills all with its <eos>, one of 14 loses the <eos>, one of 20 six tokens more.
    let held = 51 - train[1];
    let lost = match held {
        4 => 7 + 1,
        20 => 1,
        14 => 7,
        13 => 7 + 1,
        other => panic!("{other}"),
    };
    assert_eq!(answers[1], lost, "without the text of {held}");
    // Of a pair the answer is said: prompts go first, then the answer's end.
    let pairs = [
        ("aaaa", "bbbb"),
        ("aaaaaaaaaaaaaaaaaaaa", "bbbb"),
        ("a", "bbbbbbbbbbbbbbbbbbbb"),
        ("aa", "b"),
    ];
    let rows: String = pairs
        .iter()
        .map(|(a, b)| format!("{{\"text\":\"{a}\",\"answer\":\"{b}\"}}\n"))
        .collect();
    w.write(
        "b.jsonl",
        format!("{rows}{{\"text\":\"z\",\"answer\":\"zz\"}}\n"),
    );
    let data =
        files("path = \"b.jsonl\"\npair_column = \"answer\"\nvalidation = 0\ntest_share = 0");
    let survey = w.survey(&format!("{head}{data}"), stage);
    let coverage = &survey["stages"][0]["coverage"];
    assert_eq!(numbers(coverage, ["texts", "cut", "second_cut"]), [5, 2, 1]);
    // 20 b and an <eos> to say, of which 14 have a place.
    let answers = numbers(&coverage["answers"], ["all", "lost", "texts", "emptied"]);
    assert_eq!(answers, [5 + 5 + 21 + 2 + 3, 21 - 14, 1, 0]);
    // What is read of the second: 13 of 24 tokens and two <eos>; of the third the answer alone.
    assert_eq!(coverage["unread"], 24 - 13 + 21 - 14);
}

#[test]
fn a_label_and_the_text() {
    let w = Workplace::new();
    classes(&w);
    let data = files("path = \"train.csv\"\ntest = \"test.csv\"\nvalidation = 0");
    for auxiliary in ["lm", "sa"] {
        let stage = format!(
            "kind = \"finetune\"\nobjective = \"joint\"\nauxiliary = \"{auxiliary}\"\nmax_len = 16\nbatch = 10"
        );
        let survey = w.survey(&format!("{SMALL}{data}"), &stage);
        let s = &survey["stages"][0];
        assert_eq!(
            numbers(&s["coverage"], ["texts", "cut", "unread"]),
            [73, 6, 150]
        );
        assert_eq!(s["leaks"]["test"], 7);
        assert_eq!(s["labels"]["classes"][1]["train"], 40);
    }
}

#[test]
fn what_one_stage_read_before_another_is_tested_on_it() {
    let w = Workplace::new();
    classes(&w);
    let more: String = (0..40).chain(200..205).map(|n| text(n, 4) + "\n").collect();
    w.write("more.txt", more);
    let data = files(
        "path = \"train.csv\"\ntest = \"test.csv\"\nunlabelled = [\"more.txt\"]\nvalidation = 0",
    );
    let stages = "kind = \"pretrain\"\nobjective = \"lm\"\n[[stage]]\nname = \"t\"\nkind = \"finetune\"\n\
                  objective = \"classify\"\ninit = \"s\"";
    let survey = w.survey(&format!("{SMALL}{data}"), stages);
    let s = &survey["stages"][1];
    // The texts 200 to 204 and 0 to 6.
    assert_eq!(numbers(&s["leaks"], ["test", "pretrained"]), [7, 12]);
    says(&survey, "data.unlabelled", &["12 of 20 texts"]);
}

#[test]
fn words_that_the_tokeniser_does_not_know() {
    let w = Workplace::new();
    let known: String = (0..30)
        .map(|n| format!("{},{}\n", text(0, 4), n % 2))
        .collect();
    w.write("known.csv", format!("text,label\n{known}"));
    // 30 texts of 5 tokens, in each of which 2 are unknown to a tokeniser of the other table.
    let mut rows = String::from("text,label\n");
    for n in 0..30 {
        rows += &format!(
            "wa wb wc strange{} other{},{}\n",
            letters(n),
            letters(n),
            n % 2
        );
    }
    w.write("a.csv", rows);
    let tokenizer = [
        "tokenizer",
        "train",
        "--kind",
        "word",
        "--min-frequency",
        "1",
        "--data",
        "known.csv",
        "--out",
        "tok",
    ];
    assert!(w.run(&tokenizer).status.success());
    let stage = "kind = \"finetune\"\nobjective = \"classify\"\nbatch = 4";
    let data = files("path = \"a.csv\"");
    let head = format!(
        "[tokenizer]\nfile = \"tok/tokenizer.json\"\n[model]\nembedding = 8\nhidden = 8\n{data}"
    );
    let survey = w.survey(&head, stage);
    assert_eq!(
        numbers(&survey["tokenizer"], ["tokens", "unknown"]),
        [150, 60]
    );
    says(
        &survey,
        "tokenizer.file",
        &["40.0 % of the tokens (60 of 150)"],
    );
    // One that is trained on them knows what comes twice.
    let head =
        format!("[tokenizer]\nmin_frequency = 2\n[model]\nembedding = 8\nhidden = 8\n{data}");
    let survey = w.survey(&head, stage);
    assert_eq!(
        numbers(&survey["tokenizer"], ["tokens", "unknown"]),
        [150, 60]
    );
    says(&survey, "tokenizer.min_frequency", &["60 of 150"]);
}

#[test]
fn characters_that_went_wrong_and_files_in_other_encodings() {
    let w = Workplace::new();
    let mut rows: Vec<String> = (0..20)
        .map(|n| format!("{},{}", text(n, 4), n % 2))
        .collect();
    rows[3] = "caf\u{c3}\u{a9} noir it\u{e2}\u{20ac}\u{2122}s,1".into();
    rows[4] = "na\u{c3}\u{af}ve,0".into();
    rows[5] = "lost \u{fffd} here,1".into();
    rows[6] = "a \u{7}bell,0".into();
    rows[7] = "caf\u{e9} na\u{ef}ve 走れ ± £5,1".into();
    let table = format!("text;label\r\n{}\r\n", rows.join("\r\n")).replace(',', ";");
    let wide: Vec<u8> = format!("\u{feff}{table}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    w.write("wide.csv", wide);
    w.write("marked.csv", format!("\u{feff}{table}"));
    for (name, encoding) in [
        ("wide.csv", "UTF-16LE"),
        ("marked.csv", "UTF-8 with a byte order mark"),
    ] {
        let survey = w.json(&["doctor", "--data", name, "--json"]);
        let rows = numbers(
            &survey["rows"],
            ["rows", "garbled", "unreadable", "control"],
        );
        assert_eq!(rows, [20, 2, 1, 1], "{name}");
        assert_eq!(survey["files"][0]["encoding"], encoding);
        assert_eq!(survey["files"][0]["separator"], ";");
        says(
            &survey,
            "data.path",
            &["2 of 20 rows look like UTF-8", "line 5"],
        );
    }
}

#[test]
fn what_could_not_be_trained_on_is_said_of_its_stage() {
    let w = Workplace::new();
    let rows: String = (0..20)
        .map(|n| format!("{},{}\n", text(n, 4), if n == 7 { "rare" } else { "often" }))
        .collect();
    w.write("a.csv", format!("text,label\n{rows}"));
    let survey = w.json(&["doctor", "--data", "a.csv", "--json"]);
    let refused = survey["stages"][0]["refused"].as_str().unwrap();
    assert!(
        refused.contains("class 'rare' has 1 of the 3 examples"),
        "{refused}"
    );
    says(&survey, "stage.data", &["would be refused", "'rare'"]);
    // Columns that nobody named.
    w.write(
        "b.csv",
        "id,remark,mood\n1,so it goes,x\n2,and so on,y\n3,over and out,x\n4,here we are,y\n",
    );
    let survey = w.json(&[
        "doctor",
        "--data",
        "b.csv",
        "--set",
        "data.label_column=mood",
        "--set",
        "data.validation=0",
        "--set",
        "data.test_share=0",
        "--json",
    ]);
    assert_eq!(survey["stages"][0]["objective"], "classify");
    assert_eq!(survey["files"][0]["guessed"], true);
    says(
        &survey,
        "data.text_column",
        &["'remark' was taken for the text, of id, remark, mood"],
    );
    assert!(survey["stages"][0]["refused"].is_null());
}

#[test]
fn a_table_without_json_says_the_same_and_wrong_input_has_its_code() {
    let w = Workplace::new();
    classes(&w);
    let output = w.run(&[
        "doctor",
        "--data",
        "train.csv",
        "--set",
        "stage.data.max_len=16",
    ]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for words in [
        "train.csv: csv, UTF-8",
        "75 rows, 3 empty, 4 repeated",
        "stage 'data': classify",
        "| training   |",
        "| x     |",
        "warning: data.path: 4 of 75 rows repeat",
        "warning: stage.data.max_len: cuts",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // A preset, with the data's place.
    let preset = w.json(&[
        "doctor",
        "--preset",
        "demo",
        "--json",
        "--set",
        "data.demo.unlabelled=100",
    ]);
    assert_eq!(preset["rows"]["rows"], 100 + 300 + 100 + 1000);
    for (arguments, code, words) in [
        (&["doctor", "--data", "none.csv"][..], 5, "none.csv"),
        (&["doctor", "nowhere.toml"], 5, "nowhere.toml"),
        (
            &["doctor", "--set", "stage.data.lr=1"],
            2,
            "--set: is for runs",
        ),
        (&["doctor", "--data", "train.csv", "--quick"], 2, "--quick"),
        (
            &[
                "doctor",
                "--data",
                "train.csv",
                "--set",
                "stage.data.max_len=1",
            ],
            2,
            "stage.data.max_len: is 1",
        ),
        (
            &[
                "doctor",
                "--data",
                "train.csv",
                "--set",
                "data.text_column=9",
            ],
            2,
            "data.text_column",
        ),
        (
            &[
                "doctor",
                "--data",
                "train.csv",
                "--set",
                "stage.data.batsch=1",
            ],
            2,
            "batsch",
        ),
        (
            &["doctor", "--preset", "finetune", "--data", "train.csv"],
            2,
            "--init",
        ),
        (&["doctor", "--preset", "nonsense"], 2, "nonsense"),
    ] {
        let error = w.refused(arguments, code);
        assert!(error.contains(words), "{error}");
    }
    w.write("bad.csv", "text,label\na,x\nb,y,z\n");
    let error = w.refused(&["doctor", "--data", "bad.csv"], 4);
    assert!(error.contains("'bad.csv' line 3"), "{error}");
}
