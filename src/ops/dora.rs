//! Weight-decomposed low-rank adaptation of a linear layer (Liu et al. 2024, "DoRA", equation 5): the rows of
//! W + s·B·A, each brought to a length that is learned.
//!
//! The lengths that they have, n, count as constants on the way back (section 4.3). W + s·B·A is never formed:
//! nᵢ² = ‖Wᵢ‖² + Σᵣ Bᵢᵣ·(2s·A·Wᵀ + s²·A·Aᵀ·Bᵀ)ᵣᵢ, and W is frozen, so that ‖Wᵢ‖² is computed once.

use super::blocks::{Rows, expand};
use super::dropout::dropout;
use super::elementwise::{Binary, Unary, add, axpy, binary, cast, mul, unary};
use super::layout::{CopyParams, copy_strided};
use super::linear::{WeightLayout, linear_as};
use super::lora::{LoraWeights, lora_linear, merge_lora};
use super::matmul::{Product, product};
use super::reduce::sum_columns;
use crate::error::Result;
use crate::tensor::{DType, Tape, Tensor};

const OP: &str = "dora_linear";

/// Numbers of a weight that are looked at together.
const PIECE: usize = 1 << 20;

/// A low-rank update, and the lengths that rows of the weight have with it.
#[derive(Clone)]
pub struct DoraWeights<'a> {
    /// s·B·A, of all outputs.
    pub lora: LoraWeights<'a>,
    /// m (O)
    pub magnitude: &'a Tensor,
    /// ‖Wᵢ‖² (O), as [`row_squares`] has them.
    pub squares: &'a Tensor,
}

impl DoraWeights<'_> {
    /// n (O)
    fn lengths(&self, w: &Tensor, layout: WeightLayout) -> Result<Tensor> {
        let LoraWeights { a, b, scale, .. } = self.lora;
        let (gpu, tape) = (w.gpu(), Tape::inference(w.gpu()));
        let [outputs, inputs] = layout.sizes(OP, w)?;
        let [rank, _] = a.dims2(OP, "a")?;
        a.expect(OP, "a", &[rank, inputs], DType::F32)?;
        b.expect(OP, "b", &[outputs, rank], DType::F32)?;
        self.squares.expect(OP, "squares", &[outputs], DType::F32)?;
        let empty = |dims: [usize; 2]| Tensor::empty(gpu, dims, DType::F32);
        // (R, O) throughout: W may be packed, and then stands on the right.
        let (gram, terms, turned) = (
            empty([rank, rank])?,
            empty([rank, outputs])?,
            empty([rank, outputs])?,
        );
        product(&Product {
            alpha: 2.0 * scale,
            trans_b: layout == WeightLayout::OutIn,
            ..Product::new(a, w, &terms)
        })?;
        product(&Product {
            trans_b: true,
            ..Product::new(a, a, &gram)
        })?;
        product(&Product {
            alpha: scale * scale,
            trans_b: true,
            accumulate: true,
            ..Product::new(&gram, b, &terms)
        })?;
        let transposed = CopyParams {
            shape: [1, 1, rank as u32, outputs as u32],
            stride_x: [0, 0, 1, rank as u32],
            stride_y: [0, 0, outputs as u32, 1],
            n: b.len() as u32,
            offset_x: 0,
            offset_y: 0,
            accumulate: 0,
        };
        copy_strided(gpu, b, &turned, &transposed)?;
        let terms = mul(&tape, &terms, &turned)?;
        let sums = Tensor::empty(gpu, [outputs], DType::F32)?;
        axpy(&sums, self.squares, 1.0, None, false)?;
        sum_columns(&terms, &sums, true)?;
        unary(&tape, &sums, Unary::Sqrt)
    }

    /// m / n (O)
    fn factors(&self, w: &Tensor, layout: WeightLayout) -> Result<Tensor> {
        let lengths = self.lengths(w, layout)?;
        let m = self.magnitude;
        m.expect(OP, "magnitude", lengths.dims(), DType::F32)?;
        binary(&Tape::inference(w.gpu()), Binary::Div, m, &lengths)
    }
}

/// y = (m / n) ∘ z of z (…, O). Of the forward pass y alone is kept, which others keep as well: dm = Σ dy∘z / n is
/// Σ dy∘y / m.
fn scaled(tape: &Tape, z: &Tensor, m: &Tensor, factors: Tensor) -> Result<Tensor> {
    let apart = Tape::inference(tape.gpu());
    let y = mul(&apart, z, &factors)?;
    let (z, m, kept) = (z.without_values(), m.clone(), y.clone());
    tape.record_one(OP, &[&z.clone(), &m.clone()], &y, move |cx, dy| {
        if let Some(dz) = cx.sink(&z)? {
            axpy(
                &dz.grad,
                &mul(&apart, dy, &factors)?,
                1.0,
                None,
                dz.accumulate,
            )?;
        }
        if let Some(dm) = cx.sink(&m)? {
            let terms = mul(&apart, &cast(&apart, dy, DType::F32)?, &kept)?;
            let sums = Tensor::empty(cx.gpu(), m.shape().clone(), DType::F32)?;
            sum_columns(&terms, &sums, false)?;
            let own = binary(&apart, Binary::Div, &sums, &m)?;
            axpy(&dm.grad, &own, 1.0, None, dm.accumulate)?;
        }
        Ok(())
    });
    Ok(y)
}

/// y = (m / n) ∘ x·(W + s·B·A)ᵀ + b: x (…, I), W in `layout`, b (O) → (…, O). W is frozen; it may be packed.
///
/// With dropout, PEFT's way: what is dropped of x is multiplied by W as it is.
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`]; [`crate::Error::Argument`] as of [`lora_linear`].
pub fn dora_linear(
    tape: &Tape,
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    layout: WeightLayout,
    dora: &DoraWeights<'_>,
) -> Result<Tensor> {
    let factors = dora.factors(w, layout)?;
    let dropped = dropout(tape, x, dora.lora.dropout)?;
    let lora = LoraWeights {
        dropout: 0.0,
        ..dora.lora.clone()
    };
    let z = lora_linear(tape, &dropped, w, None, layout, &[lora])?;
    let y = scaled(tape, &z, dora.magnitude, factors)?;
    if dropped.id() != x.id() {
        let rest = binary(tape, Binary::Sub, x, &dropped)?;
        return add(tape, &y, &linear_as(tape, &rest, w, b, layout)?);
    }
    match b {
        Some(b) => add(tape, &y, b),
        None => Ok(y),
    }
}

/// Queues W ← (m / n) ∘ (W + s·B·A) in `layout`: afterwards the plain layer computes what the adapted one did.
///
/// # Errors
/// As [`dora_linear`].
pub fn merge_dora(w: &Tensor, layout: WeightLayout, dora: &DoraWeights<'_>) -> Result<()> {
    let tape = Tape::inference(w.gpu());
    let factors = dora.factors(w, layout)?;
    merge_lora(w, layout, &dora.lora)?;
    let factors = factors.reshaped(layout.shape(factors.len(), 1))?;
    axpy(w, &mul(&tape, w, &factors)?, 1.0, None, false)
}

/// ‖Wᵢ‖² of every output's weights, read piece by piece; waits for the device. None is 0, so that a row of
/// zeros has a length to be divided by.
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`].
pub fn row_squares(w: &Tensor, layout: WeightLayout) -> Result<Vec<f32>> {
    let [rows, columns] = w.dims2(OP, "w")?;
    w.expect_weight(OP, "w")?;
    let mut squares = vec![0f64; layout.sizes(OP, w)?[0]];
    let per_piece = (PIECE / columns).max(1);
    for first in (0..rows).step_by(per_piece) {
        let count = per_piece.min(rows - first);
        let piece = if w.is_packed() {
            let plain = Tensor::empty(w.gpu(), [count, columns], DType::F32)?;
            expand(w, Rows::From(first), &plain)?;
            plain
        } else {
            w.copy_of_range(first * columns, [count, columns])?
        };
        let values = piece.to_f32_vec()?;
        for (row, values) in values.chunks(columns).enumerate() {
            for (column, x) in values.iter().enumerate() {
                let output = match layout {
                    WeightLayout::OutIn => first + row,
                    WeightLayout::InOut => column,
                };
                squares[output] += f64::from(*x) * f64::from(*x);
            }
        }
    }
    let positive = |s: f64| (s as f32).max(f32::MIN_POSITIVE);
    Ok(squares.into_iter().map(positive).collect())
}
