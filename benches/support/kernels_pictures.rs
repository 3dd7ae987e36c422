//! Convolutions of ResNet-18's shapes, and beside each the product of the same sizes.

use melos::Result;
use melos::device::Gpu;
use melos::ops::{self, Window};
use melos::reference::cast;
use melos::reference::conv::Slide;
use melos::tensor::{Tape, Tensor};

use super::{Case, Work, check, sampled, tensor};

/// Pictures of a batch.
const BATCH: usize = 4;

/// Side of the pictures, channels and stride of 3 × 3 convolutions that ResNet-18 has at 224 pixels a side.
pub const SHAPES: [[usize; 3]; 5] = [
    [56, 64, 1],
    [56, 64, 2],
    [28, 128, 1],
    [14, 256, 1],
    [7, 512, 1],
];

/// Rows, columns and inner size of the product that a convolution is.
pub fn product_of([side, channels, stride]: [usize; 3]) -> [usize; 3] {
    let positions = side.div_ceil(stride);
    [
        BATCH * positions * positions,
        channels * stride,
        9 * channels,
    ]
}

/// Forward; or forward and both gradients, which are three times the work.
pub fn conv(gpu: &Gpu, shape: [usize; 3], backward: bool) -> Result<Case> {
    let [side, channels, stride] = shape;
    let [m, n, k] = product_of(shape);
    let (x, x_host) = tensor(gpu, &[BATCH, side, side, channels], 1)?;
    let (w, w_host) = tensor(gpu, &[n, 3, 3, channels], 2)?;
    let window = Window::square(3).stride(stride).padding(1);
    let w = match backward {
        true => w.clone().with_grad(Tensor::zeros(gpu, w.shape().clone())?),
        false => w,
    };
    let state = melos::optim::StepState::new(gpu, 1)?;
    let gpu = gpu.clone();
    let run = move || -> Result<Tensor> {
        if !backward {
            return ops::conv2d(&Tape::inference(&gpu), &x, &w, None, &window, 1);
        }
        let tape = Tape::training(&gpu, state.tensor());
        tape.watch(&x);
        let y = ops::conv2d(&tape, &x, &w, None, &window, 1)?;
        let loss = ops::sum_all(&tape, &y)?;
        tape.backward_with_inputs(&loss, &[&x])?;
        Ok(y)
    };
    let got = run()?.to_vec::<f32>()?;
    let slide = Slide {
        n: 1,
        size: [side; 2],
        c: channels,
        kernel: [3; 2],
        stride: [stride; 2],
        padding: [1; 2],
        dilation: [1; 2],
    };
    // The first picture's first channels.
    let few = 2;
    let x_one: Vec<f64> = cast(&x_host[..side * side * channels]);
    let w_few: Vec<f64> = cast(&w_host[..few * k]);
    let want = slide.conv(&x_one, &w_few, None, 1);
    for at in sampled(want.len()) {
        let (row, o) = (at / few, at % few);
        check("conv2d", got[row * n + o], want[at], (k as f64).sqrt());
    }
    let times = if backward { 3.0 } else { 1.0 };
    Ok(Case {
        work: Work::Flops(times * 2.0 * (m * n * k) as f64),
        run: Box::new(move || run().map(drop)),
    })
}
