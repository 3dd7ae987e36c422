//! Rotary positions, and what a gated feed-forward part computes.

use crate::device::Gpu;
use crate::doctor::proof::Op;
use crate::error::Result;
use crate::ops::{self, Gate, RopeTable};
use crate::reference::elementwise::{self as literal, Unary};
use crate::reference::rope::rope;
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float};
use crate::tensor::{Tape, Tensor};

/// x (B, T, NH·D), at positions in order or at some of the table's.
pub struct Rotary {
    heads: usize,
    width: usize,
    table: RopeTable,
    positions: Option<Tensor>,
    /// Of each row.
    turns: Vec<Vec<[f32; 2]>>,
}

impl Rotary {
    /// Turns `pairs` pairs of columns of each head.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(
        gpu: &Gpu,
        data: &mut Data,
        [batch, steps, heads, width]: [usize; 4],
        pairs: usize,
        placed: bool,
    ) -> Result<Rotary> {
        let longest = steps + 5;
        let angles = data.uniform(longest * pairs, -300.0, 300.0);
        let turns: Vec<[f32; 2]> = angles.iter().map(|a| [a.cos(), a.sin()]).collect();
        let positions: Vec<u32> = match placed {
            true => data.ids(batch * steps, longest as u32),
            false => (0..batch * steps).map(|r| (r % steps) as u32).collect(),
        };
        let own = |p: &u32| turns[*p as usize * pairs..][..pairs].to_vec();
        let upload = || Tensor::from_slice(gpu, [batch, steps], &positions);
        Ok(Rotary {
            heads,
            width,
            table: RopeTable::new(gpu, longest, &turns)?,
            positions: placed.then(upload).transpose()?,
            turns: positions.iter().map(own).collect(),
        })
    }

    fn turned<F: Float>(&self, x: &[F], inverse: bool) -> Vec<Vec<F>> {
        vec![rope(x, [self.heads, self.width], &self.turns, inverse)]
    }
}

impl Op for Rotary {
    fn name(&self) -> String {
        let placed = self.positions.is_some();
        let pairs = self.turns[0].len();
        format!("rope of {pairs} pairs of {}, placed {placed}", self.width)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let positions = self.positions.as_ref();
        let y = ops::rope(tape, &inputs[0], self.heads, &self.table, positions);
        Ok(vec![y?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        self.turned(&inputs[0], false)
    }
    fn backward<F: Float>(&self, _: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        self.turned(&dy[0], true)
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::ELEMENTWISE, tolerance::ELEMENTWISE_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["rope"]
    }
}

/// f(gate) · up
pub struct Gated(pub Gate);

impl Gated {
    /// (value, slope) of the gate's function.
    fn of<F: Float>(&self, x: F) -> (F, F) {
        match self.0 {
            Gate::Silu => (Unary::Silu.value(x), Unary::Silu.slope(x)),
            Gate::GeluTanh => (Unary::GeluTanh.value(x), Unary::GeluTanh.slope(x)),
            Gate::Gelu => literal::gelu(x),
        }
    }
}

impl Op for Gated {
    fn name(&self) -> String {
        format!("gated by {:?}", self.0)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![ops::gated(tape, &inputs[0], &inputs[1], self.0)?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let both = inputs[0].iter().zip(&inputs[1]);
        vec![both.map(|(gate, up)| self.of(*gate).0 * *up).collect()]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let all = || inputs[0].iter().zip(&inputs[1]).zip(&dy[0]);
        let gate = all().map(|((gate, up), dy)| *dy * *up * self.of(*gate).1);
        let up = all().map(|((gate, _), dy)| *dy * self.of(*gate).0);
        vec![gate.collect(), up.collect()]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::ELEMENTWISE, tolerance::ELEMENTWISE_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["gated_bwd"]
    }
}
