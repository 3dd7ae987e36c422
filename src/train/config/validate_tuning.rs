//! Ranges of what says which part of a model a stage trains, and which keys concern its kind of
//! model.

use super::model::{model_kinds, require_probability};
use super::rates::Rates;
use super::tuning::Packing;
use super::validate::{require, wrong};
use super::{Lora, RunConfig, StageConfig, StageKind};
use crate::blocks::BlockType;
use crate::error::Result;
use crate::hub::adapter::{MOST_RANK, Targets};

impl RunConfig {
    /// Checks that the stage's objective and keys fit the kind of model, and how it is trained.
    pub(super) fn check_tuning(&self, stage: &StageConfig) -> Result<()> {
        let at = |key: &str| format!("stage.{}.{key}", stage.name);
        let kind = self.model.kind();
        if !kind.learns(&stage.objective) {
            let (name, known) = (stage.objective.name(), kind.objectives().join(", "));
            let kind = kind.name;
            return Err(wrong(
                at("objective"),
                format!("\"{name}\" is no objective of model kind \"{kind}\"; it has: {known}"),
            ));
        }
        require(
            (1..=1 << 16).contains(&stage.accumulate),
            || at("accumulate"),
            "should be at least 1 and at most 65536",
        )?;
        self.check_kinds_keys(stage)?;
        Rates::new(stage).map_err(|(key, message)| wrong(at(&key), message))?;
        match &stage.lora {
            Some(lora) => check_lora(stage, lora),
            None => Ok(()),
        }
    }

    /// Refuses keys that the kind of model does not take, where they are set to anything.
    fn check_kinds_keys(&self, stage: &StageConfig) -> Result<()> {
        let (kind, kinds) = (self.model.kind(), model_kinds());
        let foreign = |key: &String| {
            let takers = kinds.iter().any(|k| k.keys.contains(&key.as_str()));
            takers && !kind.keys.contains(&key.as_str())
        };
        let Some(key) = stage.changed()?.into_iter().find(foreign) else {
            return Ok(());
        };
        let takers: Vec<String> = (kinds.iter())
            .filter(|k| k.keys.contains(&key.as_str()))
            .map(|k| format!("\"{}\"", k.name))
            .collect();
        let hint = if kind.has(&key) {
            format!("; set model.{key}")
        } else {
            String::new()
        };
        Err(wrong(
            format!("stage.{}.{key}", stage.name),
            format!(
                "is for model.kind = {}, and this is \"{}\"{hint}",
                takers.join(", "),
                kind.name
            ),
        ))
    }
}

fn check_lora(stage: &StageConfig, lora: &Lora) -> Result<()> {
    let at = |key: &str| format!("stage.{}.lora.{key}", stage.name);
    let rank = |key: String, rank: usize| {
        let expected = format!("should be at least 1 and at most {MOST_RANK}");
        require((1..=MOST_RANK).contains(&rank), || at(&key), &expected)
    };
    let alpha = |key: String, alpha: f64| {
        let good = alpha > 0.0 && (alpha as f32).is_finite();
        require(good, || at(&key), "should be a positive number")
    };
    rank("rank".into(), lora.rank)?;
    alpha("alpha".into(), lora.alpha)?;
    require_probability(lora.dropout, || at("dropout"))?;
    for (pattern, &own) in &lora.rank_pattern {
        rank(format!("rank_pattern.{pattern}"), own)?;
    }
    for (pattern, &own) in &lora.alpha_pattern {
        alpha(format!("alpha_pattern.{pattern}"), own)?;
    }
    if let Targets::Pattern(pattern) = &lora.targets {
        require(
            fancy_regex::Regex::new(pattern).is_ok(),
            || at("targets"),
            &format!("'{pattern}' is no regex; give a list for plain names"),
        )?;
    }
    require(
        !lora.double_quant || lora.base == Some(Packing(BlockType::Nf4)),
        || at("double_quant"),
        "is for base = \"nf4\"",
    )?;
    let letters = |rows: &str| {
        let once = |c| "qkv".contains(c) && rows.matches(c).count() == 1;
        !rows.is_empty() && rows.chars().all(once)
    };
    require(
        lora.rows.as_deref().is_none_or(letters),
        || at("rows"),
        "names some of q, k and v, as \"qv\"",
    )?;
    require(
        !lora.dora || lora.rows.is_none(),
        || at("rows"),
        "is not for dora = true, which gives every row of a weight its length",
    )?;
    for (key, set) in [
        ("freeze", stage.freeze.is_some()),
        ("unfreeze_every", stage.unfreeze_every.is_some()),
    ] {
        require(
            !set,
            || format!("stage.{}.{key}", stage.name),
            "has no meaning beside lora, which freezes the whole model; see lora.modules_to_save",
        )?;
    }
    require(
        stage.kind != StageKind::Evaluate,
        || format!("stage.{}.lora", stage.name),
        "an evaluate stage trains nothing",
    )
}
