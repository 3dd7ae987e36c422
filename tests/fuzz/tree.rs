//! JSON and TOML, changed as what they say: what is changed byte by byte is hardly ever either.

use serde_json::Value;

use crate::engine::{files, joined};
use crate::mutation::{NUMBERS, Random, VALUES};

/// The input with a few changes to what it, or one of its files, says; none where that is neither.
pub fn changed(
    input: &[u8],
    seeds: &[Vec<u8>],
    words: &[&str],
    random: &mut Random,
) -> Option<Vec<u8>> {
    let parts = files(input);
    if parts.is_empty() {
        return changed_file(input, seeds, words, random);
    }
    let at = random.below(parts.len());
    let new = changed_file(parts[at].1, seeds, words, random)?;
    let mut all: Vec<(&str, &[u8])> = parts
        .iter()
        .map(|(name, bytes)| (name.as_str(), *bytes))
        .collect();
    all[at].1 = &new;
    Some(joined(&all))
}

fn changed_file(
    input: &[u8],
    seeds: &[Vec<u8>],
    words: &[&str],
    random: &mut Random,
) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(input).ok()?;
    let (mut tree, toml) = parsed(text)?;
    for _ in 0..random.of(&[1, 1, 2, 3, 6]) {
        let other = &seeds[random.below(seeds.len())];
        let other = std::str::from_utf8(other).ok().and_then(parsed);
        let other = other.map_or(Value::Null, |(tree, _)| tree);
        let graft = random.below(size(&other));
        let graft = nth(&mut other.clone(), &mut graft.clone()).cloned();
        let mut place = random.below(size(&tree));
        change(nth(&mut tree, &mut place)?, graft, words, random);
    }
    Some(match toml {
        true => toml::to_string(&tree).ok()?.into(),
        false => serde_json::to_vec(&tree).ok()?,
    })
}

/// What a text says, and whether it is TOML.
fn parsed(text: &str) -> Option<(Value, bool)> {
    if let Ok(tree @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text) {
        return Some((tree, false));
    }
    let table: toml::Table = text.parse().ok()?;
    let tree = serde_json::to_value(table).ok()?;
    (size(&tree) > 1).then_some((tree, true))
}

fn size(tree: &Value) -> usize {
    1 + match tree {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(map) => map.values().map(size).sum(),
        _ => 0,
    }
}

/// The value with this number, counted from the root.
fn nth<'a>(tree: &'a mut Value, number: &mut usize) -> Option<&'a mut Value> {
    if *number == 0 {
        return Some(tree);
    }
    *number -= 1;
    match tree {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, number)),
        Value::Object(map) => map.values_mut().find_map(|value| nth(value, number)),
        _ => None,
    }
}

fn change(value: &mut Value, graft: Option<Value>, words: &[&str], random: &mut Random) {
    let word = match words {
        [] => "a".to_string(),
        words => random.of(words).to_string(),
    };
    let simple = |random: &mut Random| {
        let text = match random.below(2) {
            0 => random.of(&VALUES),
            _ => random.of(&NUMBERS),
        };
        serde_json::from_str(text).unwrap_or(Value::Null)
    };
    match (random.below(8), &mut *value) {
        (0, Value::Object(map)) => {
            let key = map.keys().nth(random.below(map.len())).cloned();
            key.map(|key| map.remove(&key));
        }
        // Another name for what is there, or something new.
        (1, Value::Object(map)) => {
            let key = map.keys().nth(random.below(map.len())).cloned();
            let old = key.and_then(|key| map.remove(&key));
            map.insert(word, old.unwrap_or_else(|| simple(random)));
        }
        (2, Value::Object(map)) => {
            map.insert(word, graft.unwrap_or_else(|| simple(random)));
        }
        (0, Value::Array(items)) if !items.is_empty() => {
            drop(items.remove(random.below(items.len())))
        }
        (1 | 2, Value::Array(items)) => {
            let at = random.below(items.len() + 1);
            let item = match random.below(3) {
                0 => items.get(at).cloned().unwrap_or_else(|| simple(random)),
                1 => graft.unwrap_or_else(|| simple(random)),
                _ => word.into(),
            };
            let times = random.of(&[1, 1, 1, 100]);
            items.splice(at..at, vec![item; times]);
        }
        (0 | 1, Value::String(text)) => *text += &word,
        (2, Value::String(text)) => *text = text.chars().skip(1).collect(),
        (0 | 1, Value::Bool(yes)) => *yes = !*yes,
        (0..=2, Value::Number(_)) => {
            *value = serde_json::from_str(random.of(&NUMBERS)).unwrap_or_default()
        }
        (3, _) => *value = word.into(),
        (4, _) => *value = graft.unwrap_or_else(|| simple(random)),
        (5, _) => {
            let inner = value.take();
            *value = Value::Array(vec![inner]);
        }
        _ => *value = simple(random),
    }
}
