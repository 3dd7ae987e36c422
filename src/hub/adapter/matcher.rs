//! Which modules an adapter's configuration means, by PEFT's rules for names.

use fancy_regex::Regex;
use serde_json::{Map, Value};

use super::config::{AdapterConfig, Targets};
use crate::hub::format::Architecture;

/// `target_modules` and what limits it, ready to be applied to names.
pub(super) struct Matcher {
    targets: Compiled,
    excluded: Option<Compiled>,
    whole: Vec<Regex>,
    layers: Option<(Vec<u64>, Vec<Regex>)>,
}

enum Compiled {
    Names(Vec<String>),
    Pattern(Regex),
    AllLinear,
}

impl Compiled {
    fn new(targets: &Targets) -> Result<Compiled, String> {
        Ok(match targets {
            Targets::Names(names) => Compiled::Names(names.clone()),
            Targets::Pattern(p) if p.eq_ignore_ascii_case("all-linear") => Compiled::AllLinear,
            Targets::Pattern(pattern) => Compiled::Pattern(regex(&format!(r"\A(?:{pattern})\z"))?),
        })
    }

    fn matches(&self, name: &str, is_linear: bool) -> Result<bool, String> {
        match self {
            Compiled::Names(names) => Ok(names.iter().any(|n| {
                let before = name.strip_suffix(n.as_str());
                before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            })),
            Compiled::Pattern(pattern) => is_match(pattern, name),
            Compiled::AllLinear => Ok(is_linear),
        }
    }
}

impl Matcher {
    pub fn new(config: &AdapterConfig, architecture: Architecture) -> Result<Matcher, String> {
        // PEFT's own, where nothing is said.
        let usual = architecture.format.targets.iter();
        let usual = Targets::Names(usual.map(|name| name.to_string()).collect());
        let targets = Compiled::new(config.target_modules.as_ref().unwrap_or(&usual))?;
        // The head of a classifier is not adapted by all-linear, but trained whole or not at all.
        let heads = matches!(targets, Compiled::AllLinear) && architecture.head().has_labels();
        let heads = heads.then(|| ["classifier".to_string(), "score".to_string()]);
        let whole = config.modules_to_save.iter().flatten();
        let whole = whole
            .chain(heads.iter().flatten())
            .map(|m| regex(&format!(r"\A(?:|.*\.){m}(?:\z|\.)")));
        let list = |value: &Value| match value {
            Value::Array(items) => items.clone(),
            Value::Null => Vec::new(),
            one => vec![one.clone()],
        };
        let list = |value: &Option<Value>| value.as_ref().map(list).unwrap_or_default();
        let layers = list(&config.layers_to_transform);
        let mut matcher = Matcher {
            targets,
            excluded: (config.exclude_modules.as_ref().map(Compiled::new)).transpose()?,
            whole: whole.collect::<Result<_, _>>()?,
            layers: None,
        };
        if layers.is_empty() {
            return Ok(matcher);
        }
        let wrong = |n: &Value| format!("layers_to_transform has {n}, no layer's number");
        let numbers = layers.iter().map(|n| n.as_u64().ok_or_else(|| wrong(n)));
        let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
        let mut patterns = Vec::new();
        for p in list(&config.layers_pattern) {
            let p = p.as_str().ok_or("layers_pattern is no text")?;
            patterns.push(regex(&format!(r"\A(?:|.*?\.){p}\.(?P<idx>\d+)\."))?);
        }
        if patterns.is_empty() {
            patterns.push(regex(r"\A.*?\.[^.]*\.(?P<idx>\d+)\.")?);
        }
        matcher.layers = Some((numbers, patterns));
        Ok(matcher)
    }

    pub fn matches(&self, name: &str, is_linear: bool) -> Result<bool, String> {
        if let Some(excluded) = &self.excluded
            && excluded.matches(name, is_linear)?
        {
            return Ok(false);
        }
        for whole in &self.whole {
            if is_match(whole, name)? {
                return Ok(false);
            }
        }
        if !self.targets.matches(name, is_linear)? {
            return Ok(false);
        }
        let Some((numbers, patterns)) = &self.layers else {
            return Ok(true);
        };
        for pattern in patterns {
            if let Some(found) = pattern.captures(name).map_err(|e| e.to_string())? {
                let number = found.name("idx").and_then(|m| m.as_str().parse().ok());
                return Ok(number.is_some_and(|n: u64| numbers.contains(&n)));
            }
        }
        Ok(false)
    }
}

/// The value of the first key that, as a regular expression, is a name or its end after a dot.
pub(super) fn first_match<'a>(
    patterns: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a Value>, String> {
    for (key, value) in patterns {
        if is_match(&regex(&format!(r"\A(?:.*\.)?(?:{key})\z"))?, name)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn regex(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|e| format!("has a pattern that is no regular expression: {e}"))
}

fn is_match(pattern: &Regex, name: &str) -> Result<bool, String> {
    (pattern.is_match(name)).map_err(|e| format!("has a pattern that cannot be matched: {e}"))
}
