//! `melos doctor` on a driver that computes wrongly, and on the same one when it does not.

use std::collections::BTreeSet;
use std::process::Output;

use melos::kernels::catalogue;
use serde_json::Value;

use super::{Place, line};

/// A broadcast within a subgroup is a shuffle.
const WRONG: [(&str, &str); 1] = [("WRONG_WITH", "345")];

fn doctor(place: &Place, driver: &[(&str, &str)]) -> (i32, Value) {
    let out = place.melos(&["doctor", "--quick", "--json"], driver);
    let error = String::from_utf8_lossy(&out.stderr);
    let report = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {error}"));
    (out.status.code().unwrap(), report)
}

fn list(value: &Value) -> Vec<&Value> {
    value.as_array().unwrap().iter().collect()
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn what_is_wrong_is_named_and_left_out_until_it_is_right() {
    let place = Place::new();
    let (code, report) = doctor(&place, &WRONG);
    assert_eq!(code, 1, "{report}");
    let left_out: Vec<&str> = list(&report["left_out"])
        .iter()
        .map(|s| s.as_str().unwrap())
        .collect();
    assert_eq!(
        left_out,
        ["subgroup", "image"],
        "images are read by broadcast"
    );
    assert_eq!(
        list(&report["wrong"]),
        [] as [&Value; 0],
        "others can take their place"
    );
    for row in list(&report["kernels"]) {
        let rung = row["rung"].as_str().unwrap();
        let right = row["right"].as_bool().unwrap();
        assert!(right || ["subgroup", "image"].contains(&rung), "{row}");
        // Whatever form it has, it adds.
        let kernel = row["kernel"].as_str().unwrap();
        let adds = kernel.starts_with("lstm_step") && kernel.ends_with("_subgroup");
        assert!(!adds || !right, "{row}");
        assert_eq!(right, list(&row["faults"]).is_empty(), "{row}");
    }

    // From now on that driver trains as if it had none of it, which is as the right one does.
    let model = "a/model/model.safetensors";
    let wrong = place.train(&["run.toml", "--out", "on-wrong"], &WRONG);
    assert_eq!(line(&wrong), None);
    assert!(said(&wrong).contains("left out on"), "{}", said(&wrong));
    let right = place.train(&["run.toml", "--out", "on-right"], &[]);
    assert_eq!(line(&right), None);
    assert_eq!(
        place.read(&format!("on-wrong/{model}")),
        place.read(&format!("on-right/{model}"))
    );
    let devices = place.melos(&["devices"], &WRONG);
    let devices = String::from_utf8_lossy(&devices.stdout).into_owned();
    assert!(
        devices.contains("left out, as `melos doctor` found them wrong: subgroup, image"),
        "{devices}"
    );
    let forced = [WRONG[0], ("MELOS_KERNELS", "subgroup")];
    let forced = place.train(&["run.toml", "--out", "forced"], &forced);
    assert_eq!(forced.status.code(), Some(2), "{}", said(&forced));
    assert!(
        said(&forced).contains("`melos doctor` found this one wrong"),
        "{}",
        said(&forced)
    );

    let (code, report) = doctor(&place, &[]);
    assert_eq!(code, 0, "{report}");
    let names = |rows: &Value| -> BTreeSet<String> {
        let name = |row: &Value| row["kernel"].as_str().unwrap().to_string();
        list(rows).into_iter().map(name).collect()
    };
    let (ran, not) = (names(&report["kernels"]), names(&report["not_run"]));
    let all: BTreeSet<String> = catalogue::iter().map(|k| k.name.to_string()).collect();
    assert_eq!(&ran | &not, all);
    assert!(
        ran.len() > 30 && not.iter().all(|name| name == "matmul_coop"),
        "{not:?}"
    );
    let free = place.train(&["run.toml", "--out", "free"], &[]);
    assert!(!said(&free).contains("left out"), "{}", said(&free));
}

#[test]
fn what_nothing_can_take_the_place_of_is_said() {
    let place = Place::new();
    // Every shader.
    let out = place.melos(&["doctor", "--quick"], &[("WRONG_WITH", "19")]);
    assert_eq!(out.status.code(), Some(1));
    let table = String::from_utf8_lossy(&out.stdout);
    assert!(table.contains("NOT right on this adapter"), "{table}");
    assert!(
        table.contains("Wrong, and nothing can take their place: adagrad, adam,"),
        "{table}"
    );
    let next = place.train(&["run.toml", "--out", "next"], &[]);
    assert!(
        said(&next).contains("Do not trust results of this adapter"),
        "{}",
        said(&next)
    );
}
