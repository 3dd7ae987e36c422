//! `melos tune`: what it measures, keeps, exports and takes over; that only rounding depends on it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::support::{Workplace, files, stage};

type Table = toml::Table;

fn language_model() -> Workplace {
    Workplace::new(&[
        stage(
            "lm",
            "pretrain",
            "objective = \"lm\"\nbudget = { steps = 4 }",
        ),
        stage(
            "lm-lstm",
            "finetune",
            "init = \"lm\"\nbudget = { steps = 2 }",
        ),
    ])
}

/// The forms of every class in an exported table, the fastest first.
fn forms(table: &Table) -> &Table {
    table["device"][0]["forms"].as_table().expect("forms")
}

/// The file that later runs read.
fn kept(w: &Workplace) -> String {
    let all = files(&w.path("cache/tuning"));
    assert_eq!(all.len(), 1, "{all:?}");
    std::fs::read_to_string(&all[0]).unwrap()
}

fn losses(w: &Workplace, run: &str) -> BTreeMap<String, f64> {
    let lines = String::from_utf8(w.read(&format!("{run}/metrics.jsonl"))).unwrap();
    let lines = lines
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    let losses = lines.filter(|l| l["event"] == "loss");
    let losses: BTreeMap<_, _> = losses
        .map(|l| {
            (
                format!("{} {}", l["unit"], l["step"]),
                l["loss"].as_f64().unwrap(),
            )
        })
        .collect();
    assert_eq!(losses.len(), 6);
    losses
}

/// The kernels of a step, with their runs.
fn kernels(w: &Workplace) -> BTreeMap<String, f64> {
    let out = w.good(&["profile", "run.toml", "--steps", "1", "--json"]);
    let profile: Value = serde_json::from_str(&out).expect("JSON");
    let rows = profile["kernels"].as_array().expect("kernels").iter();
    rows.map(|k| (k["kernel"].to_string(), k["count"].as_f64().unwrap()))
        .collect()
}

#[test]
fn what_is_measured_is_kept_exported_and_taken_over() {
    let w = language_model();
    let out = w.good(&[
        "tune",
        "run.toml",
        "--steps",
        "1",
        "--export",
        "table.toml",
        "--json",
    ]);
    let tuned: Value = serde_json::from_str(&out).expect("JSON");
    let measured = tuned["measured"].as_array().expect("measurements");
    assert!(!measured.is_empty());
    let exported: Table =
        toml::from_str(&String::from_utf8(w.read("table.toml")).unwrap()).unwrap();
    assert_eq!(forms(&exported).len(), measured.len());
    for class in measured {
        let times: Vec<f64> = class["forms"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| f["seconds"].as_f64().unwrap())
            .collect();
        assert!(
            times.len() > 1 && times.is_sorted() && times[0] > 0.0,
            "{class}"
        );
        let names = forms(&exported)[class["class"].as_str().unwrap()]
            .as_array()
            .unwrap();
        assert_eq!(names[0].as_str(), class["forms"][0]["form"].as_str());
    }
    assert!(!w.path("runs").exists());

    // Another machine of the kind: the same choices, in the same file.
    let first = kept(&w);
    let other = language_model();
    other.write("table.toml", w.read("table.toml"));
    other.good(&["tune", "--import", "table.toml"]);
    assert_eq!(kept(&other), first);
    let text = String::from_utf8(w.read("table.toml")).unwrap();
    other.write(
        "alien.toml",
        text.replace("adapter = \"", "adapter = \"not "),
    );
    let error = other.refused(&["tune", "--import", "alien.toml"], 2);
    assert!(error.contains("alien.toml: has nothing for"), "{error}");
    other.write("damaged.toml", "[[device]");
    other.refused(&["tune", "--import", "damaged.toml"], 2);
    other.refused(&["tune", "--import", "nowhere.toml"], 5);
    assert_eq!(kept(&other), first);

    let table = w.good(&["tune", "run.toml", "--steps", "1", "--stage", "lm-lstm"]);
    assert!(
        table.starts_with("| sizes ") && table.contains("kept in "),
        "{table}"
    );
    let mut forced = w.command(&["tune", "run.toml"]);
    let forced = forced.env("MELOS_KERNELS", "portable").output().unwrap();
    assert_eq!(forced.status.code(), Some(2));
}

#[test]
fn only_rounding_depends_on_the_choices() {
    let w = language_model();
    w.good(&["tune", "run.toml", "--steps", "1", "--export", "table.toml"]);
    let table: Table = toml::from_str(&String::from_utf8(w.read("table.toml")).unwrap()).unwrap();
    // By name and the other way round: as measured, two classes could trade their forms and leave the
    // kernels as many as they were.
    let train = |out: &str, reverse: bool| {
        let mut table = table.clone();
        let devices = table["device"].as_array_mut().unwrap();
        for (_, forms) in devices[0]["forms"].as_table_mut().unwrap().iter_mut() {
            let forms = forms.as_array_mut().unwrap();
            forms.sort_by_key(|form| form.to_string());
            if reverse {
                forms.reverse();
            }
        }
        w.write("chosen.toml", toml::to_string(&table).unwrap());
        w.good(&["tune", "--import", "chosen.toml"]);
        w.good(&["train", "run.toml", "--quiet", "--out", out]);
        (losses(&w, out), kernels(&w))
    };
    let (first, first_kernels) = train("first", false);
    let (second, second_kernels) = train("second", true);
    assert_ne!(
        first_kernels, second_kernels,
        "the choices were not taken over"
    );
    for (step, loss) in &first {
        assert!(
            (loss - second[step]).abs() < 1e-5 * loss,
            "{step}: {loss} and {}",
            second[step]
        );
    }
}
