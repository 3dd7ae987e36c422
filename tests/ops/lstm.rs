//! The LSTM over sequences, in the adapter's form, in the portable one and in persistent kernels.

use melos::device::Gpu;
use melos::error::Result;
use melos::ops::{self, LstmForm, LstmOptions};
use melos::tensor::{Tape, Tensor};

use crate::reference::lstm::{Lstm, LstmWeights};
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float};
use crate::support::{Input, Op, adapters, gpu, input, prove};

/// Inputs: x, w_ih, w_hh, b_ih, b_hh, and h0, c0 if there is a first state.
struct Layer {
    adapter: &'static str,
    form: Option<LstmForm>,
    shape: Lstm,
    lens: Vec<u32>,
    on_device: Tensor,
    /// Which of out, h_n, c_n are used.
    used: [bool; 3],
}

impl Layer {
    fn chosen<T>(&self, all: [T; 3]) -> Vec<T> {
        let chosen = all.into_iter().zip(self.used).filter(|(_, used)| *used);
        chosen.map(|(t, _)| t).collect()
    }

    fn state<F: Float>(&self, inputs: &[Vec<F>]) -> (Vec<F>, Vec<F>) {
        let zeros = || vec![F::ZERO; self.shape.b * self.shape.h];
        let get = |k: usize| inputs.get(k).cloned().unwrap_or_else(zeros);
        (get(5), get(6))
    }

    /// Elements of `out` past the end of a row, with the element of the state they repeat.
    fn past(&self) -> Vec<(usize, usize)> {
        let (b, h) = (self.shape.b, self.shape.h);
        let all = (0..self.shape.t * b * h).map(|at| (at, at % (b * h)));
        let over = |at: usize| at / (b * h) >= self.lens[at / h % b] as usize;
        all.filter(|(at, _)| over(*at)).collect()
    }
}

fn weights<F: Float>(inputs: &[Vec<F>]) -> LstmWeights<F> {
    LstmWeights {
        w_ih: inputs[1].clone(),
        w_hh: inputs[2].clone(),
        b_ih: inputs[3].clone(),
        b_hh: inputs[4].clone(),
    }
}

impl Op for Layer {
    fn name(&self) -> String {
        let form = self.form;
        let (adapter, shape, used) = (self.adapter, self.shape, self.used);
        format!("{adapter}lstm {form:?} {shape:?} used {used:?}")
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x, w_ih, w_hh, b_ih, b_hh, state @ ..] = inputs else {
            panic!("five inputs or seven");
        };
        let weights = ops::LstmWeights {
            w_ih,
            w_hh,
            b_ih,
            b_hh,
        };
        let options = LstmOptions {
            reverse: self.shape.reverse,
            cell_clip: self.shape.cell_clip.unwrap_or(0.0) as f32,
        };
        let state = state.first().zip(state.get(1));
        let lens = &self.on_device;
        let result = match self.form {
            None => ops::lstm(tape, x, lens, state, &weights, options)?,
            form => ops::lstm_as(tape, x, lens, state, &weights, options, form)?,
        };
        Ok(self.chosen([result.out, result.h_n, result.c_n]))
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let (h0, c0) = self.state(inputs);
        let w = weights(inputs);
        let mut all = self.shape.forward(&self.lens, &inputs[0], &h0, &c0, &w);
        // Past its end a row repeats its nearest state: the last, or in reverse the first.
        let nearest = if self.shape.reverse { &h0 } else { &all.h_n };
        for (at, state) in self.past() {
            all.y[at] = nearest[state];
        }
        self.chosen([all.y, all.h_n, all.c_n])
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let (t, b, h) = (self.shape.t, self.shape.b, self.shape.h);
        let (h0, c0) = self.state(inputs);
        let w = weights(inputs);
        let out = self.shape.forward(&self.lens, &inputs[0], &h0, &c0, &w);
        let mut dy = dy.iter().cloned();
        let mut take = |k: usize, len: usize| match self.used[k] {
            true => dy.next().unwrap(),
            false => vec![F::ZERO; len],
        };
        let dout = take(0, t * b * h);
        let (mut dh_n, dc_n) = (take(1, b * h), take(2, b * h));
        let mut past = vec![F::ZERO; b * h];
        for (at, state) in self.past() {
            past[state] += dout[at];
        }
        let add = |to: &mut [F]| to.iter_mut().zip(&past).for_each(|(to, p)| *to += *p);
        if !self.shape.reverse {
            add(&mut dh_n);
        }
        let lens = &self.lens;
        let mut grads = self
            .shape
            .backward(lens, &inputs[0], &h0, &c0, &w, &out, &dout, &dh_n, &dc_n);
        if self.shape.reverse {
            add(&mut grads.dh0);
        }
        let w = grads.weights;
        let all = [
            grads.dx, w.w_ih, w.w_hh, w.b_ih, w.b_hh, grads.dh0, grads.dc0,
        ];
        all.into_iter().take(inputs.len()).collect()
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::LSTM, tolerance::LSTM_BWD)
    }
}

struct Case {
    sizes: [usize; 4],
    reverse: bool,
    cell_clip: Option<f64>,
    state: bool,
    used: [bool; 3],
}

fn inputs(shape: &Lstm, state: bool, data: &mut Data) -> Vec<Input> {
    let (t, b, i, h) = (shape.t, shape.b, shape.i, shape.h);
    let scale = 1.0 / (h as f64).sqrt();
    let mut tensor = |dims: &[usize], scale: f64, peak: f64| {
        input(dims, data.peaked(dims.iter().product(), scale, peak))
    };
    let mut all = vec![
        tensor(&[t, b, i], 1.0, 8.0),
        tensor(&[4 * h, i], scale, 4.0),
        tensor(&[4 * h, h], scale, 4.0),
        tensor(&[4 * h], 0.5, 8.0),
        tensor(&[4 * h], 0.5, 1.0),
    ];
    if state {
        all.extend([tensor(&[b, h], 0.5, 1.0), tensor(&[b, h], 1.0, 4.0)]);
    }
    all
}

/// The kernels under test: those that melos chooses, with and without the adapter's optional
/// features, and the persistent ones.
fn forms() -> Vec<(&'static str, Gpu, Option<LstmForm>)> {
    let [(name, gpu), (portable_name, portable)] = adapters();
    vec![
        (name, gpu, None),
        (portable_name, portable.clone(), None),
        (portable_name, portable, Some(LstmForm::Persistent)),
    ]
}

fn prove_layer(
    (adapter, gpu, form): &(&'static str, Gpu, Option<LstmForm>),
    case: &Case,
    lens: Vec<u32>,
    data: &mut Data,
) {
    let [t, b, i, h] = case.sizes;
    let shape = Lstm {
        t,
        b,
        i,
        h,
        reverse: case.reverse,
        cell_clip: case.cell_clip,
    };
    let inputs = inputs(&shape, case.state, data);
    let on_device = Tensor::from_slice(gpu, [b], &lens).unwrap();
    let used = case.used;
    let op = Layer {
        adapter,
        form: *form,
        shape,
        lens,
        on_device,
        used,
    };
    prove(&op, gpu, &inputs);
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
    for kernels in forms().into_iter().filter(|(.., form)| form.is_some()) {
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
