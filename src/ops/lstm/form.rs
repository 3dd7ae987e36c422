//! The LSTM step's kernels: which form runs, with which geometry and weights.

use std::sync::Arc;

use crate::device::{Gpu, Groups, Kernel, params};
use crate::error::{Error, Result};
use crate::kernels::Variant;
use crate::ops::kernel::run;
use crate::ops::matmul::{Layout, pack, panels};
use crate::ops::operand::{Operand, can_be_image, lines};
use crate::tensor::{DType, Tensor};

/// The ways to run through time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LstmForm {
    /// A dispatch for each time step.
    Steps,
    /// The same, by subgroup broadcast: on adapters whose subgroups have 8 lanes or more.
    SubgroupSteps,
    /// The same, with what is multiplied copied into images, for CPU drivers: widths of a multiple
    /// of 64.
    ImageSteps,
    /// Many time steps a dispatch: a workgroup takes a few rows of the batch through all of them.
    Persistent,
}

/// The ways through time.
#[derive(Clone, Copy)]
pub(super) enum Way {
    Forward,
    Backward,
}

impl Way {
    /// Units that an invocation has.
    fn units(self) -> u32 {
        match self {
            Way::Forward => 1,
            Way::Backward => 4,
        }
    }
}

/// Which form of the step kernels runs, and its geometry.
#[derive(Clone, Copy)]
pub(super) struct Form {
    kind: LstmForm,
    /// Batch rows of one invocation, forward and backward.
    rows: [u32; 2],
    /// Invocations that share a panel of weights: forward each has one unit, backward four.
    tile: u32,
    /// Invocations of a workgroup, forward and backward.
    threads: [u32; 2],
    batch: u32,
    hidden: u32,
}

/// Workgroups that a CPU driver needs to keep its cores busy.
const FEW: u32 = 4;

/// Turns of all its loops that a shader makes at most: llvmpipe leaves them after 65,535.
const TURNS: u32 = 40_000;

impl Form {
    /// The geometry of a form.
    pub(super) fn new(cpu: bool, kind: LstmForm, batch: u32, hidden: u32) -> Form {
        // Persistent kernels are for GPUs; CPU drivers prove them as they are there.
        let persists = kind == LstmForm::Persistent;
        let tile = if cpu && !persists { 8 } else { 32 };
        // Many rows reuse the weights more, but leave fewer workgroups.
        let rows = |units: u32| {
            let fits = |rows: &u32| {
                let groups = hidden.div_ceil(units * tile) * batch.div_ceil(*rows);
                *rows < 2 * batch && groups >= FEW
            };
            match kind {
                LstmForm::Persistent => 4,
                LstmForm::SubgroupSteps | LstmForm::ImageSteps if cpu => {
                    [32, 16].into_iter().find(fits).unwrap_or(8)
                }
                _ => 8,
            }
        };
        let most = if persists { 256 } else { tile };
        let threads = |units: u32| hidden.div_ceil(units).next_multiple_of(tile).min(most);
        Form {
            kind,
            rows: [rows(1), rows(4)],
            tile,
            threads: [threads(1), threads(4)],
            batch,
            hidden,
        }
    }

    fn persists(self) -> bool {
        self.kind == LstmForm::Persistent
    }

    /// Time steps of one dispatch.
    pub(super) fn steps(self, way: Way) -> usize {
        if !self.persists() {
            return 1;
        }
        let (units, way) = (way.units(), way as usize);
        let tiles = self.hidden.div_ceil(units * self.threads[way]);
        // The product by fours, over H or 4H, its rows, then the cells.
        let depth = units * self.hidden;
        let turns = tiles * (depth.div_ceil(4) + self.rows[way] * (units + 2) + 1);
        (TURNS / turns).max(1) as usize
    }

    pub(super) fn kernel(self, gpu: &Gpu, way: Way) -> Result<Arc<Kernel>> {
        let way = way as usize;
        let variant = Variant::new()
            .with("ROWS", self.rows[way])
            .with("TILE", self.tile)
            .with("VEC4", self.hidden.is_multiple_of(4));
        let image = self.kind == LstmForm::ImageSteps;
        if image || self.kind == LstmForm::SubgroupSteps {
            let variant = variant.with("IMAGE", image);
            let name = ["lstm_step_fwd_subgroup", "lstm_step_bwd_subgroup"][way];
            return gpu.kernel(name, &variant);
        }
        let variant = variant
            .with("WG", self.threads[way])
            .with("PERSISTENT", self.persists());
        gpu.kernel(["lstm_step_fwd", "lstm_step_bwd"][way], &variant)
    }

    pub(super) fn grid(self, way: Way) -> Groups {
        let across = if self.persists() {
            1
        } else {
            self.hidden.div_ceil(way.units() * self.tile)
        };
        let rows = self.rows[way as usize];
        Groups::Grid([across, self.batch.div_ceil(rows), 1])
    }

    /// W_hh as an image, where what is multiplied is read from images.
    fn image(self, w_hh: &Tensor, panels: bool) -> Result<Option<Operand>> {
        if self.kind != LstmForm::ImageSteps {
            return Ok(None);
        }
        if !can_be_image(w_hh) {
            return Err(Error::Kernel {
                kernel: "lstm".into(),
                message: format!("no images are made of states {} wide", self.hidden),
            });
        }
        Ok(Some(Operand::Image(w_hh.image(&lines(w_hh, panels))?)))
    }

    /// What a step reads of rows that earlier steps wrote, beside its other bindings.
    pub(super) fn rows(self, rows: impl FnOnce() -> Result<Tensor>) -> Result<Option<Operand>> {
        match self.kind {
            LstmForm::ImageSteps => {
                let rows = rows()?;
                Ok(Some(Operand::Image(rows.image(&lines(&rows, false))?)))
            }
            _ => Ok(None),
        }
    }

    /// W_hh for the forward step: in panels of one invocation's four gates, or an image.
    pub(super) fn pack_forward(self, gpu: &Gpu, w_hh: &Tensor) -> Result<Operand> {
        if let Some(image) = self.image(w_hh, false)? {
            return Ok(image);
        }
        let (tile, hidden) = (self.tile as usize, self.hidden as usize);
        let kp = hidden.next_multiple_of(8);
        let packed = Tensor::empty(gpu, [hidden.div_ceil(tile), kp, tile, 4], DType::F32)?;
        let params = params! { hidden: u32 = self.hidden, tile: u32 = self.tile, kp: u32 };
        let kernel = ("lstm_pack_weights", &Variant::new());
        let groups = Groups::cover(packed.len() / 4, 64);
        run(gpu, kernel, &params, [w_hh, &packed], groups)?;
        Ok(Operand::Tensor(packed))
    }

    /// W_hh (4H, H) in panels of columns, for the backward step's product dz·W_hh.
    pub(super) fn pack_backward(self, gpu: &Gpu, w_hh: &Tensor) -> Result<Operand> {
        if let Some(image) = self.image(w_hh, true)? {
            return Ok(image);
        }
        let h = self.hidden;
        let rows = Layout {
            extent: 1,
            k: h,
            batch: 0,
        };
        let how = panels(h, 4 * h, rows, 1, 4 * self.tile, "w_hh");
        let how = how.map_err(|e| Error::kernel("lstm", e))?;
        Ok(Operand::Tensor(pack(gpu, w_hh, &how)?))
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, LstmForm, TURNS, Way};

    #[test]
    fn small_layers_on_a_cpu_keep_several_workgroups() {
        let by = |cpu, batch, hidden| Form::new(cpu, LstmForm::SubgroupSteps, batch, hidden).rows;
        assert_eq!(by(true, 32, 512), [32, 32]);
        assert_eq!(by(true, 32, 64), [32, 16]);
        assert_eq!(by(true, 8, 512), [8, 8]);
        assert_eq!(by(false, 32, 512), [8, 8]);
    }

    #[test]
    fn persistent_kernels_fit_workgroups_and_loops() {
        for hidden in [1, 33, 128, 256, 1000, 4096] {
            let form = Form::new(true, LstmForm::Persistent, 32, hidden);
            for way in [Way::Forward, Way::Backward] {
                let (units, steps) = (way.units(), form.steps(way));
                let (threads, rows) = (form.threads[way as usize], form.rows[way as usize]);
                assert!(threads <= 256 && threads * rows * 16 <= 16384, "H {hidden}");
                assert_eq!(threads % form.tile, 0, "H {hidden}");
                let products = hidden.div_ceil(units * threads) * (units * hidden / 4);
                assert!(steps == 1 || steps as u32 * products < TURNS, "H {hidden}");
            }
        }
        let steps = |hidden| Form::new(true, LstmForm::Persistent, 32, hidden).steps(Way::Forward);
        assert!(steps(128) > 256 && steps(4096) < steps(128));
        let form = Form::new(true, LstmForm::Steps, 32, 64);
        assert_eq!(form.steps(Way::Forward), 1);
    }
}
