//! `class_weights` in training and in scores.

use super::resume::resumes_in;
use super::smoothing::{losses, on};
use super::support::{Workplace, stage};
use super::transformers::json;

/// Losses of a step over all texts by the weight of one class: that of the first of three follows from
/// the mean losses of both classes, of which there are so many.
fn is_weighted(
    counts: [f64; 2],
    run: impl Fn(&str, &str) -> [f64; 2],
    weight: impl Fn(f64) -> String,
) {
    let lines = |w: f64| format!("class_weights = {}", weight(w));
    let [plain, heavy, other] = [
        run("plain", ""),
        run("heavy", &lines(4.0)),
        run("other", &lines(0.25)),
    ];
    let [often, rare] = counts;
    // (often · a + w · rare · b) / (often + w · rare) for w = 1 and 4 gives a and b.
    let sum = |w: f64, loss: f64| loss * (often + w * rare);
    let b = (sum(4.0, heavy[0]) - sum(1.0, plain[0])) / (3.0 * rare);
    let a = (sum(1.0, plain[0]) - rare * b) / often;
    assert!((a - b).abs() > 1e-3, "{a} {b}");
    let mean = |w: f64| (often * a + w * rare * b) / (often + w * rare);
    assert!(
        (other[0] - mean(0.25)).abs() < 1e-5,
        "{other:?} {}",
        mean(0.25)
    );
    // Both classes as much together.
    let balanced = run("balanced", "class_weights = \"balanced\"");
    assert!(
        (balanced[0] - (a + b) / 2.0).abs() < 1e-5,
        "{balanced:?} {a} {b}"
    );
    for scored in [heavy, other, balanced] {
        assert_eq!(scored[1], plain[1]);
    }
}

/// Twelve texts of a class and two of another, and the lines of a run file that name them.
fn uneven() -> (Workplace, &'static str) {
    let w = Workplace::with("", &[]);
    let films = ["good", "fine", "odd", "old", "long", "sad"];
    let mut rows: Vec<String> = films.map(|word| format!("{word} film,often")).into();
    rows.push("bad film,rare".into());
    w.write(
        "texts.csv",
        format!("text,label\n{}\n", vec![rows.join("\n"); 2].join("\n")),
    );
    (w, "path = 'texts.csv'\ntest = 'texts.csv'")
}

#[test]
fn texts_count_by_the_weight_of_their_class_in_training_and_not_in_scores() {
    let (w, files) = uneven();
    let run = |name: &str, lines: &str| losses(&w, name, &on(files), lines);
    is_weighted([12.0, 2.0], run, |w| format!("{{ rare = {w:?} }}"));
    let error = |lines: &str| {
        let lines = format!("budget = {{ steps = 1 }}\n{lines}");
        w.write("bad.toml", on(files) + &stage("a", "finetune", &lines));
        w.refused(&["train", "bad.toml", "--out", "bad"], 2)
    };
    let unknown = error("class_weights = { rar = 4 }");
    assert!(
        unknown
            .contains("stage.a.class_weights.rar: is no label of the data; they have: often, rare"),
        "{unknown}"
    );
    let negative = error("class_weights = { rare = -1 }");
    assert!(
        negative.contains("stage.a.class_weights.rare: should be a positive number"),
        "{negative}"
    );
    let word = error("class_weights = \"even\"");
    assert!(
        word.contains("stage.a.class_weights") && word.contains("balanced"),
        "{word}"
    );
    let several = error("problem = \"multi_label\"\nclass_weights = \"balanced\"");
    assert!(
        several.contains("stage.a.class_weights: are for texts of one label each"),
        "{several}"
    );
}

#[test]
fn words_count_by_the_weight_of_their_class_too() {
    let w = Workplace::with("", &[]);
    let text = "Melos rare\nran often\nhome often\n\nDionys often\nin often\nSyrakus often\n\n";
    w.write("words.conll", text.repeat(5));
    let run = |name: &str, lines: &str| {
        let lines = format!("objective = \"token_classify\"\n{lines}");
        losses(
            &w,
            name,
            &on("path = 'words.conll'\ntest = 'words.conll'"),
            &lines,
        )
    };
    is_weighted([25.0, 5.0], run, |w| format!("{{ rare = {w:?} }}"));
}

#[test]
fn a_run_with_weights_and_patience_resumes_with_its_bits() {
    let lines = "class_weights = \"balanced\"\npatience = 12\nmetric = \"macro_f1\"\neval_every = 5\nbudget = { steps = 400 }";
    let w = Workplace::new(&[stage("a", "finetune", lines)]);
    resumes_in(&w, &["a"], "-TERM");
    let done = json(&String::from_utf8(w.read("stopped/a/done.json")).unwrap());
    assert_eq!(done["stopped_early"], true, "{done}");
}

#[test]
fn balanced_sampling_shows_each_class_as_often_and_resumes_with_its_bits() {
    let lines = "sampling = \"balanced\"\nbudget = { steps = 300 }";
    let w = Workplace::new(&[stage("a", "finetune", lines)]);
    resumes_in(&w, &["a"], "-TERM");

    // Nothing is learned: an epoch's mean loss is the mean of the classes' losses, of which there are
    // 12 texts and 2.
    let (w, files) = uneven();
    let run = |name: &str, lines: &str| losses(&w, name, &on(files), lines)[0];
    let weighed = run("weights", "class_weights = \"balanced\"");
    let (all, sampled) = (run("all", ""), run("sampled", "sampling = \"balanced\""));
    // 7 texts of each class; which of the common ones differ little.
    assert!(
        (sampled - weighed).abs() < 0.1 * (all - weighed).abs(),
        "{sampled} {weighed} {all}"
    );
}
