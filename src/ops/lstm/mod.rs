//! A whole LSTM layer over a whole sequence, as one operator.
//!
//! x·W_ihᵀ for all time steps is one matrix product; each time step is then one dispatch that
//! multiplies by W_hh and applies the gates, or many time steps are, where that is faster. Backward
//! likewise, and the weights' gradients as one product over all steps.

mod choice;
mod form;
mod steps;

pub use form::LstmForm;
pub use steps::LstmOptions;

use super::elementwise::{add, axpy};
use super::matmul::{Product, Shared, product};
use super::reduce::sum_columns_into_all;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::tensor::{Backward, DType, Sink, Tape, Tensor};
use form::Form;
use steps::Run;

const OP: &str = "lstm";

/// A layer's parameters, as PyTorch lays them out: gates stacked in the order i, f, g, o.
pub struct LstmWeights<'a> {
    /// (4H, I)
    pub w_ih: &'a Tensor,
    /// (4H, H)
    pub w_hh: &'a Tensor,
    /// (4H)
    pub b_ih: &'a Tensor,
    /// (4H)
    pub b_hh: &'a Tensor,
}

/// What a layer returns.
#[derive(Clone)]
pub struct LstmOutput {
    /// Hidden states (T, B, H). Outside of a row's sequence, its nearest state.
    pub out: Tensor,
    /// Final hidden state (B, H).
    pub h_n: Tensor,
    /// Final cell (B, H).
    pub c_n: Tensor,
}

/// An LSTM layer: x (T, B, I), lens (B) u32, and a first state (h, c) of (B, H) or zeros. A row's
/// state stays as it is at time steps `t >= lens[b]`.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`]; [`Error::TooLarge`] beyond the adapter's limits.
pub fn lstm(
    tape: &Tape,
    x: &Tensor,
    lens: &Tensor,
    state: Option<(&Tensor, &Tensor)>,
    weights: &LstmWeights<'_>,
    options: LstmOptions,
) -> Result<LstmOutput> {
    lstm_as(tape, x, lens, state, weights, options, None)
}

/// [`lstm`] in the given form, which the adapter must be able to run; in melos' own choice for
/// `None`.
///
/// # Errors
/// As [`lstm`]; [`Error::Kernel`] for a form that the adapter cannot run.
pub fn lstm_as(
    tape: &Tape,
    x: &Tensor,
    lens: &Tensor,
    state: Option<(&Tensor, &Tensor)>,
    weights: &LstmWeights<'_>,
    options: LstmOptions,
    form: Option<LstmForm>,
) -> Result<LstmOutput> {
    let gpu = tape.gpu();
    let [steps, batch, inputs] = x.dims3(OP, "x")?;
    let [_, hidden] = weights.w_hh.dims2(OP, "w_hh")?;
    let gates_width = 4 * hidden;
    x.expect_dtype(OP, "x", DType::F32)?;
    lens.expect(OP, "lens", &[batch], DType::U32)?;
    for (arg, weight, dims) in [
        ("w_ih", weights.w_ih, &[gates_width, inputs][..]),
        ("w_hh", weights.w_hh, &[gates_width, hidden]),
        ("b_ih", weights.b_ih, &[gates_width]),
        ("b_hh", weights.b_hh, &[gates_width]),
    ] {
        weight.expect(OP, arg, dims, DType::F32)?;
    }
    if let Some((h, c)) = state {
        h.expect(OP, "h", &[batch, hidden], DType::F32)?;
        c.expect(OP, "c", &[batch, hidden], DType::F32)?;
    }
    if !(0.0..).contains(&options.cell_clip) {
        let value = options.cell_clip;
        return Err(Error::argument(OP, "cell_clip", value, "0 or more"));
    }

    let form = match form {
        Some(kind) => Form::new(gpu.caps().is_cpu, kind, batch as u32, hidden as u32),
        None => choice::choose(gpu, batch, weights.w_hh)?,
    };
    let run = Run {
        form,
        steps,
        batch,
        hidden,
        options,
    };
    let rows = steps * batch;
    let x_flat = x.reshaped([rows, inputs])?;
    // The product's result is turned into the activated gates in place, and on the way back into
    // their gradients.
    let gates = Tensor::empty(gpu, [rows, gates_width], DType::F32)?;
    let bias = add(&Tape::inference(gpu), weights.b_ih, weights.b_hh)?;
    product(&Product {
        bias: Some(&bias),
        trans_b: true,
        ..Product::new(&x_flat, weights.w_ih, &gates)
    })?;

    let hs = states(gpu, run, state.map(|s| s.0))?;
    let cs = states(gpu, run, state.map(|s| s.1))?;
    let packed = form.pack_forward(gpu, weights.w_hh)?;
    run.forward(gpu, &packed, [lens, &gates, &hs, &cs])?;
    let last = run.ends().1;
    let out = run.sequence(&hs, usize::from(!options.reverse))?;
    let output = LstmOutput {
        out,
        h_n: run.slot(&hs, last)?,
        c_n: run.slot(&cs, last)?,
    };

    let saved = Saved {
        run,
        x: x_flat,
        lens: lens.clone(),
        gates,
        hs,
        cs,
        w_ih: weights.w_ih.clone(),
        w_hh: weights.w_hh.clone(),
        biases: [weights.b_ih.clone(), weights.b_hh.clone()],
        state: state.map(|(h, c)| (h.clone(), c.clone())),
        output: output.clone(),
    };
    let mut inputs = vec![x, weights.w_ih, weights.w_hh, weights.b_ih, weights.b_hh];
    inputs.extend(state.into_iter().flat_map(|(h, c)| [h, c]));
    let outputs = [&output.out, &output.h_n, &output.c_n];
    tape.record(OP, &inputs, &outputs, move |cx| saved.backward(cx));
    Ok(output)
}

/// Memory for all states (T + 1, B, H), the first one set.
fn states(gpu: &Gpu, run: Run, first: Option<&Tensor>) -> Result<Tensor> {
    let (steps, batch, hidden) = (run.steps, run.batch, run.hidden);
    let states = Tensor::empty(gpu, [steps + 1, batch, hidden], DType::F32)?;
    states.set_range(run.ends().0 * run.state_len(), run.state_len(), first)?;
    Ok(states)
}

/// What the backward pass needs.
struct Saved {
    run: Run,
    x: Tensor,
    lens: Tensor,
    gates: Tensor,
    hs: Tensor,
    cs: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    biases: [Tensor; 2],
    state: Option<(Tensor, Tensor)>,
    output: LstmOutput,
}

impl Saved {
    fn backward(self, cx: &mut Backward) -> Result<()> {
        let run = self.run;
        let (carry_h, carry_c) = self.through_time(cx)?;
        // `gates` now holds the gradients before the activations, dz (T·B, 4H).
        let dz = &self.gates;
        let shared_dz = Shared::default();
        if let Some(dx) = cx.sink(&self.x)? {
            product(&Product {
                accumulate: dx.accumulate,
                shared_a: Some(&shared_dz),
                ..Product::new(dz, &self.w_ih, &dx.grad)
            })?;
        }
        let weight = |dw: &Sink, read: &Tensor| {
            product(&Product {
                trans_a: true,
                accumulate: dw.accumulate,
                shared_a: Some(&shared_dz),
                ..Product::new(dz, read, &dw.grad)
            })
        };
        if let Some(dw) = cx.sink(&self.w_ih)? {
            weight(&dw, &self.x)?;
        }
        if let Some(dw) = cx.sink(&self.w_hh)? {
            let before = run.sequence(&self.hs, usize::from(run.options.reverse))?;
            weight(&dw, &before.reshaped([run.steps * run.batch, run.hidden])?)?;
        }
        let mut biases: Vec<Sink> = Vec::with_capacity(2);
        for bias in &self.biases {
            biases.extend(cx.sink(bias)?);
        }
        sum_columns_into_all(dz, &biases)?;
        if let Some((h, c)) = &self.state {
            for (first, carried) in [(h, &carry_h), (c, &carry_c)] {
                if let Some(sink) = cx.sink(first)? {
                    axpy(&sink.grad, carried, 1.0, None, sink.accumulate)?;
                }
            }
        }
        Ok(())
    }

    /// Runs all time steps backwards; returns the gradients of the first state.
    fn through_time(&self, cx: &Backward) -> Result<(Tensor, Tensor)> {
        let run = self.run;
        let gpu = cx.gpu();
        let carry = |upstream: Option<Tensor>| {
            let carry = Tensor::empty(gpu, [run.batch, run.hidden], DType::F32)?;
            carry.set_range(0, run.state_len(), upstream.as_ref())?;
            Ok::<Tensor, Error>(carry)
        };
        let carry_h = carry(cx.upstream(&self.output.h_n)?)?;
        let carry_c = carry(cx.upstream(&self.output.c_n)?)?;
        let dout = cx.upstream(&self.output.out)?;
        let packed = run.form.pack_backward(gpu, &self.w_hh)?;
        let tensors = [&self.lens, &self.cs, &self.gates, &carry_h, &carry_c];
        let first = self.state.as_ref().is_some_and(|(h, _)| cx.wants(h));
        run.backward(gpu, &packed, dout.as_ref(), tensors, first)?;
        Ok((carry_h, carry_c))
    }
}
