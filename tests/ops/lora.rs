//! The low-rank adapted linear layer: both layouts, ranges of outputs, dropout, frozen weights,
//! merging.

use melos::device::Gpu;
use melos::error::Result;
use melos::ops::{self, LoraWeights, WeightLayout};
use melos::optim::StepState;
use melos::tensor::{Tape, Tensor};

use crate::reference::lora::Lora;
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float, assert_close, assert_same_bits, cast};
use crate::support::{Input, Op, adapters, gpu, input, prove};

pub struct Adapted(pub &'static str, pub Lora);

fn layout(lora: &Lora) -> WeightLayout {
    match lora.in_out {
        true => WeightLayout::InOut,
        false => WeightLayout::OutIn,
    }
}

fn weights<'a>(lora: &Lora, a: &'a Tensor, b: &'a Tensor) -> LoraWeights<'a> {
    LoraWeights {
        a,
        b,
        scale: lora.scale as f32,
        dropout: lora.keep.as_ref().map_or(0.0, |(_, p)| *p as f32),
        rows: (lora.rows.len() < lora.o).then(|| lora.rows.clone()),
    }
}

impl Op for Adapted {
    fn name(&self) -> String {
        let Lora { in_out, rows, .. } = &self.1;
        format!("{}lora, in_out {in_out}, rows {rows:?}", self.0)
    }
    fn run(&self, tape: &Tape, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let lora = [weights(&self.1, &t[3], &t[4])];
        let layout = layout(&self.1);
        let y = ops::lora_linear(tape, &t[0], &t[1], Some(&t[2]), layout, &lora)?;
        Ok(vec![y])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![self.1.forward(inputs)]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        self.1.backward(inputs, &dy[0])
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::MATMUL, tolerance::MATMUL_BWD)
    }
}

pub fn inputs(lora: &Lora, data: &mut Data) -> Vec<Input> {
    let Lora { n, i, o, r, .. } = *lora;
    let w = layout(lora).shape(o, i);
    let sizes = [&[n, i][..], &w, &[o], &[r, i], &[lora.rows.len(), r]];
    let tensor = |dims: &[usize]| input(dims, data.peaked(dims.iter().product(), 1.0, 10.0));
    sizes.map(tensor).to_vec()
}

pub fn shape((n, i, o, r): (usize, usize, usize, usize), in_out: bool) -> Lora {
    Lora {
        n,
        i,
        o,
        r,
        in_out,
        scale: 1.5,
        rows: 0..o,
        keep: None,
    }
}

#[test]
fn values_and_gradients() {
    for (adapter, gpu) in adapters() {
        for sizes in [(1, 1, 1, 1), (5, 65, 33, 8), (63, 24, 36, 3)] {
            for in_out in [false, true] {
                let lora = shape(sizes, in_out);
                let data = inputs(&lora, &mut Data::new(sizes.0 as u64));
                prove(&Adapted(adapter, lora), &gpu, &data);
            }
        }
    }
}

#[test]
fn ranges_of_outputs_at_any_offset() {
    for (adapter, gpu) in adapters() {
        for rows in [0..7, 7..14, 3..4, 14..21] {
            for in_out in [false, true] {
                let lora = Lora {
                    rows: rows.clone(),
                    ..shape((9, 12, 21, 2), in_out)
                };
                let data = inputs(&lora, &mut Data::new(rows.start as u64));
                prove(&Adapted(adapter, lora), &gpu, &data);
            }
        }
    }
}

/// The mask that the first draw of a tape on `Graph`'s step state gives: with W = 0 and A = B = 1,
/// y = drop(x).
fn first_mask(gpu: &Gpu, n: usize, i: usize, p: f32) -> Vec<bool> {
    let state = StepState::new(gpu, 5).unwrap();
    let tape = Tape::training(gpu, state.tensor());
    let eye: Vec<f32> = (0..i * i).map(|at| (at % (i + 1) == 0).into()).collect();
    let eye = Tensor::from_slice(gpu, [i, i], &eye).unwrap();
    let zero = Tensor::zeros(gpu, [i, i]).unwrap();
    let ones = Tensor::from_slice(gpu, [n, i], &vec![1.0f32; n * i]).unwrap();
    let lora = LoraWeights {
        a: &eye,
        b: &eye,
        scale: 1.0,
        dropout: p,
        rows: None,
    };
    let y = ops::lora_linear(&tape, &ones, &zero, None, WeightLayout::OutIn, &[lora]).unwrap();
    let y = y.to_vec::<f32>().unwrap();
    y.iter().map(|y| *y != 0.0).collect()
}

#[test]
fn dropout_on_the_way_to_a_only() {
    let gpu = gpu();
    let sizes = (33, 20, 12, 4);
    let keep = first_mask(&gpu, sizes.0, sizes.1, 0.25);
    let kept = keep.iter().filter(|k| **k).count() as f64 / keep.len() as f64;
    assert!((kept - 0.75).abs() < 0.08, "{kept} of x kept");
    let lora = Lora {
        keep: Some((keep, 0.25)),
        ..shape(sizes, false)
    };
    let data = inputs(&lora, &mut Data::new(3));
    prove(&Adapted("", lora), &gpu, &data);
}

/// A frozen weight has no gradient, stays as it is bit for bit, and costs no product of its size.
#[test]
fn frozen_weights_cost_nothing() {
    let gpu = gpu();
    let lora = shape((16, 64, 48, 4), false);
    let host = inputs(&lora, &mut Data::new(8));
    let tensors: Vec<Tensor> = host
        .iter()
        .map(|i| Tensor::from_slice(&gpu, i.dims.clone(), &i.values).unwrap())
        .collect();
    let trained = |t: &Tensor| {
        t.clone()
            .with_grad(Tensor::zeros(&gpu, t.shape().clone()).unwrap())
    };
    let (a, b) = (trained(&tensors[3]), trained(&tensors[4]));
    let state = StepState::new(&gpu, 5).unwrap();
    let products = |w: &Tensor| {
        let (recording, ()) = gpu
            .record(|| {
                let tape = Tape::training(&gpu, state.tensor());
                let lora = [weights(&lora, &a, &b)];
                let layout = WeightLayout::OutIn;
                let y = ops::lora_linear(&tape, &tensors[0], w, None, layout, &lora)?;
                let loss = ops::sum_all(&tape, &y)?;
                tape.backward(&loss)
            })
            .unwrap();
        let counts = recording.kernel_counts();
        gpu.replay(&recording).unwrap();
        let is_product = |(name, count): (&String, &usize)| match name.as_str() {
            name if name.starts_with("matmul_pack") => 0,
            name if name.starts_with("matmul") => *count,
            _ => 0,
        };
        counts.iter().map(is_product).sum::<usize>()
    };
    // Forward x·Wᵀ, x·Aᵀ, u·Bᵀ; backward v, dA, dB. x is no activation, so it gets none.
    assert_eq!(products(&tensors[1]), 6);
    assert_eq!(products(&trained(&tensors[1])), 7);
    let after = tensors[1].to_vec::<f32>().unwrap();
    assert_same_bits("W", &after, &host[1].values);
    assert!(
        a.grad()
            .unwrap()
            .to_vec::<f32>()
            .unwrap()
            .iter()
            .any(|g| *g != 0.0)
    );
}

#[test]
fn merged_is_unmerged() {
    for (adapter, gpu) in adapters() {
        for in_out in [false, true] {
            for rows in [0..30, 10..20] {
                let lora = Lora {
                    rows,
                    ..shape((7, 20, 30, 4), in_out)
                };
                let name = Adapted(adapter, lora.clone()).name();
                let host = inputs(&lora, &mut Data::new(12));
                let t: Vec<Tensor> = host
                    .iter()
                    .map(|i| Tensor::from_slice(&gpu, i.dims.clone(), &i.values).unwrap())
                    .collect();
                let (update, layout) = (weights(&lora, &t[3], &t[4]), layout(&lora));
                ops::merge_lora(&t[1], layout, &update).unwrap();
                let tape = Tape::inference(&gpu);
                let y = ops::linear_as(&tape, &t[0], &t[1], Some(&t[2]), layout).unwrap();
                let values: Vec<Vec<f32>> = host.iter().map(|i| i.values.clone()).collect();
                let want: Vec<f64> =
                    lora.forward(&values.iter().map(|v| cast(v)).collect::<Vec<_>>());
                let naive = lora.forward(&values);
                let y = y.to_vec::<f32>().unwrap();
                assert_close(&name, &y, &want, &naive, tolerance::MATMUL);

                ops::unmerge_lora(&t[1], layout, &update).unwrap();
                let back = t[1].to_vec::<f32>().unwrap();
                let largest = values[1].iter().fold(100.0f32, |m, v| m.max(v.abs()));
                for (back, was) in back.iter().zip(&values[1]) {
                    // Two roundings of a sum of that size.
                    assert!((back - was).abs() <= 4.0 * f32::EPSILON * largest, "{name}");
                }
            }
        }
    }
}
