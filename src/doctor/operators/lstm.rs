//! The LSTM over sequences.

use crate::device::Gpu;
use crate::doctor::evidence::Evidence;
use crate::doctor::proof::{Input, Op, input, prove};
use crate::error::Result;
use crate::ops::{self, LstmForm, LstmOptions};
use crate::reference::lstm::{Lstm, LstmWeights};
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float};
use crate::tensor::{Tape, Tensor};

/// Inputs: x, w_ih, w_hh, b_ih, b_hh, and h0, c0 if there is a first state.
struct Layer {
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
        let (form, shape, used) = (self.form, self.shape, self.used);
        format!("lstm {form:?} {shape:?} used {used:?}")
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let (x, state) = (&inputs[0], &inputs[5..]);
        let weights = ops::LstmWeights {
            w_ih: &inputs[1],
            w_hh: &inputs[2],
            b_ih: &inputs[3],
            b_hh: &inputs[4],
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
        let mut take = |k: usize, len: usize| {
            let used = if self.used[k] { dy.next() } else { None };
            used.unwrap_or_else(|| vec![F::ZERO; len])
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
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["lstm_", "matmul_", "sum_cols"]
    }
}

/// Sizes T, B, I, H and settings.
#[derive(Clone, Copy)]
pub struct Case {
    pub sizes: [usize; 4],
    pub reverse: bool,
    pub cell_clip: Option<f64>,
    pub state: bool,
    pub used: [bool; 3],
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

/// Proves a layer, by the form that melos chooses or by this one.
///
/// # Errors
/// Those of the device.
pub fn prove_layer(
    (gpu, form): (&Gpu, Option<LstmForm>),
    case: &Case,
    lens: Vec<u32>,
    data: &mut Data,
) -> Result<Evidence> {
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
    let on_device = Tensor::from_slice(gpu, [b], &lens)?;
    let used = case.used;
    let op = Layer {
        form,
        shape,
        lens,
        on_device,
        used,
    };
    prove(&op, gpu, &inputs)
}
