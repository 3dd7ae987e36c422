//! The attention kernels: which form runs, in which variant and geometry.

use std::sync::Arc;

use crate::device::{Bound, Gpu, Groups, Kernel, params};
use crate::error::{Error, Result};
use crate::kernels::Variant;
use crate::ops::kernel::{lanes, run};
use crate::ops::matmul::reads_images;
use crate::ops::operand::{Operand, can_be_image, lines};
use crate::tensor::{DType, Tensor};

/// As `include/attention.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Params {
    pub queries: u32,
    pub keys: u32,
    pub heads: u32,
    pub group: u32,
    pub width: u32,
    pub q_row: u32,
    pub q_first: u32,
    pub k_row: u32,
    pub k_first: u32,
    pub v_row: u32,
    pub v_first: u32,
    pub blocks: u32,
    pub causal: u32,
    pub window: u32,
    pub lens_at: u32,
    pub starts_at: u32,
    pub layer: u32,
    pub threshold: u32,
    pub accumulate: u32,
    pub accumulate_v: u32,
    pub scale: f32,
    pub cap: f32,
    pub keep: f32,
    /// First query, or key, of a dispatch, and how many it has: [`Form::dispatch`] fills them in.
    pub first_row: u32,
    pub rows: u32,
}

/// What the backward needs of the forward, (B, NH, T, 2): the logarithm of each query's sum, and
/// room for delta.
pub(super) struct Stats(pub Tensor);

/// What the kernels are compiled for beside their form.
#[derive(Clone, Copy)]
pub(super) struct Flags {
    /// D is a multiple of 4.
    pub vec4: bool,
    pub dropout: bool,
    /// Everything but the statistics holds f16.
    pub half: bool,
    /// What is read of rows is copied into images first.
    pub image: bool,
    /// Scores are bounded.
    pub softcap: bool,
    /// Not all keys of a row count.
    pub lens: bool,
    /// Queries have a first key.
    pub starts: bool,
}

/// Which form of the kernels runs, and its geometry.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// By subgroup broadcast.
    subgroup: bool,
    /// Columns of a result that a workgroup makes; multiple of 8.
    cols: u32,
    blocks: u32,
    /// D
    width: u32,
    flags: Flags,
}

/// Whether all of these, of heads of `width` columns, are better read from images: by CPU drivers,
/// where lines are whole copies.
pub(super) fn images(gpu: &Gpu, tensors: &[&Tensor], width: usize) -> Result<bool> {
    let able = lanes(width) == 4 && tensors.iter().all(|rows| can_be_image(rows));
    Ok(able && reads_images(gpu)?)
}

/// Queries or keys of a workgroup.
const TILE: u32 = 32;

impl Form {
    /// The form for heads of `width` columns, `group` of them to one of the keys, and so many queries or
    /// keys: as `MELOS_KERNELS`
    /// forces, else by broadcast on CPU adapters and over workgroup memory on GPUs, where eight
    /// lanes a workgroup would leave most of the machine idle.
    pub(super) fn of(
        gpu: &Gpu,
        [width, group]: [usize; 2],
        longest: usize,
        flags: Flags,
    ) -> Result<Form> {
        let caps = gpu.caps();
        let subgroup = match gpu.rung() {
            Some(rung) => rung.broadcasts(),
            None => caps.is_cpu && caps.broadcasts(),
        };
        let form = Form::new(subgroup, width as u32, flags);
        // One kernel loops over all heads of a group.
        let limit = form.longest(gpu.is_checked()) / group;
        if caps.is_cpu && longest > limit {
            return Err(Error::Kernel {
                kernel: "attention".into(),
                message: format!(
                    "{longest} queries or keys of heads {width} wide; this software adapter loops over up to {limit}"
                ),
            });
        }
        Ok(form)
    }

    fn new(subgroup: bool, width: u32, flags: Flags) -> Form {
        // The most columns that registers take, in two sums for the backward: on a CPU 16 KiB of
        // its first cache in all eight lanes, on a GPU 128 numbers of an invocation.
        let (most, unit) = if subgroup { (64, 8) } else { (128, 32) };
        let blocks = width.div_ceil(most);
        let cols = width.div_ceil(blocks).next_multiple_of(unit);
        Form {
            subgroup,
            cols,
            // Rounding up may leave nothing for the last.
            blocks: width.div_ceil(cols),
            width,
            flags,
        }
    }

    /// Mesa's llvmpipe leaves a shader's loops after 65,535 iterations in all, without a word. With
    /// bounds checks it unrolls none, not even those of the random generator.
    fn longest(self, checked: bool) -> usize {
        let drawn = if checked && self.flags.dropout { 12 } else { 0 };
        let (step, iterations) = if self.subgroup {
            let unrolled = if checked { self.cols / 8 + 24 } else { 0 };
            (8, 2 + self.width.div_ceil(8) + unrolled + 16 * drawn)
        } else {
            // Slices of scores and of sums, two products each.
            let (scores, sums) = (self.width.div_ceil(32), self.cols / 32);
            (32, 24 + 36 * scores + 44 * sums + 4 * drawn)
        };
        (65_000 / iterations * step) as usize
    }

    /// The rows of a tensor as the kernels read them.
    pub(super) fn source(self, rows: &Tensor) -> Result<Operand> {
        Ok(if self.flags.image {
            Operand::Image(rows.image(&lines(rows, false))?)
        } else {
            Operand::Tensor(rows.clone())
        })
    }

    /// Workgroups that share the columns of a result.
    pub(super) fn blocks(self) -> u32 {
        self.blocks
    }

    fn kernel(self, gpu: &Gpu, name: &str, variant: Variant) -> Result<Arc<Kernel>> {
        let variant = variant
            .with("COLS", self.cols)
            .with("VEC4", self.flags.vec4)
            .with("F16", self.flags.half)
            .with("IMAGE", self.flags.image)
            .with("SOFTCAP", self.flags.softcap)
            .with("LENS", self.flags.lens)
            .with("STARTS", self.flags.starts)
            .with("DROPOUT", self.flags.dropout);
        let form = if self.subgroup { "_subgroup" } else { "" };
        gpu.kernel(&format!("attention_{name}{form}"), &variant)
    }

    /// Queues a kernel for all `rows` queries or keys of `batch` sequences, in parts where it would run
    /// long enough for a system to take the device for dead: `work` operations for each column of a row.
    fn dispatch(
        self,
        gpu: &Gpu,
        kernel: &Arc<Kernel>,
        params: &Params,
        bindings: &[Bound<'_>],
        [rows, heads, batch]: [u32; 3],
        work: f64,
    ) -> Result<()> {
        let columns = f64::from(params.heads) * f64::from(self.width) * f64::from(batch);
        let most = match gpu.most_of_dispatch() {
            Some(most) => ((most / (work * columns)) as u32 / TILE)
                .max(1)
                .saturating_mul(TILE),
            None => u32::MAX,
        };
        for first in (0..rows).step_by(most as usize) {
            let params = Params {
                first_row: first,
                rows: most.min(rows - first),
                ..*params
            };
            let groups = params.rows.div_ceil(TILE) * self.blocks;
            let grid = Groups::Grid([groups, heads, batch]);
            gpu.dispatch(kernel, &params, bindings, grid)?;
        }
        Ok(())
    }

    /// Fills `out` and, if given, the logarithms of `stats`. `read` is q, k, v and control.
    pub(super) fn forward(
        self,
        params: &Params,
        read: &[Operand; 4],
        out: &Tensor,
        stats: Option<&Stats>,
    ) -> Result<()> {
        let gpu = out.gpu();
        let kernel = self.kernel(gpu, "fwd", Variant::new().with("LSE", stats.is_some()))?;
        let written = [Some(out), stats.map(|s| &s.0)].into_iter().flatten();
        let read = read.iter().map(Operand::binding);
        let bindings: Vec<_> = read.chain(written.map(Tensor::binding)).collect();
        let rows = [params.queries, params.heads, out.dims()[0] as u32];
        let work = 4.0 * f64::from(params.keys);
        self.dispatch(gpu, &kernel, params, &bindings, rows, work)
    }

    /// Fills the deltas of `stats`.
    pub(super) fn delta(
        self,
        params: &Params,
        out: &Tensor,
        dout: &Tensor,
        stats: &Stats,
    ) -> Result<()> {
        let gpu = out.gpu();
        let variant = Variant::new()
            .with("F16", self.flags.half)
            .with("VEC4", self.flags.vec4);
        let rows = stats.0.len() / 2;
        let params = params! {
            n: u32 = rows,
            queries: u32 = params.queries,
            heads: u32 = params.heads,
            width: u32 = params.width,
        };
        let kernel = ("attention_delta", &variant);
        let groups = Groups::cover(rows, 64);
        run(gpu, kernel, &params, [out, dout, &stats.0], groups)
    }

    /// Fills, or adds to, q's columns of `dq`.
    pub(super) fn queries(
        self,
        params: &Params,
        read: &[Operand; 4],
        dout: &Operand,
        stats: &Stats,
        dq: &Tensor,
    ) -> Result<()> {
        let gpu = dq.gpu();
        let kernel = self.kernel(gpu, "dq", Variant::new())?;
        let read = read.iter().chain([dout]).map(Operand::binding);
        let others = [&stats.0, dq].map(Tensor::binding);
        let bindings: Vec<_> = read.chain(others).collect();
        let rows = [params.queries, params.heads, stats.0.dims()[0] as u32];
        let work = 6.0 * f64::from(params.keys);
        self.dispatch(gpu, &kernel, params, &bindings, rows, work)
    }

    /// The same for keys and values, whose gradients may lie in one tensor.
    pub(super) fn keys(
        self,
        params: &Params,
        read: &[Operand; 4],
        dout: &Operand,
        stats: &Stats,
        [dk, dv]: [&Tensor; 2],
    ) -> Result<()> {
        let gpu = dk.gpu();
        let together = dk.id() == dv.id();
        // One buffer must not be bound twice to be written.
        let unused = together.then(|| Tensor::empty(gpu, [4], DType::F32));
        let unused = unused.transpose()?;
        let kernel = self.kernel(gpu, "dkv", Variant::new().with("TOGETHER", together))?;
        let read = read.iter().chain([dout]).map(Operand::binding);
        let others = [&stats.0, dk, unused.as_ref().unwrap_or(dv)].map(Tensor::binding);
        let bindings: Vec<_> = read.chain(others).collect();
        let heads = params.heads / params.group;
        let rows = [params.keys, heads, stats.0.dims()[0] as u32];
        let work = 8.0 * f64::from(params.queries);
        self.dispatch(gpu, &kernel, params, &bindings, rows, work)
    }
}
