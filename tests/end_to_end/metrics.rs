//! `metric`: by what the best checkpoint is chosen, and where it is shown.

use serde_json::Value;

use super::support::{Workplace, stage};
use super::transformers::{BERT, head, json};

/// A small LSTM that learns labels of `own.csv`.
fn run(lines: &str) -> Workplace {
    let head = "name = \"own\"\n[tokenizer]\nmin_frequency = 1\n[model]\nembedding = 8\nhidden = 8\n\
                [data]\nsource = \"files\"\npath = 'own.csv'\nvalidation = 0.3\n";
    let lines = format!("objective = \"classify\"\nbatch = 8\nmax_len = 8\n{lines}");
    let w = Workplace::with(head, &[stage("a", "finetune", &lines)]);
    let row = |n: usize| {
        let class = ["good", "fine", "bad"][n % 3];
        format!("a {class} film {n},{class}\n")
    };
    let rows: String = (0..60).map(row).collect();
    w.write("own.csv", format!("text,label\n{rows}"));
    w
}

fn read(w: &Workplace, name: &str) -> Value {
    json(&String::from_utf8(w.read(name)).unwrap())
}

const TRAIN: [&str; 5] = ["train", "run.toml", "--quiet", "--out", "out"];

fn refused(lines: &str, code: i32) -> String {
    run(lines).refused(&TRAIN, code)
}

#[test]
fn a_metric_that_does_not_fit_is_named_with_those_that_do() {
    let unknown = refused("metric = \"mc\"", 2);
    assert!(
        unknown.contains("stage.a.metric") && unknown.contains("did you mean 'mcc'"),
        "{unknown}"
    );
    let foreign = refused("metric = \"spearman\"", 2);
    for said in [
        "stage.a.metric: \"spearman\"",
        "one label of each text",
        "macro_f1, micro_f1",
    ] {
        assert!(foreign.contains(said), "{foreign}");
    }
    let numbers = refused("problem = \"regression\"\nmetric = \"mcc\"", 2);
    assert!(
        numbers.contains("spearman, pearson, mse, mae, r2"),
        "{numbers}"
    );
    // Which only the data tell.
    let three = refused("metric = \"f1\"", 2);
    assert!(
        three.contains("stage.a.metric: is of two classes, and the data have 3"),
        "{three}"
    );
}

#[test]
fn the_metric_chooses_the_best_and_stands_everywhere() {
    let w = run("metric = \"mcc\"\nlr = 0.05\nbudget = { epochs = 8 }");
    let lines = w.good(&["train", "run.toml", "--json", "--out", "out"]);
    let validated: Vec<(u64, f64, f64, bool)> = (lines.lines().map(json))
        .filter(|line| line["event"] == "evaluation" && line["split"] == "validation")
        .map(|line| {
            let scores = &line["scores"];
            assert_eq!(scores["metric"], "mcc", "{line}");
            let value = |key: &str| scores[key].as_f64().unwrap();
            let best = line["best"].as_bool().unwrap();
            (
                line["step"].as_u64().unwrap(),
                value("mcc"),
                value("loss"),
                best,
            )
        })
        .collect();
    // The highest, and of equals the one of the lowest loss.
    let mut highest: Option<(u64, f64, f64)> = None;
    for &(step, mcc, loss, best) in &validated {
        let better = highest.is_none_or(|(_, m, l)| mcc > m || (mcc == m && loss < l));
        assert_eq!(best, better, "{validated:?}");
        if better {
            highest = Some((step, mcc, loss));
        }
    }
    let done = read(&w, "out/a/done.json");
    assert_eq!(done["best_step"], highest.unwrap().0);
    let mcc = done["test"]["mcc"].as_f64().unwrap();
    let table = w.good(&["runs", "out"]);
    let shown = format!("Matthews' correlation {mcc:.3}");
    assert!(table.contains(&shown), "{table}");
    let row = &read(&w, "out/results.json")["rows"][0];
    assert_eq!(
        (&row["metric"], &row["mcc"]),
        (&"mcc".into(), &done["test"]["mcc"])
    );
    let page = String::from_utf8(w.read("out/report.html")).unwrap();
    assert!(
        page.contains("validation Matthews&#39; correlation")
            || page.contains("validation Matthews' correlation")
    );

    // The classes one by one, by their names.
    let classes = &done["test"]["classes"];
    assert_eq!(classes["names"], serde_json::json!(["bad", "fine", "good"]));
    for key in ["precision", "recall", "f1", "support", "confusion"] {
        assert_eq!(classes[key].as_array().unwrap().len(), 3, "{classes}");
    }
    let said = w.good(&["eval", "out", "--data", "own.csv"]);
    for column in [
        "precision",
        "recall",
        "support",
        "true \\ predicted",
        "| fine ",
    ] {
        assert!(said.contains(column), "{said}");
    }
    let scores = json(&w.good(&["eval", "out", "--data", "own.csv", "--json"]));
    assert_eq!(scores["examples"], 60);
    assert_eq!(
        scores["classes"]["support"],
        serde_json::json!([20, 20, 20])
    );
}

#[test]
fn what_is_usual_chooses_where_nothing_is_said() {
    let w = run("problem = \"multi_label\"\nbudget = { steps = 2 }");
    w.good(&TRAIN);
    assert_eq!(read(&w, "out/a/done.json")["test"]["metric"], "micro_f1");

    let w = Workplace::with("", &[]);
    let head = head("wordpiece", BERT).replace("vocabulary = 400", "vocabulary = 60");
    let (from, to) = (
        head.find("path = ").unwrap(),
        head.find("validation = ").unwrap(),
    );
    let head = format!("{}path = 'words.conll'\n{}", &head[..from], &head[to..]);
    let tagged = |name: &str, labels: [&str; 3], lines: &str| {
        let [a, b, c] = labels;
        let text = format!("Melos {a}\nran {b}\n\nDionys {a}\nin {b}\nSyrakus {c}\n\n");
        w.write("words.conll", text.repeat(8));
        let lines = format!("objective = \"token_classify\"\nbudget = {{ steps = 2 }}\n{lines}");
        w.write(
            &format!("{name}.toml"),
            head.clone() + &stage("a", "finetune", &lines),
        );
        ["train", &format!("{name}.toml"), "--quiet", "--out", name].map(String::from)
    };
    let train = |arguments: &[String]| {
        w.good(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        read(&w, &format!("{}/a/done.json", arguments[4]))["test"].clone()
    };
    let entities = train(&tagged("entities", ["B-PER", "O", "B-LOC"], ""));
    assert_eq!(entities["metric"], "entity_f1", "{entities}");
    let kinds = &entities["entities"]["names"];
    assert!(kinds.as_array().unwrap().contains(&"PER".into()), "{kinds}");
    let words = train(&tagged("words", ["NOUN", "VERB", "NAME"], ""));
    assert_eq!(words["metric"], "accuracy", "{words}");
    assert!(words["entities"].is_null(), "{words}");
    let arguments = tagged("none", ["NOUN", "VERB", "NAME"], "metric = \"entity_f1\"");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let error = w.refused(&arguments, 2);
    assert!(
        error.contains("stage.a.metric: needs labels that mark entities"),
        "{error}"
    );
}
