//! The optimisers and the clipping of gradients.

use super::evidence::{Evidence, Way};
use crate::device::Gpu;
use crate::error::Result;
use crate::optim::{Optimizer, OptimizerKind, StepState};
use crate::reference::compare::compare;
use crate::reference::optim::{self as literal, OptimizerState, Rule};
use crate::reference::{Data, cast, tolerance};
use crate::tensor::{Init, ParamSpec, ParamStore, Tensor};

/// An optimiser and its reference.
#[derive(Clone)]
pub struct Pair {
    /// As PyTorch's numbers are named.
    pub name: &'static str,
    pub lr: f64,
    pub kind: OptimizerKind,
    pub literal: literal::Optimizer,
}

/// Numbers that f32 does not hold: the reference's are those of PyTorch, ours the nearest.
const MOMENTUM: f64 = 0.9;
const ALPHA: f64 = 0.99;
const BETAS: [f64; 2] = [0.9, 0.999];
const EPS: f64 = 1e-8;
const DECAY: f64 = 0.05;

fn sgd(name: &'static str, decay: f64, momentum: f64, nesterov: bool) -> Pair {
    let (m, weight_decay) = (momentum as f32, decay as f32);
    Pair {
        name,
        lr: 0.1,
        kind: match (nesterov, momentum > 0.0) {
            (true, _) => OptimizerKind::Nesterov {
                momentum: m,
                weight_decay,
            },
            (false, true) => OptimizerKind::Momentum {
                momentum: m,
                weight_decay,
            },
            (false, false) => OptimizerKind::Sgd { weight_decay },
        },
        literal: literal::Optimizer {
            lr: 0.1,
            weight_decay: decay,
            rule: Rule::Sgd { momentum, nesterov },
        },
    }
}

fn rmsprop(name: &'static str, centered: bool, momentum: f64) -> Pair {
    Pair {
        name,
        lr: 0.01,
        kind: OptimizerKind::RmsProp {
            alpha: ALPHA as f32,
            eps: EPS as f32,
            momentum: momentum as f32,
            centered,
            weight_decay: 0.0,
        },
        literal: literal::Optimizer {
            lr: 0.01,
            weight_decay: 0.0,
            rule: Rule::RmsProp {
                alpha: ALPHA,
                eps: EPS,
                centered,
                momentum,
            },
        },
    }
}

fn adam(name: &'static str, decay: f64, decoupled: bool) -> Pair {
    let ([beta1, beta2], eps, weight_decay) = (BETAS.map(|b| b as f32), EPS as f32, decay as f32);
    Pair {
        name,
        lr: 0.01,
        kind: if decoupled {
            OptimizerKind::AdamW {
                beta1,
                beta2,
                eps,
                weight_decay,
            }
        } else {
            OptimizerKind::Adam {
                beta1,
                beta2,
                eps,
                weight_decay,
            }
        },
        literal: literal::Optimizer {
            lr: 0.01,
            weight_decay: decay,
            rule: Rule::Adam {
                beta1: BETAS[0],
                beta2: BETAS[1],
                eps: EPS,
                decoupled,
            },
        },
    }
}

/// All of them, with the settings of `tools/make_fixtures.py`.
pub fn pairs() -> Vec<Pair> {
    let adagrad = Pair {
        name: "adagrad",
        lr: 0.1,
        kind: OptimizerKind::AdaGrad {
            eps: 1e-10,
            weight_decay: 0.0,
        },
        literal: literal::Optimizer {
            lr: 0.1,
            weight_decay: 0.0,
            rule: Rule::AdaGrad { eps: 1e-10 },
        },
    };
    vec![
        sgd("sgd", 0.0, 0.0, false),
        sgd("sgd_weight_decay", DECAY, 0.0, false),
        sgd("momentum", 0.0, MOMENTUM, false),
        sgd("nesterov", 0.0, MOMENTUM, true),
        adagrad,
        rmsprop("rmsprop", false, 0.0),
        rmsprop("rmsprop_centered", true, 0.0),
        rmsprop("rmsprop_momentum", false, MOMENTUM),
        adam("adam", 0.0, false),
        adam("adam_weight_decay", DECAY, false),
        adam("adamw", DECAY, true),
    ]
}

/// Sizes that fours do not divide, in two tensors.
const LENS: [usize; 2] = [257, 66];
const STEPS: usize = 3;

pub(super) fn all(gpu: &Gpu) -> Result<Vec<Evidence>> {
    pairs().iter().map(|pair| one(gpu, pair)).collect()
}

/// Parameters after each step, and the norms before clipping.
type Trained = (Vec<Vec<f32>>, Vec<f32>);

/// Three steps, gradients clipped to a norm that the first exceed.
fn one(gpu: &Gpu, pair: &Pair) -> Result<Evidence> {
    const MAX_NORM: f32 = 5.0;
    let mut data = Data::new(21);
    let start = LENS.map(|len| data.normal(len, 1.0));
    let gradients: Vec<[Vec<f32>; 2]> = [1.0, 0.3, 0.01]
        .map(|scale| LENS.map(|len| data.normal(len, scale)))
        .into();
    let mut evidence = Evidence::of(pair.name);
    let mut run = || -> Result<Trained> {
        let specs = ["a", "b"].iter().zip(LENS);
        let specs = specs.map(|(name, len)| ParamSpec::new(*name, [len], Init::Constant(0.0)));
        let store = ParamStore::new(gpu, specs.collect(), 0, |_| 1.0)?;
        let params = [store.get("a")?, store.get("b")?];
        for (param, start) in params.iter().zip(&start) {
            param.write(start)?;
        }
        let optimizer = Optimizer::new(gpu, pair.kind, &store)?;
        let state = StepState::new(gpu, 1)?;
        state.advance(&optimizer, 1, pair.lr as f32)?;
        let (recording, norm) = gpu.record(|| optimizer.step(&store, &state, Some(MAX_NORM)))?;
        evidence.ran(Way::Forward, recording.kernels());
        let (mut after, mut norms) = (Vec::new(), Vec::new());
        for (n, gradients) in gradients.iter().enumerate() {
            state.advance(&optimizer, n as u64 + 1, pair.lr as f32)?;
            for (param, gradient) in params.iter().zip(gradients) {
                if let Some(grad) = param.grad() {
                    grad.write(gradient)?;
                }
            }
            gpu.replay(&recording)?;
            norms.extend(norm.to_vec::<f32>()?);
            let host = |t: &Tensor| t.to_vec::<f32>();
            after.push([host(&params[0])?, host(&params[1])?].concat());
        }
        Ok((after, norms))
    };
    let (first, again) = (run()?, run()?);
    let (want, want_norms) = expected::<f64>(pair, &start, &gradients, MAX_NORM.into());
    let (naive, naive_norms) = expected::<f32>(pair, &start, &gradients, MAX_NORM.into());
    for n in 0..STEPS {
        let comparison = compare(&first.0[n], &want[n], &naive[n], tolerance::OPTIMIZER);
        evidence.add(Way::Forward, &format!("after step {}", n + 1), comparison);
        evidence.same(Way::Forward, "run twice", &first.0[n], &again.0[n]);
    }
    let comparison = compare(&first.1, &want_norms, &naive_norms, tolerance::NORM);
    evidence.add(Way::Forward, "norm", comparison);
    Ok(evidence)
}

fn expected<F: crate::reference::Float>(
    pair: &Pair,
    start: &[Vec<f32>; 2],
    gradients: &[[Vec<f32>; 2]],
    max_norm: f64,
) -> (Vec<Vec<F>>, Vec<F>) {
    let mut params: Vec<Vec<F>> = start.iter().map(|p| cast(p)).collect();
    let mut states = LENS.map(OptimizerState::<F>::new);
    let (mut after, mut norms) = (Vec::new(), Vec::new());
    for gradients in gradients {
        let mut gradients: Vec<Vec<F>> = gradients.iter().map(|g| cast(g)).collect();
        let mut all: Vec<&mut [F]> = gradients.iter_mut().map(|g| &mut g[..]).collect();
        norms.push(literal::clip_grad_norm(&mut all, max_norm));
        let each = params.iter_mut().zip(&mut states).zip(&gradients);
        each.for_each(|((param, state), gradient)| pair.literal.step(state, param, gradient));
        after.push(params.concat());
    }
    (after, norms)
}
