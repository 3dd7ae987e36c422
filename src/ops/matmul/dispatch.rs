//! A product in one form: its dispatches, cut where one would be too long.

use super::candidate::Candidate;
use super::low_rank::LowRank;
use super::panels::Pack;
use super::plan::{Wanted, plan};
use super::sizes::{Layout, PlanError, Sizes, Update};
use super::split;
use super::tensors::{OP, Product, Shared};
use crate::device::{Gpu, Groups};
use crate::error::{Error, Result};
use crate::kernels::Variant;
use crate::ops::kernel::run;
use crate::ops::operand::Operand;
use crate::ops::reduce::sum_columns;
use crate::tensor::{DType, Tensor};

/// Largest inner size of one dispatch. Mesa's llvmpipe leaves a shader's loops after 65,535
/// iterations in all, without a word. A product takes up to 1.25 for each k, and ten with bounds
/// checks, which keep it from unrolling. Multiples of 64, so that parts of operands stay aligned.
pub(crate) fn max_k(gpu: &Gpu) -> u32 {
    match (gpu.caps().is_cpu, gpu.is_checked()) {
        (true, true) => 6 << 10,
        (true, false) => 32 << 10,
        (false, _) => u32::MAX,
    }
}

/// Queues a product in the given form.
///
/// # Errors
/// As [`product`](super::product); [`Error::Kernel`] when the adapter cannot run this form.
pub fn product_as(p: &Product<'_>, form: Candidate) -> Result<()> {
    sized(p, &p.sizes()?, form)
}

/// The same of operands that start where the given tensors do.
pub(super) fn sized(p: &Product<'_>, sizes: &Sizes, form: Candidate) -> Result<()> {
    if sizes.update.rank > 0 && !form.adds_updates() {
        return Err(Error::Kernel {
            kernel: OP.into(),
            message: format!("{form} adds no low-rank update"),
        });
    }
    let rows = most_rows(p.c.gpu(), sizes);
    if rows >= sizes.m {
        return match form {
            Candidate::Split { parts, .. } => split_as(p, sizes, parts, form.whole()),
            _ => rows_as(p, sizes, form),
        };
    }
    // Made once for all parts.
    let shared_b = Shared::default();
    for first in (0..sizes.m).step_by(rows as usize) {
        let m = rows.min(sizes.m - first);
        let start = first as usize * sizes.a.extent as usize;
        let a = p.a.window(start, [p.a.len() - start])?;
        let start = first as usize * if p.trans_c { 1 } else { sizes.ldc as usize };
        let c = p.c.window(start, [p.c.len() - start])?;
        let u = match &p.low_rank {
            Some(update) => {
                let start = (first * sizes.update.rank) as usize;
                Some(update.u.window(start, [update.u.len() - start])?)
            }
            None => None,
        };
        let low_rank = p.low_rank.zip(u.as_ref());
        let part = Product {
            a: &a,
            c: &c,
            low_rank: low_rank.map(|(update, u)| LowRank { u, ..update }),
            shared_a: None,
            shared_b: p.shared_b.or(Some(&shared_b)),
            ..*p
        };
        let update = Update {
            first: first * sizes.n,
            ..sizes.update
        };
        rows_as(
            &part,
            &Sizes {
                m,
                update,
                ..*sizes
            },
            form,
        )?;
    }
    Ok(())
}

/// Rows of C to be made at once, so that no dispatch runs long enough for a system to take the
/// device for dead. Each is computed as it would be among all.
fn most_rows(gpu: &Gpu, sizes: &Sizes) -> u32 {
    // So many, times any size, fall on every alignment of f16 and f32, and on whole tiles.
    const UNIT: u32 = 256;
    let Some(most) = gpu.most_of_dispatch().filter(|_| sizes.batch == 1) else {
        return sizes.m;
    };
    let rows = (most / (2.0 * f64::from(sizes.n) * f64::from(sizes.k))) as u32;
    if rows >= sizes.m {
        sizes.m
    } else {
        (rows / UNIT).max(1) * UNIT
    }
}

/// Queues a product or some of its rows; `sizes` are those of the operands, which start where the
/// given tensors do.
fn rows_as(p: &Product<'_>, sizes: &Sizes, form: Candidate) -> Result<()> {
    let max_k = max_k(p.c.gpu());
    // What is packed stays whole; it takes one iteration for each k at most.
    if sizes.k <= max_k || sizes.blocks.is_some() {
        return part_as(p, sizes, (p.a, p.b), (p.shared_a, p.shared_b), form);
    }
    if sizes.batch > 1 {
        return Err(Error::Kernel {
            kernel: OP.into(),
            message: format!(
                "an inner size of {} with a batch; software adapters take up to {max_k}",
                sizes.k
            ),
        });
    }
    for first in (0..sizes.k).step_by(max_k as usize) {
        let k = max_k.min(sizes.k - first);
        let part = Sizes {
            k,
            accumulate: p.accumulate || first > 0,
            has_bias: p.bias.is_some() && first == 0,
            update: if first == 0 {
                sizes.update
            } else {
                Update::default()
            },
            ..*sizes
        };
        let from = |operand: &Tensor, layout: Layout| {
            let start = (first * layout.k) as usize;
            operand.window(start, [operand.len() - start])
        };
        let operands = (from(p.a, sizes.a)?, from(p.b, sizes.b)?);
        // What is shared is made of whole operands.
        part_as(p, &part, (&operands.0, &operands.1), (None, None), form)?;
    }
    Ok(())
}

/// Queues the product of `sizes` in about so many parts, each in the form `of`.
fn split_as(p: &Product<'_>, sizes: &Sizes, parts: u32, of: Candidate) -> Result<()> {
    if !split::can_split(sizes) {
        return Err(Error::Kernel {
            kernel: OP.into(),
            message: "parts of k take no batch or bias, and no C with gaps, transposed or of f16"
                .into(),
        });
    }
    let k = sizes.k.div_ceil(parts.max(1));
    let k = k.next_multiple_of(split::UNIT).min(sizes.k).max(1);
    let (whole, rest) = (sizes.k / k, sizes.k % k);
    let [m, n] = [sizes.m, sizes.n].map(|size| size as usize);
    let partial = Tensor::empty(p.c.gpu(), [whole as usize, m, n], DType::F32)?;
    let apart = |layout: Layout| Layout {
        batch: k * layout.k,
        ..layout
    };
    let all = Sizes {
        k,
        batch: whole,
        a: apart(sizes.a),
        b: apart(sizes.b),
        c_batch: sizes.m.saturating_mul(sizes.n),
        accumulate: false,
        ..*sizes
    };
    let into = Product { c: &partial, ..*p };
    part_as(&into, &all, (p.a, p.b), (None, None), of)?;
    let sums = partial.reshaped([whole as usize, m * n])?;
    sum_columns(&sums, &p.c.reshaped([m * n])?, p.accumulate)?;
    if rest == 0 {
        return Ok(());
    }
    let last = Sizes {
        k: rest,
        accumulate: true,
        ..*sizes
    };
    let from = |operand: &Tensor, layout: Layout| {
        let start = (whole * k) as usize * layout.k as usize;
        operand.window(start, [operand.len() - start])
    };
    let (a, b) = (from(p.a, sizes.a)?, from(p.b, sizes.b)?);
    part_as(p, &last, (&a, &b), (None, None), of)
}

/// Queues the product of `sizes`, its operands starting where the given tensors do.
fn part_as(
    p: &Product<'_>,
    sizes: &Sizes,
    (a, b): (&Tensor, &Tensor),
    (shared_a, shared_b): (Option<&Shared>, Option<&Shared>),
    form: Candidate,
) -> Result<()> {
    let gpu = p.c.gpu();
    let fail = |e: PlanError| Error::kernel(OP, e);
    let plan = plan(sizes, form).map_err(fail)?;
    let make = |from: &Tensor, wanted: &Wanted, shared: Option<&Shared>| match shared {
        Some(shared) => shared.of(wanted, || operand(from, wanted)),
        None => operand(from, wanted),
    };
    let operands = (make(a, &plan.a, shared_a)?, make(b, &plan.b, shared_b)?);
    let kernel = gpu.kernel(plan.kernel, &plan.variant)?;
    // Without a bias some buffer must stand in; it is not read.
    let bias = p.bias.unwrap_or(p.a);
    let (a, b) = (operands.0.binding(), operands.1.binding());
    let mut bindings = vec![a, b, bias.binding(), p.c.binding()];
    if let Some(update) = p.low_rank.filter(|_| sizes.update.rank > 0) {
        bindings.extend([update.u.binding(), update.v.binding()]);
        bindings.extend(update.mask.map(|draw| draw.state.binding()));
    }
    gpu.dispatch_bytes(&kernel, &plan.params, &bindings, Groups::Grid(plan.groups))
}

/// Queues the product of `sizes`, of which one operand is gathered: `a` or `b` holds its pixels, `picture` says
/// where they lie.
pub(crate) fn gathered(
    sizes: &Sizes,
    [a, b, c]: [&Tensor; 3],
    bias: Option<&Tensor>,
    picture: &Tensor,
    form: Candidate,
) -> Result<()> {
    let gpu = c.gpu();
    let plan = plan(sizes, form).map_err(|e| Error::kernel(OP, e))?;
    let (left, right) = (operand(a, &plan.a)?, operand(b, &plan.b)?);
    let kernel = gpu.kernel(plan.kernel, &plan.variant)?;
    let bias = bias.unwrap_or(a);
    let bindings = [
        left.binding(),
        right.binding(),
        bias.binding(),
        c.binding(),
        picture.binding(),
    ];
    gpu.dispatch_bytes(&kernel, &plan.params, &bindings, Groups::Grid(plan.groups))
}

/// An operand as a kernel wants it.
fn operand(from: &Tensor, wanted: &Wanted) -> Result<Operand> {
    Ok(match wanted {
        Wanted::Strided => Operand::Tensor(from.clone()),
        Wanted::Panels(how) => Operand::Tensor(pack(from.gpu(), from, how)?),
        Wanted::Image(lines) => Operand::Image(from.image(lines)?),
    })
}

/// Packs one operand.
pub(crate) fn pack(gpu: &Gpu, operand: &Tensor, how: &Pack) -> Result<Tensor> {
    let packed = Tensor::empty(gpu, [how.floats as usize], DType::F32)?;
    let variant = Variant::new()
        .with("F16", operand.is_half())
        .with("VEC4", how.vec4);
    let kernel = ("matmul_pack", &variant);
    let groups = Groups::Grid(how.groups);
    run(gpu, kernel, &how.params, [operand, &packed], groups)?;
    Ok(packed)
}
