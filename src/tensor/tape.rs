//! The tape: one node for each operator that ran, differentiated in reverse.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use super::{DType, Tensor};
use crate::device::Gpu;
use crate::error::{Error, Result};

type BackwardFn = Box<dyn FnOnce(&mut Backward) -> Result<()>>;

struct Node {
    op: &'static str,
    outputs: Vec<u64>,
    backward: BackwardFn,
}

/// What ran, so that it can be differentiated. One tape serves one forward and one backward pass.
pub struct Tape {
    gpu: Gpu,
    nodes: RefCell<Vec<Node>>,
    /// Tensors through which a gradient must pass.
    tracked: RefCell<HashSet<u64>>,
    mode: Mode,
    layers: Cell<u32>,
    /// Whether nodes are kept, or only what they say about which tensors need a gradient.
    keeps_nodes: bool,
    /// The gradient of the loss by itself (its first value); 1 if `None`.
    loss_scale: Option<Tensor>,
}

#[derive(Clone)]
enum Mode {
    Inference,
    /// With the per-step numbers (`StepState`) that dropout reads.
    Training {
        step_state: Tensor,
        activations: DType,
    },
}

impl Tape {
    /// A tape that records and lets dropout drop; `step_state` holds the per-step numbers.
    pub fn training(gpu: &Gpu, step_state: &Tensor) -> Tape {
        Tape::new(
            gpu,
            Mode::Training {
                step_state: step_state.clone(),
                activations: DType::F32,
            },
        )
    }

    /// As [`Tape::training`], with activations and their gradients in f16. All gradients come out
    /// times the first value of `loss_scale`, f32, as it is on the device when they are computed.
    ///
    /// # Errors
    /// [`Error::NoHalf`] when the adapter has no f16, [`Error::DType`].
    pub fn mixed(gpu: &Gpu, step_state: &Tensor, loss_scale: &Tensor) -> Result<Tape> {
        gpu.require_f16()?;
        loss_scale.expect_dtype("tape", "loss_scale", DType::F32)?;
        let mode = Mode::Training {
            step_state: step_state.clone(),
            activations: DType::F16,
        };
        Ok(Tape {
            loss_scale: Some(loss_scale.clone()),
            ..Tape::new(gpu, mode)
        })
    }

    /// A tape that records nothing; dropout is the identity.
    pub fn inference(gpu: &Gpu) -> Tape {
        Tape::new(gpu, Mode::Inference)
    }

    fn new(gpu: &Gpu, mode: Mode) -> Tape {
        Tape {
            gpu: gpu.clone(),
            nodes: RefCell::default(),
            tracked: RefCell::default(),
            mode,
            layers: Cell::new(0),
            keeps_nodes: true,
            loss_scale: None,
        }
    }

    /// A tape for a part of this one's forward pass, whose draws start at `layer`.
    fn segment(mode: &Mode, gpu: &Gpu, layer: u32, tracked: HashSet<u64>, keeps: bool) -> Tape {
        Tape {
            tracked: RefCell::new(tracked),
            layers: Cell::new(layer),
            keeps_nodes: keeps,
            ..Tape::new(gpu, mode.clone())
        }
    }

    /// The context operators run in.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The per-step numbers while training.
    pub fn step_state(&self) -> Option<&Tensor> {
        match &self.mode {
            Mode::Training { step_state, .. } => Some(step_state),
            Mode::Inference => None,
        }
    }

    /// The element type in which a model's activations begin; operators keep that of their inputs.
    pub fn activations(&self) -> DType {
        match self.mode {
            Mode::Training { activations, .. } => activations,
            Mode::Inference => DType::F32,
        }
    }

    /// A number for each use of randomness in the order of the forward pass, so that two layers
    /// never draw the same values.
    pub(crate) fn next_layer(&self) -> u32 {
        self.layers.replace(self.layers.get() + 1)
    }

    /// Whether `tensor` needs a gradient.
    pub fn needs_grad(&self, tensor: &Tensor) -> bool {
        self.step_state().is_some()
            && (tensor.grad().is_some() || self.tracked.borrow().contains(&tensor.id()))
    }

    /// Asks for the gradient of an input that is not a parameter; it is returned by
    /// [`Tape::backward_with_inputs`].
    pub fn watch(&self, input: &Tensor) {
        self.tracked.borrow_mut().insert(input.id());
    }

    /// Notes that `outputs` came from `inputs` by `op`. `backward` is dropped unless some input
    /// needs a gradient. It reads the gradients of its outputs and fills those of its inputs.
    pub(crate) fn record(
        &self,
        op: &'static str,
        inputs: &[&Tensor],
        outputs: &[&Tensor],
        backward: impl FnOnce(&mut Backward) -> Result<()> + 'static,
    ) {
        if !inputs.iter().any(|t| self.needs_grad(t)) {
            return;
        }
        let outputs: Vec<u64> = outputs.iter().map(|t| t.id()).collect();
        self.tracked.borrow_mut().extend(&outputs);
        if self.keeps_nodes {
            self.nodes.borrow_mut().push(Node {
                op,
                outputs,
                backward: Box::new(backward),
            });
        }
    }

    /// As [`Tape::record`], of one output. `backward` is given its gradient; of `y` only the identity and
    /// the shape are kept.
    pub(crate) fn record_one(
        &self,
        op: &'static str,
        inputs: &[&Tensor],
        y: &Tensor,
        backward: impl FnOnce(&mut Backward, &Tensor) -> Result<()> + 'static,
    ) {
        let output = y.without_values();
        self.record(op, inputs, &[y], move |cx| match cx.upstream(&output)? {
            Some(dy) => backward(cx, &dy),
            None => Ok(()),
        });
    }

    /// As [`Tape::record_one`], of one tensor made of another: `backward` is told where the gradient of
    /// `x` goes.
    pub(crate) fn record_map(
        &self,
        op: &'static str,
        x: &Tensor,
        y: &Tensor,
        backward: impl FnOnce(&Gpu, &Tensor, &Sink) -> Result<()> + 'static,
    ) {
        let input = x.without_values();
        self.record_one(op, &[x], y, move |cx, dy| match cx.sink(&input)? {
            Some(dx) => backward(&cx.gpu, dy, &dx),
            None => Ok(()),
        });
    }

    /// Runs `forward` on `inputs` without keeping what its operators save, and runs it again on
    /// the way back: memory for one such part at a time, paid with a second forward pass (Chen et
    /// al. 2016). Dropout draws the same masks again, so the gradients are those without it, bit
    /// for bit. `forward` must depend on nothing but its inputs and on parameters.
    ///
    /// # Errors
    /// Those of `forward`.
    pub fn checkpoint(
        &self,
        inputs: &[&Tensor],
        forward: impl Fn(&Tape, &[Tensor]) -> Result<Tensor> + 'static,
    ) -> Result<Tensor> {
        let inputs: Vec<Tensor> = inputs.iter().map(|&t| t.clone()).collect();
        if self.step_state().is_none() {
            return forward(self, &inputs);
        }
        let needed = inputs.iter().filter(|t| self.needs_grad(t));
        let tracked: HashSet<u64> = needed.map(Tensor::id).collect();
        let (mode, layer) = (self.mode.clone(), self.layers.get());
        let first = Tape::segment(&mode, &self.gpu, layer, tracked.clone(), false);
        let y = forward(&first, &inputs)?;
        self.layers.set(first.layers.get());
        let is_result = first.tracked.borrow().contains(&y.id()) && !tracked.contains(&y.id());
        if is_result {
            let id = y.id();
            self.tracked.borrow_mut().insert(id);
            let out = y.without_values();
            let backward = move |cx: &mut Backward| {
                let Some(dy) = cx.upstream(&out)? else {
                    return Ok(());
                };
                let again = Tape::segment(&mode, &cx.gpu, layer, tracked, true);
                let y = forward(&again, &inputs)?;
                cx.tracked.extend(again.tracked.into_inner());
                cx.grads.insert(y.id(), dy);
                cx.run(again.nodes.into_inner())
            };
            if self.keeps_nodes {
                self.nodes.borrow_mut().push(Node {
                    op: "checkpoint",
                    outputs: vec![id],
                    backward: Box::new(backward),
                });
            }
        }
        Ok(y)
    }

    /// Adds to every parameter's gradient that of `loss` (a single number).
    ///
    /// # Errors
    /// [`Error::Shape`] when `loss` is not one number; whatever the operators report.
    pub fn backward(self, loss: &Tensor) -> Result<()> {
        self.backward_with_inputs(loss, &[]).map(drop)
    }

    /// As [`Tape::backward`], and returns the gradients of the watched `inputs`: `None` for one
    /// that the loss does not depend on.
    ///
    /// # Errors
    /// As [`Tape::backward`].
    pub fn backward_with_inputs(
        self,
        loss: &Tensor,
        inputs: &[&Tensor],
    ) -> Result<Vec<Option<Tensor>>> {
        loss.expect("backward", "loss", &[1], DType::F32)?;
        if !self.needs_grad(loss) {
            return Err(Error::Argument {
                op: "backward",
                arg: "loss",
                value: format!("{loss:?}"),
                expected: "a result of trainable parameters, computed on a training tape",
            });
        }
        let seed = match &self.loss_scale {
            Some(scale) => scale.copy_of_range(0, [1])?,
            None => {
                let one = Tensor::empty(&self.gpu, [1], DType::F32)?;
                one.fill(1.0)?;
                one
            }
        };
        let mut backward = Backward {
            gpu: self.gpu.clone(),
            tracked: self.tracked.into_inner(),
            grads: HashMap::from([(loss.id(), seed)]),
            asked: inputs.iter().map(|t| t.id()).collect(),
        };
        backward.run(self.nodes.into_inner())?;
        Ok(inputs
            .iter()
            .map(|t| backward.grads.remove(&t.id()))
            .collect())
    }
}

/// Where an operator's backward puts the gradient of one input.
#[derive(Clone)]
pub struct Sink {
    /// The gradient's memory, of the input's shape.
    pub grad: Tensor,
    /// Add to what is there (`true`), or overwrite it without reading (`false`).
    pub accumulate: bool,
}

impl Sink {
    /// `accumulate` as the kernels' parameter.
    pub fn flag(&self) -> u32 {
        u32::from(self.accumulate)
    }
}

/// The gradients on their way back.
pub struct Backward {
    gpu: Gpu,
    tracked: HashSet<u64>,
    grads: HashMap<u64, Tensor>,
    /// Whose gradients are kept to the end.
    asked: HashSet<u64>,
}

impl Backward {
    /// Runs nodes in reverse; a gradient is dropped once the node that made its tensor has run.
    fn run(&mut self, nodes: Vec<Node>) -> Result<()> {
        for node in nodes.into_iter().rev() {
            let arrived = |id| self.grads.contains_key(id);
            if !node.outputs.iter().any(arrived) {
                continue; // The loss does not depend on it.
            }
            log::trace!("backward of {}", node.op);
            (node.backward)(self)?;
            for id in &node.outputs {
                if !self.asked.contains(id) {
                    self.grads.remove(id);
                }
            }
        }
        Ok(())
    }

    /// The context to dispatch in.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The gradient that arrived at an output; `None` stands for zero.
    ///
    /// # Errors
    /// Never in practice: the gradient has as many elements as its tensor.
    pub fn upstream(&self, output: &Tensor) -> Result<Option<Tensor>> {
        self.grads
            .get(&output.id())
            .map(|g| g.reshaped(output.shape().clone()))
            .transpose()
    }

    /// Whether anybody wants the gradient of an input.
    pub fn wants(&self, input: &Tensor) -> bool {
        input.grad().is_some() || self.tracked.contains(&input.id())
    }

    /// Where to put the gradient of an input; `None` when nobody wants it. Parameters
    /// accumulate; an activation is overwritten by its first user and accumulated by the others,
    /// in the activation's own element type.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when its memory cannot be had.
    pub fn sink(&mut self, input: &Tensor) -> Result<Option<Sink>> {
        if !self.wants(input) {
            return Ok(None);
        }
        let known = input.grad().or_else(|| self.grads.get(&input.id()));
        let accumulate = known.is_some();
        let grad = match known {
            Some(grad) => grad.reshaped(input.shape().clone())?,
            None => Tensor::empty(&self.gpu, input.shape().clone(), input.dtype())?,
        };
        if !accumulate {
            self.grads.insert(input.id(), grad.clone());
        }
        Ok(Some(Sink { grad, accumulate }))
    }
}
