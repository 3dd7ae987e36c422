//! Run files: presets, overrides, and the errors for what does not fit the schema.

mod objectives;
mod shorthand;
mod transformers;

use melos::error::Error;
use melos::objectives::Mlm;
use melos::train::config::*;

const BASE: &str = r#"
name = "test"
[data]
source = "demo"
[[stage]]
name = "lm"
kind = "pretrain"
objective = "lm"
[[stage]]
name = "finetune"
kind = "finetune"
objective = "classify"
init = "lm"
optimizer = { kind = "adam", beta2 = 0.99 }
budget = { epochs = 3 }
"#;

fn with(set: &[&str]) -> Result<RunConfig, Error> {
    let overrides = Overrides {
        set: set.iter().map(|s| s.to_string()).collect(),
        ..Overrides::default()
    };
    RunConfig::parse(BASE, "test.toml", &overrides)
}

fn lstm(config: &RunConfig) -> &LstmModel {
    config.model.lstm().expect("an LSTM")
}

/// The message for the base run with these overrides, or with this text added.
fn refused(set: &str) -> String {
    with(&[set]).expect_err(set).to_string()
}

#[test]
fn every_preset_reads_at_every_scale_and_comes_back_from_its_own_toml() {
    for preset in PRESETS {
        for scale in [None, Some("small".to_string())] {
            // Small as they are.
            if ["demo", "hashire-merosu"].contains(&preset.name) && scale.is_some() {
                continue;
            }
            let overrides = Overrides {
                scale,
                ..Overrides::default()
            };
            let mut config = preset
                .config(&overrides)
                .unwrap_or_else(|e| panic!("{}: {e}", preset.name));
            assert_eq!(config.name, preset.name);
            config.settle();
            let text = config.to_toml().unwrap();
            let back = RunConfig::parse(&text, "config.toml", &Overrides::default())
                .unwrap_or_else(|e| panic!("{}: {e}\n{text}", preset.name));
            assert_eq!(back, config, "{}", preset.name);
        }
    }
}

#[test]
fn the_presets_are_the_papers_models() {
    for name in [
        "lstm-imdb",
        "lm-lstm-imdb",
        "sa-lstm-imdb",
        "lstm-rt",
        "lm-lstm-rt",
        "sa-lstm-rt",
        "lstm",
        "lm-lstm",
        "sa-lstm",
        "lstm-20ng",
        "lm-lstm-20ng",
        "sa-lstm-20ng",
    ] {
        let big = preset(name).unwrap().config(&Overrides::default()).unwrap();
        assert_eq!(
            (lstm(&big).embedding, lstm(&big).hidden, lstm(&big).head),
            (512, 1024, 512),
            "{name}"
        );
        let overrides = Overrides {
            scale: Some("small".into()),
            ..Overrides::default()
        };
        let small = preset(name).unwrap().config(&overrides).unwrap();
        assert_eq!(
            (lstm(&small).embedding, lstm(&small).hidden),
            (128, 256),
            "{name}"
        );
        assert_eq!(small.tokenizer.vocabulary, 10_000, "{name}");
    }
    let lm = preset("lm-lstm-imdb")
        .unwrap()
        .config(&Overrides::default())
        .unwrap();
    assert_eq!(lm.stages[0].objective.length(), 400);
}

#[test]
fn the_demo_compares_three_models_over_three_seeds() {
    let demo = PRESETS[0].config(&Overrides::default()).unwrap();
    assert_eq!(PRESETS[0].name, "demo");
    let finetune: Vec<_> = demo
        .stages
        .iter()
        .filter(|s| s.kind == StageKind::Finetune)
        .collect();
    assert_eq!(finetune.len(), 3);
    // Each row has its own rate.
    assert!(
        finetune
            .iter()
            .all(|s| s.seeds.len() >= 3 && s.budget == finetune[0].budget)
    );
    assert_eq!(finetune[0].init, None);
}

#[test]
fn the_novels_stages_differ_in_their_masks_alone() {
    let preset = preset("hashire-merosu").unwrap();
    for scale in [None, Some("base".to_string())] {
        let overrides = Overrides {
            scale: scale.clone(),
            ..Overrides::default()
        };
        let config = preset.config(&overrides).unwrap();
        let masked: Vec<_> = (config.stages.iter())
            .filter(|s| s.name.ends_with("static") || s.name.ends_with("dynamic"))
            .collect();
        assert_eq!(masked.len(), 4);
        for stage in &masked {
            let mut first = masked[0].clone();
            assert_eq!((stage.batch, stage.objective.length()), (16, 128));
            assert_eq!(stage.budget, Budget::Epochs(10.0));
            assert_eq!(stage.seeds, [1, 2, 3]);
            let mlm = stage.options::<Mlm>().unwrap();
            assert_eq!(mlm.masking.dynamic, stage.name.ends_with("dynamic"));
            first.name.clone_from(&stage.name);
            first.objective = mlm.clone().into();
            assert_eq!(&first, *stage, "{scale:?}");
        }
    }
}

#[test]
fn overrides_reach_stages_by_name_and_all_at_once() {
    let c = with(&[
        "stage.finetune.lr=0.25",
        "stage.*.batch = 7",
        "model.hidden=99",
        "name=other",
        "model.dropout.word=0.5",
    ])
    .unwrap();
    assert_eq!(c.stages[1].lr, 0.25);
    assert_eq!((c.stages[0].batch, c.stages[1].batch), (7, 7));
    assert_eq!(
        (lstm(&c).hidden, c.name.as_str(), lstm(&c).dropout.word),
        (99, "other", 0.5)
    );
}

#[test]
fn a_new_budget_or_kind_replaces_the_old_table_and_a_key_changes_it() {
    let c = with(&["stage.finetune.budget.steps=10"]).unwrap();
    assert_eq!(c.stages[1].budget, Budget::Steps(10));
    let c = with(&["stage.finetune.optimizer.kind=\"sgd\""]).unwrap();
    assert_eq!(
        c.stages[1].optimizer,
        OptimizerKind::Sgd { weight_decay: 0.0 }
    );
    let c = with(&["stage.finetune.optimizer.beta1=0.5"]).unwrap();
    let OptimizerKind::Adam { beta1, beta2, .. } = c.stages[1].optimizer else {
        panic!()
    };
    assert_eq!((beta1, beta2), (0.5, 0.99));
}

#[test]
fn defaults_lie_under_the_stages_own_keys() {
    let text = format!(
        "{BASE}\n[defaults.finetune]\nbatch = 9\nbudget = {{ steps = 5 }}\n[defaults.pretrain]\nbptt = 11\n"
    );
    let c = RunConfig::parse(&text, "test.toml", &Overrides::default()).unwrap();
    assert_eq!((c.stages[1].batch, c.stages[0].objective.length()), (9, 11));
    assert_eq!(c.stages[1].budget, Budget::Epochs(3.0));
    let text = format!("{BASE}\n[defaults.finetun]\nbatch = 9\n");
    let error = RunConfig::parse(&text, "test.toml", &Overrides::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("unknown key 'finetun' in defaults: did you mean 'finetune'?"),
        "{error}"
    );
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_a_suggestion() {
    let error = refused("stage.finetune.learning_rate=1");
    assert!(
        error.starts_with("unknown key 'learning_rate' in stage.finetune; known: name, kind,"),
        "{error}"
    );
    let error = refused("stage.finetune.optimizer.beta_1=0.5");
    assert!(
        error
            .starts_with("unknown key 'beta_1' in stage.finetune.optimizer: did you mean 'beta1'?"),
        "{error}"
    );
    let error = refused("model.hiden=1");
    assert!(
        error.starts_with("unknown key 'hiden' in model: did you mean 'hidden'?"),
        "{error}"
    );
    let error = refused("modle.hidden=1");
    assert!(
        error.starts_with("unknown key 'modle' in test.toml: did you mean 'model'?"),
        "{error}"
    );
    let error = refused("stage.finetun.lr=1");
    assert_eq!(
        error,
        "there is no stage 'finetun': did you mean 'finetune'?; there is: lm, finetune"
    );
}

#[test]
fn a_wrong_type_says_what_was_expected() {
    assert_eq!(
        refused("model.hidden=\"big\""),
        "model.hidden should be a whole number, 0 or more, as 32, found the text \"big\""
    );
    assert_eq!(
        refused("stage.lm.seeds=[1, \"a\"]"),
        "stage.lm.seeds.1 should be a whole number, 0 or more, as 32, found the text \"a\""
    );
    assert_eq!(
        refused("stage.lm.budget=3"),
        "stage.lm.budget should be one of: steps, epochs, tokens, found the number 3"
    );
    let error = refused("stage.lm.batch=-1");
    assert!(
        error.starts_with(
            "stage.lm.batch should be a whole number, 0 or more, as 32, found the number -1"
        ),
        "{error}"
    );
    let error = refused("stage.lm=3");
    assert!(error.starts_with("stage.lm should be a table"), "{error}");
}

#[test]
fn a_wrong_choice_lists_the_right_ones() {
    let error = refused("stage.lm.objective=\"ml\"");
    assert!(
        error.contains("stage.lm.objective: unknown choice 'ml'")
            && error.contains("known: lm, sa, mlm, mlm_nsp, clm, classify, joint, token_classify"),
        "{error}"
    );
    let error = refused("stage.lm.optimizer={kind=\"adma\"}");
    assert!(error.contains("did you mean 'adam'?"), "{error}");
    let error = refused("stage.lm.budget={hours=3}");
    assert!(error.contains("unknown choice 'hours'"), "{error}");
    let error = refused("stage.lm.budget={steps=3, epochs=1}");
    assert_eq!(
        error,
        "stage.lm.budget: should hold exactly one of: steps, epochs, tokens"
    );
}

#[test]
fn a_missing_key_and_broken_toml_are_named() {
    let text = BASE.replace("kind = \"pretrain\"\n", "");
    let error = RunConfig::parse(&text, "test.toml", &Overrides::default())
        .unwrap_err()
        .to_string();
    assert_eq!(error, "stage.lm needs the key 'kind'");
    let error = RunConfig::parse("name = ", "my.toml", &Overrides::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("my.toml is not valid TOML:") && error.contains("line 1"),
        "{error}"
    );
    assert!(refused("batch").contains("expected key=value"));
    assert!(refused(".=1").contains("the key is empty"));
}

#[test]
fn impossible_values_are_refused_where_they_stand() {
    for (set, place) in [
        ("stage.lm.lr=0", "stage.lm.lr"),
        ("stage.lm.lr=nan", "stage.lm.lr"),
        ("stage.lm.batch=0", "stage.lm.batch"),
        ("stage.lm.clip_norm=-1.0", "stage.lm.clip_norm"),
        ("stage.lm.keep=0", "stage.lm.keep"),
        ("stage.lm.eval_every=0", "stage.lm.eval_every"),
        ("stage.lm.save_every=0", "stage.lm.save_every"),
        ("stage.lm.budget={epochs=-1.0}", "stage.lm.budget"),
        ("stage.lm.objective=\"classify\"", "stage.lm.objective"),
        (
            "stage.finetune.objective=\"sa\"",
            "stage.finetune.objective",
        ),
        (
            "stage.finetune.objective=\"joint\"",
            "stage.finetune.auxiliary",
        ),
        (
            "stage.finetune.auxiliary_weight=0.0",
            "stage.finetune.auxiliary_weight",
        ),
        (
            "stage.finetune.schedule={kind=\"linear\", warmup=1.5}",
            "stage.finetune.schedule.warmup",
        ),
        (
            "stage.finetune.optimizer={kind=\"momentum\", momentum=1.0}",
            "stage.finetune.optimizer.momentum",
        ),
        (
            "stage.finetune.dropout={output=1.0}",
            "stage.finetune.dropout.output",
        ),
        ("stage.finetune.seeds=[1, 1]", "stage.finetune.seeds"),
        ("stage.finetune.train_texts=0", "stage.finetune.train_texts"),
        ("stage.finetune.folds=1", "stage.finetune.folds"),
        ("stage.finetune.run_folds=2", "stage.finetune.run_folds"),
        ("stage.finetune.folds=5", "stage.finetune.folds"),
        ("stage.finetune.name=\"a/b\"", "stage.name"),
        ("stage.finetune.name=\"lm\"", "stage.lm.name"),
        ("stage.finetune.init=\"lmm\"", "stage.finetune.init"),
        ("stage.lm.seeds=[1, 2]", "stage.finetune.init"),
        ("stage.finetune.kind=\"evaluate\"", ""),
        ("model.hidden=0", "model.hidden"),
        ("model.hidden=70000", "model.hidden"),
        ("model.cell_clip=0.0", "model.cell_clip"),
        ("model.bidirectional=true", "model.bidirectional"),
        ("model.dropout.word=-0.1", "model.dropout.word"),
        ("data.validation=1.0", "data.validation"),
        ("tokenizer.vocabulary=1", "tokenizer.vocabulary"),
        ("name=\"../x\"", "name"),
    ] {
        if place.is_empty() {
            with(&[set]).unwrap_or_else(|e| panic!("{set}: {e}"));
            continue;
        }
        let error = refused(set);
        assert!(error.starts_with(&format!("{place}: ")), "{set}: {error}");
    }
    assert!(refused("stage.finetune.init=\"lmm\"").contains("did you mean 'lm'?"));
}

const BERT: &str = r#"
name = "test"
[model]
kind = "bert"
hidden = 32
heads = 2
[data]
source = "files"
[[stage]]
name = "mlm"
kind = "pretrain"
objective = "mlm"
[[stage]]
name = "finetune"
kind = "finetune"
objective = "classify"
init = "mlm"
"#;

#[test]
fn unknown_presets_and_scales_have_suggestions() {
    let error = preset("lstm-imbd").unwrap_err().to_string();
    assert!(
        error.starts_with("there is no preset 'lstm-imbd': did you mean 'lstm-imdb'?"),
        "{error}"
    );
    let overrides = Overrides {
        scale: Some("smal".into()),
        ..Overrides::default()
    };
    let error = preset("lstm-rt")
        .unwrap()
        .config(&overrides)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "there is no scale 'smal': did you mean 'small'?; there is: small"
    );
}

#[test]
fn where_the_text_comes_from_is_settled_by_the_data() {
    let mut config = preset("lm-lstm-rt")
        .unwrap()
        .config(&Overrides::default())
        .unwrap();
    config.settle();
    assert_eq!(
        (config.stages[0].text, config.stages[0].folds),
        (TextChoice::Train, Some(10))
    );
    let mut config = preset("lm-lstm-rt")
        .unwrap()
        .config(&Overrides::default())
        .unwrap();
    config.data.unlabelled.push("aclImdb".into());
    config.settle();
    assert_eq!(
        (config.stages[0].text, config.stages[0].folds),
        (TextChoice::Unlabelled, None)
    );
    assert_eq!(config.stages[1].folds, Some(10));
    config.check().unwrap();
}
