//! Which layers a LoRA configuration means, and which configurations mean none: PEFT's rules.

use std::fs;
use std::path::Path;

use melos::error::Error;
use melos::hub::Layout;
use melos::hub::adapter::{self, Target};
use melos::models::open;
use melos::ops::WeightLayout;
use serde_json::{Value, json as value};

use super::support::*;

fn bert() -> Layout {
    let base = open(&fixture("bert_pretraining")).unwrap();
    base.layout(class("BertForPreTraining")).unwrap()
}

fn targets(fields: Value, model: &Layout) -> Result<Vec<Target>, Error> {
    config(fields).targets(model, false, Path::new("adapter_config.json"))
}

/// Layer and last part of each target.
fn short(fields: Value, model: &Layout) -> Vec<String> {
    let targets = targets(fields, model).unwrap();
    let short = |t: &Target| {
        let parts: Vec<&str> = t.module.split('.').collect();
        let number = parts.iter().find(|p| p.parse::<u32>().is_ok());
        format!("{}{}", number.unwrap_or(&""), parts[parts.len() - 1])
    };
    targets.iter().map(short).collect()
}

#[test]
fn targets_are_matched_as_peft_matches_them() {
    let qv = ["0query", "0value", "1query", "1value"];
    // A list: whole names, or ends after a dot.
    assert_eq!(
        short(value!({"target_modules": ["query", "value"]}), &bert()),
        qv
    );
    assert_eq!(
        short(value!({"target_modules": ["self.query", "value"]}), &bert()),
        qv
    );
    let whole = "bert.encoder.layer.1.attention.self.key";
    assert_eq!(
        short(value!({"target_modules": [whole]}), &bert()),
        ["1key"]
    );
    // Nothing said: PEFT's own list for the model type.
    assert_eq!(short(value!({}), &bert()), qv);
    assert_eq!(short(value!({}), &gpt2()), ["0c_attn", "1c_attn"]);
    // A string: the whole name as a regular expression, look-around included.
    let pattern = r".*layer\.\d\.attention\.self\.(?!key|dropout)\w+";
    assert_eq!(short(value!({"target_modules": pattern}), &bert()), qv);
    refused(targets(value!({"target_modules": "query"}), &bert()));
    // Every linear layer but the output's.
    let all = short(value!({"target_modules": "all-linear"}), &gpt2());
    assert_eq!(all.len(), 8);
    assert_eq!(
        short(value!({"target_modules": "ALL-LINEAR"}), &bert()).len(),
        2 * 6 + 3
    );
    // What is left out of what matches.
    let fields = value!({"target_modules": ["query", "value"], "exclude_modules": ["0.attention.self.value"]});
    assert_eq!(short(fields, &bert()), ["0query", "1query", "1value"]);
    let fields = value!({"target_modules": ["query"], "exclude_modules": r".*\.0\..*"});
    assert_eq!(short(fields, &bert()), ["1query"]);
    let fields = value!({"target_modules": ["query", "dense"], "modules_to_save": ["attention", "cls", "pooler"]});
    assert_eq!(
        short(fields, &bert()),
        ["0dense", "0dense", "1dense", "1dense"]
    );
    let fields = value!({"target_modules": ["query"], "layers_to_transform": 1});
    assert_eq!(short(fields, &bert()), ["1query"]);
    let fields =
        value!({"target_modules": ["c_attn"], "layers_to_transform": [0], "layers_pattern": ["h"]});
    assert_eq!(short(fields, &gpt2()), ["0c_attn"]);
    let fields = value!({"target_modules": ["c_attn"], "layers_to_transform": [0], "layers_pattern": "layers"});
    refused(targets(fields, &gpt2()));
}

#[test]
fn ranks_and_scales_follow_the_patterns() {
    // The first key that matches the end of the name decides, in the file's order.
    let fields = value!({
        "target_modules": ["query", "value"], "r": 4, "lora_alpha": 6.0,
        "rank_pattern": {"1.attention.self.query": 9, r"layer\.1\..*": 16, "uery": 2},
        "alpha_pattern": {"value": 3},
    });
    let ranks = |fields: &Value| -> Vec<(usize, f64)> {
        let targets = targets(fields.clone(), &bert()).unwrap();
        targets.iter().map(|t| (t.rank, t.scale)).collect()
    };
    assert_eq!(
        ranks(&fields),
        [
            (4, 6.0 / 4.0),
            (4, 3.0 / 4.0),
            (9, 6.0 / 9.0),
            (16, 3.0 / 16.0)
        ]
    );
    let mut stabilised = fields.clone();
    stabilised["use_rslora"] = true.into();
    assert_eq!(
        ranks(&stabilised),
        [(4, 3.0), (4, 1.5), (9, 2.0), (16, 0.75)]
    );
}

#[test]
fn configurations_that_cannot_be_are_refused() {
    let cases = [
        (
            value!({"target_modules": ["no"]}),
            "target_modules match nothing in a BertForPreTraining",
        ),
        (
            value!({"target_modules": ["LayerNorm"]}),
            "LayerNorm', which is no linear layer",
        ),
        (
            value!({"target_modules": ["word_embeddings"]}),
            "'bert.embeddings.word_embeddings', which is no linear",
        ),
        (
            value!({"target_modules": ".*attention.*"}),
            "attention', which is no linear layer",
        ),
        (
            value!({"target_modules": r"cls\.predictions\.decoder"}),
            "decoder', which is no linear layer",
        ),
        (
            value!({"target_modules": "(query"}),
            "no regular expression",
        ),
        (
            value!({"rank_pattern": {"query": 0}}),
            "has rank 0 for 'bert.encoder.layer.0.attention.self.query'",
        ),
        (
            value!({"rank_pattern": {"query": "wide"}}),
            "has the rank \"wide\" for",
        ),
        (value!({"rank_pattern": {"[": 1}}), "no regular expression"),
        (
            value!({"alpha_pattern": {"query": null}}),
            "has the alpha null for",
        ),
        (
            value!({"layers_to_transform": ["first"]}),
            "no layer's number",
        ),
    ];
    for (fields, message) in cases {
        says(
            refused(targets(fields, &bert())),
            &["adapter_config.json: ", message],
        );
    }
    let cases = [
        (value!({"r": 0}), "has rank r = 0; a rank is 1 to 65536"),
        (
            value!({"peft_type": "IA3"}),
            "is a IA3 adapter; melos has LORA",
        ),
        (
            value!({"lora_dropout": 1.0}),
            "has lora_dropout = 1; expected",
        ),
        (value!({"use_qalora": true}), "asks for 'use_qalora'"),
        (
            value!({"trainable_token_indices": [1]}),
            "asks for 'trainable_token_indices'",
        ),
        (
            value!({"init_lora_weights": "pissa_niter_4"}),
            "initialised by 'pissa_niter_4'",
        ),
        (
            value!({"bias": "some"}),
            "is no LoRA configuration: unknown variant `some`",
        ),
        (value!({"r": -1}), "is no LoRA configuration: "),
        (value!({"target_modules": 3}), "is no LoRA configuration: "),
    ];
    for (fields, message) in cases {
        let dir = adapter("bert_lora", kept, |config| {
            for (key, value) in fields.as_object().unwrap() {
                config[key] = value.clone();
            }
        });
        says(
            refused(adapter::read(dir.path())),
            &["adapter_config.json: ", message],
        );
    }
    says(
        refused(adapter::read(&fixture("bert_mlm"))),
        &["is no adapter folder"],
    );
    says(
        refused(adapter::read(Path::new("/no/such"))),
        &["no such file or folder"],
    );
    let dir = adapter("bert_lora", kept, same);
    fs::rename(
        dir.path().join("adapter_model.safetensors"),
        dir.path().join("adapter_model.bin"),
    )
    .unwrap();
    says(
        refused(adapter::read(dir.path())),
        &["adapter_model.bin", "save it once with PEFT"],
    );
}

#[test]
fn modules_are_those_of_transformers() {
    // named_modules() of BertForTokenClassification, one layer; GPT-2's likewise.
    let bert = open(&fixture("bert_token_classifier")).unwrap();
    let layout = bert.layout(class("BertForTokenClassification")).unwrap();
    let mut names: Vec<String> = layout.modules.into_iter().map(|m| m.name).collect();
    names.sort();
    let layer = |part: &str| format!("bert.encoder.layer.0{part}");
    let mut expected: Vec<String> = [
        "bert",
        "bert.embeddings",
        "bert.embeddings.LayerNorm",
        "bert.embeddings.dropout",
        "bert.embeddings.position_embeddings",
        "bert.embeddings.token_type_embeddings",
        "bert.embeddings.word_embeddings",
        "bert.encoder",
        "bert.encoder.layer",
        "classifier",
        "dropout",
    ]
    .map(String::from)
    .into();
    expected.extend(
        [
            "",
            ".attention",
            ".attention.output",
            ".attention.output.LayerNorm",
            ".attention.output.dense",
            ".attention.output.dropout",
            ".attention.self",
            ".attention.self.dropout",
            ".attention.self.key",
            ".attention.self.query",
            ".attention.self.value",
            ".intermediate",
            ".intermediate.dense",
            ".intermediate.intermediate_act_fn",
            ".output",
            ".output.LayerNorm",
            ".output.dense",
            ".output.dropout",
        ]
        .map(layer),
    );
    expected.sort();
    assert_eq!(names, expected);
    let gpt2 = open(&fixture("gpt2_classifier")).unwrap();
    let layout = gpt2.layout(class("GPT2ForSequenceClassification")).unwrap();
    let linear: Vec<String> = (layout.modules.into_iter())
        .filter_map(|m| {
            let l = m.linear?;
            Some(format!(
                "{} {}→{} {}",
                m.name,
                l.inputs,
                l.outputs,
                l.layout == WeightLayout::InOut
            ))
        })
        .collect();
    assert_eq!(
        linear,
        [
            "transformer.h.0.attn.c_attn 16→48 true",
            "transformer.h.0.attn.c_proj 16→16 true",
            "transformer.h.0.mlp.c_fc 16→20 true",
            "transformer.h.0.mlp.c_proj 20→16 true",
            "score 16→3 false",
        ]
    );
}
