//! Optimisers and gradient clipping as PyTorch defines them, one parameter tensor at a time.

use super::float::Float;

/// How a step is taken.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// momentum 0: plain SGD. buf = momentum·buf + g (the first: g); step by buf, or with Nesterov by
    /// g + momentum·buf.
    Sgd {
        /// 0: none
        momentum: f64,
        /// Nesterov's form.
        nesterov: bool,
    },
    /// Duchi et al. 2011: Σg² ; g / (√Σ + eps)
    AdaGrad {
        /// added to the root
        eps: f64,
    },
    /// Hinton's RMSProp; centred (Graves 2013, without his momentum): v - mean(g)²; √ + eps.
    RmsProp {
        /// decay of the mean of squares
        alpha: f64,
        /// added to the root
        eps: f64,
        /// The mean gradient is taken off.
        centered: bool,
        /// 0: none
        momentum: f64,
    },
    /// Kingma & Ba 2015, algorithm 1, with bias correction; eps outside the root. `decoupled`:
    /// AdamW (Loshchilov & Hutter 2019), p -= lr·weight_decay·p before the step.
    Adam {
        /// decay of the first moment
        beta1: f64,
        /// decay of the second moment
        beta2: f64,
        /// added to the root
        eps: f64,
        /// AdamW.
        decoupled: bool,
    },
}

/// A rule and its rates.
#[derive(Clone, Copy, Debug)]
pub struct Optimizer {
    /// learning rate
    pub lr: f64,
    /// L2 (added to the gradient), except where Adam is decoupled.
    pub weight_decay: f64,
    /// The rule.
    pub rule: Rule,
}

/// What an optimiser keeps per parameter: zeros before the first step.
#[derive(Clone, Debug)]
pub struct OptimizerState<F> {
    /// steps taken
    pub step: i32,
    /// momentum buffer, or Adam's first moment
    pub m: Vec<F>,
    /// sum or mean of squares
    pub v: Vec<F>,
    /// centred RMSProp's mean gradient
    pub mean: Vec<F>,
}

impl<F: Float> OptimizerState<F> {
    /// Before the first step.
    pub fn new(len: usize) -> Self {
        let zeros = vec![F::ZERO; len];
        Self {
            step: 0,
            m: zeros.clone(),
            v: zeros.clone(),
            mean: zeros,
        }
    }
}

impl Optimizer {
    /// Adam with PyTorch's defaults.
    pub fn adam(lr: f64) -> Self {
        let rule = Rule::Adam {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            decoupled: false,
        };
        Self {
            lr,
            weight_decay: 0.0,
            rule,
        }
    }

    /// One step of one tensor.
    pub fn step<F: Float>(&self, state: &mut OptimizerState<F>, p: &mut [F], grad: &[F]) {
        assert_eq!(p.len(), grad.len(), "gradient");
        state.step += 1;
        let lr = F::of(self.lr);
        let decay = F::of(self.weight_decay);
        let decoupled = matches!(
            self.rule,
            Rule::Adam {
                decoupled: true,
                ..
            }
        );
        for k in 0..p.len() {
            let mut g = grad[k];
            if decoupled {
                p[k] -= lr * decay * p[k];
            } else {
                g += decay * p[k];
            }
            let (m, v, mean) = (&mut state.m[k], &mut state.v[k], &mut state.mean[k]);
            match self.rule {
                Rule::Sgd { momentum, nesterov } => {
                    let momentum = F::of(momentum);
                    *m = momentum * *m + g;
                    p[k] -= lr * if nesterov { g + momentum * *m } else { *m };
                }
                Rule::AdaGrad { eps } => {
                    *v += g * g;
                    p[k] -= lr * g / (v.sqrt() + F::of(eps));
                }
                Rule::RmsProp {
                    alpha,
                    eps,
                    centered,
                    momentum,
                } => {
                    let alpha = F::of(alpha);
                    *v = alpha * *v + (F::ONE - alpha) * g * g;
                    let mut variance = *v;
                    if centered {
                        *mean = alpha * *mean + (F::ONE - alpha) * g;
                        variance -= *mean * *mean;
                    }
                    *m = F::of(momentum) * *m + g / (variance.max(F::ZERO).sqrt() + F::of(eps));
                    p[k] -= lr * *m;
                }
                Rule::Adam {
                    beta1, beta2, eps, ..
                } => {
                    let (b1, b2) = (F::of(beta1), F::of(beta2));
                    *m = b1 * *m + (F::ONE - b1) * g;
                    *v = b2 * *v + (F::ONE - b2) * g * g;
                    let m_hat = *m / (F::ONE - b1.powi(state.step));
                    let v_hat = *v / (F::ONE - b2.powi(state.step));
                    p[k] -= lr * m_hat / (v_hat.sqrt() + F::of(eps));
                }
            }
        }
    }
}

/// √ of the sum of squares of all elements of all tensors.
pub fn global_norm<F: Float>(grads: &[&[F]]) -> F {
    grads
        .iter()
        .flat_map(|g| g.iter())
        .fold(F::ZERO, |sum, g| sum + *g * *g)
        .sqrt()
}

/// Scales all by min(1, max_norm / (norm + 1e-6)); returns the norm before. PyTorch's rule.
pub fn clip_grad_norm<F: Float>(grads: &mut [&mut [F]], max_norm: f64) -> F {
    let norm = global_norm(&grads.iter().map(|g| &**g).collect::<Vec<_>>());
    let scale = (F::of(max_norm) / (norm + F::of(1e-6))).min(F::ONE);
    grads
        .iter_mut()
        .flat_map(|g| g.iter_mut())
        .for_each(|g| *g *= scale);
    norm
}

/// Clamps every element to ±limit.
pub fn clip_grad_value<F: Float>(grad: &mut [F], limit: f64) {
    grad.iter_mut()
        .for_each(|g| *g = g.min(F::of(limit)).max(F::of(-limit)));
}
