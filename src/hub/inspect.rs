//! What a checkpoint or an adapter holds, told without reading its numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::adapter::{self, ADAPTER_CONFIG};
use super::checkpoint::{Checkpoint, open};
use super::format::Format;
use super::gguf::is_gguf;
use super::report::LoadReport;
use super::weights::ElementType;
use crate::error::Result;

/// A checkpoint in figures.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// What was opened.
    pub path: PathBuf,
    /// `model`, `shards`, `file`, `gguf` or `adapter`.
    pub kind: &'static str,
    /// From its configuration.
    pub model_type: Option<String>,
    /// Likewise.
    pub architectures: Vec<String>,
    /// Numbers in all its tensors; buffers and copies of tied tensors are not counted.
    pub parameters: u64,
    /// Bytes in its files for these.
    pub bytes: u64,
    /// Parameters by element type.
    pub dtypes: BTreeMap<String, u64>,
    /// Its tensors, by canonical name.
    pub tensors: Vec<Tensor>,
    /// How it compares with its own class, where melos knows that.
    pub report: Option<LoadReport>,
    /// Why it does not compare: a tensor of the wrong shape, above all.
    pub problem: Option<String>,
    /// What an adapter trains.
    pub adapter: Option<AdapterSummary>,
}

/// One tensor of a [`Summary`].
#[derive(Debug, Clone, Serialize)]
pub struct Tensor {
    /// Canonical name.
    pub name: String,
    /// F32, F16, BF16, Q4_K, …
    pub dtype: String,
    /// Shape.
    pub shape: Vec<usize>,
}

/// An adapter against its base model.
#[derive(Debug, Clone, Serialize)]
pub struct AdapterSummary {
    /// What the adapter says its base is.
    pub base: Option<String>,
    /// Rank, where no pattern says otherwise.
    pub r: usize,
    /// Alpha, likewise.
    pub alpha: f64,
    /// Layers adapted.
    pub layers: usize,
    /// Numbers that are trained: A, B, modules_to_save and biases.
    pub trainable: u64,
    /// The base's and the adapter's together, as PEFT counts; `None` where the base is not known.
    pub all: Option<u64>,
}

impl AdapterSummary {
    /// trainable / all, in percent.
    pub fn share(&self) -> Option<f64> {
        self.all
            .map(|all| 100.0 * self.trainable as f64 / all.max(1) as f64)
    }
}

impl Summary {
    fn new(path: &Path, kind: &'static str) -> Summary {
        Summary {
            path: path.to_path_buf(),
            kind,
            ..Summary::default()
        }
    }

    fn add(&mut self, name: &str, dtype: ElementType, shape: &[usize]) {
        let elements = shape.iter().product::<usize>();
        self.parameters += elements as u64;
        self.bytes += dtype.bytes(elements);
        let dtype = dtype.name();
        *self.dtypes.entry(dtype.clone()).or_default() += elements as u64;
        self.tensors.push(Tensor {
            name: name.to_string(),
            dtype,
            shape: shape.to_vec(),
        });
    }
}

/// Looks at a model folder, shards, a bare file, a GGUF file, or an adapter (`base`: its base model; else the one
/// it names, where that is a folder here).
///
/// # Errors
/// What [`open`], [`adapter::read`] and [`adapter::Adapter::fit`] refuse.
pub fn inspect(path: &Path, base: Option<&Path>, formats: &[&'static Format]) -> Result<Summary> {
    if path.join(ADAPTER_CONFIG).exists() && !path.join("config.json").exists() {
        return inspect_adapter(path, base, formats);
    }
    let checkpoint = open(path, formats)?;
    let kind = match (path.is_dir(), checkpoint.files().count()) {
        _ if is_gguf(path) => "gguf",
        (false, 1) => "file",
        (true, 1) => "model",
        _ => "shards",
    };
    let mut summary = Summary::new(path, kind);
    let config = &checkpoint.config;
    summary.model_type = config["model_type"].as_str().map(String::from);
    let classes = config["architectures"].as_array().into_iter().flatten();
    summary.architectures = classes
        .filter_map(|c| c.as_str().map(String::from))
        .collect();
    for name in checkpoint.names() {
        if let Some(info) = checkpoint.info(name) {
            summary.add(name, info.dtype, info.shape);
        }
    }
    match own_report(&checkpoint) {
        Ok(report) => summary.report = report,
        Err(error) => summary.problem = Some(error.to_string()),
    }
    Ok(summary)
}

fn own_report(checkpoint: &Checkpoint) -> Result<Option<LoadReport>> {
    match checkpoint.architecture() {
        Ok(architecture) if checkpoint.config.is_object() => {
            let layout = checkpoint.layout(architecture)?;
            checkpoint.report(&layout).map(Some)
        }
        _ => Ok(None),
    }
}

fn inspect_adapter(
    path: &Path,
    base: Option<&Path>,
    formats: &[&'static Format],
) -> Result<Summary> {
    let adapter = adapter::read(path)?;
    let mut summary = Summary::new(path, "adapter");
    let file = adapter.file();
    let mut names = file.names();
    names.sort();
    for name in &names {
        if let Some((dtype, shape)) = file.info(name) {
            summary.add(name, ElementType::Plain(dtype), shape);
        }
    }
    let mut figures = AdapterSummary {
        base: adapter.config.base_model_name_or_path.clone(),
        r: adapter.config.r,
        alpha: adapter.config.lora_alpha,
        layers: (names.iter().filter(|n| n.ends_with(".lora_A.weight"))).count(),
        trainable: summary.parameters,
        all: None,
    };
    let base = base.map(Path::to_path_buf);
    if let Some(base) = base.or_else(|| adapter.base_folder().ok()) {
        let adapted = adapter::adapt(&open(&base, formats)?, &adapter)?;
        let weights = &adapted.weights;
        let base: usize = (adapted.layout.tensors.iter())
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        // A bias that is trained is the base's own; a module of modules_to_save is a copy.
        let is_bias = |name: &str| {
            let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
            !adapter.config.saves_whole(module)
        };
        let biases = weights.whole.iter().filter(|(name, _)| is_bias(name));
        let biases: usize = biases.map(|(_, array)| array.elements()).sum();
        figures.trainable = weights.elements() as u64;
        figures.all = Some((base + weights.elements() - biases) as u64);
    }
    summary.adapter = Some(figures);
    Ok(summary)
}
