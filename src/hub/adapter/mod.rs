//! LoRA adapters as PEFT keeps them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! ```text
//! base_model.model.MODULE.lora_A.weight   (R, inputs)
//! base_model.model.MODULE.lora_B.weight   (outputs, R)
//! base_model.model.MODULE.lora_magnitude_vector   (outputs), with DoRA
//! base_model.model.MODULE.weight, .bias   of modules_to_save, and biases that were trained
//! ```
//! The adapted weight is W + s·B·A, s = alpha / R, with DoRA its rows brought to the lengths of the vector. PEFT
//! warns of tensors that it cannot place; here every one must have its place, and every place its tensor.

mod config;
mod labels;
mod matcher;
mod merge;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use config::{ADAPTER_CONFIG, AdapterConfig, Bias, MOST_RANK, Target, Targets};
pub use labels::{AdapterLabels, LABELS};
pub use merge::{Adapted, Stack, adapt, merge, merge_all, merged_weight, stack};

use serde_json::json;

use super::array::Array;
use super::checkpoint::CONFIG;
use super::file::{self, PYTORCH, TensorFile};
use super::format::Layout;
use crate::atomic::NewFolder;
use crate::error::{Error, Result};
use crate::hub::fetch::{local, model_name};
use crate::ops::WeightLayout;

/// The file with an adapter's tensors.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";
const LORA_A: &str = "lora_A.weight";
const LORA_B: &str = "lora_B.weight";
const MAGNITUDE: &str = "lora_magnitude_vector";

/// An opened adapter.
#[derive(Debug)]
pub struct Adapter {
    /// Its folder.
    pub path: PathBuf,
    /// Its configuration.
    pub config: AdapterConfig,
    /// Names of the outputs of its head, where its folder has [`LABELS`].
    pub labels: Option<AdapterLabels>,
    file: TensorFile,
}

/// What one layer gains: its weight is W + scale·B·A, or that with rows of given lengths.
#[derive(Debug, Clone)]
pub struct Update<'a> {
    /// The layer.
    pub target: Target,
    /// (R, inputs)
    pub a: Array<'a>,
    /// (outputs, R)
    pub b: Array<'a>,
    /// (outputs): the lengths of the rows, with DoRA.
    pub magnitude: Option<Array<'a>>,
}

impl Update<'_> {
    /// Its arrays, and what each is called behind the layer's name.
    fn arrays(&self) -> impl Iterator<Item = (&'static str, &Array<'_>)> {
        let pair = [(LORA_A, &self.a), (LORA_B, &self.b)];
        pair.into_iter()
            .chain(self.magnitude.iter().map(|m| (MAGNITUDE, m)))
    }
}

/// An adapter's weights, placed in a model.
#[derive(Debug, Clone, Default)]
pub struct Weights<'a> {
    /// The adapted layers, in the model's order.
    pub updates: Vec<Update<'a>>,
    /// Tensors that take the place of the base's, by canonical name.
    pub whole: BTreeMap<String, Array<'a>>,
    /// What a module saved whole holds of the base besides, through a tied copy; by the base's name.
    pub tied: BTreeMap<String, Array<'a>>,
}

/// Opens an adapter's folder.
///
/// # Errors
/// [`Error::FileMissing`]; [`Error::Folder`] and [`Error::TensorFile`] for a folder that is no LoRA
/// adapter or is damaged.
pub fn read(folder: &Path) -> Result<Adapter> {
    let config = AdapterConfig::read(folder)?;
    let weights = folder.join(ADAPTER_WEIGHTS);
    if !weights.exists() && folder.join("adapter_model.bin").exists() {
        return Err(Error::Folder {
            path: folder.to_path_buf(),
            problem: "has its weights as adapter_model.bin, which is a program and not read here; \
                      load and save it once with PEFT, which writes adapter_model.safetensors"
                .into(),
        });
    }
    Ok(Adapter {
        path: folder.to_path_buf(),
        config,
        labels: labels::read(folder)?,
        file: TensorFile::open(&weights)?,
    })
}

impl Weights<'_> {
    /// Numbers in them: what is trained.
    pub fn elements(&self) -> usize {
        let updates = self.updates.iter().flat_map(Update::arrays);
        updates.map(|(_, array)| array.elements()).sum::<usize>()
            + self.whole.values().map(Array::elements).sum::<usize>()
    }
}

impl Adapter {
    /// The file with its tensors.
    pub fn file(&self) -> &TensorFile {
        &self.file
    }

    /// Its base model's folder: what its configuration names, as a path from where melos runs, or
    /// from the folder that the adapter lies in.
    ///
    /// # Errors
    /// [`Error::Folder`] where it names none, or one that is not there and cannot be fetched.
    pub fn base_folder(&self) -> Result<PathBuf> {
        let missing = |problem: String| Error::folder(&self.path, problem);
        let named = self.config.base_model_name_or_path.as_deref();
        let Some(named) = named.filter(|name| !name.is_empty()) else {
            return Err(missing(
                "is an adapter that does not name its base model; give it with --base DIR".into(),
            ));
        };
        let beside = self.path.parent().map(|parent| parent.join(named));
        let folders = [Some(PathBuf::from(named)), beside];
        // A folder with its configuration, or a GGUF file, which has its own.
        let is_model = |path: &PathBuf| path.is_file() || path.join(CONFIG).exists();
        let folder = folders.into_iter().flatten().find(is_model);
        match folder {
            Some(folder) => Ok(folder),
            None if model_name(Path::new(named)).is_some() => local(Path::new(named)),
            None => Err(missing(format!(
                "is an adapter for the base model '{named}', which is not there; give it with --base DIR"
            ))),
        }
    }

    /// Places every tensor in `model`.
    ///
    /// # Errors
    /// [`Error::Folder`] for a configuration that does not fit the model;
    /// [`Error::TensorFile`] for a tensor that is missing, has no place or the wrong shape: the
    /// adapter belongs to another base model.
    pub fn fit(&self, model: &Layout) -> Result<Weights<'_>> {
        let bad = |name: &str, problem: String| Error::TensorFile {
            file: self.file.path().to_path_buf(),
            tensor: Some(name.to_string()),
            problem,
        };
        let family = model.architecture.format;
        let mut found = BTreeMap::new();
        let mut bare = false;
        for stored in self.file.names() {
            let inner = stored.strip_prefix(PREFIX).ok_or_else(|| {
                bad(
                    &stored,
                    format!("has no place: PEFT's names begin with '{PREFIX}'"),
                )
            })?;
            if inner.contains(".lora_embedding_") {
                return Err(bad(
                    &stored,
                    "adapts an embedding; melos adapts linear layers".into(),
                ));
            }
            bare |= family.is_bare(inner);
            // PEFT moves an adapted layer's own parameters one module down.
            let name = family.canonical(&inner.replace(".base_layer.", "."));
            found.insert(name, stored);
        }
        let tied = self.untie(&mut found, model)?;

        let place = self.path.join(ADAPTER_CONFIG);
        let targets = self.config.targets(model, bare, &place)?;
        let expected = expected_whole(&self.config, model, &targets, &place)?;
        let mut take = |name: &str, shape: &[usize]| {
            let stored = found.remove(name).ok_or_else(|| {
                bad(
                    name,
                    "is missing, which adapter_config.json asks for; the adapter is incomplete or \
                     belongs to another base model"
                        .into(),
                )
            })?;
            let array = self.file.array(&stored)?;
            if array.shape() != shape {
                return Err(bad(
                    &stored,
                    format!(
                        "has shape {:?}, expected {shape:?}; the adapter belongs to another base model",
                        array.shape()
                    ),
                ));
            }
            match array.first_not_finite() {
                None => Ok(array),
                Some(wrong) => Err(bad(
                    &stored,
                    format!(
                        "holds {wrong}, with which nothing can be computed; copy the adapter again, or take one \
                         from before its training diverged"
                    ),
                )),
            }
        };
        let mut weights = Weights {
            tied,
            ..Weights::default()
        };
        for target in targets {
            let name = |part: &str| format!("{}.{part}", target.module);
            let outputs = target.linear.outputs;
            let lengths = || take(&name(MAGNITUDE), &[outputs]);
            weights.updates.push(Update {
                magnitude: (self.config.use_dora.then(lengths)).transpose()?,
                a: take(&name(LORA_A), &[target.rank, target.linear.inputs])?,
                b: take(&name(LORA_B), &[outputs, target.rank])?,
                target,
            });
        }
        for name in expected {
            let shape = model.shape(&name).unwrap_or_default();
            let array = take(&name, shape)?;
            weights.whole.insert(name, array);
        }
        match found.values().next() {
            Some(stored) => Err(bad(
                stored,
                format!(
                    "has no place in a {} with this adapter_config.json; the adapter belongs to \
                     another base model",
                    model.architecture.name()
                ),
            )),
            None => Ok(weights),
        }
    }

    /// Drops copies of tied tensors, which must equal what the adapter has for the original. Returns
    /// those of which it has no original: they must equal the base's.
    fn untie(
        &self,
        found: &mut BTreeMap<String, String>,
        model: &Layout,
    ) -> Result<BTreeMap<String, Array<'_>>> {
        let mut of_the_base = BTreeMap::new();
        for &(copy, original) in model.architecture.format.tied {
            let Some(stored) = found.remove(copy) else {
                continue;
            };
            let own = self.file.array(&stored)?;
            match found.get(original) {
                Some(twin) => self.require_tied(original, &own, &self.file.array(twin)?)?,
                None => {
                    of_the_base.insert(original.to_string(), own);
                }
            }
        }
        Ok(of_the_base)
    }

    /// Refuses a copy that is not as the tensor to which it is tied.
    fn require_tied(&self, original: &str, copy: &Array, twin: &Array) -> Result<()> {
        if twin.shape() == copy.shape() && twin.values() == copy.values() {
            return Ok(());
        }
        Err(Error::TensorFile {
            file: self.file.path().to_path_buf(),
            tensor: Some(original.to_string()),
            problem:
                "has a copy in the adapter that differs from it, though the two are tied; melos \
                      has models whose output layer is the word embedding only"
                    .into(),
        })
    }
}

/// The tensors that an adapter holds whole: of modules_to_save, and the biases.
fn expected_whole(
    config: &AdapterConfig,
    model: &Layout,
    targets: &[Target],
    place: &Path,
) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (name, _) in &model.tensors {
        let (module, parameter) = name.rsplit_once('.').unwrap_or((name, ""));
        let saved = config.saves_whole(module);
        let tied = model.tied().any(|(_, original)| original == name);
        if saved && parameter == "weight" && tied && !config.ensure_weight_tying {
            return Err(Error::Folder {
                path: place.to_path_buf(),
                problem: format!(
                    "has '{module}' in modules_to_save, which PEFT would then train apart from the \
                     output layer; melos keeps the two as one: set ensure_weight_tying"
                ),
            });
        }
        if saved || config.trains_bias(name, targets) {
            names.push(name.clone());
        }
    }
    Ok(names)
}

/// Writes an adapter folder at `target`, in place of any older one; it appears whole or not at all.
///
/// # Errors
/// As [`write()`], and what renaming reports.
pub fn save(
    target: &Path,
    config: &AdapterConfig,
    model: &Layout,
    weights: &Weights,
) -> Result<()> {
    let folder = NewFolder::begin(target)?;
    write(&folder, config, model, weights)?;
    folder.commit()
}

/// Writes an adapter's two files into a folder that is being made, so that PEFT loads them onto
/// `model`: `config` with `target_modules` and `fan_in_fan_out` filled in, and the tensors.
///
/// # Errors
/// [`Error::Folder`] where the weights are not those that `config` asks for in `model`;
/// [`Error::Io`], [`Error::DiskFull`].
pub fn write(
    folder: &NewFolder,
    config: &AdapterConfig,
    model: &Layout,
    weights: &Weights,
) -> Result<()> {
    let place = folder.target().join(ADAPTER_CONFIG);
    let bad = |problem: String| Error::folder(&place, problem);
    config.check(&place)?;
    let (architecture, family) = (model.architecture, model.architecture.format);
    let bare = architecture.is_bare();
    let targets = config.targets(model, bare, &place)?;
    let expected = expected_whole(config, model, &targets, &place)?;
    let updates: Vec<&Target> = weights.updates.iter().map(|u| &u.target).collect();
    let whole: BTreeSet<&String> = weights.whole.keys().collect();
    if targets.iter().ne(updates) || whole != expected.iter().collect() {
        return Err(bad(format!(
            "asks for {} layers and {} whole tensors, others were trained",
            targets.len(),
            expected.len()
        )));
    }

    let mut tensors: Vec<(String, &Array)> = Vec::new();
    for update in &weights.updates {
        let Update {
            target,
            a,
            b,
            magnitude,
        } = update;
        let linear = target.linear;
        let lengths = magnitude.as_ref().map(|m| m.shape().to_vec());
        if lengths != config.use_dora.then(|| vec![linear.outputs]) {
            return Err(bad(format!(
                "asks for lengths of {} rows in '{}' with use_dora, and for none without",
                linear.outputs, target.module
            )));
        }
        if a.shape() != [target.rank, linear.inputs] || b.shape() != [linear.outputs, target.rank] {
            return Err(bad(format!(
                "asks for rank {} in '{}', A has shape {:?} and B {:?}",
                target.rank,
                target.module,
                a.shape(),
                b.shape()
            )));
        }
        let module = family.spelled(&target.module, bare, false);
        let arrays = update.arrays();
        tensors.extend(arrays.map(|(part, array)| (format!("{PREFIX}{module}.{part}"), array)));
    }
    for (copy, original) in config.copies(model, |name| whole.contains(&name.to_string())) {
        let array = (weights.tied.get(original))
            .filter(|array| Some(array.shape()) == model.shape(original))
            .ok_or_else(|| bad(format!("holds a copy of '{original}', which is not given")))?;
        tensors.push((format!("{PREFIX}{copy}"), array));
    }
    for (name, array) in &weights.whole {
        if Some(array.shape()) != model.shape(name) {
            return Err(bad(format!("'{name}' has shape {:?}", array.shape())));
        }
        let (module, parameter) = name.rsplit_once('.').unwrap_or((name, ""));
        let adapted = targets.iter().any(|t| t.module == module);
        let layer = if adapted { ".base_layer" } else { "" };
        let module = family.spelled(module, bare, false);
        tensors.push((format!("{PREFIX}{module}{layer}.{parameter}"), array));
        for (copy, original) in model.tied() {
            if original == name {
                tensors.push((format!("{PREFIX}{copy}"), array));
            }
        }
    }
    folder.file(ADAPTER_WEIGHTS, |out| {
        file::write(out, &tensors, None, PYTORCH)
    })?;

    let mut config = config.clone();
    config.fan_in_fan_out = targets
        .iter()
        .any(|t| t.linear.layout == WeightLayout::InOut);
    config.target_modules.get_or_insert_with(|| {
        // The defaults of PEFT are for its own use: a file says what it means.
        let last = |t: &Target| t.module.rsplit('.').next().unwrap_or_default().to_string();
        let names: BTreeSet<String> = targets.iter().map(last).collect();
        Targets::Names(names.into_iter().collect())
    });
    if config.task_type.is_none() {
        // As PEFT does, where no task says which class to load.
        let class = json!({
            "base_model_class": architecture.name(),
            "parent_library": family.module,
        });
        config.other.insert("auto_mapping".into(), class);
    }
    let text = super::config::text(&config.to_json());
    folder.file(ADAPTER_CONFIG, |out| out.write_all(&text))
}
