//! Matrix products: the one place where a form is chosen and its dispatches are queued.

pub use super::matmul_plan::Activation;
use super::matmul_plan::{self as plan, Candidate, Pack};
use crate::device::{Gpu, Groups};
use crate::error::{Error, Result};
use crate::kernels::Variant;
use crate::tensor::{DType, Tape, Tensor};

const OP: &str = "matmul";

/// C (=|+=) act(alpha · op(A)·op(B) + bias), for matrices, or for equally many of them (batched:
/// three axes).
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// (M, K), or (K, M) with `trans_a`.
    pub a: &'a Tensor,
    /// (K, N), or (N, K) with `trans_b`.
    pub b: &'a Tensor,
    /// (M, N)
    pub c: &'a Tensor,
    /// Take A transposed.
    pub trans_a: bool,
    /// Take B transposed.
    pub trans_b: bool,
    /// Add to C.
    pub accumulate: bool,
    /// Factor of the product.
    pub alpha: f32,
    /// (N), added to every row.
    pub bias: Option<&'a Tensor>,
    /// Applied last, before the accumulation.
    pub activation: Activation,
}

impl<'a> Product<'a> {
    /// C = A·B.
    pub fn new(a: &'a Tensor, b: &'a Tensor, c: &'a Tensor) -> Product<'a> {
        Product {
            a,
            b,
            c,
            trans_a: false,
            trans_b: false,
            accumulate: false,
            alpha: 1.0,
            bias: None,
            activation: Activation::None,
        }
    }

    /// Checks all shapes.
    fn sizes(&self) -> Result<plan::Product> {
        let (batch, a) = matrices(self.a, "a")?;
        let (_, b) = matrices(self.b, "b")?;
        let [m, k] = if self.trans_a { [a[1], a[0]] } else { a };
        let n = if self.trans_b { b[0] } else { b[1] };
        let lead: &[usize] = if self.a.dims().len() == 3 {
            &[batch]
        } else {
            &[]
        };
        let b_dims = if self.trans_b { [n, k] } else { [k, n] };
        self.b
            .expect(OP, "b", &[lead, &b_dims].concat(), DType::F32)?;
        self.c
            .expect(OP, "c", &[lead, &[m, n]].concat(), DType::F32)?;
        if let Some(bias) = self.bias {
            bias.expect(OP, "bias", &[n], DType::F32)?;
        }
        let product = plan::Product {
            alpha: self.alpha,
            accumulate: self.accumulate,
            has_bias: self.bias.is_some(),
            act: self.activation,
            ..plan::Product::new(m as u32, n as u32, k as u32, self.trans_a, self.trans_b)
        };
        Ok(if batch > 1 {
            product.batched(batch as u32)
        } else {
            product
        })
    }
}

/// (batch, [rows, columns]) of a matrix or a batch of them.
fn matrices(t: &Tensor, arg: &'static str) -> Result<(usize, [usize; 2])> {
    t.expect_dtype(OP, arg, DType::F32)?;
    match *t.dims() {
        [rows, columns] => Ok((1, [rows, columns])),
        [batch, rows, columns] => Ok((batch, [rows, columns])),
        _ => Err(Error::Shape {
            op: OP,
            arg,
            expected: "(rows, columns) or (batch, rows, columns)".into(),
            found: t.shape().to_string(),
        }),
    }
}

/// Queues a product, in the form that is fastest on this adapter.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`]; [`Error::Kernel`] for sizes beyond 32-bit indices.
pub fn product(p: &Product<'_>) -> Result<()> {
    let sizes = p.sizes()?;
    let gpu = p.c.gpu();
    let form = choose(gpu, &sizes);
    product_as(p, form)
}

/// Inner size of one dispatch on a software adapter. Mesa's llvmpipe leaves a shader's loops after
/// 65,535 iterations in all, without a word; with bounds checks, which keep it from unrolling, a
/// product takes up to five for each k. A multiple of 64, so that parts of operands stay aligned.
const CPU_MAX_K: u32 = 8192;

/// Queues a product in the given form.
///
/// # Errors
/// As [`product`]; [`Error::Kernel`] when the adapter cannot run this form.
pub fn product_as(p: &Product<'_>, form: Candidate) -> Result<()> {
    let sizes = p.sizes()?;
    if !p.c.gpu().caps().is_cpu || sizes.k <= CPU_MAX_K {
        return part_as(p, &sizes, (p.a, p.b), form);
    }
    if p.activation != Activation::None || sizes.batch > 1 {
        return Err(Error::Kernel {
            kernel: OP.into(),
            message: format!(
                "an inner size of {} with an activation or a batch; software adapters take up to {CPU_MAX_K}",
                sizes.k
            ),
        });
    }
    for first in (0..sizes.k).step_by(CPU_MAX_K as usize) {
        let k = CPU_MAX_K.min(sizes.k - first);
        let part = plan::Product {
            k,
            accumulate: p.accumulate || first > 0,
            has_bias: p.bias.is_some() && first == 0,
            ..sizes
        };
        let from = |operand: &Tensor, layout: plan::Layout| {
            let start = (first * layout.k) as usize;
            operand.window(start, [operand.len() - start])
        };
        let operands = (from(p.a, sizes.a)?, from(p.b, sizes.b)?);
        part_as(p, &part, (&operands.0, &operands.1), form)?;
    }
    Ok(())
}

/// Queues the product of `sizes`, its operands starting where the given tensors do.
fn part_as(
    p: &Product<'_>,
    sizes: &plan::Product,
    (a, b): (&Tensor, &Tensor),
    form: Candidate,
) -> Result<()> {
    let gpu = p.c.gpu();
    let fail = |e: plan::PlanError| Error::Kernel {
        kernel: OP.into(),
        message: e.to_string(),
    };
    let plan = plan::plan(sizes, form).map_err(fail)?;
    let packed = |operand: &Tensor, how: Option<&Pack>| match how {
        Some(how) => pack(gpu, operand, how),
        None => Ok(operand.clone()),
    };
    let a = packed(a, plan.pack_a.as_ref())?;
    let b = packed(b, plan.pack_b.as_ref())?;
    let variant = plan
        .consts
        .iter()
        .fold(Variant::new(), |v, &(name, value)| v.with(name, value));
    let kernel = gpu.kernel(plan.kernel, &variant.with("VEC4", plan.vec4))?;
    // Without a bias some buffer must stand in; it is not read.
    let bias = p.bias.unwrap_or(p.a);
    let bindings = [a.binding(), b.binding(), bias.binding(), p.c.binding()];
    gpu.dispatch_bytes(
        &kernel,
        plan.params.bytes(),
        &bindings,
        Groups::Grid(plan.groups),
    )
}

/// Packs one operand.
pub(super) fn pack(gpu: &Gpu, operand: &Tensor, how: &Pack) -> Result<Tensor> {
    let packed = Tensor::empty(gpu, [how.floats as usize], DType::F32)?;
    let kernel = gpu.kernel("matmul_pack", &Variant::new().with("VEC4", how.vec4))?;
    let bindings = [operand.binding(), packed.binding()];
    gpu.dispatch(&kernel, &how.params, &bindings, Groups::Grid(how.groups))?;
    Ok(packed)
}

fn choose(gpu: &Gpu, sizes: &plan::Product) -> Candidate {
    let caps = gpu.caps();
    let caps = plan::Caps {
        cpu: caps.is_cpu,
        min_subgroup: if caps.subgroup { caps.subgroup_min } else { 0 },
        workgroup_bytes: caps.limits.max_compute_workgroup_storage_size,
        invocations: caps.limits.max_compute_invocations_per_workgroup,
    };
    plan::candidates(sizes, &caps)[0]
}

/// y = A·B for matrices or batches of them, each optionally transposed.
///
/// # Errors
/// As [`product`].
pub fn matmul(tape: &Tape, a: &Tensor, b: &Tensor, trans_a: bool, trans_b: bool) -> Result<Tensor> {
    let (_, a_dims) = matrices(a, "a")?;
    let (_, b_dims) = matrices(b, "b")?;
    let [m, n] = [a_dims[usize::from(trans_a)], b_dims[usize::from(!trans_b)]];
    let lead = &a.dims()[..a.dims().len() - 2];
    let y = Tensor::empty(tape.gpu(), [lead, &[m, n]].concat(), DType::F32)?;
    product(&Product {
        trans_a,
        trans_b,
        ..Product::new(a, b, &y)
    })?;
    let (a2, b2, out) = (a.clone(), b.clone(), y.clone());
    tape.record(OP, &[a, b], &[&y], move |cx| {
        let Some(dy) = cx.upstream(&out)? else {
            return Ok(());
        };
        if let Some(da) = cx.sink(&a2)? {
            // dA = dy·op(B)ᵀ, or its transpose op(B)·dyᵀ.
            let (x, y, tx, ty) = match trans_a {
                false => (&dy, &b2, false, !trans_b),
                true => (&b2, &dy, trans_b, true),
            };
            let accumulate = da.accumulate;
            product(&Product {
                trans_a: tx,
                trans_b: ty,
                accumulate,
                ..Product::new(x, y, &da.grad)
            })?;
        }
        if let Some(db) = cx.sink(&b2)? {
            let (x, y, tx, ty) = match trans_b {
                false => (&a2, &dy, !trans_a, false),
                true => (&dy, &a2, true, trans_a),
            };
            let accumulate = db.accumulate;
            product(&Product {
                trans_a: tx,
                trans_b: ty,
                accumulate,
                ..Product::new(x, y, &db.grad)
            })?;
        }
        Ok(())
    });
    Ok(y)
}
