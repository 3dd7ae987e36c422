//! A model from files, an adapter merged into its base: what training starts from and inference uses.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::family::{Config, Reading, formats, read_config};
use crate::blocks::BlockType;
use crate::error::{Error, Result};
use crate::hub::adapter::{AdapterConfig, Target};
use crate::hub::{
    self, Architecture, Array, Checkpoint, ElementType, Format, Layout, LoadReport, adapter,
};
use crate::nn::{LoraPlan, LoraUpdate, Vars, magnitude_of};
use crate::ops::WeightLayout;
use crate::tensor::{DType, ParamStore};
use crate::text::Tokenizer;
use crate::text::chat::Template;

/// A model from files: its configuration and its tensors by canonical name.
pub struct Pretrained {
    /// The folder that was named.
    pub path: PathBuf,
    /// Its sizes.
    pub config: Box<dyn Config>,
    /// Its class, where it is known.
    pub architecture: Option<Architecture>,
    /// Where the adapter's base stands, for an adapter.
    pub base: Option<PathBuf>,
    /// The adapter's configuration, where it stands beside the base's weights.
    pub adapter: Option<AdapterConfig>,
    /// What adapters that stand beside the base's weights are to a model that is asked.
    pub plan: LoraPlan,
    /// The tensors of such adapters, by their names in a model that is adapted so.
    own: BTreeMap<String, Array<'static>>,
    /// Whether its head is to be left alone.
    headless: bool,
    /// The beginnings of the names that are to be taken over; `None`: all.
    only: Option<Vec<String>>,
    files: Files,
}

/// What belongs to a model beside its own folder.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside<'a> {
    /// Where the base of an adapter's folder stands, if not where the adapter says.
    pub base: Option<&'a Path>,
    /// Adapters that are put on the model, and how much each counts.
    pub adapters: &'a [(PathBuf, f64)],
}

enum Files {
    Model(Checkpoint),
    Merged(BTreeMap<String, Array<'static>>),
}

/// Opens a model folder, a bare `.safetensors` file, one of PyTorch or a GGUF file, of any family; a bare one without
/// a `config.json` has the one that its tensors tell, where they do.
///
/// # Errors
/// As [`hub::open`].
pub fn open(path: &Path) -> Result<Checkpoint> {
    hub::open(path, &formats())
}

/// Whether a folder is a PEFT adapter.
pub fn is_adapter(folder: &Path) -> bool {
    folder.join(adapter::ADAPTER_CONFIG).exists()
}

/// The tokeniser in a model's folder, which is read as the family's models read texts, or in a GGUF file.
///
/// # Errors
/// Those of the tokeniser, of [`read_config`] and of a GGUF file.
pub fn tokenizer_of(folder: &Path, dictionary: Option<&Path>) -> Result<Tokenizer> {
    if hub::gguf::is_gguf(folder) {
        return Tokenizer::of_files(&open(folder)?.companions()?, folder);
    }
    let path = folder.join(hub::CONFIG);
    if is_adapter(folder) || !path.exists() {
        return Tokenizer::open_with(folder, dictionary);
    }
    match read_config(&hub::read_json(&path)?, folder)?.reading() {
        Reading::Rows => Tokenizer::open_with(folder, dictionary),
        Reading::Steps { .. } => Tokenizer::load(folder),
        Reading::Pictures(_) => Tokenizer::of_no_text(),
    }
}

/// The template of a model: in its folder or, for an adapter without one, in that of its base.
///
/// # Errors
/// Those of reading.
pub fn template_of(
    folder: &Path,
    base: Option<&Path>,
    tokenizer: &Tokenizer,
) -> Result<Option<Template>> {
    let own = Template::of_folder(folder, tokenizer)?;
    if own.is_some() || !is_adapter(folder) {
        return Ok(own);
    }
    match base {
        Some(base) => Template::of_folder(base, tokenizer),
        None => Template::of_folder(&adapter::read(folder)?.base_folder()?, tokenizer),
    }
}

/// An adapter, its base's place and its base.
fn with_base(
    folder: &Path,
    base: Option<&Path>,
) -> Result<(adapter::Adapter, PathBuf, Checkpoint)> {
    let adapter = adapter::read(folder)?;
    let base = match base {
        Some(base) => hub::local(base)?,
        None => adapter.base_folder()?,
    };
    let checkpoint = open(&base)?;
    Ok((adapter, base, checkpoint))
}

/// A tensor that outlives the file it comes from.
fn owned(folder: &Path, name: String, array: Array) -> Result<(String, Array<'static>)> {
    let shape = array.shape().to_vec();
    let values = array.into_values();
    let owned = Array::new(&shape, values).ok_or_else(|| Error::TensorFile {
        file: folder.to_path_buf(),
        tensor: Some(name.clone()),
        problem: "has not as many numbers as its shape says".into(),
    })?;
    Ok((name, owned))
}

impl Pretrained {
    /// Opens a model folder, a GGUF file, or an adapter's folder with its base: `base`, or where its configuration says.
    ///
    /// # Errors
    /// Those of [`hub::open`] and [`adapter`]; [`Error::Folder`] where the base is not to be found.
    pub fn open(folder: &Path, base: Option<&Path>) -> Result<Pretrained> {
        if !is_adapter(folder) {
            let checkpoint = open(folder)?;
            return Ok(Pretrained {
                path: folder.to_path_buf(),
                config: read_config(&checkpoint.config, folder)?,
                architecture: checkpoint.architecture().ok(),
                base: None,
                adapter: None,
                plan: LoraPlan::default(),
                own: BTreeMap::new(),
                headless: false,
                only: None,
                files: Files::Model(checkpoint),
            });
        }
        let (adapter, base, checkpoint) = with_base(folder, base)?;
        let (model, _) = adapter::merge(&checkpoint, &adapter)?;
        let config = read_config(&model.config, &base)?;
        let tensors = model.tensors.into_iter();
        let tensors = tensors.map(|(name, array)| owned(folder, name, array));
        Ok(Pretrained {
            path: folder.to_path_buf(),
            config,
            architecture: Some(model.architecture),
            files: Files::Merged(tensors.collect::<Result<_>>()?),
            base: Some(base),
            adapter: None,
            plan: LoraPlan::default(),
            own: BTreeMap::new(),
            headless: false,
            only: None,
        })
    }

    /// Opens an adapter's folder to go on with: its updates stay beside the base's weights, which stay as their file
    /// has them.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_adapted(folder: &Path, base: Option<&Path>) -> Result<Pretrained> {
        let (adapter, base, checkpoint) = with_base(folder, base)?;
        let adapted = adapter::adapt(&checkpoint, &adapter)?;
        let config = read_config(&adapted.config, &base)?;
        let architecture = adapted.layout.architecture;
        let updates = adapted.weights.updates.into_iter().flat_map(|update| {
            let name = |part| format!("{}.{part}", update.target.module);
            let pair = [
                (name("lora_A.weight"), update.a),
                (name("lora_B.weight"), update.b),
            ];
            let lengths = update.magnitude;
            let lengths = lengths.map(|m| (magnitude_of(&update.target.module), m));
            pair.into_iter().chain(lengths)
        });
        let tensors = updates.chain(adapted.weights.whole);
        let own = tensors.map(|(name, array)| owned(folder, name, array));
        Ok(Pretrained {
            path: folder.to_path_buf(),
            config,
            architecture: Some(architecture),
            plan: LoraPlan::default(),
            own: own.collect::<Result<_>>()?,
            adapter: Some(adapter.config),
            files: Files::Model(checkpoint),
            base: Some(base),
            headless: false,
            only: None,
        })
    }

    /// Opens a model to be asked, with adapters beside its weights, which stay as their file has them; without any,
    /// as [`open`](Self::open).
    ///
    /// # Errors
    /// As [`open`](Self::open), and those of [`adapter::stack`].
    pub fn open_beside(folder: &Path, beside: Beside<'_>) -> Result<Pretrained> {
        if beside.adapters.is_empty() {
            return Pretrained::open(folder, beside.base);
        }
        let mut adapters = Vec::new();
        let (checkpoint, base) = if is_adapter(folder) {
            let (own, base, checkpoint) = with_base(folder, beside.base)?;
            adapters.push((own, 1.0));
            (checkpoint, Some(base))
        } else {
            (open(folder)?, None)
        };
        for (path, weight) in beside.adapters {
            adapters.push((adapter::read(path)?, *weight));
        }
        let all: Vec<_> = adapters.iter().map(|(a, weight)| (a, *weight)).collect();
        let stack = adapter::stack(&checkpoint, all[0], &all[1..])?;
        let mut plan = LoraPlan {
            dora: adapters.iter().any(|(a, _)| a.config.use_dora),
            ..LoraPlan::default()
        };
        let mut own = BTreeMap::new();
        let mut keep = |name: String, array| -> Result<()> {
            let (name, array) = owned(folder, name, array)?;
            own.insert(name, array);
            Ok(())
        };
        for (n, update) in (stack.updates.into_iter().enumerate())
            .flat_map(|(n, updates)| updates.into_iter().map(move |update| (n, update)))
        {
            let Target {
                module,
                linear,
                rank,
                scale,
            } = update.target;
            // Of several each is a part, and all parts are of all outputs.
            let part = (all.len() > 1).then(|| (n.to_string(), 0..linear.outputs));
            let update_of = LoraUpdate {
                rank,
                scale: scale as f32,
                dropout: 0.0,
                part,
            };
            let [a, b] = update_of.names(&module);
            keep(a, update.a)?;
            keep(b, update.b)?;
            if let Some(lengths) = update.magnitude {
                keep(magnitude_of(&module), lengths)?;
            }
            plan.modules.entry(module).or_default().push(update_of);
        }
        for (name, array) in stack.whole {
            keep(name, array)?;
        }
        Ok(Pretrained {
            path: folder.to_path_buf(),
            config: read_config(&stack.config, folder)?,
            architecture: Some(stack.layout.architecture),
            base,
            adapter: None,
            plan,
            own,
            headless: false,
            only: None,
            files: Files::Model(checkpoint),
        })
    }

    /// The same without its head, whose outputs mean something else.
    #[must_use]
    pub fn without_head(mut self) -> Pretrained {
        self.headless = true;
        self
    }

    /// The same with nothing but the tensors whose names begin so.
    #[must_use]
    pub fn only(mut self, parts: Vec<String>) -> Pretrained {
        self.only = Some(parts);
        self
    }

    /// Whether a tensor of this name may be taken over, where it has one.
    pub fn has_part(&self, name: &str) -> bool {
        let parts = self.only.as_ref();
        parts.is_none_or(|parts| parts.iter().any(|part| name.starts_with(part)))
    }

    /// The names of its outputs, where its head is taken over and has some.
    pub fn labels(&self) -> Option<Vec<String>> {
        let class = self.architecture.filter(|_| self.only.is_none())?;
        class
            .head()
            .has_labels()
            .then(|| self.config.labels().names())
    }

    /// How its tensors compare with those of a model. A head of other labels counts as missing.
    ///
    /// # Errors
    /// As [`Checkpoint::report`].
    pub fn report(&self, model: &Layout) -> Result<LoadReport> {
        let is_head = |name: &str| model.architecture.format.is_head(name);
        match &self.files {
            Files::Model(checkpoint) => {
                let other = |name: &str, shape: &[usize]| {
                    let found = checkpoint.info(name);
                    let resized = found.is_some_and(|info| info.shape != shape);
                    is_head(name) && (self.headless || resized) || !self.has_part(name)
                };
                // What an adapter brings its base need not have.
                let brought = |name: &str, shape: &[usize]| {
                    let own = self.own.get(name);
                    own.is_some_and(|array| array.shape() == shape)
                        && !(self.headless && is_head(name))
                };
                let mut layout = model.clone();
                layout.tensors.retain(|(name, shape)| !brought(name, shape));
                let resized: Vec<String> = (layout.tensors.iter())
                    .filter(|(name, shape)| other(name, shape))
                    .map(|(name, _)| name.clone())
                    .collect();
                layout.tensors.retain(|(name, _)| !resized.contains(name));
                let mut report = checkpoint.report(&layout)?;
                report
                    .unexpected
                    .retain(|name| !resized.contains(name) && !self.own.contains_key(name));
                report.missing.extend(resized);
                Ok(report)
            }
            Files::Merged(tensors) => {
                let missing = model.tensors.iter().filter(|(name, shape)| {
                    let other = tensors.get(name).is_none_or(|a| a.shape() != shape);
                    other || (self.headless && is_head(name)) || !self.has_part(name)
                });
                let missing: Vec<String> = missing.map(|(name, _)| name.clone()).collect();
                let unexpected = tensors.keys().filter(|name| model.shape(name).is_none());
                Ok(LoadReport {
                    unexpected: unexpected.cloned().collect(),
                    missing,
                    ..LoadReport::default()
                })
            }
        }
    }

    /// Whether it has a tensor of this name and shape.
    pub fn has(&self, name: &str, shape: &[usize]) -> bool {
        if let Some(array) = self.own.get(name) {
            return array.shape() == shape;
        }
        match &self.files {
            Files::Model(checkpoint) => checkpoint.info(name).is_some_and(|i| i.shape == shape),
            Files::Merged(tensors) => tensors.get(name).is_some_and(|a| a.shape() == shape),
        }
    }

    fn values(&self, name: &str) -> Result<Vec<f32>> {
        if let Some(array) = self.own.get(name) {
            return Ok(array.values().into_owned());
        }
        match &self.files {
            Files::Model(checkpoint) => checkpoint.values(name),
            Files::Merged(tensors) => {
                let array = tensors.get(name).ok_or_else(|| Error::TensorFile {
                    file: self.path.clone(),
                    tensor: Some(name.into()),
                    problem: "is missing".into(),
                })?;
                Ok(array.values().into_owned())
            }
        }
    }

    /// The matrices of a model that can be held in blocks, with what they are held in: `base`, or else what
    /// their file has them in.
    pub fn packed(
        &self,
        vars: &Vars,
        format: &Format,
        base: Option<BlockType>,
    ) -> BTreeMap<String, BlockType> {
        let linears = vars.linears().into_iter();
        let rows = linears.filter(|(_, shape)| shape.layout == WeightLayout::OutIn);
        let mut able: BTreeSet<String> = rows.map(|(name, _)| format!("{name}.weight")).collect();
        able.extend(format.vocabulary.iter().map(|name| (*name).to_string()));
        let kind_of = |name: &str| match &self.files {
            Files::Model(checkpoint) => match checkpoint.info(name)?.dtype {
                ElementType::Packed(kind) => Some(kind).filter(|k| k.float_type().is_none()),
                ElementType::Plain(_) => None,
            },
            Files::Merged(_) => None,
        };
        let specs = vars.specs().into_iter();
        let kinds = specs.filter(|spec| able.contains(&spec.name)).map(|spec| {
            let kind = base.or_else(|| kind_of(&spec.name));
            let whole = |kind: &BlockType| spec.shape.last().is_multiple_of(kind.row_unit());
            (spec.name.clone(), kind.filter(whole))
        });
        kinds
            .filter_map(|(name, kind)| Some((name, kind?)))
            .collect()
    }

    /// A tensor's blocks, where the file has it in blocks of this kind.
    fn blocks(&self, name: &str, kind: BlockType) -> Result<Option<Cow<'_, [u8]>>> {
        let Files::Model(checkpoint) = &self.files else {
            return Ok(None);
        };
        let found = checkpoint.blocks(name)?.filter(|(found, _)| *found == kind);
        Ok(found.map(|(_, bytes)| bytes))
    }

    /// Whether it has the parameter `name` of a model of which it lacks `missing`; a new adapter's it never has.
    pub fn brings(&self, name: &str, missing: &[String]) -> bool {
        let new = name.contains(".lora_") && !self.own.contains_key(name);
        !new && !missing.iter().any(|m| m == name)
    }

    /// Overwrites the parameters of `store` that it has, those but `missing`; the others stay as they
    /// began.
    ///
    /// # Errors
    /// Those of reading; [`Error::TensorFile`] for a number that is not finite.
    pub fn load(&self, store: &ParamStore, missing: &[String]) -> Result<()> {
        for spec in store
            .specs()
            .filter(|spec| self.brings(&spec.name, missing))
        {
            let tensor = store.get(&spec.name)?;
            let check = |wrong: Option<f32>| match wrong {
                Some(wrong) => Err(Error::TensorFile {
                    file: self.path.clone(),
                    tensor: Some(spec.name.clone()),
                    problem: format!(
                        "holds {wrong}, with which nothing can be computed; copy the model again, or \
                         take one from before its training diverged"
                    ),
                }),
                None => Ok(()),
            };
            if let DType::Packed(kind) = tensor.dtype()
                && !self.own.contains_key(&spec.name)
                && let Some(blocks) = self.blocks(&spec.name, kind)?
            {
                check(kind.not_finite(&blocks))?;
                tensor.write_blocks(&blocks)?;
                continue;
            }
            let values = self.values(&spec.name)?;
            check(values.iter().copied().find(|x| !x.is_finite()))?;
            tensor.write_rounded(&spec.to_held(values))?;
        }
        Ok(())
    }
}
