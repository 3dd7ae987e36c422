//! A model on disk: a Hugging Face folder (one file or shards), a bare safetensors file, or a GGUF file.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::array::{Array, FloatType};
use super::config::without_quantisation;
use super::file::TensorFile;
use super::format::{Architecture, Format, Head, Layout, detect, known};
use super::gguf::{BlockType, GgufModel, is_gguf};
use super::report::{Ignored, LoadReport, Renamed};
use super::shards::open_shards;
use super::torch::{TorchFile, is_torch};
use super::weights::{ElementType, Weights};
use crate::bounded;
use crate::error::{Error, Result};

/// The file that one-file models are in.
pub const WEIGHTS: &str = "model.safetensors";
/// The list of a sharded model's files.
pub const INDEX: &str = "model.safetensors.index.json";
/// The file that one-file models of PyTorch are in.
pub const TORCH_WEIGHTS: &str = "pytorch_model.bin";
/// The list of a sharded one's files.
pub const TORCH_INDEX: &str = "pytorch_model.bin.index.json";
/// How long the texts are that a model of sentence-transformers reads.
pub const SENTENCE_LIMITS: &str = "sentence_bert_config.json";
/// A model's configuration.
pub const CONFIG: &str = "config.json";

/// A model's card: what it is, and what it scored.
pub const CARD: &str = "README.md";

/// Files that stand beside the weights and belong to the same model: tokenisers, and how to use
/// it. Paths within the folder.
pub const COMPANIONS: &[&str] = &[
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "modules.json",
    SENTENCE_LIMITS,
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
];

/// An opened model: its tensors by canonical name, mapped, converted when they are asked for.
#[derive(Debug)]
pub struct Checkpoint {
    /// The folder, or the file where a bare one was opened.
    pub path: PathBuf,
    /// `config.json`; null where a bare file has none beside it.
    pub config: Value,
    /// Whose names it uses.
    pub format: &'static Format,
    /// The families that it was opened among.
    formats: Vec<&'static Format>,
    files: Vec<Weights>,
    tensors: BTreeMap<String, Place>,
    renamed: Vec<Renamed>,
    ignored: Vec<Ignored>,
}

#[derive(Debug)]
struct Place {
    file: usize,
    stored: String,
}

/// One tensor of a [`Checkpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorInfo<'a> {
    /// Its name in the file.
    pub stored: &'a str,
    /// Its element type in the file.
    pub dtype: ElementType,
    /// Its shape.
    pub shape: &'a [usize],
}

/// Opens a Hugging Face folder or a bare `.safetensors` file (with the `config.json` beside it) of a
/// family among `formats`, or of none; or a GGUF file of one of them.
///
/// # Errors
/// [`Error::FileMissing`]; [`Error::Folder`] for a folder that is no model, a missing shard, a
/// shard that its index does not describe; [`Error::TensorFile`] for a damaged file.
pub fn open(path: &Path, formats: &[&'static Format]) -> Result<Checkpoint> {
    if path.is_dir() {
        return open_folder(path, formats);
    }
    if is_gguf(path) {
        let model = GgufModel::open(path, formats)?;
        let config = model.config().clone();
        return Checkpoint::new(path, config, vec![Weights::Gguf(model)], formats);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().unwrap_or(Path::new(""));
    if name == INDEX {
        return open_folder(folder, formats);
    }
    if name == TORCH_INDEX {
        return open_folder(folder, formats);
    }
    let files = match is_torch(path) {
        true => vec![Weights::Torch(TorchFile::open(path)?)],
        false => Weights::of(vec![TensorFile::open(path)?])?,
    };
    let config = folder.join(CONFIG);
    let config = if config.exists() {
        read_json(&config)?
    } else {
        Value::Null
    };
    Checkpoint::new(path, config, files, formats)
}

fn open_folder(folder: &Path, formats: &[&'static Format]) -> Result<Checkpoint> {
    let bad = |problem: &str| Error::folder(folder, problem);
    let config = folder.join(CONFIG);
    if !config.exists() {
        return Err(bad(if folder.join("adapter_config.json").exists() {
            "is a LoRA adapter and no model by itself; name its base model here, or make one model \
             of the two with `melos merge BASE ADAPTER OUT`"
        } else {
            "is no model folder (it has no config.json)"
        }));
    }
    let config = read_json(&config)?;
    let has = |name| folder.join(name).exists();
    let files = if has(WEIGHTS) {
        Weights::of(vec![TensorFile::open(&folder.join(WEIGHTS))?])?
    } else if has(INDEX) {
        Weights::of(open_shards(folder, INDEX)?)?
    } else if has(TORCH_WEIGHTS) {
        vec![Weights::Torch(TorchFile::open(
            &folder.join(TORCH_WEIGHTS),
        )?)]
    } else if has(TORCH_INDEX) {
        let shards = open_shards::<TorchFile>(folder, TORCH_INDEX)?;
        shards.into_iter().map(Weights::Torch).collect()
    } else {
        return Err(bad(without_weights()));
    };
    Checkpoint::new(folder, config, files, formats)
}

/// Whether a folder has weights in a form that is read.
pub fn has_weights(folder: &Path) -> bool {
    let mut all = [WEIGHTS, INDEX, TORCH_WEIGHTS, TORCH_INDEX].into_iter();
    all.any(|name| folder.join(name).exists())
}

/// What is wrong with a folder that has a `config.json` and no weights in a form that is read.
pub fn without_weights() -> &'static str {
    "has neither model.safetensors nor model.safetensors.index.json nor pytorch_model.bin; copy the weights into it"
}

/// Reads a JSON file.
///
/// # Errors
/// [`Error::FileMissing`], [`Error::Io`], or [`Error::Folder`] where it is not JSON.
pub fn read_json(path: &Path) -> Result<Value> {
    let text = bounded::read(path, bounded::SETTINGS)?;
    bounded::json(&text)
        .map_err(|e| Error::folder(path, format!("is not JSON: {e}; copy it again")))
}

/// Completes a configuration that does not say what model it is of by what the tensors look like.
fn tell_by_shapes(config: &mut Value, files: &[Weights], formats: &[&'static Format]) {
    if config["model_type"].is_string() || config["architectures"].is_array() {
        return;
    }
    let names: Vec<(&Weights, String)> = (files.iter())
        .flat_map(|file| file.names().into_iter().map(move |name| (file, name)))
        .collect();
    let shapes: BTreeMap<&str, &[usize]> = (names.iter())
        .filter_map(|(file, name)| Some((name.as_str(), file.info(name)?.1)))
        .collect();
    let told = formats.iter().find_map(|format| format.shaped?(&shapes));
    if let Some(Value::Object(mut told)) = told {
        told.extend(config.as_object().cloned().unwrap_or_default());
        *config = Value::Object(told);
    }
}

impl Checkpoint {
    fn new(
        path: &Path,
        mut config: Value,
        files: Vec<Weights>,
        formats: &[&'static Format],
    ) -> Result<Checkpoint> {
        without_quantisation(&mut config);
        tell_by_shapes(&mut config, &files, formats);
        let stored: Vec<(usize, String)> = (files.iter().enumerate())
            .flat_map(|(n, file)| file.names().into_iter().map(move |name| (n, name)))
            .collect();
        let names = stored.iter().map(|(_, name)| name.as_str());
        let format = detect(&config, names, formats);
        let mut checkpoint = Checkpoint {
            path: path.to_path_buf(),
            config,
            format,
            formats: formats.to_vec(),
            files,
            tensors: BTreeMap::new(),
            renamed: Vec::new(),
            ignored: Vec::new(),
        };
        for (file, stored) in stored {
            let name = format.canonical(&stored);
            if format.is_buffer(&name) {
                checkpoint.ignore(stored, "a buffer that follows from the configuration");
            } else if let Some(twin) = checkpoint.tensors.get(&name) {
                return Err(Error::TensorFile {
                    file: checkpoint.files[file].path().to_path_buf(),
                    problem: format!(
                        "stands for '{name}', and so does '{}'; keep one of them",
                        twin.stored
                    ),
                    tensor: Some(stored),
                });
            } else {
                checkpoint.tensors.insert(name, Place { file, stored });
            }
        }
        checkpoint.untie()?;
        checkpoint.renamed = (checkpoint.tensors.iter())
            .filter(|(name, place)| **name != place.stored)
            .map(|(name, place)| Renamed {
                from: place.stored.clone(),
                to: name.clone(),
            })
            .collect();
        Ok(checkpoint)
    }

    fn ignore(&mut self, name: String, reason: impl Into<String>) {
        let reason = reason.into();
        self.ignored.push(Ignored { name, reason });
    }

    /// Drops copies of tied tensors; one that differs from its original stays.
    fn untie(&mut self) -> Result<()> {
        // An output layer of its own may begin as a copy.
        let untied = self.config["tie_word_embeddings"] == false;
        for &(copy, original) in self.format.tied {
            let own = untied && self.format.vocabulary.contains(&original);
            if own || !self.tensors.contains_key(copy) {
                continue;
            }
            if !self.tensors.contains_key(original) {
                if let Some(place) = self.tensors.remove(copy) {
                    self.tensors.insert(original.to_string(), place);
                }
                continue;
            }
            let (a, b) = (self.array(copy)?, self.array(original)?);
            let same = a.shape() == b.shape() && a.bytes(b.float_type()) == b.bytes(b.float_type());
            if same && let Some(place) = self.tensors.remove(copy) {
                self.ignore(
                    place.stored,
                    format!("equals {original}, to which it is tied"),
                );
            }
        }
        Ok(())
    }

    /// Canonical names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// What is known of a tensor without reading it.
    pub fn info(&self, name: &str) -> Option<TensorInfo<'_>> {
        let place = self.tensors.get(name)?;
        let (dtype, shape) = self.files[place.file].info(&place.stored)?;
        Some(TensorInfo {
            stored: &place.stored,
            dtype,
            shape,
        })
    }

    /// A tensor, not yet converted.
    ///
    /// # Errors
    /// [`Error::TensorFile`] where there is none of that name or it holds no floats.
    pub fn array(&self, name: &str) -> Result<Array<'_>> {
        let place = self.tensors.get(name).ok_or_else(|| Error::TensorFile {
            file: self.path.clone(),
            tensor: Some(name.to_string()),
            problem: "is missing; the file belongs to another model".into(),
        })?;
        self.files[place.file].array(&place.stored)
    }

    /// A tensor's numbers as f32.
    ///
    /// # Errors
    /// As [`array`](Self::array).
    pub fn values(&self, name: &str) -> Result<Vec<f32>> {
        Ok(self.array(name)?.into_values())
    }

    /// A tensor's blocks, row after row, where its file holds it in such.
    ///
    /// # Errors
    /// [`Error::TensorFile`] for a damaged file.
    pub fn blocks(&self, name: &str) -> Result<Option<(BlockType, Cow<'_, [u8]>)>> {
        match self.tensors.get(name) {
            Some(place) => self.files[place.file].blocks(&place.stored),
            None => Ok(None),
        }
    }

    /// The files with the weights.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(Weights::path)
    }

    /// The element type that most of the weights have.
    pub fn float_type(&self) -> FloatType {
        let mut counts = BTreeMap::new();
        for name in self.names() {
            if let Some(info) = self.info(name)
                && let Some(dtype) = info.dtype.float_type()
            {
                *counts.entry(dtype).or_insert(0) += info.shape.iter().product::<usize>();
            }
        }
        let most = counts.into_iter().max_by_key(|&(_, count)| count);
        most.map_or(FloatType::F32, |(dtype, _)| dtype)
    }

    /// The model's class: what `architectures` says, else what the tensors look like.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for a class that melos does not have; [`Error::Folder`] where nothing
    /// can be told.
    pub fn architecture(&self) -> Result<Architecture> {
        if let Some(name) = self.config["architectures"][0].as_str() {
            let base = self.format.class(Head::Base);
            return Architecture::named(name, &self.formats).map_err(|error| match base {
                None => error,
                Some(base) => Error::folder(
                    &self.path,
                    format!(
                        "is a {name}, a class that melos does not have; `melos convert --as {}` takes the \
                         model without its head (`melos train --init` does so by itself)",
                        base.name()
                    ),
                ),
            });
        }
        let has = |name: &str| self.tensors.contains_key(name);
        let told = (self.format.told)(&self.config).and_then(|head| self.format.class(head));
        told.or_else(|| self.format.guess(has))
            .ok_or_else(|| Error::Folder {
                path: self.path.clone(),
                problem: format!(
                    "is no model that melos knows (model_type {}); it knows {}",
                    self.config["model_type"].as_str().unwrap_or("not given"),
                    known(&self.formats)
                ),
            })
    }

    /// Where its configuration stands, for messages.
    pub fn config_path(&self) -> PathBuf {
        if is_gguf(&self.path) {
            return self.path.clone();
        }
        self.folder().join(CONFIG)
    }

    fn folder(&self) -> &Path {
        if self.path.is_dir() {
            &self.path
        } else {
            self.path.parent().unwrap_or(Path::new(""))
        }
    }

    /// The tensors that `architecture` has with this configuration's sizes.
    ///
    /// # Errors
    /// As [`Architecture::layout`].
    pub fn layout(&self, architecture: Architecture) -> Result<Layout> {
        architecture.layout(&self.config, &self.config_path())
    }

    /// Compares the checkpoint with a model.
    ///
    /// # Errors
    /// [`Error::TensorFile`] for a tensor of another shape (another vocabulary above all), for an
    /// output layer that should be tied to the word embeddings and differs from them.
    pub fn report(&self, model: &Layout) -> Result<LoadReport> {
        let mut report = LoadReport {
            renamed: self.renamed.clone(),
            ignored: self.ignored.clone(),
            ..LoadReport::default()
        };
        let mut known = BTreeSet::new();
        for (name, shape) in &model.tensors {
            known.insert(name.as_str());
            match self.info(name) {
                None => report.missing.push(name.clone()),
                Some(info) if info.shape != shape => {
                    let problem = self.format.wrong_shape(name, shape, info.shape);
                    return Err(self.bad(name, problem));
                }
                Some(_) => {}
            }
        }
        for name in self.names().filter(|name| !known.contains(name)) {
            if let Some((_, original)) = model.tied().find(|(copy, _)| *copy == name) {
                let problem = format!(
                    "differs from '{original}'; melos has models whose output layer is the word \
                     embedding only, and this one's is not"
                );
                return Err(self.bad(name, problem));
            }
            report.unexpected.push(name.to_string());
        }
        Ok(report)
    }

    fn bad(&self, name: &str, problem: String) -> Error {
        let place = self.tensors.get(name);
        Error::TensorFile {
            file: place.map_or(self.path.clone(), |p| {
                self.files[p.file].path().to_path_buf()
            }),
            tensor: Some(name.to_string()),
            problem,
        }
    }

    /// The files beside the weights that go with the model wherever it goes: name and content. A GGUF file
    /// has its tokeniser's in itself.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::TensorFile`] for a tokeniser of a GGUF file that is not supported.
    pub fn companions(&self) -> Result<Vec<(String, Vec<u8>)>> {
        if let [Weights::Gguf(file)] = &self.files[..] {
            return file.companions();
        }
        let found = COMPANIONS.iter().map(|name| self.beside(name));
        Ok(found
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect())
    }

    /// A file beside the weights, by its name, where there is one: name and content.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn beside(&self, name: &str) -> Result<Option<(String, Vec<u8>)>> {
        if is_gguf(&self.path) {
            return Ok(None);
        }
        let path = self.folder().join(name);
        if !path.exists() {
            return Ok(None);
        }
        let bytes = bounded::read(&path, bounded::TOKENIZER)?;
        Ok(Some((name.to_string(), bytes)))
    }
}
