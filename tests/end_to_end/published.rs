//! Data as they are published, trained on with `--data FILE` and at most options.

use super::support::{Workplace, stage};

fn run(model: &str, lines: &str) -> Workplace {
    let head = format!(
        "name = \"own\"\n[tokenizer]\n{model}\n[data]\nsource = \"files\"\nvalidation = 0.2\ntest_share = 0.2\n\
         [defaults.finetune]\nobjective = \"classify\"\nbatch = 4\nmax_len = 12\nbudget = {{ steps = 2 }}\n"
    );
    Workplace::with(&head, &[stage("finetune", "finetune", lines)])
}

const LSTM: &str = "min_frequency = 1\n[model]\nembedding = 8\nhidden = 8";
const BERT: &str = "kind = \"wordpiece\"\nvocabulary = 200\nmin_frequency = 1\n[model]\nkind = \"bert\"\nhidden = 16\n\
                    layers = 1\nheads = 2\nmax_positions = 16";

fn rows(row: impl Fn(usize) -> String) -> String {
    (0..20).map(row).collect()
}

fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "'{word}' is not in: {text}");
    }
}

/// Trains to a good end; what was said on the way.
fn trained(w: &Workplace, options: &[&str]) -> String {
    let out = w.run(&[&["train", "run.toml"], options].concat());
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{options:?}: {error}");
    error
}

#[test]
fn a_table_without_header_and_options_for_what_is_changed_most() {
    let w = run(LSTM, "");
    let cola = rows(|n| format!("gj04\t{}\t\tThey drank the \"pub {n} times.\n", n % 2));
    w.write("train.tsv", cola);
    let refused = w.refused(&["train", "run.toml", "--data", "train.tsv"], 4);
    says(
        &refused,
        &["no label column", "--label COLUMN, or data.label_column"],
    );
    let options = [
        "--label", "1", "--lr", "0.01", "--epochs", "1", "--batch", "5",
    ];
    let said = trained(
        &w,
        &[&["--data", "train.tsv", "--out", "a"][..], &options].concat(),
    );
    says(&said, &["text '3', label '1', by number (from 0)"]);
    let config = String::from_utf8(w.read("a/config.toml")).unwrap();
    says(
        &config,
        &["label_column = 1", "lr = 0.01", "epochs = 1.0", "batch = 5"],
    );
    // What is named is read, and what is set stands over the options.
    let options = [
        "--text",
        "0",
        "--label",
        "1",
        "--batch",
        "5",
        "--set",
        "stage.finetune.batch=6",
    ];
    trained(
        &w,
        &[&["--data", "train.tsv", "--out", "b"][..], &options].concat(),
    );
    let config = String::from_utf8(w.read("b/config.toml")).unwrap();
    says(&config, &["text_column = 0", "batch = 6"]);
    let refused = w.refused(
        &[
            "train",
            "run.toml",
            "--data",
            "train.tsv",
            "--label",
            "1",
            "--lr",
            "0",
        ],
        2,
    );
    says(&refused, &["stage.finetune.lr"]);
}

#[test]
fn pairs_train_a_model_that_reads_two_texts() {
    let mrpc = "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n".to_string()
        + &rows(|n| {
            format!(
                "{}\t{n}\t{n}\tHe said \"{n} things.\tShe \"heard {n}.\r\n",
                n % 2
            )
        });
    let w = run(BERT, "");
    w.write("train.tsv", &mrpc);
    let said = trained(&w, &["--data", "train.tsv"]);
    says(
        &said,
        &["text '#1 String', second text '#2 String', label 'Quality'"],
    );
    let lstm = run(LSTM, "");
    lstm.write("train.tsv", &mrpc);
    let refused = lstm.refused(&["train", "run.toml", "--data", "train.tsv"], 2);
    says(
        &refused,
        &["data.pair_column", "--text COLUMN (data.text_column)"],
    );
    trained(&lstm, &["--data", "train.tsv", "--text", "#1 string"]);
}

#[test]
fn scores_of_pairs_are_learned_as_numbers() {
    let sts = "index\tgenre\tsource1\tsource2\tsentence1\tsentence2\tscore\n".to_string()
        + &rows(|n| {
            format!(
                "{n}\tnews\tnone\tnone\tA \"plane {n}\tA kite {n}\t{}.25\n",
                n % 5
            )
        });
    let w = run(BERT, "problem = \"regression\"");
    w.write("train.tsv", sts);
    let said = trained(&w, &["--data", "train.tsv"]);
    says(
        &said,
        &["text 'sentence1', second text 'sentence2', label 'score'"],
    );
}

#[test]
fn several_files_are_one_data_set() {
    let w = run(LSTM, "");
    let part = |from: usize| {
        "text,label\n".to_string() + &rows(|n| format!("said {} so,{}\n", from + n, n % 2))
    };
    w.write("a.csv", part(0));
    w.write("b.csv", part(20));
    let count = |options: &[&str]| {
        let survey = w.good(&[&["doctor", "run.toml", "--json"], options].concat());
        let survey: serde_json::Value = serde_json::from_str(&survey).unwrap();
        survey["rows"]["rows"].as_u64().unwrap()
    };
    assert_eq!(count(&["--data", "a.csv"]), 20);
    assert_eq!(count(&["--data", "a.csv", "--data", "b.csv"]), 40);
    assert_eq!(count(&["--set", "data.path=['a.csv', 'b.csv']"]), 40);
    trained(&w, &["--data", "a.csv", "b.csv", "--out", "both"]);
    let config = String::from_utf8(w.read("both/config.toml")).unwrap();
    says(&config, &["a.csv", "b.csv"]);
    // What was trained on is remembered, file by file.
    let print = String::from_utf8(w.read("both/fingerprint.json")).unwrap();
    says(&print, &["data.path[0]", "data.path[1]"]);
    w.write("c.csv", "review,stars\nso,1\n");
    let refused = w.refused(&["train", "run.toml", "--data", "a.csv", "c.csv"], 2);
    says(&refused, &["data.path", "a.csv", "c.csv", "label 'stars'"]);
    let refused = w.refused(&["train", "run.toml", "--set", "data.path=[]"], 2);
    says(&refused, &["data.path: is an empty list"]);
}

/// What makes a preset of the paper small enough for a test.
const TINY: [&str; 10] = [
    "--scale",
    "small",
    "--set",
    "model.embedding=8",
    "--set",
    "model.hidden=8",
    "--set",
    "stage.*.budget={ steps = 2 }",
    "--set",
    "stage.finetune.max_len=16",
];

#[test]
fn lstms_on_files_of_ones_own() {
    let w = Workplace::with("", &[]);
    let reviews: String = (0..40)
        .map(|n| format!("so fine {n} a film,{}\n", n % 2))
        .collect();
    w.write("reviews.csv", format!("review,sentiment\n{reviews}"));
    w.write("more.txt", rows(|n| format!("another text {n}\n")));
    for preset in ["lstm", "lm-lstm", "sa-lstm"] {
        let run = [
            "train",
            "--quiet",
            "--preset",
            preset,
            "--data",
            "reviews.csv",
            "--out",
            preset,
        ];
        let table = w.good(&[&run[..], &TINY].concat());
        says(&table, &["test error %"]);
    }
    let more = ["--unlabelled", "more.txt", "--out", "more"];
    let run = [
        "train",
        "--quiet",
        "--preset",
        "lm-lstm",
        "--data",
        "reviews.csv",
    ];
    w.good(&[&run[..], &more, &TINY].concat());
    let config = String::from_utf8(w.read("more/config.toml")).unwrap();
    says(&config, &["text = \"unlabelled\""]);
    // A file of one's own given to a data set's preset.
    w.write(
        "three.csv",
        format!(
            "id,text,label\n{}",
            rows(|n| format!("{n},so fine {n},{}\n", n % 2))
        ),
    );
    w.write(
        "bare.csv",
        rows(|n| format!("{},so fine {n},x\n", ["good", "bad"][n % 2])),
    );
    for preset in ["lstm-imdb", "sa-lstm-rt", "lstm-20ng", "lstm-dbpedia"] {
        for own in ["reviews.csv", "three.csv", "bare.csv"] {
            let refused = w.refused(&["train", "--preset", preset, "--data", own], 2);
            let own = format!("'{own}'");
            says(
                &refused,
                &[
                    &own,
                    "--preset lstm, lm-lstm or sa-lstm",
                    "--text and --label",
                    "data.source",
                ],
            );
        }
    }
}

#[test]
fn a_folder_of_folders_is_learned_as_classes() {
    let w = Workplace::with("", &[]);
    for (class, word) in [("pos", "fine"), ("neg", "dull")] {
        std::fs::create_dir_all(w.path(&format!("reviews/{class}"))).unwrap();
        for n in 0..20 {
            w.write(
                &format!("reviews/{class}/{n}.txt"),
                format!("so {word} {n}\na film\n"),
            );
        }
    }
    let run = [
        "train", "--preset", "lstm", "--data", "reviews", "--out", "run",
    ];
    let out = w.run(&[&run[..], &TINY].concat());
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{said}");
    says(&said, &["'reviews'", "2 classes by its folders: neg, pos"]);
    let scores: serde_json::Value =
        serde_json::from_str(&w.good(&["eval", "run", "--data", "reviews", "--json"])).unwrap();
    assert_eq!(scores["examples"], 40);
    assert_eq!(
        scores["classes"]["names"].as_array().map(Vec::len),
        Some(2),
        "{scores}"
    );
    // Asked about, each text goes by its file.
    w.good(&["predict", "run", "reviews", "--out", "said.csv"]);
    let said = String::from_utf8(w.read("said.csv")).unwrap();
    says(
        &said,
        &[
            "file,text,prediction,p_neg,p_pos",
            "neg/0.txt",
            "pos/19.txt",
        ],
    );
    // Not laid out as IMDB: its preset says what to do.
    let refused = w.refused(&["train", "--preset", "lstm-imdb", "--data", "reviews"], 2);
    says(
        &refused,
        &["data.source", "--preset lstm, lm-lstm or sa-lstm"],
    );
}

#[test]
fn newsgroups_and_dbpedia_are_read_as_they_are_distributed() {
    let w = Workplace::with("", &[]);
    for (part, count) in [("20news-bydate-train", 12), ("20news-bydate-test", 4)] {
        for group in ["alt.atheism", "sci.space"] {
            let folder = format!("news/{part}/{group}");
            std::fs::create_dir_all(w.path(&folder)).unwrap();
            for n in 0..count {
                let mut posting =
                    format!("From: someone {n}\nSubject: {group}\n\nIt is so {n}, ").into_bytes();
                // Latin-1, as old postings are.
                posting.extend(b"na\xefve.\n");
                w.write(&format!("{folder}/{}", 1000 + n), posting);
            }
        }
    }
    let survey = |preset: &str, data: &str| -> serde_json::Value {
        let run = ["doctor", "--json", "--preset", preset, "--data", data];
        serde_json::from_str(&w.good(&[&run[..], &TINY].concat())).unwrap()
    };
    let news = survey("lm-lstm-20ng", "news");
    let stage = &news["stages"][1];
    assert_eq!(stage["test"]["texts"], 8);
    assert_eq!(stage["labels"]["classes"][1]["name"], "sci.space");
    assert_eq!(news["rows"]["unreadable"], 0);
    assert_eq!(news["rows"]["garbled"], 0);
    std::process::Command::new("tar")
        .args(["-czf", "20news-bydate.tar.gz", "-C", "news", "."])
        .current_dir(w.path(""))
        .status()
        .unwrap();
    assert_eq!(
        survey("lstm-20ng", "20news-bydate.tar.gz")["stages"][0]["test"]["texts"],
        8
    );
    std::fs::create_dir_all(w.path("dbpedia_csv")).unwrap();
    let table = |from: usize, count: usize| -> String {
        let row = |n: usize| {
            let class = 1 + n % 2;
            format!("{class},\"E. D. \"\"Abbott\"\" {n}\",\" Abbott of Farnham {n}, a company.\"\n")
        };
        (from..from + count).map(row).collect()
    };
    w.write("dbpedia_csv/train.csv", table(0, 24));
    w.write("dbpedia_csv/test.csv", table(24, 6));
    w.write(
        "dbpedia_csv/classes.txt",
        "Company\nEducationalInstitution\n",
    );
    w.write(
        "dbpedia_csv/readme.txt",
        "DBpedia Ontology Classification Dataset\n",
    );
    let dbpedia = survey("sa-lstm-dbpedia", "dbpedia_csv");
    let stage = &dbpedia["stages"][1];
    assert_eq!(stage["test"]["texts"], 6);
    assert_eq!(stage["labels"]["classes"].as_array().unwrap().len(), 2);
    // Bytes, one for a letter.
    assert_eq!(
        stage["lengths"]["median"],
        " Abbott of Farnham 10, a company.".len()
    );
    for (preset, data) in [("lm-lstm-20ng", "news"), ("lm-lstm-dbpedia", "dbpedia_csv")] {
        let run = ["train", "--quiet", "--preset", preset, "--data", data];
        says(&w.good(&[&run[..], &TINY].concat()), &["test error %"]);
    }
}

#[test]
fn a_dry_run_reads_the_data() {
    let w = run(LSTM, "accumulate = 2\nbudget = { epochs = 3 }");
    let table: String = (0..60)
        .map(|n| {
            format!(
                "{} {}\t{}\n",
                "word ".repeat(1 + n % 20),
                n % 7,
                ["bad", "fair", "good"][n % 3]
            )
        })
        .collect();
    w.write("own.tsv", format!("review\tsentiment\n{table}"));
    let dry = ["train", "run.toml", "--dry-run", "--data", "own.tsv"];
    let said = w.good(&dry);
    says(
        &said,
        &[
            "own.tsv: tsv, UTF-8, fields separated by '\\t'; text: review; label: sentiment",
            "60 rows, 0 empty",
            "| training   |",
            "| fair  |",
            "lengths: half of the texts have",
            "cut: ",
            "with the vocabulary and classes of the data",
        ],
    );
    assert!(!w.path("runs").exists());
    let json = w.good(&[&dry[..], &["--json"]].concat());
    let plan: serde_json::Value = serde_json::from_str(&json).unwrap();
    let (stage, data) = (&plan["stages"][0], &plan["data"]);
    // Sixty texts: twelve to test on, ten of the rest to choose by; four a batch, two batches a step.
    let learned = data["stages"][0]["train"]["texts"].as_u64().unwrap();
    assert_eq!(
        data["stages"][0]["labels"]["classes"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let an_epoch = stage["steps_per_epoch"].as_u64().unwrap();
    assert!(an_epoch >= learned.div_ceil(8), "{learned} {an_epoch}");
    assert_eq!(stage["steps"], 3 * an_epoch);
    // The sizes are those of the run: words, and three classes.
    let words = data["tokenizer"]["vocabulary"].as_u64().unwrap();
    assert_eq!(
        stage["size"]["parameters"],
        words * 8 + 4 * 8 * (8 + 8 + 2) + 8 * 3 + 3
    );
    w.good(&[
        "train", "run.toml", "--quiet", "--data", "own.tsv", "--out", "real",
    ]);
    let done: serde_json::Value =
        serde_json::from_slice(&w.read("real/finetune/done.json")).unwrap();
    assert_eq!(done["steps"], stage["steps"]);
    // What training would end with, it ends with.
    let wrong = |options: &[&str], code: i32, words: &[&str]| {
        says(&w.refused(&[&dry[..3], options].concat(), code), words);
    };
    wrong(&["--data", "none.tsv"], 5, &["none.tsv"]);
    // Before it is said that the model is too large.
    let huge = ["--data", "none.tsv", "--set", "model.hidden=16384"];
    wrong(&huge, 5, &["none.tsv"]);
    wrong(
        &["--data", "own.tsv", "--unlabelled", "none.txt"],
        5,
        &["none.txt"],
    );
    wrong(
        &["--data", "own.tsv", "--label", "mood"],
        2,
        &["label column 'mood'"],
    );
    w.write(
        "one.tsv",
        "text\tlabel\na text\tx\nanother\tx\nand more\tx\n",
    );
    wrong(
        &["--data", "one.tsv"],
        4,
        &["labelled examples of two classes"],
    );
    w.write("cut.tsv", "text\tlabel\na text\tx\nanother\n");
    wrong(&["--data", "cut.tsv"], 4, &["cut.tsv' line 3"]);
}
