//! Learning from preferences against TRL: its formulas, and its own trainers step by step.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use melos::hub::TensorFile;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{folder, model};

/// What TRL makes of preferences: `tools/make_preference_fixtures.py`.
pub fn preferences() -> Value {
    let text = fs::read_to_string(folder().join("preferences.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// The random Llama, an adapter of it with something in it, and one with a head of one output.
pub fn workplace(rows: &[Value]) -> TempDir {
    spoken(rows, "qwen2.5")
}

/// The same with this chat template.
fn spoken(rows: &[Value], template: &str) -> TempDir {
    let (own, _) = model(template);
    let tokenizer = own.path().join("tokenizer");
    fs::create_dir(&tokenizer).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::rename(own.path().join(name), tokenizer.join(name)).unwrap();
    }
    for name in ["model", "adapter", "reward"] {
        copy(&folder().join(name), &own.path().join(name));
    }
    for name in ["model", "reward"] {
        copy(&tokenizer, &own.path().join(name));
    }
    write(own.path(), rows);
    own
}

/// The rows that are learned from.
pub fn write(workplace: &Path, rows: &[Value]) {
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    fs::write(workplace.join("rows.jsonl"), lines.join("\n")).unwrap();
}

/// A run file of one stage: all rows in a batch, plain gradient descent; with `keys`.
pub fn run_file(workplace: &Path, objective: &str, init: &str, keys: &[&str]) {
    let mut text = format!(
        "name = \"run\"\nseed = 1\nmodel = {{ kind = \"pretrained\" }}\n\
         data = {{ source = \"files\", path = \"rows.jsonl\", validation = 0.0, test_share = 0.0 }}\n\
         [[stage]]\nname = \"stage\"\nkind = \"finetune\"\nobjective = \"{objective}\"\ninit = \"{init}\"\n\
         max_len = 128\nbatch = 8\noptimizer = \"sgd\"\ncheckpointing = true\n"
    );
    for key in keys {
        text += &format!("{key}\n");
    }
    fs::write(workplace.join("run.toml"), text).unwrap();
}

pub fn melos(workplace: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_melos"));
    command.current_dir(workplace).args(arguments);
    command.env_remove("RUST_LOG");
    command.output().expect("the program starts")
}

pub fn train(workplace: &Path, more: &[&str]) -> Output {
    let arguments = [&["train", "run.toml", "--out", "run"], more].concat();
    melos(workplace, &arguments)
}

pub fn succeeds(out: &Output) -> String {
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{said}");
    said
}

/// What the steps of a run say.
fn said_by_steps(workplace: &Path) -> Vec<Value> {
    let lines = fs::read_to_string(workplace.join("run/metrics.jsonl")).unwrap();
    let events = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    events
        .filter(|event: &Value| event["event"] == "loss")
        .collect()
}

/// The losses of the steps of a run.
pub fn losses(workplace: &Path) -> Vec<f64> {
    let steps = said_by_steps(workplace);
    let loss = |event: &Value| event["loss"].as_f64().unwrap();
    steps.iter().map(loss).collect()
}

pub fn results(workplace: &Path) -> Value {
    let text = fs::read_to_string(workplace.join("run/results.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub fn near(found: f64, wanted: f64, most: f64, what: &str) {
    assert!(
        (found - wanted).abs() <= most,
        "{what}: {found}, expected {wanted}"
    );
}

pub fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap().iter();
    list.map(|x| x.as_f64().unwrap()).collect()
}

fn tensor(file: &TensorFile, name: &str) -> Vec<f64> {
    let array = file.array(name).unwrap();
    array.values().iter().map(|x| f64::from(*x)).collect()
}

/// The keys of a stage that say what TRL's options say.
fn keys(options: &Value) -> Vec<String> {
    let options = options.as_object().unwrap().iter();
    let key = |(key, value): (&String, &Value)| match key.as_str() {
        "loss_type" => format!("loss = {}", value[0]),
        key => format!("{key} = {value}"),
    };
    options.map(key).collect()
}

/// Three steps of TRL's own trainers from the same weights: losses, what gradients made of the weights, rewards.
#[test]
fn runs_are_trls() {
    let fixture = preferences();
    let runs = fixture["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 7);
    for case in runs {
        let objective = case["objective"].as_str().unwrap();
        let template = case["template"].as_str().unwrap_or("qwen2.5");
        let own = spoken(case["data"].as_array().unwrap(), template);
        let is_reward = objective == "reward";
        let init = if is_reward { "reward" } else { "adapter" };
        let (rate, steps) = (&fixture["rate"], &fixture["steps"]);
        let mut stage = vec![
            format!("lr = {rate}\nbudget = {{ steps = {steps} }}"),
            // Of an adapter that is gone on with the rank is its own.
            (if is_reward { "" } else { "lora = { rank = 5 }" }).to_string(),
        ];
        stage.extend(keys(&case["options"]));
        let stage: Vec<&str> = stage.iter().map(String::as_str).collect();
        run_file(own.path(), objective, init, &stage);
        let said = succeeds(&train(own.path(), &["--set", "data.test=\"rows.jsonl\""]));
        let what = format!("{objective} {}", case["options"]);
        assert!(
            is_reward || said.contains("goes on with the adapter"),
            "{said}"
        );

        let (found, wanted) = (losses(own.path()), numbers(&case["losses"]));
        assert_eq!(found.len(), wanted.len(), "{what}");
        for (found, wanted) in found.iter().zip(&wanted) {
            near(*found, *wanted, 5e-5 * wanted.abs(), &what);
        }
        for event in said_by_steps(own.path()) {
            let said = |name: &str| {
                event[name]
                    .as_f64()
                    .unwrap_or_else(|| panic!("{what}: {event}"))
            };
            let margin = said("reward_chosen") - said("reward_rejected");
            near(said("reward_margin"), margin, 1e-6, &what);
            assert!((0.0..=1.0).contains(&said("reward_accuracy")), "{event}");
            // Nothing is gained or lost before the first step.
            let refers = ["dpo", "kto"].contains(&objective) && event["step"] == 1;
            assert_eq!(
                refers,
                said("reward_chosen") == 0.0 && margin == 0.0,
                "{what}: {event}"
            );
        }
        let scores = &results(own.path())["units"][0]["test"];
        for (name, wanted) in case["after"].as_object().unwrap() {
            let (found, wanted) = (scores[name].as_f64(), wanted.as_f64().unwrap());
            let found = found.unwrap_or_else(|| panic!("{what}: no {name} in {scores}"));
            near(
                found,
                wanted,
                2e-4 * wanted.abs().max(1.0),
                &format!("{what}, {name}"),
            );
        }

        let file = if is_reward {
            "model.safetensors"
        } else {
            "adapter_model.safetensors"
        };
        let before = TensorFile::open(&own.path().join(init).join(file)).unwrap();
        let after = TensorFile::open(&own.path().join("run/stage/model").join(file)).unwrap();
        let weights = case["weights"].as_object().unwrap();
        assert!(weights.len() >= 3, "{what}");
        for (name, wanted) in weights {
            let (wanted, found) = (numbers(wanted), tensor(&after, name));
            let start = tensor(&before, name);
            assert_eq!(found.len(), wanted.len(), "{what}, {name}");
            let moved = wanted.iter().zip(&start).map(|(w, s)| (w - s).abs());
            let moved = moved.fold(0.0, f64::max);
            assert!(moved > 1e-4, "{what}, {name}: TRL moves it by {moved}");
            for (found, wanted) in found.iter().zip(&wanted) {
                near(*found, *wanted, 1e-3 * moved, &format!("{what}, {name}"));
            }
        }
        if !is_reward {
            let text = own.path().join("run/stage/model/adapter_config.json");
            let config: Value = serde_json::from_slice(&fs::read(text).unwrap()).unwrap();
            assert_eq!(
                [&config["r"], &config["lora_alpha"]],
                [&json!(2), &json!(3)]
            );
            let base = config["base_model_name_or_path"].as_str().unwrap();
            assert!(Path::new(base).ends_with("model"), "{base}");
        }
    }
}
