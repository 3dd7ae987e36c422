//! An adapter merged into its base model, as PEFT's `merge_and_unload`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ADAPTER_CONFIG, Adapter, Update, Weights};
use crate::error::{Error, Result};
use crate::hub::array::Array;
use crate::hub::checkpoint::Checkpoint;
use crate::hub::config::set_labels;
use crate::hub::format::{Architecture, Layout, num_labels};
use crate::hub::report::LoadReport;
use crate::hub::save::Model;
use crate::ops::WeightLayout;

/// W + scale·B·A of one layer in the base's own layout, its rows brought to the update's lengths where it has
/// some; computed in f64 and rounded once.
pub fn merged_weight(base: &Array, update: &Update) -> Vec<f32> {
    let linear = update.target.linear;
    let (inputs, outputs) = (linear.inputs, linear.outputs);
    let (a, b) = (update.a.values(), update.b.values());
    let mut weight = base.values().into_owned();
    let lengths = update.magnitude.as_ref().map(Array::values);
    let at = |o: usize, i: usize| match linear.layout {
        WeightLayout::InOut => i * outputs + o,
        WeightLayout::OutIn => o * inputs + i,
    };
    let mut row = vec![0f64; inputs];
    for (o, factors) in b.chunks(update.target.rank).enumerate() {
        row.fill(0.0);
        for (factor, a) in factors.iter().zip(a.chunks(inputs)) {
            for (sum, x) in row.iter_mut().zip(a) {
                *sum += f64::from(*factor) * f64::from(*x);
            }
        }
        for (i, sum) in row.iter_mut().enumerate() {
            *sum = f64::from(weight[at(o, i)]) + update.target.scale * *sum;
        }
        let factor = lengths.as_ref().map(|lengths| {
            let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            f64::from(lengths[o]) / length.max(f64::MIN_POSITIVE)
        });
        for (i, x) in row.iter().enumerate() {
            weight[at(o, i)] = (x * factor.unwrap_or(1.0)) as f32;
        }
    }
    weight
}

/// A base model with an adapter placed on it, not yet merged.
#[derive(Debug)]
pub struct Adapted<'a> {
    /// The base's configuration, with the labels of the adapter's head where it brings one.
    pub config: Value,
    /// The model that the two make: of the class that the adapter's task asks for.
    pub layout: Layout,
    /// The adapter's weights.
    pub weights: Weights<'a>,
    /// How the base compares with the model, tensors that the adapter brings left out.
    pub report: LoadReport,
}

/// A classifier must know what fills batches: GPT-2's looks for the last token that is not that.
/// Where nothing says it, the end of a text is taken, as in training.
fn name_padding(config: &mut Value) {
    let (pad, end) = (&config["pad_token_id"], &config["eos_token_id"]);
    if pad.is_null() && end.is_u64() {
        config["pad_token_id"] = end.clone();
    }
}

/// Places an adapter on its base. A head that the adapter brings takes the place of the base's.
///
/// # Errors
/// What [`Adapter::fit`] and [`Checkpoint::report`] refuse, and a base that lacks a tensor which the
/// adapter does not bring.
pub fn adapt<'a>(base: &Checkpoint, adapter: &'a Adapter) -> Result<Adapted<'a>> {
    let architecture = architecture_of(base, adapter)?;
    let mut config = base.config.clone();
    if let Some(labels) = labels_of(adapter, architecture) {
        match &adapter.labels {
            Some(names) if names.labels.len() == labels => {
                set_labels(&mut config, &names.labels);
                if let Some(pairs) = names.text_pairs {
                    config["text_pairs"] = pairs.into();
                }
            }
            _ if labels == num_labels(&config) => {}
            _ => {
                let names: Vec<String> = (0..labels).map(|n| format!("LABEL_{n}")).collect();
                set_labels(&mut config, &names);
            }
        }
        name_padding(&mut config);
    }
    let layout = architecture.layout(&config, &base.config_path())?;
    let weights = adapter.fit(&layout)?;

    // A head of another size is no mistake where the adapter brings its own.
    let brought = |name: &String| weights.whole.contains_key(name);
    let mut needed = layout.clone();
    needed.tensors.retain(|(name, _)| !brought(name));
    let mut report = base.report(&needed)?;
    report.unexpected.retain(|name| !brought(name));
    report.require(&base.path, |_| false)?;
    for (original, copy) in &weights.tied {
        adapter.require_tied(original, copy, &base.array(original)?)?;
    }
    Ok(Adapted {
        config,
        layout,
        weights,
        report,
    })
}

/// The base model with the adapter in it; the report is of [`adapt`].
///
/// # Errors
/// As [`adapt`].
pub fn merge<'a>(base: &'a Checkpoint, adapter: &'a Adapter) -> Result<(Model<'a>, LoadReport)> {
    merge_all(base, adapter, 1.0, &[])
}

/// Adapters of one base, placed on it together and not merged.
#[derive(Debug)]
pub struct Stack<'a> {
    /// As of [`Adapted`].
    pub config: Value,
    /// As of [`Adapted`].
    pub layout: Layout,
    /// What each adapter adds, its scale times the adapter's weight.
    pub updates: Vec<Vec<Update<'a>>>,
    /// Tensors that take the place of the base's, by canonical name.
    pub whole: BTreeMap<String, Array<'a>>,
    /// As of [`Adapted`].
    pub report: LoadReport,
}

/// Places an adapter and others on their base, each with what it counts.
///
/// # Errors
/// As [`adapt`]; [`Error::Folder`] for what there is no weighted sum of: tensors that an adapter holds whole, and
/// lengths of rows.
pub fn stack<'a>(
    base: &Checkpoint,
    (first, weight): (&'a Adapter, f64),
    others: &[(&'a Adapter, f64)],
) -> Result<Stack<'a>> {
    let alone = others.is_empty() && weight == 1.0;
    let weighed = |of: &Adapter, weights: &mut Weights<'a>, weight: f64| {
        if !alone && of.config.use_dora {
            let problem = "gives the rows of weights their lengths (DoRA), which cannot be weighed or added to; \
                           take this adapter alone";
            return Err(Error::folder(&of.path, problem));
        }
        if let Some(name) = weights.whole.keys().next().filter(|_| !alone) {
            let problem = format!(
                "holds '{name}' whole, which cannot be weighed or added to; take this adapter alone"
            );
            return Err(Error::folder(&of.path, problem));
        }
        let mut updates = std::mem::take(&mut weights.updates);
        updates.iter_mut().for_each(|u| u.target.scale *= weight);
        Ok(updates)
    };
    let Adapted {
        config,
        layout,
        mut weights,
        report,
    } = adapt(base, first)?;
    let mut updates = vec![weighed(first, &mut weights, weight)?];
    for (other, weight) in others {
        let mut own = adapt(base, other)?;
        if own.layout.architecture != layout.architecture {
            let (a, b) = (own.layout.architecture.name(), layout.architecture.name());
            let problem = format!("makes a {a} of the base, and another adapter a {b}");
            return Err(Error::folder(&other.path, problem));
        }
        updates.push(weighed(other, &mut own.weights, *weight)?);
    }
    Ok(Stack {
        config,
        layout,
        updates,
        whole: weights.whole,
        report,
    })
}

/// The base model with an adapter and others in it: W + Σ weight·scale·B·A. (PEFT's `add_weighted_adapter`
/// without any decomposition.)
///
/// # Errors
/// As [`stack`].
pub fn merge_all<'a>(
    base: &'a Checkpoint,
    adapter: &'a Adapter,
    weight: f64,
    others: &[(&'a Adapter, f64)],
) -> Result<(Model<'a>, LoadReport)> {
    let stack = stack(base, (adapter, weight), others)?;
    let mut tensors = stack.whole;
    for (name, _) in &stack.layout.tensors {
        if !tensors.contains_key(name) {
            tensors.insert(name.clone(), base.array(name)?);
        }
    }
    for update in stack.updates.iter().flatten() {
        if let Some(array) = tensors.get_mut(&format!("{}.weight", update.target.module))
            && let Some(merged) = Array::new(array.shape(), merged_weight(array, update))
        {
            *array = merged;
        }
    }
    let model = Model {
        architecture: stack.layout.architecture,
        config: stack.config,
        tensors,
        companions: base.companions()?,
    };
    Ok((model, stack.report))
}

/// The class that PEFT's task types mean, for the base's family; without one, what PEFT notes
/// instead, or the base's own.
fn architecture_of(base: &Checkpoint, adapter: &Adapter) -> Result<Architecture> {
    let Some(task) = adapter.config.task_type.as_deref() else {
        let noted = adapter.config.other.get("auto_mapping");
        let class = noted.and_then(|a| a["base_model_class"].as_str());
        let known = class.and_then(|name| Architecture::named(name, &[base.format]).ok());
        return match known {
            Some(architecture) => Ok(architecture),
            None => base.architecture(),
        };
    };
    let heads = base.format.classes.iter().map(|class| class.head);
    let mut heads = heads.filter(|head| head.task_type() == Some(task));
    let class = heads.next().and_then(|head| base.format.class(head));
    class.ok_or_else(|| {
        let what = base.config["model_type"].as_str().unwrap_or("model");
        let problem = format!("is an adapter for the task {task}, which melos has no {what} for");
        Error::folder(adapter.path.join(ADAPTER_CONFIG), problem)
    })
}

/// How many labels the adapter's own head has.
fn labels_of(adapter: &Adapter, architecture: Architecture) -> Option<usize> {
    let layers = architecture.format.label_layers.iter();
    let weight = |layer| {
        let name = format!("base_model.model.{layer}.weight");
        adapter.file.info(&name)
    };
    let (_, shape) = layers
        .filter(|_| architecture.head().has_labels())
        .find_map(weight)?;
    shape.first().copied()
}
