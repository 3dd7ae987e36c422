//! `label_smoothing` in training and in scores.

use super::support::{Workplace, stage};
use super::transformers::{BERT, head, json};

/// Loss of the first step and of the test, where nothing is learned and nothing dropped.
pub fn losses(w: &Workplace, name: &str, head: &str, lines: &str) -> [f64; 2] {
    let set = "lr = 1e-30\nbudget = { steps = 1 }\nbatch = 16";
    let lines = format!("{set}\n{lines}");
    w.write(
        &format!("{name}.toml"),
        head.to_string() + &stage("a", "finetune", &lines),
    );
    let [file, out] = [format!("{name}.toml"), format!("run-{name}")];
    w.good(&["train", &file, "--quiet", "--out", &out]);
    let metrics = String::from_utf8(w.read(&format!("{out}/metrics.jsonl"))).unwrap();
    let first = metrics
        .lines()
        .map(json)
        .find(|line| line["event"] == "loss");
    let results = json(&String::from_utf8(w.read(&format!("{out}/results.json"))).unwrap());
    let test = &results["units"][0]["test"]["loss"];
    [&first.unwrap()["loss"], test].map(|loss| loss.as_f64().unwrap())
}

/// A run file on other data, of a model that drops nothing. No text is held out: which would be
/// depends on the labels.
pub fn on(data: &str) -> String {
    let model = format!("{BERT}\ndropout = 0.0\nattention_dropout = 0.0");
    let head = head("wordpiece", &model)
        .replace("vocabulary = 400", "vocabulary = 60")
        .replace("validation = 0.2", "validation = 0.0");
    let (from, to) = (
        head.find("path = ").unwrap(),
        head.find("validation = ").unwrap(),
    );
    format!("{}{data}\n{}", &head[..from], &head[to..])
}

/// Of two labels, (1 - e / 2) of the loss is the label's and e / 2 the other's.
fn is_smoothed(label: [f64; 2], other: [f64; 2], smoothed: [f64; 2]) {
    assert!((label[0] - other[0]).abs() > 5e-4, "{label:?} {other:?}");
    let want = 0.8 * label[0] + 0.2 * other[0];
    assert!((smoothed[0] - want).abs() < 2e-6, "{smoothed:?}: {want}");
    assert_eq!(smoothed[1], label[1]);
}

const SMOOTHED: &str = "label_smoothing = 0.4";

#[test]
fn labels_of_texts_are_smoothed_in_training_and_not_in_scores() {
    let w = Workplace::with("", &[]);
    let films = ["good", "fine", "odd", "old", "long", "sad", "fast"];
    let mut rows: Vec<String> = films.map(|word| format!("{word} film,yes,no")).into();
    rows.push("bad film,no,yes".into());
    w.write(
        "texts.csv",
        format!(
            "text,first,second\n{}\n",
            vec![rows.join("\n"); 10].join("\n")
        ),
    );
    let run = |name: &str, column: &str, lines: &str| {
        let files = "path = 'texts.csv'\ntest = 'texts.csv'";
        let data = format!("{files}\nlabel_column = \"{column}\"");
        losses(&w, name, &on(&data), lines)
    };
    is_smoothed(
        run("label", "first", ""),
        run("other", "second", ""),
        run("smoothed", "first", SMOOTHED),
    );
}

#[test]
fn labels_of_words_are_smoothed_in_training_and_not_in_scores() {
    let w = Workplace::with("", &[]);
    let text = "Melos yes\nran no\nhome no\n\nDionys yes\nin no\nSyrakus no\n\n";
    let swapped = text
        .replace("yes", "-")
        .replace("no\n", "yes\n")
        .replace('-', "no");
    w.write("first.conll", text.repeat(10));
    w.write("second.conll", swapped.repeat(10));
    let run = |name: &str, file: &str, lines: &str| {
        let lines = format!("objective = \"token_classify\"\n{lines}");
        losses(&w, name, &on(&format!("path = '{file}'")), &lines)
    };
    is_smoothed(
        run("label", "first.conll", ""),
        run("other", "second.conll", ""),
        run("smoothed", "first.conll", SMOOTHED),
    );
}
