//! What the kernel tests share: buffers with guard words, comparisons, index arithmetic.

use melos::device::{AdapterChoice, Gpu, Groups};
use melos::kernels::{Variant, catalogue};
use melos::tensor::{Element, Tensor};
use std::sync::OnceLock;

pub use crate::values::noise;
pub use melos::reference::elementwise::normal_cdf;

/// Words behind every output that no kernel may touch.
const GUARD: usize = 37;
const GUARD_VALUE: f32 = 12345.5;
/// What an output holds before an accumulating kernel adds to it.
const BEFORE: f32 = 0.625;
/// Allowed error relative to the sum of magnitudes: some 16 units in the last place of f32.
const RELATIVE: f64 = 2e-6;

/// An output with its guard words.
pub struct Out {
    pub tensor: Tensor,
    len: usize,
}

/// A reference value and the magnitude its error is measured by.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    pub value: f64,
    pub scale: f64,
}

pub fn near(value: f64, scale: f64) -> Want {
    Want { value, scale }
}

/// Measured by the value itself, with room for one rounding near 0.
pub fn exactly(value: f64) -> Want {
    Want {
        value,
        scale: value.abs() + 1e-3,
    }
}

/// What accumulation starts from.
pub fn before(accumulate: u32) -> f64 {
    f64::from(BEFORE) * f64::from(accumulate)
}

/// `include/step_state.wgsl`.
#[derive(Clone, Copy)]
pub struct StepState {
    pub step: u32,
    pub draw: u32,
    pub seed_lo: u32,
    pub seed_hi: u32,
    pub lr: f32,
    pub bias: [f32; 2],
}

impl Default for StepState {
    fn default() -> Self {
        StepState {
            step: 1,
            draw: 0,
            seed_lo: 0,
            seed_hi: 0,
            lr: 0.1,
            bias: [1.0; 2],
        }
    }
}

pub struct Dev {
    pub gpu: Gpu,
}

impl Dev {
    pub fn new() -> Dev {
        static DEVICE: OnceLock<Gpu> = OnceLock::new();
        let checked = AdapterChoice {
            wanted: None,
            checked: true,
        };
        let open = || Gpu::open(&checked).expect("a GPU adapter; run through tools/with-vulkan");
        Dev {
            gpu: DEVICE.get_or_init(open).fork(),
        }
    }

    fn tensor<T: Element>(&self, values: &[T]) -> Tensor {
        Tensor::from_slice(&self.gpu, [values.len()], values).expect("a tensor")
    }

    pub fn f32(&self, values: &[f32]) -> Tensor {
        self.tensor(values)
    }

    pub fn u32(&self, values: &[u32]) -> Tensor {
        self.tensor(values)
    }

    pub fn state(&self, s: StepState) -> Tensor {
        let floats = [s.lr, s.bias[0], s.bias[1]].map(f32::to_bits);
        self.u32(&[&[s.step, s.draw, s.seed_lo, s.seed_hi][..], &floats].concat())
    }

    /// An output full of NaN: whoever reads it first is found out.
    pub fn out(&self, len: usize) -> Out {
        self.out_with(&vec![f32::NAN; len])
    }

    /// NaN when the kernel overwrites, [`BEFORE`] when it adds.
    pub fn out_for(&self, len: usize, accumulate: u32) -> Out {
        let old = if accumulate == 0 { f32::NAN } else { BEFORE };
        self.out_with(&vec![old; len])
    }

    pub fn out_with(&self, values: &[f32]) -> Out {
        let all = [values, &[GUARD_VALUE; GUARD]].concat();
        Out {
            tensor: self.f32(&all),
            len: values.len(),
        }
    }

    /// Dispatches, after checking the parameters' size against the contract.
    pub fn run<const N: usize>(
        &self,
        name: &str,
        variant: &Variant,
        params: [u32; N],
        bindings: &[&Tensor],
        groups: Groups,
    ) {
        let size = catalogue::contract(name).expect("a contract").params_size() as usize;
        assert_eq!(N * 4, size, "{name}: size of Params");
        let kernel = self.gpu.kernel(name, variant).expect(name);
        let bindings: Vec<_> = bindings.iter().map(|t| t.binding()).collect();
        self.gpu
            .dispatch(&kernel, &params, &bindings, groups)
            .expect(name);
    }

    pub fn read(&self, out: &Out) -> Vec<f32> {
        let mut values = out.tensor.to_vec::<f32>().expect("read back");
        let guard = values.split_off(out.len);
        assert!(
            guard.iter().all(|&g| g == GUARD_VALUE),
            "guard words overwritten: {guard:?}"
        );
        values
    }

    pub fn check(&self, what: &str, out: &Out, want: &[Want]) {
        let got = self.read(out);
        assert_eq!(got.len(), want.len(), "{what}: length");
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            let error = (f64::from(*g) - w.value).abs();
            // Not `error > limit`: a NaN must fail.
            if !(error <= RELATIVE * w.scale || f64::from(*g) == w.value) {
                panic!(
                    "{what}: element {i} is {g}, should be {} (scale {})",
                    w.value, w.scale
                );
            }
        }
    }
}

pub fn bits(v: f32) -> u32 {
    v.to_bits()
}

pub fn count(shape: [u32; 4]) -> usize {
    shape.iter().product::<u32>() as usize
}

/// Row-major strides.
pub fn strides(shape: [u32; 4]) -> [u32; 4] {
    std::array::from_fn(|i| shape[i + 1..].iter().product())
}

/// Row-major strides, 0 on axes of size 1.
pub fn broadcast_strides(shape: [u32; 4]) -> [u32; 4] {
    let full = strides(shape);
    std::array::from_fn(|i| if shape[i] == 1 { 0 } else { full[i] })
}

pub fn coords(i: usize, shape: [u32; 4]) -> [u32; 4] {
    let full = strides(shape);
    std::array::from_fn(|k| i as u32 / full[k] % shape[k])
}

pub fn dot(at: [u32; 4], stride: [u32; 4]) -> usize {
    (0..4).map(|k| at[k] * stride[k]).sum::<u32>() as usize
}

/// Whether sizes allow four values per element (the cases hold both kinds of sizes), and how
/// many values that makes an element.
pub fn wide(n: usize) -> (bool, usize) {
    if n.is_multiple_of(4) {
        (true, 4)
    } else {
        (false, 1)
    }
}
