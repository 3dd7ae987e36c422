//! The card of an exported model: `README.md` as the Hugging Face Hub reads it, its numbers those of
//! `results.json`.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::atomic::write_file;
use crate::bounded;
use crate::error::Result;
use crate::hub::adapter::ADAPTER_CONFIG;
use crate::hub::{CARD, Head};
use crate::objectives::metrics;
use crate::objectives::scores::Scores;
use crate::text::TokenizerKind;
use crate::train::config::{RunConfig, Source, StageConfig};
use crate::train::report::{Report, UnitResult, markdown};

/// Writes the card of every model of a finished run. One that is there is its user's by now, and stays.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) or [`Error::DiskFull`](crate::Error::DiskFull).
pub fn write_all(folder: &Path, config: &RunConfig, report: &Report) -> Result<()> {
    for unit in &report.units {
        let model = folder.join(&unit.unit).join("model");
        let path = model.join(CARD);
        let stage = config.stages.iter().find(|s| s.name == unit.stage);
        if let (Some(stage), true, false) = (stage, model.is_dir(), path.exists()) {
            let card = Card {
                config,
                stage,
                unit,
                is_adapter: model.join(ADAPTER_CONFIG).is_file(),
            };
            write_file(&path, card.text().as_bytes())?;
        }
    }
    Ok(())
}

/// The card of a base with an adapter merged into it: the adapter's own, where it has one, as its numbers are
/// those of both together.
///
/// # Errors
/// Those of reading the adapter's card.
pub fn merged(base: &Path, adapter: &Path) -> Result<String> {
    let name = |path: &Path| {
        let path = path.display().to_string();
        hub_name(&path).unwrap_or_else(|| file_name(&path))
    };
    let own = bounded::read_if_there(&adapter.join(CARD), bounded::SETTINGS)?;
    let mut text = match own.as_deref().map(String::from_utf8_lossy) {
        Some(own) => {
            let lines = own.lines().map(|line| match line.split_once(':') {
                // The first lines are what the Hub reads.
                Some(("library_name", _)) => "library_name: \"transformers\"\n".into(),
                Some(("base_model_relation", _)) => String::new(),
                _ => format!("{line}\n"),
            });
            lines.collect()
        }
        None => format!(
            "---\nlibrary_name: \"transformers\"\ntags: [\"melos\"]\n---\n\n# {}\n",
            name(adapter)
        ),
    };
    let (base, adapter) = (name(base), name(adapter));
    text += &format!(
        "\nThe LoRA adapter `{adapter}` is merged into the weights of its base `{base}`: a whole model, which needs \
         neither.\n"
    );
    Ok(text)
}

struct Card<'a> {
    config: &'a RunConfig,
    stage: &'a StageConfig,
    unit: &'a UnitResult,
    is_adapter: bool,
}

/// A score: its name for the Hub, its name for people, its value.
type Metric = (&'static str, &'static str, f64);

fn metrics(scores: &Scores) -> Vec<Metric> {
    let accuracy = metrics::find("accuracy");
    let accuracy = accuracy.and_then(|m| Some((m, scores.value(m.name)?)));
    let known = accuracy.into_iter().chain(scores.told());
    let mut all: Vec<Metric> = Vec::new();
    for (metric, value) in known {
        // The Hub knows the accuracy, of which the error is the rest.
        let is_new = all.iter().all(|(_, title, _)| *title != metric.title);
        if metric.name != "error" && metric.name != "loss" && is_new {
            all.push((metric.hub, metric.title, value));
        }
    }
    all.push(("loss", "loss", scores.loss));
    for (_, title, _) in &mut all {
        // As a share of 1.
        *title = title.trim_end_matches(" %");
    }
    all
}

/// The Hub's name of a model in its cache (`models--ORG--NAME`), where a path leads there.
fn hub_name(path: &str) -> Option<String> {
    let mut parts = Path::new(path).components().rev();
    parts.find_map(|part| {
        let part = part.as_os_str().to_str()?;
        part.strip_prefix("models--")
            .map(|name| name.replace("--", "/"))
    })
}

impl Card<'_> {
    /// The stage's first model that is no stage: what all began with.
    fn base(&self) -> Option<&str> {
        let mut init = self.stage.init.as_deref()?;
        while let Some(before) = self.config.stages.iter().find(|s| s.name == init) {
            init = before.init.as_deref()?;
        }
        Some(init)
    }

    fn is_own(&self) -> bool {
        self.config.model.lstm().is_some()
    }

    fn task(&self) -> Option<&'static str> {
        match self.stage.objective.head()? {
            Head::Sequence | Head::Joint => Some("text-classification"),
            Head::Token => Some("token-classification"),
            Head::Picture => Some("image-classification"),
            Head::MaskedLm | Head::NextSentence => Some("fill-mask"),
            Head::CausalLm | Head::RecurrentLm => Some("text-generation"),
            _ => None,
        }
    }

    fn data(&self) -> String {
        let data = &self.config.data;
        match data.source {
            Source::Demo => "melos's synthetic reviews".into(),
            Source::Imdb => "IMDB".into(),
            Source::Rt => "Rotten Tomatoes".into(),
            Source::Newsgroups => "20 Newsgroups".into(),
            Source::Dbpedia => "DBpedia".into(),
            Source::Files | Source::Images => {
                let name = data.path.first().or(data.unlabelled.first());
                let name = name.and_then(|path| path.file_name());
                name.map_or("files".into(), |name| name.to_string_lossy().into_owned())
            }
        }
    }

    /// The part of the data that was scored, and its scores.
    fn scores(&self) -> Option<(&'static str, &Scores)> {
        let test = self.unit.test.as_ref().map(|s| ("test", s));
        test.or(self.unit.validation.as_ref().map(|s| ("validation", s)))
    }

    /// What the Hub reads: YAML, of which JSON is a part.
    fn front(&self) -> Map<String, Value> {
        let mut front = Map::new();
        let library = match (self.is_own(), self.is_adapter) {
            (true, _) => "melos",
            (_, true) => "peft",
            (_, false) => "transformers",
        };
        front.insert("library_name".into(), library.into());
        front.insert("tags".into(), json!(["melos"]));
        if let Some(base) = self.base().and_then(hub_name) {
            front.insert("base_model".into(), base.into());
        }
        if let Some(task) = self.task() {
            front.insert("pipeline_tag".into(), task.into());
        }
        // Its dictionary knows one language.
        if self.config.tokenizer.kind == TokenizerKind::Morpheme {
            front.insert("language".into(), "ja".into());
        }
        let Some((split, scores)) = self.scores() else {
            return front;
        };
        let metrics = metrics(scores);
        let mut ids: Vec<&str> = metrics.iter().map(|m| m.0).collect();
        ids.dedup();
        front.insert("metrics".into(), json!(ids));
        if let Some(task) = self.task() {
            let values = metrics
                .iter()
                .map(|(id, name, value)| json!({ "type": id, "name": name, "value": value }));
            let data = self.data();
            let result = json!({
                "task": { "type": task },
                "dataset": { "name": data, "type": data, "split": split },
                "metrics": values.collect::<Vec<_>>(),
            });
            let index = json!([{ "name": self.name(), "results": [result] }]);
            front.insert("model-index".into(), index);
        }
        front
    }

    fn name(&self) -> String {
        format!("{} {}", self.config.name, self.unit.unit)
    }

    fn text(&self) -> String {
        let front = self.front();
        let front = front.iter().map(|(key, value)| format!("{key}: {value}\n"));
        let mut text = format!(
            "---\n{}---\n\n# {}\n\n",
            front.collect::<String>(),
            self.name()
        );
        let (stage, unit) = (self.stage, self.unit);
        let what = if self.is_adapter {
            "LoRA adapter"
        } else {
            "model"
        };
        text += &format!(
            "A {what} that [melos](https://github.com/melos-rs/melos) trained to learn {} (`{}`) from {}",
            stage.objective.about(),
            stage.objective.name(),
            self.data(),
        );
        text += &match self.base() {
            Some(base) => format!(
                ", beginning with {}.\n",
                hub_name(base).unwrap_or(file_name(base))
            ),
            None => ", from random weights.\n".into(),
        };
        if let Some((split, scores)) = self.scores() {
            let head = [
                "measure".to_string(),
                format!("{split} ({})", scores.examples),
            ];
            let rows = metrics(scores).into_iter();
            let rows = rows.map(|(_, name, value)| [name.to_string(), format!("{value:.4}")]);
            let rows: Vec<[String; 2]> = [head].into_iter().chain(rows).collect();
            text += &format!("\n{}", markdown(&rows));
        }
        let best = unit.best_step.unwrap_or(unit.steps);
        text += &format!(
            "\n{} parameters, of which {} were trained; {} steps of {} texts, learning rate {}, seed {}; the \
             weights are those of step {best}.\n",
            unit.parameters,
            unit.trainable,
            unit.steps,
            stage.batch * stage.accumulate,
            stage.lr,
            unit.seed,
        );
        text + "\nWhat the data hold and what the model should not be used for is not known to melos: add it here.\n"
    }
}

/// A path's last name.
fn file_name(path: &str) -> String {
    let name = Path::new(path).file_name();
    name.map_or(path.into(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::hub_name;

    #[test]
    fn the_hubs_names_are_read_off_its_cache() {
        let cached =
            "/home/me/.cache/huggingface/hub/models--google-bert--bert-base-uncased/snapshots/86b5";
        assert_eq!(
            hub_name(cached).as_deref(),
            Some("google-bert/bert-base-uncased")
        );
        assert_eq!(hub_name("models/bert"), None);
    }
}
