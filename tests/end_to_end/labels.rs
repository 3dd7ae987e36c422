//! Labels and a model's outputs: what stands in a file meets the output of its name or number.

use serde_json::{Value, json as value};

use super::support::{Workplace, data, stage};
use super::transformers::{bert, json, mlm};

const CLASSES: usize = 12;

fn read(w: &Workplace, file: &str) -> Value {
    json(&String::from_utf8(w.read(file)).unwrap())
}

/// Takes the names of the outputs away, and has the head always answer output 10.
fn answer_ten_without_names(w: &Workplace, folder: &str) {
    let mut config = read(w, &format!("{folder}/config.json"));
    let names = (0..CLASSES).map(|n| (n.to_string(), value!(format!("LABEL_{n}"))));
    config["id2label"] = names.collect();
    config.as_object_mut().unwrap().remove("label2id");
    w.write(&format!("{folder}/config.json"), config.to_string());
    let file = format!("{folder}/model.safetensors");
    let mut bytes = w.read(&file);
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    let place = |name: &str| {
        let offsets = &tensors[name]["data_offsets"];
        let at = |n: usize| header + offsets[n].as_u64().unwrap() as usize;
        at(0)..at(1)
    };
    bytes[place("classifier.weight")].fill(0);
    let bias = place("classifier.bias");
    bytes[bias.clone()].fill(0);
    let ten = bias.start + 40;
    bytes[ten..ten + 4].copy_from_slice(&9f32.to_le_bytes());
    w.write(&file, bytes);
}

/// Four texts of each of `classes`, and twenty more of 10.
fn table(name: impl Fn(usize) -> String, classes: &[usize]) -> (String, f64) {
    let row = |class: usize| format!("a film of {class},{}\n", name(class));
    let some: String = classes.iter().map(|&class| row(class).repeat(4)).collect();
    let tens = classes.iter().filter(|&&class| class == 10).count() * 4 + 20;
    let all = classes.len() * 4 + 20;
    let text = format!("text,label\n{some}{}", row(10).repeat(20));
    (text, tens as f64 / all as f64)
}

fn train<'a>(out: &'a str, init: &'a str, data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let small = [
        "stage.*.max_len=16",
        "stage.*.batch=8",
        "stage.*.budget={ steps = 2 }",
        "stage.*.lr=1e-9",
    ];
    let mut all = vec![
        "train", "--preset", "finetune", "--init", init, "--data", data,
    ];
    all.extend(["--out", out, "--quiet"]);
    all.extend(small.iter().chain(more).flat_map(|set| ["--set", set]));
    all
}

fn accuracy(w: &Workplace, model: &str, data: &str) -> f64 {
    let scores = json(&w.good(&["eval", model, "--json", "--data", data]));
    let found = scores["accuracy"].as_f64();
    found.unwrap_or_else(|| panic!("{scores}"))
}

/// The names of a model's outputs, in order.
fn names(w: &Workplace, folder: &str) -> Vec<String> {
    let config = read(w, &format!("{folder}/config.json"));
    let names = config["id2label"].as_object().unwrap();
    let name = |n: usize| names[&n.to_string()].as_str().unwrap().to_string();
    (0..names.len()).map(name).collect()
}

#[test]
fn numbers_meet_the_outputs_of_their_number() {
    let w = bert(&[mlm("")]);
    w.good(&["train", "run.toml", "--quiet", "--out", "base"]);
    let all: Vec<usize> = (0..CLASSES).collect();
    let numbers: Vec<String> = all.iter().map(ToString::to_string).collect();
    w.write("all.csv", table(|n| n.to_string(), &all).0);
    // A new head has them in their order.
    w.good(&train("new", "base/mlm", "all.csv", &[]));
    assert_eq!(names(&w, "new/finetune/model"), numbers);
    let lora = ["stage.*.lora={ rank = 2 }"];
    w.good(&train("adapter", "base/mlm", "all.csv", &lora));
    let file = "adapter/finetune/model/labels.json";
    assert_eq!(read(&w, file)["labels"], value!(numbers));

    let model = "new/finetune/model";
    answer_ten_without_names(&w, model);
    let ways: [fn(usize) -> String; 3] = [
        |n| n.to_string(),
        |n| format!("LABEL_{n}"),
        |n| format!("{n}.0"),
    ];
    for classes in [&all[..], &[2, 10, 11], &[10, 3]] {
        for way in ways {
            let (text, share) = table(way, classes);
            w.write("some.csv", &text);
            let found = accuracy(&w, model, "some.csv");
            assert!((found - share).abs() < 1e-6, "{found} {share}: {text}");
        }
        let (text, share) = table(|n| n.to_string(), classes);
        let rows = text.lines().skip(1).map(|line| {
            let (text, label) = line.split_once(',').unwrap();
            format!("{{\"text\": \"{text}\", \"label\": {label}}}\n")
        });
        w.write("some.jsonl", rows.collect::<String>());
        let found = accuracy(&w, model, "some.jsonl");
        assert!((found - share).abs() < 1e-6, "{found} {share}");
    }
    // Trained on, whole or by an adapter, it keeps its outputs, and names those that it meets.
    let (text, share) = table(|n| n.to_string(), &[2, 10, 11]);
    w.write("some.csv", &text);
    let mut met: Vec<String> = all.iter().map(|n| format!("LABEL_{n}")).collect();
    for n in [2, 10, 11] {
        met[n] = n.to_string();
    }
    w.good(&train("on", model, "some.csv", &[]));
    assert_eq!(names(&w, "on/finetune/model"), met);
    w.good(&train("lora", model, "some.csv", &lora));
    let file = "lora/finetune/model/labels.json";
    assert_eq!(read(&w, file)["labels"], value!(met));
    w.write("other.csv", table(|n| n.to_string(), &[1, 2, 10]).0);
    for on in ["on", "lora"] {
        assert!((accuracy(&w, on, "some.csv") - share).abs() < 1e-6, "{on}");
        assert!((accuracy(&w, on, "other.csv") - share).abs() < 1e-6, "{on}");
        let said = json(&w.good(&["predict", on, "a film", "--json"]));
        assert_eq!(said["label"], "10", "{said}");
    }

    // As many words are taken for the outputs in order, and that is said.
    let letter = |n: usize| char::from(b'a' + n as u8).to_string();
    let (text, share) = table(letter, &all);
    w.write("words.csv", text);
    assert!((accuracy(&w, model, "words.csv") - share).abs() < 1e-6);
    let said = w.run(&["eval", model, "--data", "words.csv"]);
    let said = String::from_utf8_lossy(&said.stderr);
    assert!(said.contains("LABEL_9 for j, LABEL_10 for k"), "{said}");
    w.write("few.csv", table(letter, &[3, 10]).0);
    let error = w.refused(&["eval", model, "--data", "few.csv"], 4);
    assert!(error.contains("label 'd' "), "{error}");

    // What is no output is refused, and named.
    for (class, classes) in [("12", [10, 12]), ("-2", [10, 0])] {
        let name = |n: usize| {
            if n == 10 {
                "10".into()
            } else {
                class.to_string()
            }
        };
        w.write("wrong.csv", table(name, &classes).0);
        let error = w.refused(&["eval", model, "--data", "wrong.csv"], 4);
        assert!(error.contains(&format!("label '{class}' ")), "{error}");
    }
}

#[test]
fn words_and_several_labels_meet_them_too() {
    let w = bert(&[mlm("")]);
    w.good(&["train", "run.toml", "--quiet", "--out", "base"]);
    let several = ["stage.*.problem=\"multi_label\""];
    let rows: String = (0..CLASSES)
        .map(|n| format!("a film of {n},\"{n},10\"\n").repeat(3))
        .collect();
    w.write("several.csv", format!("text,label\n{rows}"));
    w.good(&train("several", "base/mlm", "several.csv", &several));
    let model = "several/finetune/model";
    let numbers: Vec<String> = (0..CLASSES).map(|n| n.to_string()).collect();
    assert_eq!(names(&w, model), numbers);
    answer_ten_without_names(&w, model);
    // Output 10 says yes; the others are at 0, which is no yes.
    let rows = "a film of 2,10\n".repeat(6) + &"a film of 2,\"2,10\"\n".repeat(2);
    w.write("some.csv", format!("text,label\n{rows}"));
    assert_eq!(accuracy(&w, model, "some.csv"), 0.75);

    // To half of these none applies; of the others that one does.
    let rows = "{\"text\": \"a\", \"label\": []}\n{\"text\": \"b\", \"label\": [10]}\n";
    w.write("none.jsonl", rows.repeat(8));
    let scores = json(&w.good(&["eval", model, "--json", "--data", "none.jsonl"]));
    assert_eq!(
        (&scores["examples"], &scores["accuracy"]),
        (&value!(16), &value!(0.5))
    );
    w.good(&train("none", model, "none.jsonl", &several));
    let results = read(&w, "none/results.json");
    let tested = &results["units"][0]["test"];
    assert!(tested["examples"].as_u64().unwrap() > 0, "{results}");

    let text: String = (0..CLASSES)
        .map(|n| format!("film {n}\n\n").repeat(3))
        .collect();
    w.write("words.conll", text);
    let words = ["stage.*.objective=\"token_classify\""];
    w.good(&train("words", "base/mlm", "words.conll", &words));
    let model = "words/finetune/model";
    assert_eq!(names(&w, model), numbers);
    answer_ten_without_names(&w, model);
    let rows = "{\"tokens\": [\"a\", \"film\"], \"ner_tags\": [10, 2]}\n";
    w.write("words.jsonl", rows.repeat(4));
    assert_eq!(accuracy(&w, model, "words.jsonl"), 0.5);
    w.good(&train("on", model, "words.jsonl", &words));
    assert_eq!(names(&w, "on/finetune/model").len(), CLASSES);
    assert_eq!(accuracy(&w, "on", "words.jsonl"), 0.5);
}

#[test]
fn an_lstm_numbers_its_classes_in_their_order_and_keeps_them() {
    let classify = "budget = { steps = 2 }";
    let w = Workplace::new(&[stage("lstm", "finetune", classify)]);
    let all: Vec<usize> = (0..CLASSES).collect();
    w.write("all.csv", table(|n| n.to_string(), &all).0);
    let run = String::from_utf8(w.read("run.toml")).unwrap();
    let own = |line: &&str| !line.starts_with("test = ") && !line.starts_with("unlabelled = ");
    let lines: Vec<&str> = run.lines().filter(own).collect();
    w.write("run.toml", lines.join("\n"));
    w.good(&[
        "train", "run.toml", "--quiet", "--data", "all.csv", "--out", "run",
    ]);
    let numbers: Vec<String> = all.iter().map(ToString::to_string).collect();
    let config = read(&w, "run/lstm/model/config.json");
    assert_eq!(config["labels"], value!(numbers));
    // A stage that only tests it has the outputs of the model, not those of its data.
    w.write("three.csv", table(|n| n.to_string(), &[3, 10, 11]).0);
    let test = |name: &str| {
        let stage = stage(
            "test",
            "evaluate",
            "objective = \"classify\"\ninit = \"MODEL\"\nbatch = 8\nmax_len = 16",
        );
        let stage = stage.replace("MODEL", &w.path("run/lstm/model").display().to_string());
        let head = lines.join("\n");
        let head = &head[..head.find("[[stage]]").unwrap()];
        let tokenizer = w.path("run/lstm/model/tokenizer.json");
        let file = format!("[tokenizer]\nfile = '{}'", tokenizer.display());
        let head = head.replace("[tokenizer]\nvocabulary = 300\nmin_frequency = 1", &file);
        w.write("test.toml", head + &stage);
        let data = data("reviews.csv");
        let data = if name.is_empty() {
            data.to_str().unwrap()
        } else {
            name
        };
        w.run(&[
            "train",
            "test.toml",
            "--quiet",
            "--data",
            data,
            "--out",
            "tested",
        ])
    };
    let out = test("three.csv");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let tested = read(&w, "tested/results.json");
    let confusion = &tested["units"][0]["test"]["classes"]["confusion"];
    let row = |n: usize| -> u64 {
        let row = confusion[n].as_array().unwrap();
        assert_eq!(row.len(), CLASSES);
        row.iter().map(|count| count.as_u64().unwrap()).sum()
    };
    let rows: Vec<usize> = all.iter().copied().filter(|&n| row(n) > 0).collect();
    assert_eq!(rows, [3, 10, 11], "{confusion}");
    std::fs::remove_dir_all(w.path("tested")).unwrap();
    let out = test("");
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(4), "{said}");
    assert!(said.contains("0, 1, 2, 3, 4"), "{said}");
}

#[test]
fn minus_one_is_a_label_and_a_number() {
    let w = bert(&[mlm("")]);
    w.good(&["train", "run.toml", "--quiet", "--out", "base"]);
    for names_of in [vec!["-1", "0", "1"], vec!["-1", "0"]] {
        let name = |n: usize| (n % names_of.len()) as i32 - 1;
        let rows: String = (0..30).map(|n| format!("film {n},{}\n", name(n))).collect();
        w.write("minus.csv", format!("text,label\n{rows}"));
        let out = format!("classes{}", names_of.len());
        w.good(&train(&out, "base/mlm", "minus.csv", &[]));
        assert_eq!(names(&w, &format!("{out}/finetune/model")), names_of);
    }
    let number = ["stage.*.problem=\"regression\""];
    w.good(&train("number", "base/mlm", "minus.csv", &number));
    let scores = json(&w.good(&["eval", "number", "--json", "--data", "minus.csv"]));
    assert_eq!(scores["examples"], 30, "{scores}");
}
