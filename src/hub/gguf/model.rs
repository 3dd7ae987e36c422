//! A GGUF file as what a model's folder has: its tensors by their canonical names, `config.json`, the
//! tokeniser's files.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::family::{Gguf, Placed, in_order, reordered, transposed};
use super::file::GgufFile;
use super::tokenizer;
use crate::blocks::BlockType;
use crate::error::Result;
use crate::hub::array::Array;
use crate::hub::format::{Format, Head};

const ARCHITECTURE: &str = "general.architecture";
/// The tensor with a row for each token.
const WORDS: &str = "token_embd.weight";

/// A GGUF file of a family that melos knows.
pub(crate) struct GgufModel {
    file: GgufFile,
    names: &'static Gguf,
    config: Value,
    tensors: BTreeMap<String, Tensor>,
}

struct Tensor {
    stored: String,
    shape: Vec<usize>,
    change: Change,
}

/// What is to be done to a tensor's numbers.
enum Change {
    Nothing,
    Transpose,
    Rows(Vec<usize>),
    LessOne,
}

impl std::fmt::Debug for GgufModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.path().display(), self.names.architecture)
    }
}

impl GgufModel {
    /// Opens a model of one of these families.
    ///
    /// # Errors
    /// Those of [`GgufFile::open`]; [`crate::Error::TensorFile`] for an architecture that none of them has, a
    /// part of a model, metadata that is missing, a tensor that the architecture does not have.
    pub(crate) fn open(path: &Path, formats: &[&'static Format]) -> Result<GgufModel> {
        let file = GgufFile::open(path)?;
        let kind = file.text(ARCHITECTURE)?;
        let kind = kind.ok_or_else(|| file.lacks(ARCHITECTURE))?;
        let told = formats.iter().filter_map(|f| Some((*f, f.gguf?)));
        let Some((format, names)) = told.clone().find(|(_, names)| names.architecture == kind)
        else {
            let mut known: Vec<&str> = told.map(|(_, names)| names.architecture).collect();
            known.dedup();
            let known = known.join(", ");
            let problem = format!("is a model of the architecture '{kind}'; melos has {known}");
            return Err(file.bad(problem));
        };
        if let Some(parts @ 2..) = file.whole("split.count")? {
            let problem = format!(
                "is one of the {parts} parts of a model; make one file of them with llama.cpp's \
                 `llama-gguf-split --merge`"
            );
            return Err(file.bad(problem));
        }
        if file
            .text("general.type")?
            .is_some_and(|what| what != "model")
        {
            return Err(file.bad("is no model by itself; name the file of its base model"));
        }
        let tensors = tensors(&file, names)?;
        let config = config(&file, format, names)?;
        Ok(GgufModel {
            file,
            names,
            config,
            tensors,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// As `config.json`.
    pub(crate) fn config(&self) -> &Value {
        &self.config
    }

    /// Canonical names, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    /// How a tensor is packed, and its shape as in safetensors.
    pub(crate) fn info(&self, name: &str) -> Option<(BlockType, &[usize])> {
        let tensor = self.tensors.get(name)?;
        let stored = self.file.tensor_info(&tensor.stored)?;
        Some((stored.kind, &tensor.shape))
    }

    /// A tensor's numbers.
    ///
    /// # Errors
    /// [`crate::Error::TensorFile`] where it is not there.
    pub(crate) fn array(&self, name: &str) -> Result<Array<'_>> {
        let tensor = self.tensors.get(name);
        let tensor = tensor.ok_or_else(|| self.file.tensor(name, "is not in the file"))?;
        let (kind, bytes) = self.file.blocks(&tensor.stored)?;
        if let (Some(float), Change::Nothing) = (kind.float_type(), &tensor.change) {
            return Ok(Array::stored(&tensor.shape, float, bytes));
        }
        let mut values = kind.dequantise(bytes);
        match &tensor.change {
            Change::Nothing => {}
            // The file's columns are the rows of safetensors.
            Change::Transpose => values = transposed(&values, tensor.shape[0]),
            Change::Rows(order) => values = reordered(&values, order),
            Change::LessOne => values.iter_mut().for_each(|x| *x -= 1.0),
        }
        Ok(Array::whole(&tensor.shape, values))
    }

    /// A tensor's blocks, row after row as in safetensors; `None` where its numbers do not stand in such rows
    /// or it has none of that name.
    ///
    /// # Errors
    /// [`crate::Error::TensorFile`] for a damaged file.
    pub(crate) fn blocks(&self, name: &str) -> Result<Option<(BlockType, Cow<'_, [u8]>)>> {
        let Some(tensor) = self.tensors.get(name) else {
            return Ok(None);
        };
        let order = match &tensor.change {
            Change::Nothing => None,
            Change::Rows(order) => Some(&order[..]),
            Change::Transpose | Change::LessOne => return Ok(None),
        };
        let (kind, bytes) = self.file.blocks(&tensor.stored)?;
        Ok(Some((kind, in_order(bytes, order))))
    }

    /// `tokenizer.json` and `tokenizer_config.json`, where the file has a tokeniser.
    ///
    /// # Errors
    /// [`crate::Error::TensorFile`] for one that is not supported.
    pub(crate) fn companions(&self) -> Result<Vec<(String, Vec<u8>)>> {
        tokenizer::read(&self.file, self.names.spaces)
    }
}

fn tensors(file: &GgufFile, names: &'static Gguf) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    for stored in file.names().filter(|name| !names.ignored.contains(name)) {
        let Some((name, placed)) = names.canonical(stored) else {
            let problem = format!(
                "is none that a {} of melos has; the model would be another without it",
                names.architecture
            );
            return Err(file.tensor(stored, &problem));
        };
        let Some(info) = file.tensor_info(stored) else {
            continue;
        };
        let change = match placed {
            Placed::Same => Change::Nothing,
            Placed::PlusOne => Change::LessOne,
            Placed::Transposed if info.shape.len() == 2 => Change::Transpose,
            Placed::Transposed => return Err(file.tensor(stored, "is no matrix; copy it again")),
            Placed::Paired(key) => {
                let key = names.key(key);
                let heads = file.whole(&key)?.ok_or_else(|| file.lacks(&key))?;
                let rows = info.shape.first().copied().unwrap_or(1);
                let order = placed.rows(rows, heads, false).ok_or_else(|| {
                    let problem = format!("has {rows} rows, which are no {heads} heads ({key})");
                    file.tensor(stored, &problem)
                })?;
                Change::Rows(order)
            }
        };
        let tensor = Tensor {
            stored: stored.to_string(),
            shape: placed.shape(&info.shape),
            change,
        };
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

fn config(file: &GgufFile, format: &'static Format, names: &'static Gguf) -> Result<Value> {
    let mut config = names.numbers(file)?;
    config.insert("model_type".into(), json!(format.model_type));
    if let Some(class) = format.class(Head::CausalLm) {
        config.insert("architectures".into(), json!([class.name()]));
    }
    let words = file.tensor_info(WORDS).and_then(|t| t.shape.first());
    let words = words.ok_or_else(|| file.tensor(WORDS, "is not in the file; copy it again"))?;
    config.insert("vocab_size".into(), json!(words));
    let own = file.tensor_info("output.weight").is_some();
    config.insert("tie_word_embeddings".into(), json!(!own));
    for (key, id) in [
        ("bos_token_id", tokenizer::BOS),
        ("eos_token_id", tokenizer::EOS),
        ("pad_token_id", tokenizer::PAD),
    ] {
        config.insert(key.into(), json!(file.whole(id)?));
    }
    (names.read)(file, &mut config)?;
    Ok(config.into())
}
