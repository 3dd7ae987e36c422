//! The proof that all operators share.
//!
//! Each stands in the middle of a graph: loss = Σ 2.5·y∘coef + Σ x∘other, for all its outputs y and
//! inputs x. So its backward sees an upstream gradient that is not 1, and meets other gradients of
//! its inputs, before its own or after.

use half::f16;
use melos::device::{AdapterChoice, Gpu};
use melos::error::Result;
use melos::ops;
use melos::optim::StepState;
use melos::tensor::{DType, Tape, Tensor};

use crate::common;
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float, assert_close, assert_same_bits, cast};

/// An operator and its reference.
pub trait Op {
    fn name(&self) -> String;
    /// Its outputs; those left out get no gradient.
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>>;
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>>;
    /// Gradients of all inputs from those of the outputs.
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>>;
    /// Forward and backward.
    fn tolerance(&self) -> (Tolerance, Tolerance);
    /// Whether the tape's activations are f16 even if no input is.
    fn begins_in_f16(&self) -> bool {
        false
    }
}

/// An input's shape and values.
#[derive(Clone)]
pub struct Input {
    pub dims: Vec<usize>,
    pub values: Vec<f32>,
    /// An activation in f16, which is no parameter.
    pub half: bool,
}

pub fn input(dims: &[usize], values: Vec<f32>) -> Input {
    assert_eq!(dims.iter().product::<usize>(), values.len());
    Input {
        dims: dims.to_vec(),
        values,
        half: false,
    }
}

/// The same as an activation in f16, rounded to it.
pub fn half(input: Input) -> Input {
    let values = input.values.iter().map(|v| f16::from_f32(*v).to_f32());
    Input {
        values: values.collect(),
        half: true,
        ..input
    }
}

/// Rounded to 8 bits, so that 2.5 times it is a whole f16.
fn coarse(v: f32) -> f32 {
    f32::from_bits((v.to_bits() + 0x8000) & 0xffff_0000)
}

/// `op` of two inputs, given the same tensor twice.
pub struct Shared<O>(pub O);

impl<O: Op> Op for Shared<O> {
    fn name(&self) -> String {
        format!("{} of one tensor", self.0.name())
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.0.run(tape, &[inputs[0].clone(), inputs[0].clone()])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        self.0.forward(&[inputs[0].clone(), inputs[0].clone()])
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let both = self.0.backward(&[inputs[0].clone(), inputs[0].clone()], dy);
        vec![both[0].iter().zip(&both[1]).map(|(a, b)| *a + *b).collect()]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        self.0.tolerance()
    }
}

/// The adapter under test, and the same one without its optional features: what runs anywhere.
pub fn adapters() -> [(&'static str, Gpu); 2] {
    let gpu = common::gpu();
    let portable = gpu.portable();
    [("", poisoned(gpu)), ("portable ", poisoned(portable))]
}

pub fn gpu() -> Gpu {
    poisoned(common::gpu())
}

/// A device without bounds checks, as releases run.
pub fn unchecked() -> Gpu {
    let gpu = Gpu::open(&AdapterChoice::default());
    poisoned(gpu.expect("a GPU adapter; run through tools/with-vulkan"))
}

/// Puts NaN in what the pool will hand out, in eager mode and in recordings: who reads memory that
/// nobody wrote is found out.
fn poisoned(gpu: Gpu) -> Gpu {
    let fill = || {
        let sizes = (6..16).flat_map(|power| (8..16).map(move |eighth| eighth << power >> 3));
        let all = sizes.flat_map(|len: usize| [len, len]).map(|len| {
            let tensor = Tensor::empty(&gpu, [len], DType::F32)?;
            tensor.fill(f32::NAN)?;
            Ok(tensor)
        });
        all.collect::<Result<Vec<Tensor>>>()
    };
    drop(fill().unwrap());
    let (recording, tensors) = gpu.record(fill).unwrap();
    gpu.replay(&recording).unwrap();
    gpu.wait().unwrap();
    drop((recording, tensors));
    gpu
}

/// What becomes of an input.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// Its gradient is added to what is there.
    Parameter,
    /// Its gradient is asked for.
    Watched,
    /// It gets none.
    Frozen,
}

#[derive(Clone, Copy)]
enum How {
    Eager,
    Replayed,
}

struct Outcome {
    outputs: Vec<Vec<f32>>,
    grads: Vec<Option<Vec<f32>>>,
    /// Which outputs are f16.
    halves: Vec<bool>,
}

/// A graph around an operator.
struct Graph<'a, O> {
    op: &'a O,
    gpu: &'a Gpu,
    inputs: &'a [Input],
    /// Whether activations are f16.
    mixed: bool,
    coef: Vec<Vec<f32>>,
    other: Vec<Vec<f32>>,
    /// What the parameters' gradients hold before.
    held: Vec<Vec<f32>>,
}

const UPSTREAM: f32 = 2.5;

impl<'a, O: Op> Graph<'a, O> {
    fn new(op: &'a O, gpu: &'a Gpu, inputs: &'a [Input]) -> Self {
        let values: Vec<Vec<f32>> = inputs.iter().map(|i| i.values.clone()).collect();
        let mut data = Data::new(99);
        let mixed = op.begins_in_f16() || inputs.iter().any(|i| i.half);
        let mut like = |all: &[Vec<f32>]| -> Vec<Vec<f32>> {
            let values = all.iter().map(|v| data.normal(v.len(), 1.0));
            match mixed {
                true => values
                    .map(|v| v.into_iter().map(coarse).collect())
                    .collect(),
                false => values.collect(),
            }
        };
        Graph {
            op,
            gpu,
            inputs,
            mixed,
            coef: like(&op.forward(&values)),
            other: like(&values),
            held: like(&values),
        }
    }

    fn dot(&self, tape: &Tape, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let x = &ops::cast(tape, x, DType::F32)?;
        let y = y.reshaped(x.shape().clone())?;
        ops::sum_all(tape, &ops::mul(tape, x, &y)?)
    }

    /// The gradients as the reference has them, without what was held.
    fn expected<F: Float>(&self) -> Vec<Vec<F>> {
        let inputs: Vec<Vec<F>> = self.inputs.iter().map(|i| cast(&i.values)).collect();
        let mut dy: Vec<Vec<F>> = self.coef.iter().map(|c| cast(c)).collect();
        for d in dy.iter_mut().flatten() {
            *d *= F::of(UPSTREAM.into());
        }
        let mut grads = self.op.backward(&inputs, &dy);
        for (grad, other) in grads.iter_mut().zip(&self.other) {
            for (g, o) in grad.iter_mut().zip(other) {
                *g += F::of((*o).into());
            }
        }
        grads
    }

    fn once(&self, roles: &[Role], other_first: bool, how: How) -> Outcome {
        let gpu = self.gpu;
        let upload = |v: &Vec<f32>| Tensor::from_slice(gpu, [v.len()], v).unwrap();
        let coef: Vec<Tensor> = self.coef.iter().map(upload).collect();
        let other: Vec<Tensor> = self.other.iter().map(upload).collect();
        let mut tensors = Vec::new();
        for ((input, held), role) in self.inputs.iter().zip(&self.held).zip(roles) {
            let dtype = if input.half { DType::F16 } else { DType::F32 };
            let tensor = Tensor::empty(gpu, input.dims.clone(), dtype).unwrap();
            tensor.write_rounded(&input.values).unwrap();
            tensors.push(match role {
                Role::Parameter if !input.half => tensor.with_grad(upload(held)),
                _ => tensor,
            });
        }
        let asked: Vec<&Tensor> = tensors.iter().filter(|t| t.grad().is_none()).collect();
        let state = StepState::new(gpu, 5).unwrap();
        let one = upload(&vec![1.0]);
        let build = || {
            let tape = match self.mixed {
                true => Tape::mixed(gpu, state.tensor(), &one)?,
                false => Tape::training(gpu, state.tensor()),
            };
            for (tensor, role) in tensors.iter().zip(roles) {
                if *role != Role::Frozen && tensor.grad().is_none() {
                    tape.watch(tensor);
                }
            }
            let of_inputs = || {
                let terms = tensors.iter().zip(&other);
                terms
                    .map(|(x, o)| self.dot(&tape, x, o))
                    .collect::<Result<Vec<_>>>()
            };
            // The tape runs backwards: what stands first gives its gradients last.
            let mut terms = if other_first { of_inputs()? } else { vec![] };
            let outputs = self.op.run(&tape, &tensors)?;
            for (y, coef) in outputs.iter().zip(&coef) {
                let y = ops::scale(&tape, y, UPSTREAM)?;
                terms.push(self.dot(&tape, &y, coef)?);
            }
            if !other_first {
                terms.extend(of_inputs()?);
            }
            let mut loss = terms[0].clone();
            for term in &terms[1..] {
                loss = ops::add(&tape, &loss, term)?;
            }
            let grads = tape.backward_with_inputs(&loss, &asked)?;
            Ok((outputs, grads))
        };
        let (outputs, mut asked) = match how {
            How::Eager => build().unwrap(),
            How::Replayed => {
                let (recording, built) = gpu.record(build).unwrap();
                // The second replay must not see anything of the first.
                for _ in 0..2 {
                    for (tensor, held) in tensors.iter().zip(&self.held) {
                        if let Some(grad) = tensor.grad() {
                            grad.write(held).unwrap();
                        }
                    }
                    gpu.replay(&recording).unwrap();
                }
                built
            }
        };
        let host = |t: &Tensor| t.to_f32_vec().unwrap();
        for (tensor, input) in tensors.iter().zip(self.inputs) {
            let name = format!("{}: an input after it", self.op.name());
            assert_same_bits(&name, &host(tensor), &input.values);
        }
        let mut grads = Vec::new();
        for tensor in &tensors {
            grads.push(match tensor.grad() {
                Some(grad) => Some(host(grad)),
                None => asked.remove(0).as_ref().map(host),
            });
        }
        Outcome {
            outputs: outputs.iter().map(host).collect(),
            halves: outputs.iter().map(|y| y.dtype() == DType::F16).collect(),
            grads,
        }
    }
}

fn added<F: Float>(a: &[F], b: &[f32]) -> Vec<F> {
    let sums = a.iter().zip(b).map(|(a, b)| *a + F::of((*b).into()));
    sums.collect()
}

/// Proves `op` on these inputs: values and gradients, the same bits when run twice and when
/// recorded and replayed, parameters and activations, frozen inputs.
#[track_caller]
pub fn prove<O: Op>(op: &O, gpu: &Gpu, inputs: &[Input]) {
    let graph = Graph::new(op, gpu, inputs);
    let dims: Vec<_> = inputs.iter().map(|i| &i.dims).collect();
    let name = format!("{} {dims:?}", op.name());
    let (forward, backward) = op.tolerance();
    let want = op.forward::<f64>(&inputs.iter().map(|i| cast(&i.values)).collect::<Vec<_>>());
    let naive = op.forward::<f32>(&inputs.iter().map(|i| i.values.clone()).collect::<Vec<_>>());
    let (grads, naive_grads) = (graph.expected::<f64>(), graph.expected::<f32>());

    let parameters = vec![Role::Parameter; inputs.len()];
    let first = graph.once(&parameters, true, How::Eager);
    assert_eq!(first.outputs.len(), want.len(), "{name}: outputs");
    for (k, got) in first.outputs.iter().enumerate() {
        let name = format!("{name}: output {k}");
        // Stored in f16 it is rounded once at least.
        let tolerance = match first.halves[k] && forward.rtol < tolerance::HALF.rtol {
            true => tolerance::HALF,
            false => forward,
        };
        assert_close(&name, got, &want[k], &naive[k], tolerance);
    }
    let backward = |k: usize| match inputs[k].half {
        true => tolerance::HALF_BWD,
        false => backward,
    };
    for (k, got) in first.grads.iter().enumerate() {
        let held = match inputs[k].half {
            true => &vec![0.0; graph.held[k].len()],
            false => &graph.held[k],
        };
        let (want, naive) = (added(&grads[k], held), added(&naive_grads[k], held));
        let name = format!("{name}: gradient of parameter {k}");
        assert_close(&name, got.as_ref().unwrap(), &want, &naive, backward(k));
    }
    for how in [How::Eager, How::Replayed] {
        let again = graph.once(&parameters, true, how);
        let what = match how {
            How::Eager => "again",
            How::Replayed => "replayed",
        };
        same(&format!("{name} {what}"), &first, &again);
    }
    for other_first in [true, false] {
        let watched = graph.once(&vec![Role::Watched; inputs.len()], other_first, How::Eager);
        for (k, got) in watched.grads.iter().enumerate() {
            let name = format!("{name}: gradient of activation {k}, other first {other_first}");
            let got = got.as_ref().unwrap();
            assert_close(&name, got, &grads[k], &naive_grads[k], backward(k));
        }
    }
    for frozen in (0..inputs.len()).filter(|_| inputs.len() > 1) {
        let mut roles = parameters.clone();
        roles[frozen] = Role::Frozen;
        let mut partly = graph.once(&roles, true, How::Eager);
        assert!(partly.grads[frozen].is_none(), "{name}: {frozen} is frozen");
        partly.grads[frozen].clone_from(&first.grads[frozen]);
        same(&format!("{name}, {frozen} frozen"), &first, &partly);
    }
}

#[track_caller]
fn same(name: &str, a: &Outcome, b: &Outcome) {
    for (k, (a, b)) in a.outputs.iter().zip(&b.outputs).enumerate() {
        assert_same_bits(&format!("{name}: output {k}"), a, b);
    }
    for (k, (a, b)) in a.grads.iter().zip(&b.grads).enumerate() {
        let (Some(a), Some(b)) = (a, b) else {
            panic!("{name}: no gradient {k}");
        };
        assert_same_bits(&format!("{name}: gradient {k}"), a, b);
    }
}
