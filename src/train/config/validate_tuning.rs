//! Ranges of what concerns transformers, and which objective fits which network.

use super::rates::Rates;
use super::validate::{require, wrong};
use super::{
    Lora, MaskRate, Masking, ModelConfig, Objective, Precision, RunConfig, StageConfig, StageKind,
    Targets, TransformerModel,
};
use crate::error::Result;

pub(super) fn check_transformer(m: &TransformerModel) -> Result<()> {
    let at = |key: &str| format!("model.{key}");
    for (key, value, most) in [
        ("hidden", m.hidden, 65_536),
        ("layers", m.layers, 1_000),
        ("heads", m.heads, 65_536),
        ("feed_forward", m.feed_forward(), 1 << 20),
        ("max_positions", m.max_positions, 1 << 20),
    ] {
        require(value >= 1, || at(key), "should be at least 1")?;
        if value > most {
            return Err(wrong(at(key), format!("should be at most {most}")));
        }
    }
    require(
        m.hidden.is_multiple_of(m.heads),
        || at("heads"),
        &format!("should divide hidden = {}", m.hidden),
    )?;
    require(
        m.norm_eps.is_none_or(|e| e > 0.0 && e.is_finite()),
        || at("norm_eps"),
        "should be a positive number",
    )?;
    check_dropouts(
        Some(m.dropout),
        Some(m.attention_dropout),
        m.classifier_dropout,
    )
}

pub(super) fn check_dropouts(
    dropout: Option<f32>,
    attention: Option<f32>,
    classifier: Option<f32>,
) -> Result<()> {
    for (key, p) in [
        ("dropout", dropout),
        ("attention_dropout", attention),
        ("classifier_dropout", classifier),
    ] {
        require(
            p.is_none_or(|p| (0.0..1.0).contains(&p)),
            || format!("model.{key}"),
            "is a probability: expected 0 or more and less than 1",
        )?;
    }
    Ok(())
}

impl RunConfig {
    /// What a stage says about transformers: its objective fits the model, its numbers their
    /// ranges.
    pub(super) fn check_tuning(&self, stage: &StageConfig) -> Result<()> {
        let at = |key: &str| format!("stage.{}.{key}", stage.name);
        let known: &[&str] = match self.model {
            ModelConfig::Lstm(_) => &["lm", "sa", "classify", "joint"],
            ModelConfig::Bert(_) => &["mlm", "mlm_nsp", "classify", "token_classify"],
            ModelConfig::Gpt2(_) => &["clm", "classify"],
            ModelConfig::Pretrained(_) => &["mlm", "mlm_nsp", "clm", "classify", "token_classify"],
        };
        if !known.contains(&stage.objective.name()) {
            return Err(wrong(
                at("objective"),
                format!(
                    "\"{}\" is no objective of model kind \"{}\"; it has: {}",
                    stage.objective.name(),
                    self.model.kind(),
                    known.join(", ")
                ),
            ));
        }
        require(
            (1..=1 << 16).contains(&stage.accumulate),
            || at("accumulate"),
            "should be at least 1 and at most 65536",
        )?;
        if self.model.lstm().is_some() {
            return no_transformer_keys(stage);
        }
        require(
            stage.dropout.is_none(),
            || at("dropout"),
            "is the LSTM's; a transformer's stands in [model]: dropout, attention_dropout, classifier_dropout",
        )?;
        check_masking(&stage.masking, &at("masking"))?;
        Rates::new(stage).map_err(|(key, message)| wrong(at(&key), message))?;
        match &stage.lora {
            Some(lora) => check_lora(stage, lora),
            None => Ok(()),
        }
    }
}

/// Keys that an LSTM's stage must leave alone.
fn no_transformer_keys(stage: &StageConfig) -> Result<()> {
    let set = [
        ("precision", stage.precision != Precision::F32),
        ("checkpointing", stage.checkpointing),
        ("packing", stage.packing),
        ("masking", stage.masking != Masking::default()),
        ("problem", stage.problem != Default::default()),
        ("freeze", stage.freeze.is_some()),
        ("layer_decay", stage.layer_decay.is_some()),
        ("rates", !stage.rates.is_empty()),
        ("unfreeze_every", stage.unfreeze_every.is_some()),
        ("lora", stage.lora.is_some()),
    ];
    match set.into_iter().find(|(_, set)| *set) {
        Some((key, _)) => Err(wrong(
            format!("stage.{}.{key}", stage.name),
            "is for transformers only (model.kind = \"bert\", \"gpt2\" or \"pretrained\")",
        )),
        None => Ok(()),
    }
}

fn check_masking(m: &Masking, place: &str) -> Result<()> {
    let rates = match m.rate {
        MaskRate::Fixed(rate) => vec![("rate", rate)],
        MaskRate::Scheduled(s) => vec![("rate.from", s.from), ("rate.to", s.to)],
    };
    for (key, rate) in rates {
        require(
            rate > 0.0 && rate < 1.0,
            || format!("{place}.{key}"),
            "is a share of the tokens: expected more than 0 and less than 1",
        )?;
    }
    for (key, share) in [
        ("replace", m.replace),
        ("random", m.random),
        ("keep", m.keep),
    ] {
        require(
            (0.0..=1.0).contains(&share),
            || format!("{place}.{key}"),
            "is a share of the masked tokens: expected 0 to 1",
        )?;
    }
    let sum = m.replace + m.random + m.keep;
    require(
        (sum - 1.0).abs() < 1e-4,
        || place.to_string(),
        "replace, random and keep should add up to 1",
    )
}

fn check_lora(stage: &StageConfig, lora: &Lora) -> Result<()> {
    let at = |key: &str| format!("stage.{}.lora.{key}", stage.name);
    let good_rank = |rank: usize| (1..=1 << 16).contains(&rank);
    require(
        good_rank(lora.rank),
        || at("rank"),
        "should be at least 1 and at most 65536",
    )?;
    let good_alpha = |alpha: f64| alpha > 0.0 && (alpha as f32).is_finite();
    require(
        good_alpha(lora.alpha),
        || at("alpha"),
        "should be a positive number",
    )?;
    require(
        (0.0..1.0).contains(&lora.dropout),
        || at("dropout"),
        "is a probability: expected 0 or more and less than 1",
    )?;
    for (pattern, &rank) in &lora.rank_pattern {
        require(
            good_rank(rank),
            || at(&format!("rank_pattern.{pattern}")),
            "should be at least 1 and at most 65536",
        )?;
    }
    for (pattern, &alpha) in &lora.alpha_pattern {
        require(
            good_alpha(alpha),
            || at(&format!("alpha_pattern.{pattern}")),
            "should be a positive number",
        )?;
    }
    if let Targets::Regex(pattern) = &lora.targets {
        require(
            fancy_regex::Regex::new(pattern).is_ok(),
            || at("targets"),
            &format!("'{pattern}' is no regex; give a list for plain names"),
        )?;
    }
    let letters = |rows: &str| {
        !rows.is_empty()
            && rows
                .chars()
                .all(|c| "qkv".contains(c) && rows.matches(c).count() == 1)
    };
    require(
        lora.rows.as_deref().is_none_or(letters),
        || at("rows"),
        "names some of q, k and v, as \"qv\"",
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

impl Objective {
    /// Its name in the run file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lm => "lm",
            Self::Sa => "sa",
            Self::Mlm => "mlm",
            Self::MlmNsp => "mlm_nsp",
            Self::Clm => "clm",
            Self::Classify => "classify",
            Self::Joint => "joint",
            Self::TokenClassify => "token_classify",
        }
    }

    /// Whether it learns from labels.
    pub fn needs_labels(self) -> bool {
        matches!(self, Self::Classify | Self::Joint | Self::TokenClassify)
    }
}
