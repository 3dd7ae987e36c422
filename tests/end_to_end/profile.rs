//! Profiles of tiny runs: the table, the JSON object and the trace say the same.

use std::collections::BTreeMap;

use melos::kernels::catalogue;
use serde_json::Value;

use super::support::{Workplace, stage};
use super::transformers::{bert, mlm};

/// Seconds a step of each kernel, and of all, from a trace of `steps` steps whose events are checked.
fn traced(w: &Workplace, steps: u64) -> (BTreeMap<String, f64>, f64) {
    let trace: Value = serde_json::from_slice(&w.read("trace.json")).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let mut seconds = BTreeMap::new();
    let mut seen = BTreeMap::new();
    for event in events.iter().filter(|e| e["ph"] == "X") {
        let name = event["name"].as_str().expect("a name").to_string();
        let duration = event["dur"].as_f64().expect("a duration") * 1e-6;
        assert!(event["ts"].as_f64().expect("a time") >= 0.0, "{event}");
        assert!(duration > 0.0, "{event}");
        match event["cat"].as_str().expect("a category") {
            "step" => {
                seen.insert(name, 0.0);
                continue;
            }
            "kernel" => assert!(catalogue::get(&name).is_some(), "{name} is no kernel"),
            other => assert!(other == "memory" && ["copy", "clear"].contains(&&name[..])),
        }
        *seen
            .get_mut(&format!("step {}", event["args"]["step"]))
            .expect("its step") += duration;
        *seconds.entry(name).or_insert(0.0) += duration / steps as f64;
    }
    assert_eq!(seen.len() as u64, steps, "{seen:?}");
    assert!(seen.values().all(|&sum| sum > 0.0), "{seen:?}");
    let all = seconds.values().sum();
    (seconds, all)
}

#[test]
fn an_lstm_is_profiled_in_a_table_that_its_trace_agrees_with() {
    let w = Workplace::new(&[
        stage("lm", "pretrain", "objective = \"lm\""),
        stage("lm-lstm", "finetune", "init = \"lm\""),
        stage(
            "again",
            "evaluate",
            "objective = \"classify\"\ninit = \"lm-lstm\"",
        ),
    ]);
    let table = w.good(&[
        "profile",
        "run.toml",
        "--steps",
        "2",
        "--trace",
        "trace.json",
    ]);
    let (seconds, _) = traced(&w, 2);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), seconds.len(), "{table}");
    let mut last = f64::INFINITY;
    for row in &rows {
        let (name, ms): (_, f64) = (row[1], row[3].parse().expect("a number"));
        // Three digits are shown.
        assert!(
            (ms - 1e3 * seconds[name]).abs() < 0.000501,
            "{name}\n{table}"
        );
        assert!(ms <= last, "{table}");
        last = ms;
    }
    let row = |start: &str| {
        rows.iter()
            .find(|r| r[1].starts_with(start))
            .expect("a row")
    };
    // bptt is 8; a step's recurrent product has work that is known, a copy has no arithmetic.
    let step = row("lstm_step_fwd");
    assert_eq!(step[2], "8");
    assert!(
        step[5].parse::<f64>().is_ok_and(|gflops| gflops >= 0.0),
        "{table}"
    );
    assert_eq!(row("adam")[2], "1");
    assert_eq!(row("copy")[5], "–");
    for part in [
        "lm: language model",
        "tokens/s",
        "µs each to encode",
        "measured peak: ",
    ] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    assert!(!w.path("runs").exists());
    w.nothing_half_written();

    // A stage that goes on from another one needs no model of it.
    let later = w.good(&[
        "profile", "run.toml", "--stage", "lm-lstm", "--steps", "1", "--json",
    ]);
    let later: Value = serde_json::from_str(&later).expect("JSON");
    assert_eq!(later["stage"], "lm-lstm");
}

#[test]
fn a_bert_is_profiled_as_json_that_its_trace_agrees_with() {
    let w = bert(&[mlm("")]);
    let set = "stage.mlm.accumulate=2";
    let out = w.good(&[
        "profile",
        "run.toml",
        "--steps",
        "3",
        "--set",
        set,
        "--json",
        "--trace",
        "trace.json",
    ]);
    assert_eq!(out.lines().count(), 1);
    let profile: Value = serde_json::from_str(&out).expect("JSON");
    let number = |key: &str| {
        profile[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key}: {out}"))
    };
    let (seconds, all) = traced(&w, 3);
    assert!((number("device_seconds") - all).abs() < 1e-9, "{out}");
    assert_eq!(profile["steps"], 3);
    match profile["timing"].as_str() {
        Some("timestamps") => assert!((0.0..1.0).contains(&number("idle")), "{out}"),
        Some("one by one") => assert!(profile["idle"].is_null(), "{out}"),
        other => panic!("timing {other:?}"),
    }
    for key in [
        "step_seconds",
        "tokens_per_second",
        "encode_seconds_per_command",
        "peak_flops",
        "peak_bytes",
    ] {
        assert!(number(key) > 0.0, "{key}: {out}");
    }
    let kernels = profile["kernels"].as_array().expect("kernels");
    assert_eq!(kernels.len(), seconds.len());
    let of = |key: &str| {
        kernels
            .iter()
            .map(|k| k[key].as_f64().expect("a number"))
            .sum::<f64>()
    };
    assert!((of("share") - 1.0).abs() < 1e-9);
    assert!((of("count") - number("commands")).abs() < 1e-9, "{out}");
    for kernel in kernels {
        let name = kernel["kernel"].as_str().expect("a name");
        let wanted = kernel["seconds"].as_f64().expect("a number");
        assert!((seconds[name] - wanted).abs() < 1e-9, "{name}");
        // Two layers, two micro-batches.
        if name.starts_with("attention_fwd") {
            assert_eq!(kernel["count"], 4.0);
        }
        // Of products and attention it is known how much they compute, of nothing else in a BERT.
        let computes = match name {
            "matmul_pack" | "attention_delta" => false,
            _ => name.starts_with("matmul_") || name.starts_with("attention_"),
        };
        let rate = kernel["flops"].as_f64();
        assert_eq!(rate.is_some_and(|f| f > 0.0), computes, "{name}: {rate:?}");
    }
}

#[test]
fn what_cannot_be_profiled_is_refused() {
    let w = Workplace::new(&[
        stage("lm", "pretrain", "objective = \"lm\""),
        stage("lm-lstm", "finetune", "init = \"lm\""),
        stage(
            "again",
            "evaluate",
            "objective = \"classify\"\ninit = \"lm-lstm\"",
        ),
    ]);
    for steps in ["0", "many"] {
        let out = w.run(&["profile", "run.toml", "--steps", steps]);
        assert_eq!(out.status.code(), Some(2));
    }
    let line = w.refused(&["profile", "run.toml", "--stage", "lm-lstn"], 2);
    assert!(
        line.contains("there is no stage 'lm-lstn': did you mean 'lm-lstm'?"),
        "{line}"
    );
    let line = w.refused(&["profile", "run.toml", "--stage", "again"], 2);
    assert!(line.contains("--stage: only evaluates"), "{line}");
    let line = w.refused(&["profile", "--preset", "lstm-rt"], 2);
    assert!(line.contains("--data PATH"), "{line}");
    w.refused(&["profile", "run.toml", "--adapter", "no such adapter"], 3);
    w.refused(&["profile", "missing.toml"], 5);
    let trace = [
        "profile",
        "run.toml",
        "--steps",
        "1",
        "--trace",
        "missing/trace.json",
    ];
    let line = w.refused(&trace, 5);
    assert!(line.contains("cannot write missing/trace.json"), "{line}");
}

#[test]
fn training_says_first_what_memory_it_needs() {
    let w = Workplace::new(&[stage(
        "lm",
        "pretrain",
        "objective = \"lm\"\nbudget = { steps = 1 }",
    )]);
    let out = w.run(&["train", "run.toml"]);
    let text = String::from_utf8(out.stderr).expect("UTF-8");
    let at = |part: &str| {
        text.find(part)
            .unwrap_or_else(|| panic!("{part} is not in\n{text}"))
    };
    assert!(at("lm: needs about 0.") < at("lm  step 1/1"), "{text}");
    assert!(text.contains("MiB, optimizer 0."), "{text}");
}
