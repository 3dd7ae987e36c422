//! Which layers of a model are adapted by LoRA.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::dora::{self, Lengths, magnitude_of};
use super::linear::LinearShape;
use super::vars::{Param, Vars};
use crate::error::{Error, Result};
use crate::ops::{self, DoraWeights, LoraWeights, WeightLayout};
use crate::tensor::{Init, Tensor};

/// A low-rank update of one linear layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraUpdate {
    /// R
    pub rank: usize,
    /// Factor of B·A: alpha / R, or alpha / √R when rank-stabilised.
    pub scale: f32,
    /// Dropout of the input on its way to A.
    pub dropout: f32,
    /// Acts on these outputs only, and what to call that part: its parameters are
    /// `….lora_A.PART.weight`. Of a joint projection, `q` is 0..C and `v` is 2C..3C.
    pub part: Option<(String, Range<usize>)>,
}

impl LoraUpdate {
    /// The names of its A and B, where it is one of `module`.
    pub fn names(&self, module: &str) -> [String; 2] {
        ["lora_A", "lora_B"].map(|kind| match &self.part {
            None => format!("{module}.{kind}.weight"),
            Some((part, _)) => format!("{module}.{kind}.{part}.weight"),
        })
    }

    fn rows(&self) -> Option<Range<usize>> {
        self.part.as_ref().map(|(_, rows)| rows.clone())
    }
}

/// Which layers are adapted, and what else is trained. Parameters are named as PEFT names them,
/// without its leading `base_model.model.`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoraPlan {
    /// Updates by the full name of the module.
    pub modules: BTreeMap<String, Vec<LoraUpdate>>,
    /// Full names of the modules that are trained as they are (`modules_to_save`).
    pub modules_to_save: Vec<String>,
    /// Full names of biases that are trained as they are.
    pub biases: BTreeSet<String>,
    /// A of every update begins normal with a standard deviation of 1 / R, not uniform (`init_lora_weights`).
    pub gaussian: bool,
    /// The rows of every adapted weight have a length that is learned beside B·A: DoRA.
    pub dora: bool,
}

impl LoraPlan {
    /// The same update of each of `modules`.
    pub fn of<S: Into<String>>(
        modules: impl IntoIterator<Item = S>,
        update: &LoraUpdate,
    ) -> LoraPlan {
        let each = |name: S| (name.into(), vec![update.clone()]);
        LoraPlan {
            modules: modules.into_iter().map(each).collect(),
            ..LoraPlan::default()
        }
    }

    /// Whether nothing is adapted.
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    /// Whether this plan trains the parameter `name`; the others are frozen.
    pub fn trains(&self, name: &str) -> bool {
        let within = |module: &String| {
            name.strip_prefix(module.as_str())
                .is_some_and(|rest| rest.starts_with('.'))
        };
        let is_update = |(module, updates): (&String, &Vec<LoraUpdate>)| {
            let own = |u: &LoraUpdate| u.names(module).iter().any(|n| n == name);
            within(module) && (updates.iter().any(own) || self.dora && name == magnitude_of(module))
        };
        self.modules.iter().any(is_update)
            || self.modules_to_save.iter().any(within)
            || self.biases.contains(name)
    }
}

/// A declared update of one layer.
#[derive(Clone)]
pub(super) struct Adapter {
    /// (R, I)
    a: Param,
    /// (O, R)
    b: Param,
    update: LoraUpdate,
    /// With DoRA.
    lengths: Option<Lengths>,
}

/// Declares the parameters of an update of `module`, which is one of `plan`: A uniform in ±1/√I or, where the plan
/// is gaussian, normal, and B zero, so that an adapted model starts as the one it adapts. (PEFT's
/// `init_lora_weights`.)
pub(super) fn declare(
    v: &Vars,
    module: &str,
    layer: &LinearShape,
    update: &LoraUpdate,
    plan: &LoraPlan,
) -> Result<Adapter> {
    if update.rank == 0 {
        return Err(Error::argument("lora", "rank", "0", "1 or more"));
    }
    let rows = update.rows().unwrap_or(0..layer.outputs);
    if rows.is_empty() || rows.end > layer.outputs {
        return Err(Error::Parameter {
            name: module.to_string(),
            message: format!("cannot adapt outputs {rows:?}: it has {}", layer.outputs),
        });
    }
    let [a, b] = update.names(module);
    let init = match plan.gaussian {
        true => Init::Normal(1.0 / update.rank as f32),
        false => Init::Uniform(1.0 / (layer.inputs as f32).sqrt()),
    };
    Ok(Adapter {
        a: v.param(a, [update.rank, layer.inputs], init)?,
        b: v.param(b, [rows.len(), update.rank], Init::Constant(0.0))?,
        update: update.clone(),
        lengths: (plan.dora.then(|| dora::declare(v, module, layer))).transpose()?,
    })
}

impl Adapter {
    /// A and B.
    pub fn tensors(&self) -> Result<[Tensor; 2]> {
        Ok([self.a.get()?, self.b.get()?])
    }

    /// What an operator takes, with these tensors.
    pub fn weights<'a>(&self, [a, b]: &'a [Tensor; 2]) -> LoraWeights<'a> {
        LoraWeights {
            a,
            b,
            scale: self.update.scale,
            dropout: self.update.dropout,
            rows: self.update.rows(),
        }
    }

    /// With DoRA, the lengths of the weight's rows.
    pub fn lengths(&self) -> Option<&Lengths> {
        self.lengths.as_ref()
    }

    /// Queues merging it into its layer's weight.
    pub fn merge_into(&self, weight: &Tensor, layout: WeightLayout) -> Result<()> {
        let tensors = self.tensors()?;
        let lora = self.weights(&tensors);
        let Some(lengths) = &self.lengths else {
            return ops::merge_lora(weight, layout, &lora);
        };
        let [magnitude, squares] = &lengths.tensors()?;
        let dora = DoraWeights {
            lora,
            magnitude,
            squares,
        };
        ops::merge_dora(weight, layout, &dora)
    }
}
