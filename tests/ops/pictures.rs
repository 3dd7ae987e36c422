//! Convolutions, pools and batch normalisation.

use melos::doctor::operators::pictures::{BatchNorm, Conv, Pool, norm_inputs, pixels, slide};
use melos::doctor::proof::{half, input};
use melos::error::Error;
use melos::ops::{self, ConvForm, Window};
use melos::reference::conv::{Adaptive, Slide};
use melos::tensor::{Tape, Tensor};

use crate::reference::Data;
use crate::support::{adapters, gpu, prove, right, unchecked};

fn conv(dims: [usize; 4], window: [usize; 4], groups: usize) -> Conv {
    let slide = slide(dims, window);
    Conv {
        slide,
        groups,
        form: None,
    }
}

/// Pictures, window, outputs and groups.
const CASES: [([usize; 4], [usize; 4], usize, usize); 14] = [
    ([1, 1, 1, 1], [1, 1, 0, 1], 1, 1),
    ([2, 1, 3, 63], [1, 1, 0, 1], 65, 1),
    ([1, 5, 5, 3], [1, 2, 0, 1], 4, 1),
    ([1, 4, 4, 8], [1, 1, 1, 1], 5, 1),
    ([3, 5, 9, 3], [3, 1, 1, 1], 7, 1),
    ([2, 9, 6, 4], [3, 2, 1, 1], 8, 1),
    ([1, 17, 15, 3], [7, 2, 3, 1], 16, 1),
    ([2, 8, 7, 65], [3, 1, 1, 1], 63, 1),
    ([1, 9, 9, 12], [2, 3, 0, 1], 20, 1),
    ([2, 13, 11, 5], [3, 2, 2, 3], 3, 1),
    ([2, 7, 6, 12], [3, 1, 1, 1], 12, 12),
    ([2, 7, 6, 6], [3, 2, 1, 1], 18, 6),
    ([1, 9, 5, 10], [3, 1, 2, 2], 15, 5),
    ([5, 3, 3, 123], [3, 1, 1, 1], 1, 1),
];

#[test]
fn convolutions_of_every_window() {
    for gpu in adapters() {
        for (at, (dims, window, outputs, groups)) in CASES.into_iter().enumerate() {
            let op = conv(dims, window, groups);
            prove(&op, &gpu, &op.inputs(outputs, at % 2 == 0));
        }
    }
}

#[test]
fn every_form_of_the_convolution() {
    let gpu = gpu();
    let mut forms = vec![ConvForm::Direct, ConvForm::Tile];
    forms.extend(gpu.caps().reads_images().then_some(ConvForm::Image));
    for form in forms {
        for (dims, window, outputs, groups) in CASES {
            let op = Conv {
                form: Some(form),
                ..conv(dims, window, groups)
            };
            prove(&op, &gpu, &op.inputs(outputs, true));
            if gpu.caps().f16 {
                let mut inputs = op.inputs(outputs, false);
                inputs[0] = half(inputs[0].clone());
                prove(&op, &gpu, &inputs);
            }
        }
    }
}

#[test]
fn convolutions_of_unequal_sides() {
    let gpu = gpu();
    let op = Conv {
        slide: Slide {
            n: 2,
            size: [9, 6],
            c: 5,
            kernel: [3, 2],
            stride: [2, 1],
            padding: [0, 1],
            dilation: [1, 2],
        },
        groups: 1,
        form: None,
    };
    prove(&op, &gpu, &op.inputs(7, true));
}

#[test]
fn convolutions_with_f16() {
    let gpu = gpu();
    if !gpu.caps().f16 {
        return;
    }
    for (dims, window, outputs, groups) in CASES {
        let op = conv(dims, window, groups);
        let mut inputs = op.inputs(outputs, true);
        inputs[0] = half(inputs[0].clone());
        prove(&op, &gpu, &inputs);
    }
}

#[test]
fn convolutions_as_releases_run_them() {
    let gpu = unchecked();
    for (dims, window, outputs) in [
        ([2, 16, 16, 64], [3, 1, 1, 1], 64),
        ([4, 17, 14, 32], [3, 2, 1, 1], 68),
        ([2, 33, 31, 4], [7, 2, 3, 1], 64),
    ] {
        let op = conv(dims, window, 1);
        prove(&op, &gpu, &op.inputs(outputs, true));
    }
}

#[test]
fn pools_of_every_window() {
    for gpu in adapters() {
        for (dims, window) in [
            ([1, 1, 1, 1], [1, 1, 0, 1]),
            ([2, 3, 5, 63], [2, 1, 0, 1]),
            ([1, 65, 9, 4], [3, 2, 1, 1]),
            ([3, 8, 8, 12], [2, 2, 0, 1]),
            ([2, 7, 9, 3], [3, 3, 1, 2]),
        ] {
            let slide = slide(dims, window);
            let x = [pixels(&mut Data::new(3), dims)];
            prove(&Pool::Max(slide), &gpu, &x);
            prove(&Pool::Mean(slide), &gpu, &x);
        }
        for (dims, windows) in [
            ([1, 1, 1, 1], [1, 1]),
            ([2, 7, 7, 65], [1, 1]),
            ([2, 5, 7, 4], [5, 2]),
            ([1, 13, 4, 3], [6, 6]),
        ] {
            let [n, height, width, c] = dims;
            let size = [height, width];
            let op = Pool::Shared(Adaptive {
                n,
                size,
                c,
                windows,
            });
            prove(&op, &gpu, &[pixels(&mut Data::new(5), dims)]);
        }
    }
}

/// The gradient goes to the first of equals, as PyTorch's does: behind a ReLU whole windows are zero.
#[test]
fn the_first_of_equals_is_the_largest() {
    let gpu = gpu();
    let op = Pool::Max(slide([1, 4, 4, 4], [2, 2, 0, 1]));
    prove(&op, &gpu, &[input(&[1, 4, 4, 4], vec![0.0; 64])]);
    let low = vec![f32::MIN; 64];
    prove(&op, &gpu, &[input(&[1, 4, 4, 4], low)]);
}

#[test]
fn batch_normalisation_of_every_size() {
    for gpu in adapters() {
        for dims in [
            [2, 1, 1, 1],
            [1, 1, 3, 63],
            [3, 5, 1, 65],
            [4, 4, 4, 4],
            [2, 17, 19, 12],
            [1, 123, 257, 3],
        ] {
            for own in [true, false] {
                let mut data = Data::new(dims[3] as u64);
                let op = BatchNorm::new(&gpu, &mut data, dims[3], own).unwrap();
                prove(&op, &gpu, &norm_inputs(&mut data, dims));
                right(op.prove_running(&gpu, &pixels(&mut data, dims)), &gpu);
            }
        }
    }
}

#[test]
fn a_mean_far_from_zero_leaves_the_variance_of_a_batch() {
    let gpu = gpu();
    let mut data = Data::new(9);
    let op = BatchNorm::new(&gpu, &mut data, 12, true).unwrap();
    let mut inputs = norm_inputs(&mut data, [2, 9, 7, 12]);
    inputs[2].values.iter_mut().for_each(|x| *x += 4000.0);
    prove(&op, &gpu, &inputs);
    right(op.prove_running(&gpu, &inputs[2]), &gpu);
}

#[test]
fn what_cannot_be_is_said() {
    let gpu = gpu();
    let tape = Tape::inference(&gpu);
    let tensor = |dims: &[usize]| Tensor::zeros(&gpu, dims).unwrap();
    let x = tensor(&[1, 4, 4, 6]);
    let w = tensor(&[2, 5, 5, 6]);
    let message = |e: melos::Result<Tensor>| e.expect_err("must fail").to_string();
    let text = message(ops::conv2d(&tape, &x, &w, None, &Window::square(5), 1));
    assert!(text.contains("5 pixels or more"), "{text}");
    let text = message(ops::conv2d(&tape, &x, &w, None, &Window::square(5), 4));
    assert!(text.contains("groups"), "{text}");
    let text = message(ops::conv2d(&tape, &x, &w, None, &Window::square(3), 1));
    assert!(text.contains("(2, 3, 3, 6)"), "{text}");
    let none = Window::square(2).stride(0);
    let text = message(ops::max_pool2d(&tape, &x, &none));
    assert!(text.contains("stride"), "{text}");
    let text = message(ops::avg_pool2d(&tape, &x, &Window::square(2).padding(2)));
    assert!(text.contains("half the window"), "{text}");
    let flat = ops::max_pool2d(&tape, &tensor(&[4, 6]), &Window::square(2));
    assert!(matches!(flat, Err(Error::Shape { .. })));
}
