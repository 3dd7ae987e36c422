//! Runs on preferences as other runs: forms of files, steps in parts, resumed, shown, refused.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::preferences::{
    losses, melos, near, preferences, results, run_file, succeeds, train, workplace, write,
};

const LORA: &str = "lora = { rank = 2, alpha = 4, targets = \"all-linear\" }";
const TWO_STEPS: &str = "lr = 0.5\nbudget = { steps = 2 }";

/// Pairs of answers of different lengths.
fn pairs(count: usize) -> Vec<Value> {
    let pair = |n: usize| {
        let (chosen, rejected) = ("yes ".repeat(1 + n % 4), "no ".repeat(1 + n % 3));
        json!({"prompt": format!("Is {n} it?"), "chosen": format!("{chosen}{n}"), "rejected": format!("{n} {rejected}")})
    };
    (0..count).map(pair).collect()
}

fn adapter(workplace: &Path) -> Vec<u8> {
    fs::read(workplace.join("run/stage/model/adapter_model.safetensors")).unwrap()
}

/// The losses of a fresh run of two steps.
fn two_steps(rows: &[Value], objective: &str, keys: &[&str]) -> Vec<f64> {
    let own = workplace(rows);
    run_file(
        own.path(),
        objective,
        "model",
        &[&[TWO_STEPS], keys].concat(),
    );
    succeeds(&train(own.path(), &[]));
    losses(own.path())
}

#[test]
fn a_preference_is_the_same_in_every_form() {
    let (asked, better, worse) = ("What is 3?", "A number.", "No idea, sorry.");
    let turn = |role: &str, text: &str| json!({"role": role, "content": text});
    let spoken = |from: &str, text: &str| json!({"from": from, "value": text});
    let (user, [good, bad]) = (
        turn("user", asked),
        [better, worse].map(|text| turn("assistant", text)),
    );
    let forms = [
        (
            json!({"messages": [user], "chosen": good, "rejected": bad}),
            "with messages",
        ),
        (
            json!({"conversations": [spoken("human", asked)], "chosen": spoken("gpt", better), "rejected": spoken("gpt", worse)}),
            "with conversations (ShareGPT)",
        ),
        (
            json!({"instruction": asked, "chosen": better, "rejected": worse}),
            "with instructions (Alpaca)",
        ),
        (
            json!({"prompt": [user], "chosen": [good], "rejected": [bad]}),
            "with prompts and completions",
        ),
        (
            json!({"chosen": [user, good], "rejected": [user, bad]}),
            "preferences (chosen, rejected)\n",
        ),
    ];
    let mut first = None;
    for (row, said) in forms {
        let own = workplace(&[row]);
        run_file(own.path(), "dpo", "model", &[TWO_STEPS, LORA]);
        let log = succeeds(&train(own.path(), &[]));
        assert!(
            log.contains("is read as preferences (chosen, rejected)") && log.contains(said),
            "{log}"
        );
        let found = losses(own.path());
        assert!(
            (found[0] - 2f64.ln()).abs() < 1e-6 && found[1] < found[0],
            "{found:?}"
        );
        assert_eq!(first.get_or_insert(found.clone()), &found, "{said}");
    }
    // A table holds messages as JSON.
    let own = workplace(&[]);
    let quoted = |value: &Value| format!("\"{}\"", value.to_string().replace('"', "\"\""));
    let table = format!(
        "prompt,chosen,rejected\n{},{},{}\n",
        quoted(&json!([user])),
        quoted(&json!([good])),
        quoted(&json!([bad]))
    );
    fs::write(own.path().join("rows.csv"), table).unwrap();
    run_file(own.path(), "dpo", "model", &[TWO_STEPS, LORA]);
    succeeds(&train(own.path(), &["--data", "rows.csv"]));
    assert_eq!(first, Some(losses(own.path())));
}

#[test]
fn judged_answers_are_messages_or_pairs() {
    let row = |n: usize, good: bool| {
        let turns = [
            json!({"role": "user", "content": format!("Is {n} it?")}),
            json!({"role": "assistant", "content": if good { "yes, it is" } else { "no" }}),
        ];
        json!({"messages": turns, "label": good})
    };
    let judged: Vec<Value> = (0..6).map(|n| row(n, n % 2 == 0)).collect();
    let own = workplace(&judged);
    run_file(own.path(), "kto", "model", &[TWO_STEPS, LORA]);
    let log = succeeds(&train(own.path(), &[]));
    assert!(
        log.contains("judged answers (label) with messages"),
        "{log}"
    );
    let found = losses(own.path());
    assert!((found[0] - 0.5).abs() < 1e-6 && found[1] < 0.5, "{found:?}");
    // A pair is a good answer and a bad one.
    let pair = |n: usize| json!({"prompt": [{"role": "user", "content": format!("Is {n} it?")}], "chosen": "yes, it is", "rejected": "no"});
    let apart: Vec<Value> = (0..3).flat_map(|n| [row(n, true), row(n, false)]).collect();
    let together: Vec<Value> = (0..3).map(pair).collect();
    let [apart, together] = [apart, together].map(|rows| two_steps(&rows, "kto", &[LORA]));
    assert_eq!(apart, together);
}

#[test]
fn a_step_in_parts_is_the_whole_step() {
    for objective in ["dpo", "orpo", "reward"] {
        let rows = pairs(4);
        let whole = two_steps(&rows, objective, &[LORA]);
        let own = workplace(&rows);
        run_file(
            own.path(),
            objective,
            "model",
            &[TWO_STEPS, LORA, "accumulate = 2"],
        );
        succeeds(&train(own.path(), &["--set", "stage.stage.batch=2"]));
        let parts = losses(own.path());
        for (parts, whole) in parts.iter().zip(&whole) {
            near(*parts, *whole, 2e-5 * whole, objective);
        }
        let kept = workplace(&rows);
        run_file(kept.path(), objective, "model", &[TWO_STEPS, LORA]);
        succeeds(&train(
            kept.path(),
            &["--set", "stage.stage.checkpointing=false"],
        ));
        assert_eq!(losses(kept.path()), whole, "{objective}");
    }
}

/// A run that went on has the bits of one that was never stopped, whether it finds again what the model said
/// before its first step or must ask once more.
#[test]
fn a_run_that_goes_on_has_the_same_bits() {
    for (objective, keep) in [
        ("dpo", true),
        ("dpo", false),
        ("kto", true),
        ("orpo", true),
        ("reward", true),
    ] {
        let rows = match objective {
            "kto" => (0..14)
                .map(|n| json!({"prompt": format!("{n}"), "completion": "so ".repeat(1 + n % 5), "label": n % 2 == 0}))
                .collect(),
            _ => pairs(14),
        };
        let keys = [LORA, "lr = 0.05\nbudget = { steps = 9 }\neval_every = 3"];
        let sets = [
            "--set",
            "stage.stage.batch=2",
            "--set",
            "data.validation=0.2",
        ];
        let whole = workplace(&rows);
        run_file(whole.path(), objective, "model", &keys);
        succeeds(&train(whole.path(), &sets));
        let parts = workplace(&rows);
        run_file(parts.path(), objective, "model", &keys);
        let short = [&sets[..], &["--set", "stage.stage.budget.steps=3"]].concat();
        succeeds(&train(parts.path(), &short));
        let kept = parts.path().join("run/stage/reference.json");
        assert_eq!(kept.exists(), ["dpo", "kto"].contains(&objective));
        if !keep {
            // That of other data is none.
            fs::write(&kept, r#"{"data": "other", "rows": {"0": [1.0, 2.0]}}"#).unwrap();
        }
        let more = [
            "train",
            "--resume",
            "run",
            "--set",
            "stage.stage.budget.steps=9",
        ];
        succeeds(&melos(parts.path(), &more));
        assert!(
            adapter(whole.path()) == adapter(parts.path()),
            "{objective}"
        );
        let scores = |own: &Path| results(own)["units"][0]["validation"].clone();
        assert_eq!(scores(whole.path()), scores(parts.path()), "{objective}");
    }
}

/// All of a model, with what an adapter made of it to begin with, is held to just that.
#[test]
fn without_an_adapter_all_is_trained_and_held_to_what_it_was() {
    let rows = preferences()["runs"][0]["data"].as_array().unwrap().clone();
    let own = workplace(&rows);
    for init in ["model", "adapter"] {
        run_file(
            own.path(),
            "dpo",
            init,
            &["lr = 0.01\nbudget = { steps = 3 }"],
        );
        succeeds(&train(own.path(), &[]));
        let found = losses(own.path());
        assert!(
            (found[0] - 2f64.ln()).abs() < 1e-6 && found[2] < found[0],
            "{found:?}"
        );
        assert!(
            own.path()
                .join("run/stage/model/model.safetensors")
                .exists()
        );
        // And goes on from its folder.
        run_file(own.path(), "dpo", "run", &[TWO_STEPS, LORA]);
        let out = melos(own.path(), &["train", "run.toml", "--out", "more"]);
        succeeds(&out);
        fs::remove_dir_all(own.path().join("run")).unwrap();
        fs::remove_dir_all(own.path().join("more")).unwrap();
    }
}

#[test]
fn pairs_are_previewed_with_both_answers() {
    let own = workplace(&pairs(3));
    run_file(own.path(), "dpo", "model", &[LORA]);
    let preview = |more: &[&str]| {
        let out = melos(
            own.path(),
            &[&["data", "preview", "run.toml"], more].concat(),
        );
        succeeds(&out);
        String::from_utf8(out.stdout).unwrap()
    };
    let text = preview(&[]);
    for wanted in [
        "row 1, better\n",
        "row 1, worse\n",
        "3 rows, ",
        "0 have nothing left",
    ] {
        assert!(text.contains(wanted), "{text}");
    }
    let json: Value = serde_json::from_str(&preview(&["--json"])).unwrap();
    let learned = |rows: &Value| -> String {
        let pieces = rows[0].as_array().unwrap().iter();
        let own = pieces.filter(|piece| piece["learned"] == true);
        own.map(|piece| piece["text"].as_str().unwrap()).collect()
    };
    assert_eq!(learned(&json["shown"]), "yes 0<|im_end|>");
    assert_eq!(learned(&json["rejected"]), "0 no <|im_end|>");
    let json: Value =
        serde_json::from_str(&preview(&["--json", "--set", "stage.stage.max_len=8"])).unwrap();
    assert_eq!(
        [&json["rows"], &json["emptied"]],
        [&json!(3), &json!(3)],
        "{json}"
    );
}

#[test]
fn mistakes_are_named_with_their_rows() {
    let good = json!({"prompt": "a", "chosen": "b", "rejected": "c"});
    let with = |row: Value| vec![good.clone(), row];
    let user = json!({"role": "user", "content": "a"});
    for (objective, rows, code, wanted) in [
        (
            "dpo",
            with(json!({"prompt": "a", "chosen": "b", "rejected": " "})),
            4,
            &["line 2", "rejected: the answer is empty"][..],
        ),
        (
            "orpo",
            with(json!({"prompt": "a", "chosen": "b", "rejected": "b"})),
            4,
            &["line 2", "'chosen' and 'rejected' are the same"],
        ),
        (
            "reward",
            with(json!({"prompt": "a", "chosen": "b"})),
            4,
            &["line 2", "has no 'rejected'"],
        ),
        (
            "dpo",
            vec![json!({"prompt": [user.clone(), user.clone()], "chosen": "b", "rejected": "c"})],
            4,
            &["line 1", "message 2: 'user' after user is out of order"],
        ),
        (
            "dpo",
            vec![json!({"messages": [user.clone(), {"role": "assistant", "content": "b"}]})],
            4,
            &["line 1", "expected 'chosen' and 'rejected'"],
        ),
        (
            "kto",
            vec![json!({"prompt": "a", "completion": "b"})],
            4,
            &["line 1", "expected a 'label' that is true or false"],
        ),
        (
            "kto",
            vec![
                json!({"prompt": "a", "completion": "b", "label": true}),
                json!({"prompt": "a", "completion": "b", "label": "maybe"}),
            ],
            4,
            &["line 2", "'label' should be true or false"],
        ),
        (
            "dpo",
            vec![json!({"prompt": "a".repeat(140), "chosen": "b", "rejected": "c"})],
            2,
            &[
                "stage.stage.max_len",
                "of no pair something of both answers is left",
            ],
        ),
        (
            "reward",
            vec![json!({"prompt": "a".repeat(140), "chosen": "b", "rejected": "c"})],
            2,
            &[
                "stage.stage.max_len",
                "of no pair both texts are that short",
            ],
        ),
    ] {
        let own = workplace(&[]);
        write(own.path(), &rows);
        run_file(own.path(), objective, "model", &[LORA]);
        let out = train(own.path(), &[]);
        let error = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(code), "{objective}: {error}");
        for wanted in wanted {
            assert!(
                error.contains(wanted),
                "{objective}: no {wanted} in {error}"
            );
        }
    }
    for (key, value) in [
        ("beta", "0"),
        ("label_smoothing", "0.5"),
        ("loss", "\"hinge\""),
    ] {
        let own = workplace(std::slice::from_ref(&good));
        run_file(own.path(), "dpo", "model", &[&format!("{key} = {value}")]);
        let out = train(own.path(), &[]);
        let error = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{error}");
        assert!(error.contains(&format!("stage.stage.{key}")), "{error}");
    }
    // An adapter of another model.
    let own = workplace(&[good]);
    let text = fs::read_to_string(own.path().join("adapter/adapter_config.json")).unwrap();
    let other = text.replace("\"q_proj\"", "\"k_proj\"");
    fs::write(own.path().join("adapter/adapter_config.json"), other).unwrap();
    run_file(own.path(), "dpo", "adapter", &[LORA]);
    let out = train(own.path(), &[]);
    let error = String::from_utf8(out.stderr).unwrap();
    assert!(
        !out.status.success() && error.contains("belongs to another base model"),
        "{error}"
    );
}

/// A reward model says a number of a text: that of its last token, which transformers looks for in the same place.
#[test]
fn a_reward_model_scores_texts() {
    let own = workplace(&pairs(4));
    run_file(
        own.path(),
        "reward",
        "reward",
        &["lr = 0.1\nbudget = { steps = 5 }"],
    );
    succeeds(&train(own.path(), &["--set", "data.test=\"rows.jsonl\""]));
    let scores = results(own.path())["units"][0]["test"].clone();
    let reward = |text: &str| {
        let out = melos(own.path(), &["predict", "run", text, "--json"]);
        succeeds(&out);
        let line: Value = serde_json::from_slice(&out.stdout).unwrap();
        let number = line["label"].as_str().unwrap_or_else(|| panic!("{line}"));
        number.parse::<f64>().unwrap()
    };
    let rewards = pairs(4).into_iter().map(|pair| {
        let part = |key: &str| pair[key].as_str().unwrap().to_owned();
        ["chosen", "rejected"].map(|answer| reward(&(part("prompt") + &part(answer))))
    });
    let rewards: Vec<[f64; 2]> = rewards.collect();
    for (at, name) in ["reward_chosen", "reward_rejected"].into_iter().enumerate() {
        let mean = rewards.iter().map(|pair| pair[at]).sum::<f64>() / 4.0;
        near(mean, scores[name].as_f64().unwrap(), 1e-4, name);
    }
    // And of all rows of a file, both of each pair, as they were when it learned.
    let talk = |pair: Value| {
        let asked = json!([{"role": "user", "content": pair["prompt"]}]);
        json!({"prompt": asked, "chosen": pair["chosen"], "rejected": pair["rejected"]})
    };
    let own = workplace(&pairs(4).into_iter().map(talk).collect::<Vec<_>>());
    run_file(
        own.path(),
        "reward",
        "reward",
        &["lr = 0.1\nbudget = { steps = 5 }"],
    );
    succeeds(&train(own.path(), &["--set", "data.test=\"rows.jsonl\""]));
    let scores = results(own.path())["units"][0]["test"].clone();
    let out = melos(own.path(), &["predict", "run", "rows.jsonl", "--json"]);
    succeeds(&out);
    let lines = String::from_utf8(out.stdout).unwrap();
    let lines = lines
        .lines()
        .map(|line| -> Value { serde_json::from_str(line).unwrap() });
    let said: Vec<f64> = lines
        .map(|line| line["label"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(said.len(), 8);
    for (at, name) in ["reward_chosen", "reward_rejected"].into_iter().enumerate() {
        let mean = said.iter().skip(at).step_by(2).sum::<f64>() / 4.0;
        near(mean, scores[name].as_f64().unwrap(), 1e-4, name);
    }
}
