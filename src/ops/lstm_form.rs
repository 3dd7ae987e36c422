//! The LSTM step's kernels: which form runs, with which geometry, weights and parameters.

use super::matmul_plan::{self as plan, Layout};
use crate::device::{Gpu, Groups, Kernel};
use crate::error::{Error, Result};
use crate::kernels::Variant;
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

/// Which form of the step kernels runs, and its geometry.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// By subgroup broadcast.
    subgroup: bool,
    /// Batch rows of one invocation, forward and backward.
    rows: [u32; 2],
    /// Invocations of a workgroup: forward each has one unit, backward four.
    threads: u32,
    batch: u32,
    hidden: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct PackParams {
    hidden: u32,
    tile: u32,
    kp: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct ForwardParams {
    pub batch: u32,
    pub hidden: u32,
    pub t: u32,
    pub before: u32,
    pub after: u32,
    pub cell_clip: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct BackwardParams {
    pub batch: u32,
    pub hidden: u32,
    pub t: u32,
    pub before: u32,
    pub after: u32,
    pub cell_clip: f32,
    pub next: u32,
    pub has_next: u32,
    pub has_dout: u32,
    pub only_dh: u32,
}

/// Workgroups that a CPU driver needs to keep its cores busy.
const FEW: u32 = 4;

impl Form {
    /// The form for a layer: as `MELOS_KERNELS` forces; by broadcast on CPU adapters (lavapipe,
    /// B = 32, H = 512: 3 ms of CPU time a step, 9 without); else the faster as measured.
    pub(super) fn of(gpu: &Gpu, batch: usize, hidden: usize) -> Result<Form> {
        let caps = gpu.caps();
        let form = |subgroup| Form::new(caps.is_cpu, subgroup, batch as u32, hidden as u32);
        let able = caps.subgroup && caps.subgroup_min >= 8;
        match gpu.rung() {
            Some(rung) => return Ok(form(rung.broadcasts())),
            None if caps.is_cpu || !able => return Ok(form(able)),
            None => {}
        }
        let (b, h) = (batch.next_power_of_two(), hidden.next_power_of_two());
        let names = ["portable", "subgroup"].map(String::from);
        let chosen = gpu.fastest(&format!("lstm step B {b} H {h}"), &names, |gpu, index| {
            Form::new(false, index == 1, b as u32, h as u32).seconds(gpu)
        })?;
        Ok(form(chosen == 1))
    }

    fn new(cpu: bool, subgroup: bool, batch: u32, hidden: u32) -> Form {
        let threads = if cpu { 8 } else { 32 };
        // Many rows reuse the weights more, but leave fewer workgroups.
        let rows = |units: u32| {
            let fits = |rows: &u32| {
                let groups = hidden.div_ceil(units * threads) * batch.div_ceil(*rows);
                *rows < 2 * batch && groups >= FEW
            };
            match cpu && subgroup {
                true => [32, 16].into_iter().find(fits).unwrap_or(8),
                false => 8,
            }
        };
        Form {
            subgroup,
            rows: [rows(1), rows(4)],
            threads,
            batch,
            hidden,
        }
    }

    pub(super) fn forward(self, gpu: &Gpu) -> Result<Arc<Kernel>> {
        let name = match self.subgroup {
            true => "lstm_step_fwd_subgroup",
            false => "lstm_step_fwd",
        };
        let variant = Variant::new()
            .with("ROWS", self.rows[0])
            .with("TILE", self.threads)
            .with("VEC4", self.hidden.is_multiple_of(4));
        gpu.kernel(name, &variant)
    }

    pub(super) fn backward(self, gpu: &Gpu) -> Result<Arc<Kernel>> {
        let name = match self.subgroup {
            true => "lstm_step_bwd_subgroup",
            false => "lstm_step_bwd",
        };
        let variant = Variant::new()
            .with("ROWS", self.rows[1])
            .with("WG", self.threads);
        gpu.kernel(name, &variant)
    }

    pub(super) fn forward_grid(self) -> Groups {
        self.grid(1, self.rows[0])
    }

    pub(super) fn backward_grid(self) -> Groups {
        self.grid(4, self.rows[1])
    }

    fn grid(self, units: u32, rows: u32) -> Groups {
        let across = self.hidden.div_ceil(units * self.threads);
        Groups::Grid([across, self.batch.div_ceil(rows), 1])
    }

    /// W_hh in panels of one invocation's four gates, for the forward step.
    pub(super) fn pack_forward(self, gpu: &Gpu, w_hh: &Tensor) -> Result<Tensor> {
        let (tile, hidden) = (self.threads as usize, self.hidden as usize);
        let kp = hidden.next_multiple_of(8);
        let packed = Tensor::empty(gpu, [hidden.div_ceil(tile), kp, tile, 4], DType::F32)?;
        let kernel = gpu.kernel("lstm_pack_weights", &Variant::new())?;
        let params = PackParams {
            hidden: self.hidden,
            tile: self.threads,
            kp: kp as u32,
        };
        let bindings = [w_hh.binding(), packed.binding()];
        let groups = Groups::cover(packed.len() / 4, 64);
        gpu.dispatch(&kernel, &params, &bindings, groups)?;
        Ok(packed)
    }

    /// W_hh (4H, H) in panels of columns, for the backward step's product dz·W_hh.
    pub(super) fn pack_backward(self, gpu: &Gpu, w_hh: &Tensor) -> Result<Tensor> {
        let h = self.hidden;
        let rows = Layout {
            extent: 1,
            k: h,
            batch: 0,
        };
        let how = plan::pack(h, 4 * h, rows, 1, 4 * self.threads, "w_hh");
        let how = how.map_err(|e| Error::Kernel {
            kernel: "lstm".into(),
            message: e.to_string(),
        })?;
        super::matmul::pack(gpu, w_hh, &how)
    }

    /// Seconds of one step forward and one backward, on zeros.
    fn seconds(self, gpu: &Gpu) -> Result<f64> {
        let (b, h) = (self.batch as usize, self.hidden as usize);
        let zeros = |shape: [usize; 3]| Tensor::zeros(gpu, shape);
        let w_hh = zeros([1, 4 * h, h])?;
        let (gates, states, cells) = (zeros([2, b, 4 * h])?, zeros([3, b, h])?, zeros([3, b, h])?);
        let (carry_h, carry_c) = (zeros([1, b, h])?, zeros([1, b, h])?);
        let lens = Tensor::from_slice(gpu, [b], &vec![2u32; b])?;
        let (ahead, back) = (
            self.pack_forward(gpu, &w_hh)?,
            self.pack_backward(gpu, &w_hh)?,
        );
        let (forward, backward) = (self.forward(gpu)?, self.backward(gpu)?);
        let (batch, hidden, cell_clip) = (self.batch, self.hidden, 0.0);
        gpu.seconds(|| {
            let [packed, ids, gates, hs, cs] = [&ahead, &lens, &gates, &states, &cells];
            let bindings = [packed, ids, gates, hs, cs].map(Tensor::binding);
            let params = ForwardParams {
                batch,
                hidden,
                t: 0,
                before: 0,
                after: 1,
                cell_clip,
            };
            gpu.dispatch(&forward, &params, &bindings, self.forward_grid())?;
            let bindings = [&back, ids, hs, cs, gates, &carry_h, &carry_c].map(Tensor::binding);
            let params = BackwardParams {
                batch,
                hidden,
                t: 0,
                before: 0,
                after: 1,
                cell_clip,
                next: 1,
                has_next: 1,
                has_dout: 1,
                only_dh: 0,
            };
            gpu.dispatch(&backward, &params, &bindings, self.backward_grid())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Form;

    #[test]
    fn small_layers_on_a_cpu_keep_several_workgroups() {
        let rows = |batch, hidden| Form::new(true, true, batch, hidden).rows;
        assert_eq!(rows(32, 512), [32, 32]);
        assert_eq!(rows(32, 64), [32, 16]);
        assert_eq!(rows(8, 512), [8, 8]);
        assert_eq!(Form::new(false, true, 32, 512).rows, [8, 8]);
    }
}
