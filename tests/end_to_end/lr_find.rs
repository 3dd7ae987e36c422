//! `melos lr-find`.

use super::support::{Workplace, stage};
use super::transformers::json;

#[test]
fn rates_are_tried_and_that_of_the_steepest_fall_is_suggested() {
    let w = Workplace::new(&[stage("a", "finetune", "")]);
    let range = ["--from", "1e-5", "--to", "1e4", "--steps", "90"];
    let find = [
        &["lr-find", "run.toml", "--json", "--svg", "rates.svg"],
        &range[..],
    ]
    .concat();
    let found = json(&w.good(&find));
    assert_eq!(found["stage"], "a");
    let steps = found["steps"].as_array().unwrap();
    assert!((10..=90).contains(&steps.len()), "{found}");
    let number = |n: usize, key: &str| steps[n][key].as_f64().unwrap();
    for n in 0..steps.len() {
        // Nine powers of ten in 89 steps.
        let rate = 1e-5 * 10f64.powf(9.0 * n as f64 / 89.0);
        assert!((number(n, "lr") / rate - 1.0).abs() < 1e-9);
    }
    let suggested = found["suggested"].as_f64().unwrap();
    let lowest =
        (0..steps.len()).min_by(|a, b| number(*a, "smooth").total_cmp(&number(*b, "smooth")));
    assert!(
        suggested > 1e-5 && suggested < number(lowest.unwrap(), "lr"),
        "{found}"
    );
    let svg = String::from_utf8(w.read("rates.svg")).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.contains("falls fastest"),
        "{svg}"
    );

    // The first loss is that of training's first step.
    w.good(&["train", "run.toml", "--quiet", "--out", "run"]);
    let log = String::from_utf8(w.read("run/metrics.jsonl")).unwrap();
    let first = log
        .lines()
        .map(json)
        .find(|line| line["event"] == "loss")
        .unwrap();
    assert_eq!(
        first["loss"].as_f64().unwrap() as f32,
        number(0, "loss") as f32
    );

    let table = w.good(&[
        "lr-find", "run.toml", "--steps", "60", "--from", "1e-4", "--to", "10",
    ]);
    assert!(
        table.contains("| learning rate |") && table.contains("--set stage.a.lr="),
        "{table}"
    );
    let error = w.refused(&["lr-find", "run.toml", "--from", "1", "--to", "0.1"], 2);
    assert!(
        error.contains("--from") && error.contains("the first below the last"),
        "{error}"
    );
    // Nothing is left behind.
    assert!(!w.path("runs").exists());
}
