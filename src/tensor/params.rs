//! A model's parameters: named slices of a few flat buffers.
//!
//! Values, gradients and optimiser state of a group lie in buffers of equal layout, so that an
//! optimiser updates a whole group in one dispatch, and frozen parameters have no gradient at all.

use std::collections::BTreeMap;

use super::spec::ParamSpec;
use super::{DType, Tensor};
use crate::device::Gpu;
use crate::error::{Error, Result};

/// How a parameter is trained; parameters of equal rules are updated together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Its learning rate over the schedule's; 0 freezes it.
    pub lr_scale: f32,
    /// Whether the optimiser's weight decay holds for it.
    pub decays: bool,
    /// It is trained from this level on; see [`ParamStore::set_level`].
    pub level: usize,
    /// What its values are held in: f32, or f16 where it is frozen.
    pub dtype: DType,
}

/// Parameters that are trained alike.
pub struct ParamGroup {
    /// How.
    pub rule: Rule,
    /// All values, flat.
    pub values: Tensor,
    /// All gradients, in the same layout.
    pub grads: Tensor,
}

struct Entry {
    spec: ParamSpec,
    /// Without its gradient.
    tensor: Tensor,
    trained: Option<(Place, Tensor)>,
}

/// Where a trained parameter lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index into [`ParamStore::groups`].
    pub group: usize,
    /// First element in the group's buffers.
    pub start: usize,
}

/// All parameters of a model, by name.
pub struct ParamStore {
    gpu: Gpu,
    entries: BTreeMap<String, Entry>,
    /// Names in the model's order.
    order: Vec<String>,
    groups: Vec<ParamGroup>,
    level: usize,
}

/// Slices start on this many elements: 256 bytes, the largest alignment an adapter asks for.
fn align(dtype: DType) -> usize {
    dtype.align(256)
}

impl ParamStore {
    /// Allocates and initialises parameters. `lr_scale` says how fast each trains relative to the
    /// schedule; 0 freezes it. The same seed gives the same values, whatever else the model has.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a repeated name, [`Error::TooLarge`] beyond the adapter's limits.
    pub fn new(
        gpu: &Gpu,
        specs: Vec<ParamSpec>,
        seed: u64,
        lr_scale: impl Fn(&str) -> f32,
    ) -> Result<ParamStore> {
        ParamStore::with_rules(gpu, specs, seed, |spec| Rule {
            lr_scale: lr_scale(&spec.name),
            decays: true,
            level: 0,
            dtype: DType::F32,
        })
    }

    /// As [`ParamStore::new`], with a whole rule for each parameter.
    ///
    /// # Errors
    /// As [`ParamStore::new`]; [`Error::Parameter`] for one that is trained in anything but f32.
    pub fn with_rules(
        gpu: &Gpu,
        specs: Vec<ParamSpec>,
        seed: u64,
        rule: impl Fn(&ParamSpec) -> Rule,
    ) -> Result<ParamStore> {
        let limit = gpu.caps().limits.max_storage_buffer_binding_size;
        let mut store = ParamStore {
            gpu: gpu.clone(),
            entries: BTreeMap::new(),
            order: specs.iter().map(|s| s.name.clone()).collect(),
            groups: Vec::new(),
            level: 0,
        };
        // Parameters of one rule share a buffer, as far as a binding reaches.
        let mut open: Vec<(Rule, usize, Vec<ParamSpec>)> = Vec::new();
        for spec in specs {
            let mut rule = rule(&spec);
            if spec.buffer {
                rule.lr_scale = 0.0;
            }
            if rule.lr_scale != 0.0 && rule.dtype != DType::F32 {
                return Err(Error::Parameter {
                    name: spec.name,
                    message: format!("is trained, so it must be f32, not {}", rule.dtype.name()),
                });
            }
            let len = spec.shape.len().next_multiple_of(align(rule.dtype));
            match open.iter().position(|(r, ..)| *r == rule) {
                Some(at) if rule.dtype.bytes(open[at].1 + len) <= limit => {
                    open[at].1 += len;
                    open[at].2.push(spec);
                    continue;
                }
                Some(at) => {
                    let (rule, len, specs) = open.remove(at);
                    store.add_group(specs, len, rule, seed)?;
                }
                None => {}
            }
            open.push((rule, len, vec![spec]));
        }
        for (rule, len, specs) in open {
            store.add_group(specs, len, rule, seed)?;
        }
        Ok(store)
    }

    fn add_group(
        &mut self,
        specs: Vec<ParamSpec>,
        len: usize,
        rule: Rule,
        seed: u64,
    ) -> Result<()> {
        let align = align(rule.dtype);
        let mut host = vec![0.0; len];
        let mut start = 0;
        for spec in &specs {
            spec.init
                .fill(&mut host[start..start + spec.shape.len()], seed, &spec.name);
            start += spec.shape.len().next_multiple_of(align);
        }
        let values = Tensor::empty(&self.gpu, [len], rule.dtype)?;
        match rule.dtype {
            // What is packed is read from files.
            DType::Packed(_) => values.clear(),
            _ => values.write_rounded(&host)?,
        }
        let grads = if rule.lr_scale == 0.0 {
            None
        } else {
            Some(Tensor::zeros(&self.gpu, [len])?)
        };
        let mut start = 0;
        for spec in specs {
            let tensor = values.window(start, spec.held_shape())?;
            let place = Place {
                group: self.groups.len(),
                start,
            };
            let trained = match &grads {
                Some(grads) => Some((place, grads.window(start, spec.held_shape())?)),
                None => None,
            };
            start += spec.shape.len().next_multiple_of(align);
            if self.entries.contains_key(&spec.name) {
                return Err(Error::parameter(spec.name, "defined twice"));
            }
            self.entries.insert(
                spec.name.clone(),
                Entry {
                    spec,
                    tensor,
                    trained,
                },
            );
        }
        if let Some(grads) = grads {
            self.groups.push(ParamGroup {
                rule,
                values,
                grads,
            });
        }
        Ok(())
    }

    /// Trains the parameters of all levels up to this one (0 at first); the others are handed out
    /// without a gradient, and an optimiser leaves them and its state for them alone. What was
    /// handed out before stays as it is.
    pub fn set_level(&mut self, level: usize) {
        self.level = level;
    }

    /// The level that is trained now.
    pub fn level(&self) -> usize {
        self.level
    }

    /// The levels that there are, ascending.
    pub fn levels(&self) -> Vec<usize> {
        let mut levels: Vec<usize> = self.groups.iter().map(|g| g.rule.level).collect();
        levels.sort_unstable();
        levels.dedup();
        levels
    }

    /// The parameter `name`.
    ///
    /// # Errors
    /// [`Error::Parameter`] when the model has none of that name.
    pub fn get(&self, name: &str) -> Result<Tensor> {
        let entry = self
            .entries
            .get(name)
            .ok_or_else(|| Error::parameter(name, "the model has no parameter of this name"))?;
        Ok(match &entry.trained {
            Some((place, grad)) if self.groups[place.group].rule.level <= self.level => {
                entry.tensor.clone().with_grad(grad.clone())
            }
            _ => entry.tensor.clone(),
        })
    }

    /// Where a parameter lies in its group's buffers, and so in the optimiser's; `None` for a
    /// frozen or unknown one.
    pub fn place(&self, name: &str) -> Option<Place> {
        let (place, _) = self.entries.get(name)?.trained.as_ref()?;
        Some(*place)
    }

    /// Names and shapes in the model's order.
    pub fn specs(&self) -> impl Iterator<Item = &ParamSpec> {
        self.order
            .iter()
            .filter_map(|name| self.entries.get(name))
            .map(|e| &e.spec)
    }

    /// The trainable groups.
    pub fn groups(&self) -> &[ParamGroup] {
        &self.groups
    }

    /// The groups that are trained at the present level, with their numbers.
    pub fn active_groups(&self) -> impl Iterator<Item = (usize, &ParamGroup)> {
        let groups = self.groups.iter().enumerate();
        groups.filter(|(_, group)| group.rule.level <= self.level)
    }

    /// Number of values of parameters, and how many of them are trained, now or at a later level.
    pub fn counts(&self) -> (usize, usize) {
        let trained = |e: &&Entry| e.trained.is_some();
        let count = |e: &Entry| e.tensor.len();
        let parameters = || self.entries.values().filter(|e| !e.spec.buffer);
        (
            parameters().map(count).sum(),
            parameters().filter(trained).map(count).sum(),
        )
    }

    /// Queues zeroing of all gradients.
    pub fn zero_grads(&self) {
        for group in &self.groups {
            group.grads.clear();
        }
    }
}
