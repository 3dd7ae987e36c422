//! The forms of rows: what each says, and what is wrong with those that say nothing.

use std::fs;
use std::path::PathBuf;

use melos::error::{Error, Result};
use melos::text::Source;
use melos::text::chat::{Example, Form, Row, rows};
use serde_json::{Value, json};
use tempfile::TempDir;

fn file(name: &str, content: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    (folder, path)
}

fn read(name: &str, content: &str) -> Result<(Form, Vec<Row>)> {
    let (_folder, path) = file(name, content);
    let mut found = Vec::new();
    let form = rows(&Source::new(path), &mut |read| {
        found.push(read.row);
        Ok(())
    })?;
    Ok((form, found))
}

fn one(row: Value) -> Result<(String, Row)> {
    let (form, mut found) = read("x.jsonl", &row.to_string())?;
    Ok((form.to_string(), found.remove(0)))
}

/// The turns of an example, a letter and the text each, and the first that is learned.
fn turns(example: &Example) -> (String, usize) {
    match example {
        Example::Text { prompt, completion } => (format!("{prompt}|{completion}"), 0),
        Example::Messages {
            messages, first, ..
        } => {
            let turn = |m: &melos::text::chat::Message| {
                format!(
                    "{}:{}",
                    &m["role"].as_str().unwrap()[..1],
                    m["content"].as_str().unwrap()
                )
            };
            (
                messages.iter().map(turn).collect::<Vec<_>>().join(" "),
                *first,
            )
        }
    }
}

#[test]
fn every_form_of_answers_is_told_and_read() {
    for (row, form, said) in [
        (
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
            "messages",
            "u:a a:b",
        ),
        (
            json!({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "S"}),
            "conversations (ShareGPT)",
            "s:S u:a a:b",
        ),
        (
            json!({"conversations": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
            "conversations (ShareGPT)",
            "u:a a:b",
        ),
        (
            json!({"instruction": "do", "input": "it", "output": "b", "history": [["p", "q"]], "system": "S"}),
            "instructions (Alpaca)",
            "s:S u:p a:q u:do\nit a:b",
        ),
        (
            json!({"instruction": "do", "input": "", "output": "b"}),
            "instructions (Alpaca)",
            "u:do a:b",
        ),
        (
            json!({"prompt": "a", "completion": "b"}),
            "prompts and completions",
            "a|b",
        ),
        (json!({"text": "a b"}), "texts", "|a b"),
    ] {
        let (found, row) = one(row).unwrap();
        let Row::Answer(example) = row else {
            panic!("{row:?}");
        };
        assert_eq!((found.as_str(), turns(&example).0.as_str()), (form, said));
    }
    let lists = json!({
        "prompt": [{"role": "user", "content": "a"}],
        "completion": [{"role": "assistant", "content": "b"}],
    });
    let Row::Answer(example) = one(lists).unwrap().1 else {
        panic!();
    };
    assert_eq!(turns(&example), ("u:a a:b".into(), 1));
}

#[test]
fn tools_stand_as_lists_or_as_json() {
    for tools in [json!([{"name": "x"}]), json!("[{\"name\": \"x\"}]")] {
        let row = json!({
            "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            "tools": tools,
        });
        let Row::Answer(Example::Messages { tools, .. }) = one(row).unwrap().1 else {
            panic!();
        };
        assert_eq!(tools, Some(json!([{"name": "x"}])));
    }
}

#[test]
fn tables_and_lists_hold_conversations_too() {
    let list = "[{\"instruction\": \"a\", \"output\": \"b\"},\n {\"instruction\": \"c\", \"output\": \"d\"}]";
    assert_eq!(read("x.json", list).unwrap().1.len(), 2);
    let csv = "instruction,input,output\n\"do, please\",x,y\n";
    let (form, found) = read("x.csv", csv).unwrap();
    assert_eq!(form.to_string(), "instructions (Alpaca)");
    let Row::Answer(example) = &found[0] else {
        panic!();
    };
    assert_eq!(turns(example).0, "u:do, please\nx a:y");
    let csv = "messages\n\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"a\"\"}, {\"\"role\"\": \"\"assistant\"\", \"\"content\"\": \"\"b\"\"}]\"\n";
    let Row::Answer(example) = &read("x.csv", csv).unwrap().1[0] else {
        panic!();
    };
    assert_eq!(turns(example).0, "u:a a:b");
    let parquet = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/parquet/chat.parquet"
    );
    let mut found = Vec::new();
    rows(&Source::new(parquet), &mut |read| {
        found.push((read.line, read.row));
        Ok(())
    })
    .unwrap();
    let Row::Answer(example) = &found[1].1 else {
        panic!();
    };
    assert_eq!(
        (found.len(), found[1].0, turns(example).0),
        (2, 2, "s:S u:c a:d".into())
    );
}

#[test]
fn preferences_are_read_in_every_form() {
    let turn = |role: &str, text: &str| json!({"role": role, "content": text});
    let (u, a) = (|t| turn("user", t), |t| turn("assistant", t));
    for (row, chosen, rejected, first) in [
        (
            json!({"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "y"},
                   "rejected": {"from": "gpt", "value": "n"}}),
            "u:q a:y",
            "u:q a:n",
            1,
        ),
        (
            json!({"messages": [u("q")], "chosen": "y", "rejected": "n"}),
            "u:q a:y",
            "u:q a:n",
            1,
        ),
        (
            json!({"chosen": [u("q"), a("y")], "rejected": [u("q"), a("n")]}),
            "u:q a:y",
            "u:q a:n",
            1,
        ),
        (
            json!({"prompt": [u("q")], "chosen": [a("y"), u("r"), a("s")], "rejected": [a("n")]}),
            "u:q a:y u:r a:s",
            "u:q a:n",
            1,
        ),
        (
            json!({"prompt": "q", "chosen": " y", "rejected": " n"}),
            "q| y",
            "q| n",
            0,
        ),
        (
            json!({"chosen": "q: y", "rejected": "q: n"}),
            "q:| y",
            "q:| n",
            0,
        ),
        (
            json!({"instruction": "q", "input": "", "chosen": "y", "rejected": "n"}),
            "u:q a:y",
            "u:q a:n",
            1,
        ),
    ] {
        let found = one(row.clone()).unwrap().1;
        let Row::Pair {
            chosen: better,
            rejected: worse,
        } = found
        else {
            panic!("{row}");
        };
        assert_eq!(turns(&better), (chosen.to_string(), first), "{row}");
        assert_eq!(turns(&worse), (rejected.to_string(), first), "{row}");
    }
    // As pyarrow writes them.
    for (name, form, second) in [
        (
            "preferences",
            "preferences (chosen, rejected) with prompts and completions",
            ("u:走れ a:yes", "u:走れ a:no, never"),
        ),
        (
            "judged",
            "judged answers (label) with prompts and completions",
            ("r| no", ""),
        ),
    ] {
        let path = format!(
            "{}/tests/fixtures/parquet/{name}.parquet",
            env!("CARGO_MANIFEST_DIR")
        );
        let mut found = Vec::new();
        let told = rows(&Source::new(path), &mut |read| {
            found.push((read.line, read.row));
            Ok(())
        });
        assert_eq!((told.unwrap().to_string().as_str(), found.len()), (form, 2));
        assert_eq!(found[1].0, 2);
        match &found[1].1 {
            Row::Pair { chosen, rejected } => {
                assert_eq!((&*turns(chosen).0, &*turns(rejected).0), second)
            }
            Row::Judged { example, good } => {
                assert_eq!((&*turns(example).0, *good), (second.0, false))
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let judged = json!({"messages": [u("q"), a("y")], "label": false});
    let (form, row) = one(judged).unwrap();
    assert_eq!(form, "judged answers (label) with messages");
    assert!(matches!(row, Row::Judged { good: false, .. }));
}

#[test]
fn what_cannot_be_learned_is_named_with_its_file_and_row() {
    let turn = |role: &str, text: &str| json!({"role": role, "content": text});
    let good = json!({"messages": [turn("user", "a"), turn("assistant", "b")]});
    for (bad, said) in [
        (
            json!({"messages": [turn("user", "a"), turn("user", "b")]}),
            "out of order",
        ),
        (
            json!({"messages": [turn("user", "a"), turn("assistant", " ")]}),
            "the answer is empty",
        ),
        (
            json!({"messages": [turn("user", "a")]}),
            "no turn of the assistant",
        ),
        (json!({"messages": [turn("narrator", "a")]}), "'narrator'"),
        (json!({"messages": "x"}), "a list of messages"),
        (json!({"text": "x"}), "has no 'messages'"),
    ] {
        let error = read("chat.jsonl", &format!("{good}\n\n{bad}\n")).unwrap_err();
        assert!(
            matches!(error, Error::MalformedRow { line: 3, .. }),
            "{error}"
        );
        let error = error.to_string();
        assert!(
            error.contains("chat.jsonl") && error.contains(said),
            "{error}"
        );
    }
    let error = one(json!({"question": "x", "answer": "y"}))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("question, answer") && error.contains("expected messages"),
        "{error}"
    );
    let apart = json!({"chosen": [turn("user", "a"), turn("assistant", "b")],
                       "rejected": [turn("user", "c"), turn("assistant", "d")]});
    let error = one(apart).unwrap_err().to_string();
    assert!(error.contains("begin with other messages"), "{error}");
    let error = one(json!({"prompt": "x", "chosen": "y", "rejected": ""})).unwrap_err();
    assert!(
        error.to_string().contains("rejected: the answer is empty"),
        "{error}"
    );
    assert!(matches!(read("x.jsonl", ""), Err(Error::EmptyText { .. })));
    assert!(matches!(
        read("x.txt", "hello\n"),
        Err(Error::UnknownFormat { .. })
    ));
}
