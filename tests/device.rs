//! The device layer: memory, recording and replay, reading back, profiles.

mod common;

use common::gpu;
use melos::device::{Gpu, Profile, Timing};
use melos::ops::matmul::{Candidate, Product, product_as};
use melos::ops::{self, AttentionOptions, LstmOptions, LstmWeights};
use melos::optim::StepState;
use melos::tensor::{DType, Tape, Tensor};

#[test]
fn values_survive_the_round_trip() {
    let gpu = gpu();
    let floats: Vec<f32> = (0..1001).map(|i| i as f32 * 0.5 - 3.0).collect();
    let words: Vec<u32> = (0..77).map(|i| i * 0x0123_4567).collect();
    let a = Tensor::from_slice(&gpu, [7, 143], &floats).unwrap();
    let b = Tensor::from_slice(&gpu, [77], &words).unwrap();
    assert_eq!(a.to_vec::<f32>().unwrap(), floats);
    assert_eq!(b.to_vec::<u32>().unwrap(), words);
}

#[test]
fn a_host_write_does_not_overtake_queued_commands() {
    let gpu = gpu();
    let a = Tensor::from_slice(&gpu, [64], &[1.0f32; 64]).unwrap();
    let b = Tensor::empty(&gpu, [64], DType::F32).unwrap();
    b.copy_from(&a).unwrap();
    a.write(&[2.0f32; 64]).unwrap();
    assert_eq!(b.to_vec::<f32>().unwrap(), [1.0; 64]);
}

#[test]
fn a_recording_runs_only_when_replayed_and_keeps_its_memory() {
    let gpu = gpu();
    let input = Tensor::from_slice(&gpu, [300], &[1.0f32; 300]).unwrap();
    let (recording, out) = gpu
        .record(|| {
            let scratch = Tensor::empty(&gpu, [300], DType::F32)?;
            scratch.copy_from(&input)?;
            let out = Tensor::empty(&gpu, [300], DType::F32)?;
            out.copy_from(&scratch)?;
            Ok(out)
        })
        .unwrap();
    assert_eq!(recording.len(), 2);
    input.write(&[5.0f32; 300]).unwrap();
    // Eager memory allocated after the recording must not be the recording's.
    let bystander = Tensor::from_slice(&gpu, [300], &[9.0f32; 300]).unwrap();
    gpu.replay(&recording).unwrap();
    assert_eq!(out.to_vec::<f32>().unwrap(), [5.0; 300]);
    assert_eq!(bystander.to_vec::<f32>().unwrap(), [9.0; 300]);
}

#[test]
fn an_input_that_its_owner_drops_stays_with_the_recording() {
    let gpu = gpu();
    let input = Tensor::from_slice(&gpu, [128], &[3.0f32; 128]).unwrap();
    let (recording, out) = gpu
        .record(|| {
            let out = Tensor::empty(&gpu, [128], DType::F32)?;
            out.copy_from(&input)?;
            Ok(out)
        })
        .unwrap();
    drop(input);
    let other = Tensor::from_slice(&gpu, [128], &[4.0f32; 128]).unwrap();
    gpu.replay(&recording).unwrap();
    assert_eq!(out.to_vec::<f32>().unwrap(), [3.0; 128]);
    drop(other);
}

#[test]
fn memory_stays_flat_over_many_replays_and_eager_steps() {
    let gpu = gpu();
    let input = Tensor::from_slice(&gpu, [5000], &[1.0f32; 5000]).unwrap();
    let step = || {
        let a = Tensor::empty(&gpu, [5000], DType::F32)?;
        a.copy_from(&input)?;
        a.fill(2.0)?;
        Ok(())
    };
    let (recording, ()) = gpu.record(step).unwrap();
    step().unwrap();
    gpu.wait().unwrap();
    let before = gpu.memory();
    for _ in 0..200 {
        gpu.replay(&recording).unwrap();
        step().unwrap();
    }
    gpu.wait().unwrap();
    assert_eq!(gpu.memory(), before);
}

#[test]
fn reading_back_does_not_block() {
    let gpu = gpu();
    let a = Tensor::from_slice(&gpu, [4], &[1.0f32, 2.0, 3.0, 4.0]).unwrap();
    let readback = a.read().unwrap();
    gpu.wait().unwrap();
    let values = loop {
        if let Some(values) = readback.try_get::<f32>().unwrap() {
            break values;
        }
    };
    assert_eq!(values, [1.0, 2.0, 3.0, 4.0]);
}

/// Three copies and four fills, twice.
fn copies_and_fills(gpu: &Gpu, timing: Timing) -> Profile {
    let input = Tensor::from_slice(gpu, [5000], &[1.0f32; 5000]).unwrap();
    let step = || {
        let a = Tensor::empty(gpu, [5000], DType::F32)?;
        for _ in 0..3 {
            a.copy_from(&input)?;
            a.fill(2.0)?;
        }
        a.fill(3.0)
    };
    let (recording, ()) = gpu.record(step).unwrap();
    let before = gpu.sent();
    let twice = || gpu.replay(&recording).and_then(|()| gpu.replay(&recording));
    let (profile, ()) = gpu.profile_by(timing, twice).unwrap();
    assert_eq!(gpu.sent().commands - before.commands, 14);
    assert_eq!(gpu.sent().submissions - before.submissions, 2);
    profile
}

#[test]
fn commands_are_timed_by_the_device_and_one_by_one() {
    let gpu = gpu();
    let began = std::time::Instant::now();
    for timing in [Timing::Timestamps, Timing::OneByOne] {
        if timing == Timing::Timestamps && !gpu.caps().timestamps {
            continue;
        }
        let profile = copies_and_fills(&gpu, timing);
        assert_eq!(profile.timing, timing);
        let names: Vec<&str> = profile.commands.iter().map(|c| c.name).collect();
        let step = ["copy", "fill", "copy", "fill", "copy", "fill", "fill"];
        assert_eq!(names, [step, step].concat(), "{timing}");
        let mut last_end = 0.0;
        for command in &profile.commands {
            assert!(command.seconds > 0.0, "{timing}: {command:?}");
            // Ends are rounded to the device's ticks.
            assert!(command.start >= last_end - 1e-9, "{timing}: {command:?}");
            last_end = command.start + command.seconds;
        }
        assert!(last_end < began.elapsed().as_secs_f64(), "{timing}");
        let kernels = profile.kernels();
        let fill = kernels.iter().find(|k| k.name == "fill").unwrap();
        assert_eq!(
            (fill.count, fill.counts.bytes),
            (8, Some(8.0 * 4.0 * 5000.0))
        );
        let copy = kernels.iter().find(|k| k.name == "copy").unwrap();
        assert_eq!(
            (copy.count, copy.counts.bytes),
            (6, Some(6.0 * 8.0 * 5000.0))
        );
        let all: f64 = profile.commands.iter().map(|c| c.seconds).sum();
        assert!((fill.seconds + copy.seconds - all).abs() < 1e-12);
    }
}

/// Kernels that `run` runs, with their number and floating-point operations.
fn counted(gpu: &Gpu, run: impl FnOnce() -> melos::Result<()>) -> Vec<(&'static str, usize, f64)> {
    let (profile, ()) = gpu.profile(run).unwrap();
    let kernels = profile.kernels().into_iter();
    kernels
        .filter_map(|k| Some((k.name, k.count, k.counts.flops?)))
        .collect()
}

#[test]
fn the_work_of_products_is_counted_in_every_form() {
    let gpu = gpu();
    let tensor = |shape: [usize; 3]| Tensor::zeros(&gpu, shape).unwrap();
    let (a, b, c) = (tensor([3, 5, 64]), tensor([3, 64, 64]), tensor([3, 5, 64]));
    let mut forms = vec![
        Candidate::Direct { wg: 16 },
        Candidate::Direct { wg: 64 },
        Candidate::Tile { bm: 64, bn: 64 },
    ];
    // They broadcast from eight lanes.
    if gpu.caps().broadcasts() {
        forms.push(Candidate::Subgroup { rows: 8, wg: 16 });
        forms.push(Candidate::Subgroup { rows: 8, wg: 64 });
        forms.push(Candidate::Image { rows: 8 });
    }
    for form in forms {
        let found = counted(&gpu, || product_as(&Product::new(&a, &b, &c), form));
        let [(_, 1, flops)] = found[..] else {
            panic!("{form}: {found:?}");
        };
        assert_eq!(flops, 2.0 * 3.0 * 5.0 * 64.0 * 64.0, "{form}");
    }
}

#[test]
fn the_work_of_lstm_steps_and_attention_is_counted() {
    let gpu = gpu();
    let (steps, batch, inputs, hidden) = (3, 2, 4, 8);
    let zeros = |shape: &[usize]| Tensor::zeros(&gpu, shape).unwrap();
    let lens = Tensor::from_slice(&gpu, [batch], &[3u32, 3]).unwrap();
    let (x, w_ih) = (zeros(&[steps, batch, inputs]), zeros(&[4 * hidden, inputs]));
    let (w_hh, bias) = (zeros(&[4 * hidden, hidden]), zeros(&[4 * hidden]));
    let weights = LstmWeights {
        w_ih: &w_ih,
        w_hh: &w_hh,
        b_ih: &bias,
        b_hh: &bias,
    };
    let tape = Tape::inference(&gpu);
    let found = counted(&gpu, || {
        ops::lstm(&tape, &x, &lens, None, &weights, LstmOptions::default()).map(drop)
    });
    let step = found.iter().find(|k| k.0.starts_with("lstm_step_fwd"));
    let wanted = (8 * steps * batch * hidden * hidden) as f64;
    assert_eq!(step.map(|k| (k.1, k.2)), Some((steps, wanted)));

    let (queries, keys, width) = (5, 7, 8);
    let (q, kv) = (
        zeros(&[batch, queries, width]),
        zeros(&[batch, keys, width]),
    );
    for causal in [false, true] {
        let options = AttentionOptions {
            causal,
            ..AttentionOptions::new(2)
        };
        let found = counted(&gpu, || {
            ops::attention(&tape, &q, &kv, &kv, None, &options).map(drop)
        });
        let all = (4 * batch * queries * keys * width) as f64;
        let [(_, 1, flops)] = found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(flops, if causal { all / 2.0 } else { all });
    }
}

#[test]
fn a_device_has_ceilings() {
    let peak = gpu().peak().unwrap();
    assert!(peak.flops > 1e8 && peak.flops.is_finite(), "{peak:?}");
    assert!(peak.bytes > 1e7 && peak.bytes.is_finite(), "{peak:?}");
}

/// Numbers of both signs, all different in their last bits.
fn numbers(gpu: &Gpu, shape: [usize; 2], half: bool) -> Tensor {
    let value = |i: usize| (i as f32 * 0.618_034).fract() - 0.4;
    let values: Vec<f32> = (0..shape[0] * shape[1]).map(value).collect();
    let values = Tensor::from_slice(gpu, shape, &values).unwrap();
    let tape = Tape::inference(gpu);
    match half {
        true => ops::cast(&tape, &values, DType::F16).unwrap(),
        false => values,
    }
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let values = tensor.to_vec::<f32>().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_long_step_is_sent_in_parts_with_the_same_bits() {
    let gpu = gpu();
    let (x, w) = (
        numbers(&gpu, [70, 40], false),
        numbers(&gpu, [40, 90], false),
    );
    let (recording, y) = gpu
        .record(|| {
            let tape = Tape::inference(&gpu);
            let mut y = ops::matmul(&tape, &x, &w, false, false)?;
            for _ in 0..3 {
                y = ops::unary(&tape, &y, ops::Unary::Tanh)?;
                y = ops::matmul(&tape, &y, &w, false, true)?;
                y = ops::matmul(&tape, &y, &w, false, false)?;
            }
            Ok(y)
        })
        .unwrap();
    let sent = || {
        gpu.wait().unwrap();
        let before = gpu.sent();
        gpu.replay(&recording).unwrap();
        let after = gpu.sent();
        assert_eq!(after.commands - before.commands, recording.len() as u64);
        (after.submissions - before.submissions, bits(&y))
    };
    let (submissions, whole) = sent();
    assert_eq!(submissions, 1);
    // A byte counts as sixteen operations: 1.3 million in a product.
    for (most, parts) in [(1.0, 7..=recording.len() as u64), (6e6, 2..=7)] {
        gpu.limit_work(Some(most));
        let (submissions, same) = sent();
        assert!(parts.contains(&submissions), "{most}: {submissions}");
        assert_eq!(same, whole);
    }
    // A profile sees every command, whatever it is sent with.
    let (profile, ()) = gpu.profile(|| gpu.replay(&recording)).unwrap();
    assert_eq!(profile.commands.len(), recording.len());
    gpu.limit_work(None);
    assert_eq!(sent(), (1, whole));
}

#[test]
fn a_huge_product_is_made_in_rows_with_the_same_bits() {
    let gpu = gpu();
    let (m, n, k) = (600, 37, 45);
    let halves = if gpu.caps().f16 { 2 } else { 1 };
    for case in 0..8 * halves {
        let [trans_a, trans_b, accumulate, half] = [1, 2, 4, 8].map(|bit| case & bit != 0);
        let matrix = |rows, columns, transposed| match transposed {
            true => numbers(&gpu, [columns, rows], half),
            false => numbers(&gpu, [rows, columns], half),
        };
        let (a, b) = (matrix(m, k, trans_a), matrix(k, n, trans_b));
        let bias = Tensor::from_slice(&gpu, [n], &vec![0.25f32; n]).unwrap();
        let make = |form, most| {
            gpu.limit_work(most);
            let c = numbers(&gpu, [m, n], false);
            let (recording, ()) = gpu
                .record(|| {
                    let product = Product {
                        trans_a,
                        trans_b,
                        accumulate,
                        bias: Some(&bias),
                        ..Product::new(&a, &b, &c)
                    };
                    product_as(&product, form)
                })
                .unwrap();
            gpu.replay(&recording).unwrap();
            gpu.limit_work(None);
            (recording.kernel_counts(), bits(&c))
        };
        use Candidate::{Direct, Subgroup, Tile};
        let mut forms = vec![Direct { wg: 16 }, Tile { bm: 64, bn: 64 }];
        if gpu.caps().broadcasts() {
            forms.push(Subgroup { rows: 32, wg: 16 });
        }
        for form in forms {
            let (once, whole) = make(form, None);
            // 256, 256 and 88 rows; then all of them.
            let (thrice, parts) = make(form, Some(1.0));
            assert_eq!(parts, whole, "{form} {case}");
            for (kernel, count) in &once {
                // A packed B serves all parts.
                let wanted = if *count == 2 { 4 } else { 3 };
                assert_eq!(thrice[kernel], wanted, "{form}: {kernel}");
            }
            let (again, _) = make(form, Some(2.0 * (m * n * k) as f64));
            assert_eq!(again, once, "{form}");
        }
    }
}

#[test]
fn a_long_attention_is_made_in_rows_with_the_same_bits() {
    let gpu = gpu();
    let (batch, queries, keys, width) = (2, 75, 70, 16);
    let tensor = |rows| {
        let lines = numbers(&gpu, [batch * rows, width], false);
        lines.reshaped([batch, rows, width]).unwrap()
    };
    let [q, k, v] = [queries, keys, keys].map(tensor);
    let lens = Tensor::from_slice(&gpu, [batch], &[70u32, 41]).unwrap();
    let options = AttentionOptions {
        causal: true,
        dropout: 0.25,
        ..AttentionOptions::new(2)
    };
    let state = StepState::new(&gpu, 9).unwrap();
    let make = |most| {
        gpu.limit_work(most);
        let (recording, results) = gpu
            .record(|| {
                let tape = Tape::training(&gpu, state.tensor());
                for tensor in [&q, &k, &v] {
                    tape.watch(tensor);
                }
                let y = ops::attention(&tape, &q, &k, &v, Some(&lens), &options)?;
                let loss = ops::sum_all(&tape, &ops::mul(&tape, &y, &y)?)?;
                let grads = tape.backward_with_inputs(&loss, &[&q, &k, &v])?;
                let all: Vec<Tensor> = grads.into_iter().flatten().chain([y]).collect();
                assert_eq!(all.len(), 4);
                Ok(all)
            })
            .unwrap();
        gpu.replay(&recording).unwrap();
        gpu.limit_work(None);
        (
            recording.kernel_counts(),
            results.iter().map(bits).collect::<Vec<_>>(),
        )
    };
    let (once, whole) = make(None);
    // 32, 32 and 11 queries, 32, 32 and 6 keys.
    let (thrice, parts) = make(Some(1.0));
    assert_eq!(parts, whole);
    let attention = once
        .iter()
        .filter(|(kernel, _)| kernel.starts_with("attention_"));
    for (kernel, count) in attention.filter(|(kernel, _)| *kernel != "attention_delta") {
        assert_eq!((*count, thrice[kernel]), (1, 3), "{kernel}");
    }
}
