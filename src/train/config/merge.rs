//! Laying tables over tables: scales over a preset, `--set` over both, defaults under stages.

use toml::{Table, Value};

use crate::error::{Error, Result};

/// Lays `over` on `base`, key by key. A stage is met by its name: `stage.NAME`, or `stage.*`
/// for all of them.
pub(super) fn overlay(base: &mut Table, over: Table) -> Result<()> {
    for (key, value) in over {
        match (key.as_str(), value) {
            ("stage", Value::Table(stages)) => overlay_stages(base, stages)?,
            (_, value) => overlay_value(base, key, value),
        }
    }
    Ok(())
}

fn overlay_stages(base: &mut Table, over: Table) -> Result<()> {
    let Some(Value::Array(stages)) = base.get_mut("stage") else {
        return Err(Error::ConfigMissing {
            place: "the run file".into(),
            key: "[[stage]]".into(),
        });
    };
    for (name, value) in over {
        let Value::Table(changes) = value else {
            return Err(Error::ConfigType {
                place: format!("stage.{name}"),
                expected: "a table of keys, as in stage.NAME.lr".into(),
                found: value.type_str().into(),
            });
        };
        let names: Vec<String> = stages
            .iter()
            .filter_map(stage_name)
            .map(String::from)
            .collect();
        if name != "*" && !names.contains(&name) {
            return Err(super::unknown_name(
                "stage",
                &name,
                names.iter().map(String::as_str),
            ));
        }
        for stage in stages.iter_mut() {
            let hit = name == "*" || stage_name(stage) == Some(&name);
            if let (true, Value::Table(stage)) = (hit, stage) {
                for (key, value) in changes.clone() {
                    overlay_value(stage, key, value);
                }
            }
        }
    }
    Ok(())
}

fn stage_name(stage: &Value) -> Option<&str> {
    stage.get("name")?.as_str()
}

fn overlay_value(base: &mut Table, key: String, value: Value) {
    match (base.get_mut(&key), value) {
        (Some(Value::Table(old)), Value::Table(new)) if !replaces(&key, old, &new) => {
            for (key, value) in new {
                overlay_value(old, key, value);
            }
        }
        (_, value) => {
            base.insert(key, value);
        }
    }
}

/// Whether `new` takes the place of `old` rather than changing some of its keys: a budget has
/// one key only, and an optimiser of another kind has nothing to do with the old one's numbers.
fn replaces(key: &str, old: &Table, new: &Table) -> bool {
    key == "budget" || (new.contains_key("kind") && new.get("kind") != old.get("kind"))
}

/// Puts `[defaults.KIND]` under every stage of that kind and takes `defaults` away.
pub(super) fn apply_defaults(base: &mut Table) -> Result<()> {
    let Some(defaults) = base.remove("defaults") else {
        return Ok(());
    };
    let Value::Table(defaults) = defaults else {
        return Err(Error::ConfigType {
            place: "defaults".into(),
            expected: "tables by kind of stage, as [defaults.finetune]".into(),
            found: defaults.type_str().into(),
        });
    };
    const KINDS: [&str; 3] = ["pretrain", "finetune", "evaluate"];
    if let Some(kind) = defaults.keys().find(|kind| !KINDS.contains(&kind.as_str())) {
        return Err(Error::ConfigUnknownKey {
            place: "defaults".into(),
            suggestion: super::nearest(kind, KINDS),
            known: KINDS.join(", "),
            key: kind.clone(),
        });
    }
    let Some(Value::Array(stages)) = base.get_mut("stage") else {
        return Ok(());
    };
    for stage in stages {
        let Value::Table(own) = stage else { continue };
        let kind = own.get("kind").and_then(Value::as_str).unwrap_or_default();
        if let Some(Value::Table(under)) = defaults.get(kind) {
            let mut merged = under.clone();
            for (key, value) in std::mem::take(own) {
                overlay_value(&mut merged, key, value);
            }
            *own = merged;
        }
    }
    Ok(())
}

/// A `[model]` without a kind is an LSTM.
pub(super) fn apply_kind(base: &mut Table) {
    if let Some(Value::Table(model)) = base.get_mut("model") {
        model
            .entry("kind")
            .or_insert_with(|| Value::String("lstm".into()));
    }
}

/// Reads `a.b.c=value` as a table to lay over: the value as TOML, or as a string where it is not.
pub(super) fn parse_set(text: &str) -> Result<Table> {
    let wrong = |message: &str| Error::ConfigValue {
        place: format!("--set {text}"),
        message: message.into(),
    };
    let (path, value) = text
        .split_once('=')
        .ok_or_else(|| wrong("expected key=value, as stage.finetune.lr=0.001"))?;
    let keys: Vec<&str> = path.trim().split('.').map(str::trim).collect();
    if keys.iter().any(|key| key.is_empty()) {
        return Err(wrong(
            "the key is empty; expected dotted keys, as stage.finetune.lr",
        ));
    }
    let value = value.trim();
    let mut value = format!("v = {value}")
        .parse::<Table>()
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| Value::String(value.to_string()));
    for key in keys.iter().skip(1).rev() {
        value = Value::Table(Table::from_iter([(key.to_string(), value)]));
    }
    Ok(Table::from_iter([(keys[0].to_string(), value)]))
}
