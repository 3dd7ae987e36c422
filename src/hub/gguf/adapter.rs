//! LoRA adapters as GGUF files, as llama.cpp's `convert_lora_to_gguf.py` writes them: beside each tensor NAME of
//! the base that is adapted, NAME.lora_a (R, I) and NAME.lora_b (O, R), and one alpha for all. Readers multiply
//! by alpha / R; what PEFT multiplies by besides (ranks and alphas of some layers, rank-stabilised ones) goes
//! into lora_b.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::export::paired;
use super::family::{Gguf, Placed, reordered};
use super::file::GgufFile;
use super::write::{Head as Tensor, Meta, write};
use crate::atomic::write_file_with;
use crate::blocks::BlockType;
use crate::error::{Error, Result};
use crate::hub::adapter::{self, Adapter, AdapterConfig, Targets, Update, Weights, adapt};
use crate::hub::array::Array;
use crate::hub::checkpoint::Checkpoint;
use crate::hub::config;
use crate::hub::format::Head;
use crate::nn::LinearShape;

const TYPE: &str = "general.type";
const KIND: &str = "adapter.type";
const ALPHA: &str = "adapter.lora.alpha";
const PARTS: [&str; 2] = [".lora_a", ".lora_b"];

fn names_of(base: &Checkpoint) -> Result<&'static Gguf> {
    base.format.gguf.ok_or_else(|| {
        let kind = base.config["model_type"].as_str().unwrap_or("model");
        Error::folder(
            &base.path,
            format!("is a {kind}, which llama.cpp has no adapters for"),
        )
    })
}

/// The order of the rows of a tensor's lora_b.
fn order(
    base: &Checkpoint,
    names: &Gguf,
    placed: Placed,
    linear: LinearShape,
) -> Result<Option<[Vec<usize>; 2]>> {
    let Placed::Paired(key) = placed else {
        return Ok(None);
    };
    let bad = |problem| Error::folder(&base.path, problem);
    let class = base.format.class(Head::CausalLm);
    let class = class.ok_or_else(|| bad("does not write on".into()))?;
    let config = config::complete(&base.config, class, base.float_type());
    let told = (names.write)(&config).map_err(bad)?;
    let order = |into_file| {
        paired(
            names,
            &config,
            &told,
            key,
            placed,
            (linear.outputs, into_file),
        )
        .map_err(bad)
    };
    Ok(Some([order(false)?, order(true)?]))
}

/// Writes an adapter of `base` as a GGUF file at `out`.
///
/// # Errors
/// [`Error::Folder`] where `out` is there; for an adapter with whole tensors, which readers would not load;
/// what [`adapt`] refuses.
pub fn export_adapter(base: &Checkpoint, adapter: &Adapter, out: &Path) -> Result<()> {
    if out.exists() {
        return Err(Error::folder(out, "is there already; give a new name"));
    }
    let names = names_of(base)?;
    let bad = |problem: String| {
        Error::folder(
            &adapter.path,
            format!("cannot be written as GGUF: {problem}"),
        )
    };
    let weights = adapt(base, adapter)?.weights;
    if adapter.config.use_dora {
        return Err(bad(
            "it gives the rows of weights their lengths (DoRA), which llama.cpp's adapters do not have; merge it \
             into its base"
                .into(),
        ));
    }
    if let Some(whole) = weights.whole.keys().chain(weights.tied.keys()).next() {
        return Err(bad(format!(
            "it holds '{whole}' whole, and llama.cpp's adapters have updates of low rank alone; merge it into \
             its base"
        )));
    }
    let alpha = adapter.config.lora_alpha as f32;
    let metadata = [
        (
            "general.architecture",
            Meta::Text(names.architecture.into()),
        ),
        (TYPE, Meta::Text("adapter".into())),
        (KIND, Meta::Text("lora".into())),
        (ALPHA, Meta::Real(alpha)),
        ("general.name", Meta::Text(name(&adapter.path))),
        ("general.file_type", Meta::Whole(0)),
        ("general.quantization_version", Meta::Whole(2)),
    ];
    let metadata: Vec<(String, Meta)> = metadata
        .into_iter()
        .map(|(key, value)| (key.to_string(), value))
        .collect();
    let (mut heads, mut data) = (Vec::new(), Vec::new());
    for Update { target, a, b, .. } in &weights.updates {
        let weight = format!("{}.weight", target.module);
        let place = names.stored(&weight);
        let (stored, placed) = place.ok_or_else(|| bad(format!("'{weight}' has no name there")))?;
        let mut up = b.values().into_owned();
        if let Some([_, order]) = order(base, names, placed, target.linear)? {
            up = reordered(&up, &order);
        }
        let factor = target.scale * target.rank as f64 / f64::from(alpha);
        if (factor - 1.0).abs() > f64::from(f32::EPSILON) {
            up.iter_mut()
                .for_each(|x| *x = (f64::from(*x) * factor) as f32);
        }
        let shapes = [
            vec![target.rank, target.linear.inputs],
            vec![target.linear.outputs, target.rank],
        ];
        for ((part, shape), values) in PARTS.iter().zip(shapes).zip([a.values().into_owned(), up]) {
            let name = format!("{stored}{part}");
            let kind = BlockType::F32;
            heads.push(Tensor { name, shape, kind });
            data.push(values);
        }
    }
    let mut data = data.into_iter();
    write_file_with(out, |file| {
        write(file, &metadata, &heads, |tensor| {
            let values = data.next().and_then(|values| tensor.kind.quantise(&values));
            values.ok_or_else(|| std::io::Error::other("out of order"))
        })
    })
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Whether a GGUF file holds an adapter.
///
/// # Errors
/// Those of [`GgufFile::open`].
pub fn is_adapter_file(path: &Path) -> Result<bool> {
    Ok(GgufFile::open(path)?.text(TYPE)? == Some("adapter"))
}

/// Writes the adapter of `base` in a GGUF file as PEFT's folder at `out`.
///
/// # Errors
/// [`Error::TensorFile`] for a file that holds none, or one of another base; [`Error::Folder`] where `out`
/// holds something.
pub fn import_adapter(base: &Checkpoint, path: &Path, out: &Path) -> Result<()> {
    crate::hub::require_empty(out)?;
    let names = names_of(base)?;
    let file = GgufFile::open(path)?;
    let architecture = file.text("general.architecture")?;
    if file.text(TYPE)? != Some("adapter") || file.text(KIND)? != Some("lora") {
        return Err(file.bad(format!("is no LoRA adapter ({TYPE}, {KIND})")));
    }
    if architecture != Some(names.architecture) {
        let found = architecture.unwrap_or("no architecture");
        let problem = format!("adapts a {found}, and the base is a {}", names.architecture);
        return Err(file.bad(problem));
    }
    let alpha = file.number(ALPHA)?.ok_or_else(|| file.lacks(ALPHA))?;
    let class = base.format.class(Head::CausalLm);
    let class = class.ok_or_else(|| file.bad("is for a model that does not write on"))?;
    let layout = base.layout(class)?;
    let mut found: BTreeMap<String, [Option<Array<'static>>; 2]> = BTreeMap::new();
    for stored in file.names() {
        let part = PARTS.iter().position(|part| stored.ends_with(part));
        let place = part.and_then(|part| {
            let (weight, placed) = names.canonical(stored.strip_suffix(PARTS[part])?)?;
            let module = weight.strip_suffix(".weight")?.to_string();
            let linear = layout.modules.iter().find(|m| m.name == module)?.linear?;
            Some((part, module, placed, linear))
        });
        let (part, module, placed, linear) = place.ok_or_else(|| {
            file.tensor(
                stored,
                "has no place in the base; the adapter belongs to another",
            )
        })?;
        let (kind, bytes) = file.blocks(stored)?;
        let mut values = kind.dequantise(bytes);
        let shape = file.tensor_info(stored).map(|info| info.shape.clone());
        let shape = shape.unwrap_or_default();
        let fits = match (part, &shape[..]) {
            (0, [_, inputs]) => *inputs == linear.inputs,
            (1, [outputs, _]) => *outputs == linear.outputs,
            _ => false,
        };
        if !fits {
            let problem = format!("has shape {shape:?}; the adapter belongs to another base model");
            return Err(file.tensor(stored, &problem));
        }
        if let (1, Some([order, _])) = (part, order(base, names, placed, linear)?) {
            values = reordered(&values, &order);
        }
        found.entry(module).or_default()[part] = Some(Array::whole(&shape, values));
    }
    let rank_of = |pair: &[Option<Array>; 2]| pair[0].as_ref().map(|a| a.shape()[0]);
    let rank = found.values().next().and_then(rank_of);
    let rank = rank.ok_or_else(|| file.bad("holds no whole update"))?;
    let mut config = AdapterConfig {
        task_type: Head::CausalLm.task_type().map(str::to_string),
        base_model_name_or_path: Some(base.path.display().to_string()),
        r: rank,
        lora_alpha: alpha.into(),
        target_modules: Some(Targets::Names(found.keys().cloned().collect())),
        ..AdapterConfig::default()
    };
    for (module, pair) in &found {
        if let Some(own) = rank_of(pair).filter(|own| *own != rank) {
            config
                .rank_pattern
                .insert(module.replace('.', "\\."), json!(own));
        }
    }
    let mut weights = Weights::default();
    for target in config.targets(&layout, false, path)? {
        let pair = found.remove(&target.module).unwrap_or_default();
        let [Some(a), Some(b)] = pair else {
            return Err(file.tensor(
                &target.module,
                "has one of lora_a and lora_b; copy it again",
            ));
        };
        weights.updates.push(Update {
            target,
            a,
            b,
            magnitude: None,
        });
    }
    adapter::save(out, &config, &layout, &weights)
}
