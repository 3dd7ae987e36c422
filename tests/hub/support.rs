//! Fixtures, and files made to measure.

use std::fs;
use std::path::{Path, PathBuf};

use melos::error::Error;
use melos::hub::adapter::AdapterConfig;
use melos::hub::{Architecture, Checkpoint, Layout, Model};
use melos::models::{self, open};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

pub const MODELS: [&str; 14] = [
    "bert_mlm",
    "bert_pretraining",
    "bert_classifier",
    "bert_token_classifier",
    "gpt2_lm",
    "gpt2_classifier",
    "distilbert_mlm",
    "distilbert_classifier",
    "distilbert_token_classifier",
    "roberta_mlm",
    "roberta_model",
    "roberta_classifier",
    "roberta_token_classifier",
    "xlm_roberta_mlm",
];

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/hf")
        .join(name)
}

pub fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A tensor as it stands in a file.
#[derive(Clone)]
pub struct Raw {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Raw {
    pub fn f32(shape: &[usize], values: &[f32]) -> Raw {
        Raw {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }
    /// Integers, as buffers are.
    pub fn i64(shape: &[usize]) -> Raw {
        Raw {
            dtype: Dtype::I64,
            shape: shape.to_vec(),
            bytes: vec![0; 8 * shape.iter().product::<usize>()],
        }
    }
    pub fn values(&self) -> Vec<f32> {
        assert_eq!(self.dtype, Dtype::F32);
        let words = self.bytes.as_chunks::<4>().0.iter();
        words.map(|&b| f32::from_le_bytes(b)).collect()
    }
}

pub type Tensors = Vec<(String, Raw)>;

pub fn read_raw(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Tensors = (file.iter())
        .map(|(name, view)| {
            let raw = Raw {
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                bytes: view.data().to_vec(),
            };
            (name.to_string(), raw)
        })
        .collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    tensors
}

pub fn write_raw(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, raw)| {
        let view = TensorView::new(raw.dtype, raw.shape.clone(), &raw.bytes).unwrap();
        (name.as_str(), view)
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A copy of a fixture's folder, its tensors and configuration changed.
pub fn altered(
    name: &str,
    file: &str,
    tensors: impl FnOnce(&mut Tensors),
    config: impl FnOnce(&mut Value),
) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (weights, description) = match file {
        "model.safetensors" => (file, "config.json"),
        _ => (file, "adapter_config.json"),
    };
    let mut all = read_raw(&fixture(name).join(weights));
    tensors(&mut all);
    write_raw(&dir.path().join(weights), &all);
    let mut value = json(&fixture(name).join(description));
    config(&mut value);
    fs::write(dir.path().join(description), value.to_string()).unwrap();
    dir
}

pub fn model(
    name: &str,
    tensors: impl FnOnce(&mut Tensors),
    config: impl FnOnce(&mut Value),
) -> tempfile::TempDir {
    altered(name, "model.safetensors", tensors, config)
}

pub fn adapter(
    name: &str,
    tensors: impl FnOnce(&mut Tensors),
    config: impl FnOnce(&mut Value),
) -> tempfile::TempDir {
    altered(name, "adapter_model.safetensors", tensors, config)
}

pub fn same(_: &mut Value) {}
pub fn kept(_: &mut Tensors) {}

pub fn get<'a>(tensors: &'a mut Tensors, name: &str) -> &'a mut Raw {
    let found = tensors.iter_mut().find(|(n, _)| n == name);
    &mut found.unwrap_or_else(|| panic!("no {name}")).1
}

/// The model that a checkpoint holds, as it is.
pub fn whole(checkpoint: &Checkpoint) -> Model<'_> {
    let names = checkpoint.names().map(str::to_string);
    Model {
        architecture: checkpoint.architecture().unwrap(),
        config: checkpoint.config.clone(),
        tensors: names
            .map(|name| {
                let array = checkpoint.array(&name).unwrap();
                (name, array)
            })
            .collect(),
        companions: checkpoint.companions().unwrap(),
    }
}

/// The message, of which every part must be there.
pub fn says(error: Error, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "no '{part}' in: {message}");
    }
}

pub fn refused<T>(result: melos::Result<T>) -> Error {
    match result {
        Err(error) => error,
        Ok(_) => panic!("was not refused"),
    }
}

/// As the first releases had it: no prefix, gamma and beta.
pub fn spell_old(family: &str, tensors: &mut Tensors) {
    let formats = models::formats();
    let format = formats.iter().find(|f| f.model_type == family).unwrap();
    for (name, _) in tensors.iter_mut() {
        *name = format.spelled(name, true, true);
    }
}

/// A class of transformers.
pub fn class(name: &str) -> Architecture {
    models::architecture(name).unwrap()
}

pub fn gpt2() -> Layout {
    let base = open(&fixture("gpt2_lm")).unwrap();
    base.layout(class("GPT2LMHeadModel")).unwrap()
}

pub fn config(fields: Value) -> AdapterConfig {
    serde_json::from_value(fields).unwrap()
}
