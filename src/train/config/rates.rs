//! Which parameters of a transformer a stage trains, how fast, and from when on.

use fancy_regex::Regex;

use super::{StageConfig, UnfreezeEvery};
use crate::tensor::{Depth, ParamSpec};

/// One item of `freeze`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Embeddings,
    Layers(usize, usize),
    Pooler,
    /// Everything but the head.
    Base,
}

impl Part {
    fn parse(item: &str) -> Option<Part> {
        match item {
            "embeddings" => return Some(Part::Embeddings),
            "pooler" => return Some(Part::Pooler),
            "encoder" => return Some(Part::Layers(0, usize::MAX)),
            "base" => return Some(Part::Base),
            _ => {}
        }
        let numbers = item
            .strip_prefix("layer.")
            .or_else(|| item.strip_prefix("h."))?;
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        Some(Part::Layers(first.parse().ok()?, last.parse().ok()?))
    }

    fn holds(self, spec: &ParamSpec) -> bool {
        match self {
            Part::Embeddings => spec.depth == Depth::Embeddings,
            Part::Layers(first, last) => {
                matches!(spec.depth, Depth::Layer(n) if (first..=last).contains(&n))
            }
            Part::Pooler => spec.name.contains("pooler."),
            Part::Base => spec.depth != Depth::Head,
        }
    }
}

#[derive(Debug, Clone)]
enum Freeze {
    Parts(Vec<Part>),
    Regex(Regex),
}

impl Freeze {
    /// A list of parts, or else a regex.
    fn parse(text: &str) -> Result<Freeze, String> {
        let parts: Option<Vec<Part>> = text
            .split(',')
            .map(|item| Part::parse(item.trim()))
            .collect();
        match parts {
            Some(parts) => Ok(Freeze::Parts(parts)),
            None => regex(text).map(Freeze::Regex),
        }
    }

    fn holds(&self, spec: &ParamSpec) -> bool {
        match self {
            Freeze::Parts(parts) => parts.iter().any(|part| part.holds(spec)),
            Freeze::Regex(regex) => holds(regex, &spec.name),
        }
    }
}

fn regex(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|e| {
        // Some of its messages draw the pattern over several lines; the last one says what is
        // wrong.
        let text = e.to_string();
        let reason = text.lines().last().unwrap_or_default();
        format!("'{pattern}' is no regex: {}", reason.trim())
    })
}

/// Whether a name matches somewhere; a pattern that takes too long to tell does not.
fn holds(regex: &Regex, name: &str) -> bool {
    regex.is_match(name).unwrap_or(false)
}

/// A stage's learning rates by parameter.
#[derive(Debug, Clone)]
pub struct Rates {
    freeze: Option<Freeze>,
    layer_decay: f64,
    rates: Vec<(Regex, f64)>,
    gradual: bool,
}

/// How one parameter is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Its learning rate over the stage's; 0: never trained.
    pub scale: f32,
    /// Under gradual unfreezing, how many times the stage unfreezes before it is trained.
    pub level: usize,
}

impl Rates {
    /// Reads what the stage says about rates.
    ///
    /// # Errors
    /// The key and what is wrong with its value.
    pub fn new(stage: &StageConfig) -> Result<Rates, (String, String)> {
        let at = |key: &str| {
            let key = key.to_string();
            move |message| (key, message)
        };
        let freeze = stage.freeze.as_deref().map(Freeze::parse).transpose();
        let rates = stage.rates.iter().map(|(pattern, &factor)| {
            if !(factor >= 0.0 && factor.is_finite()) {
                let message = "should be 0 or a positive number".to_string();
                return Err((format!("rates.{pattern}"), message));
            }
            Ok((regex(pattern).map_err(at("rates"))?, factor))
        });
        let every = match stage.unfreeze_every {
            Some(UnfreezeEvery::Epochs(n)) => n > 0.0 && n.is_finite(),
            Some(UnfreezeEvery::Steps(n)) => n > 0,
            None => true,
        };
        if !every {
            return Err(at("unfreeze_every")("should be more than 0".into()));
        }
        if stage.layer_decay.is_some_and(|d| !(d > 0.0 && d <= 1.0)) {
            let message = "is a factor from layer to layer: expected more than 0, at most 1";
            return Err(at("layer_decay")(message.into()));
        }
        Ok(Rates {
            freeze: freeze.map_err(at("freeze"))?,
            layer_decay: stage.layer_decay.unwrap_or(1.0),
            rates: rates.collect::<Result<_, _>>()?,
            gradual: stage.unfreeze_every.is_some(),
        })
    }

    /// How a parameter of a model with so many layers is trained.
    pub fn of(&self, spec: &ParamSpec, layers: usize) -> Rate {
        let below = match spec.depth {
            Depth::Head | Depth::Top => 0,
            Depth::Layer(n) => layers.saturating_sub(n),
            Depth::Embeddings => layers + 1,
        };
        let frozen = self.freeze.as_ref().is_some_and(|f| f.holds(spec));
        let factors = self.rates.iter().filter(|(r, _)| holds(r, &spec.name));
        let scale = factors.fold(self.layer_decay.powi(below as i32), |s, (_, f)| s * f);
        Rate {
            scale: if frozen { 0.0 } else { scale as f32 },
            level: if self.gradual { below } else { 0 },
        }
    }

    /// A key whose value concerns none of a model's parameters, with what to say about it.
    pub fn unused(&self, specs: &[ParamSpec]) -> Option<(String, String)> {
        let some = specs.first().map_or("", |spec| &spec.name);
        let say = format!("matches no parameter of the model; one of its names is '{some}'");
        let parts = match &self.freeze {
            None => true,
            Some(Freeze::Regex(regex)) => specs.iter().any(|spec| holds(regex, &spec.name)),
            Some(Freeze::Parts(parts)) => parts
                .iter()
                .all(|part| specs.iter().any(|spec| part.holds(spec))),
        };
        if !parts {
            return Some(("freeze".into(), say));
        }
        let mut rates = self.rates.iter();
        let idle = rates.find(|(r, _)| !specs.iter().any(|spec| holds(r, &spec.name)));
        idle.map(|(r, _)| (format!("rates.{}", r.as_str()), say))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Init;

    fn specs() -> Vec<ParamSpec> {
        [
            ("base.embeddings.word_embeddings.weight", Depth::Embeddings),
            ("base.encoder.layer.0.output.dense.weight", Depth::Layer(0)),
            ("base.encoder.layer.1.output.dense.weight", Depth::Layer(1)),
            (
                "base.encoder.layer.11.output.dense.weight",
                Depth::Layer(11),
            ),
            ("base.pooler.dense.weight", Depth::Top),
            ("classifier.weight", Depth::Head),
            ("transformer.h.1.attn.c_attn.weight", Depth::Layer(1)),
        ]
        .map(|(name, depth)| ParamSpec {
            depth,
            ..ParamSpec::new(name, [1], Init::Constant(0.0))
        })
        .to_vec()
    }

    fn frozen(text: &str) -> Vec<usize> {
        let freeze = Freeze::parse(text).unwrap();
        let all = specs();
        (0..all.len()).filter(|&i| freeze.holds(&all[i])).collect()
    }

    #[test]
    fn parts_and_regexes_freeze_what_they_name() {
        assert_eq!(frozen("embeddings"), [0]);
        assert_eq!(frozen("embeddings, layer.0-1"), [0, 1, 2, 6]);
        assert_eq!(frozen("layer.1"), [2, 6]);
        assert_eq!(frozen("encoder,pooler"), [1, 2, 3, 4, 6]);
        assert_eq!(frozen("base"), [0, 1, 2, 3, 4, 6]);
        assert_eq!(frozen(r"layer\.1\d"), [3]);
        assert!(
            Freeze::parse("layer.(")
                .unwrap_err()
                .contains("is no regex")
        );
    }

    #[test]
    fn rates_fall_from_the_head_down_and_patterns_multiply() {
        let rates = Rates {
            freeze: Some(Freeze::parse("embeddings").unwrap()),
            layer_decay: 0.5,
            rates: vec![(regex("classifier|layer.11").unwrap(), 3.0)],
            gradual: true,
        };
        let of = |i: usize| {
            let rate = rates.of(&specs()[i], 12);
            (rate.scale, rate.level)
        };
        assert_eq!(of(5), (3.0, 0));
        assert_eq!(of(4), (1.0, 0));
        assert_eq!(of(3), (1.5, 1));
        assert_eq!(of(1), (0.5f32.powi(12), 12));
        assert_eq!(of(0), (0.0, 13));
        assert_eq!(rates.unused(&specs()), None);
        let (key, message) = rates.unused(&specs()[5..6]).unwrap();
        assert_eq!(key, "freeze");
        assert!(message.contains("'classifier.weight'"), "{message}");
    }
}
