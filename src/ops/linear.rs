//! The linear layer, its weight in either of the two layouts that checkpoints have.

use super::matmul::{LowRank, Product, Shared, product};
use super::reduce::sum_columns;
use crate::error::Result;
use crate::tensor::{Backward, DType, Tape, Tensor};

const OP: &str = "linear";

/// How a weight with O outputs and I inputs lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightLayout {
    /// (O, I): PyTorch's `nn.Linear`.
    #[default]
    OutIn,
    /// (I, O): transformers' `Conv1D`.
    InOut,
}

impl WeightLayout {
    /// The shape of a weight.
    pub fn shape(self, outputs: usize, inputs: usize) -> [usize; 2] {
        match self {
            WeightLayout::OutIn => [outputs, inputs],
            WeightLayout::InOut => [inputs, outputs],
        }
    }

    /// (O, I) of a weight.
    pub(super) fn sizes(self, op: &'static str, w: &Tensor) -> Result<[usize; 2]> {
        let [rows, columns] = w.dims2(op, "w")?;
        Ok(self.shape(rows, columns))
    }
}

/// One use of a linear layer: what its forward and backward passes share, checked.
pub(super) struct Projection {
    /// (N, I)
    pub x: Tensor,
    pub w: Tensor,
    pub b: Option<Tensor>,
    pub layout: WeightLayout,
    /// (N, O)
    pub y: Tensor,
}

impl Projection {
    /// Checks all shapes and gives the result its memory; also returns it as (…, O).
    pub fn new(
        op: &'static str,
        tape: &Tape,
        x: &Tensor,
        w: &Tensor,
        b: Option<&Tensor>,
        layout: WeightLayout,
    ) -> Result<(Projection, Tensor)> {
        let [outputs, inputs] = layout.sizes(op, w)?;
        w.expect_weight(op, "w")?;
        if layout == WeightLayout::InOut {
            w.expect_float(op, "w")?;
        }
        let Some((_, outer)) = x.dims().split_last() else {
            return Err(x.wrong_shape(op, "x", format!("(…, {inputs})")));
        };
        x.expect_float(op, "x")?;
        x.expect(op, "x", &[outer, &[inputs]].concat(), x.dtype())?;
        if let Some(b) = b {
            b.expect(op, "b", &[outputs], DType::F32)?;
        }
        let rows = x.shape().rows();
        let y = Tensor::empty(tape.gpu(), [outer, &[outputs]].concat(), x.dtype())?;
        let projection = Projection {
            x: x.reshaped([rows, inputs])?,
            w: w.clone(),
            b: b.cloned(),
            layout,
            y: y.reshaped([rows, outputs])?,
        };
        Ok((projection, y))
    }

    /// Queues y, `low_rank` added.
    pub fn forward(&self, low_rank: Option<LowRank<'_>>) -> Result<()> {
        product(&Product {
            bias: self.b.as_ref(),
            low_rank,
            trans_b: self.layout == WeightLayout::OutIn,
            ..Product::new(&self.x, &self.w, &self.y)
        })
    }

    /// What the backward pass keeps: x only for the gradient of W, or where `reads_x`.
    pub fn saved(self, tape: &Tape, reads_x: bool) -> Projection {
        let x = if reads_x || tape.needs_grad(&self.w) {
            self.x
        } else {
            self.x.without_values()
        };
        Projection {
            x,
            y: self.y.without_values(),
            ..self
        }
    }

    /// Gradients of x, to which `low_rank` is added, W and b, as far as they are wanted; dy (N, O).
    pub fn backward(
        &self,
        cx: &mut Backward,
        dy: &Tensor,
        low_rank: Option<LowRank<'_>>,
    ) -> Result<()> {
        let shared_dy = Shared::default();
        if let Some(dx) = cx.sink(&self.x)? {
            product(&Product {
                trans_b: self.layout == WeightLayout::InOut,
                accumulate: dx.accumulate,
                shared_a: Some(&shared_dy),
                low_rank,
                ..Product::new(dy, &self.w, &dx.grad)
            })?;
        }
        if let Some(dw) = cx.sink(&self.w)? {
            let product_of = |left, right| Product {
                trans_a: true,
                accumulate: dw.accumulate,
                ..Product::new(left, right, &dw.grad)
            };
            let shared = Some(&shared_dy);
            product(&match self.layout {
                WeightLayout::OutIn => Product {
                    shared_a: shared,
                    ..product_of(dy, &self.x)
                },
                WeightLayout::InOut => Product {
                    shared_b: shared,
                    ..product_of(&self.x, dy)
                },
            })?;
        }
        if let Some(b) = &self.b
            && let Some(db) = cx.sink(b)?
        {
            sum_columns(dy, &db.grad, db.accumulate)?;
        }
        Ok(())
    }
}

/// y = x·Wᵀ + b: x (…, I), W (O, I), b (O) → (…, O). x and W hold f32 or f16, b f32; y holds what x
/// does. A W that is frozen may be packed.
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`].
pub fn linear(tape: &Tape, x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    linear_as(tape, x, w, b, WeightLayout::OutIn)
}

/// As [`linear`], with the weight in the given layout.
///
/// # Errors
/// As [`linear`].
pub fn linear_as(
    tape: &Tape,
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    layout: WeightLayout,
) -> Result<Tensor> {
    let (projection, y) = Projection::new(OP, tape, x, w, b, layout)?;
    projection.forward(None)?;
    let projection = projection.saved(tape, false);
    let inputs: Vec<&Tensor> = [Some(x), Some(w), b].into_iter().flatten().collect();
    let rows = projection.y.shape().clone();
    tape.record_one(OP, &inputs, &y, move |cx, dy| {
        projection.backward(cx, &dy.reshaped(rows)?, None)
    });
    Ok(y)
}
