//! A product of tensors: its operands, and the checks of their shapes.

use std::cell::RefCell;

use super::low_rank::LowRank;
use super::plan::Wanted;
use super::sizes::{Sizes, Update};
use crate::error::{Error, Result};
use crate::ops::blocks::kind_of;
use crate::ops::operand::Operand;
use crate::tensor::{DType, Tensor};

pub(super) const OP: &str = "matmul";

/// C (=|+=) alpha · op(A)·op(B) + bias, for matrices, or for equally many of them (batched:
/// three axes). A, B and C hold f32 or f16, each for itself; sums are in f32.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// (M, K), or (K, M) with `trans_a`.
    pub a: &'a Tensor,
    /// (K, N), or (N, K) with `trans_b`; its rows may be packed.
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
    /// A low-rank update, added in the same pass.
    pub low_rank: Option<LowRank<'a>>,
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

impl Shared {
    /// What was made of `from` before, else what `make` makes of it.
    pub(super) fn of(
        &self,
        wanted: &Wanted,
        make: impl FnOnce() -> Result<Operand>,
    ) -> Result<Operand> {
        if let Some((_, made)) = self.0.borrow().iter().find(|(made, _)| made == wanted) {
            return Ok(made.clone());
        }
        let made = make()?;
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
            low_rank: None,
            columns_a: None,
            columns_c: None,
            shared_a: None,
            shared_b: None,
        }
    }

    /// The same product as Cᵀ = op(B)ᵀ·op(A)ᵀ; without a bias and `columns_a`, which are A's.
    pub(super) fn turned(&self) -> Product<'a> {
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

    /// The same product without its update; `sizes` are its own.
    pub(super) fn without_update(&self, sizes: &Sizes) -> (Product<'a>, Sizes) {
        let (low_rank, update) = (None, Update::default());
        (Product { low_rank, ..*self }, Sizes { update, ..*sizes })
    }

    /// Checks all shapes.
    pub(super) fn sizes(&self) -> Result<Sizes> {
        let (batch, [rows, line_a]) = matrices(self.a, "a")?;
        let (_, b) = matrices(self.b, "b")?;
        let columns_a = self.columns_a.unwrap_or(line_a);
        let [m, k] = if self.trans_a {
            [columns_a, rows]
        } else {
            [rows, columns_a]
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
        let mut product = Sizes {
            ldc: line_c as u32,
            trans_c: self.trans_c,
            alpha: self.alpha,
            accumulate: self.accumulate,
            has_bias: self.bias.is_some(),
            half: [self.a.is_half(), self.b.is_half()],
            half_c: self.c.is_half(),
            blocks: kind_of(self.b),
            update: match &self.low_rank {
                Some(low_rank) => low_rank.sizes(self, [m, n])?,
                None => Update::default(),
            },
            ..Sizes::new(m as u32, n as u32, k as u32, self.trans_a, self.trans_b)
        };
        if self.trans_a {
            product.a.k = line_a as u32
        } else {
            product.a.extent = line_a as u32
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
pub(super) fn matrices(t: &Tensor, arg: &'static str) -> Result<(usize, [usize; 2])> {
    match arg {
        "b" => t.expect_weight(OP, arg)?,
        _ => t.expect_float(OP, arg)?,
    }
    match *t.dims() {
        [rows, columns] => Ok((1, [rows, columns])),
        [batch, rows, columns] => Ok((batch, [rows, columns])),
        _ => Err(t.wrong_shape(OP, arg, "(rows, columns) or (batch, rows, columns)")),
    }
}
