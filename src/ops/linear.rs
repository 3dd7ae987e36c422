//! The linear layer.

use super::matmul::{Product, product};
use super::sum_columns;
use crate::error::Result;
use crate::tensor::{DType, Tape, Tensor};

const OP: &str = "linear";

/// y = x·Wᵀ + b: x (…, I), W (O, I), b (O) → (…, O).
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`].
pub fn linear(tape: &Tape, x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let [outputs, inputs] = w.dims2(OP, "w")?;
    w.expect_dtype(OP, "w", DType::F32)?;
    let outer = &x.dims()[..x.dims().len() - 1];
    x.expect(OP, "x", &[outer, &[inputs]].concat(), DType::F32)?;
    if let Some(b) = b {
        b.expect(OP, "b", &[outputs], DType::F32)?;
    }
    let rows = x.shape().rows();
    let flat = x.reshaped([rows, inputs])?;
    let y = Tensor::empty(tape.gpu(), [outer, &[outputs]].concat(), DType::F32)?;
    let y_flat = y.reshaped([rows, outputs])?;
    product(&Product {
        bias: b,
        trans_b: true,
        ..Product::new(&flat, w, &y_flat)
    })?;

    let inputs: Vec<&Tensor> = [Some(x), Some(w), b].into_iter().flatten().collect();
    let (w, b) = (w.clone(), b.cloned());
    tape.record(OP, &inputs, &[&y], move |cx| {
        let Some(dy) = cx.upstream(&y_flat)? else {
            return Ok(());
        };
        if let Some(dx) = cx.sink(&flat)? {
            product(&Product {
                accumulate: dx.accumulate,
                ..Product::new(&dy, &w, &dx.grad)
            })?;
        }
        if let Some(dw) = cx.sink(&w)? {
            let accumulate = dw.accumulate;
            product(&Product {
                trans_a: true,
                accumulate,
                ..Product::new(&dy, &flat, &dw.grad)
            })?;
        }
        if let Some(b) = &b
            && let Some(db) = cx.sink(b)?
        {
            sum_columns(&dy, &db.grad, db.accumulate)?;
        }
        Ok(())
    });
    Ok(y)
}
