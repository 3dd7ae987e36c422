//! Matrix products: the one place where a form is chosen and its dispatches are queued.

use super::matmul_choice::Family;
pub use super::matmul_plan::Activation;
use super::matmul_plan::{self as plan, Candidate, Pack, Wanted};
use super::matmul_split::split_as;
use super::matmul_timing as timing;
use super::operand::Operand;
use crate::device::{Gpu, Groups};
use crate::error::{Error, Result};
use crate::kernels::Variant;
use crate::tensor::{DType, Tape, Tensor};
use std::cell::RefCell;

const OP: &str = "matmul";

/// C (=|+=) act(alpha · op(A)·op(B) + bias), for matrices, or for equally many of them (batched:
/// three axes). A, B and C hold f32 or f16, each for itself; sums are in f32.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// (M, K), or (K, M) with `trans_a`.
    pub a: &'a Tensor,
    /// (K, N), or (N, K) with `trans_b`.
    pub b: &'a Tensor,
    /// (M, N), or (N, M) with `trans_c`.
    pub c: &'a Tensor,
    /// Take A transposed.
    pub trans_a: bool,
    /// Take B transposed.
    pub trans_b: bool,
    /// Store C transposed.
    pub trans_c: bool,
    /// Add to C.
    pub accumulate: bool,
    /// Factor of the product.
    pub alpha: f32,
    /// (N), added to every row.
    pub bias: Option<&'a Tensor>,
    /// Applied last, before the accumulation.
    pub activation: Activation,
    /// How many columns of A's memory count, where its rows are longer.
    pub columns_a: Option<usize>,
    /// The same of C.
    pub columns_c: Option<usize>,
    /// Where what is made of A is kept for other products with the same A.
    pub shared_a: Option<&'a Shared>,
    /// The same for B.
    pub shared_b: Option<&'a Shared>,
}

/// What is made of an operand that several products share: panels or images, by the first that
/// needs it so. Its values must stay as they are while this lives.
#[derive(Default)]
pub struct Shared(RefCell<Vec<(Wanted, Operand)>>);

impl Operand {
    fn make(from: &Tensor, wanted: &Wanted) -> Result<Operand> {
        Ok(match wanted {
            Wanted::Strided => Operand::Tensor(from.clone()),
            Wanted::Panels(how) => Operand::Tensor(pack(from.gpu(), from, how)?),
            Wanted::Image(lines) => Operand::Image(from.image(lines)?),
        })
    }
}

impl Shared {
    fn of(&self, from: &Tensor, wanted: &Wanted) -> Result<Operand> {
        if let Some((_, made)) = self.0.borrow().iter().find(|(made, _)| made == wanted) {
            return Ok(made.clone());
        }
        let made = Operand::make(from, wanted)?;
        self.0.borrow_mut().push((*wanted, made.clone()));
        Ok(made)
    }
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
            trans_c: false,
            accumulate: false,
            alpha: 1.0,
            bias: None,
            activation: Activation::None,
            columns_a: None,
            columns_c: None,
            shared_a: None,
            shared_b: None,
        }
    }

    /// The same product as Cᵀ = op(B)ᵀ·op(A)ᵀ; without a bias and `columns_a`, which are A's.
    fn turned(&self) -> Product<'a> {
        Product {
            a: self.b,
            b: self.a,
            trans_a: !self.trans_b,
            trans_b: !self.trans_a,
            trans_c: !self.trans_c,
            shared_a: self.shared_b,
            shared_b: self.shared_a,
            ..*self
        }
    }

    /// Checks all shapes.
    fn sizes(&self) -> Result<plan::Product> {
        let (batch, [rows, line_a]) = matrices(self.a, "a")?;
        let (_, b) = matrices(self.b, "b")?;
        let columns_a = self.columns_a.unwrap_or(line_a);
        let [m, k] = match self.trans_a {
            true => [columns_a, rows],
            false => [rows, columns_a],
        };
        let n = if self.trans_b { b[0] } else { b[1] };
        let lead: &[usize] = if self.a.dims().len() == 3 {
            &[batch]
        } else {
            &[]
        };
        let b_dims = if self.trans_b { [n, k] } else { [k, n] };
        self.b
            .expect(OP, "b", &[lead, &b_dims].concat(), self.b.dtype())?;
        self.c.expect_float(OP, "c")?;
        let (_, [_, line_c]) = matrices(self.c, "c")?;
        let columns_c = self.columns_c.unwrap_or(line_c);
        let [lines, line] = if self.trans_c { [n, m] } else { [m, n] };
        self.c
            .expect(OP, "c", &[lead, &[lines, line_c]].concat(), self.c.dtype())?;
        if columns_a > line_a {
            return Err(columns_error(
                "columns_a",
                format!("at most {line_a}"),
                columns_a,
            ));
        }
        if columns_c != line || line > line_c {
            let expected = format!("{line}, within rows of {line_c}");
            return Err(columns_error("columns_c", expected, columns_c));
        }
        if let Some(bias) = self.bias {
            bias.expect(OP, "bias", &[n], DType::F32)?;
        }
        let mut product = plan::Product {
            ldc: line_c as u32,
            trans_c: self.trans_c,
            alpha: self.alpha,
            accumulate: self.accumulate,
            has_bias: self.bias.is_some(),
            act: self.activation,
            half: [self.a.is_half(), self.b.is_half()],
            half_c: self.c.is_half(),
            ..plan::Product::new(m as u32, n as u32, k as u32, self.trans_a, self.trans_b)
        };
        match self.trans_a {
            true => product.a.k = line_a as u32,
            false => product.a.extent = line_a as u32,
        }
        if batch > 1 {
            product = product.batched(batch as u32);
            product.a.batch = (rows * line_a) as u32;
        }
        Ok(product)
    }
}

fn columns_error(arg: &'static str, expected: String, found: usize) -> Error {
    Error::Shape {
        op: OP,
        arg,
        expected,
        found: found.to_string(),
    }
}

/// (batch, [rows, columns]) of a matrix or a batch of them.
fn matrices(t: &Tensor, arg: &'static str) -> Result<(usize, [usize; 2])> {
    t.expect_float(OP, arg)?;
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
    if gpu.caps().is_cpu && p.columns_a.is_none() && is_narrow(&sizes) {
        let turned = p.turned();
        return product_as(&turned, timing::choose(gpu, &turned.sizes()?)?);
    }
    product_as(p, timing::choose(gpu, &sizes)?)
}

/// Whether C has so few columns, as in LoRA's products, that the kernels of CPU adapters would compute
/// many times as many that do not exist: their tiles have 64 columns, but as few as 8 rows.
fn is_narrow(sizes: &plan::Product) -> bool {
    sizes.n <= 16 && sizes.n < sizes.m && sizes.batch == 1 && !sizes.has_bias
}

/// Largest inner size of one dispatch. Mesa's llvmpipe leaves a shader's loops after 65,535
/// iterations in all, without a word. A product takes up to 1.25 for each k, and ten with bounds
/// checks, which keep it from unrolling. Multiples of 64, so that parts of operands stay aligned.
fn max_k(gpu: &Gpu) -> u32 {
    match (gpu.caps().is_cpu, gpu.is_checked()) {
        (true, true) => 6 << 10,
        (true, false) => 32 << 10,
        (false, _) => u32::MAX,
    }
}

/// Queues a product in the given form.
///
/// # Errors
/// As [`product`]; [`Error::Kernel`] when the adapter cannot run this form.
pub fn product_as(p: &Product<'_>, form: Candidate) -> Result<()> {
    let sizes = p.sizes()?;
    let rows = most_rows(p.c.gpu(), &sizes);
    if rows >= sizes.m {
        return match form {
            Candidate::Split { parts, .. } => split_as(p, &sizes, parts, form.whole()),
            _ => rows_as(p, &sizes, form),
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
        let part = Product {
            a: &a,
            c: &c,
            shared_a: None,
            shared_b: p.shared_b.or(Some(&shared_b)),
            ..*p
        };
        rows_as(&part, &plan::Product { m, ..sizes }, form)?;
    }
    Ok(())
}

/// Rows of C to be made at once, so that no dispatch runs long enough for a system to take the
/// device for dead. Each is computed as it would be among all.
fn most_rows(gpu: &Gpu, sizes: &plan::Product) -> u32 {
    // So many, times any size, fall on every alignment of f16 and f32, and on whole tiles.
    const UNIT: u32 = 256;
    let Some(most) = gpu.most_of_dispatch().filter(|_| sizes.batch == 1) else {
        return sizes.m;
    };
    let rows = (most / (2.0 * f64::from(sizes.n) * f64::from(sizes.k))) as u32;
    match rows >= sizes.m {
        true => sizes.m,
        false => (rows / UNIT).max(1) * UNIT,
    }
}

/// Queues a product or some of its rows; `sizes` are those of the operands, which start where the
/// given tensors do.
fn rows_as(p: &Product<'_>, sizes: &plan::Product, form: Candidate) -> Result<()> {
    let max_k = max_k(p.c.gpu());
    if sizes.k <= max_k {
        return part_as(p, sizes, (p.a, p.b), (p.shared_a, p.shared_b), form);
    }
    if p.activation != Activation::None || sizes.batch > 1 {
        return Err(Error::Kernel {
            kernel: OP.into(),
            message: format!(
                "an inner size of {} with an activation or a batch; software adapters take up to {max_k}",
                sizes.k
            ),
        });
    }
    for first in (0..sizes.k).step_by(max_k as usize) {
        let k = max_k.min(sizes.k - first);
        let part = plan::Product {
            k,
            accumulate: p.accumulate || first > 0,
            has_bias: p.bias.is_some() && first == 0,
            ..*sizes
        };
        let from = |operand: &Tensor, layout: plan::Layout| {
            let start = (first * layout.k) as usize;
            operand.window(start, [operand.len() - start])
        };
        let operands = (from(p.a, sizes.a)?, from(p.b, sizes.b)?);
        // What is shared is made of whole operands.
        part_as(p, &part, (&operands.0, &operands.1), (None, None), form)?;
    }
    Ok(())
}

/// Queues the product of `sizes`, its operands starting where the given tensors do.
pub(super) fn part_as(
    p: &Product<'_>,
    sizes: &plan::Product,
    (a, b): (&Tensor, &Tensor),
    (shared_a, shared_b): (Option<&Shared>, Option<&Shared>),
    form: Candidate,
) -> Result<()> {
    let gpu = p.c.gpu();
    let fail = |e: plan::PlanError| Error::Kernel {
        kernel: OP.into(),
        message: e.to_string(),
    };
    let plan = plan::plan(sizes, form).map_err(fail)?;
    let make = |from: &Tensor, wanted: &Wanted, shared: Option<&Shared>| match shared {
        Some(shared) => shared.of(from, wanted),
        None => Operand::make(from, wanted),
    };
    let operands = (make(a, &plan.a, shared_a)?, make(b, &plan.b, shared_b)?);
    let mut variant = plan
        .consts
        .iter()
        .fold(Variant::new(), |v, &(name, value)| v.with(name, value))
        .with("C16", p.c.is_half());
    for &(name, value) in &plan.flags {
        variant = variant.with(name, value);
    }
    if matches!(form.family(), Family::Direct | Family::Tile | Family::Image) {
        // Panels are f32, whatever was packed; matrix units take nothing but f16.
        variant = variant.with("A16", a.is_half()).with("B16", b.is_half());
    }
    let kernel = gpu.kernel(plan.kernel, &variant.with("VEC4", plan.vec4))?;
    // Without a bias some buffer must stand in; it is not read.
    let bias = p.bias.unwrap_or(p.a);
    let (a, b) = (operands.0.binding(), operands.1.binding());
    let bindings = [a, b, bias.binding(), p.c.binding()];
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
    let variant = Variant::new()
        .with("F16", operand.is_half())
        .with("VEC4", how.vec4);
    let kernel = gpu.kernel("matmul_pack", &variant)?;
    let bindings = [operand.binding(), packed.binding()];
    gpu.dispatch(&kernel, &how.params, &bindings, Groups::Grid(how.groups))?;
    Ok(packed)
}

/// y = A·B for matrices or batches of them, each optionally transposed; y holds what A does.
///
/// # Errors
/// As [`product`].
pub fn matmul(tape: &Tape, a: &Tensor, b: &Tensor, trans_a: bool, trans_b: bool) -> Result<Tensor> {
    let (_, a_dims) = matrices(a, "a")?;
    let (_, b_dims) = matrices(b, "b")?;
    let [m, n] = [a_dims[usize::from(trans_a)], b_dims[usize::from(!trans_b)]];
    let lead = &a.dims()[..a.dims().len() - 2];
    let y = Tensor::empty(tape.gpu(), [lead, &[m, n]].concat(), a.dtype())?;
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
