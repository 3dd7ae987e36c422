//! How the next token is chosen, against transformers' processors; several prompts at once.

use std::fs;

use melos::inference::{Generator, Sampling};
use melos::models::Beside;
use serde_json::Value;

use super::{folder, talk};
use crate::common;

#[test]
fn what_is_left_to_choose_among_is_what_transformers_leaves() {
    let text = fs::read_to_string(folder().join("sampling.json")).unwrap();
    let fixture: Value = serde_json::from_str(&text).unwrap();
    let numbers = |key: &str| fixture[key].as_array().unwrap().iter();
    let logits: Vec<f32> = numbers("logits")
        .map(|x| x.as_f64().unwrap() as f32)
        .collect();
    let before: Vec<u32> = numbers("before")
        .map(|x| x.as_u64().unwrap() as u32)
        .collect();
    for case in numbers("cases") {
        let real = |key: &str, usual: f64| case[key].as_f64().unwrap_or(usual) as f32;
        let sampling = Sampling {
            temperature: real("temperature", 1.0),
            top_k: case["top_k"].as_u64().unwrap_or(0) as usize,
            top_p: real("top_p", 1.0),
            min_p: real("min_p", 0.0),
            repetition_penalty: real("repetition_penalty", 1.0),
            ..Sampling::default()
        };
        let found = sampling.candidates(&mut logits.clone(), &before);
        let sum: f64 = found.iter().map(|(_, weight)| weight).sum();
        let left = case["left"].as_object().unwrap();
        assert_eq!(found.len(), left.len(), "{case}");
        for (id, weight) in found {
            let wanted = left[&id.to_string()].as_f64().unwrap();
            assert!((weight / sum - wanted).abs() < 2e-6, "{case}: {id}");
        }
    }
}

/// Each text is what it is alone, and what is shown of it is it.
#[test]
fn several_prompts_are_gone_on_with_at_once() {
    let own = talk::llama("{{ messages }}");
    let model = Generator::open(common::gpu(), own.path(), Beside::default()).unwrap();
    let prompts = ["one", "a prompt that is longer than the others", "x", ""];
    for max_tokens in [1, 12, 200] {
        let sampling = talk::greedy(max_tokens);
        let mut shown = vec![String::new(); prompts.len()];
        let mut show = |row: usize, text: &str| {
            shown[row].push_str(text);
            Ok(())
        };
        let all = model.generate_all(&prompts, &sampling, &mut show).unwrap();
        assert_eq!(all, shown);
        for (prompt, text) in prompts.iter().zip(&all) {
            let alone = model.generate(prompt, &sampling, &mut |_| Ok(())).unwrap();
            assert!(!text.is_empty() && alone == *text, "{prompt}");
        }
    }
    let drawn = Sampling {
        max_tokens: 12,
        ..Sampling::default()
    };
    let all = model
        .generate_all(&["one", "one"], &drawn, &mut |_, _| Ok(()))
        .unwrap();
    assert!(all[0] != all[1], "{all:?}");
    let alone = model.generate("one", &drawn, &mut |_| Ok(())).unwrap();
    assert_eq!(all[0], alone);
}
