//! Kernels that no operator of a tape runs.

use super::evidence::{Evidence, Way};
use crate::device::Gpu;
use crate::error::Result;
use crate::ops;
use crate::reference::Data;
use crate::tensor::{DType, Tensor};

/// Runs what `build` queues twice, each time on fresh tensors; the two results.
fn twice(
    evidence: &mut Evidence,
    gpu: &Gpu,
    build: impl Fn() -> Result<Tensor>,
) -> Result<[Vec<f32>; 2]> {
    let mut once = || {
        let (recording, result) = gpu.record(&build)?;
        gpu.replay(&recording)?;
        evidence.ran(Way::Forward, recording.kernels());
        result.to_vec::<f32>()
    };
    Ok([once()?, once()?])
}

pub(super) fn copies(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for len in [1, 257, 4096] {
        let mut evidence = Evidence::of(format!("fill of {len}"));
        let results = twice(&mut evidence, gpu, || {
            let x = Tensor::empty(gpu, [len], DType::F32)?;
            x.fill(-0.375)?;
            Ok(x)
        })?;
        for result in results {
            evidence.same(Way::Forward, "values", &result, &vec![-0.375; len]);
        }
        all.push(evidence);
    }
    // Columns 3..3 + 5 of two rows of three steps, behind what the rows' caches hold; the second is full
    // after one.
    let (rows, steps, row, first, width, capacity) = (2, 3, 11, 3, 5, 7);
    let starts = [2u32, 6];
    let mut data = Data::new(3);
    let (x, held) = (
        data.normal(rows * steps * row, 1.0),
        data.normal(rows * capacity * width, 1.0),
    );
    let mut want = held.clone();
    for b in 0..rows {
        for t in 0..steps {
            let place = starts[b] as usize + t;
            for c in (0..width).filter(|_| place < capacity) {
                want[(b * capacity + place) * width + c] = x[(b * steps + t) * row + first + c];
            }
        }
    }
    let mut evidence = Evidence::of("cache_append");
    let (x, starts) = (
        Tensor::from_slice(gpu, [rows, steps, row], &x)?,
        Tensor::from_slice(gpu, [rows], &starts)?,
    );
    let caches = [0, 1].map(|_| Tensor::from_slice(gpu, [rows, capacity, width], &held));
    for cache in caches {
        let cache = cache?;
        let append = || ops::cache_append(&x, first, &starts, &cache);
        let (recording, ()) = gpu.record(append)?;
        gpu.replay(&recording)?;
        evidence.ran(Way::Forward, recording.kernels());
        evidence.same(Way::Forward, "cache", &cache.to_vec::<f32>()?, &want);
    }
    all.push(evidence);
    Ok(all)
}
