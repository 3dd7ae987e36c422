//! Attention, separate and packed.

use crate::device::Gpu;
use crate::doctor::proof::{Input, Op, input};
use crate::error::Result;
use crate::kernels::philox::philox4x32;
use crate::ops::{self, AttentionOptions, Seen};
use crate::reference::attention::Attention;
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float};
use crate::tensor::{Tape, Tensor};

#[derive(Clone, Copy, PartialEq)]
pub enum Layout {
    /// Inputs q, k, v.
    Separate,
    /// Input qkv.
    Packed,
    /// One input, which is q, k and v at once.
    Same,
}

pub struct Attend {
    shape: Attention,
    lens: Option<Tensor>,
    starts: Option<Tensor>,
    pub layout: Layout,
    dropout: f32,
}

/// What the kernels keep, with the seed, the step and the layer of the tests' graphs.
fn mask(shape: &Attention, dropout: f32) -> Vec<f32> {
    let threshold = (dropout * 65_536.0).round() as u32;
    let keep = 65_536.0 / (65_536 - threshold) as f32;
    let quads = shape.keys.div_ceil(4);
    let mut mask = Vec::new();
    for sequence in 0..shape.batch * shape.heads {
        for t in 0..shape.queries {
            for s in 0..shape.keys {
                let block = (t / 2 * quads + s / 4) as u32;
                let word = philox4x32([block, 0, 1, sequence as u32], [5, 0])[s % 4];
                let bits = (word >> (16 * (t % 2))) & 0xffff;
                mask.push(if bits < threshold { 0.0 } else { keep });
            }
        }
    }
    mask
}

impl Attend {
    /// With inputs q, k, v.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(gpu: &Gpu, mut shape: Attention, dropout: f32) -> Result<Attend> {
        shape.dropout = (dropout > 0.0).then(|| mask(&shape, dropout));
        let upload = |lens: &Vec<u32>| Tensor::from_slice(gpu, [lens.len()], lens);
        Ok(Attend {
            lens: shape.lens.as_ref().map(upload).transpose()?,
            starts: shape.starts.as_ref().map(upload).transpose()?,
            shape,
            layout: Layout::Separate,
            dropout,
        })
    }

    /// Those of queries, and of keys or values.
    fn widths(&self) -> [usize; 2] {
        [self.shape.heads, self.shape.kv_heads].map(|heads| heads * self.shape.width)
    }

    /// q, k and v of the inputs.
    fn split<F: Float>(&self, inputs: &[Vec<F>]) -> [Vec<F>; 3] {
        match self.layout {
            Layout::Separate => return [0, 1, 2].map(|i| inputs[i].clone()),
            Layout::Same => return [0, 1, 2].map(|_| inputs[0].clone()),
            Layout::Packed => {}
        }
        let [c, kv] = self.widths();
        [0..c, c..c + kv, c + kv..c + 2 * kv].map(|part| {
            let rows = inputs[0].chunks(c + 2 * kv);
            rows.flat_map(|row| &row[part.clone()]).copied().collect()
        })
    }

    fn join<F: Float>(&self, parts: [Vec<F>; 3]) -> Vec<Vec<F>> {
        match self.layout {
            Layout::Separate => return parts.to_vec(),
            Layout::Same => {
                let [a, b, c] = &parts;
                let sums = a.iter().zip(b).zip(c);
                return vec![sums.map(|((a, b), c)| *a + *b + *c).collect()];
            }
            Layout::Packed => {}
        }
        let [c, kv] = self.widths();
        let rows = 0..self.shape.batch * self.shape.queries;
        let row = |r: usize| {
            let each = parts.iter().zip([c, kv, kv]);
            each.flat_map(move |(p, c)| p[r * c..(r + 1) * c].to_vec())
        };
        vec![rows.flat_map(row).collect()]
    }

    /// Inputs for it.
    pub fn inputs(&self, values: impl Fn(&mut Data, usize) -> Vec<f32>) -> Vec<Input> {
        let Attention {
            batch,
            queries,
            keys,
            width,
            ..
        } = self.shape;
        let mut data = Data::new((queries * 3 + keys * 5 + width) as u64);
        let [c, kv] = self.widths();
        let shapes = match self.layout {
            Layout::Separate => vec![[batch, queries, c], [batch, keys, kv], [batch, keys, kv]],
            Layout::Packed => vec![[batch, queries, c + 2 * kv]],
            Layout::Same => vec![[batch, queries, c]],
        };
        shapes
            .iter()
            .map(|dims| input(dims, values(&mut data, dims.iter().product())))
            .collect()
    }
}

impl Op for Attend {
    fn name(&self) -> String {
        let Attention {
            heads,
            kv_heads,
            causal,
            window,
            softcap,
            lens,
            starts,
            ..
        } = &self.shape;
        format!(
            "attention, {heads} heads to {kv_heads}, causal {causal}, window {window:?}, cap {softcap:?}, \
             lens {lens:?}, {} starts, dropout {}",
            starts.as_ref().map_or(0, |all| {
                let mut all = all.clone();
                all.dedup();
                all.len()
            }),
            self.dropout
        )
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let options = AttentionOptions {
            heads: self.shape.heads,
            kv_heads: Some(self.shape.kv_heads),
            causal: self.shape.causal,
            window: self.shape.window,
            softcap: self.shape.softcap.map(|cap| cap as f32),
            dropout: self.dropout,
            scale: self.shape.scale.map(|s| s as f32),
        };
        let seen = Seen {
            lens: self.lens.as_ref(),
            starts: self.starts.as_ref(),
        };
        let at = |k: usize| &inputs[k];
        let out = match self.layout {
            Layout::Packed => ops::attention_packed(tape, at(0), seen, &options),
            Layout::Same => ops::attention(tape, at(0), at(0), at(0), seen, &options),
            Layout::Separate => ops::attention(tape, at(0), at(1), at(2), seen, &options),
        };
        Ok(vec![out?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let [q, k, v] = self.split(inputs);
        vec![self.shape.forward([&q, &k, &v])]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let [q, k, v] = self.split(inputs);
        self.join(self.shape.backward([&q, &k, &v], &dy[0]))
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::ATTENTION, tolerance::ATTENTION_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["attention_d"]
    }
}
