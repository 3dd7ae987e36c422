//! The LSTM over sequences, in the adapter's form, in the portable one and in persistent kernels.

use melos::device::Gpu;
use melos::doctor::operators::lstm::{self, Case};
use melos::ops::{self, LstmForm, LstmOptions};
use melos::tensor::{Tape, Tensor};

use crate::reference::Data;
use crate::support::{adapters, gpu, right};

#[track_caller]
fn prove_layer(
    (gpu, form): &(Gpu, Option<LstmForm>),
    case: &Case,
    lens: Vec<u32>,
    data: &mut Data,
) {
    right(lstm::prove_layer((gpu, *form), case, lens, data), gpu);
}

/// The kernels under test: those that melos chooses, with and without the adapter's optional
/// features, and the persistent ones.
fn forms() -> Vec<(Gpu, Option<LstmForm>)> {
    let [gpu, portable] = adapters();
    vec![
        (gpu, None),
        (portable.clone(), None),
        (portable, Some(LstmForm::Persistent)),
    ]
}

const ALL: [bool; 3] = [true; 3];

/// Batches of 1 to 33 rows and widths on both sides of the kernels' tiles: the form with 8 rows
/// and the one with 32, full and odd.
const SIZES: [[usize; 4]; 9] = [
    [1, 1, 1, 1],
    [5, 3, 7, 33],
    [3, 5, 65, 4],
    [1, 33, 3, 65],
    [4, 33, 5, 36],
    [6, 9, 3, 3],
    [2, 1, 17, 123],
    // Widths that can be lines of images.
    [4, 33, 5, 64],
    [3, 5, 3, 128],
];

#[test]
fn sequences_of_odd_sizes() {
    for kernels in forms() {
        for (n, sizes) in SIZES.into_iter().enumerate() {
            for reverse in [false, true] {
                let mut data = Data::new(n as u64);
                let lens = data.lengths(sizes[1], sizes[0] as u32);
                let case = Case {
                    sizes,
                    reverse,
                    cell_clip: None,
                    state: (n % 2 == 0) != reverse,
                    used: ALL,
                };
                prove_layer(&kernels, &case, lens, &mut data);
            }
        }
    }
}

#[test]
fn the_cell_is_clipped() {
    for kernels in forms() {
        for (sizes, reverse) in [([5, 3, 7, 33], false), ([3, 9, 5, 8], true)] {
            let mut data = Data::new(6);
            let lens = data.lengths(sizes[1], sizes[0] as u32);
            let case = Case {
                sizes,
                reverse,
                cell_clip: Some(0.3),
                state: true,
                used: ALL,
            };
            prove_layer(&kernels, &case, lens, &mut data);
        }
    }
}

#[test]
fn outputs_that_nobody_uses_send_no_gradient() {
    for kernels in forms() {
        for used in [
            [true, false, false],
            [false, true, false],
            [false, false, true],
        ] {
            let mut data = Data::new(7);
            let case = Case {
                sizes: [4, 5, 3, 9],
                reverse: false,
                cell_clip: None,
                state: true,
                used,
            };
            let lens = data.lengths(5, 4);
            prove_layer(&kernels, &case, lens, &mut data);
        }
    }
}

#[test]
fn an_empty_row_keeps_its_first_state() {
    for kernels in forms() {
        for reverse in [false, true] {
            let case = Case {
                sizes: [3, 3, 5, 7],
                reverse,
                cell_clip: None,
                state: true,
                used: ALL,
            };
            prove_layer(&kernels, &case, vec![0, 3, 1], &mut Data::new(9));
        }
    }
}

/// More units than a persistent kernel's workgroup has invocations.
#[test]
fn a_wide_layer() {
    for kernels in forms() {
        let case = Case {
            sizes: [3, 5, 2, 300],
            reverse: false,
            cell_clip: None,
            state: true,
            used: ALL,
        };
        prove_layer(&kernels, &case, vec![3, 1, 2, 3, 0], &mut Data::new(4));
    }
}

/// More time steps than one dispatch of a persistent kernel runs.
#[test]
fn a_sequence_of_many_dispatches() {
    for kernels in forms().into_iter().filter(|(_, form)| form.is_some()) {
        for reverse in [false, true] {
            let case = Case {
                sizes: [3000, 1, 1, 1],
                reverse,
                cell_clip: None,
                state: true,
                used: ALL,
            };
            prove_layer(&kernels, &case, vec![2900], &mut Data::new(3));
        }
    }
}

#[test]
fn images_of_lines_that_no_copy_makes_are_refused() {
    let gpu = gpu();
    let tensor = |shape: &[usize]| Tensor::zeros(&gpu, shape).unwrap();
    // 66 floats are no whole 256 bytes, nor whole texels of four.
    let [x, w_ih, w_hh, bias] = [&[2, 3, 5][..], &[264, 5], &[264, 66], &[264]].map(tensor);
    let lens = Tensor::from_slice(&gpu, [3], &[2u32; 3]).unwrap();
    let weights = ops::LstmWeights {
        w_ih: &w_ih,
        w_hh: &w_hh,
        b_ih: &bias,
        b_hh: &bias,
    };
    let (tape, options) = (Tape::inference(&gpu), LstmOptions::default());
    let form = Some(LstmForm::ImageSteps);
    let result = ops::lstm_as(&tape, &x, &lens, None, &weights, options, form);
    let error = result.err().unwrap().to_string();
    assert!(
        error.contains("no images are made of states 66 wide"),
        "{error}"
    );
}
