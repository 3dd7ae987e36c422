//! Low-rank adaptation of a linear layer (Hu et al. 2021, "LoRA", equation 3), as one operator;
//! merging it into the weight and taking it out again.
//!
//! The gradient of the weight itself is never formed while the weight is frozen: with
//! u = drop(x)·Aᵀ (N, R) and v = s·dy·B (N, R), dA = vᵀ·drop(x), dB = s·dyᵀ·u and
//! dx = dy·W + drop'(v·A). What is kept for the way back is u and the mask's number. The product with W adds
//! s·u·Bᵀ on the way forward and drop'(v·A) on the way back, in the same pass over y and dx.

use std::ops::Range;

use super::dropout::Draw;
use super::layout::copy_columns;
use super::linear::{Projection, WeightLayout};
use super::matmul::{LowRank, Product, product};
use crate::error::{Error, Result};
use crate::tensor::{Backward, DType, Tape, Tensor};

const OP: &str = "lora_linear";

/// A low-rank update s·B·A of a linear layer's weight.
#[derive(Clone)]
pub struct LoraWeights<'a> {
    /// A (R, I)
    pub a: &'a Tensor,
    /// B (O, R), or as many rows as `rows` names.
    pub b: &'a Tensor,
    /// s
    pub scale: f32,
    /// Dropout of x on its way to A.
    pub dropout: f32,
    /// The outputs that it acts on; `None` for all. For the queries or the values alone in
    /// a joint projection.
    pub rows: Option<Range<usize>>,
}

/// An update with its sizes checked.
struct Update {
    a: Tensor,
    b: Tensor,
    scale: f32,
    rows: Range<usize>,
    outputs: usize,
    rank: usize,
}

impl Update {
    fn new(lora: &LoraWeights<'_>, [outputs, inputs]: [usize; 2]) -> Result<Update> {
        let [rank, _] = lora.a.dims2(OP, "a")?;
        lora.a.expect(OP, "a", &[rank, inputs], DType::F32)?;
        let rows = lora.rows.clone().unwrap_or(0..outputs);
        if rows.is_empty() || rows.end > outputs {
            return Err(Error::Argument {
                op: OP,
                arg: "rows",
                value: format!("{rows:?}"),
                expected: "a range of the layer's outputs that is not empty",
            });
        }
        lora.b.expect(OP, "b", &[rows.len(), rank], DType::F32)?;
        Ok(Update {
            a: lora.a.clone(),
            b: lora.b.clone(),
            scale: lora.scale,
            rows,
            outputs,
            rank,
        })
    }

    /// Whether it acts on all outputs.
    fn whole(&self) -> bool {
        self.rows.len() == self.outputs
    }

    /// Its columns of dy (N, O).
    fn columns_of(&self, dy: &Tensor) -> Result<Tensor> {
        if self.whole() {
            return Ok(dy.clone());
        }
        let gpu = dy.gpu();
        let part = Tensor::empty(gpu, [dy.shape().rows(), self.rows.len()], dy.dtype())?;
        let from = (dy, self.rows.start);
        copy_columns(gpu, from, (&part, 0), self.rows.len(), false)?;
        Ok(part)
    }

    /// y (N, O) += s·u·Bᵀ in its columns; u (N, R).
    fn add_to(&self, u: &Tensor, y: &Tensor) -> Result<()> {
        let up = |target: &Tensor, accumulate| {
            product(&Product {
                alpha: self.scale,
                trans_b: true,
                accumulate,
                ..Product::new(u, &self.b, target)
            })
        };
        if self.whole() {
            return up(y, true);
        }
        let gpu = y.gpu();
        let part = Tensor::empty(gpu, [y.shape().rows(), self.rows.len()], y.dtype())?;
        up(&part, false)?;
        copy_columns(gpu, (&part, 0), (y, self.rows.start), self.rows.len(), true)
    }
}

/// What an update keeps from the forward pass.
struct Adapted {
    update: Update,
    /// drop(x)·Aᵀ (N, R)
    u: Tensor,
    draw: Option<Draw>,
}

impl Adapted {
    /// Queues u.
    fn new(tape: &Tape, update: Update, dropout: f32, x: &Tensor) -> Result<Adapted> {
        let draw = Draw::new(tape, OP, dropout)?;
        let u = Tensor::empty(tape.gpu(), [x.dims()[0], update.rank], DType::F32)?;
        let dropped = Self::dropped(draw.as_ref(), x)?;
        product(&Product {
            trans_b: true,
            ..Product::new(&dropped, &update.a, &u)
        })?;
        Ok(Adapted { update, u, draw })
    }

    /// s·u·Bᵀ, for all outputs.
    fn up(&self) -> LowRank<'_> {
        LowRank {
            trans_v: true,
            scale: self.update.scale,
            ..LowRank::new(&self.u, &self.update.b)
        }
    }

    /// drop'(v·A)
    fn down<'a>(&'a self, v: &'a Tensor) -> LowRank<'a> {
        LowRank {
            mask: self.draw.as_ref(),
            ..LowRank::new(v, &self.update.a)
        }
    }

    /// drop(x), drawn anew.
    fn dropped(draw: Option<&Draw>, x: &Tensor) -> Result<Tensor> {
        let Some(draw) = draw else {
            return Ok(x.clone());
        };
        let dropped = Tensor::empty(x.gpu(), x.shape().clone(), x.dtype())?;
        draw.forward(x, &dropped)?;
        Ok(dropped)
    }

    /// Gradients of A and B, as far as they are wanted; v, where something else is made of it.
    fn backward(&self, cx: &mut Backward, x: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let Update { a, b, scale, .. } = &self.update;
        let dy = self.update.columns_of(dy)?;
        if let Some(db) = cx.sink(b)? {
            product(&Product {
                alpha: *scale,
                trans_a: true,
                accumulate: db.accumulate,
                ..Product::new(&dy, &self.u, &db.grad)
            })?;
        }
        if !cx.wants(a) && !cx.wants(x) {
            return Ok(None);
        }
        let v = Tensor::empty(cx.gpu(), self.u.shape().clone(), DType::F32)?;
        product(&Product {
            alpha: *scale,
            ..Product::new(&dy, b, &v)
        })?;
        if let Some(da) = cx.sink(a)? {
            let dropped = Self::dropped(self.draw.as_ref(), x)?;
            product(&Product {
                trans_a: true,
                accumulate: da.accumulate,
                ..Product::new(&v, &dropped, &da.grad)
            })?;
        }
        Ok(Some(v))
    }
}

/// y = x·Wᵀ + b + Σ s·drop(x)·Aᵀ·Bᵀ: x (…, I), W in `layout`, b (O) → (…, O).
///
/// W and b get gradients like any parameter when they are trained; frozen, nothing of their size
/// is computed or kept.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`]; [`Error::Argument`] unless 0 ≤ dropout < 1 and `rows` lie
/// within the outputs.
pub fn lora_linear(
    tape: &Tape,
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    layout: WeightLayout,
    loras: &[LoraWeights<'_>],
) -> Result<Tensor> {
    let sizes = layout.sizes(OP, w)?;
    let updates = loras
        .iter()
        .map(|lora| Ok((Update::new(lora, sizes)?, lora.dropout)))
        .collect::<Result<Vec<_>>>()?;
    let (projection, y) = Projection::new(OP, tape, x, w, b, layout)?;
    let adapted = updates
        .into_iter()
        .map(|(update, dropout)| Adapted::new(tape, update, dropout, &projection.x))
        .collect::<Result<Vec<_>>>()?;
    // One that acts on all outputs goes with the product, others by themselves.
    let with_w = adapted.iter().position(|lora| lora.update.whole());
    projection.forward(with_w.map(|at| adapted[at].up()))?;
    for (at, lora) in adapted.iter().enumerate() {
        if Some(at) != with_w {
            lora.update.add_to(&lora.u, &projection.y)?;
        }
    }

    let reads_x = loras.iter().any(|lora| tape.needs_grad(lora.a));
    let projection = projection.saved(tape, reads_x);
    let mut inputs = vec![x, w];
    inputs.extend(b);
    inputs.extend(loras.iter().flat_map(|lora| [lora.a, lora.b]));
    tape.record_one(OP, &inputs, &y, move |cx, dy| {
        let dy = dy.reshaped(projection.y.shape().clone())?;
        let vs = adapted
            .iter()
            .map(|lora| lora.backward(cx, &projection.x, &dy))
            .collect::<Result<Vec<_>>>()?;
        let mut down = adapted
            .iter()
            .zip(&vs)
            .filter_map(|(lora, v)| Some(lora.down(v.as_ref()?)));
        projection.backward(cx, &dy, down.next())?;
        let Some(dx) = cx.sink(&projection.x)? else {
            return Ok(());
        };
        down.try_for_each(|low_rank| low_rank.add_to(&dx.grad))
    });
    Ok(y)
}

/// Queues W += s·B·A in `layout`: afterwards the plain layer computes what the adapted one did.
///
/// # Errors
/// As [`lora_linear`].
pub fn merge_lora(w: &Tensor, layout: WeightLayout, lora: &LoraWeights<'_>) -> Result<()> {
    shift(w, layout, lora, lora.scale)
}

/// Queues W −= s·B·A, the inverse of [`merge_lora`] up to rounding.
///
/// # Errors
/// As [`lora_linear`].
pub fn unmerge_lora(w: &Tensor, layout: WeightLayout, lora: &LoraWeights<'_>) -> Result<()> {
    shift(w, layout, lora, -lora.scale)
}

fn shift(w: &Tensor, layout: WeightLayout, lora: &LoraWeights<'_>, alpha: f32) -> Result<()> {
    let [outputs, inputs] = layout.sizes(OP, w)?;
    let update = Update::new(lora, [outputs, inputs])?;
    // (O, I) = B·A, or its transpose (I, O) = Aᵀ·Bᵀ.
    let into = |target: &Tensor, accumulate| {
        let transposed = layout == WeightLayout::InOut;
        let (left, right) = match layout {
            WeightLayout::OutIn => (&update.b, &update.a),
            WeightLayout::InOut => (&update.a, &update.b),
        };
        product(&Product {
            alpha,
            trans_a: transposed,
            trans_b: transposed,
            accumulate,
            ..Product::new(left, right, target)
        })
    };
    if update.whole() {
        return into(w, true);
    }
    let (gpu, rows) = (w.gpu(), &update.rows);
    let part = Tensor::empty(gpu, layout.shape(rows.len(), inputs), w.dtype())?;
    into(&part, false)?;
    match layout {
        WeightLayout::InOut => copy_columns(gpu, (&part, 0), (w, rows.start), rows.len(), true),
        // Whole rows, end to end.
        WeightLayout::OutIn => {
            let (part, all) = (part.reshaped([1, part.len()])?, w.reshaped([1, w.len()])?);
            let to = (&all, rows.start * inputs);
            copy_columns(gpu, (&part, 0), to, part.len(), true)
        }
    }
}
