//! Attention, separate and packed, in the adapter's form and in the portable one.

use melos::doctor::operators::attention::{Attend, Layout};
use melos::ops::{self, AttentionOptions};
use melos::optim::StepState;
use melos::tensor::{DType, Tape, Tensor};

use crate::reference::attention::Attention;
use crate::reference::{Data, ODD_SIZES, assert_near, assert_same_bits, tolerance};
use crate::support::{adapters, prove, unchecked};

/// Proves one shape on the adapter and on its portable twin.
fn proven(shape: &Attention, layout: Layout, dropout: f32) {
    for gpu in &adapters() {
        let mut attend = Attend::new(gpu, shape.clone(), dropout).unwrap();
        attend.layout = layout;
        prove(&attend, gpu, &attend.inputs(normal));
    }
}

fn normal(data: &mut Data, n: usize) -> Vec<f32> {
    data.normal(n, 1.0)
}

#[test]
fn odd_lengths() {
    for (i, t) in ODD_SIZES.into_iter().enumerate() {
        let mut shape = Attention::new(2, t, 1, 8);
        shape.causal = i % 2 == 0;
        let layout = [Layout::Packed, Layout::Separate][i / 2 % 2];
        proven(&shape, layout, 0.0);
    }
}

#[test]
fn padding_and_a_row_without_keys() {
    for (causal, dropout, layout) in [
        (false, 0.0, Layout::Separate),
        (true, 0.0, Layout::Packed),
        (false, 0.25, Layout::Packed),
        (true, 0.25, Layout::Separate),
    ] {
        // The wider rows can be images.
        for width in [12, 32] {
            let mut shape = Attention::new(4, 37, 2, width);
            shape.lens = Some(vec![37, 19, 0, 1]);
            shape.causal = causal;
            proven(&shape, layout, dropout);
        }
    }
}

#[test]
fn head_widths() {
    let widths = [
        (2, 1),
        (3, 3),
        (1, 32),
        (1, 48),
        (2, 64),
        (1, 80),
        (1, 96),
        (1, 128),
        (1, 160),
    ];
    for (i, (heads, width)) in widths.into_iter().enumerate() {
        let mut shape = Attention::new(1, 9, heads, width);
        shape.causal = i % 2 == 0;
        proven(&shape, Layout::Packed, 0.1);
    }
}

#[test]
fn other_keys_than_queries() {
    for (t, s, width) in [(1, 40, 8), (5, 17, 32), (40, 7, 8)] {
        for causal in [false, true] {
            let mut shape = Attention::new(2, t, 2, width);
            shape.keys = s;
            shape.causal = causal;
            shape.lens = Some(vec![s as u32, (s as u32).div_ceil(2)]);
            shape.scale = Some(0.7);
            proven(&shape, Layout::Separate, 0.0);
        }
    }
}

/// Several sequences in a row, which see themselves alone.
#[test]
fn sequences_of_a_row_do_not_see_each_other() {
    for (t, width, places, lens, window, dropout) in [
        (37, 8, vec![vec![0, 5, 21], vec![0, 32]], None, None, 0.0),
        (
            100,
            32,
            vec![vec![0, 32, 64], vec![0]],
            Some(vec![90, 31]),
            Some(7),
            0.0,
        ),
        (70, 12, vec![vec![0, 1, 69], vec![0, 64]], None, None, 0.25),
    ] {
        let row = |places: &Vec<u32>| {
            let begun = |t: u32| {
                places
                    .iter()
                    .copied()
                    .filter(|p| *p <= t)
                    .max()
                    .unwrap_or(0)
            };
            (0..t as u32).map(begun).collect::<Vec<u32>>()
        };
        let shape = Attention {
            causal: true,
            lens,
            window,
            starts: Some(places.iter().flat_map(row).collect()),
            ..Attention::new(2, t, 2, width)
        };
        for layout in [Layout::Separate, Layout::Packed] {
            proven(&shape, layout, dropout);
        }
    }
}

#[test]
fn one_tensor_as_queries_keys_and_values() {
    for width in [8, 32] {
        proven(&Attention::new(2, 11, 2, width), Layout::Same, 0.0);
    }
}

/// Scores up to hundreds: weights near one-hot, and most of them 0 to f32.
#[test]
fn peaked_scores() {
    for causal in [false, true] {
        let mut shape = Attention::new(2, 65, 2, 16);
        shape.causal = causal;
        for gpu in &adapters() {
            let attend = Attend::new(gpu, shape.clone(), 0.0).unwrap();
            prove(
                &attend,
                gpu,
                &attend.inputs(|data, n| data.peaked(n, 1.0, 10.0)),
            );
        }
    }
}

/// What a cache holds behind its valid keys is never used, be it NaN; and gets gradient 0.
#[test]
fn nothing_behind_the_valid_keys_is_used() {
    let (batch, t, s, c) = (2, 5, 40, 16);
    let lens = [33usize, 8];
    let mut data = Data::new(1);
    let [q, k, v] = [t, s, s].map(|rows| data.normal(batch * rows * c, 1.0));
    for gpu in &adapters() {
        let run = |behind: f32| {
            let fill = |values: &[f32]| {
                let behind_valid = |i: usize| i / c % s >= lens[i / (s * c)];
                let fill = |(i, v): (usize, &f32)| if behind_valid(i) { behind } else { *v };
                values.iter().enumerate().map(fill).collect::<Vec<f32>>()
            };
            let upload = |rows: usize, values: &[f32]| {
                let grad = Tensor::from_slice(gpu, [batch, rows, c], &vec![0.0; values.len()]);
                let tensor = Tensor::from_slice(gpu, [batch, rows, c], values).unwrap();
                tensor.with_grad(grad.unwrap())
            };
            let inputs = [upload(t, &q), upload(s, &fill(&k)), upload(s, &fill(&v))];
            let on_device = Tensor::from_slice(gpu, [batch], &lens.map(|l| l as u32)).unwrap();
            let options = AttentionOptions {
                causal: true,
                ..AttentionOptions::new(2)
            };
            let state = StepState::new(gpu, 1).unwrap();
            let tape = Tape::training(gpu, state.tensor());
            let [q, k, v] = &inputs;
            let out = ops::attention(&tape, q, k, v, Some(&on_device), &options).unwrap();
            let loss = ops::sum_all(&tape, &out).unwrap();
            tape.backward(&loss).unwrap();
            let grads = inputs
                .iter()
                .map(|x| x.grad().unwrap().to_vec::<f32>().unwrap());
            [out.to_vec::<f32>().unwrap()]
                .into_iter()
                .chain(grads)
                .collect::<Vec<_>>()
        };
        for (clean, dirty) in run(0.0).iter().zip(&run(f32::NAN)) {
            assert_same_bits("NaN behind the keys", clean, dirty);
        }
    }
}

/// An inference tape drops nothing, and gives the same bits as a training one that drops nothing.
#[test]
fn inference_drops_nothing() {
    for gpu in &adapters() {
        let x = Tensor::from_slice(gpu, [2, 33, 24], &Data::new(3).normal(2 * 33 * 24, 1.0));
        let x = x
            .unwrap()
            .with_grad(Tensor::zeros(gpu, [2, 33, 24]).unwrap());
        let state = StepState::new(gpu, 1).unwrap();
        let run = |tape: Tape, dropout| {
            let options = AttentionOptions {
                dropout,
                ..AttentionOptions::new(2)
            };
            let out = ops::attention_packed(&tape, &x, None, &options).unwrap();
            out.to_vec::<f32>().unwrap()
        };
        let trained = run(Tape::training(gpu, state.tensor()), 0.0);
        let inferred = run(Tape::inference(gpu), 0.5);
        assert_same_bits("inference", &trained, &inferred);
    }
}

/// 8,192 keys: every loop reaches its end, though a software adapter leaves long ones early. With
/// q = 0 all weights are 1 / T, and the expected numbers are sums over k and v.
#[test]
fn long_sequences_are_seen_to_their_end() {
    let device = unchecked();
    for (name, gpu, width) in [
        ("", device.clone(), 64),
        ("portable ", device.portable(), 32),
    ] {
        let t = 8192;
        let mut data = Data::new(5);
        let (k, v) = (data.normal(t * width, 1.0), data.normal(t * width, 1.0));
        let upload = |values: &[f32]| {
            let grad = Tensor::zeros(&gpu, [1, t, width]).unwrap();
            let tensor = Tensor::from_slice(&gpu, [1, t, width], values).unwrap();
            tensor.with_grad(grad)
        };
        let inputs = [upload(&vec![0.0; t * width]), upload(&k), upload(&v)];
        let state = StepState::new(&gpu, 1).unwrap();
        let tape = Tape::training(&gpu, state.tensor());
        let options = AttentionOptions {
            scale: Some(1.0),
            ..AttentionOptions::new(1)
        };
        let out = ops::attention(&tape, &inputs[0], &inputs[1], &inputs[2], None, &options);
        let out = out.unwrap();
        let mean = |x: &[f32], d: usize| {
            x.chunks(width).map(|row| f64::from(row[d])).sum::<f64>() / t as f64
        };
        let repeated = |row: Vec<f64>| vec![row; t].concat();
        let want = repeated((0..width).map(|d| mean(&v, d)).collect());
        let got = out.to_vec::<f32>().unwrap();
        let loose = tolerance::LONG_MEAN;
        assert_near(&format!("{name}mean of the values"), &got, &want, loose);
        let loss = ops::sum_all(&tape, &out).unwrap();
        tape.backward(&loss).unwrap();
        // dp[s] is the sum of v[s], delta their mean.
        let sums: Vec<f64> = v
            .chunks(width)
            .map(|r| r.iter().map(|v| f64::from(*v)).sum())
            .collect();
        let delta = sums.iter().sum::<f64>() / t as f64;
        let dq = (0..width).map(|d| {
            let terms = sums.iter().zip(k.chunks(width));
            terms
                .map(|(dp, k)| (dp - delta) * f64::from(k[d]))
                .sum::<f64>()
                / t as f64
        });
        let want = [
            repeated(dq.collect()),
            vec![0.0; t * width],
            vec![1.0; t * width],
        ];
        for ((input, want), which) in inputs.iter().zip(&want).zip(["dq", "dk", "dv"]) {
            let got = input.grad().unwrap().to_vec::<f32>().unwrap();
            assert_near(&format!("{name}{which}"), &got, want, loose);
        }
        let longer = Tensor::empty(&gpu, [1, 1 << 20, 4], DType::F32).unwrap();
        let longer = ops::attention(
            &Tape::inference(&gpu),
            &longer,
            &longer,
            &longer,
            None,
            &options,
        );
        if gpu.caps().is_cpu {
            let error = longer.unwrap_err().to_string();
            assert!(error.contains("loops over up to"), "{error}");
        }
    }
}

/// Heads of queries that share one of keys, windows, and bounded scores.
#[test]
fn shared_keys_windows_and_caps() {
    for (layout, [t, heads, kv_heads, width], window, softcap) in [
        (Layout::Packed, [63, 6, 2, 8], None, None),
        (Layout::Separate, [65, 4, 1, 12], Some(1), None),
        (Layout::Packed, [123, 3, 3, 5], Some(33), Some(2.0)),
        (Layout::Separate, [257, 2, 1, 32], Some(64), Some(30.0)),
        (Layout::Separate, [37, 8, 4, 64], Some(500), None),
        (Layout::Packed, [9, 2, 1, 160], Some(3), Some(5.0)),
    ] {
        let mut shape = Attention::new(2, t, heads, width);
        shape.kv_heads = kv_heads;
        shape.causal = true;
        shape.window = window;
        shape.softcap = softcap;
        shape.lens = (t % 2 == 1).then(|| vec![t as u32, (t as u32).div_ceil(3)]);
        proven(&shape, layout, 0.0);
        proven(&shape, layout, 0.25);
    }
}

/// Of a cache: queries are the last of the keys.
#[test]
fn windows_over_a_cache() {
    for (t, s, window) in [(1, 40, 7), (5, 70, 33), (3, 9, 2)] {
        let mut shape = Attention::new(2, t, 4, 16);
        shape.kv_heads = 2;
        shape.keys = s;
        shape.causal = true;
        shape.window = Some(window);
        shape.lens = Some(vec![s as u32, (s as u32).div_ceil(2)]);
        proven(&shape, Layout::Separate, 0.0);
    }
}
