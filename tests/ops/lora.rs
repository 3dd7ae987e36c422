//! The low-rank adapted linear layer: both layouts, ranges of outputs, dropout, frozen weights,
//! merging.

use melos::doctor::operators::lora::{Adapted, first_mask, inputs, layout, shape, weights};
use melos::doctor::proof::Op;
use melos::ops::{self, WeightLayout};
use melos::optim::StepState;
use melos::tensor::{Tape, Tensor};

use crate::reference::lora::Lora;
use crate::reference::{Data, assert_close, assert_same_bits, cast, tolerance};
use crate::support::{adapters, gpu, prove};

#[test]
fn values_and_gradients() {
    for gpu in adapters() {
        for sizes in [(1, 1, 1, 1), (5, 65, 33, 8), (63, 24, 36, 3)] {
            for in_out in [false, true] {
                let lora = shape(sizes, in_out);
                let data = inputs(&lora, &mut Data::new(sizes.0 as u64));
                prove(&Adapted(lora), &gpu, &data);
            }
        }
    }
}

#[test]
fn ranges_of_outputs_at_any_offset() {
    for gpu in adapters() {
        for rows in [0..7, 7..14, 3..4, 14..21] {
            for in_out in [false, true] {
                let lora = Lora {
                    rows: rows.clone(),
                    ..shape((9, 12, 21, 2), in_out)
                };
                let data = inputs(&lora, &mut Data::new(rows.start as u64));
                prove(&Adapted(lora), &gpu, &data);
            }
        }
    }
}

#[test]
fn dropout_on_the_way_to_a_only() {
    let gpu = gpu();
    let sizes = (33, 20, 12, 4);
    let keep = first_mask(&gpu, sizes.0, sizes.1, 0.25).unwrap();
    let kept = keep.iter().filter(|k| **k).count() as f64 / keep.len() as f64;
    assert!((kept - 0.75).abs() < 0.08, "{kept} of x kept");
    let lora = Lora {
        keep: Some((keep, 0.25)),
        ..shape(sizes, false)
    };
    let data = inputs(&lora, &mut Data::new(3));
    prove(&Adapted(lora), &gpu, &data);
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
    // Forward x·Aᵀ, x·Wᵀ + s·u·Bᵀ; backward v, dA, dB. x is no activation, so it gets none.
    assert_eq!(products(&tensors[1]), 5);
    assert_eq!(products(&trained(&tensors[1])), 6);
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
    for gpu in adapters() {
        for in_out in [false, true] {
            for rows in [0..30, 10..20] {
                let lora = Lora {
                    rows,
                    ..shape((7, 20, 30, 4), in_out)
                };
                let name = Adapted(lora.clone()).name();
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
