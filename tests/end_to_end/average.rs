//! `ema`: a moving average of the parameters is scored and written.

use melos::train::state::read_tensors;

use super::resume::resumes_in;
use super::support::{Workplace, head, stage};
use super::transformers::json;

#[test]
fn the_model_is_the_weighted_mean_of_every_steps_parameters() {
    const STEPS: i32 = 7;
    let each = "ema = 0.75\nsave_every = 1\nkeep = 20\nlr = 0.05\nbudget = { steps = 7 }";
    let w = Workplace::with(
        &head().replace("validation = 0.2", "validation = 0.0"),
        &[stage("a", "finetune", each)],
    );
    w.good(&["train", "run.toml", "--quiet", "--out", "run"]);
    // Where nothing is validated all checkpoints but the last go at the end: the first steps again.
    let after = |steps: i32| {
        let out = format!("run-{steps}");
        let set = format!("stage.a.budget.steps={steps}");
        w.good(&["train", "run.toml", "--quiet", "--out", &out, "--set", &set]);
        let place = format!("{out}/a/checkpoint-{steps}/tensors.safetensors");
        read_tensors(&w.path(&place)).unwrap()
    };
    let steps: Vec<_> = (1..=STEPS).map(after).collect();
    let model = read_tensors(&w.path("run/a/model/model.safetensors")).unwrap();
    let (mut moved, mut worst) = (0.0f64, 0.0f64);
    for (name, tensor) in &model {
        let last = steps[STEPS as usize - 1][name].values();
        for (at, found) in tensor.values().iter().enumerate() {
            let part = |(step, tensors): (i32, &melos::train::TensorMap)| {
                0.25 * 0.75f64.powi(STEPS - step) * f64::from(tensors[name].values()[at])
            };
            let sum: f64 = (1..).zip(&steps).map(part).sum();
            let mean = sum / (1.0 - 0.75f64.powi(STEPS));
            worst = worst.max((f64::from(*found) - mean).abs());
            moved = moved.max((f64::from(last[at]) - mean).abs());
        }
    }
    assert!(worst < 1e-6, "{worst}");
    assert!(moved > 1e-2, "the last parameters are the mean: {moved}");

    // Scored as it is written.
    let done = json(&String::from_utf8(w.read("run/a/done.json")).unwrap());
    let test = super::support::data("reviews_test.csv");
    let scores = json(&w.good(&["eval", "run", "--json", "--data", test.to_str().unwrap()]));
    let near = |key: &str| {
        let [a, b] = [&done["test"][key], &scores[key]].map(|x| x.as_f64().unwrap());
        assert!((a - b).abs() < 1e-6, "{key}: {a} {b}");
    };
    near("loss");
    near("error");
}

#[test]
fn an_averaged_run_resumes_with_its_bits_and_trains_as_one_without() {
    let lines = "ema = 0.9\nbudget = { steps = 400 }\neval_every = 7";
    let w = Workplace::new(&[stage("a", "finetune", lines)]);
    resumes_in(&w, &["a"], "-TERM");
    // What is trained does not know of it.
    let plain = lines.replace("ema = 0.9\n", "");
    w.write("run.toml", head() + &stage("a", "finetune", &plain));
    w.good(&["train", "run.toml", "--quiet", "--out", "plain"]);
    let losses = |out: &str| -> Vec<String> {
        let text = String::from_utf8(w.read(&format!("{out}/metrics.jsonl"))).unwrap();
        let lines = text
            .lines()
            .filter(|line| line.contains("\"event\":\"loss\""));
        lines.map(String::from).collect()
    };
    assert_eq!(losses("plain"), losses("whole"));
    let error = {
        let set = ["--set", "stage.a.ema=1"];
        w.refused(
            &[&["train", "run.toml", "--out", "bad"], &set[..]].concat(),
            2,
        )
    };
    assert!(
        error.contains("stage.a.ema: should be more than 0 and less than 1"),
        "{error}"
    );
}
