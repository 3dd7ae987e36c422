//! Models that are asked about files: tables, JSON, folders, words; and what they write.

use serde_json::{Map, Value};

use super::support::{Workplace, stage};
use super::transformers::{BERT, bert, head, json, mlm};

/// A tiny BERT that tells reviews apart, in `run/c`, and the masked LM that it came from, in `run/mlm`.
fn classifier() -> Workplace {
    let w = bert(&[mlm(""), stage("c", "finetune", "init = \"mlm\"")]);
    w.good(&["train", "run.toml", "--quiet", "--out", "run"]);
    w
}

/// A tiny BERT trained on texts of this file alone; `lines` are of its stage.
fn trained_on(data: &str, file: (&str, &str), lines: &str) -> Workplace {
    let w = bert(&[]);
    w.write(file.0, file.1);
    let head = head("wordpiece", BERT).replace("vocabulary = 400", "vocabulary = 60");
    let (from, to) = (
        head.find("path = ").unwrap(),
        head.find("validation = ").unwrap(),
    );
    let head = format!("{}{data}\n{}", &head[..from], &head[to..]);
    let lines = format!("{lines}\nkept_end = \"head\"\nbudget = {{ steps = 20 }}");
    w.write("own.toml", head + &stage("own", "finetune", &lines));
    w.good(&["train", "own.toml", "--quiet", "--out", "run"]);
    w
}

/// The rows of a csv file by their headers, and the headers.
fn table(bytes: &[u8], separator: u8) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .from_reader(bytes);
    let headers = reader.headers().unwrap().iter().map(String::from).collect();
    let rows = reader.records();
    let rows = rows.map(|row| row.unwrap().iter().map(String::from).collect());
    (headers, rows.collect())
}

fn objects(bytes: &[u8]) -> Vec<Map<String, Value>> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

const TEXTS: [&str; 3] = ["a fine film, and \"warm\"", "so dull", "a film"];

#[test]
fn answers_stand_beside_the_columns_of_their_rows() {
    let w = classifier();
    let of = |text: &str| json(&w.good(&["predict", "run/c", text, "--json"]));
    let alone: Vec<Value> = TEXTS.iter().map(|text| of(text)).collect();
    let near = |said: &Value, alone: &Value, label: usize| {
        let said = said.as_f64().unwrap();
        let alone = alone["probabilities"][label][1].as_f64().unwrap();
        assert!((said - alone).abs() < 1e-5, "{said} {alone}");
    };
    let labels: Vec<&str> = (0..2)
        .map(|n| alone[0]["probabilities"][n][0].as_str().unwrap())
        .collect();
    let of_label: Vec<String> = labels.iter().map(|label| format!("p_{label}")).collect();

    // A table whose rows come in another order than that of their lengths; one label is missing, one
    // column has the name of an answer, two have one name.
    let quoted = TEXTS[0].replace('"', "\"\"");
    let rows = format!(
        "id,review,label,prediction,id\n7,\"{quoted}\",pos,x,a\n8,so dull,,y,b\n9,a film,neg,,c\n"
    );
    w.write("in.csv", rows);
    w.good(&["predict", "run/c", "in.csv", "--out", "out.csv"]);
    let (headers, rows) = table(&w.read("out.csv"), b',');
    let mut expected = vec![
        "id",
        "review",
        "label",
        "prediction",
        "id_4",
        "prediction_2",
    ];
    expected.extend(of_label.iter().map(String::as_str));
    assert_eq!(headers, expected);
    for ((row, text), answer) in rows.iter().zip(TEXTS).zip(&alone) {
        assert_eq!(row[1], text);
        assert_eq!(row[5], answer["label"].as_str().unwrap());
        near(&json(&row[6]), answer, 0);
        near(&json(&row[7]), answer, 1);
    }
    let of_column = |n: usize| rows.iter().map(|row| row[n].as_str()).collect::<Vec<_>>();
    assert_eq!(of_column(0), ["7", "8", "9"]);
    assert_eq!(of_column(2), ["pos", "", "neg"]);
    assert_eq!(of_column(4), ["a", "b", "c"]);
    // On standard output they are as those of lines.
    let brief = w.good(&["predict", "run/c", "--data", "in.csv"]);
    let first = w.good(&["predict", "run/c", TEXTS[1]]);
    assert_eq!(brief.lines().nth(1), first.lines().next());
    assert_eq!(brief.lines().count(), 3);

    // The same as tabs; and as JSON, where values keep their kind and each row its keys.
    w.good(&["predict", "run/c", "in.csv", "--out", "out.tsv"]);
    let (tabs, same) = table(&w.read("out.tsv"), b'\t');
    assert_eq!((tabs, same), (headers, rows));
    w.write(
        "in.jsonl",
        "{\"n\": 1, \"text\": \"so dull\", \"label\": [1, 1]}\n{\"text\": \"a film\", \"more\": null}\n",
    );
    w.good(&["predict", "run/c", "in.jsonl", "--out", "out.jsonl"]);
    let rows = objects(&w.read("out.jsonl"));
    let keys: Vec<&String> = rows[0].keys().collect();
    assert_eq!(keys[..4], ["n", "text", "label", "prediction"]);
    assert_eq!(
        (&rows[0]["n"], &rows[0]["label"]),
        (&1.into(), &json("[1, 1]"))
    );
    assert_eq!(rows[1]["more"], Value::Null);
    assert_eq!(rows[1]["prediction"], alone[2]["label"]);
    near(&rows[1][&of_label[1]], &alone[2], 1);
    // In a table all columns of both stand.
    w.good(&["predict", "run/c", "in.jsonl", "--out", "out.csv"]);
    let (headers, rows) = table(&w.read("out.csv"), b',');
    assert!(headers.contains(&"n".to_string()) && headers.contains(&"more".to_string()));
    let n = headers.iter().position(|header| header == "n").unwrap();
    assert_eq!((&*rows[0][n], &*rows[1][n]), ("1", ""));

    // A table without header, by number; a folder; lines.
    w.write("bare.csv", "1,so dull\n2,a film\n");
    w.good(&[
        "predict",
        "run/c",
        "bare.csv",
        "--text-column",
        "1",
        "--out",
        "bare.jsonl",
    ]);
    let rows = objects(&w.read("bare.jsonl"));
    assert_eq!(
        (&rows[1]["0"], &rows[1]["1"]),
        (&"2".into(), &"a film".into())
    );
    std::fs::create_dir(w.path("folder")).unwrap();
    w.write("folder/b.txt", "so dull");
    w.write("folder/a.txt", "a film\n");
    w.good(&["predict", "run/c", "folder", "--out", "folder.csv"]);
    let (headers, rows) = table(&w.read("folder.csv"), b',');
    assert_eq!(headers[..3], ["file", "text", "prediction"]);
    assert_eq!(rows[0][..2], ["a.txt", "a film"]);
    w.write("lines.txt", "so dull\n\na film\n");
    let out = w.run(&["predict", "run/c", "lines.txt", "--out", "lines.csv"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("1 empty lines of lines.txt"));
    assert_eq!(table(&w.read("lines.csv"), b',').1.len(), 2);

    let error = w.refused(&["predict", "run/c", "in.csv", "--out", "out.xls"], 2);
    assert!(error.contains("--out") && error.contains(".csv"), "{error}");
    let error = w.refused(
        &[
            "predict",
            "run/c",
            "in.csv",
            "--text-column",
            "no",
            "--out",
            "x.csv",
        ],
        2,
    );
    assert!(error.contains("review"), "{error}");
    assert!(!w.path("x.csv").exists());
}

#[test]
fn answers_do_not_depend_on_what_else_is_asked() {
    let w = classifier();
    let words = ["film", "dull", "fine", "warm", "story", "a", "so"];
    let text = |n: usize| -> String {
        let words = (0..n % 11 + 1).map(|k| words[(n * 3 + k * k) % words.len()]);
        words.collect::<Vec<_>>().join(" ")
    };
    let texts: Vec<String> = (0..150).map(text).collect();
    let ask = |texts: &[String], name: &str| {
        w.write("ask.txt", texts.join("\n"));
        w.good(&["predict", "run/c", "ask.txt", "--out", name]);
        w.read(name)
    };
    let all = ask(&texts, "all.jsonl");
    assert_eq!(ask(&texts, "again.jsonl"), all);
    let turned: Vec<String> = texts.iter().rev().cloned().collect();
    let mut back = objects(&ask(&turned, "turned.jsonl"));
    back.reverse();
    let some = objects(&ask(&texts[..40], "some.jsonl"));
    let all = objects(&all);
    assert_eq!(all.len(), texts.len());
    for (one, other) in all.iter().zip(back).chain(all.iter().zip(some)) {
        assert_eq!(one["text"], other["text"]);
        for (key, value) in one.iter().filter(|(key, _)| key.starts_with("p_")) {
            let (a, b) = (value.as_f64().unwrap(), other[key].as_f64().unwrap());
            assert!((a - b).abs() < 1e-6, "{key}: {a} {b}");
        }
    }
}

#[test]
fn a_model_knows_whether_it_reads_pairs() {
    let rows = [
        "one,two,next",
        "two,three,next",
        "two,one,not",
        "three,one,not",
    ];
    let pairs = format!("text,second,label\n{}\n", rows.repeat(6).join("\n"));
    let data = "path = 'pairs.csv'\npair_column = \"second\"";
    let w = trained_on(data, ("pairs.csv", &pairs), "");
    let config = json(&String::from_utf8(w.read("run/own/model/config.json")).unwrap());
    assert_eq!(config["text_pairs"], true);
    // A tab tells the two apart without being asked to.
    let said = json(&w.good(&["predict", "run", "one\ttwo", "--json"]));
    let asked = json(&w.good(&["predict", "run", "one\ttwo", "--json", "--pairs"]));
    assert_eq!((&said["pair"], &said), (&"two".into(), &asked));
    let column = ["--pair-column", "second"];
    w.good(
        &[
            &["predict", "run", "pairs.csv", "--out", "out.csv"],
            &column[..],
        ]
        .concat(),
    );
    let (headers, _) = table(&w.read("out.csv"), b',');
    assert_eq!(
        headers,
        ["text", "second", "label", "prediction", "p_next", "p_not"]
    );
    for command in [
        &["predict", "run", "one"][..],
        &["predict", "run", "pairs.csv", "--out", "none.csv"],
        &["eval", "run", "--data", "pairs.csv"],
    ] {
        let error = w.refused(command, 2);
        assert!(
            error.contains("pair_column") && error.contains("trained on pairs"),
            "{error}"
        );
    }

    // An adapter and what it is merged to know it, too.
    w.write("single.csv", pairs.replace("second", "other"));
    let single = std::fs::read_to_string(w.path("own.toml")).unwrap();
    let single = single.replace(data, "path = 'single.csv'");
    let lora = "lora = { rank = 2 }\ninit = 'run/own/model'\n";
    let single = single.replace("[[stage]]\n", &format!("[[stage]]\n{lora}"));
    let from = single.find("[model]").unwrap();
    let to = single.find("[data]").unwrap();
    let single = format!(
        "{}[model]\nkind = \"pretrained\"\n{}",
        &single[..from],
        &single[to..]
    );
    w.write("single.toml", single);
    w.good(&["train", "single.toml", "--quiet", "--out", "one"]);
    let labels = json(&String::from_utf8(w.read("one/own/model/labels.json")).unwrap());
    assert_eq!(labels["text_pairs"], false);
    w.good(&["merge", "run/own/model", "one/own/model", "merged"]);
    for model in ["one", "merged"] {
        w.good(&["predict", model, "one"]);
        for command in [
            &["predict", model, "one\ttwo", "--pairs"][..],
            &["predict", model, "single.csv", "--pair-column", "other"],
            &[
                "eval",
                model,
                "--data",
                "single.csv",
                "--pair-column",
                "other",
            ],
        ] {
            let error = w.refused(command, 2);
            assert!(error.contains("trained on single texts"), "{error}");
        }
    }
}

#[test]
fn words_become_rows_or_conll() {
    let text = "Melos B-PER\nran O\n\nDionys B-PER\nin O\nSyrakus B-LOC\n\n";
    let lines = "objective = \"token_classify\"\nlr = 0.05";
    let w = trained_on(
        "path = 'words.conll'",
        ("words.conll", &text.repeat(8)),
        lines,
    );
    w.write("in.csv", "id,text\n5,Melos ran\n6,Dionys in Syrakus\n");
    w.good(&["predict", "run", "in.csv", "--out", "out.csv"]);
    let (headers, rows) = table(&w.read("out.csv"), b',');
    let columns = [
        "row",
        "id",
        "word",
        "start",
        "end",
        "prediction",
        "probability",
    ];
    assert_eq!(headers, columns);
    let said: Vec<String> = rows.iter().map(|row| row[..6].join(" ")).collect();
    let expected = [
        "0 5 Melos 0 5 B-PER",
        "0 5 ran 6 9 O",
        "1 6 Dionys 0 6 B-PER",
        "1 6 in 7 9 O",
        "1 6 Syrakus 10 17 B-LOC",
    ];
    assert_eq!(said, expected);
    // Words that are cut already, with labels or without, come back as they were.
    w.write("bare.conll", "Dionys\nin\nSyrakus\n\nMelos\nran\n");
    let bare = "Dionys\tB-PER\nin\tO\nSyrakus\tB-LOC\n\nMelos\tB-PER\nran\tO\n\n";
    w.good(&["predict", "run", "bare.conll", "--out", "again.conll"]);
    assert_eq!(String::from_utf8(w.read("again.conll")).unwrap(), bare);
    w.good(&["predict", "run", "words.conll", "--out", "all.tsv"]);
    let expected = text.replace(' ', "\t").repeat(8);
    assert_eq!(String::from_utf8(w.read("all.tsv")).unwrap(), expected);
    // What stands beside them stays: in columns of their lines, in lists, and of their text.
    w.write(
        "more.conll",
        "Dionys NNP B-PER\nin IN\n\nMelos NNP O\nran VBD O\n",
    );
    let lists = r#"{"id": 7, "tokens": ["Melos", "ran"], "pos": ["N", "V"], "notes": ["one"]}"#;
    w.write("more.jsonl", lists);
    w.good(&[
        "predict",
        "run",
        "more.conll",
        "more.jsonl",
        "in.csv",
        "--out",
        "more.out.jsonl",
    ]);
    let rows = objects(&w.read("more.out.jsonl"));
    let said: Vec<String> = (rows.iter())
        .map(|row| {
            let keys = row
                .iter()
                .filter(|(key, _)| *key != "start" && *key != "end");
            let keys = keys.filter(|(key, _)| *key != "probability");
            keys.map(|(key, value)| format!("{key}={value}"))
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    let expected = [
        r#"row=0 1="NNP" 2="B-PER" word="Dionys" prediction="B-PER""#,
        r#"row=0 1="IN" 2=null word="in" prediction="O""#,
        r#"row=1 1="NNP" 2="O" word="Melos" prediction="B-PER""#,
        r#"row=1 1="VBD" 2="O" word="ran" prediction="O""#,
        r#"row=2 id=7 notes=["one"] pos="N" word="Melos" prediction="B-PER""#,
        r#"row=2 id=7 notes=["one"] pos="V" word="ran" prediction="O""#,
        r#"row=3 id="5" word="Melos" prediction="B-PER""#,
    ];
    assert_eq!(said[..7], expected);
    w.good(&[
        "predict",
        "run",
        "all.tsv",
        "--text-column",
        "0",
        "--out",
        "lines.jsonl",
    ]);
}

#[test]
fn several_files_are_answered_one_after_the_other() {
    let w = classifier();
    w.write("a.csv", "id,text\n1,so dull\n2,a film\n");
    w.write("b.csv", "text,id\nso fine a film,3\n");
    w.write("c.txt", "a film\n");
    w.write("m.csv", "id,text\n2,a [MASK] film\n");
    let ids = |arguments: &[&str]| -> Vec<String> {
        w.good(&[arguments, &["--out", "out.jsonl"]].concat());
        let rows = objects(&w.read("out.jsonl"));
        rows.iter()
            .map(|row| row.get("id").map_or(String::new(), Value::to_string))
            .collect()
    };
    let all = ["\"1\"", "\"2\"", "\"3\"", ""];
    assert_eq!(ids(&["predict", "run/c", "a.csv", "b.csv", "c.txt"]), all);
    assert_eq!(
        ids(&[
            "predict", "run/c", "--data", "a.csv", "b.csv", "--data", "c.txt"
        ]),
        all
    );
    assert_eq!(ids(&["embed", "run/mlm", "a.csv", "b.csv", "c.txt"]), all);
    assert_eq!(
        ids(&["fill-mask", "run/mlm", "m.csv", "m.csv", "--top", "1"]),
        ["\"2\"", "\"2\""]
    );
    w.good(&["embed", "run/mlm", "a.csv", "b.csv", "--out", "v.npy"]);
    assert_eq!(w.read("v.npy").len(), 128 + 3 * 16 * 4);
    // In a table a column stands under its name, wherever it stands in its file.
    w.good(&["predict", "run/c", "a.csv", "b.csv", "--out", "out.csv"]);
    let (headers, rows) = table(&w.read("out.csv"), b',');
    assert_eq!(
        (&headers[..2], &rows[2][..2]),
        (
            &["id", "text"].map(String::from)[..],
            &["3", "so fine a film"].map(String::from)[..]
        )
    );
    // Words are no files, and a name that is misspelt is said.
    let said = w.refused(&["predict", "run/c", "a", "film"], 2);
    assert!(
        said.contains("'a' is no file") && said.contains("quote"),
        "{said}"
    );
    assert!(
        w.refused(&["predict", "run/c", "a.csv", "d.csv"], 5)
            .contains("d.csv")
    );
}

#[test]
fn vectors_and_guesses_stand_beside_the_columns_of_their_rows() {
    let w = classifier();
    w.write("in.csv", "id,text\n1,so dull and long a film\n2,a film\n");
    let embed = |name: &str| {
        w.good(&["embed", "run/mlm", "in.csv", "--out", name]);
        w.read(name)
    };
    let array = embed("v.npy");
    let values = array[128..].chunks(4);
    let values: Vec<f32> = values
        .map(|x| f32::from_le_bytes(x.try_into().unwrap()))
        .collect();
    assert_eq!(values.len(), 2 * 16);
    let (headers, rows) = table(&embed("v.csv"), b',');
    assert_eq!(headers[..3], ["id", "text", "e0"]);
    assert_eq!(headers.last().unwrap(), "e15");
    let said: Vec<f32> = (rows.iter())
        .flat_map(|row| row[2..].iter().map(|x| x.parse::<f32>().unwrap()))
        .collect();
    assert_eq!(said, values);
    let lines = objects(&embed("v.jsonl"));
    assert_eq!(lines[1]["id"], "2");
    assert_eq!(
        lines[1]["embedding"][15].as_f64().unwrap() as f32,
        values[31]
    );

    w.write(
        "masks.csv",
        "id,text\na,a [MASK] film\nb,[MASK] and [MASK]\n",
    );
    w.good(&[
        "fill-mask",
        "run/mlm",
        "masks.csv",
        "--top",
        "2",
        "--out",
        "guesses.csv",
    ]);
    let (headers, rows) = table(&w.read("guesses.csv"), b',');
    let columns = [
        "id",
        "text",
        "position",
        "probability",
        "token",
        "prediction",
        "sequence",
    ];
    assert_eq!(headers, columns);
    let ids: String = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(ids, "aabbbb");
}
