//! Matrices that are packed in blocks, as plain numbers.

use super::kernel::run;
use crate::blocks::BlockType;
use crate::device::{Groups, params};
use crate::error::{Error, Result};
use crate::kernels::Variant;
use crate::tensor::{DType, Tensor};

const OP: &str = "expand";

/// Which rows of a matrix.
pub(super) enum Rows<'a> {
    /// From this one on.
    From(usize),
    /// Those of these numbers, u32; zeros for one that is not there.
    Named(&'a Tensor),
}

/// The number by which the kernels know the blocks of a packed matrix.
pub(super) fn kind_of(matrix: &Tensor) -> Option<u32> {
    let DType::Packed(kind) = matrix.dtype() else {
        return None;
    };
    let place = BlockType::PACKED.iter().position(|k| *k == kind);
    place.map(|place| place as u32)
}

/// Queues y (N, C) = N rows of a packed matrix (V, C); y f32 or f16.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`] unless the matrix is packed.
pub(super) fn expand(packed: &Tensor, rows: Rows<'_>, y: &Tensor) -> Result<()> {
    let [total, width] = packed.dims2(OP, "packed")?;
    let [count, columns] = y.dims2(OP, "y")?;
    y.expect_float(OP, "y")?;
    packed.expect_weight(OP, "packed")?;
    let Some(kind) = kind_of(packed) else {
        return Err(Error::DType {
            op: OP,
            arg: "packed",
            expected: "blocks",
            found: packed.dtype().name(),
        });
    };
    let first = match rows {
        Rows::From(first) => first,
        Rows::Named(_) => 0,
    };
    if columns != width || first + count > total && matches!(rows, Rows::From(_)) {
        let expected = format!("rows {first}.. of {}", packed.shape());
        return Err(y.wrong_shape(OP, "y", expected));
    }
    let named = match rows {
        Rows::From(_) => None,
        Rows::Named(rows) => Some(rows),
    };
    let variant = Variant::new()
        .with("KIND", kind)
        .with("ROWS", named.is_some())
        .with("F16", y.is_half());
    let params = params! {
        n: u32 = count * width / 16,
        per_row: u32 = width / 16,
        total: u32,
        first: u32,
    };
    let tensors = [Some(packed), named, Some(y)].into_iter().flatten();
    let groups = Groups::cover(params.n as usize, 64);
    run(y.gpu(), ("expand", &variant), &params, tensors, groups)
}
