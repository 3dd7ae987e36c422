//! Llama and its kin in GGUF files.

use serde_json::{Map, Value, json};

use super::LlamaConfig;
use super::kin::{self, Kin};
use crate::error::Result;
use crate::hub::gguf::{Gguf, GgufFile, Key, Meta, Name, Placed, Spaces, Told, real};
use crate::nn::{Rope, RopeScaling};
use crate::ops::Gate;

const HEADS: &str = "attention.head_count";
const KV_HEADS: &str = "attention.head_count_kv";
/// By how much the angles of each pair are slowed.
const FREQUENCIES: &str = "rope_freqs.weight";
const LONG: &str = "rope_factors_long.weight";
const SHORT: &str = "rope_factors_short.weight";

macro_rules! key {
    ($gguf:literal, $config:literal) => {
        Key::whole($gguf, $config)
    };
}

const KEYS: &[Key] = &[
    key!("block_count", "num_hidden_layers"),
    key!("context_length", "max_position_embeddings"),
    key!("embedding_length", "hidden_size"),
    key!("feed_forward_length", "intermediate_size"),
    key!("attention.head_count", "num_attention_heads"),
    Key::whole(KV_HEADS, "num_key_value_heads").or_default(),
    Key::whole("attention.key_length", "head_dim").or_default(),
    Key::real("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
];

/// What Gemma 2 and 3 have besides.
const LATER_GEMMA_KEYS: &[Key] = &[
    Key::whole("attention.sliding_window", "sliding_window").or_default(),
    Key::real("attn_logit_softcapping", "attn_logit_softcapping").or_default(),
    Key::real("final_logit_softcapping", "final_logit_softcapping").or_default(),
];

use Placed::{Paired, PlusOne, Same};

/// The names of a layer's part, its weight and bias.
macro_rules! layer {
    ($theirs:literal, $ours:literal, $placed:expr) => {
        (
            concat!("blk.{}.", $theirs),
            concat!("model.layers.{}.", $ours),
            $placed,
        )
    };
}

/// Of all of them.
const NAMES: &[Name] = &[
    ("token_embd.weight", "model.embed_tokens.weight", Same),
    ("output.weight", "lm_head.weight", Same),
    layer!("attn_output.weight", "self_attn.o_proj.weight", Same),
    layer!("ffn_down.weight", "mlp.down_proj.weight", Same),
];

/// Of those whose layers do one thing each: all but Phi-3.
const APART: &[Name] = &[
    layer!("attn_v.weight", "self_attn.v_proj.weight", Same),
    layer!("ffn_gate.weight", "mlp.gate_proj.weight", Same),
    layer!("ffn_up.weight", "mlp.up_proj.weight", Same),
];

const JOINT: &[Name] = &[
    layer!("attn_qkv.weight", "self_attn.qkv_proj.weight", Same),
    layer!("ffn_up.weight", "mlp.gate_up_proj.weight", Same),
];

const NORMS: &[Name] = &[
    ("output_norm.weight", "model.norm.weight", Same),
    layer!("attn_norm.weight", "input_layernorm.weight", Same),
    layer!("ffn_norm.weight", "post_attention_layernorm.weight", Same),
];

/// Queries and keys whose rows are in another order.
const PAIRED: &[Name] = &[
    layer!("attn_q.weight", "self_attn.q_proj.weight", Paired(HEADS)),
    layer!("attn_k.weight", "self_attn.k_proj.weight", Paired(KV_HEADS)),
    layer!("attn_q.bias", "self_attn.q_proj.bias", Paired(HEADS)),
    layer!("attn_k.bias", "self_attn.k_proj.bias", Paired(KV_HEADS)),
    layer!("attn_v.bias", "self_attn.v_proj.bias", Same),
    layer!("attn_output.bias", "self_attn.o_proj.bias", Same),
    layer!("ffn_gate.bias", "mlp.gate_proj.bias", Same),
    layer!("ffn_up.bias", "mlp.up_proj.bias", Same),
    layer!("ffn_down.bias", "mlp.down_proj.bias", Same),
];

/// Rows as they are.
const STRAIGHT: &[Name] = &[
    layer!("attn_q.weight", "self_attn.q_proj.weight", Same),
    layer!("attn_k.weight", "self_attn.k_proj.weight", Same),
];

const QWEN: &[Name] = &[
    layer!("attn_q.bias", "self_attn.q_proj.bias", Same),
    layer!("attn_k.bias", "self_attn.k_proj.bias", Same),
    layer!("attn_v.bias", "self_attn.v_proj.bias", Same),
    layer!("attn_q_norm.weight", "self_attn.q_norm.weight", Same),
    layer!("attn_k_norm.weight", "self_attn.k_norm.weight", Same),
];

const GEMMA_NORMS: &[Name] = &[
    ("output_norm.weight", "model.norm.weight", PlusOne),
    layer!("attn_norm.weight", "input_layernorm.weight", PlusOne),
];

const FIRST_GEMMA: &[Name] = &[layer!(
    "ffn_norm.weight",
    "post_attention_layernorm.weight",
    PlusOne
)];

const LATER_GEMMA: &[Name] = &[
    layer!("attn_q_norm.weight", "self_attn.q_norm.weight", PlusOne),
    layer!("attn_k_norm.weight", "self_attn.k_norm.weight", PlusOne),
    layer!(
        "post_attention_norm.weight",
        "post_attention_layernorm.weight",
        PlusOne
    ),
    layer!(
        "ffn_norm.weight",
        "pre_feedforward_layernorm.weight",
        PlusOne
    ),
    layer!(
        "post_ffw_norm.weight",
        "post_feedforward_layernorm.weight",
        PlusOne
    ),
];

macro_rules! architectures {
    ($($name:ident $static:ident = $architecture:literal $keys:tt $names:tt $spaces:ident;)*) => {$(
        static $static: Gguf = Gguf {
            architecture: $architecture,
            keys: &$keys,
            tensors: &$names,
            ignored: &[FREQUENCIES, LONG, SHORT],
            spaces: Spaces::$spaces,
            read: |file, config| read(&kin::$name, $architecture, file, config),
            write: |config| write(&kin::$name, config),
        };
        pub(super) const $name: Option<&Gguf> = Some(&$static);
    )*};
}

architectures! {
    LLAMA LLAMA_GGUF = "llama" [KEYS] [NAMES, APART, NORMS, PAIRED] Before;
    // Read as a Llama, which it is but for its windows.
    MISTRAL MISTRAL_GGUF = "llama" [KEYS] [NAMES, APART, NORMS, PAIRED] Before;
    QWEN2 QWEN2_GGUF = "qwen2" [KEYS] [NAMES, APART, NORMS, STRAIGHT, QWEN] Before;
    QWEN3 QWEN3_GGUF = "qwen3" [KEYS] [NAMES, APART, NORMS, STRAIGHT, QWEN] Before;
    GEMMA GEMMA_GGUF = "gemma" [KEYS] [NAMES, APART, STRAIGHT, GEMMA_NORMS, FIRST_GEMMA] AsTheyAre;
    GEMMA2 GEMMA2_GGUF = "gemma2" [KEYS, LATER_GEMMA_KEYS]
        [NAMES, APART, STRAIGHT, GEMMA_NORMS, LATER_GEMMA] AsTheyAre;
    GEMMA3 GEMMA3_GGUF = "gemma3" [KEYS, LATER_GEMMA_KEYS]
        [NAMES, APART, STRAIGHT, GEMMA_NORMS, LATER_GEMMA] AsTheyAre;
    PHI3 PHI3_GGUF = "phi3" [KEYS] [NAMES, JOINT, NORMS] Before;
}

/// Models of Gemma's whose scores are divided by the root of C / NH, by their layers; of all others it is that of
/// the width of a head.
fn scalar_is_of_width(kin: &Kin, layers: usize) -> bool {
    matches!(
        (kin.model_type, layers),
        ("gemma2", 46) | ("gemma3_text", 62)
    )
}

fn read(
    kin: &Kin,
    architecture: &str,
    file: &GgufFile,
    config: &mut Map<String, Value>,
) -> Result<()> {
    let size = |config: &Map<String, Value>, key: &str| {
        config.get(key).and_then(Value::as_u64).unwrap_or(0) as usize
    };
    let key = |name: &str| format!("{architecture}.{name}");
    let (width, heads) = (
        size(config, "hidden_size"),
        size(config, "num_attention_heads"),
    );
    let per_head = width / heads.max(1);
    if config.get("head_dim").is_none() {
        config.insert("head_dim".into(), json!(per_head));
    }
    if config.get("num_key_value_heads").is_none() {
        config.insert("num_key_value_heads".into(), json!(heads));
    }
    let head = size(config, "head_dim");
    if let Some(other) = file
        .whole(&key("attention.value_length"))?
        .filter(|n| *n != head)
    {
        let problem = format!(
            "has heads of {head} numbers for keys and {other} for values; melos has equal ones"
        );
        return Err(file.bad(problem));
    }
    if kin.sum_norms {
        let of_width = scalar_is_of_width(kin, size(config, "num_hidden_layers"));
        let scalar = if of_width { per_head } else { head };
        config.insert("query_pre_attn_scalar".into(), json!(scalar));
    }
    let base = file.number(&key("rope.freq_base"))?;
    if base.is_some() || kin.bases.is_none() {
        config.insert("rope_theta".into(), real(base.unwrap_or(10_000.0)));
    }
    if let Some(turned) = file
        .whole(&key("rope.dimension_count"))?
        .filter(|n| *n != head)
    {
        let part = turned as f64 / head.max(1) as f64;
        config.insert("partial_rotary_factor".into(), json!(part));
    }
    // Left out where it is: none of the kin's own windows are in such files.
    if matches!(kin.model_type, "mistral" | "phi3") {
        let window = file
            .whole(&key("attention.sliding_window"))?
            .filter(|n| *n > 0);
        config.insert("sliding_window".into(), json!(window));
    }
    let scaling = scaling(file, &key, config)?;
    if let Some(scaling) = scaling {
        config.insert("rope_scaling".into(), scaling);
    }
    Ok(())
}

/// `rope_scaling`, where angles are scaled.
fn scaling(
    file: &GgufFile,
    key: &dyn Fn(&str) -> String,
    config: &mut Map<String, Value>,
) -> Result<Option<Value>> {
    if file.tensor_info(FREQUENCIES).is_some() {
        return slowed(file, config).map(Some);
    }
    let number = |name: &str| file.number(&key(name));
    let original = file.whole(&key("rope.scaling.original_context_length"))?;
    if file.tensor_info(LONG).is_some() {
        let factors = |name: &str| Ok::<_, crate::Error>(json!(numbers(file, name)?));
        let mut scaling = json!({
            "rope_type": "longrope", "long_factor": factors(LONG)?, "short_factor": factors(SHORT)?,
        });
        if let Some(factor) = number("rope.scaling.attn_factor")? {
            scaling["attention_factor"] = real(factor);
        }
        if let Some(original) = original {
            config.insert("original_max_position_embeddings".into(), json!(original));
        }
        return Ok(Some(scaling));
    }
    let factor = number("rope.scaling.factor")?;
    let kind = file.text(&key("rope.scaling.type"))?;
    let (kind, factor) = match (kind, factor, number("rope.scale_linear")?) {
        (None, None, Some(factor)) if factor != 1.0 => ("linear", factor),
        (None | Some("none"), ..) => return Ok(None),
        (Some(kind @ ("linear" | "yarn")), Some(factor), _) => (kind, factor),
        (Some(kind), ..) => {
            let problem = format!(
                "scales angles as '{kind}' ({}), without what melos needs for that",
                key("rope.scaling.type")
            );
            return Err(file.bad(problem));
        }
    };
    let mut scaling = json!({ "rope_type": kind, "factor": real(factor) });
    if kind == "yarn" {
        if let Some(original) = original {
            scaling["original_max_position_embeddings"] = json!(original);
        }
        for (name, key) in [
            ("rope.scaling.yarn_beta_fast", "beta_fast"),
            ("rope.scaling.yarn_beta_slow", "beta_slow"),
        ] {
            if let Some(beta) = number(name)? {
                scaling[key] = real(beta);
            }
        }
    }
    Ok(Some(scaling))
}

fn numbers(file: &GgufFile, name: &str) -> Result<Vec<f32>> {
    let (kind, bytes) = file.blocks(name)?;
    Ok(kind.dequantise(bytes))
}

/// How Llama 3.1 and later slow angles: of a file that has nothing but the outcome, the settings that lead to
/// it.
fn slowed(file: &GgufFile, config: &Map<String, Value>) -> Result<Value> {
    let found = numbers(file, FREQUENCIES)?;
    let factor = found.iter().copied().fold(1.0, f32::max);
    let base = config
        .get("rope_theta")
        .and_then(Value::as_f64)
        .unwrap_or(10_000.0);
    // What all of them have.
    let scaling = RopeScaling::Llama3 {
        factor: factor.into(),
        low: 1.0,
        high: 4.0,
        original: 8192,
    };
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-3 * b.abs();
    if !found
        .iter()
        .zip(&slowness(found.len(), base, scaling))
        .all(close)
    {
        let problem = format!(
            "slows angles by {FREQUENCIES} in a way that no Llama does; take the model's own folder"
        );
        return Err(file.bad(problem));
    }
    Ok(json!({
        "rope_type": "llama3", "factor": real(factor), "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }))
}

/// By how much the angles of each pair are slowed.
fn slowness(pairs: usize, base: f64, scaling: RopeScaling) -> Vec<f32> {
    let angles = |scaling| Rope::new(pairs, base, scaling).frequencies(1);
    let (plain, slow) = (angles(RopeScaling::None), angles(scaling));
    plain.iter().zip(&slow).map(|(a, b)| a / b).collect()
}

/// What readers would not see, and what they must be told.
fn write(kin: &'static Kin, config: &Value) -> Result<Told, String> {
    let config = LlamaConfig::read(kin, config).map_err(|e| e.to_string())?;
    let read = config.derived().map_err(|e| e.to_string())?;
    let usual = if kin.gemma {
        Gate::GeluTanh
    } else {
        Gate::Silu
    };
    if read.gate != usual {
        return Err(format!(
            "its gate is {:?}, and readers take it as {usual:?}",
            read.gate
        ));
    }
    let windows = read.windows.iter().any(|window| window.is_some());
    if windows && !kin.sum_norms && kin.model_type != "phi3" {
        return Err("it sees windows of keys, and readers would show it all; set sliding_window to null if \
                    its texts are shorter".into());
    }
    let (head, heads) = (config.head_width(), config.num_attention_heads);
    if kin.sum_norms {
        let layers = config.num_hidden_layers;
        let of_width = scalar_is_of_width(kin, layers);
        let scalar = if of_width {
            config.hidden_size / heads
        } else {
            head
        };
        let usual = 1.0 / (scalar as f32).sqrt();
        if (read.attention_scale - usual).abs() > 1e-6 * usual {
            return Err(format!(
                "its query_pre_attn_scalar is not {scalar}, as readers take it"
            ));
        }
    }
    let whole = |n: usize| Meta::Whole(n as u32);
    let (pairs, base, scaling) = read.rope.full.parts();
    let mut told = Told {
        metadata: vec![
            ("rope.dimension_count", whole(2 * pairs)),
            ("rope.freq_base", Meta::Real(base as f32)),
            ("attention.value_length", whole(head)),
        ],
        tensors: Vec::new(),
    };
    if config.head_dim.is_none() {
        told.metadata.push(("attention.key_length", whole(head)));
    }
    if config.num_key_value_heads.is_none() {
        told.metadata.push((KV_HEADS, whole(heads)));
    }
    if let Some(window) = read
        .windows
        .iter()
        .flatten()
        .next()
        .filter(|_| kin.model_type == "phi3")
    {
        told.metadata
            .push(("attention.sliding_window", whole(*window)));
    }
    match scaling {
        RopeScaling::None => {}
        RopeScaling::Linear { factor } => {
            told.metadata
                .push(("rope.scaling.type", Meta::Text("linear".into())));
            told.metadata
                .push(("rope.scaling.factor", Meta::Real(*factor as f32)));
        }
        RopeScaling::Llama3 { .. } if kin.model_type == "llama" => {
            let slow = slowness(pairs, base, scaling.clone());
            told.tensors.push((FREQUENCIES, slow));
        }
        RopeScaling::Yarn {
            factor,
            beta: [fast, slow],
            truncate: true,
            scale,
            original,
        } if (scale - (0.1 * factor.ln() + 1.0)).abs() < 1e-6 => told.metadata.extend([
            ("rope.scaling.type", Meta::Text("yarn".into())),
            ("rope.scaling.factor", Meta::Real(*factor as f32)),
            ("rope.scaling.original_context_length", whole(*original)),
            ("rope.scaling.yarn_beta_fast", Meta::Real(*fast as f32)),
            ("rope.scaling.yarn_beta_slow", Meta::Real(*slow as f32)),
        ]),
        RopeScaling::LongRope {
            short,
            long,
            scale,
            original,
        } if kin.model_type == "phi3" => {
            let factors = |all: &[f64]| all.iter().map(|x| *x as f32).collect::<Vec<f32>>();
            told.metadata.extend([
                ("rope.scaling.attn_factor", Meta::Real(*scale as f32)),
                ("rope.scaling.original_context_length", whole(*original)),
            ]);
            told.tensors.push((LONG, factors(long)));
            told.tensors.push((SHORT, factors(short)));
        }
        _ => {
            return Err(
                "readers would not scale its angles as it does: they have default and linear ones, llama3 of \
                 Llama's, longrope of Phi-3's, and yarn with its usual attention_factor and truncation"
                    .into(),
            );
        }
    }
    Ok(told)
}
