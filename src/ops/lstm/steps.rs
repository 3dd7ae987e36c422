//! The time steps of an LSTM layer: how they are dispatched, for layers and for timing a form.

use super::form::{Form, Way};
use crate::device::{Gpu, params};
use crate::error::Result;
use crate::ops::operand::Operand;
use crate::tensor::Tensor;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ForwardParams {
    batch: u32,
    hidden: u32,
    t: u32,
    steps: u32,
    reverse: u32,
    cell_clip: f32,
}

/// How a layer runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct LstmOptions {
    /// From the last time step to the first.
    pub reverse: bool,
    /// The cell is clamped to ± this after each update; 0 leaves it free.
    pub cell_clip: f32,
}

/// A layer's way through its time steps.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub form: Form,
    pub steps: usize,
    pub batch: usize,
    pub hidden: usize,
    pub options: LstmOptions,
}

impl Run {
    /// The time steps in the order they are processed.
    fn order(self) -> Vec<usize> {
        if self.options.reverse {
            (0..self.steps).rev().collect()
        } else {
            (0..self.steps).collect()
        }
    }

    pub fn state_len(self) -> usize {
        self.batch * self.hidden
    }

    /// The first slot, and the slot of the final state.
    pub fn ends(self) -> (usize, usize) {
        if self.options.reverse {
            (self.steps, 0)
        } else {
            (0, self.steps)
        }
    }

    /// One slot of the states (T + 1, B, H), as (B, H).
    pub fn slot(self, states: &Tensor, slot: usize) -> Result<Tensor> {
        states.copy_of_range(slot * self.state_len(), [self.batch, self.hidden])
    }

    /// T consecutive slots from `first`, as (T, B, H): in place where the adapter's alignment
    /// allows it, else copied.
    pub fn sequence(self, states: &Tensor, first: usize) -> Result<Tensor> {
        let shape = [self.steps, self.batch, self.hidden];
        let start = first * self.state_len();
        states
            .window(start, shape)
            .or_else(|_| states.copy_of_range(start, shape))
    }

    /// Of a dispatch of these time steps.
    fn params(self, steps: &[usize]) -> ForwardParams {
        ForwardParams {
            batch: self.batch as u32,
            hidden: self.hidden as u32,
            t: steps[0] as u32,
            steps: steps.len() as u32,
            reverse: u32::from(self.options.reverse),
            cell_clip: self.options.cell_clip,
        }
    }

    /// Queues all time steps. W_hh as packed for them, lens (B), gates (T, B, 4H), which are
    /// x·W_ihᵀ with the biases and become activated, and hidden states and cells (T + 1, B, H), the
    /// first of them set.
    pub fn forward(
        self,
        gpu: &Gpu,
        packed: &Operand,
        [lens, gates, hs, cs]: [&Tensor; 4],
    ) -> Result<()> {
        let kernel = self.form.kernel(gpu, Way::Forward)?;
        let tensors = [lens, gates, hs, cs].map(Tensor::binding);
        let tensors = [&[packed.binding()], &tensors[..]].concat();
        for steps in self.order().chunks(self.form.steps(Way::Forward)) {
            let params = self.params(steps);
            let previous = self.form.rows(|| {
                let slot = steps[0] + usize::from(self.options.reverse);
                hs.window(slot * self.state_len(), [self.batch, self.hidden])
            })?;
            let previous = previous.as_ref().map(Operand::binding);
            let bindings = [&tensors, previous.as_slice()].concat();
            gpu.dispatch(&kernel, &params, &bindings, self.form.grid(Way::Forward))?;
        }
        Ok(())
    }

    /// Queues all time steps on the way back, from the gradient `dout` of the hidden states
    /// (T, B, H), if there is one. `carry_h` and `carry_c` (B, H) go from the gradients of the final
    /// state to those of the first, for `carry_h` only if `first`; the gates become their gradients
    /// before the activations. The others as in [`Run::forward`].
    pub fn backward(
        self,
        gpu: &Gpu,
        packed: &Operand,
        dout: Option<&Tensor>,
        [lens, cs, gates, carry_h, carry_c]: [&Tensor; 5],
        first: bool,
    ) -> Result<()> {
        let kernel = self.form.kernel(gpu, Way::Backward)?;
        // Without a gradient at the outputs some buffer must stand in; it is not read.
        let read = dout.unwrap_or(cs);
        let tensors = [lens, read, cs, gates, carry_h, carry_c].map(Tensor::binding);
        let tensors = [&[packed.binding()], &tensors[..]].concat();
        let dispatch = |steps: &[usize], next: Option<usize>, only_dh: bool| {
            let params = params! {
                step: ForwardParams = self.params(steps),
                next: u32 = next.unwrap_or(0),
                has_next: u32 = next.is_some(),
                has_dout: u32 = dout.is_some(),
                only_dh: u32,
            };
            let later = self.form.rows(|| {
                let width = 4 * self.hidden;
                let start = next.unwrap_or(0) * self.batch * width;
                gates.window(start, [self.batch, width])
            })?;
            let later = later.as_ref().map(Operand::binding);
            let bindings = [&tensors, later.as_slice()].concat();
            gpu.dispatch(&kernel, &params, &bindings, self.form.grid(Way::Backward))
        };
        let mut next: Option<usize> = None;
        let order: Vec<usize> = self.order().into_iter().rev().collect();
        for steps in order.chunks(self.form.steps(Way::Backward)) {
            dispatch(steps, next, false)?;
            next = steps.last().copied();
        }
        // The product with W_hh of the first step processed belongs to the first state.
        if first {
            dispatch(&[next.unwrap_or(0)], next, true)?;
        }
        Ok(())
    }
}
