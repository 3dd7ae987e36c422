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
    let given = Given { config, given };
    let base = match given.number("rope_theta")? {
        Some(base) => base,
        None => config.other(theta)?.or(base).unwrap_or(10_000.0),
    };
    if base <= 1.0 {
        let message = format!("is {base}; expected a number above 1");
        return Err(wrong("rope_theta", message));
    }
    let part = match given.number("partial_rotary_factor")? {
        Some(part) => part,
        None => config.other("partial_rotary_factor")?.unwrap_or(1.0),
    };
    let width = (config.head_width() as f64 * part) as usize;
    if width < 2 || !width.is_multiple_of(2) || width > config.head_width() {
        let message = format!("turn {width} columns of a head; expected an even number of them");
        return Err(wrong(FIELD, message));
    }
    let (kind, pairs) = (given.kind(), width / 2);
    let scaling = given.scaling(kind, pairs)?;
    let rope = Rope::new(pairs, base, scaling.clone());
    let angles = rope.frequencies(config.max_position_embeddings);
    if !angles.iter().chain([&rope.scale()]).all(|x| x.is_finite()) {
        let message = "leads to angles that are no numbers; copy config.json again";
        return Err(wrong(FIELD, message));
    }
    let mut said = given.given.clone();
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

/// What stands of one set of angles.
struct Given<'a> {
    config: &'a LlamaConfig,
    given: &'a Map<String, Value>,
}

impl Given<'_> {
    fn number(&self, key: &'static str) -> Result<Option<f64>> {
        match self.given.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if number.is_finite() => Ok(Some(number)),
                _ => {
                    let message = format!("has {key} = {value}; expected a number");
                    Err(wrong(FIELD, message))
                }
            },
        }
    }

    fn needed(&self, key: &'static str) -> Result<f64> {
        let missing = || wrong(FIELD, format!("has no {key}, which its rope_type needs"));
        self.number(key)?.ok_or_else(missing)
    }

    fn list(&self, key: &'static str, count: usize) -> Result<Vec<f64>> {
        let value = self.given.get(key).and_then(Value::as_array);
        let all: Option<Vec<f64>> = value.and_then(|v| v.iter().map(Value::as_f64).collect());
        all.filter(|all| all.len() == count)
            .ok_or_else(|| wrong(FIELD, format!("needs {key}: a list of {count} numbers")))
    }

    /// Positions it was pretrained on.
    fn pretrained(&self) -> Result<usize> {
        const KEY: &str = "original_max_position_embeddings";
        let own = match self.config.other::<f64>(KEY)? {
            Some(own) => Some(own),
            None => self.number(KEY)?,
        };
        let own = own.map_or(self.config.max_position_embeddings, |own| own as usize);
        Ok(own.max(1))
    }

    /// By how much it reads further than that.
    fn factor(&self) -> Result<f64> {
        let longer = || Ok(self.config.max_position_embeddings as f64 / self.pretrained()? as f64);
        self.number("factor")?.map_or_else(longer, Ok)
    }

    fn kind(&self) -> &str {
        let kind = self
            .given
            .get("rope_type")
            .or_else(|| self.given.get("type"));
        match kind.and_then(Value::as_str).unwrap_or("default") {
            // Phi-3's first releases called it so.
            "su" | "yarn" if self.config.kin.model_type == "phi3" => "longrope",
            kind => kind,
        }
    }

    fn scaling(&self, kind: &str, pairs: usize) -> Result<RopeScaling> {
        Ok(match kind {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear {
                factor: self.needed("factor")?,
            },
            "dynamic" => RopeScaling::Dynamic {
                factor: self.needed("factor")?,
                original: self.config.max_position_embeddings,
            },
            "llama3" => RopeScaling::Llama3 {
                factor: self.needed("factor")?,
                low: self.needed("low_freq_factor")?,
                high: self.needed("high_freq_factor")?,
                original: self.pretrained()?,
            },
            "yarn" => RopeScaling::Yarn {
                factor: self.factor()?,
                beta: [
                    self.number("beta_fast")?.unwrap_or(32.0),
                    self.number("beta_slow")?.unwrap_or(1.0),
                ],
                truncate: self.given.get("truncate") != Some(&Value::Bool(false)),
                scale: self.scale(Self::yarn)?,
                original: self.pretrained()?,
            },
            "longrope" => RopeScaling::LongRope {
                short: self.list("short_factor", pairs)?,
                long: self.list("long_factor", pairs)?,
                scale: self.scale(Self::longrope)?,
                original: self.pretrained()?,
            },
            other => {
                let known = "default, linear, dynamic, llama3, yarn or longrope";
                let message = format!("has rope_type {other}; expected {known}");
                return Err(wrong(FIELD, message));
            }
        })
    }

    /// What cosines and sines are multiplied by: what stands there, or what follows.
    fn scale(&self, follows: fn(&Self) -> Result<f64>) -> Result<f64> {
        let given = self.number("attention_factor")?;
        given.map_or_else(|| follows(self), Ok)
    }

    fn yarn(&self) -> Result<f64> {
        let factor = self.factor()?;
        let scale = |by: f64| match factor {
            ..=1.0 => 1.0,
            _ => 0.1 * by * factor.ln() + 1.0,
        };
        let by = [self.number("mscale")?, self.number("mscale_all_dim")?];
        Ok(match by.map(|number| number.filter(|n| *n != 0.0)) {
            [Some(one), Some(all)] => scale(one) / scale(all),
            _ => scale(1.0),
        })
    }

    fn longrope(&self) -> Result<f64> {
        let (factor, original) = (self.factor()?, self.pretrained()? as f64);
        Ok(match factor {
            ..=1.0 => 1.0,
            _ => (1.0 + factor.ln() / original.ln()).sqrt(),
        })
    }
}
