//! What a run was begun with: `fingerprint.json`, to which each resume is held.
//!
//! Settings stand in it as they were, so that a change can be told; of files there is a digest. Where
//! files lie does not matter, nor does what changes no result.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::atomic::write_file;
use crate::bounded;
use crate::error::{Error, Result};
use crate::text::corpus::hash_below;
use crate::train::config::RunConfig;
use crate::train::run::resolve_model;

/// The file's name.
pub const FINGERPRINT: &str = "fingerprint.json";

/// Keys (of a stage: without its name) that change no result, or name files whose content counts.
const PASSED_OVER: [&str; 11] = [
    "name",
    "description",
    "memory_limit",
    "data.path",
    "data.test",
    "data.unlabelled",
    "model.word_vectors",
    "tokenizer.file",
    "tokenizer.dictionary",
    "stage.keep",
    "stage.save_every",
];

/// Settings by their keys, digests of files by the keys that name them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    settings: BTreeMap<String, Value>,
    data: BTreeMap<String, String>,
}

impl Fingerprint {
    /// Of the settings alone.
    ///
    /// # Errors
    /// [`Error::ConfigValue`] where a setting cannot be written.
    pub fn of_settings(config: &RunConfig) -> Result<Self> {
        let value = serde_json::to_value(config).map_err(|e| Error::ConfigValue {
            place: config.name.clone(),
            message: format!("cannot be written as JSON: {e}"),
        })?;
        let mut settings = BTreeMap::new();
        flatten("", value, &mut settings);
        settings.retain(|key, _| !is_passed_over(key));
        for (stage, _) in folders(config) {
            settings.remove(&format!("stage.{stage}.init"));
        }
        Ok(Self {
            settings,
            data: BTreeMap::new(),
        })
    }

    /// Adds the digests of the files that the settings name; what the run itself writes to `folder`
    /// does not count among them.
    ///
    /// # Errors
    /// [`Error::FileMissing`], [`Error::Io`].
    pub fn with_data(mut self, config: &RunConfig, folder: &Path) -> Result<Self> {
        let mut add = |key: String, path: &Path| -> Result<()> {
            self.data.insert(key, hash_below(path, folder)?);
            Ok(())
        };
        let (data, tokenizer) = (&config.data, &config.tokenizer);
        let vectors = config.model.lstm().and_then(|m| m.word_vectors.as_ref());
        for (key, path) in [
            ("data.test", &data.test),
            ("model.word_vectors", &vectors.cloned()),
            ("tokenizer.file", &tokenizer.file),
            ("tokenizer.dictionary", &tokenizer.dictionary),
        ] {
            if let Some(path) = path {
                add(key.into(), path)?;
            }
        }
        for (number, path) in data.path.iter().enumerate() {
            let key = match data.path.len() {
                1 => "data.path".into(),
                _ => format!("data.path[{number}]"),
            };
            add(key, path)?;
        }
        for (number, path) in data.unlabelled.iter().enumerate() {
            add(format!("data.unlabelled[{number}]"), path)?;
        }
        for (stage, init) in folders(config) {
            add(format!("stage.{stage}.init"), &resolve_model(init)?)?;
        }
        Ok(self)
    }

    /// What a run's folder holds; `None` for a run of before there were fingerprints.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Folder`] where the file is damaged.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FINGERPRINT);
        let Some(bytes) = bounded::read_if_there(&path, bounded::SETTINGS)? else {
            return Ok(None);
        };
        bounded::json(&bytes)
            .map(Some)
            .map_err(|e| Error::Folder {
                path,
                problem: format!(
                    "is damaged: {e}; delete it to go on without knowing whether data or settings changed"
                ),
            })
    }

    /// Writes it to a run's folder.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DiskFull`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FINGERPRINT);
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|e| Error::write(&path, e.into()))?;
        text.push(b'\n');
        write_file(&path, &text)
    }

    /// Without the keys that neither `begun` nor the run file, as it is `written`, knows: those of a later
    /// version, which stand at what was done before there was a choice.
    pub fn known(mut self, begun: &Self, written: &toml::Table) -> Self {
        let mut keys = BTreeMap::new();
        if let Ok(written) = serde_json::to_value(written) {
            flatten("", written, &mut keys);
        }
        self.settings
            .retain(|key, _| begun.settings.contains_key(key) || keys.contains_key(key));
        self
    }

    /// The keys of settings that are different `now`.
    pub fn changed_keys(&self, now: &Self) -> Vec<String> {
        let null = Value::Null;
        let other = |(_, was, is): &Pair<'_, Value>| was.unwrap_or(&null) != is.unwrap_or(&null);
        let pairs = both(&self.settings, &now.settings).into_iter();
        pairs
            .filter(other)
            .map(|(key, ..)| key.to_string())
            .collect()
    }

    /// The same with these settings as they are `now`.
    pub fn with(mut self, now: &Self, keys: &[String]) -> Self {
        for key in keys {
            match now.settings.get(key) {
                Some(value) => self.settings.insert(key.clone(), value.clone()),
                None => self.settings.remove(key),
            };
        }
        self
    }

    /// What is different `now`, a few words each. Data are compared where both know of some.
    pub fn changes(&self, now: &Self) -> Vec<String> {
        let said = |value: Option<&Value>| match value {
            None | Some(Value::Null) => "not set".to_string(),
            Some(value) => value.to_string(),
        };
        let mut found = Vec::new();
        for (key, was, is) in both(&self.settings, &now.settings) {
            let (was, is) = (said(was), said(is));
            if was != is {
                found.push(format!("{key} was {was} and is {is}"));
            }
        }
        if !now.data.is_empty() {
            for (key, was, is) in both(&self.data, &now.data) {
                match (was, is) {
                    (Some(was), Some(is)) if was == is => {}
                    (Some(_), Some(_)) => found.push(format!("the content of {key} is another")),
                    (Some(_), None) => found.push(format!("{key} is no longer set")),
                    _ => found.push(format!("{key} was not set")),
                }
            }
        }
        found
    }
}

/// The stages that begin with a folder's model, and the folder.
fn folders(config: &RunConfig) -> impl Iterator<Item = (&str, &Path)> {
    let is_stage = |init: &str| config.stages.iter().any(|s| s.name == init);
    (config.stages.iter()).filter_map(move |stage| {
        let init = stage.init.as_deref().filter(|init| !is_stage(init))?;
        Some((stage.name.as_str(), Path::new(init)))
    })
}

type Pair<'a, T> = (&'a str, Option<&'a T>, Option<&'a T>);

fn both<'a, T>(was: &'a BTreeMap<String, T>, is: &'a BTreeMap<String, T>) -> Vec<Pair<'a, T>> {
    let mut keys: Vec<&String> = was.keys().chain(is.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    (keys.into_iter())
        .map(|key| (key.as_str(), was.get(key), is.get(key)))
        .collect()
}

/// Tables become keys with dots; stages go by their names, as in `--set`.
fn flatten(place: &str, value: Value, into: &mut BTreeMap<String, Value>) {
    let key = |name: &str| match place {
        "" => name.to_string(),
        place => format!("{place}.{name}"),
    };
    match value {
        Value::Object(table) => {
            for (name, value) in table {
                flatten(&key(&name), value, into);
            }
        }
        Value::Array(stages) if place == "stage" => {
            for mut stage in stages {
                let name = stage["name"].as_str().map(key).unwrap_or_default();
                if let Some(table) = stage.as_object_mut() {
                    table.remove("name");
                }
                flatten(&name, stage, into);
            }
        }
        value => {
            into.insert(place.to_string(), value);
        }
    }
}

fn is_passed_over(key: &str) -> bool {
    // The name of a stage may have dots.
    let of_stage = key
        .strip_prefix("stage.")
        .and_then(|key| key.rsplit_once('.'));
    let plain = match of_stage {
        Some((_, last)) => format!("stage.{last}"),
        None => key.to_string(),
    };
    PASSED_OVER.contains(&plain.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::config::{Overrides, preset};

    fn changes(was: &[&str], is: &[&str]) -> Vec<String> {
        let of = |set: &[&str]| {
            let set = set.iter().map(|s| s.to_string()).collect();
            let config = preset("demo")
                .unwrap()
                .config(&Overrides {
                    set,
                    ..Overrides::default()
                })
                .unwrap();
            Fingerprint::of_settings(&config).unwrap()
        };
        // By way of the file.
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Fingerprint::read(dir.path()).unwrap(), None);
        of(was).write(dir.path()).unwrap();
        Fingerprint::read(dir.path())
            .unwrap()
            .unwrap()
            .changes(&of(is))
    }

    #[test]
    fn settings_that_changed_are_named_with_both_values() {
        assert!(changes(&[], &[]).is_empty());
        let odd = ["stage.*.lr=0.1234567890123456789", "seed=7"];
        assert!(changes(&odd, &odd).is_empty());
        assert_eq!(
            changes(&["seed=7"], &["seed=8", "model.hidden=32"]),
            ["model.hidden was 96 and is 32", "seed was 7 and is 8"]
        );
        let found = changes(&[], &["stage.lm-lstm.clip_norm=0.25"]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("stage.lm-lstm.clip_norm was "),
            "{found:?}"
        );
        assert!(found[0].ends_with(" and is 0.25"), "{found:?}");
    }

    #[test]
    fn a_key_of_a_later_version_is_no_change_unless_the_run_file_has_it() {
        let config = preset("demo")
            .unwrap()
            .config(&Overrides::default())
            .unwrap();
        let now = Fingerprint::of_settings(&config).unwrap();
        let key = "stage.lstm.keep_prob";
        let later = |value: &str| {
            let mut later = now.clone();
            later.settings.insert(key.into(), value.into());
            later
        };
        let table = |text: &str| text.parse::<toml::Table>().unwrap();
        let silent = table("[[stage]]\nname = \"lstm\"\nlr = 0.1\n");
        assert!(now.changes(&later("all").known(&now, &silent)).is_empty());
        let says = table("[[stage]]\nname = \"lstm\"\nkeep_prob = \"all\"\n");
        let found = now.changes(&later("all").known(&now, &says));
        assert_eq!(found, [format!("{key} was not set and is \"all\"")]);
        // One that the run began with counts, wherever it stands now.
        let found = later("few").changes(&later("all").known(&later("few"), &silent));
        assert_eq!(found, [format!("{key} was \"few\" and is \"all\"")]);
    }

    #[test]
    fn what_changes_no_result_is_passed_over() {
        let set = [
            "name=\"other\"",
            "stage.*.keep=9",
            "stage.*.save_every=3",
            "memory_limit=\"9 GiB\"",
        ];
        assert!(changes(&[], &set).is_empty());
    }
}
