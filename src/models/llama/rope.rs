//! What `config.json` says of rotary positions, in the words of transformers 4 (`rope_theta`,
//! `rope_scaling`) and of 5 (`rope_parameters`).

use serde_json::{Map, Value, json};

use super::LlamaConfig;
use crate::error::Result;
use crate::models::config::wrong;
use crate::nn::{Rope, RopeScaling};

/// Angles of the layers that see everything, and of those that see a window, where they are others.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RopeSettings {
    pub full: RopeOf,
    pub sliding: Option<RopeOf>,
}

impl RopeSettings {
    /// In the words of transformers 5.
    pub fn json(&self) -> Value {
        match &self.sliding {
            Some(sliding) => json!({
                "full_attention": self.full.given,
                "sliding_attention": sliding.given,
            }),
            None => self.full.given.clone().into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct RopeOf {
    pairs: usize,
    base: f64,
    scaling: RopeScaling,
    /// In the words of transformers 5.
    given: Map<String, Value>,
}

impl RopeOf {
    pub fn rope(&self) -> Rope {
        Rope::new(self.pairs, self.base, self.scaling.clone())
    }

    /// Pairs of a head, base, scaling.
    pub fn parts(&self) -> (usize, f64, &RopeScaling) {
        (self.pairs, self.base, &self.scaling)
    }
}

const FIELD: &str = "rope_parameters";

/// The settings of a configuration.
pub(super) fn settings(config: &LlamaConfig) -> Result<RopeSettings> {
    let mut given: Map<String, Value> = config.other(FIELD)?.unwrap_or_default();
    let nested = given.values().any(Value::is_object);
    let scaling: Option<Map<String, Value>> = config.other("rope_scaling")?;
    if nested {
        let part = |name: &str| match given.get(name) {
            Some(Value::Object(part)) => of(config, part, "rope_theta", None).map(Some),
            _ => Ok(None),
        };
        let Some(full) = part("full_attention")? else {
            return Err(wrong(FIELD, "says nothing of full_attention"));
        };
        return Ok(RopeSettings {
            full,
            sliding: part("sliding_attention")?,
        });
    }
    given.extend(scaling.unwrap_or_default());
    let full = of(config, &given, "rope_theta", config.kin.bases.map(|b| b[0]))?;
    // Gemma 3 turns faster in its windows, and unscaled.
    let sliding = match config.kin.bases {
        Some([_, local]) => {
            let plain = Map::new();
            Some(of(config, &plain, "rope_local_base_freq", Some(local))?)
        }
        None => None,
    };
    Ok(RopeSettings { full, sliding })
}

/// One set of angles: `theta` is the configuration's field for its base, `base` what that is else.
fn of(
    config: &LlamaConfig,
    given: &Map<String, Value>,
    theta: &'static str,
    base: Option<f64>,
) -> Result<RopeOf> {
    let number = |key: &'static str| match given.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) if number.is_finite() => Ok(Some(number)),
            _ => Err(wrong(
                FIELD,
                format!("has {key} = {value}; expected a number"),
            )),
        },
    };
    let needed = |key: &'static str| {
        number(key)?.ok_or_else(|| wrong(FIELD, format!("has no {key}, which its rope_type needs")))
    };
    let base = match number("rope_theta")? {
        Some(base) => base,
        None => config.other(theta)?.or(base).unwrap_or(10_000.0),
    };
    if base <= 1.0 {
        return Err(wrong(
            "rope_theta",
            format!("is {base}; expected a number above 1"),
        ));
    }
    let part = match number("partial_rotary_factor")? {
        Some(part) => part,
        None => config.other("partial_rotary_factor")?.unwrap_or(1.0),
    };
    let width = (config.head_width() as f64 * part) as usize;
    if width < 2 || !width.is_multiple_of(2) || width > config.head_width() {
        let message = format!("turn {width} columns of a head; expected an even number of them");
        return Err(wrong(FIELD, message));
    }
    let pairs = width / 2;
    let positions = config.max_position_embeddings;
    let pretrained = || {
        let own = config.other::<f64>("original_max_position_embeddings")?;
        let own = match own {
            Some(own) => Some(own),
            None => number("original_max_position_embeddings")?,
        };
        Ok::<usize, crate::Error>(own.map_or(positions, |own| own as usize).max(1))
    };
    let kind = given.get("rope_type").or_else(|| given.get("type"));
    let kind = kind.and_then(Value::as_str).unwrap_or("default");
    // Phi-3's first release called it "su".
    let kind = match kind {
        "su" | "yarn" if config.kin.model_type == "phi3" => "longrope",
        kind => kind,
    };
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear {
            factor: needed("factor")?,
        },
        "dynamic" => RopeScaling::Dynamic {
            factor: needed("factor")?,
            original: positions,
        },
        "llama3" => RopeScaling::Llama3 {
            factor: needed("factor")?,
            low: needed("low_freq_factor")?,
            high: needed("high_freq_factor")?,
            original: pretrained()?,
        },
        "yarn" => {
            let original = pretrained()?;
            let factor = match number("factor")? {
                Some(factor) => factor,
                None => positions as f64 / original as f64,
            };
            let scale = |by: f64| match factor {
                ..=1.0 => 1.0,
                _ => 0.1 * by * factor.ln() + 1.0,
            };
            let by = [number("mscale")?, number("mscale_all_dim")?];
            let by = by.map(|number| number.filter(|n| *n != 0.0));
            let inferred = match by {
                [Some(one), Some(all)] => scale(one) / scale(all),
                _ => scale(1.0),
            };
            let or = |key, else_: f64| Ok::<f64, crate::Error>(number(key)?.unwrap_or(else_));
            RopeScaling::Yarn {
                factor,
                beta: [or("beta_fast", 32.0)?, or("beta_slow", 1.0)?],
                truncate: given.get("truncate") != Some(&Value::Bool(false)),
                scale: or("attention_factor", inferred)?,
                original,
            }
        }
        "longrope" => {
            let original = pretrained()?;
            let factors = |key: &'static str| {
                let all: Option<Vec<f64>> = given
                    .get(key)
                    .and_then(|v| v.as_array()?.iter().map(Value::as_f64).collect());
                all.filter(|all| all.len() == pairs)
                    .ok_or_else(|| wrong(FIELD, format!("needs {key}: a list of {pairs} numbers")))
            };
            let factor = match number("factor")? {
                Some(factor) => factor,
                None => positions as f64 / original as f64,
            };
            let inferred = match factor {
                ..=1.0 => 1.0,
                _ => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
            };
            RopeScaling::LongRope {
                short: factors("short_factor")?,
                long: factors("long_factor")?,
                scale: number("attention_factor")?.unwrap_or(inferred),
                original,
            }
        }
        other => {
            let known = "default, linear, dynamic, llama3, yarn or longrope";
            return Err(wrong(
                FIELD,
                format!("has rope_type {other}; expected {known}"),
            ));
        }
    };
    let mut said = given.clone();
    said.remove("type");
    said.insert("rope_type".into(), kind.into());
    said.insert("rope_theta".into(), base.into());
    if part != 1.0 || config.kin.joint {
        said.insert("partial_rotary_factor".into(), part.into());
    }
    Ok(RopeOf {
        pairs,
        base,
        scaling,
        given: said,
    })
}
