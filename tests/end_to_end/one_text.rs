//! One long text, as TinyShakespeare: a language model learns its lines and writes some.

use super::support::Workplace;

#[test]
fn gpt2_on_one_text_writes_lines() {
    let w = Workplace::with("", &[]);
    let play: String = (0..400)
        .map(|n| format!("KING {}:\nSo be it, {}.\n\n", n % 3, n % 7))
        .collect();
    w.write("input.txt", &play);
    let small = [
        "--preset",
        "gpt2",
        "--scale",
        "small",
        "--data",
        "input.txt",
        "--out",
        "play",
        "--set",
        "tokenizer.vocabulary=300",
        "--set",
        "model.hidden=32",
        "--set",
        "model.layers=1",
        "--set",
        "model.heads=2",
        "--set",
        "stage.pretrain.max_len=32",
        "--lr",
        "0.01",
        "--epochs",
        "6",
    ];
    let survey = w.good(&[&["doctor", "--json"], &small[..6], &small[8..]].concat());
    let survey: serde_json::Value = serde_json::from_str(&survey).unwrap();
    assert_eq!(survey["rows"]["rows"], 1);
    assert_eq!(survey["files"][0]["format"], "whole");
    let stage = &survey["stages"][0];
    assert!(
        stage["validation"]["tokens"].as_u64().unwrap() > 50,
        "{stage}"
    );
    let out = w.run(&[&["train"], &small[..]].concat());
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{said}");
    assert!(
        said.contains("one text, lines and all (data.one_text = false"),
        "{said}"
    );
    let text = w.good(&[
        "generate",
        "play",
        "KING 1",
        "--max-tokens",
        "60",
        "--greedy",
    ]);
    assert!(text.contains(":\nSo be it, "), "{text:?}");
    // The whole text is scored, and a text a line where that is asked for.
    let scores = w.good(&["eval", "play", "--data", "input.txt"]);
    assert!(scores.contains("perplexity"), "{scores}");
    let lines = [
        &["doctor", "--json"],
        &small[..6],
        &small[8..],
        &["--set", "data.one_text=false"],
    ];
    let survey: serde_json::Value = serde_json::from_str(&w.good(&lines.concat())).unwrap();
    assert_eq!(survey["rows"]["rows"], 800);
}
