//! The proof that all operators share.
//!
//! Each stands in the middle of a graph: loss = Σ 2.5·y∘coef + Σ x∘other, for all its outputs y and
//! inputs x. So its backward sees an upstream gradient that is not 1, and meets other gradients of
//! its inputs, before its own or after.

use std::collections::BTreeSet;

use half::f16;

use super::evidence::{Evidence, Way};
use crate::device::{Gpu, Ran};
use crate::error::Result;
use crate::ops;
use crate::optim::StepState;
use crate::reference::compare::compare;
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float, cast};
use crate::tensor::{DType, Tape, Tensor};

/// An operator and its reference.
pub trait Op {
    /// What it is, in faults.
    fn name(&self) -> String;
    /// Its outputs; those left out get no gradient.
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>>;
    /// The reference's outputs.
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>>;
    /// Gradients of all inputs from those of the outputs.
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>>;
    /// Forward and backward.
    fn tolerance(&self) -> (Tolerance, Tolerance);
    /// How the names of the kernels begin that make its gradients: what else runs there belongs to the
    /// graph.
    fn backward_kernels(&self) -> &'static [&'static str];
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

/// One in f32.
pub fn input(dims: &[usize], values: Vec<f32>) -> Input {
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
    fn backward_kernels(&self) -> &'static [&'static str] {
        self.0.backward_kernels()
    }
}

/// An operator that rounds to f16 on its way: what it keeps, or what it makes between its products.
/// Its tolerance forward.
pub struct Rounding<O>(pub O, pub Tolerance);

impl<O: Op> Op for Rounding<O> {
    fn name(&self) -> String {
        self.0.name()
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.0.run(tape, inputs)
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        self.0.forward(inputs)
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        self.0.backward(inputs, dy)
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (self.1, tolerance::HALF_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        self.0.backward_kernels()
    }
}

/// Puts NaN in what the pool will hand out, in eager mode and in recordings: who reads memory that
/// nobody wrote is found out.
///
/// # Errors
/// Those of the device.
pub fn poison(gpu: &Gpu) -> Result<()> {
    let fill = || {
        let sizes = (6..16).flat_map(|power| (8..16).map(move |eighth| eighth << power >> 3));
        let all = sizes.flat_map(|len: usize| [len, len]).map(|len| {
            let tensor = Tensor::empty(gpu, [len], DType::F32)?;
            tensor.fill(f32::NAN)?;
            Ok(tensor)
        });
        all.collect::<Result<Vec<Tensor>>>()
    };
    drop(fill()?);
    let (recording, tensors) = gpu.record(fill)?;
    gpu.replay(&recording)?;
    gpu.wait()?;
    drop((recording, tensors));
    Ok(())
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
    /// What the inputs hold afterwards.
    inputs: Vec<Vec<f32>>,
    /// What ran, where it was recorded.
    ran: BTreeSet<Ran>,
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

/// Inputs of a graph on the device, and what its loss weighs them by.
struct Placed {
    tensors: Vec<Tensor>,
    coef: Vec<Tensor>,
    other: Vec<Tensor>,
    one: Tensor,
    state: StepState,
}

impl<'a, O: Op> Graph<'a, O> {
    fn new(op: &'a O, gpu: &'a Gpu, inputs: &'a [Input]) -> Self {
        let values: Vec<Vec<f32>> = inputs.iter().map(|i| i.values.clone()).collect();
        let mut data = Data::new(99);
        let mixed = op.begins_in_f16() || inputs.iter().any(|i| i.half);
        let mut like = |all: &[Vec<f32>]| -> Vec<Vec<f32>> {
            let values = all.iter().map(|v| data.normal(v.len(), 1.0));
            if mixed {
                values
                    .map(|v| v.into_iter().map(coarse).collect())
                    .collect()
            } else {
                values.collect()
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

    fn place(&self, roles: &[Role]) -> Result<Placed> {
        let upload = |v: &Vec<f32>| Tensor::from_slice(self.gpu, [v.len()], v);
        let all = |values: &[Vec<f32>]| values.iter().map(upload).collect::<Result<Vec<_>>>();
        let mut tensors = Vec::new();
        for ((input, held), role) in self.inputs.iter().zip(&self.held).zip(roles) {
            let dtype = if input.half { DType::F16 } else { DType::F32 };
            let tensor = Tensor::empty(self.gpu, input.dims.clone(), dtype)?;
            tensor.write_rounded(&input.values)?;
            tensors.push(match role {
                Role::Parameter if !input.half => tensor.with_grad(upload(held)?),
                _ => tensor,
            });
        }
        Ok(Placed {
            tensors,
            coef: all(&self.coef)?,
            other: all(&self.other)?,
            one: upload(&vec![1.0])?,
            state: StepState::new(self.gpu, 5)?,
        })
    }

    fn tape(&self, on: &Placed) -> Result<Tape> {
        if self.mixed {
            Tape::mixed(self.gpu, on.state.tensor(), &on.one)
        } else {
            Ok(Tape::training(self.gpu, on.state.tensor()))
        }
    }

    /// Outputs and the gradients of what is no parameter.
    fn build(
        &self,
        on: &Placed,
        roles: &[Role],
        other_first: bool,
    ) -> Result<(Vec<Tensor>, Vec<Option<Tensor>>)> {
        let tape = self.tape(on)?;
        for (tensor, role) in on.tensors.iter().zip(roles) {
            if *role != Role::Frozen && tensor.grad().is_none() {
                tape.watch(tensor);
            }
        }
        let of_inputs = || {
            let terms = on.tensors.iter().zip(&on.other);
            terms
                .map(|(x, o)| self.dot(&tape, x, o))
                .collect::<Result<Vec<_>>>()
        };
        // The tape runs backwards: what stands first gives its gradients last.
        let mut terms = if other_first { of_inputs()? } else { vec![] };
        let outputs = self.op.run(&tape, &on.tensors)?;
        for (y, coef) in outputs.iter().zip(&on.coef) {
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
        let asked: Vec<&Tensor> = (on.tensors.iter()).filter(|t| t.grad().is_none()).collect();
        let grads = tape.backward_with_inputs(&loss, &asked)?;
        Ok((outputs, grads))
    }

    fn once(&self, roles: &[Role], other_first: bool, how: How) -> Result<Outcome> {
        let on = self.place(roles)?;
        let mut ran = BTreeSet::new();
        let (outputs, asked) = match how {
            How::Eager => self.build(&on, roles, other_first)?,
            How::Replayed => {
                let build = || self.build(&on, roles, other_first);
                let (recording, built) = self.gpu.record(build)?;
                // The second replay must not see anything of the first.
                for _ in 0..2 {
                    for (tensor, held) in on.tensors.iter().zip(&self.held) {
                        if let Some(grad) = tensor.grad() {
                            grad.write(held)?;
                        }
                    }
                    self.gpu.replay(&recording)?;
                }
                ran = recording.kernels();
                built
            }
        };
        let host = |tensors: &[Tensor]| -> Result<Vec<Vec<f32>>> {
            tensors.iter().map(Tensor::to_f32_vec).collect()
        };
        let mut asked = asked.into_iter();
        let grads = on.tensors.iter().map(|tensor| {
            let grad = match tensor.grad() {
                Some(grad) => Some(grad.clone()),
                None => asked.next().flatten(),
            };
            grad.map(|grad| grad.to_f32_vec()).transpose()
        });
        Ok(Outcome {
            grads: grads.collect::<Result<_>>()?,
            outputs: host(&outputs)?,
            halves: outputs.iter().map(|y| y.dtype() == DType::F16).collect(),
            inputs: host(&on.tensors)?,
            ran,
        })
    }

    /// What runs forward.
    fn runs_forward(&self) -> Result<BTreeSet<Ran>> {
        let on = self.place(&vec![Role::Parameter; self.inputs.len()])?;
        let tape = self.tape(&on)?;
        let (recording, _) = self.gpu.record(|| self.op.run(&tape, &on.tensors))?;
        Ok(recording.kernels())
    }
}

fn added<F: Float>(a: &[F], b: &[f32]) -> Vec<F> {
    let sums = a.iter().zip(b).map(|(a, b)| *a + F::of((*b).into()));
    sums.collect()
}

/// Proves `op` on these inputs: values and gradients, the same bits when run twice and when
/// recorded and replayed, parameters and activations, frozen inputs.
///
/// # Errors
/// Those of the device; what is wrong in numbers is in the evidence.
pub fn prove<O: Op>(op: &O, gpu: &Gpu, inputs: &[Input]) -> Result<Evidence> {
    let graph = Graph::new(op, gpu, inputs);
    let dims: Vec<_> = inputs.iter().map(|i| &i.dims).collect();
    let mut evidence = Evidence::of(format!("{} {dims:?}", op.name()));
    let (forward, backward) = op.tolerance();
    let want = op.forward::<f64>(&inputs.iter().map(|i| cast(&i.values)).collect::<Vec<_>>());
    let naive = op.forward::<f32>(&inputs.iter().map(|i| i.values.clone()).collect::<Vec<_>>());
    let (grads, naive_grads) = (graph.expected::<f64>(), graph.expected::<f32>());

    let parameters = vec![Role::Parameter; inputs.len()];
    let first = graph.once(&parameters, true, How::Eager)?;
    if first.outputs.len() != want.len() {
        let counts = (first.outputs.len(), want.len());
        evidence.wrong(
            Way::Forward,
            format!("{} outputs, wanted {}", counts.0, counts.1),
        );
        return Ok(evidence);
    }
    for (k, got) in first.outputs.iter().enumerate() {
        // Stored in f16 it is rounded once at least.
        let tolerance = match first.halves[k] && forward.rtol < tolerance::HALF.rtol {
            true => tolerance::HALF,
            false => forward,
        };
        let comparison = compare(got, &want[k], &naive[k], tolerance);
        evidence.add(Way::Forward, &format!("output {k}"), comparison);
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
        evidence.gradient(&format!("gradient of parameter {k}"), got, |got| {
            compare(got, &want, &naive, backward(k))
        });
    }
    for (k, (after, before)) in first.inputs.iter().zip(inputs).enumerate() {
        let what = format!("input {k} after it");
        evidence.same(Way::Forward, &what, after, &before.values);
    }
    let again = graph.once(&parameters, true, How::Eager)?;
    evidence.alike(
        "again",
        [&first.outputs, &again.outputs],
        [&first.grads, &again.grads],
    );
    let replayed = graph.once(&parameters, true, How::Replayed)?;
    evidence.alike(
        "replayed",
        [&first.outputs, &replayed.outputs],
        [&first.grads, &replayed.grads],
    );
    for other_first in [true, false] {
        let watched = graph.once(&vec![Role::Watched; inputs.len()], other_first, How::Eager)?;
        for (k, got) in watched.grads.iter().enumerate() {
            let what = format!("gradient of activation {k}, other first {other_first}");
            evidence.gradient(&what, got, |got| {
                compare(got, &grads[k], &naive_grads[k], backward(k))
            });
        }
    }
    for frozen in (0..inputs.len()).filter(|_| inputs.len() > 1) {
        let mut roles = parameters.clone();
        roles[frozen] = Role::Frozen;
        let mut partly = graph.once(&roles, true, How::Eager)?;
        if partly.grads[frozen].is_some() {
            evidence.wrong(
                Way::Backward,
                format!("input {frozen} is frozen, and has a gradient"),
            );
        }
        partly.grads[frozen].clone_from(&first.grads[frozen]);
        let what = format!("with input {frozen} frozen");
        evidence.alike(
            &what,
            [&first.outputs, &partly.outputs],
            [&first.grads, &partly.grads],
        );
    }
    evidence.ran(Way::Forward, graph.runs_forward()?);
    let own = |ran: &Ran| {
        op.backward_kernels()
            .iter()
            .any(|own| ran.kernel.starts_with(own))
    };
    evidence.ran(Way::Backward, replayed.ran.into_iter().filter(own));
    Ok(evidence)
}
