//! What adapted layers, slices and whole models refuse.

use std::ops::Range;

use melos::Error;
use melos::models::Tokens;
use melos::models::bert::{self, BertConfig};
use melos::models::gpt2::Gpt2Config;
use melos::nn::{LoraPlan, LoraUpdate, Vars, Wanted};
use melos::ops::{self, LoraWeights, TokenIds, WeightLayout};
use melos::tensor::Tape;

use crate::common::gpu;
use crate::operators::{floats, words};

#[test]
fn adapted_layers_and_slices() {
    let gpu = &gpu();
    let tape = Tape::inference(gpu);
    let (x, w) = (floats(gpu, &[3, 5]), floats(gpu, &[7, 5]));
    let lora = |a: &[usize], b: &[usize], dropout: f32, rows: Option<Range<usize>>| {
        let lora = LoraWeights {
            a: &floats(gpu, a),
            b: &floats(gpu, b),
            scale: 1.0,
            dropout,
            rows,
        };
        let adapted = ops::lora_linear(
            &tape,
            &x,
            &w,
            None,
            WeightLayout::OutIn,
            std::slice::from_ref(&lora),
        );
        let merged = ops::merge_lora(&w, WeightLayout::OutIn, &lora);
        assert!(dropout > 0.0 || adapted.is_err() == merged.is_err());
        adapted
    };
    let shape = |result, words: [&str; 2]| {
        refused!(result, Error::Shape { .. }, words[0], words[1]);
    };
    lora(&[2, 5], &[7, 2], 0.0, None).unwrap();
    shape(
        lora(&[2, 4], &[7, 2], 0.0, None),
        ["argument 'a'", "(2, 5)"],
    );
    shape(
        lora(&[2, 5], &[7, 3], 0.0, None),
        ["argument 'b'", "(7, 2)"],
    );
    let part = lora(&[2, 5], &[7, 2], 0.0, Some(1..4));
    shape(part, ["argument 'b'", "(3, 2)"]);
    let transposed = ops::linear_as(&tape, &x, &w, None, WeightLayout::InOut);
    shape(transposed, ["argument 'x'", "(3, 7)"]);
    shape(ops::column(&tape, &x, 0), ["column", "(3, 5)"]);
    let sequence = floats(gpu, &[2, 3, 4]);
    shape(ops::column(&tape, &sequence, 3), ["T > 3", "(2, 3, 4)"]);
    shape(ops::columns(&tape, &x, 3, 3), ["6 or more", "(3, 5)"]);
    let starts = words(gpu, &[2]);
    let cache = floats(gpu, &[2, 9, 3]);
    let result = ops::cache_append(&sequence, 2, &starts, &cache).map(|()| x.clone());
    shape(result, ["5 or more", "(2, 3, 4)"]);

    let argument = |result, words: [&str; 2]| {
        refused!(result, Error::Argument { .. }, words[0], words[1]);
    };
    for rows in [7..8, 3..3] {
        let result = lora(&[2, 5], &[1, 2], 0.0, Some(rows));
        argument(result, ["lora_linear: rows", "outputs"]);
    }
    argument(lora(&[2, 5], &[7, 2], 1.0, None), ["p = 1", "0 <= p < 1"]);
}

#[test]
fn models_that_cannot_be_built() {
    let wrong = |json: serde_json::Value, words: [&str; 2]| {
        let result = match json["model_type"].as_str() {
            Some("bert") => BertConfig::from_json(&json).map(drop),
            _ => Gpt2Config::from_json(&json).map(drop),
        };
        refused!(result, Error::ModelConfig { .. }, words[0], words[1]);
    };
    let bert = |field: &str, value: serde_json::Value| {
        let mut json = serde_json::json!({"model_type": "bert"});
        json[field] = value;
        json
    };
    wrong(
        bert("num_attention_heads", 7.into()),
        ["num_attention_heads is 7", "768"],
    );
    wrong(
        bert("vocab_size", 0.into()),
        ["vocab_size is 0", "1 or more"],
    );
    wrong(
        bert("num_hidden_layers", 0.into()),
        ["num_hidden_layers is 0", "1 or more"],
    );
    wrong(
        bert("hidden_dropout_prob", 1.0.into()),
        ["hidden_dropout_prob", "0 <= p < 1"],
    );
    wrong(bert("hidden_act", "silu".into()), ["silu", "gelu_new"]);
    wrong(bert("hidden_size", "wide".into()), ["bert", "wide"]);
    wrong(
        bert("position_embedding_type", "relative_key".into()),
        ["relative_key", "absolute"],
    );
    wrong(
        bert("is_decoder", true.into()),
        ["is_decoder is true", "false"],
    );
    wrong(serde_json::json!({"n_head": 5}), ["n_head is 5", "768"]);
    wrong(
        serde_json::json!({"attn_pdrop": -0.5}),
        ["attn_pdrop", "0 <= p < 1"],
    );

    let config = BertConfig {
        hidden_size: 16,
        num_attention_heads: 2,
        num_hidden_layers: 1,
        max_position_embeddings: 4,
        vocab_size: 9,
        intermediate_size: 8,
        ..BertConfig::default()
    };
    let update = |rank| LoraUpdate {
        rank,
        scale: 1.0,
        dropout: 0.0,
        part: None,
    };
    let query = "bert.encoder.layer.0.attention.self.query";
    let specs = |module: &str, rank| {
        let plan = LoraPlan::of([module], &update(rank));
        let v = Vars::new();
        bert::masked_lm(&v, &config).unwrap();
        v.adapt(&plan)
    };
    specs(query, 2).unwrap();
    refused!(
        specs(query, 0),
        Error::Argument { .. },
        "rank = 0",
        "1 or more"
    );
    let result = specs("bert.encoder.layer.1.attention.self.query", 2);
    refused!(
        result,
        Error::Parameter { .. },
        "layer.1",
        "no linear layer"
    );

    let gpu = &gpu();
    let v = Vars::new();
    let model = bert::encoder(&v, &config).unwrap();
    let (ids, lens) = (
        TokenIds::from_host(gpu, 1, 5, &[1; 5]).unwrap(),
        words(gpu, &[1]),
    );
    let inputs = Tokens::new(&ids, &lens);
    let result = model.forward(&Tape::inference(gpu), &inputs, &Wanted::All);
    refused!(
        result,
        Error::Parameter { .. },
        "word_embeddings.weight",
        "bind"
    );
    v.store(gpu, 0, |_| 0.0).unwrap();
    let result = model.forward(&Tape::inference(gpu), &inputs, &Wanted::All);
    refused!(result, Error::Shape { .. }, "T <= 4", "(1, 5)");
}
