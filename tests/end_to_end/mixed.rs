//! Transformers in f16: the loss scale, what a resumed run keeps, adapters.

use super::resume::resumes_in;
use super::support::{Workplace, data, stage};
use super::transformers::{BERT, bert, head, json, mlm};

/// Numbers so large that their gradients overflow until the loss scale is small: it goes down on the
/// way, as the metrics say.
#[test]
fn bert_resumes_in_f16_with_its_bits() {
    let lines = "problem = \"regression\"\nprecision = \"f16\"\nbudget = { steps = 150 }";
    let row = |n: usize| format!("it was {} good,{}\n", "very ".repeat(n % 7), 20_000 + n % 7);
    let numbers: String = (0..40).map(row).collect();
    let head = head("wordpiece", BERT)
        .replace(&data("reviews.csv").display().to_string(), "numbers.csv")
        .replace(
            &data("reviews_test.csv").display().to_string(),
            "numbers.csv",
        );
    let w = Workplace::with(&head, &[stage("numbers", "finetune", lines)]);
    w.write("numbers.csv", format!("text,label\n{numbers}"));
    resumes_in(&w, &["numbers"], "-TERM");
    let metrics = String::from_utf8(w.read("whole/metrics.jsonl")).unwrap();
    let scales: Vec<(u64, f64)> = metrics
        .lines()
        .map(json)
        .filter(|line| line["event"] == "loss_scale")
        .map(|line| {
            let scale = line["loss_scale"].as_f64().unwrap();
            (line["step"].as_u64().unwrap(), scale)
        })
        .collect();
    // 2 (0 - 20,000) / 8 times it must fit f16; what that becomes in the layers may need less.
    let want: Vec<(u64, f64)> = (1..=13)
        .map(|step| (step, 65_536.0 / 2f64.powi(step as i32)))
        .collect();
    assert!(scales.starts_with(&want), "{scales:?}");
}

/// Its base in f16; what comes out is used with one in f32.
#[test]
fn an_adapter_is_trained_in_f16() {
    let lora = "init = \"mlm\"\nlora = { rank = 2 }\nprecision = \"f16\"";
    let w = bert(&[mlm(""), stage("lora", "finetune", lora)]);
    let out = w.run(&["train", "run.toml", "--out", "run"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    let predicted = w.good(&["predict", "run/lora", "a fine film", "--json"]);
    assert!(predicted.contains("positive"), "{predicted}");
}
