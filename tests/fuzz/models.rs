//! Models of other programs: weights, configurations, adapters.

use std::fs;

use melos::hub::{self, TensorFile};
use melos::inference::SentenceOptions;
use melos::models::{self, Pretrained};
use melos::train::state::read_tensors;
use melos::{Error, Result};
use serde_json::json;

use crate::engine::{Target, files, fixture, joined, write_files};

pub fn safetensors() -> Target {
    let header = br#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[],"data_offsets":[4,8]},"c":{"dtype":"BF16","shape":[0,3],"data_offsets":[8,8]}}"#;
    let small = [&(header.len() as u64).to_le_bytes(), &header[..], &[0; 8]].concat();
    Target {
        seeds: vec![
            small,
            fixture("hf/bert_lora/adapter_model.safetensors"),
            fixture("hf/bert_mlm/model.safetensors")[..].to_vec(),
        ],
        words: &[
            "dtype",
            "shape",
            "data_offsets",
            "F32",
            "F16",
            "BF16",
            "F64",
            "I64",
            "U8",
            "BOOL",
            "__metadata__",
            "[]",
            "[0,0]",
        ],
        read: Box::new(|folder, input| {
            let path = folder.join("model.safetensors");
            // The length of the header is that of a header which was changed: else nothing behind it
            // would be read.
            let mut input = input.to_vec();
            let end = input
                .windows(2)
                .position(|two| two == b"}}")
                .filter(|end| *end >= 8);
            if let (Some(end), true) = (end, input.len().is_multiple_of(2)) {
                let spaces = input[end + 2..]
                    .iter()
                    .take_while(|byte| **byte == b' ')
                    .count();
                let length = end + 2 + spaces - 8;
                input[..8].copy_from_slice(&(length as u64).to_le_bytes());
            }
            fs::write(&path, input).unwrap();
            let _ = read_tensors(&path);
            let file = TensorFile::open(&path)?;
            for name in file.names() {
                let array = file.array(&name)?;
                let _ = (array.elements(), array.first_not_finite(), array.values());
            }
            let _ = models::open(&path)
                .map(|model| (model.architecture().map(|c| c.name()), model.float_type()));
            Ok(())
        }),
    }
}

/// A model in one file, with its tokeniser.
pub fn gguf() -> Target {
    Target {
        seeds: ["gpt2", "llama", "llama3", "phi3"]
            .map(|name| fixture(&format!("gguf/{name}.gguf")))
            .to_vec(),
        words: &[
            "GGUF",
            "general.architecture",
            "general.alignment",
            "tokenizer.ggml.model",
            "tokenizer.ggml.pre",
            "tokenizer.ggml.merges",
            "gpt2",
            "llama",
            "qwen2",
            "token_embd.weight",
            "rope_freqs.weight",
            "blk.0.attn_q.weight",
            "\0\0\0\0",
            "\u{7f}\u{7f}\u{7f}\u{7f}",
        ],
        read: Box::new(|folder, input| {
            let path = folder.join("a.gguf");
            fs::write(&path, input).unwrap();
            let model = models::open(&path)?;
            let _ = hub::inspect(&path, None, &models::formats());
            let _ = models::tokenizer_of(&path, None).map(|tokenizer| {
                let ids = tokenizer.encode("the thing <|user|> 12");
                ids.map(|ids| tokenizer.decode(&ids))
            });
            let _ = Pretrained::open(&path, None);
            for name in model.names() {
                let _ = (model.values(name), model.blocks(name));
            }
            Ok(())
        }),
    }
}

const CONFIG_WORDS: &[&str] = &[
    "model_type",
    "bert",
    "roberta",
    "gpt2",
    "distilbert",
    "xlm-roberta",
    "melos-lstm",
    "architectures",
    "BertForMaskedLM",
    "BertForSequenceClassification",
    "GPT2LMHeadModel",
    "BertForPreTraining",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "n_layer",
    "n_embd",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "regression",
    "multi_label_classification",
    "hidden_act",
    "gelu_new",
    "relu",
    "pad_token_id",
    "max_position_embeddings",
    "tie_word_embeddings",
    "lstm",
    "objective",
    "classifier",
];

pub fn config() -> Target {
    let lstm = json!({
        "model_type": "melos-lstm", "objective": "classifier", "labels": ["neg", "pos"], "max_len": 8,
        "kept_end": "tail",
        "lstm": {
            "vocab_size": 9, "embedding_size": 4, "hidden_size": 4, "num_layers": 1,
            "bidirectional": false, "head_size": 0, "cell_clip": 0.0, "embedding_dropout": 0.0,
            "layer_dropout": 0.0, "output_dropout": 0.0,
        },
    });
    let of = |name: &str| fixture(&format!("hf/{name}/config.json"));
    let mut seeds: Vec<Vec<u8>> = [
        "bert_mlm",
        "bert_classifier",
        "distilbert_token_classifier",
        "roberta_classifier",
        "xlm_roberta_mlm",
        "gpt2_lm",
    ]
    .map(of)
    .to_vec();
    seeds.push(lstm.to_string().into());
    let weights = fixture("hf/bert_mlm/model.safetensors");
    Target {
        seeds,
        words: CONFIG_WORDS,
        read: Box::new(move |folder, input| {
            let path = folder.join("config.json");
            fs::write(&path, input).unwrap();
            let json = hub::read_json(&path)?;
            let config = models::read_config(&json, folder)?;
            let _ = (
                config.to_json(),
                config.labels().names(),
                config.extent(),
                config.cut(),
            );
            for format in models::formats()
                .iter()
                .filter(|f| f.model_type == config.family().format().model_type)
            {
                for class in format.classes {
                    if let Some(class) = format.class(class.head) {
                        let _ = class.layout(&json, &path);
                    }
                }
            }
            let weights_path = folder.join("model.safetensors");
            if !weights_path.exists() {
                fs::write(weights_path, &weights).unwrap();
            }
            let _ = Pretrained::open(folder, None).map(|model| {
                let class = model.architecture?;
                let layout = class.layout(&json, &path).ok()?;
                Some((model.report(&layout), model.labels()))
            });
            let _ = hub::inspect(folder, None, &models::formats());
            Ok(())
        }),
    }
}

/// A model in two files, and the list of what is in which.
pub fn shards() -> Target {
    let tensor = |name: &str| {
        let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
        [
            &(header.len() as u64).to_le_bytes(),
            header.as_bytes(),
            &[0; 4],
        ]
        .concat()
    };
    let (one, two) = (tensor("a"), tensor("b"));
    let index = br#"{"metadata": {"total_size": 8}, "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#;
    let names = [
        "model.safetensors.index.json",
        "one.safetensors",
        "two.safetensors",
        "config.json",
    ];
    Target {
        seeds: vec![joined(&[
            (names[0], index),
            (names[1], &one),
            (names[2], &two),
            (names[3], br#"{"model_type": "bert"}"#),
        ])],
        words: &[
            "weight_map",
            "one.safetensors",
            "../one.safetensors",
            "/dev/zero",
            ".",
            "..",
            "",
            "a",
            "b",
            "null",
        ],
        read: Box::new(move |folder, input| {
            write_files(folder, input, &names);
            let model = models::open(folder)?;
            let _ = (model.float_type(), model.companions());
            model
                .names()
                .try_for_each(|name| model.values(name).map(drop))
        }),
    }
}

pub fn adapter() -> Target {
    let base = hub_fixture("bert_classifier");
    let adapters = ["bert_lora", "distilbert_lora", "roberta_lora", "gpt2_lora"];
    let config = |name: &str| fixture(&format!("hf/{name}/adapter_config.json"));
    let labels = b"{\"labels\": [\"neg\", \"pos\"]}";
    let seeds = adapters.map(|name| {
        joined(&[
            ("adapter_config.json", &config(name)),
            ("labels.json", labels),
        ])
    });
    let weights = fixture("hf/bert_lora/adapter_model.safetensors");
    Target {
        seeds: seeds.to_vec(),
        words: &[
            "r",
            "lora_alpha",
            "target_modules",
            "all-linear",
            "query",
            "value",
            ".*",
            "(a|a)*b",
            "(?=q)",
            "a{9999}",
            "modules_to_save",
            "classifier",
            "bias",
            "lora_only",
            "all",
            "rank_pattern",
            "alpha_pattern",
            "use_rslora",
            "layers_to_transform",
            "layers_pattern",
            "exclude_modules",
            "task_type",
            "SEQ_CLS",
            "fan_in_fan_out",
            "init_lora_weights",
            "peft_type",
            "LORA",
            "auto_mapping",
        ],
        read: Box::new(move |folder, input| {
            let names = ["adapter_config.json", "labels.json"];
            write_files(folder, input, &names);
            let path = folder.join("adapter_model.safetensors");
            if !path.exists() {
                fs::write(path, &weights).unwrap();
            }
            let adapter = hub::adapter::read(folder)?;
            let model = models::open(&base)?;
            let layout = model.layout(model.architecture()?)?;
            let _ = adapter.fit(&layout).map(|weights| weights.elements());
            let _ = adapter.config.to_json();
            Ok(())
        }),
    }
}

fn hub_fixture(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/hf")
        .join(name)
}

pub fn sentences() -> Target {
    let modules = br#"[{"idx": 0, "type": "sentence_transformers.models.Transformer", "path": ""}, {"idx": 1, "type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}, {"idx": 2, "type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}]"#;
    let whole = joined(&[
        ("modules.json", modules),
        ("1_Pooling/config.json", br#"{"word_embedding_dimension": 8, "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#),
        ("sentence_bert_config.json", br#"{"max_seq_length": 16, "do_lower_case": true}"#),
        ("config_sentence_transformers.json", br#"{"prompts": {"query": "q: "}, "default_prompt_name": "query", "similarity_fn_name": "cosine"}"#),
        ("tokenizer_config.json", br#"{"model_max_length": 1000000000000000019884624838656}"#),
    ]);
    Target {
        seeds: vec![whole],
        words: &[
            "pooling_mode",
            "mean",
            "cls",
            "max",
            "path",
            "../",
            "/dev/zero",
            "1_Pooling",
            "prompts",
            "truncation_side",
            "left",
        ],
        read: Box::new(|folder, input| {
            fs::create_dir_all(folder.join("1_Pooling")).unwrap();
            let names: Vec<&str> = NAMES.to_vec();
            write_files(folder, input, &names);
            require(files(input).len() > 1)?;
            SentenceOptions::read(folder, 64).map(drop)
        }),
    }
}

const NAMES: [&str; 5] = [
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "tokenizer_config.json",
];

/// An input without files is none that could be read.
fn require(good: bool) -> Result<()> {
    if good {
        return Ok(());
    }
    Err(Error::FileMissing {
        path: "modules.json".into(),
    })
}
