//! What the user can get wrong: a documented exit code, one clear line, nothing half-written.

use super::support::{Workplace, stage};

fn classifier() -> Workplace {
    Workplace::new(&[stage("a", "finetune", "budget = { steps = 2 }")])
}

/// Trains on `reviews.csv` in the workplace, with no test file, and is refused.
fn bad_reviews(contents: impl AsRef<[u8]>, settings: &[&str]) -> String {
    let w = classifier();
    w.write("reviews.csv", contents);
    let run = String::from_utf8(w.read("run.toml")).unwrap();
    let run: String = run
        .lines()
        .filter(|line| !line.starts_with("test = ") && !line.starts_with("unlabelled = "))
        .map(|line| format!("{line}\n"))
        .collect();
    w.write("run.toml", run);
    let train = ["train", "run.toml", "--data", "reviews.csv", "--out", "out"];
    let error = w.refused(&[&train, settings].concat(), 4);
    assert!(!w.path("out/a").exists(), "a stage was begun");
    error
}

fn says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "'{word}' is not in: {error}");
    }
}

#[test]
fn data_that_are_not_there() {
    let w = classifier();
    let error = w.refused(
        &["train", "run.toml", "--data", "nowhere.csv", "--out", "out"],
        5,
    );
    says(&error, &["nowhere.csv", "no such file"]);
    assert!(!w.path("out").exists());
}

#[test]
fn data_that_cannot_be_read() {
    let error = bad_reviews("text,label\na good film,positive\nno label here\n", &[]);
    says(&error, &["reviews.csv", "line 3"]);
    let error = bad_reviews(b"text,label\na sch\xf6n film,positive\nno,negative\n", &[]);
    says(&error, &["reviews.csv", "not UTF-8", "iconv"]);
    let w = classifier();
    w.write("reviews.csv", "text,label\na good film,positive\n");
    for (column, said) in [
        ("review", "no text column 'review'"),
        ("2", "no text column number 2"),
    ] {
        let set = format!("data.text_column={column}");
        let train = ["train", "run.toml", "--data", "reviews.csv", "--set", &set];
        let error = w.refused(&train, 2);
        says(&error, &[said, "text, label", "data.text_column"]);
    }
    let error = bad_reviews("text,label\n", &[]);
    says(&error, &["reviews.csv"]);
    says(&bad_reviews("", &[]), &["reviews.csv"]);
}

#[test]
fn vectors_and_tokenisers_that_cannot_be_read() {
    let w = classifier();
    w.write("vectors.txt", "film 0.1 0.2\nstory 0.1 many\n");
    w.write("tokenizer.json", "{ \"version\": 1");
    // Vectors are data; a damaged tokeniser is a file to write anew.
    for (setting, file, code) in [
        ("model.word_vectors=\"vectors.txt\"", "vectors.txt", 4),
        ("tokenizer.file=\"tokenizer.json\"", "tokenizer.json", 5),
    ] {
        let out = file.split('.').next().unwrap();
        let error = w.refused(&["train", "run.toml", "--out", out, "--set", setting], code);
        says(&error, &[file]);
    }
}

#[test]
fn labels_that_cannot_be_learned() {
    let one = "text,label\n".to_string() + &"a good film,positive\n".repeat(20);
    says(&bad_reviews(&one, &[]), &["two classes", "positive"]);
    let lonely = one + "a bad film,negative\n";
    says(&bad_reviews(&lonely, &[]), &["negative", "1"]);
}

#[test]
fn a_model_meets_a_label_it_does_not_know_and_files_that_are_damaged() {
    let w = classifier();
    w.good(&["train", "run.toml", "--quiet", "--out", "out"]);
    w.write(
        "other.csv",
        "text,label\na film,neutral\na story,positive\n",
    );
    let error = w.refused(&["eval", "out", "--data", "other.csv"], 4);
    says(
        &error,
        &["neutral", "'other.csv' line 2", "negative, positive"],
    );
    w.write("plain.txt", "a film\na story\n");
    let error = w.refused(&["eval", "out", "--data", "plain.txt"], 4);
    says(&error, &["label"]);
    w.refused(&["eval", "out", "--data", "nowhere.csv"], 5);

    let file = "out/a/model/model.safetensors";
    let whole = w.read(file);
    let header = |length: u64| [&length.to_le_bytes()[..], &whole[8..]].concat();
    let damaged = [
        (
            whole[..whole.len() - 100].to_vec(),
            "describes more or fewer bytes than the file has",
        ),
        (whole[..5].to_vec(), "too few"),
        (header(u64::MAX), "header claims"),
        (header(whole.len() as u64), "header claims"),
    ];
    for (bytes, word) in damaged {
        w.write(file, bytes);
        let error = w.refused(&["predict", "out", "a film"], 5);
        says(&error, &["model.safetensors", word]);
    }
    w.write(file, &whole);
    w.good(&["predict", "out", "a film"]);

    let error = w.refused(&["train", "run.toml", "--out", "out"], 5);
    says(&error, &["not empty", "--resume"]);
}

#[test]
fn run_files_with_mistakes() {
    let w = classifier();
    let good = String::from_utf8(w.read("run.toml")).unwrap();
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        w.write("bad.toml", good.replacen(from, to, 1));
        w.refused(&["train", "bad.toml", "--out", "out"], 2)
    };
    says(
        &with("hidden = 16", "hiden = 16"),
        &["hiden", "did you mean 'hidden'?"],
    );
    says(
        &with("hidden = 16", "hidden = \"16\""),
        &["model.hidden", "found"],
    );
    says(&with("hidden = 16", "hidden = "), &["bad.toml", "TOML"]);
    says(&with("{ steps = 2 }", "{ stpes = 2 }"), &["stpes", "steps"]);
    let set =
        |setting: &str| w.refused(&["train", "run.toml", "--out", "out", "--set", setting], 2);
    says(&set("stage.a.btach=3"), &["btach", "did you mean 'batch'?"]);
    says(&set("stage.a.batch=many"), &["stage.a.batch"]);
    says(&set("stage.b.batch=3"), &["'b'"]);
    says(&set("stage.a.batch=0"), &["stage.a.batch", "at least 1"]);
    says(&set("stage.a.lr=1e39"), &["stage.a.lr", "positive number"]);
    let error = w.refused(&["train", "--preset", "lstm-imbd"], 2);
    says(&error, &["did you mean 'lstm-imdb'?"]);
    assert!(!w.path("out").exists(), "a run folder was made");
}

#[test]
fn training_that_diverges() {
    let w = classifier();
    let error = w.refused(
        &[
            "train",
            "run.toml",
            "--out",
            "out",
            "--quiet",
            "--set",
            "stage.a.lr=3e38",
            "--set",
            "stage.a.budget={ steps = 40 }",
        ],
        6,
    );
    says(&error, &["diverged", "'a'", "lower the learning rate"]);
    assert!(
        !w.path("out/a/model").exists(),
        "a diverged model was written"
    );
    assert!(!w.path("out/results.json").exists());
}

#[test]
fn an_adapter_that_is_not_there() {
    let w = classifier();
    let error = w.refused(
        &["train", "run.toml", "--out", "out", "--adapter", "Voodoo 2"],
        3,
    );
    says(&error, &["Voodoo 2", "available"]);
    assert!(!w.path("out").exists());
}

/// No adapter has a binding of 2^20 texts × 4,096 steps × 4 × 16,384 gates.
#[test]
fn a_model_that_does_not_fit() {
    let w = classifier();
    let sizes = [
        "--set",
        "model.hidden=16384",
        "--set",
        "stage.a.batch=1048576",
        "--set",
        "stage.a.max_len=4096",
    ];
    for command in [
        &["train", "run.toml", "--out", "out"][..],
        &["train", "run.toml", "--dry-run"],
    ] {
        let error = w.refused(&[command, &sizes[..]].concat(), 7);
        says(&error, &["stage 'a'", "does not fit", "needs", "allows"]);
        assert!(!w.path("out").exists());
    }
}

#[test]
fn a_batch_that_would_fit_is_named() {
    let w = classifier();
    let error = w.refused(
        &[
            "train",
            "run.toml",
            "--out",
            "out",
            "--set",
            "stage.a.batch=1048576",
        ],
        7,
    );
    assert!((1..1_048_576).contains(&named(&error)), "{error}");
}

/// The batch that a refusal says would fit.
fn named(error: &str) -> u64 {
    let (_, after) = error.split_once("a batch of ").expect(error);
    after.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_memory_limit_refuses_before_training_and_names_the_batch_that_fits() {
    let w = classifier();
    let limit = ["--set", "memory_limit=\"1 MiB\"", "--set"];
    let dry = ["train", "run.toml", "--dry-run"];
    let error = w.refused(&[&dry[..], &limit, &["stage.a.batch=5000"]].concat(), 7);
    says(
        &error,
        &["stage 'a'", "needs about", "memory_limit allows 1.0 MiB"],
    );
    let batch = named(&error);
    let with = |batch: u64| format!("stage.a.batch={batch}");
    w.good(&[&dry[..], &limit, &[&with(batch)]].concat());
    w.refused(&[&dry[..], &limit, &[&with(batch + 1)]].concat(), 7);
    let train = ["train", "run.toml", "--out", "out"];
    w.refused(&[&train[..], &limit, &["stage.a.batch=5000"]].concat(), 7);
    assert!(!w.path("out").exists());
    let error = w.refused(&[&dry[..], &["--set", "memory_limit=\"lots\""]].concat(), 2);
    says(&error, &["memory_limit"]);
}

/// A limit that the estimate keeps and the run does not: memory runs out on the way.
#[test]
fn memory_that_runs_out_is_a_refusal_with_a_smaller_batch() {
    let w = classifier();
    let batch = ["--set", "stage.a.batch=32"];
    let plan = w.good(&[&["train", "run.toml", "--dry-run", "--json"][..], &batch].concat());
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let size = &plan["stages"][0]["size"];
    let bytes: u64 = ["weights", "optimizer", "activations"]
        .iter()
        .map(|part| size[part].as_u64().unwrap())
        .sum();
    let limit = format!("memory_limit={bytes}");
    let train = [
        "train", "run.toml", "--quiet", "--out", "out", "--set", &limit,
    ];
    // This form packs operands, in memory that the estimate has no part for; which forms are fastest
    // is for the machine to say.
    let mut command = w.command(&[&train[..], &batch].concat());
    command.env("MELOS_KERNELS", "subgroup");
    let error = w.refused_as(command, 7);
    says(&error, &["stage 'a'", "to give", "more were needed"]);
    assert!(named(&error) < 32, "{error}");
}

/// What the user set is named by its key, whoever refuses it.
#[test]
fn sizes_that_cannot_be_are_the_users_keys() {
    let w = classifier();
    for (set, words) in [
        (
            "stage.a.max_len=1",
            &["stage.a.max_len: is 1; expected 2 or more"][..],
        ),
        (
            "stage.a.freeze='.'",
            &["stage.a.freeze: leaves nothing to train"],
        ),
    ] {
        let error = w.refused(&["train", "run.toml", "--set", set], 2);
        says(&error, words);
    }
    let reviews = super::support::data("reviews.csv").display().to_string();
    for (preset, set, words) in [
        (
            "bert-mlm",
            "stage.pretrain.max_len=4",
            "stage.pretrain.max_len: is 4; expected 5 or more",
        ),
        (
            "gpt2",
            "tokenizer.vocabulary=90",
            "tokenizer.vocabulary: is 90; expected 257 or more",
        ),
    ] {
        let mut train = vec![
            "train", "--preset", preset, "--scale", "small", "--data", &reviews,
        ];
        train.extend(["--set", "tokenizer.vocabulary=80", "--set", set]);
        says(&w.refused(&train, 2), &[words]);
    }
}

#[test]
fn without_a_test_part_or_a_cache_a_run_goes_on() {
    let w = classifier();
    w.write("cache", "a file");
    let run = String::from_utf8(w.read("run.toml")).unwrap();
    let test = run
        .lines()
        .find(|line| line.starts_with("test = "))
        .unwrap();
    w.write("run.toml", run.replace(test, "test_share = 0.0"));
    let out = w.run(&["train", "run.toml", "--quiet", "--out", "run"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    says(
        &said,
        &["cannot be written", "MELOS_CACHE names another place"],
    );
    let results = String::from_utf8(w.read("run/results.json")).unwrap();
    assert!(!results.contains("\"test\": {"), "{results}");
}
