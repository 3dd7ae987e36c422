//! What is said beside numbers: words that are unknown, characters that went wrong, refusals, codes.

use super::support::{SMALL, Workplace, classes, files, letters, numbers, says, text};

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

#[test]
fn a_fault_of_several_stages_is_said_once() {
    let w = Workplace::new();
    classes(&w);
    let data = files("path = \"train.csv\"\ntest = \"test.csv\"\nvalidation = 0");
    let stages = "kind = \"finetune\"\nobjective = \"classify\"\n[[stage]]\nname = \"t\"\n\
                  kind = \"finetune\"\nobjective = \"classify\"\nmax_len = 16";
    let survey = w.survey(&format!("{SMALL}{data}"), stages);
    let all = survey["warnings"].as_array().unwrap();
    let stages = |key: &str| -> Vec<&serde_json::Value> {
        let of = all.iter().filter(|warning| warning["key"] == key);
        of.map(|warning| &warning["stages"]).collect()
    };
    assert_eq!(stages("data.test"), [&serde_json::json!(["s", "t"])]);
    assert_eq!(stages("stage.t.max_len"), [&serde_json::json!(["t"])]);
    assert_eq!(stages("data.text_column"), [&serde_json::json!([])]);
}
