//! Data that a run cannot be made of, and settings that do not fit them: what is said, and what is done
//! without a word.

use super::support::{Workplace, data, stage};

/// A run over a file of its own, with the settings of `lines` under `[data]`.
fn run(lines: &str, stages: &[String]) -> Workplace {
    let head = "name = \"own\"\n[tokenizer]\nmin_frequency = 1\n[model]\nembedding = 8\nhidden = 8\n\
                [defaults.finetune]\nobjective = \"classify\"\nbatch = 4\nmax_len = 8\n\
                budget = { steps = 2 }\n[data]\nsource = \"files\"\n";
    Workplace::with(&format!("{head}{lines}\n"), stages)
}

/// A csv of so many texts of each class.
fn table(classes: &[(&str, usize)]) -> String {
    let each = |(class, count): &(&str, usize)| -> String {
        (0..*count)
            .map(|n| format!("said {n} times so,{class}\n"))
            .collect()
    };
    "text,label\n".to_string() + &classes.iter().map(each).collect::<String>()
}

fn says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "'{word}' is not in: {error}");
    }
}

#[test]
fn a_rare_class_is_counted_as_it_stands_in_the_file() {
    let w = run("path = 'own.csv'", &[stage("a", "finetune", "")]);
    let train = |set: &[&str], out: &str| {
        let rest = ["train", "run.toml", "--quiet", "--out", out];
        [&rest, set]
            .concat()
            .into_iter()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    let refused = |set: &[&str], code: i32| {
        let arguments = train(set, "bad");
        w.refused(
            &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
            code,
        )
    };
    w.write("own.csv", table(&[("often", 20), ("rare", 2), ("lone", 1)]));
    says(
        &refused(&[], 4),
        &[
            "class 'lone' has 1 of the 3 examples needed in the data",
            "so has another class",
            "data.validation = 0 or data.test_share = 0",
        ],
    );
    w.write("own.csv", table(&[("often", 20), ("rare", 2)]));
    says(&refused(&[], 4), &["'rare' has 2 of the 3 examples"]);
    // As it says: without a part it goes.
    let without = ["--set", "data.test_share=0"];
    let arguments = train(&without, "good");
    let table = w.good(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    says(&table, &["validation error %"]);
    // Folds are named by their key, with the number that does.
    says(
        &refused(&["--set", "stage.a.folds=3"], 2),
        &["stage.a.folds: is 3, and class 'rare' has 2 examples; set it to 2 or less"],
    );
}

#[test]
fn numbers_that_look_like_amounts_lead_to_regression_and_lists_to_several_labels() {
    let w = run("path = 'own.csv'", &[stage("a", "finetune", "")]);
    let train = ["train", "run.toml", "--quiet", "--dry-run"];
    let remedy = "--set stage.a.problem=regression";
    let scores = ["0.25", "1.5", "4.75"].map(|score| (score, 1));
    w.write("own.csv", table(&scores));
    let error = w.run(&train);
    assert_eq!(error.status.code(), Some(4));
    let error = String::from_utf8_lossy(&error.stderr).into_owned();
    says(error.lines().last().unwrap(), &["'0.25' has 1", remedy]);
    // Enough of each to be classes.
    let said = |classes: &[(&str, usize)]| {
        w.write("own.csv", table(classes));
        let out = w.run(&train);
        assert!(out.status.success(), "{out:?}");
        String::from_utf8_lossy(&out.stderr).contains(remedy)
    };
    let stars = ["1", "2", "3", "4", "5"].map(|star| (star, 9));
    assert!(said(&stars));
    assert!(!said(&stars[..2]) && !said(&[("x", 9), ("y", 9)]));

    w.write(
        "own.jsonl",
        "{\"text\": \"so\", \"labels\": [\"x\", \"y\"]}\n",
    );
    let error = w.refused(&[&train[..], &["--data", "own.jsonl"]].concat(), 4);
    says(&error, &["--set stage.NAME.problem=multi_label"]);
}

#[test]
fn words_with_labels_lead_to_the_objective_that_learns_them() {
    let w = run("path = 'own.csv'", &[stage("a", "finetune", "")]);
    let words = "Melos B-PER\nran O\n\nDionys B-PER\nin O\n\n".repeat(9);
    w.write("own.conll", &words);
    let object = "{\"tokens\": [\"Melos\", \"ran\"], \"tags\": [1, 0]}\n";
    w.write("own.jsonl", object.repeat(18));
    let bert = [
        "--set",
        "model={kind=\"bert\", hidden=16, layers=1, heads=2, max_positions=16}",
    ];
    let pieces = ["--set", "tokenizer.kind=wordpiece"];
    let set = ["--set", "stage.a.objective=token_classify"];
    for file in ["own.conll", "own.jsonl"] {
        let train = ["train", "run.toml", "--dry-run", "--data", file];
        let error = w.refused(&train, 2);
        says(
            &error,
            &["stage.a.objective", file, "--preset finetune --init DIR"],
        );
        let bert = [&train[..], &bert, &pieces].concat();
        let error = w.refused(&bert, 2);
        says(&error, &["stage.a.objective", file, &set.join(" ")]);
        // As it says.
        w.good(&[&bert[..], &set].concat());
    }
    // Of texts that have labels as well, the words' are not asked for.
    let both = object.replace('{', "{\"text\": \"Melos ran\", \"label\": \"LABEL\", ");
    let both = ["x", "y"].map(|label| both.replace("LABEL", label).repeat(9));
    w.write("both.jsonl", both.concat());
    w.good(&["train", "run.toml", "--dry-run", "--data", "both.jsonl"]);
}

#[test]
fn a_label_of_the_test_file_is_named_with_its_line() {
    let w = run(
        "path = 'own.csv'\ntest = 'test.csv'",
        &[stage("a", "finetune", "")],
    );
    w.write("own.csv", table(&[("x", 9), ("y", 9)]));
    w.write(
        "test.csv",
        "text,label\nsaid so,x\n\"over\ntwo lines\",y\nsaid no,z\n",
    );
    let error = w.refused(&["train", "run.toml", "--out", "out"], 4);
    says(&error, &["label 'z' in 'test.csv' line 5", "x, y"]);
}

#[test]
fn a_vocabulary_without_a_word_is_named_by_its_key() {
    let sizes =
        "[model]\nkind = \"bert\"\nhidden = 16\nlayers = 1\nheads = 2\nmax_positions = 16\n";
    let head = format!(
        "name = \"tiny\"\n[tokenizer]\nkind = \"wordpiece\"\nmin_frequency = 1\nvocabulary = 8\n{sizes}\
         [data]\nsource = \"files\"\npath = '{}'\n",
        data("unlabelled.txt").display()
    );
    let lines = "objective = \"mlm\"\nmax_len = 16\nbatch = 4\nbudget = { steps = 2 }";
    let w = Workplace::with(&head, &[stage("p", "pretrain", lines)]);
    let error = w.refused(&["train", "run.toml", "--out", "out"], 2);
    says(&error, &["tokenizer.vocabulary: is 8, with which no word"]);
    let w = run("path = 'own.csv'", &[stage("a", "finetune", "")]);
    w.write("own.csv", table(&[("x", 9), ("y", 9)]));
    let rare = ["--set", "tokenizer.min_frequency=1000"];
    let train = ["train", "run.toml", "--out", "out"];
    let error = w.refused(&[&train[..], &rare].concat(), 2);
    says(&error, &["tokenizer.min_frequency: is 1000, and no word"]);
}

#[test]
fn columns_by_number_and_lists_of_objects_train_as_the_same_rows_do() {
    let w = run("path = 'own.csv'", &[stage("a", "finetune", "")]);
    let rows = table(&[("x", 9), ("y", 9)]);
    let objects = |row: &str| {
        let (text, label) = row.split_once(',').unwrap();
        format!("{{\"text\": \"{text}\", \"label\": \"{label}\"}}")
    };
    let objects: Vec<String> = rows.lines().skip(1).map(objects).collect();
    w.write("own.csv", &rows);
    w.write(
        "turned.csv",
        rows.lines()
            .map(|row| {
                let (text, label) = row.split_once(',').unwrap();
                format!("{label},17,{text}\n")
            })
            .collect::<String>()
            .replace("label,17,text", "verdict,count,phrase"),
    );
    w.write("own.json", format!("[\n{}\n]", objects.join(",\n")));
    let weights = |name: &str, set: &[&str]| {
        let out = format!("{name}.run");
        let train = [
            "train", "run.toml", "--quiet", "--out", &out, "--data", name,
        ];
        w.good(&[&train[..], set].concat());
        w.read(&format!("{out}/a/model/model.safetensors"))
    };
    let expected = weights("own.csv", &[]);
    assert!(weights("own.json", &[]) == expected);
    let columns = [
        "--set",
        "data.text_column=2",
        "--set",
        "data.label_column=0",
    ];
    assert!(weights("turned.csv", &columns) == expected);
    // A header that is told only by its label.
    let turned = String::from_utf8(w.read("turned.csv")).unwrap();
    w.write("odd.csv", turned.replace("count", "17"));
    let train = ["train", "run.toml", "--out", "odd", "--data", "odd.csv"];
    let error = w.refused(&[&train[..], &columns].concat(), 4);
    says(
        &error,
        &["'odd.csv' line 1", "looks like a header", "'verdict'"],
    );
}

#[test]
fn numbers_have_their_scores_in_the_table_and_their_mistakes_a_line() {
    let w = run(
        "path = 'own.csv'",
        &[stage("a", "finetune", "problem = \"regression\"")],
    );
    let rows: String = (0..30)
        .map(|n| format!("said {n} times,{}\n", n as f32 / 7.0))
        .collect();
    w.write("own.csv", format!("text,label\n{rows}"));
    let table = w.good(&["train", "run.toml", "--quiet", "--out", "out"]);
    says(&table, &["squared error", "test Spearman's correlation"]);
    w.write("own.csv", format!("text,label\n{rows}never,inf\n"));
    let error = w.refused(&["train", "run.toml", "--out", "bad"], 4);
    says(&error, &["'own.csv' line 32", "'inf' is no finite number"]);
    w.write("own.csv", format!("text,label\n{rows}"));
    let folds = ["--set", "stage.a.folds=31"];
    let error = w.refused(
        &[&["train", "run.toml", "--out", "bad2"][..], &folds].concat(),
        2,
    );
    says(&error, &["stage.a.folds: is 31", "30 texts"]);
}

#[test]
fn what_a_later_stage_lacks_is_said_before_the_first_one_trains() {
    let place = Workplace::new(&[]);
    place.write("texts.txt", "one text of a few words\n".repeat(40));
    let train = [
        "train",
        "--preset",
        "lm-lstm",
        "--data",
        "texts.txt",
        "--out",
        "run",
    ];
    let said = place.refused(&[&train[..], &["--scale", "small"]].concat(), 4);
    assert!(said.contains("needs labelled examples"), "{said}");
    assert!(!place.path("run").exists());
}
