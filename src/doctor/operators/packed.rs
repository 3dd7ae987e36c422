//! Linear layers and tables whose weights are packed in blocks.

use crate::blocks::BlockType;
use crate::device::Gpu;
use crate::doctor::proof::Op;
use crate::error::Result;
use crate::ops::{self, TokenIds};
use crate::reference::embedding::embedding;
use crate::reference::matmul::{MatMul, matmul, matmul_bwd};
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float, cast};
use crate::tensor::{DType, Tape, Tensor};

/// Blocks of this kind, every bit of them drawn, with scales that are ordinary numbers; and what they
/// hold.
pub fn blocks(data: &mut Data, kind: BlockType, count: usize) -> (Vec<u8>, Vec<f32>) {
    let size = kind.bytes();
    let drawn = data.ids(count * size, 256);
    let mut bytes: Vec<u8> = drawn.iter().map(|b| *b as u8).collect();
    for block in bytes.chunks_mut(size) {
        for at in kind.scales() {
            let scale = data.uniform(1, -0.02, 0.02)[0];
            match kind {
                BlockType::Nf4 | BlockType::Nf4Double => {
                    block[*at..at + 4].copy_from_slice(&scale.to_le_bytes());
                }
                _ => {
                    let half = half::f16::from_f32(scale).to_le_bytes();
                    block[*at..at + 2].copy_from_slice(&half);
                }
            }
        }
    }
    let values = kind.dequantise(&bytes);
    (bytes, values)
}

/// A matrix on the device, and its numbers.
struct Packed {
    tensor: Tensor,
    values: Vec<f32>,
    kind: BlockType,
}

impl Packed {
    fn new(gpu: &Gpu, data: &mut Data, kind: BlockType, dims: [usize; 2]) -> Result<Packed> {
        let count = dims[0] * dims[1];
        let (bytes, mut values) = blocks(data, kind, count.div_ceil(kind.elements()));
        values.truncate(count);
        let tensor = Tensor::empty(gpu, dims, DType::Packed(kind))?;
        tensor.write_blocks(&bytes)?;
        Ok(Packed {
            tensor,
            values,
            kind,
        })
    }
}

/// x·Wᵀ with W (O, I) packed: inputs x (N, I).
pub struct PackedLinear {
    w: Packed,
    shape: MatMul,
}

impl PackedLinear {
    /// Of n rows, o outputs and i inputs, whole blocks of them.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(
        gpu: &Gpu,
        data: &mut Data,
        kind: BlockType,
        [n, o, i]: [usize; 3],
    ) -> Result<PackedLinear> {
        Ok(PackedLinear {
            w: Packed::new(gpu, data, kind, [o, i])?,
            shape: MatMul::nt(n, o, i),
        })
    }
}

impl Op for PackedLinear {
    fn name(&self) -> String {
        format!(
            "linear, {} of {}",
            self.w.tensor.shape(),
            self.w.kind.name()
        )
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![ops::linear(tape, &inputs[0], &self.w.tensor, None)?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let w: Vec<F> = cast(&self.w.values);
        vec![matmul(&self.shape, &inputs[0], &w)]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let w: Vec<F> = cast(&self.w.values);
        vec![matmul_bwd(&self.shape, &inputs[0], &w, &dy[0]).da]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::MATMUL, tolerance::MATMUL_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["matmul_", "expand"]
    }
}

/// Rows of a packed table (V, C), some of them of tokens that it does not have: inputs x (N, C), which
/// they are added to.
pub struct PackedRows {
    table: Packed,
    tokens: TokenIds,
    ids: Vec<u32>,
    width: usize,
}

impl PackedRows {
    /// Of so many tokens.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(
        gpu: &Gpu,
        data: &mut Data,
        kind: BlockType,
        [count, vocab, width]: [usize; 3],
    ) -> Result<PackedRows> {
        let ids = data.ids(count, vocab as u32 + 1);
        Ok(PackedRows {
            table: Packed::new(gpu, data, kind, [vocab, width])?,
            tokens: TokenIds::from_host(gpu, count, 1, &ids)?,
            ids,
            width,
        })
    }
}

impl Op for PackedRows {
    fn name(&self) -> String {
        format!(
            "rows of {} of {}",
            self.table.tensor.shape(),
            self.table.kind.name()
        )
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let rows = ops::embedding(tape, &self.table.tensor, &self.tokens)?;
        let rows = rows.reshaped([self.ids.len(), self.width])?;
        Ok(vec![ops::add(tape, &inputs[0], &rows)?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let mut table: Vec<F> = cast(&self.table.values);
        table.extend(vec![F::ZERO; self.width]);
        let rows = embedding(&table, self.width, &self.ids);
        let both = inputs[0].iter().zip(rows);
        vec![both.map(|(x, row)| *x + row).collect()]
    }
    fn backward<F: Float>(&self, _: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![dy[0].clone()]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::ELEMENTWISE, tolerance::ELEMENTWISE_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["binary_bwd"]
    }
}
