//! What a run file says of transformers.

use super::*;

fn bert(set: &[&str]) -> Result<RunConfig, Error> {
    let overrides = Overrides {
        set: set.iter().map(|s| s.to_string()).collect(),
        ..Overrides::default()
    };
    RunConfig::parse(BERT, "test.toml", &overrides)
}

#[test]
fn a_transformers_keys_are_read() {
    let c = bert(&[
        "stage.mlm.masking.rate={from=0.3, to=0.1, kind=\"cosine\"}",
        "stage.mlm.masking.whole_word=true",
        "stage.finetune.lora={rank=4, alpha=8.0, targets='.*query', rank_pattern={'layer.0'=2}}",
        "stage.mlm.unfreeze_every.steps=3",
        "model.dropout=0.2",
    ])
    .unwrap();
    let ModelConfig::Transformer("bert", model) = &c.model else {
        panic!("{:?}", c.model)
    };
    assert_eq!((model.hidden, model.layers, model.dropout), (32, 12, 0.2));
    assert_eq!(model.feed_forward(), 128);
    let masking = c.stages[0].options::<Mlm>().unwrap().masking;
    let MaskRate { from, to, kind } = masking.rate;
    assert_eq!((from, to, kind), (0.3, 0.1, RateShape::Cosine));
    assert!(masking.whole_word && masking.dynamic);
    assert_eq!(c.stages[0].unfreeze_every, Some(UnfreezeEvery::Steps(3)));
    let lora = c.stages[1].lora.as_ref().unwrap();
    assert_eq!(lora.targets, Targets::Pattern(".*query".into()));
    assert_eq!(lora.rank_pattern["layer.0"], 2);
    let c = bert(&["stage.mlm.masking.rate=0.4"]).unwrap();
    let masking = c.stages[0].options::<Mlm>().unwrap().masking;
    assert_eq!(masking.rate, MaskRate::constant(0.4));
    // And come back from what a run's folder keeps.
    let text = c.to_toml().unwrap();
    assert_eq!(
        RunConfig::parse(&text, "config.toml", &Overrides::default()).unwrap(),
        c
    );
    // Another kind takes the place of the old one's sizes.
    let c = bert(&[
        "model={kind=\"gpt2\", hidden=8, heads=1}",
        "stage.mlm.objective=clm",
    ])
    .unwrap();
    assert!(
        matches!(&c.model, ModelConfig::Transformer("gpt2", m) if m.hidden == 8),
        "{:?}",
        c.model
    );
}

#[test]
fn a_transformers_mistakes_are_named() {
    for (set, start) in [
        (
            "model.hiden=1",
            "unknown key 'hiden' in model: did you mean 'hidden'?",
        ),
        (
            "model.kind=\"brt\"",
            "model: unknown choice 'brt': did you mean 'bert'?",
        ),
        ("model.heads=3", "model.heads: should divide hidden = 32"),
        ("model.heads=0", "model.heads: should be at least 1"),
        (
            "model.dropout={word=0.1}",
            "model.dropout should be a number",
        ),
        (
            "model.classifier_dropout=1.0",
            "model.classifier_dropout: is a probability",
        ),
        (
            "stage.mlm.objective=\"lm\"",
            "stage.mlm.objective: \"lm\" is no objective of model kind \"bert\"",
        ),
        (
            "stage.mlm.objective=\"clm\"",
            "stage.mlm.objective: \"clm\" is no objective",
        ),
        (
            "stage.finetune.objective=\"mlm\"",
            "stage.finetune.objective: a finetune stage learns labels: expected \"classify\", \"joint\", \"token_classify\", \"image_classification\", \"sft\", \"dpo\", \"orpo\", \"kto\" or \"reward\"",
        ),
        (
            "stage.mlm.dropout={word=0.1}",
            "stage.mlm.dropout: is for model.kind = \"lstm\", and this is \"bert\"; set model.dropout",
        ),
        (
            "stage.mlm.masking.rat=0.1",
            "unknown key 'rat' in stage.mlm.masking: did you mean 'rate'?",
        ),
        (
            "stage.mlm.masking.rate=1.5",
            "stage.mlm.masking.rate: is a share of the tokens",
        ),
        (
            "stage.mlm.masking.rate=\"a\"",
            "stage.mlm.masking.rate should be a number, or { from, to, kind }",
        ),
        (
            "stage.mlm.masking.rate={from=0.0,to=0.1}",
            "stage.mlm.masking.rate.from: is a share",
        ),
        (
            "stage.mlm.masking.rate={from=0.1}",
            "stage.mlm.masking.rate needs the key 'to'",
        ),
        (
            "stage.mlm.masking.keep=0.5",
            "stage.mlm.masking: replace, random and keep should add up to 1",
        ),
        (
            "stage.mlm.precision=\"bf16\"",
            "stage.mlm.precision: unknown choice 'bf16'",
        ),
        (
            "stage.mlm.accumulate=0",
            "stage.mlm.accumulate: should be at least 1",
        ),
        (
            "stage.mlm.freeze=\"layer.(\"",
            "stage.mlm.freeze: 'layer.(' is no regex",
        ),
        (
            "stage.mlm.layer_decay=1.5",
            "stage.mlm.layer_decay: is a factor",
        ),
        (
            "stage.mlm.rates={'a'=-1.0}",
            "stage.mlm.rates.a: should be 0 or a positive number",
        ),
        (
            "stage.mlm.unfreeze_every={steps=0}",
            "stage.mlm.unfreeze_every: should be more than 0",
        ),
        (
            "stage.mlm.lora={rank=0}",
            "stage.mlm.lora.rank: should be at least 1",
        ),
        (
            "stage.mlm.lora={rnk=1}",
            "unknown key 'rnk' in stage.mlm.lora: did you mean 'rank'?",
        ),
        (
            "stage.mlm.lora={alpha=0.0}",
            "stage.mlm.lora.alpha: should be a positive number",
        ),
        (
            "stage.mlm.lora={dropout=1.0}",
            "stage.mlm.lora.dropout: is a probability",
        ),
        (
            "stage.mlm.lora={targets=\"(\"}",
            "stage.mlm.lora.targets: '(' is no regex",
        ),
        (
            "stage.mlm.lora={double_quant=true}",
            "stage.mlm.lora.double_quant: is for base = \"nf4\"",
        ),
        (
            "stage.mlm.lora={rows=\"qx\"}",
            "stage.mlm.lora.rows: names some of q, k and v",
        ),
        (
            "stage.mlm.lora={dora=true, rows=\"qv\"}",
            "stage.mlm.lora.rows: is not for dora = true",
        ),
        (
            "stage.mlm.lora={rank_pattern={a=0}}",
            "stage.mlm.lora.rank_pattern.a: should be at least 1",
        ),
    ] {
        let error = bert(&[set]).expect_err(set).to_string();
        assert!(error.starts_with(start), "{set}: {error}");
    }
    let both = ["stage.mlm.lora.rank=1", "stage.mlm.freeze=\"embeddings\""];
    let error = bert(&both).unwrap_err().to_string();
    assert!(
        error.starts_with("stage.mlm.freeze: has no meaning beside lora"),
        "{error}"
    );
    for set in ["precision=\"f16\"", "checkpointing=true", "lora.rank=2"] {
        let error = refused(&format!("stage.finetune.{set}"));
        let key = set.split(['=', '.']).next().unwrap();
        let want = format!("stage.finetune.{key}: is for model.kind = \"bert\", ");
        assert!(error.starts_with(&want), "{set}: {error}");
        assert!(
            error.contains("\"gpt2\", ") && error.contains("\"pretrained\", and this is \"lstm\""),
            "{set}: {error}"
        );
    }
    // What every model takes, an LSTM takes.
    for set in [
        "freeze=\"base\"",
        "layer_decay=0.9",
        "rates={'a'=0.5}",
        "unfreeze_every={steps=1}",
        "problem=\"regression\"",
        "label_smoothing=0.1",
    ] {
        with(&[&format!("stage.finetune.{set}")]).expect(set);
    }
    // At its default a key says nothing.
    with(&[
        "stage.finetune.precision=\"f32\"",
        "stage.*.checkpointing=false",
    ])
    .unwrap();
    let error = bert(&["stage.finetune.transfer=[\"embedding\"]"])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("stage.finetune.transfer: is for model.kind = \"lstm\", and this is"),
        "{error}"
    );
    let error = refused("data.pair_column=\"answer\"");
    assert!(
        error.starts_with("data.pair_column: is for models that read two texts at once"),
        "{error}"
    );
}
