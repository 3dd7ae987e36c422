//! The optimisers: eight steps against the formulas of `torch.optim` in f64, on a slice in the
//! middle of a buffer, with clipping, a skipped step and zeroed gradients.

use super::support::*;
use melos::device::Groups;
use melos::kernels::Variant;

/// The slice under test: 4 × 67 values from element 8 of a longer buffer.
const OFFSET: usize = 8;
const LEN: usize = 268;
const TOTAL: usize = OFFSET + LEN + 12;
const LR: f32 = 0.03;
const LR_SCALE: f32 = 0.5;
const FACTOR: f32 = 0.75;
const DECAY: f64 = 0.01;

/// One value's parameter and up to three state words, updated in f64 by `update`.
type State = [f64; 4];

/// `slots[k]` says that binding k + 5 holds word k + 1 of the state.
struct Case<'a, const N: usize> {
    kernel: &'a str,
    variant: Variant,
    params: [u32; N],
    slots: &'a [usize],
    update: &'a dyn Fn(&mut State, f64, i32),
}

fn bias(beta: f64, step: i32) -> f64 {
    1.0 - beta.powi(step)
}

fn run<const N: usize>(case: Case<'_, N>) {
    let dev = Dev::new();
    let groups = Groups::cover(LEN / 4, 256);
    let start = noise(TOTAL, 20, 1.0);
    let values = dev.out_with(&start);
    let held: Vec<Out> = case
        .slots
        .iter()
        .map(|_| dev.out_with(&vec![0.0; TOTAL]))
        .collect();
    let mut want: Vec<State> = start.iter().map(|&v| [v.into(), 0.0, 0.0, 0.0]).collect();
    let variant = case.variant.with("ZERO_GRAD", true);
    for step in 1..=8 {
        let grads = noise(TOTAL, 20 + step as u32, 1.0);
        let skip = step == 5;
        let tensor = dev.out_with(&grads);
        let state = dev.state(StepState {
            step: step as u32,
            lr: LR,
            bias: [bias(0.9, step) as f32, bias(0.999, step) as f32],
            ..Default::default()
        });
        let result = dev.u32(&[FACTOR.to_bits(), 0, u32::from(!skip), 0]);
        let mut bound = vec![&state, &result, &values.tensor, &tensor.tensor];
        bound.extend(held.iter().map(|h| &h.tensor));
        dev.run(case.kernel, &variant, case.params, &bound, groups);
        for (i, g) in grads
            .iter()
            .enumerate()
            .skip(OFFSET)
            .take(LEN)
            .filter(|_| !skip)
        {
            (case.update)(&mut want[i], f64::from(FACTOR) * f64::from(*g), step);
        }
        let inside = |i: usize| (OFFSET..OFFSET + LEN).contains(&i);
        let left = |i: usize| if inside(i) { 0.0 } else { f64::from(grads[i]) };
        let left: Vec<_> = (0..TOTAL).map(|i| exactly(left(i))).collect();
        dev.check(
            &format!("{}: gradients after step {step}", case.kernel),
            &tensor,
            &left,
        );
    }
    let what = format!("{} [{}]", case.kernel, variant.key());
    let column = |k: usize| want.iter().map(|w| near(w[k], 2.0)).collect::<Vec<_>>();
    dev.check(&format!("{what}: values"), &values, &column(0));
    for (slot, out) in case.slots.iter().zip(&held) {
        dev.check(&format!("{what}: state {slot}"), out, &column(*slot));
    }
}

/// `len`, `offset` in vec4 units.
const SLICE: [u32; 2] = [(LEN / 4) as u32, (OFFSET / 4) as u32];

fn lr() -> f64 {
    f64::from(LR) * f64::from(LR_SCALE)
}

#[test]
fn sgd() {
    for (momentum, nesterov) in [(false, false), (true, false), (true, true)] {
        let [len, offset] = SLICE;
        run(Case {
            kernel: "sgd",
            variant: Variant::new().with("MOMENTUM", momentum),
            params: [
                len,
                offset,
                nesterov.into(),
                bits(LR_SCALE),
                bits(0.9),
                bits(DECAY as f32),
            ],
            slots: if momentum { &[1] } else { &[] },
            update: &|s, g, _| {
                let mut g = g + DECAY * s[0];
                if momentum {
                    s[1] = 0.9 * s[1] + g;
                    g = if nesterov { g + 0.9 * s[1] } else { s[1] };
                }
                s[0] -= lr() * g;
            },
        });
    }
}

#[test]
fn adagrad() {
    let [len, offset] = SLICE;
    run(Case {
        kernel: "adagrad",
        variant: Variant::new(),
        params: [
            len,
            offset,
            bits(LR_SCALE),
            bits(0.1),
            bits(1e-10),
            bits(DECAY as f32),
        ],
        slots: &[1],
        update: &|s, g, step| {
            let g = g + DECAY * s[0];
            s[1] += g * g;
            s[0] -= lr() / (1.0 + f64::from(step - 1) * 0.1) * g / (s[1].sqrt() + 1e-10);
        },
    });
}

#[test]
fn rmsprop() {
    for (momentum, centered) in [(false, false), (true, false), (false, true), (true, true)] {
        let [len, offset] = SLICE;
        // eps keeps the centred form's first step, variance alpha (1 - alpha) g^2, well conditioned.
        let floats = [LR_SCALE, 0.9, 1e-2, 0.8, DECAY as f32].map(bits);
        run(Case {
            kernel: "rmsprop",
            variant: Variant::new()
                .with("MOMENTUM", momentum)
                .with("CENTERED", centered),
            params: [
                len, offset, floats[0], floats[1], floats[2], floats[3], floats[4],
            ],
            slots: match (momentum, centered) {
                (false, false) => &[1],
                (true, false) => &[1, 2],
                (false, true) => &[1, 3],
                (true, true) => &[1, 2, 3],
            },
            update: &|s, g, _| {
                let g = g + DECAY * s[0];
                s[1] = 0.9 * s[1] + 0.1 * g * g;
                let mut variance = s[1];
                if centered {
                    s[3] = 0.9 * s[3] + 0.1 * g;
                    variance -= s[3] * s[3];
                }
                let mut change = g / (variance.sqrt() + 1e-2);
                if momentum {
                    s[2] = 0.8 * s[2] + change;
                    change = s[2];
                }
                s[0] -= lr() * change;
            },
        });
    }
}

#[test]
fn adam_and_adamw() {
    for decoupled in [false, true] {
        let [len, offset] = SLICE;
        let floats = [LR_SCALE, 0.9, 0.999, 1e-8, DECAY as f32].map(bits);
        let [scale, beta1, beta2, eps, decay] = floats;
        run(Case {
            kernel: "adam",
            variant: Variant::new(),
            params: [
                len,
                offset,
                decoupled.into(),
                scale,
                beta1,
                beta2,
                eps,
                decay,
            ],
            slots: &[1, 2],
            update: &|s, g, step| {
                let mut g = g;
                if decoupled {
                    s[0] *= 1.0 - lr() * DECAY;
                } else {
                    g += DECAY * s[0];
                }
                s[1] = 0.9 * s[1] + 0.1 * g;
                s[2] = 0.999 * s[2] + 0.001 * g * g;
                let denominator = s[2].sqrt() / bias(0.999, step).sqrt() + 1e-8;
                s[0] -= lr() / bias(0.9, step) * s[1] / denominator;
            },
        });
    }
}
