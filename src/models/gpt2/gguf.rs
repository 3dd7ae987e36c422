//! GPT-2 in GGUF files.

use serde_json::{Value, json};

use crate::hub::gguf::{Gguf, Key, Meta, Placed, Spaces, Told};

pub(super) static GGUF: Gguf = Gguf {
    architecture: "gpt2",
    keys: &[&[
        Key::whole("block_count", "n_layer"),
        Key::whole("context_length", "n_positions"),
        Key::whole("embedding_length", "n_embd"),
        Key::whole("feed_forward_length", "n_inner"),
        Key::whole("attention.head_count", "n_head"),
        Key::real("attention.layer_norm_epsilon", "layer_norm_epsilon"),
    ]],
    tensors: &[&[
        ("token_embd.weight", "transformer.wte.weight", Placed::Same),
        (
            "position_embd.weight",
            "transformer.wpe.weight",
            Placed::Same,
        ),
        (
            "output_norm.weight",
            "transformer.ln_f.weight",
            Placed::Same,
        ),
        ("output_norm.bias", "transformer.ln_f.bias", Placed::Same),
        ("output.weight", "lm_head.weight", Placed::Same),
        (
            "blk.{}.attn_norm.weight",
            "transformer.h.{}.ln_1.weight",
            Placed::Same,
        ),
        (
            "blk.{}.attn_norm.bias",
            "transformer.h.{}.ln_1.bias",
            Placed::Same,
        ),
        (
            "blk.{}.attn_qkv.weight",
            "transformer.h.{}.attn.c_attn.weight",
            Placed::Transposed,
        ),
        (
            "blk.{}.attn_qkv.bias",
            "transformer.h.{}.attn.c_attn.bias",
            Placed::Same,
        ),
        (
            "blk.{}.attn_output.weight",
            "transformer.h.{}.attn.c_proj.weight",
            Placed::Transposed,
        ),
        (
            "blk.{}.attn_output.bias",
            "transformer.h.{}.attn.c_proj.bias",
            Placed::Same,
        ),
        (
            "blk.{}.ffn_norm.weight",
            "transformer.h.{}.ln_2.weight",
            Placed::Same,
        ),
        (
            "blk.{}.ffn_norm.bias",
            "transformer.h.{}.ln_2.bias",
            Placed::Same,
        ),
        (
            "blk.{}.ffn_up.weight",
            "transformer.h.{}.mlp.c_fc.weight",
            Placed::Transposed,
        ),
        (
            "blk.{}.ffn_up.bias",
            "transformer.h.{}.mlp.c_fc.bias",
            Placed::Same,
        ),
        (
            "blk.{}.ffn_down.weight",
            "transformer.h.{}.mlp.c_proj.weight",
            Placed::Transposed,
        ),
        (
            "blk.{}.ffn_down.bias",
            "transformer.h.{}.mlp.c_proj.bias",
            Placed::Same,
        ),
    ]],
    ignored: &[],
    spaces: Spaces::Before,
    read: |_, _| Ok(()),
    write,
};

/// llama.cpp's GPT-2 is the plain one.
fn write(config: &Value) -> Result<Told, String> {
    for (key, plain) in [
        ("activation_function", json!("gelu_new")),
        ("scale_attn_weights", json!(true)),
        ("scale_attn_by_inverse_layer_idx", json!(false)),
    ] {
        let found = &config[key];
        if !found.is_null() && *found != plain {
            return Err(format!("{key} is {found}, and readers take it as {plain}"));
        }
    }
    let width = config["n_embd"].as_u64().unwrap_or(0) as u32;
    let inner = config["n_inner"].is_null();
    let inner = inner.then_some(("feed_forward_length", Meta::Whole(width.saturating_mul(4))));
    Ok(Told {
        metadata: inner.into_iter().collect(),
        tensors: Vec::new(),
    })
}
