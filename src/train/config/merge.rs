//! Laying tables over tables: scales over a preset, `--set` over both, defaults under stages.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::stage::{known_keys, may_hold};
use crate::error::{Error, Result};
use crate::objectives::{self, OBJECTIVES};
use crate::schema::Fault;

/// A run file's table as it comes together.
pub(super) struct Merge {
    table: Table,
    /// Keys that stages, by their place in the file, have from `stage.*` alone: a stage whose
    /// objective does not know such a key goes without.
    starred: BTreeSet<(usize, String)>,
    /// All keys of `stage.*`.
    stars: BTreeSet<String>,
}

impl Merge {
    /// Begins with the run file itself.
    pub(super) fn of(table: Table) -> Self {
        Self {
            table,
            starred: BTreeSet::new(),
            stars: BTreeSet::new(),
        }
    }

    /// Lays `over` on the table, key by key. A stage is met by its name: `stage.NAME`, or `stage.*`
    /// for all whose objective knows the key.
    pub(super) fn overlay(&mut self, over: Table) -> Result<()> {
        for (key, value) in over {
            match (key.as_str(), value) {
                ("stage", Value::Table(stages)) => self.overlay_stages(stages)?,
                ("stage", value) => {
                    self.starred.clear();
                    self.table.insert(key, value);
                }
                (_, value) => overlay_value(&mut self.table, key, value),
            }
        }
        Ok(())
    }

    /// The names of the stages that fine-tune, or of those that pretrain where none does.
    pub(super) fn main_stages(&self) -> Vec<String> {
        let stages = self.table.get("stage").and_then(Value::as_array);
        let of_kind = |kind: &str| -> Vec<String> {
            let stages = stages.into_iter().flatten();
            let own =
                stages.filter(|stage| stage.get("kind").and_then(Value::as_str) == Some(kind));
            own.filter_map(stage_name).map(String::from).collect()
        };
        let [finetune, pretrain] = ["finetune", "pretrain"].map(of_kind);
        if finetune.is_empty() {
            pretrain
        } else {
            finetune
        }
    }

    fn overlay_stages(&mut self, over: Table) -> Result<()> {
        let Some(Value::Array(stages)) = self.table.get_mut("stage") else {
            return Err(Error::ConfigMissing {
                place: "the run file".into(),
                key: "[[stage]]".into(),
            });
        };
        for (name, value) in over {
            let Value::Table(changes) = value else {
                let fault = Fault::wrong_type("a table of keys, as in stage.NAME.lr", &value);
                return Err(fault.into_error(&format!("stage.{name}")));
            };
            let all = name == "*";
            let names: Vec<&str> = stages.iter().filter_map(stage_name).collect();
            if !all && !names.contains(&name.as_str()) {
                return Err(super::unknown_name("stage", &name, names));
            }
            if all {
                self.stars.extend(changes.keys().cloned());
            }
            for (index, stage) in stages.iter_mut().enumerate() {
                let hit = all || stage_name(stage) == Some(&name);
                let (true, Value::Table(stage)) = (hit, stage) else {
                    continue;
                };
                for (key, value) in changes.clone() {
                    let place = (index, key.clone());
                    if !all {
                        self.starred.remove(&place);
                    } else if !stage.contains_key(&key) {
                        self.starred.insert(place);
                    }
                    overlay_value(stage, key, value);
                }
            }
        }
        Ok(())
    }

    /// The table with `[defaults.KIND]` under its stages, and each stage with no more keys of all
    /// stages than its objective knows.
    pub(super) fn finish(mut self) -> Result<Table> {
        let defaults = self.table.remove("defaults");
        apply_kind(&mut self.table);
        let Some(Value::Array(stages)) = self.table.get_mut("stage") else {
            return Ok(self.table);
        };
        if let Some(defaults) = defaults {
            apply_defaults(defaults, stages)?;
        }
        for key in &self.stars {
            check_known("stage.*", key, stages.iter())?;
        }
        for (index, key) in &self.starred {
            if let Some(Value::Table(stage)) = stages.get_mut(*index)
                && !may_hold(stage, key)
            {
                stage.remove(key);
            }
        }
        Ok(self.table)
    }
}

/// The name of a stage.
pub(super) fn stage_name(stage: &Value) -> Option<&str> {
    stage.get("name")?.as_str()
}

/// Refuses a key of all `stages` that none of them has.
fn check_known<'a>(
    place: &str,
    key: &str,
    stages: impl Iterator<Item = &'a Value> + Clone,
) -> Result<()> {
    let owners = objectives::owners(key);
    if owners.is_empty() && !known_keys([]).contains(&key) {
        return Err(Fault::unknown_key(key, known_keys(OBJECTIVES)).into_error(place));
    }
    let mut tables = stages.clone().filter_map(Value::as_table);
    if stages.clone().next().is_none() || tables.any(|stage| may_hold(stage, key)) {
        return Ok(());
    }
    let owners = owners.join(", ");
    Err(Error::value(
        format!("{place}.{key}"),
        format!("belongs to {owners}, and no stage has such an objective; leave it out"),
    ))
}

/// Keys whose value is a table with a `kind`, and may be that kind's name alone.
const BY_KIND: [&str; 2] = ["optimizer", "schedule"];

/// A bare name as the table that it stands for.
pub(super) fn of_kind(key: &str, value: Value) -> Value {
    match value {
        Value::String(kind) if BY_KIND.contains(&key) => Value::Table(Table::from_iter([(
            "kind".to_string(),
            Value::String(kind),
        )])),
        value => value,
    }
}

fn overlay_value(base: &mut Table, key: String, value: Value) {
    let value = of_kind(&key, value);
    if let Some(old) = base.get_mut(&key) {
        *old = of_kind(&key, std::mem::replace(old, Value::Boolean(false)));
    }
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

/// Puts `[defaults.KIND]` under every stage of that kind whose objective knows its keys.
fn apply_defaults(defaults: Value, stages: &mut [Value]) -> Result<()> {
    let Value::Table(defaults) = defaults else {
        let expected = "tables by kind of stage, as [defaults.finetune]";
        return Err(Fault::wrong_type(expected, &defaults).into_error("defaults"));
    };
    const KINDS: [&str; 3] = ["pretrain", "finetune", "evaluate"];
    for (kind, under) in defaults {
        if !KINDS.contains(&kind.as_str()) {
            return Err(Fault::unknown_key(&kind, KINDS.to_vec()).into_error("defaults"));
        }
        let place = format!("defaults.{kind}");
        let Value::Table(under) = under else {
            return Err(Fault::wrong_type("a table of keys", &under).into_error(&place));
        };
        let of_kind = |stage: &Value| stage.get("kind").and_then(Value::as_str) == Some(&kind);
        for stage in stages.iter_mut().filter(|stage| of_kind(stage)) {
            if let Value::Table(own) = stage {
                lay_under(own, &under);
            }
        }
        for key in under.keys() {
            check_known(&place, key, stages.iter().filter(|stage| of_kind(stage)))?;
        }
    }
    Ok(())
}

/// Lays what a stage may hold of the defaults under its own keys.
fn lay_under(own: &mut Table, under: &Table) {
    let mut merged = under.clone();
    for (key, value) in own.clone() {
        overlay_value(&mut merged, key, value);
    }
    let foreign: Vec<String> = (under.keys())
        .filter(|key| !own.contains_key(*key) && !may_hold(&merged, key))
        .cloned()
        .collect();
    for key in &foreign {
        merged.remove(key);
    }
    *own = merged;
}

/// A `[model]` without a kind is an LSTM.
fn apply_kind(base: &mut Table) {
    if let Some(Value::Table(model)) = base.get_mut("model") {
        model.entry("kind").or_insert("lstm".into());
    }
}

/// Reads `a.b.c=value` as a table to lay over: the value as TOML, or as a string where it is not.
pub(super) fn parse_set(text: &str) -> Result<Table> {
    let wrong = |message: &str| Error::value(format!("--set {text}"), message);
    let (path, value) = text
        .split_once('=')
        .ok_or_else(|| wrong("expected key=value, as stage.finetune.lr=0.001"))?;
    let keys: Vec<&str> = path.trim().split('.').map(str::trim).collect();
    if keys.iter().any(|key| key.is_empty()) {
        let message = "the key is empty; expected dotted keys, as stage.finetune.lr";
        return Err(wrong(message));
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
