//! Which layers of a model are adapted by LoRA, and the adapted linear layer.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::ops::{self, LoraWeights, WeightLayout};
use crate::tensor::{Init, ParamSpec, ParamStore, Tape, Tensor};

/// A linear layer that a model has.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearShape {
    /// Full name of the module, as `bert.encoder.layer.0.attention.self.query`.
    pub name: String,
    /// I
    pub inputs: usize,
    /// O
    pub outputs: usize,
    /// How its weight lies.
    pub layout: WeightLayout,
    /// Whether it has a bias.
    pub bias: bool,
    /// Standard deviation that its weight starts with.
    pub std: f32,
}

impl LinearShape {
    /// Its parameters: a normal weight, a zero bias.
    pub fn specs(&self) -> Vec<ParamSpec> {
        let shape = self.layout.shape(self.outputs, self.inputs);
        let weight = format!("{}.weight", self.name);
        let mut specs = vec![ParamSpec::new(weight, shape, Init::Normal(self.std))];
        if self.bias {
            let bias = format!("{}.bias", self.name);
            specs.push(ParamSpec::new(bias, [self.outputs], Init::Constant(0.0)));
        }
        specs
    }
}

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
    /// `….lora_A.PART.weight`. Of GPT-2's `c_attn`, `q` is 0..C and `v` is 2C..3C.
    pub part: Option<(String, Range<usize>)>,
}

impl LoraUpdate {
    fn names(&self, module: &str) -> [String; 2] {
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
            modules_to_save: Vec::new(),
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
            within(module)
                && updates
                    .iter()
                    .any(|u| u.names(module).iter().any(|n| n == name))
        };
        self.modules.iter().any(is_update) || self.modules_to_save.iter().any(within)
    }

    /// The parameters that it adds to a model with the linear layers `layers`: A uniform in ±1/√I,
    /// B zero, so that an adapted model starts as the one it adapts. (PEFT's `init_lora_weights`.)
    ///
    /// # Errors
    /// [`Error::Parameter`] for a module that is not among `layers`, or is changed where it cannot
    /// be: outputs that it does not have, one part twice; [`Error::Argument`] for rank 0.
    pub fn specs(&self, layers: &[LinearShape]) -> Result<Vec<ParamSpec>> {
        let mut specs = Vec::new();
        for (module, updates) in &self.modules {
            let wrong = |message: String| Error::Parameter {
                name: module.clone(),
                message,
            };
            let layer = layers
                .iter()
                .find(|layer| layer.name == *module)
                .ok_or_else(|| {
                    let names: Vec<&str> = layers.iter().map(|l| l.name.as_str()).collect();
                    wrong(format!(
                        "no linear layer of this name to adapt; the model has {}",
                        names.join(", ")
                    ))
                })?;
            for update in updates {
                if update.rank == 0 {
                    return Err(Error::Argument {
                        op: "lora",
                        arg: "rank",
                        value: "0".into(),
                        expected: "1 or more",
                    });
                }
                let rows = update.rows().unwrap_or(0..layer.outputs);
                if rows.is_empty() || rows.end > layer.outputs {
                    return Err(wrong(format!(
                        "cannot adapt outputs {rows:?}: it has {}",
                        layer.outputs
                    )));
                }
                let [a, b] = update.names(module);
                let bound = 1.0 / (layer.inputs as f32).sqrt();
                let shape = [update.rank, layer.inputs];
                specs.push(ParamSpec::new(a, shape, Init::Uniform(bound)));
                let shape = [rows.len(), update.rank];
                specs.push(ParamSpec::new(b, shape, Init::Constant(0.0)));
            }
        }
        Ok(specs)
    }
}

struct Adapter {
    a: Tensor,
    b: Tensor,
    update: LoraUpdate,
}

impl Adapter {
    fn weights(&self) -> LoraWeights<'_> {
        LoraWeights {
            a: &self.a,
            b: &self.b,
            scale: self.update.scale,
            dropout: self.update.dropout,
            rows: self.update.rows(),
        }
    }
}

/// y = x·Wᵀ + b in either layout, with whatever LoRA adds to it.
pub struct Dense {
    /// In the layer's layout.
    pub weight: Tensor,
    /// (O)
    pub bias: Option<Tensor>,
    layout: WeightLayout,
    adapters: Vec<Adapter>,
}

impl Dense {
    /// The layer `shape` whose parameters stand in `store`, adapted as `plan` says.
    ///
    /// # Errors
    /// [`Error::Parameter`] when one is missing.
    pub fn new(store: &ParamStore, shape: &LinearShape, plan: &LoraPlan) -> Result<Dense> {
        let name = &shape.name;
        let bias = || store.get(&format!("{name}.bias"));
        let updates = plan.modules.get(name).map_or(&[][..], Vec::as_slice);
        let adapter = |update: &LoraUpdate| {
            let [a, b] = update.names(name);
            Ok(Adapter {
                a: store.get(&a)?,
                b: store.get(&b)?,
                update: update.clone(),
            })
        };
        Ok(Dense {
            weight: store.get(&format!("{name}.weight"))?,
            bias: shape.bias.then(bias).transpose()?,
            layout: shape.layout,
            adapters: updates.iter().map(adapter).collect::<Result<_>>()?,
        })
    }

    /// x (…, I) → (…, O).
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn forward(&self, tape: &Tape, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref();
        if self.adapters.is_empty() {
            return ops::linear_as(tape, x, &self.weight, bias, self.layout);
        }
        let loras: Vec<LoraWeights<'_>> = self.adapters.iter().map(Adapter::weights).collect();
        ops::lora_linear(tape, x, &self.weight, bias, self.layout, &loras)
    }

    /// Whether LoRA adds to it.
    pub fn is_adapted(&self) -> bool {
        !self.adapters.is_empty()
    }

    /// Queues adding every update to the weight, so that the plain layer computes what this one
    /// does.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn merge(&self) -> Result<()> {
        let merge = |a: &Adapter| ops::merge_lora(&self.weight, self.layout, &a.weights());
        self.adapters.iter().try_for_each(merge)
    }

    /// Queues taking every update out of the weight again.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn unmerge(&self) -> Result<()> {
        let unmerge = |a: &Adapter| ops::unmerge_lora(&self.weight, self.layout, &a.weights());
        self.adapters.iter().try_for_each(unmerge)
    }
}

/// Queues merging every update of `plan` into the weights of `store`, for a model with the linear
/// layers `layers`.
///
/// # Errors
/// [`Error::Parameter`] when a parameter is missing.
pub fn merge_adapters(store: &ParamStore, layers: &[LinearShape], plan: &LoraPlan) -> Result<()> {
    plan.specs(layers)?;
    let adapted = |layer: &&LinearShape| plan.modules.contains_key(&layer.name);
    layers
        .iter()
        .filter(adapted)
        .try_for_each(|layer| Dense::new(store, layer, plan)?.merge())
}
