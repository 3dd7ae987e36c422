//! A stage's `lora` as a plan for the model and as a PEFT adapter.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::hub::adapter::{AdapterConfig, Bias, Target, Targets, Update, Weights};
use crate::hub::{Array, Layout};
use crate::nn::{LoraPlan, LoraUpdate, magnitude_of};
use crate::train::config::{Lora, LoraInit};
use crate::train::state::TensorMap;

/// An adapter in training.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// For the model.
    pub plan: LoraPlan,
    config: AdapterConfig,
    /// Which thirds of `c_attn`'s outputs it acts on; empty: all of every layer's outputs.
    parts: Vec<(String, usize)>,
}

impl Adapter {
    /// The adapter that `lora` describes, for a model of this layout. `anew` are the model's tensors
    /// that begin from random values: their modules are trained whole.
    ///
    /// # Errors
    /// [`Error::ConfigValue`] naming the key under `place`.
    pub fn new(lora: &Lora, layout: &Layout, anew: &[String], place: &str) -> Result<Adapter> {
        let wrong = |key: &str, message| Error::value(format!("{place}.{key}"), message);
        let whole = with_new(lora.modules_to_save.clone(), layout, anew);
        let mut config = AdapterConfig {
            task_type: layout.architecture.head().task_type().map(String::from),
            r: lora.rank,
            lora_alpha: lora.alpha,
            lora_dropout: lora.dropout,
            target_modules: match &lora.targets {
                Targets::Names(names) if names.is_empty() => None,
                targets => Some(targets.clone()),
            },
            modules_to_save: (!whole.is_empty()).then_some(whole),
            use_rslora: lora.rslora,
            use_dora: lora.dora,
            rank_pattern: pattern(&lora.rank_pattern),
            alpha_pattern: pattern(&lora.alpha_pattern),
            bias: lora.bias,
            ..AdapterConfig::default()
        };
        let targets = targets(&config, layout).map_err(|problem| wrong("targets", problem))?;
        for saved in &lora.modules_to_save {
            let found = layout.modules.iter().any(|m| {
                let name = &m.name;
                name == saved || name.ends_with(&format!(".{saved}"))
            });
            if !found {
                let message = format!("'{saved}' matches no module of the model");
                return Err(wrong("modules_to_save", message));
            }
        }
        let mut parts = Vec::new();
        if let Some(rows) = &lora.rows {
            if let Some(other) = targets.iter().find(|t| !t.module.ends_with(".c_attn")) {
                let other = &other.module;
                return Err(wrong(
                    "rows",
                    format!(
                        "is for the joint projection c_attn alone, and '{other}' is adapted too"
                    ),
                ));
            }
            for letter in rows.chars() {
                parts.push((letter.to_string(), "qkv".find(letter).unwrap_or(0)));
            }
            // In the order of the outputs, so that the same letters make the same adapter.
            parts.sort_by_key(|(_, third)| *third);
        }
        let mut plan = plan(&config, layout, &targets, &parts);
        plan.gaussian = lora.init == LoraInit::Gaussian;
        if plan.gaussian {
            let key = "init_lora_weights".to_string();
            config.other.insert(key, json!("gaussian"));
        }
        if lora.bias != Bias::None && plan.biases.is_empty() {
            return Err(wrong(
                "bias",
                "finds none: these layers have no biases".into(),
            ));
        }
        // A part is a rank of its own in the file: see `weights`.
        if parts.len() > 1 {
            let count = parts.len() as f64;
            let alpha = if lora.rslora { count.sqrt() } else { count };
            config.r *= parts.len();
            config.lora_alpha *= alpha;
            scale(&mut config.rank_pattern, |r| {
                json!(r as u64 * parts.len() as u64)
            });
            scale(&mut config.alpha_pattern, |a| json!(a * alpha));
        }
        Ok(Adapter {
            plan,
            config,
            parts,
        })
    }

    /// The adapter that `config` describes, to go on with; with this dropout.
    ///
    /// # Errors
    /// What cannot be trained of it, in words.
    pub fn going_on(
        config: &AdapterConfig,
        layout: &Layout,
        anew: &[String],
        dropout: f64,
    ) -> Result<Adapter, String> {
        if config.bias != Bias::None {
            let message = "trains biases, with which melos cannot go on; merge it into its base first, with `melos merge`";
            return Err(message.into());
        }
        let saved = config.modules_to_save.clone();
        let whole = with_new(saved.unwrap_or_default(), layout, anew);
        let config = AdapterConfig {
            task_type: layout.architecture.head().task_type().map(String::from),
            lora_dropout: dropout,
            modules_to_save: (!whole.is_empty()).then_some(whole),
            ..config.clone()
        };
        let targets = targets(&config, layout)?;
        Ok(Adapter {
            plan: plan(&config, layout, &targets, &[]),
            config,
            parts: Vec::new(),
        })
    }

    /// adapter_config.json, for a base that stands at `base`.
    pub fn config(&self, base: Option<&Path>) -> AdapterConfig {
        AdapterConfig {
            base_model_name_or_path: base.map(|b| b.display().to_string()),
            ..self.config.clone()
        }
    }

    /// The trained tensors of a model as PEFT lays them out. Adapters of parts of `c_attn` become one
    /// of the summed rank: their A one below the other, their B side by side, each in its own rows.
    ///
    /// # Errors
    /// [`Error::Parameter`] where a tensor is missing.
    pub fn weights(&self, layout: &Layout, tensors: &TensorMap) -> Result<Weights<'static>> {
        let read = |name: &str| -> Result<(Vec<usize>, Vec<f32>)> {
            let message = "the adapter has no tensor of this name";
            let missing = || Error::parameter(name, message);
            let tensor = tensors.get(name).ok_or_else(missing)?;
            Ok((tensor.shape().to_vec(), tensor.values().into_owned()))
        };
        let array = |name: &str, shape: &[usize], values: Vec<f32>| {
            let message = "has not as many numbers as its shape says";
            Array::new(shape, values).ok_or_else(|| Error::parameter(name, message))
        };
        let mut weights = Weights::default();
        let found = targets(&self.config, layout);
        let found = found.map_err(|problem| Error::parameter("adapter", problem))?;
        for target in found {
            let module = &target.module;
            let (inputs, outputs) = (target.linear.inputs, target.linear.outputs);
            let (a, b) = if self.parts.is_empty() {
                let a = read(&format!("{module}.lora_A.weight"))?.1;
                (a, read(&format!("{module}.lora_B.weight"))?.1)
            } else {
                let mut a = Vec::with_capacity(target.rank * inputs);
                let mut b = vec![0.0; outputs * target.rank];
                let rank = target.rank / self.parts.len();
                for (n, (part, third)) in self.parts.iter().enumerate() {
                    a.extend(read(&format!("{module}.lora_A.{part}.weight"))?.1);
                    let own = read(&format!("{module}.lora_B.{part}.weight"))?.1;
                    let first = third * (outputs / 3);
                    for (row, values) in own.chunks(rank).enumerate() {
                        let at = (first + row) * target.rank + n * rank;
                        b[at..at + rank].copy_from_slice(values);
                    }
                }
                (a, b)
            };
            let a = array(module, &[target.rank, inputs], a)?;
            let b = array(module, &[outputs, target.rank], b)?;
            let lengths = || {
                let lengths = read(&magnitude_of(module))?.1;
                array(module, &[outputs], lengths)
            };
            let magnitude = (self.config.use_dora.then(lengths)).transpose()?;
            weights.updates.push(Update {
                target,
                a,
                b,
                magnitude,
            });
        }
        for (name, _) in &layout.tensors {
            if self.config.saves_whole(module_of(name)) || self.plan.biases.contains(name) {
                let (shape, values) = read(name)?;
                let array = array(name, &shape, values)?;
                weights.whole.insert(name.clone(), array);
            }
        }
        // The output layer goes with its head, as a copy of the word embedding.
        let whole = |name: &str| weights.whole.contains_key(name);
        for (_, original) in self.config.copies(layout, whole) {
            let (shape, values) = read(original)?;
            let array = array(original, &shape, values)?;
            weights.tied.insert(original.to_string(), array);
        }
        Ok(weights)
    }
}

/// The modules of `whole`, and those of the tensors `anew`, as PEFT names them: a head by itself, whatever parts
/// it has, others without the prefix.
fn with_new(mut whole: Vec<String>, layout: &Layout, anew: &[String]) -> Vec<String> {
    for name in anew {
        let short = match name.strip_prefix(layout.architecture.format.prefix) {
            Some(inside) => module_of(inside),
            None => name.split('.').next().unwrap_or(name),
        };
        if !whole.iter().any(|w| w == short) {
            whole.push(short.to_string());
        }
    }
    whole
}

/// The layers that a configuration adapts, or what is wrong with it.
fn targets(config: &AdapterConfig, layout: &Layout) -> Result<Vec<Target>, String> {
    let bare = layout.architecture.is_bare();
    config
        .targets(layout, bare, Path::new(""))
        .map_err(|error| match error {
            Error::Folder { problem, .. } => problem,
            other => other.to_string(),
        })
}

fn plan(
    config: &AdapterConfig,
    layout: &Layout,
    targets: &[Target],
    parts: &[(String, usize)],
) -> LoraPlan {
    let mut plan = LoraPlan {
        dora: config.use_dora,
        ..LoraPlan::default()
    };
    for target in targets {
        let third = target.linear.outputs / 3;
        let update = |part| LoraUpdate {
            rank: target.rank,
            scale: target.scale as f32,
            dropout: config.lora_dropout as f32,
            part,
        };
        let part =
            |(name, n): &(String, usize)| update(Some((name.clone(), n * third..(n + 1) * third)));
        let updates = if parts.is_empty() {
            vec![update(None)]
        } else {
            parts.iter().map(part).collect()
        };
        plan.modules.insert(target.module.clone(), updates);
    }
    for (name, _) in &layout.tensors {
        let module = module_of(name);
        let known = plan.modules_to_save.last().is_some_and(|m| m == module);
        if config.saves_whole(module) && !known {
            plan.modules_to_save.push(module.to_string());
        }
        if config.trains_bias(name, targets) {
            plan.biases.insert(name.clone());
        }
    }
    plan
}

fn module_of(tensor: &str) -> &str {
    tensor.rsplit_once('.').map_or(tensor, |(module, _)| module)
}

fn pattern<T: Into<Value> + Copy>(pattern: &BTreeMap<String, T>) -> Map<String, Value> {
    let entries = pattern.iter();
    entries.map(|(k, &v)| (k.clone(), v.into())).collect()
}

fn scale(pattern: &mut Map<String, Value>, by: impl Fn(f64) -> Value) {
    for value in pattern.values_mut() {
        if let Some(number) = value.as_f64() {
            *value = by(number);
        }
    }
}
