//! Attention, separate and packed, in the adapter's form and in the portable one.

use melos::device::Gpu;
use melos::error::Result;
use melos::kernels::philox::{drop_threshold, philox4x32};
use melos::ops::{self, AttentionOptions};
use melos::tensor::{Tape, Tensor};

use crate::reference::attention::Attention;
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float};
use crate::support::{Input, Op, Shared, adapters, input, prove};

/// Inputs: q, k, v; or qkv packed.
struct Attend {
    adapter: &'static str,
    shape: Attention,
    on_device: Option<Tensor>,
    packed: bool,
    dropout: f32,
}

/// What the kernels keep, with the seed, the step and the layer of the tests' graphs.
fn mask(shape: &Attention, dropout: f32) -> Vec<f32> {
    let threshold = (drop_threshold(dropout) + (1 << 15)) >> 16;
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
    fn new((adapter, gpu): (&'static str, &Gpu), mut shape: Attention, dropout: f32) -> Attend {
        shape.dropout = (dropout > 0.0).then(|| mask(&shape, dropout));
        let upload = |lens: &Vec<u32>| Tensor::from_slice(gpu, [lens.len()], lens).unwrap();
        Attend {
            adapter,
            on_device: shape.lens.as_ref().map(upload),
            shape,
            packed: false,
            dropout,
        }
    }

    /// q, k and v of the inputs.
    fn split<F: Float>(&self, inputs: &[Vec<F>]) -> [Vec<F>; 3] {
        if !self.packed {
            return [0, 1, 2].map(|i| inputs[i].clone());
        }
        let c = self.shape.heads * self.shape.width;
        [0, 1, 2].map(|i| {
            let rows = inputs[0].chunks(3 * c);
            rows.flat_map(|row| &row[i * c..(i + 1) * c])
                .copied()
                .collect()
        })
    }

    fn join<F: Float>(&self, parts: [Vec<F>; 3]) -> Vec<Vec<F>> {
        if !self.packed {
            return parts.to_vec();
        }
        let c = self.shape.heads * self.shape.width;
        let rows = 0..self.shape.batch * self.shape.queries;
        let row = |r: usize| {
            parts
                .iter()
                .flat_map(move |p| p[r * c..(r + 1) * c].to_vec())
        };
        vec![rows.flat_map(row).collect()]
    }

    fn inputs(&self, values: impl Fn(&mut Data, usize) -> Vec<f32>) -> Vec<Input> {
        let Attention {
            batch,
            queries,
            keys,
            heads,
            width,
            ..
        } = self.shape;
        let mut data = Data::new((queries * 3 + keys * 5 + width) as u64);
        let shapes = match self.packed {
            true => vec![[batch, queries, 3 * heads * width]],
            false => [queries, keys, keys]
                .map(|t| [batch, t, heads * width])
                .to_vec(),
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
            causal,
            lens,
            ..
        } = &self.shape;
        format!(
            "{}attention, {heads} heads, causal {causal}, lens {lens:?}, dropout {}",
            self.adapter, self.dropout
        )
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let options = AttentionOptions {
            heads: self.shape.heads,
            causal: self.shape.causal,
            dropout: self.dropout,
            scale: self.shape.scale.map(|s| s as f32),
        };
        let lens = self.on_device.as_ref();
        let out = match inputs {
            [qkv] => ops::attention_packed(tape, qkv, lens, &options)?,
            [q, k, v] => ops::attention(tape, q, k, v, lens, &options)?,
            _ => panic!("one input or three"),
        };
        Ok(vec![out])
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
}

/// Proves one shape, separate and packed, on the adapter and on its portable twin.
fn proven(shape: &Attention, dropout: f32, values: impl Fn(&mut Data, usize) -> Vec<f32> + Copy) {
    for (adapter, gpu) in &adapters() {
        let attend = Attend::new((adapter, gpu), shape.clone(), dropout);
        prove(&attend, gpu, &attend.inputs(values));
        if shape.queries == shape.keys {
            let packed = Attend {
                packed: true,
                ..attend
            };
            prove(&packed, gpu, &packed.inputs(values));
        }
    }
}

fn normal(data: &mut Data, n: usize) -> Vec<f32> {
    data.normal(n, 1.0)
}

#[test]
fn odd_lengths() {
    for (i, t) in crate::reference::ODD_SIZES.into_iter().enumerate() {
        let mut shape = Attention::new(2, t, 1, 8);
        shape.causal = i % 2 == 0;
        proven(&shape, 0.0, normal);
    }
}

#[test]
fn padding_and_a_row_without_keys() {
    for causal in [false, true] {
        for dropout in [0.0, 0.25] {
            let mut shape = Attention::new(4, 37, 2, 12);
            shape.lens = Some(vec![37, 19, 0, 1]);
            shape.causal = causal;
            proven(&shape, dropout, normal);
        }
    }
}

#[test]
fn head_widths() {
    for (heads, width) in [
        (2, 1),
        (3, 3),
        (1, 32),
        (1, 48),
        (2, 64),
        (1, 80),
        (1, 96),
        (1, 128),
    ] {
        let mut shape = Attention::new(1, 9, heads, width);
        shape.causal = true;
        proven(&shape, 0.1, normal);
    }
}

#[test]
fn other_keys_than_queries() {
    for (t, s) in [(1, 40), (5, 17), (40, 7)] {
        for causal in [false, true] {
            let mut shape = Attention::new(2, t, 2, 8);
            shape.keys = s;
            shape.causal = causal;
            shape.lens = Some(vec![s as u32, (s as u32).div_ceil(2)]);
            shape.scale = Some(0.7);
            proven(&shape, 0.0, normal);
        }
    }
}
