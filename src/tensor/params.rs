//! A model's parameters: named slices of a few flat buffers.
//!
//! Values, gradients and optimiser state of a group lie in buffers of equal layout, so that an
//! optimiser updates a whole group in one dispatch, and frozen parameters have no gradient at all.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{DType, Shape, Tensor};
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::kernels::philox;

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// The same number everywhere.
    Constant(f32),
    /// Uniform in `[-bound, bound)`.
    Uniform(f32),
    /// Normal with mean 0 and this standard deviation.
    Normal(f32),
}

/// Where a parameter stands in its model, from the bottom up: what layer-wise learning rates and
/// gradual unfreezing go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Depth {
    /// What turns the input into vectors.
    Embeddings,
    /// A layer, from 0.
    Layer(usize),
    /// What stands on the last layer and belongs to the pretrained model: a pooler, a last norm.
    Top,
    /// What an objective adds.
    #[default]
    Head,
}

/// A parameter or buffer that a model has.
#[derive(Debug, Clone)]
pub struct ParamSpec {
    /// Full name, as it stands in files.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
    /// How it starts.
    pub init: Init,
    /// Whether it is a buffer: saved with the model, and no parameter that could be trained.
    pub buffer: bool,
    /// Where it stands.
    pub depth: Depth,
    /// Whether its second axis, the channels that a convolution reads, is the last one in memory; `shape`
    /// and files have it as PyTorch does.
    pub channels_last: bool,
}

impl ParamSpec {
    /// A parameter `name` of the given shape.
    pub fn new(name: impl Into<String>, shape: impl Into<Shape>, init: Init) -> ParamSpec {
        ParamSpec {
            name: name.into(),
            shape: shape.into(),
            init,
            buffer: false,
            depth: Depth::default(),
            channels_last: false,
        }
    }

    /// A buffer `name` of the given shape.
    pub fn buffer(name: impl Into<String>, shape: impl Into<Shape>, init: Init) -> ParamSpec {
        ParamSpec {
            buffer: true,
            ..ParamSpec::new(name, shape, init)
        }
    }

    /// Its shape in memory.
    pub fn held_shape(&self) -> Shape {
        match self.shape.0[..] {
            [outputs, inputs, ref taps @ ..] if self.channels_last => {
                Shape([&[outputs], taps, &[inputs]].concat())
            }
            _ => self.shape.clone(),
        }
    }

    /// Its values as they lie in memory, of those in the order of `shape`.
    pub fn to_held<'a>(&self, values: impl Into<Cow<'a, [f32]>>) -> Cow<'a, [f32]> {
        let [columns, taps] = self.turned();
        turn(values.into(), columns, taps)
    }

    /// Its values in the order of `shape`, of those in memory.
    pub fn from_held(&self, values: Vec<f32>) -> Vec<f32> {
        let [columns, taps] = self.turned();
        turn(values.into(), taps, columns).into_owned()
    }

    /// Rows and columns of the matrices that change places in memory.
    fn turned(&self) -> [usize; 2] {
        match self.shape.0[..] {
            [_, inputs, ref taps @ ..] if self.channels_last => [inputs, taps.iter().product()],
            _ => [1; 2],
        }
    }

    /// The same, starting with zeros: for one whose values are loaded.
    #[must_use]
    pub fn zeroed(self) -> ParamSpec {
        ParamSpec {
            init: Init::Constant(0.0),
            ..self
        }
    }
}

/// Matrices of so many rows and columns, one after another, each transposed.
fn turn(values: Cow<'_, [f32]>, rows: usize, columns: usize) -> Cow<'_, [f32]> {
    if rows == 1 || columns == 1 {
        return values;
    }
    let mut turned = Vec::with_capacity(values.len());
    for matrix in values.chunks(rows * columns) {
        for column in 0..columns {
            turned.extend((0..rows).map(|row| matrix[row * columns + column]));
        }
    }
    turned.into()
}

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

/// Blocks of four values that a thread draws at a time.
const BLOCKS: usize = 1 << 14;

impl Init {
    /// Draws block by block, each from its own number: as many threads as there are draw what one
    /// would.
    pub(crate) fn fill(self, out: &mut [f32], seed: u64, name: &str) {
        let key = [(seed as u32) ^ fnv1a(name), (seed >> 32) as u32];
        let draw = |block| philox::philox4x32(counter(block), key);
        let uniform = |block, bound: f32| draw(block).map(|word| (2.0 * unit(word) - 1.0) * bound);
        let normal = |block, std: f32| {
            let [a, b, c, d] = draw(block);
            // Box-Muller, in f64 so that the tail is smooth.
            let pair = |a, b| {
                let radius = (-2.0 * (1.0 - f64::from(unit(a))).ln()).sqrt();
                let angle = std::f64::consts::TAU * f64::from(unit(b));
                [radius * angle.cos(), radius * angle.sin()]
            };
            let ([a, b], [c, d]) = (pair(a, b), pair(c, d));
            [a, b, c, d].map(|normal| normal as f32 * std)
        };
        let parts = out.par_chunks_mut(4 * BLOCKS).enumerate();
        parts.for_each(|(part, out)| {
            for (i, chunk) in out.chunks_mut(4).enumerate() {
                let block = part * BLOCKS + i;
                let values = match self {
                    Init::Constant(value) => [value; 4],
                    Init::Uniform(bound) => uniform(block, bound),
                    Init::Normal(std) => normal(block, std),
                };
                chunk.copy_from_slice(&values[..chunk.len()]);
            }
        });
    }
}

fn counter(block: usize) -> [u32; 4] {
    [block as u32, (block as u64 >> 32) as u32, 0, 0]
}

/// A word as a number in `[0, 1)`, exactly representable.
fn unit(word: u32) -> f32 {
    (word >> 8) as f32 / (1u32 << 24) as f32
}

/// 32-bit FNV-1a, so that a parameter's values depend on its name and not on its place.
fn fnv1a(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::Init;

    #[test]
    fn initial_values_have_the_stated_distribution() {
        let mut values = vec![0.0f32; 40_001];
        Init::Normal(0.02).fill(&mut values, 7, "w");
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let var = values
            .iter()
            .map(|&v| (f64::from(v) - mean).powi(2))
            .sum::<f64>()
            / n;
        assert!(
            mean.abs() < 5e-4 && (var.sqrt() - 0.02).abs() < 5e-4,
            "{mean} {}",
            var.sqrt()
        );
        Init::Uniform(0.1).fill(&mut values, 7, "w");
        assert!(values.iter().all(|v| (-0.1..0.1).contains(v)));
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        assert!(mean.abs() < 2e-3, "{mean}");
    }

    #[test]
    fn several_threads_draw_what_one_draws() {
        let draw = |len| {
            let mut values = vec![0.0f32; len];
            Init::Normal(1.0).fill(&mut values, 3, "w");
            values
        };
        // More than a thread draws at a time, and not a multiple of four.
        let (long, short) = (draw(3 * 4 * super::BLOCKS + 7), draw(4 * super::BLOCKS));
        assert_eq!(long[..short.len()], short);
        let [last, before] = [long.len() - 1, long.len() - 2];
        assert!(long[last] != 0.0 && long[before] != long[last]);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let alone = pool.expect("a thread").install(|| draw(long.len()));
        assert_eq!(alone, long);
    }

    #[test]
    fn another_name_or_seed_gives_other_values() {
        let draw = |seed, name: &str| {
            let mut values = [0.0f32; 8];
            Init::Uniform(1.0).fill(&mut values, seed, name);
            values
        };
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
    }
}
