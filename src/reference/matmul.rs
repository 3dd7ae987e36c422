//! Matrix products, row-major, batched: `C[b] = op(A[b]) · op(B[b]) + bias`, then C += what was
//! there when accumulating.

use super::float::Float;

/// op(A) is (m, k), op(B) is (k, n), C is (m, n); a transposed operand is stored the other way
/// round: A as (k, m), B as (n, k).
#[derive(Clone, Copy, Debug)]
pub struct MatMul {
    /// matrices
    pub batch: usize,
    /// rows of C
    pub m: usize,
    /// columns of C
    pub n: usize,
    /// inner size
    pub k: usize,
    /// A is stored as (k, m).
    pub transpose_a: bool,
    /// B is stored as (n, k).
    pub transpose_b: bool,
}

impl MatMul {
    /// A (m, k) · B (k, n)
    pub fn nn(m: usize, n: usize, k: usize) -> Self {
        Self {
            batch: 1,
            m,
            n,
            k,
            transpose_a: false,
            transpose_b: false,
        }
    }
    /// A (m, k) · B (n, k)ᵀ
    pub fn nt(m: usize, n: usize, k: usize) -> Self {
        Self {
            transpose_b: true,
            ..Self::nn(m, n, k)
        }
    }
    /// A (k, m)ᵀ · B (k, n)
    pub fn tn(m: usize, n: usize, k: usize) -> Self {
        Self {
            transpose_a: true,
            ..Self::nn(m, n, k)
        }
    }
    /// The same for so many matrices.
    pub fn batched(self, batch: usize) -> Self {
        Self { batch, ..self }
    }
    fn a(&self, batch: usize, row: usize, inner: usize) -> usize {
        let (m, k) = (self.m, self.k);
        batch * m * k
            + if self.transpose_a {
                inner * m + row
            } else {
                row * k + inner
            }
    }
    fn b(&self, batch: usize, inner: usize, column: usize) -> usize {
        let (n, k) = (self.n, self.k);
        batch * n * k
            + if self.transpose_b {
                column * k + inner
            } else {
                inner * n + column
            }
    }
}

/// op(A) · op(B), (batch, m, n).
pub fn matmul<F: Float>(s: &MatMul, a: &[F], b: &[F]) -> Vec<F> {
    assert_eq!(a.len(), s.batch * s.m * s.k, "A");
    assert_eq!(b.len(), s.batch * s.n * s.k, "B");
    let mut c = Vec::with_capacity(s.batch * s.m * s.n);
    for batch in 0..s.batch {
        for row in 0..s.m {
            for column in 0..s.n {
                let mut sum = F::ZERO;
                for inner in 0..s.k {
                    sum += a[s.a(batch, row, inner)] * b[s.b(batch, inner, column)];
                }
                c.push(sum);
            }
        }
    }
    c
}

/// The product with its epilogue: bias (n) is added to every row, then `onto`
/// (batch, m, n), what C held before.
pub fn matmul_epilogue<F: Float>(
    s: &MatMul,
    a: &[F],
    b: &[F],
    bias: Option<&[F]>,
    onto: Option<&[F]>,
) -> Vec<F> {
    let mut c = matmul(s, a, b);
    if let Some(bias) = bias {
        assert_eq!(bias.len(), s.n, "bias");
        c.iter_mut()
            .enumerate()
            .for_each(|(at, c)| *c += bias[at % s.n]);
    }
    if let Some(onto) = onto {
        assert_eq!(onto.len(), c.len(), "C");
        c.iter_mut().zip(onto).for_each(|(c, old)| *c += *old);
    }
    c
}

/// The gradients of a product.
pub struct MatMulGrads<F> {
    /// in the layout of A
    pub da: Vec<F>,
    /// in the layout of B
    pub db: Vec<F>,
    /// (n)
    pub dbias: Vec<F>,
}

/// Gradients in the layouts of A and B, from dC (batch, m, n).
pub fn matmul_bwd<F: Float>(s: &MatMul, a: &[F], b: &[F], dc: &[F]) -> MatMulGrads<F> {
    let mut grads = MatMulGrads {
        da: vec![F::ZERO; a.len()],
        db: vec![F::ZERO; b.len()],
        dbias: vec![F::ZERO; s.n],
    };
    for batch in 0..s.batch {
        for row in 0..s.m {
            for column in 0..s.n {
                let d = dc[(batch * s.m + row) * s.n + column];
                grads.dbias[column] += d;
                for inner in 0..s.k {
                    let (at_a, at_b) = (s.a(batch, row, inner), s.b(batch, inner, column));
                    grads.da[at_a] += d * b[at_b];
                    grads.db[at_b] += d * a[at_a];
                }
            }
        }
    }
    grads
}
