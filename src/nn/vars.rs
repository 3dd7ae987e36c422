//! What a model is made of: it declares each of its parameters once, with name, shape and first
//! values, and gets a handle that is bound to device memory later.
//!
//! A model is built on the host by one function that takes a [`Vars`]. What was declared then says
//! all that anybody asks of a model's tensors: how many there are and how large, how they lie in
//! files, which layers can be adapted. [`Vars::bind`] gives the handles the tensors of a
//! [`ParamStore`]. How parameters are trained is no matter of the model: the store has a rule for
//! each, and [`Vars::adapt`] puts low-rank updates beside the linear layers that a plan names.
//!
//! ```
//! use melos::nn::{Linear, Vars};
//! # use melos::Result;
//!
//! struct Mlp { hidden: Linear, output: Linear }
//!
//! impl Mlp {
//!     fn new(v: &Vars) -> Result<Mlp> {
//!         Ok(Mlp { hidden: v.linear("hidden", 784, 128)?, output: v.linear("output", 128, 10)? })
//!     }
//! }
//! let v = Vars::new();
//! Mlp::new(&v)?;
//! assert_eq!(v.specs()[0].name, "hidden.weight");
//! # Ok::<(), melos::Error>(())
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard};

use super::linear::{Adapters, LinearShape};
use super::lora::{self, LoraPlan, LoraUpdate};
use crate::device::{Gpu, lock};
use crate::error::{Error, Result};
use crate::tensor::{Depth, Init, ParamSpec, ParamStore, Rule, Shape, Tensor};

/// A handle to a declared parameter or buffer. Clones stand for the same one.
#[derive(Debug, Clone)]
pub struct Param {
    name: Arc<str>,
    tensor: Arc<Mutex<Option<Tensor>>>,
}

impl Param {
    fn new(name: &str) -> Param {
        Param {
            name: name.into(),
            tensor: Arc::default(),
        }
    }

    /// Its full name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its tensor.
    ///
    /// # Errors
    /// [`Error::Parameter`] before it is bound.
    pub fn get(&self) -> Result<Tensor> {
        lock(&self.tensor).clone().ok_or_else(|| Error::Parameter {
            name: self.name.to_string(),
            message: "is declared and has no memory yet; bind the model's Vars to a store".into(),
        })
    }

    fn bind(&self, tensor: Tensor) {
        *lock(&self.tensor) = Some(tensor);
    }
}

/// A named part of a model, as adapters know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// Full name.
    pub name: String,
    /// What it is if it is a linear layer.
    pub linear: Option<LinearShape>,
}

#[derive(Default)]
struct List {
    /// In the order in which they were declared.
    vars: Vec<(ParamSpec, Param)>,
    names: BTreeSet<String>,
    linears: BTreeMap<String, (LinearShape, Adapters)>,
    /// Modules without parameters.
    plain: Vec<String>,
}

/// The parameters that a model declares. Clones, and what [`Vars::at`] returns, share one list.
#[derive(Clone, Default)]
pub struct Vars {
    /// Names begin with it.
    prefix: String,
    /// What is declared stands here.
    depth: Depth,
    list: Arc<Mutex<List>>,
}

impl Vars {
    /// An empty list.
    pub fn new() -> Vars {
        Vars::default()
    }

    fn list(&self) -> MutexGuard<'_, List> {
        lock(&self.list)
    }

    fn full(&self, name: impl Display) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The same list for a part: names declared through it begin with `NAME.`.
    pub fn at(&self, name: impl Display) -> Vars {
        Vars {
            prefix: format!("{}{name}.", self.prefix),
            ..self.clone()
        }
    }

    /// The same list for parameters that stand at another depth.
    #[must_use]
    pub fn depth(&self, depth: Depth) -> Vars {
        Vars {
            depth,
            ..self.clone()
        }
    }

    /// Declares a parameter.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a name that is taken.
    pub fn param(&self, name: impl Display, shape: impl Into<Shape>, init: Init) -> Result<Param> {
        self.declare(ParamSpec::new(self.full(name), shape, init))
    }

    /// Declares the weights of a convolution: (O, I, kernel), as PyTorch has them; in memory I is the last axis.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn channels_last(
        &self,
        name: impl Display,
        shape: impl Into<Shape>,
        init: Init,
    ) -> Result<Param> {
        let mut spec = ParamSpec::new(self.full(name), shape, init);
        spec.channels_last = true;
        self.declare(spec)
    }

    /// Declares a buffer: saved with the model, never trained, as running statistics.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn buffer(&self, name: impl Display, shape: impl Into<Shape>, init: Init) -> Result<Param> {
        self.declare(ParamSpec::buffer(self.full(name), shape, init))
    }

    fn declare(&self, mut spec: ParamSpec) -> Result<Param> {
        spec.depth = self.depth;
        let mut list = self.list();
        if !list.names.insert(spec.name.clone()) {
            return Err(Error::parameter(spec.name, "defined twice"));
        }
        let param = Param::new(&spec.name);
        list.vars.push((spec, param.clone()));
        Ok(param)
    }

    /// Says that the model has a part of this name without parameters of its own, as a dropout. It
    /// matters to adapters alone, which tell a module that cannot be adapted from a wrong name.
    pub fn module(&self, name: impl Display) {
        let name = self.full(name);
        self.list().plain.push(name);
    }

    /// Says that the parameters under `name` are those of a linear layer.
    pub(super) fn declare_linear(&self, name: impl Display, shape: &LinearShape) -> Adapters {
        let adapters = Adapters::default();
        let entry = (*shape, adapters.clone());
        self.list().linears.insert(self.full(name), entry);
        adapters
    }

    /// All that was declared, in that order; low-rank updates last.
    pub fn specs(&self) -> Vec<ParamSpec> {
        self.list()
            .vars
            .iter()
            .map(|(spec, _)| spec.clone())
            .collect()
    }

    /// All that was declared, with its tensors, in that order.
    ///
    /// # Errors
    /// [`Error::Parameter`] before the handles are bound.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let named = |(spec, param): &(ParamSpec, Param)| Ok((spec.name.clone(), param.get()?));
        self.list().vars.iter().map(named).collect()
    }

    /// The linear layers: what LoRA can adapt.
    pub fn linears(&self) -> Vec<(String, LinearShape)> {
        let list = self.list();
        let named = |(spec, _): &(ParamSpec, Param)| {
            let module = spec.name.strip_suffix(".weight")?;
            let (shape, _) = list.linears.get(module)?;
            Some((module.to_string(), *shape))
        };
        list.vars.iter().filter_map(named).collect()
    }

    /// Every module as PEFT sees them: the layers, what they stand in, and those without
    /// parameters; parents before children.
    pub fn modules(&self) -> Vec<Module> {
        let list = self.list();
        let mut seen = BTreeSet::new();
        let mut modules = Vec::new();
        for (spec, _) in &list.vars {
            for (at, _) in spec.name.match_indices('.') {
                let name = &spec.name[..at];
                if seen.insert(name) {
                    let linear = list.linears.get(name).map(|(shape, _)| *shape);
                    let name = name.to_string();
                    modules.push(Module { name, linear });
                }
            }
        }
        let plain = list.plain.iter().map(|name| Module {
            name: name.clone(),
            linear: None,
        });
        modules.extend(plain);
        modules
    }

    /// Names and shapes as PyTorch lists them: of each module its own tensors before those of the
    /// modules in it.
    pub fn file_order(&self) -> Vec<(String, Vec<usize>)> {
        let mut tree = Node::default();
        let list = self.list();
        for (spec, _) in &list.vars {
            let mut node = &mut tree;
            let mut path = spec.name.split('.').peekable();
            while let Some(part) = path.next() {
                if path.peek().is_some() {
                    node = node.child(part);
                } else {
                    node.own.push((spec.name.clone(), spec.shape.0.clone()));
                }
            }
        }
        let mut all = Vec::with_capacity(list.vars.len());
        tree.list(&mut all);
        all
    }

    /// Adds the updates of `plan` to the linear layers that it names.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a module that is no linear layer of the model, or is changed where it
    /// cannot be: outputs that it does not have, one part twice; [`Error::Argument`] for rank 0.
    pub fn adapt(&self, plan: &LoraPlan) -> Result<()> {
        let specs = self.specs();
        for (module, updates) in &plan.modules {
            let found = self.list().linears.get(module).cloned();
            let weight = format!("{module}.weight");
            let weight = specs.iter().find(|spec| spec.name == weight);
            let (Some((shape, adapters)), Some(weight)) = (found, weight) else {
                let linears = self.linears();
                let names: Vec<&str> = linears.iter().map(|(name, _)| name.as_str()).collect();
                return Err(Error::Parameter {
                    name: module.clone(),
                    message: format!(
                        "no linear layer of this name to adapt; the model has {}",
                        names.join(", ")
                    ),
                });
            };
            let beside = Vars {
                prefix: String::new(),
                depth: weight.depth,
                list: self.list.clone(),
            };
            if plan.dora && !matches!(&updates[..], [LoraUpdate { part: None, .. }]) {
                let message = "is to have one update of all its outputs, with DoRA";
                return Err(Error::parameter(module, message));
            }
            for update in updates {
                adapters.push(lora::declare(&beside, module, &shape, update, plan)?);
            }
        }
        Ok(())
    }

    /// Measures the weights of the layers whose rows have learned lengths (DoRA), once they hold their values;
    /// the lengths of the names that `begin` become those that the rows have. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Parameter`] before the handles are bound.
    pub fn measure(&self, begin: impl Fn(&str) -> bool) -> Result<()> {
        let list = self.list();
        for (spec, weight) in &list.vars {
            let module = spec.name.strip_suffix(".weight").unwrap_or_default();
            let Some((shape, adapters)) = list.linears.get(module) else {
                continue;
            };
            for adapter in adapters.all() {
                if let Some(lengths) = adapter.lengths() {
                    lengths.measure(&weight.get()?, shape, &begin)?;
                }
            }
        }
        Ok(())
    }

    /// Queues adding every low-rank update to its layer's weight; from then on the model is a plain
    /// one that computes what the adapted one did.
    ///
    /// # Errors
    /// [`Error::Parameter`] before the handles are bound.
    pub fn merge(&self) -> Result<()> {
        let list = self.list();
        for (spec, weight) in &list.vars {
            let module = spec.name.strip_suffix(".weight").unwrap_or_default();
            let Some((shape, adapters)) = list.linears.get(module) else {
                continue;
            };
            for adapter in adapters.take() {
                adapter.merge_into(&weight.get()?, shape.layout)?;
            }
        }
        Ok(())
    }

    /// Allocates all that was declared on `gpu`, starts it from `seed`, and binds it. `lr_scale` says
    /// how fast each parameter trains relative to the schedule; 0 freezes it.
    ///
    /// # Errors
    /// As [`ParamStore::new`].
    pub fn store(
        &self,
        gpu: &Gpu,
        seed: u64,
        lr_scale: impl Fn(&str) -> f32,
    ) -> Result<ParamStore> {
        let store = ParamStore::new(gpu, self.specs(), seed, lr_scale)?;
        self.bind(&store)?;
        Ok(store)
    }

    /// As [`Vars::store`], with a whole rule for each parameter.
    ///
    /// # Errors
    /// As [`ParamStore::with_rules`].
    pub fn store_with(
        &self,
        gpu: &Gpu,
        seed: u64,
        rule: impl Fn(&ParamSpec) -> Rule,
    ) -> Result<ParamStore> {
        let store = ParamStore::with_rules(gpu, self.specs(), seed, rule)?;
        self.bind(&store)?;
        Ok(store)
    }

    /// Gives every handle the tensor of its name. To be done again after
    /// [`ParamStore::set_level`], which decides whether a tensor has a gradient.
    ///
    /// # Errors
    /// [`Error::Parameter`] for one that the store does not have.
    pub fn bind(&self, store: &ParamStore) -> Result<()> {
        for (spec, param) in &self.list().vars {
            let tensor = store.get(&spec.name)?;
            if tensor.shape() != &spec.held_shape() {
                return Err(Error::Parameter {
                    name: spec.name.clone(),
                    message: format!(
                        "is declared with shape {}, and has {} in the store",
                        spec.held_shape(),
                        tensor.shape()
                    ),
                });
            }
            param.bind(tensor);
        }
        Ok(())
    }
}

/// A module with its tensors, for [`Vars::file_order`].
#[derive(Default)]
struct Node {
    own: Vec<(String, Vec<usize>)>,
    children: Vec<(String, Node)>,
}

impl Node {
    fn child(&mut self, name: &str) -> &mut Node {
        let at = self.children.iter().position(|(n, _)| n == name);
        let at = at.unwrap_or_else(|| {
            self.children.push((name.to_string(), Node::default()));
            self.children.len() - 1
        });
        &mut self.children[at].1
    }

    fn list(self, all: &mut Vec<(String, Vec<usize>)>) {
        all.extend(self.own);
        for (_, child) in self.children {
            child.list(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_a_modules_own_tensors_before_those_in_it() {
        let v = Vars::new();
        let (zero, heads) = (Init::Constant(0.0), v.at("cls"));
        heads.param("transform.weight", [2, 3], zero).unwrap();
        v.param("pooler.weight", [1], zero).unwrap();
        heads.buffer("bias", [4], zero).unwrap();
        let order: Vec<String> = v.file_order().into_iter().map(|(name, _)| name).collect();
        assert_eq!(order, ["cls.bias", "cls.transform.weight", "pooler.weight"]);
        let names: Vec<String> = v.specs().into_iter().map(|spec| spec.name).collect();
        assert_eq!(names, ["cls.transform.weight", "pooler.weight", "cls.bias"]);
        assert!(v.specs()[2].buffer && !v.specs()[1].buffer);
    }

    #[test]
    fn a_name_is_declared_once_and_has_no_tensor_before_it_is_bound() {
        let v = Vars::new();
        let weight = v.at("a").param("weight", [2], Init::Constant(1.0)).unwrap();
        assert_eq!(weight.name(), "a.weight");
        let unbound = weight.get().err().unwrap().to_string();
        assert!(
            unbound.contains("a.weight") && unbound.contains("bind"),
            "{unbound}"
        );
        let twice = v.param("a.weight", [3], Init::Constant(1.0)).err().unwrap();
        assert!(twice.to_string().contains("defined twice"), "{twice}");
    }

    #[test]
    fn modules_are_the_layers_their_parents_and_what_has_no_parameters() {
        let v = Vars::new();
        v.at("encoder").linear("query", 3, 5).unwrap();
        v.at("encoder").module("dropout");
        v.embedding("words", 7, 3, Init::Constant(0.0)).unwrap();
        let modules = v.modules();
        let names: Vec<&str> = modules.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(
            names,
            ["encoder", "encoder.query", "words", "encoder.dropout"]
        );
        let linear: Vec<bool> = modules.iter().map(|m| m.linear.is_some()).collect();
        assert_eq!(linear, [false, true, false, false]);
        assert_eq!(v.linears().len(), 1);
    }
}
