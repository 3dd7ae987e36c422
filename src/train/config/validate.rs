//! What the types cannot say: ranges, and how stages refer to each other.

use std::collections::BTreeMap;

use super::{Budget, RunConfig, Source, StageConfig, StageKind, TextChoice};
use crate::error::{Error, Result};
use crate::models::most;
use crate::objectives::metrics::{self, Metric};
use crate::schema::nearest;
use crate::train::artifacts::OWN_NAMES;
use crate::train::run::units;

pub(super) fn wrong(place: impl Into<String>, message: impl Into<String>) -> Error {
    Error::ConfigValue {
        place: place.into(),
        message: message.into(),
    }
}

pub(super) fn require(good: bool, place: impl FnOnce() -> String, message: &str) -> Result<()> {
    if good {
        Ok(())
    } else {
        Err(wrong(place(), message))
    }
}

impl RunConfig {
    /// Checks ranges and references; [`parse`](Self::parse) has done so already.
    ///
    /// # Errors
    /// [`Error::ConfigValue`] naming the key's full path.
    pub fn check(&self) -> Result<()> {
        require(
            is_file_name(&self.name),
            || "name".into(),
            "should be letters, digits, '-', '_' or '.'",
        )?;
        require(
            !self.stages.is_empty(),
            || "stage".into(),
            "a run needs at least one [[stage]]",
        )?;
        // TOML integers are signed, and config.toml must be able to hold the seed.
        require(
            i64::try_from(self.seed).is_ok(),
            || "seed".into(),
            "should be below 2^63",
        )?;
        require(
            (self.memory_limit).is_none_or(|limit| (1..1 << 63).contains(&limit.as_u64())),
            || "memory_limit".into(),
            "should be more than 0 bytes and less than 2^63; leave it out for no limit",
        )?;
        require(
            (8..=most::TOKENS).contains(&self.tokenizer.vocabulary),
            || "tokenizer.vocabulary".into(),
            &format!("should be at least 8 and at most {}", most::TOKENS),
        )?;
        self.model.check(&self.stages)?;
        for (key, share) in [
            ("validation", self.data.validation),
            ("test_share", self.data.test_share),
        ] {
            require(
                (0.0..1.0).contains(&share),
                || format!("data.{key}"),
                "is a share of the texts: expected 0 or more and less than 1",
            )?;
        }
        require(
            self.data.pair_column.is_none() || self.model.kind().pairs,
            || "data.pair_column".into(),
            &format!(
                "is for models that read two texts at once; model.kind = \"{}\" reads one",
                self.model.kind().name
            ),
        )?;
        for (index, stage) in self.stages.iter().enumerate() {
            self.validate_stage(stage)?;
            self.validate_references(index, stage)?;
        }
        self.validate_folders()
    }

    /// Each unit has a folder of its own in the run's, beside the run's own files; on some systems names
    /// that differ in upper and lower case are one.
    fn validate_folders(&self) -> Result<()> {
        let mut taken: BTreeMap<String, &str> = BTreeMap::new();
        for unit in units(self) {
            let name = &self.stages[unit.stage].name;
            let refuse = |why: String| {
                let message = format!("{why}; give the stage another name");
                Err(wrong(format!("stage.{name}.name"), message))
            };
            let folder = unit.name.to_lowercase();
            let is_own = OWN_NAMES.contains(&folder.as_str());
            if is_own
                || [".partial", ".replaced"]
                    .iter()
                    .any(|end| folder.ends_with(end))
            {
                return refuse(format!("melos keeps '{folder}' in a run folder for itself"));
            }
            if let Some(other) = taken.insert(folder.clone(), name) {
                return refuse(format!(
                    "its folder '{folder}' would be that of stage '{other}' too"
                ));
            }
        }
        Ok(())
    }

    fn validate_stage(&self, stage: &StageConfig) -> Result<()> {
        let at = |key: &str| format!("stage.{}.{key}", stage.name);
        require(
            is_file_name(&stage.name),
            || "stage.name".into(),
            "should be letters, digits, '-', '_' or '.'",
        )?;
        require(
            stage.lr > 0.0 && (stage.lr as f32).is_finite(),
            || at("lr"),
            "should be a positive number",
        )?;
        require(stage.batch >= 1, || at("batch"), "should be at least 1")?;
        require(
            stage.batch <= 1 << 20,
            || at("batch"),
            "should be at most 1048576",
        )?;
        require(
            stage.train_texts != Some(0),
            || at("train_texts"),
            "should be at least 1; leave it out to learn from all",
        )?;
        require(
            stage.clip_norm.is_none_or(|c| c > 0.0 && c.is_finite()),
            || at("clip_norm"),
            "should be a positive number; leave it out for no clipping",
        )?;
        require(
            stage.eval_every != Some(0),
            || at("eval_every"),
            "should be at least 1; leave it out for once per epoch",
        )?;
        require(
            stage.save_every != Some(0),
            || at("save_every"),
            "should be at least 1; leave it out for at every evaluation",
        )?;
        require(
            stage.keep >= 1,
            || at("keep"),
            "should be at least 1: the last checkpoint is needed to resume",
        )?;
        let budget_ok = match stage.budget {
            Budget::Steps(n) | Budget::Tokens(n) => n >= 1,
            Budget::Epochs(x) => x > 0.0 && x.is_finite(),
        };
        require(budget_ok, || at("budget"), "should be more than 0")?;
        if let Some((key, message)) = stage.schedule.problem() {
            return Err(wrong(at(&format!("schedule.{key}")), message));
        }
        if let Some((key, message)) = stage.optimizer.problem() {
            return Err(wrong(at(&format!("optimizer.{key}")), message));
        }
        if let Some(dropout) = stage.dropout {
            dropout.check(&at("dropout"))?;
        }
        (stage.kind.fits(&stage.objective)).map_err(|message| wrong(at("objective"), message))?;
        (stage.objective.check()).map_err(|option| wrong(at(&option.key), option.message))?;
        check_metric(stage)?;
        require(
            stage
                .ema
                .is_none_or(|decay| decay > 0.0 && (decay as f32) < 1.0),
            || at("ema"),
            "should be more than 0 and less than 1, as 0.999",
        )?;
        require(
            stage.ema.is_none() || stage.kind != StageKind::Evaluate,
            || at("ema"),
            "an evaluate stage trains nothing",
        )?;
        require(
            stage.patience != Some(0),
            || at("patience"),
            "should be at least 1 evaluation; leave it out to train to the end",
        )?;
        require(
            stage.patience.is_none() || self.data.validation > 0.0,
            || at("patience"),
            "needs texts for validation; set data.validation above 0",
        )?;
        self.check_tuning(stage)?;
        self.validate_repeats(stage)
    }

    fn validate_repeats(&self, stage: &StageConfig) -> Result<()> {
        let at = |key: &str| format!("stage.{}.{key}", stage.name);
        require(
            stage.seeds.is_empty() || stage.folds.is_none(),
            || at("seeds"),
            "a stage repeats by seeds or by folds, not both",
        )?;
        let mut seeds = stage.seeds.clone();
        seeds.sort_unstable();
        seeds.dedup();
        require(
            seeds.len() == stage.seeds.len(),
            || at("seeds"),
            "holds a seed twice",
        )?;
        require(
            seeds.iter().all(|&s| i64::try_from(s).is_ok()),
            || at("seeds"),
            "should be below 2^63",
        )?;
        require(
            stage.folds.is_none_or(|k| (2..=10_000).contains(&k)),
            || at("folds"),
            "should be at least 2 and at most 10000",
        )?;
        require(
            stage
                .run_folds
                .is_none_or(|n| n >= 1 && stage.folds.is_some_and(|k| n <= k)),
            || at("run_folds"),
            "should be between 1 and folds",
        )?;
        let fixed_test = matches!(
            self.data.source,
            Source::Imdb | Source::Newsgroups | Source::Demo
        ) || self.data.test.is_some();
        require(
            !(stage.folds.is_some() && fixed_test),
            || at("folds"),
            "these data have a test set of their own; use seeds to repeat",
        )
    }

    fn validate_references(&self, index: usize, stage: &StageConfig) -> Result<()> {
        let at = |key: &str| format!("stage.{}.{key}", stage.name);
        let earlier = &self.stages[..index];
        require(
            earlier.iter().all(|s| s.name != stage.name),
            || at("name"),
            "another stage has this name",
        )?;
        let Some(init) = &stage.init else {
            return require(
                stage.kind != StageKind::Evaluate,
                || at("init"),
                "an evaluate stage needs the weights to test: an earlier stage's name or a model folder",
            );
        };
        let Some(from) = earlier.iter().find(|s| &s.name == init) else {
            // A path may be anything, but a bare word is most likely a stage's name.
            let is_path = init.contains(['/', '\\']) || std::path::Path::new(init).exists();
            let hint = nearest(init, earlier.iter().map(|s| s.name.as_str()))
                .map_or(String::new(), |s| format!(" (did you mean '{s}'?)"));
            return require(
                is_path,
                || at("init"),
                &format!("'{init}' is neither an earlier stage nor a model folder{hint}"),
            );
        };
        // Repeats hand on one to one; otherwise there must be only one model to hand on.
        let same = from.repeats() == stage.repeats() && from.folds == stage.folds;
        require(
            from.repeats() == 1 || same,
            || at("init"),
            &format!(
                "'{init}' makes {} models and this stage runs {} times; use the same seeds or folds",
                from.repeats(),
                stage.repeats()
            ),
        )
    }

    /// Settles what depends on where the text comes from: which text a pretrain stage reads, and
    /// that one which reads no fold's text runs only once.
    pub fn settle(&mut self) {
        let data = &self.data;
        let learns_labels = self.stages.iter().any(|s| s.objective.needs_labels());
        for stage in self
            .stages
            .iter_mut()
            .filter(|s| s.kind == StageKind::Pretrain)
        {
            if stage.text == TextChoice::Auto {
                stage.text = match data.source {
                    Source::Imdb => TextChoice::All,
                    Source::Demo => TextChoice::Unlabelled,
                    // No stage pretrains on pictures.
                    Source::Images => TextChoice::Auto,
                    Source::Rt | Source::Newsgroups | Source::Dbpedia | Source::Files
                        if data.unlabelled.is_empty() =>
                    {
                        TextChoice::Train
                    }
                    Source::Files if !learns_labels => TextChoice::All,
                    Source::Rt | Source::Newsgroups | Source::Dbpedia | Source::Files => {
                        TextChoice::Unlabelled
                    }
                };
            }
            if stage.text == TextChoice::Unlabelled {
                stage.folds = None;
                stage.run_folds = None;
            }
        }
    }
}

/// Refuses a metric that the objective's answers do not have.
fn check_metric(stage: &StageConfig) -> Result<()> {
    let asked = stage.objective.asked();
    let fits = |metric: &&Metric| metric.asked.contains(&asked);
    let Some(metric) = stage.metric.filter(|metric| !fits(metric)) else {
        return Ok(());
    };
    let (place, about) = (format!("stage.{}.metric", stage.name), asked.about());
    let known = metrics::fitting(asked).join(", ");
    let message = format!(
        "\"{}\" says nothing of {about}; what does: {known}",
        metric.name
    );
    Err(wrong(place, message))
}

impl StageConfig {
    /// How many times the stage runs.
    pub fn repeats(&self) -> usize {
        match self.folds {
            Some(folds) => self.run_folds.unwrap_or(folds),
            None => self.seeds.len().max(1),
        }
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && !name.starts_with(['.', '-'])
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::config::Overrides;

    /// A run of stages with these names and further lines.
    fn run(stages: &[(&str, &str)]) -> Result<RunConfig> {
        let stage = |(name, lines): &(&str, &str)| {
            format!(
                "[[stage]]\nname = \"{name}\"\nkind = \"finetune\"\nobjective = \"classify\"\n\
                 lr = 0.1\nbudget = {{ steps = 1 }}\n{lines}\n"
            )
        };
        let stages: String = stages.iter().map(stage).collect();
        let text = format!("name = \"x\"\ndata = {{ source = \"rt\" }}\n{stages}");
        RunConfig::parse(&text, "x.toml", &Overrides::default())
    }

    #[test]
    fn stages_whose_folders_would_meet_are_refused() {
        let twice = "seeds = [1, 2]";
        for (stages, key, said) in [
            (
                [("a", twice), ("a.1", "")],
                "stage.a.1.name: ",
                "'a.1' would be that of stage 'a'",
            ),
            (
                [("a.2", ""), ("a", "folds = 3")],
                "stage.a.name: ",
                "'a.2' would be that of stage 'a.2'",
            ),
            (
                [("Lm", ""), ("lm", "")],
                "stage.lm.name: ",
                "'lm' would be that of stage 'Lm'",
            ),
            (
                [("a", ""), ("config.toml", "")],
                "stage.config.toml.name: ",
                "for itself",
            ),
            (
                [("a", ""), ("Metrics.jsonl", "")],
                "stage.Metrics.jsonl.name: ",
                "'metrics.jsonl'",
            ),
            (
                [("a", ""), ("fingerprint.json", "")],
                "stage.fingerprint.json.name: ",
                "for itself",
            ),
            (
                [("a", ""), ("results.json", "")],
                "stage.results.json.name: ",
                "for itself",
            ),
            (
                [("a", ""), ("loss-finetune.svg", "")],
                "stage.loss-finetune.svg.name: ",
                "for itself",
            ),
            (
                [("a", ""), ("cache", "")],
                "stage.cache.name: ",
                "for itself",
            ),
            (
                [("a", ""), ("b.replaced", "")],
                "stage.b.replaced.name: ",
                "for itself",
            ),
        ] {
            let error = run(&stages).unwrap_err().to_string();
            assert!(error.starts_with(key) && error.contains(said), "{error}");
            assert!(error.ends_with("give the stage another name"), "{error}");
        }
    }

    #[test]
    fn stages_whose_folders_do_not_meet_are_taken() {
        run(&[("a", ""), ("a.1", "")]).unwrap();
        run(&[("a", "seeds = [1, 2]"), ("a.3", "")]).unwrap();
        run(&[("cache", "seeds = [1, 2]"), ("config", "")]).unwrap();
        let error = run(&[("a", "folds = 1000000000000")]).unwrap_err();
        assert!(error.to_string().contains("at most 10000"), "{error}");
    }
}
