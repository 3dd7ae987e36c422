//! What tells Llama's kin from each other.

use serde_json::{Value, json};

/// Which layers see a window of keys alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Windows {
    /// None.
    None,
    /// All, where there is a window.
    All,
    /// Where `use_sliding_window` is set, from `max_window_layers` on or as `layer_types` says.
    Where,
    /// All but every n-th, or as `layer_types` says.
    Every(usize),
}

impl Windows {
    /// Whether `layer_types` is heard.
    pub fn by_layer(self) -> bool {
        matches!(self, Windows::Where | Windows::Every(_))
    }
}

/// A family.
#[derive(Debug)]
pub(super) struct Kin {
    pub title: &'static str,
    pub model_type: &'static str,
    /// q, k and v have biases whatever the configuration says.
    pub qkv_bias: bool,
    /// Heads of queries and keys are normalised.
    pub head_norms: bool,
    /// Norms' parameters say by how much their factors differ from 1, what each half of a layer adds is
    /// normalised too (but in the first Gemma), and words are scaled by √C.
    pub gemma: bool,
    pub sum_norms: bool,
    /// q, k and v come from one layer, and the two inputs of the gate.
    pub joint: bool,
    /// Scores may be bounded.
    pub capped: bool,
    pub windows: Windows,
    /// Bases of the angles, where those of windows are others.
    pub bases: Option<[f64; 2]>,
    /// What transformers 5.23 writes for a default configuration, but for what follows from other fields.
    pub defaults: fn() -> Value,
}

impl PartialEq for Kin {
    fn eq(&self, other: &Kin) -> bool {
        self.model_type == other.model_type
    }
}

const PLAIN: Kin = Kin {
    title: "",
    model_type: "",
    qkv_bias: false,
    head_norms: false,
    gemma: false,
    sum_norms: false,
    joint: false,
    capped: false,
    windows: Windows::None,
    bases: None,
    defaults: || json!({}),
};

impl Kin {
    pub fn llama() -> &'static Kin {
        &LLAMA
    }

    pub fn named(model_type: &str) -> Option<&'static Kin> {
        let all = [
            &LLAMA, &MISTRAL, &QWEN2, &QWEN3, &GEMMA, &GEMMA2, &GEMMA3, &PHI3,
        ];
        all.into_iter().find(|kin| kin.model_type == model_type)
    }
}

/// Llama 1 to 3.3, SmolLM, TinyLlama.
pub(super) static LLAMA: Kin = Kin {
    title: "Llama",
    model_type: "llama",
    defaults: || {
        json!({
            "attention_bias": false,
            "attention_dropout": 0.0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "hidden_act": "silu",
            "hidden_size": 4096,
            "initializer_range": 0.02,
            "intermediate_size": 11008,
            "max_position_embeddings": 2048,
            "mlp_bias": false,
            "model_type": "llama",
            "num_attention_heads": 32,
            "num_hidden_layers": 32,
            "num_key_value_heads": null,
            "pad_token_id": null,
            "pretraining_tp": 1,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": false,
            "use_cache": true,
            "vocab_size": 32000,
        })
    },
    ..PLAIN
};

/// Mistral.
pub(super) static MISTRAL: Kin = Kin {
    title: "Mistral",
    model_type: "mistral",
    windows: Windows::All,
    defaults: || {
        json!({
            "attention_dropout": 0.0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "hidden_act": "silu",
            "hidden_size": 4096,
            "initializer_range": 0.02,
            "intermediate_size": 14336,
            "max_position_embeddings": 131072,
            "model_type": "mistral",
            "num_attention_heads": 32,
            "num_hidden_layers": 32,
            "num_key_value_heads": 8,
            "pad_token_id": null,
            "rms_norm_eps": 1e-6,
            "sliding_window": 4096,
            "tie_word_embeddings": false,
            "use_cache": true,
            "vocab_size": 32000,
        })
    },
    ..PLAIN
};

fn qwen(model_type: &str) -> Value {
    json!({
        "attention_dropout": 0.0,
        "bos_token_id": null,
        "eos_token_id": null,
        "hidden_act": "silu",
        "hidden_size": 4096,
        "initializer_range": 0.02,
        "intermediate_size": 22016,
        "max_position_embeddings": 32768,
        "max_window_layers": 28,
        "model_type": model_type,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 32,
        "pad_token_id": null,
        "rms_norm_eps": 1e-6,
        "sliding_window": 4096,
        "tie_word_embeddings": false,
        "use_cache": true,
        "use_sliding_window": false,
        "vocab_size": 151936,
    })
}

/// Qwen 2 and 2.5.
pub(super) static QWEN2: Kin = Kin {
    title: "Qwen 2",
    model_type: "qwen2",
    qkv_bias: true,
    windows: Windows::Where,
    defaults: || qwen("qwen2"),
    ..PLAIN
};

/// Qwen 3.
pub(super) static QWEN3: Kin = Kin {
    title: "Qwen 3",
    model_type: "qwen3",
    head_norms: true,
    windows: Windows::Where,
    defaults: || {
        let mut all = qwen("qwen3");
        all["attention_bias"] = false.into();
        all["head_dim"] = 128.into();
        all
    },
    ..PLAIN
};

/// The first Gemma.
pub(super) static GEMMA: Kin = Kin {
    title: "Gemma",
    model_type: "gemma",
    gemma: true,
    defaults: || {
        json!({
            "attention_bias": false,
            "attention_dropout": 0.0,
            "bos_token_id": 2,
            "eos_token_id": 1,
            "head_dim": 256,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": 3072,
            "initializer_range": 0.02,
            "intermediate_size": 24576,
            "max_position_embeddings": 8192,
            "model_type": "gemma",
            "num_attention_heads": 16,
            "num_hidden_layers": 28,
            "num_key_value_heads": 16,
            "pad_token_id": 0,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": true,
            "use_bidirectional_attention": null,
            "use_cache": true,
            "vocab_size": 256000,
        })
    },
    ..PLAIN
};

fn later_gemma(model_type: &str) -> Value {
    json!({
        "attention_bias": false,
        "attention_dropout": 0.0,
        "attn_logit_softcapping": null,
        "bos_token_id": 2,
        "eos_token_id": 1,
        "final_logit_softcapping": null,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": 2304,
        "initializer_range": 0.02,
        "intermediate_size": 9216,
        "max_position_embeddings": 8192,
        "model_type": model_type,
        "num_attention_heads": 8,
        "num_hidden_layers": 26,
        "num_key_value_heads": 4,
        "pad_token_id": 0,
        "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-6,
        "sliding_window": 4096,
        "tie_word_embeddings": true,
        "use_bidirectional_attention": null,
        "use_cache": true,
        "vocab_size": 256000,
    })
}

/// Gemma 2.
pub(super) static GEMMA2: Kin = Kin {
    title: "Gemma 2",
    model_type: "gemma2",
    gemma: true,
    sum_norms: true,
    capped: true,
    windows: Windows::Every(2),
    defaults: || {
        let mut all = later_gemma("gemma2");
        all["attn_logit_softcapping"] = 50.0.into();
        all["final_logit_softcapping"] = 30.0.into();
        all
    },
    ..PLAIN
};

/// The text part of Gemma 3.
pub(super) static GEMMA3: Kin = Kin {
    title: "Gemma 3",
    model_type: "gemma3_text",
    gemma: true,
    sum_norms: true,
    head_norms: true,
    windows: Windows::Every(6),
    bases: Some([1_000_000.0, 10_000.0]),
    defaults: || {
        let mut all = later_gemma("gemma3_text");
        all["max_position_embeddings"] = 131_072.into();
        all["vocab_size"] = 262_208.into();
        all
    },
    ..PLAIN
};

/// Phi-3 and Phi-4-mini.
pub(super) static PHI3: Kin = Kin {
    title: "Phi-3",
    model_type: "phi3",
    joint: true,
    windows: Windows::All,
    defaults: || {
        json!({
            "attention_dropout": 0.0,
            "bos_token_id": 1,
            "embd_pdrop": 0.0,
            "eos_token_id": 32000,
            "hidden_act": "silu",
            "hidden_size": 3072,
            "initializer_range": 0.02,
            "intermediate_size": 8192,
            "max_position_embeddings": 4096,
            "model_type": "phi3",
            "num_attention_heads": 32,
            "num_hidden_layers": 32,
            "num_key_value_heads": null,
            "original_max_position_embeddings": 4096,
            "pad_token_id": 32000,
            "resid_pdrop": 0.0,
            "rms_norm_eps": 1e-5,
            "sliding_window": null,
            "tie_word_embeddings": false,
            "use_cache": true,
            "vocab_size": 32064,
        })
    },
    ..PLAIN
};
