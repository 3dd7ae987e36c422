//! Data with labels: of texts, pairs and words, classes and numbers.

use super::support::{
    PIECES, SIZES, SMALL, Workplace, classes, files, letters, numbers, says, text,
};

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
