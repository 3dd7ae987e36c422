//! Optimisers over whole parameter groups, one dispatch each; clipping by the global norm on the
//! device, so that nothing is read back within a step.

use serde::{Deserialize, Serialize};

use super::{LossScale, StepState};
use crate::device::{Gpu, Groups, params};
use crate::error::{Error, Result};
use crate::kernels::Variant;
use crate::ops::SUM_CHUNK;
use crate::tensor::{DType, ParamStore, Tensor};

/// An update rule with its constants; each as PyTorch's class of the same name. In a run file, the
/// learning rate stands in the stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum OptimizerKind {
    /// Plain stochastic gradient descent.
    Sgd {
        /// Added to the gradient, times the parameter.
        #[serde(default)]
        weight_decay: f32,
    },
    /// Heavy-ball momentum (Polyak 1964), in PyTorch's form.
    Momentum {
        /// Share of the last update that is kept.
        #[serde(default = "nine_tenths")]
        momentum: f32,
        /// Added to the gradient, times the parameter.
        #[serde(default)]
        weight_decay: f32,
    },
    /// Nesterov's momentum (Sutskever et al. 2013), in PyTorch's form.
    Nesterov {
        /// Share of the last update that is kept.
        #[serde(default = "nine_tenths")]
        momentum: f32,
        /// Added to the gradient, times the parameter.
        #[serde(default)]
        weight_decay: f32,
    },
    /// AdaGrad (Duchi et al. 2011).
    AdaGrad {
        /// Added to the denominator.
        #[serde(default = "eps_adagrad")]
        eps: f32,
        /// Added to the gradient, times the parameter.
        #[serde(default)]
        weight_decay: f32,
    },
    /// Adam (Kingma & Ba 2015).
    Adam {
        /// Share of the mean that is kept.
        #[serde(default = "nine_tenths")]
        beta1: f32,
        /// Share of the mean square that is kept.
        #[serde(default = "beta2")]
        beta2: f32,
        /// Added to the denominator.
        #[serde(default = "eps")]
        eps: f32,
        /// Added to the gradient, times the parameter.
        #[serde(default)]
        weight_decay: f32,
    },
    /// AdamW (Loshchilov & Hutter 2019): weight decay apart from the gradient.
    AdamW {
        /// Share of the mean that is kept.
        #[serde(default = "nine_tenths")]
        beta1: f32,
        /// Share of the mean square that is kept.
        #[serde(default = "beta2")]
        beta2: f32,
        /// Added to the denominator.
        #[serde(default = "eps")]
        eps: f32,
        /// Share of a parameter that is lost per step, times the learning rate.
        #[serde(default = "hundredth")]
        weight_decay: f32,
    },
    /// RMSProp (Tieleman & Hinton 2012); centred: Graves 2013.
    RmsProp {
        /// Share of the mean square that is kept.
        #[serde(default = "alpha")]
        alpha: f32,
        /// Share of the last update that is kept.
        #[serde(default)]
        momentum: f32,
        /// Added to the denominator.
        #[serde(default = "eps")]
        eps: f32,
        /// Divide by the standard deviation instead of the root mean square.
        #[serde(skip)]
        centered: bool,
        /// Added to the gradient, times the parameter.
        #[serde(default)]
        weight_decay: f32,
    },
}

impl Default for OptimizerKind {
    fn default() -> Self {
        OptimizerKind::ADAM
    }
}

impl OptimizerKind {
    /// Adam with PyTorch's constants.
    pub const ADAM: OptimizerKind = OptimizerKind::Adam {
        beta1: nine_tenths(),
        beta2: beta2(),
        eps: eps(),
        weight_decay: 0.0,
    };

    /// AdamW with PyTorch's constants.
    pub const ADAMW: OptimizerKind = OptimizerKind::AdamW {
        beta1: nine_tenths(),
        beta2: beta2(),
        eps: eps(),
        weight_decay: hundredth(),
    };

    /// Names of the state it keeps beside each parameter, as PyTorch calls it.
    pub fn state_names(&self) -> Vec<&'static str> {
        match *self {
            Self::Sgd { .. } => vec![],
            Self::Momentum { momentum, .. } | Self::Nesterov { momentum, .. } => {
                Vec::from_iter((momentum > 0.0).then_some("momentum_buffer"))
            }
            Self::AdaGrad { .. } => vec!["sum"],
            Self::RmsProp {
                momentum, centered, ..
            } => {
                let mut names = vec!["square_avg"];
                names.extend((momentum > 0.0).then_some("momentum_buffer"));
                names.extend(centered.then_some("grad_avg"));
                names
            }
            Self::Adam { .. } | Self::AdamW { .. } => vec!["exp_avg", "exp_avg_sq"],
        }
    }

    /// What is wrong with the numbers, if anything, as `(key, message)`.
    pub fn problem(&self) -> Option<(&'static str, &'static str)> {
        let share = |key, x: f32| {
            (!(0.0..1.0).contains(&x)).then_some((key, "expected 0 or more and less than 1"))
        };
        let positive = |key, x: f32| {
            (!(x > 0.0 && x.is_finite())).then_some((key, "should be a positive number"))
        };
        let own = match *self {
            Self::Sgd { .. } => None,
            Self::Momentum { momentum, .. } | Self::Nesterov { momentum, .. } => {
                share("momentum", momentum)
            }
            Self::AdaGrad { eps, .. } => positive("eps", eps),
            Self::Adam {
                beta1, beta2, eps, ..
            }
            | Self::AdamW {
                beta1, beta2, eps, ..
            } => share("beta1", beta1)
                .or(share("beta2", beta2))
                .or(positive("eps", eps)),
            Self::RmsProp {
                alpha,
                momentum,
                eps,
                ..
            } => share("alpha", alpha)
                .or(share("momentum", momentum))
                .or(positive("eps", eps)),
        };
        let mut copy = *self;
        let decay = *copy.weight_decay();
        own.or((!(decay >= 0.0 && decay.is_finite()))
            .then_some(("weight_decay", "should be 0 or a positive number")))
    }

    fn weight_decay(&mut self) -> &mut f32 {
        match self {
            Self::Sgd { weight_decay }
            | Self::Momentum { weight_decay, .. }
            | Self::Nesterov { weight_decay, .. }
            | Self::AdaGrad { weight_decay, .. }
            | Self::RmsProp { weight_decay, .. }
            | Self::Adam { weight_decay, .. }
            | Self::AdamW { weight_decay, .. } => weight_decay,
        }
    }

    pub(super) fn betas(&self) -> (f32, f32) {
        match *self {
            Self::Adam { beta1, beta2, .. } | Self::AdamW { beta1, beta2, .. } => (beta1, beta2),
            _ => (0.0, 0.0),
        }
    }
}

// PyTorch's constants, as functions because serde needs them so.

const fn nine_tenths() -> f32 {
    0.9
}

const fn beta2() -> f32 {
    0.999
}

const fn alpha() -> f32 {
    0.99
}

const fn eps() -> f32 {
    1e-8
}

const fn eps_adagrad() -> f32 {
    1e-10
}

const fn hundredth() -> f32 {
    0.01
}

/// An update rule and the state it keeps for the parameters of one store.
pub struct Optimizer {
    kind: OptimizerKind,
    gpu: Gpu,
    /// For each group, its state tensors in the order of [`OptimizerKind::state_names`].
    state: Vec<Vec<Tensor>>,
    /// (factor, norm, finite, skipped) of the last step.
    grad_state: Tensor,
    loss_scale: LossScale,
}

impl Optimizer {
    /// An optimiser for the trainable parameters of `store`, its state zero.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond the adapter's limits.
    pub fn new(gpu: &Gpu, kind: OptimizerKind, store: &ParamStore) -> Result<Optimizer> {
        let per_group = |len: usize| {
            kind.state_names()
                .iter()
                .map(|_| Tensor::zeros(gpu, [len]))
                .collect::<Result<Vec<_>>>()
        };
        let state = store
            .groups()
            .iter()
            .map(|g| per_group(g.values.len()))
            .collect::<Result<Vec<_>>>()?;
        let grad_state = Tensor::zeros(gpu, [4])?;
        Ok(Optimizer {
            kind,
            gpu: gpu.clone(),
            state,
            grad_state,
            loss_scale: LossScale::none(gpu)?,
        })
    }

    /// The same for gradients that come out scaled, as those of
    /// [`Tape::mixed`](crate::tensor::Tape::mixed).
    pub fn with_loss_scale(self, loss_scale: LossScale) -> Optimizer {
        Optimizer { loss_scale, ..self }
    }

    /// What it takes gradients to be scaled by.
    pub fn loss_scale(&self) -> &LossScale {
        &self.loss_scale
    }

    /// Its rule.
    pub fn kind(&self) -> &OptimizerKind {
        &self.kind
    }

    /// Its state: for each group, the tensors in the order of [`OptimizerKind::state_names`], in
    /// the layout of the group's values.
    pub fn state(&self) -> &[Vec<Tensor>] {
        &self.state
    }

    /// Steps left out so far because a gradient was infinite or NaN; waits for the device.
    ///
    /// # Errors
    /// [`Error::Device`] when it failed.
    pub fn skipped_steps(&self) -> Result<u32> {
        Ok(self.grad_state.to_vec::<f32>()?[3].to_bits())
    }

    /// Queues one update of the parameters trained at the store's level: the gradients' norm, clipping to `max_norm` if given, the rule, and
    /// zeroing of the gradients. Returns the norm before clipping, (1), on the device. A step
    /// with an infinite or NaN gradient changes nothing.
    ///
    /// # Errors
    /// [`Error::Parameter`] when `store` is not the one it was made for.
    pub fn step(
        &self,
        store: &ParamStore,
        state: &StepState,
        max_norm: Option<f32>,
    ) -> Result<Tensor> {
        let groups = store.groups();
        let matches = groups.len() == self.state.len()
            && groups
                .iter()
                .zip(&self.state)
                .all(|(g, s)| s.iter().all(|t| t.len() == g.values.len()));
        if !matches {
            return Err(Error::parameter(
                "optimizer",
                "its state belongs to other parameters",
            ));
        }
        self.norm(store, max_norm.unwrap_or(0.0))?;
        for (number, group) in store.active_groups() {
            let own = &self.state[number];
            let len = (group.values.len() / 4) as u32;
            let mut bindings = vec![
                state.level(group.rule.level).binding(),
                self.grad_state.binding(),
                group.values.binding(),
                group.grads.binding(),
            ];
            bindings.extend(own.iter().map(Tensor::binding));
            let mut kind = self.kind;
            if !group.rule.decays {
                *kind.weight_decay() = 0.0;
            }
            let (name, variant, params) = kind.kernel(len, group.rule.lr_scale);
            let kernel = self.gpu.kernel(name, &variant.with("ZERO_GRAD", true))?;
            let grid = Groups::cover(len as usize, 256);
            self.gpu.dispatch_bytes(&kernel, &params, &bindings, grid)?;
        }
        // The norm stands in the second place of grad_state.
        self.grad_state.copy_of_range(1, [1])
    }

    /// Queues the norm of all gradients and the factor that clips it.
    fn norm(&self, store: &ParamStore, max_norm: f32) -> Result<()> {
        let chunks = |len: usize| len.div_ceil(SUM_CHUNK);
        let count: usize = store
            .active_groups()
            .map(|(_, g)| chunks(g.grads.len()))
            .sum();
        let partial = Tensor::empty(&self.gpu, [count.max(1)], DType::F32)?;
        // Groups are padded to multiples of 64 values.
        let variant = Variant::new().with("VEC4", true);
        let kernel = self.gpu.kernel("grad_norm_partial", &variant)?;
        let mut base = 0;
        for (_, group) in store.active_groups() {
            let params = params! {
                n: u32 = group.grads.len() / 4,
                offset: u32 = 0,
                chunk: u32 = SUM_CHUNK / 4,
                base: u32,
            };
            let bindings = [group.grads.binding(), partial.binding()];
            self.gpu.dispatch(
                &kernel,
                &params,
                &bindings,
                Groups::cover(group.grads.len(), SUM_CHUNK),
            )?;
            base += chunks(group.grads.len());
        }
        let kernel = self.gpu.kernel("grad_norm_finish", &Variant::new())?;
        let params = params! {
            count: u32,
            max_norm: f32,
            interval: u32 = self.loss_scale.interval(),
        };
        let bindings = [
            self.loss_scale.tensor().binding(),
            partial.binding(),
            self.grad_state.binding(),
        ];
        self.gpu
            .dispatch(&kernel, &params, &bindings, Groups::Linear(1))
    }
}

impl OptimizerKind {
    /// Kernel, variant and parameters for a group of `len` times four values.
    fn kernel(&self, len: u32, lr_scale: f32) -> (&'static str, Variant, Vec<u8>) {
        let offset = 0;
        let sgd = |momentum: f32, nesterov: bool, weight_decay: f32| {
            let params = params! {
                len: u32,
                offset: u32,
                nesterov: u32,
                lr_scale: f32,
                momentum: f32,
                weight_decay: f32,
            };
            let variant = Variant::new().with("MOMENTUM", momentum > 0.0);
            ("sgd", variant, bytemuck::bytes_of(&params).to_vec())
        };
        match *self {
            Self::Sgd { weight_decay } => sgd(0.0, false, weight_decay),
            Self::Momentum {
                momentum,
                weight_decay,
            } => sgd(momentum, false, weight_decay),
            Self::Nesterov {
                momentum,
                weight_decay,
            } => sgd(momentum, true, weight_decay),
            Self::AdaGrad { eps, weight_decay } => {
                let params = params! {
                    len: u32,
                    offset: u32,
                    lr_scale: f32,
                    lr_decay: f32 = 0.0,
                    eps: f32,
                    weight_decay: f32,
                };
                let params = bytemuck::bytes_of(&params).to_vec();
                ("adagrad", Variant::new(), params)
            }
            Self::RmsProp {
                alpha,
                momentum,
                eps,
                centered,
                weight_decay,
            } => {
                let params = params! {
                    len: u32,
                    offset: u32,
                    lr_scale: f32,
                    alpha: f32,
                    eps: f32,
                    momentum: f32,
                    weight_decay: f32,
                };
                let variant = Variant::new()
                    .with("MOMENTUM", momentum > 0.0)
                    .with("CENTERED", centered);
                ("rmsprop", variant, bytemuck::bytes_of(&params).to_vec())
            }
            Self::Adam {
                beta1,
                beta2,
                eps,
                weight_decay,
            }
            | Self::AdamW {
                beta1,
                beta2,
                eps,
                weight_decay,
            } => {
                let params = params! {
                    len: u32,
                    offset: u32,
                    decoupled: u32 = matches!(self, Self::AdamW { .. }),
                    lr_scale: f32,
                    beta1: f32,
                    beta2: f32,
                    eps: f32,
                    weight_decay: f32,
                };
                ("adam", Variant::new(), bytemuck::bytes_of(&params).to_vec())
            }
        }
    }
}
