//! Optimisers in a run file.

use serde::{Deserialize, Serialize};

/// Optimisers with their own numbers. The learning rate stands in the stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Optimizer {
    /// Plain stochastic gradient descent.
    Sgd {
        /// L2 penalty added to the gradient.
        #[serde(default)]
        weight_decay: f32,
    },
    /// Heavy-ball momentum (Polyak 1964), in PyTorch's form.
    Momentum {
        /// Share of the velocity kept.
        #[serde(default = "nine_tenths")]
        momentum: f32,
        /// L2 penalty added to the gradient.
        #[serde(default)]
        weight_decay: f32,
    },
    /// Nesterov's momentum (Sutskever et al. 2013), in PyTorch's form.
    Nesterov {
        /// Share of the velocity kept.
        #[serde(default = "nine_tenths")]
        momentum: f32,
        /// L2 penalty added to the gradient.
        #[serde(default)]
        weight_decay: f32,
    },
    /// AdaGrad (Duchi et al. 2011).
    Adagrad {
        /// Added to the root.
        #[serde(default = "eps_adagrad")]
        eps: f32,
        /// L2 penalty added to the gradient.
        #[serde(default)]
        weight_decay: f32,
    },
    /// Adam (Kingma & Ba 2015).
    Adam {
        /// Decay of the first moment.
        #[serde(default = "nine_tenths")]
        beta1: f32,
        /// Decay of the second moment.
        #[serde(default = "beta2")]
        beta2: f32,
        /// Added to the root.
        #[serde(default = "eps")]
        eps: f32,
        /// L2 penalty added to the gradient.
        #[serde(default)]
        weight_decay: f32,
    },
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    Adamw {
        /// Decay of the first moment.
        #[serde(default = "nine_tenths")]
        beta1: f32,
        /// Decay of the second moment.
        #[serde(default = "beta2")]
        beta2: f32,
        /// Added to the root.
        #[serde(default = "eps")]
        eps: f32,
        /// Decay of the weights, times the learning rate.
        #[serde(default = "hundredth")]
        weight_decay: f32,
    },
    /// RMSProp (Tieleman & Hinton 2012).
    Rmsprop {
        /// Decay of the squared gradient's mean.
        #[serde(default = "alpha")]
        alpha: f32,
        /// Momentum; 0: none.
        #[serde(default)]
        momentum: f32,
        /// Added to the root.
        #[serde(default = "eps")]
        eps: f32,
        /// L2 penalty added to the gradient.
        #[serde(default)]
        weight_decay: f32,
    },
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::Adam {
            beta1: nine_tenths(),
            beta2: beta2(),
            eps: eps(),
            weight_decay: 0.0,
        }
    }
}

impl Optimizer {
    /// State tensors per parameter.
    pub fn slots(&self) -> usize {
        match self {
            Self::Sgd { .. } => 0,
            Self::Momentum { .. } | Self::Nesterov { .. } | Self::Adagrad { .. } => 1,
            Self::Rmsprop { momentum, .. } => 1 + usize::from(*momentum != 0.0),
            Self::Adam { .. } | Self::Adamw { .. } => 2,
        }
    }

    /// What is wrong with the numbers, if anything, as `(key, message)`.
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        use Optimizer::*;
        let share = |key, x: f32| {
            (!(0.0..1.0).contains(&x)).then_some((key, "expected 0 or more and less than 1"))
        };
        let positive = |key, x: f32| {
            (!(x > 0.0 && x.is_finite())).then_some((key, "should be a positive number"))
        };
        let decay = |x: f32| {
            (!(x >= 0.0 && x.is_finite()))
                .then_some(("weight_decay", "should be 0 or a positive number"))
        };
        match *self {
            Sgd { weight_decay } => decay(weight_decay),
            Momentum {
                momentum,
                weight_decay,
            }
            | Nesterov {
                momentum,
                weight_decay,
            } => share("momentum", momentum).or(decay(weight_decay)),
            Adagrad { eps, weight_decay } => positive("eps", eps).or(decay(weight_decay)),
            Adam {
                beta1,
                beta2,
                eps,
                weight_decay,
            }
            | Adamw {
                beta1,
                beta2,
                eps,
                weight_decay,
            } => share("beta1", beta1)
                .or(share("beta2", beta2))
                .or(positive("eps", eps))
                .or(decay(weight_decay)),
            Rmsprop {
                alpha,
                momentum,
                eps,
                weight_decay,
            } => share("alpha", alpha)
                .or(share("momentum", momentum))
                .or(positive("eps", eps))
                .or(decay(weight_decay)),
        }
    }
}

// Defaults that serde needs as functions: PyTorch's.

fn nine_tenths() -> f32 {
    0.9
}

fn beta2() -> f32 {
    0.999
}

fn alpha() -> f32 {
    0.99
}

fn eps() -> f32 {
    1e-8
}

fn eps_adagrad() -> f32 {
    1e-10
}

fn hundredth() -> f32 {
    0.01
}
