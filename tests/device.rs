//! The device layer: memory, recording and replay, reading back.

mod common;

use common::gpu;
use melos::ops;
use melos::tensor::{DType, Tensor};

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
        ops::fill(&a, 2.0)?;
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
