//! `melos data preview`: what is learned, token by token.

use std::process::Command;

use serde_json::Value;

use super::loss::workplace;

fn preview(more: &[&str]) -> (String, Option<i32>) {
    let own = workplace();
    let out = Command::new(env!("CARGO_BIN_EXE_melos"))
        .current_dir(own.path())
        .args(["data", "preview", "--init", ".", "--data", "chat.jsonl"])
        .args(more)
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    let said = [out.stdout, out.stderr].concat();
    (String::from_utf8(said).unwrap(), out.status.code())
}

#[test]
fn rows_are_shown_with_what_is_learned_and_what_is_cut() {
    let max_len = "stage.sft.max_len=80";
    let (text, code) = preview(&["--preset", "sft", "--set", max_len, "--json", "--rows", "9"]);
    assert_eq!(code, Some(0), "{text}");
    let json: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    // Of the fixture: rows of 82, 45 and 88 tokens.
    for (key, wanted) in [
        ("rows", 3),
        ("cut", 2),
        ("emptied", 0),
        ("read", 80 + 45 + 80),
        ("learned", 23),
    ] {
        assert_eq!(json[key], wanted, "{key}");
    }
    let learned = |row: usize| -> String {
        let pieces = json["shown"][row].as_array().unwrap().iter();
        let own = pieces.filter(|piece| piece["learned"] == true);
        own.map(|piece| piece["text"].as_str().unwrap()).collect()
    };
    assert_eq!(learned(1), "2<|im_end|>");
    assert_eq!(learned(2), " b\n<|im_end|>");
    let (text, _) = preview(&["--preset", "sft", "--set", max_len, "--rows", "2"]);
    assert!(
        text.contains("«2|<|im_end|>»⏎") && !text.contains("row 3"),
        "{text}"
    );
    assert!(
        text.contains("2 rows are cut at stage.sft.max_len = 80, 0 have nothing left"),
        "{text}"
    );
    let (text, _) = preview(&["--preset", "sft", "--set", "stage.sft.max_len=40"]);
    assert!(text.contains("3 have nothing left"), "{text}");
}

#[test]
fn a_run_without_conversations_says_what_looks_at_its_data() {
    let (text, code) = preview(&["--preset", "lora"]);
    assert!(code == Some(2) && text.contains("--preset sft"), "{text}");
}
