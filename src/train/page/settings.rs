//! What a run was told to do.

use maud::{Markup, html};

use crate::train::config::{RunConfig, Source};

/// The settings that are asked for first, and all of them as the run file that they make.
pub fn settings(config: &RunConfig) -> Markup {
    let mut table = toml::Table::try_from(config).unwrap_or_default();
    if config.data.source != Source::Demo
        && let Some(data) = table.get_mut("data").and_then(toml::Value::as_table_mut)
    {
        data.remove("demo");
    }
    let value = |table: &toml::Table, key: &str| table.get(key).map(shown);
    let stages = table.get("stage").and_then(toml::Value::as_array);
    let stages = stages
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_table);
    const COLUMNS: [&str; 9] = [
        "name",
        "kind",
        "objective",
        "init",
        "lr",
        "batch",
        "budget",
        "schedule",
        "seeds",
    ];
    html! {
        h2 { "Settings" }
        dl.settings {
            @for part in ["model", "tokenizer", "data"] {
                @if let Some(part_table) = table.get(part).and_then(toml::Value::as_table) {
                    dt { (part) }
                    dd { (inline(part_table)) }
                }
            }
            dt { "seed" }
            dd { (config.seed) }
        }
        .scroll { table {
            thead { tr { @for column in COLUMNS { th { (column) } } } }
            tbody { @for stage in stages {
                tr { @for column in COLUMNS { td { (value(stage, column).unwrap_or_default()) } } }
            } }
        } }
        @if let Ok(text) = config.to_toml() {
            details {
                summary { "Everything, as the run file config.toml" }
                pre { code { (text) } }
            }
        }
    }
}

/// A table's keys and values in a row.
fn inline(table: &toml::Table) -> String {
    let pairs = table.iter().filter(|(_, value)| !shown(value).is_empty());
    let pairs: Vec<String> = pairs
        .map(|(key, value)| format!("{key} {}", shown(value)))
        .collect();
    pairs.join(", ")
}

/// A value as it reads best: texts without quotes, tables in brackets, none of what is empty.
fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Table(table) if table.is_empty() => String::new(),
        toml::Value::Table(table) => match (table.get("kind"), table.len()) {
            (Some(kind), 1) => shown(kind),
            _ => format!("({})", inline(table)),
        },
        toml::Value::Array(values) => {
            let values: Vec<String> = values.iter().map(shown).collect();
            values.join(", ")
        }
        other => other.to_string(),
    }
}
