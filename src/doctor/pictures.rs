//! What the doctor tries of operators on pictures.

use super::evidence::Evidence;
use super::operators::pictures::{BatchNorm, Conv, Pool, norm_inputs, pixels, slide};
use super::proof::{half, prove};
use crate::device::Gpu;
use crate::error::Result;
use crate::ops::ConvForm;
use crate::reference::Data;
use crate::reference::conv::Adaptive;

/// Pictures, a window (side, stride, padding, dilation), outputs, groups: below and above what kernels
/// tile by, channels in fours and not, by themselves and in groups.
const CONVOLUTIONS: [([usize; 4], [usize; 4], usize, usize); 8] = [
    ([1, 1, 1, 1], [1, 1, 0, 1], 1, 1),
    ([2, 9, 7, 3], [3, 1, 1, 1], 5, 1),
    ([3, 11, 6, 8], [3, 2, 1, 1], 68, 1),
    ([1, 13, 12, 64], [3, 1, 1, 1], 66, 1),
    ([2, 10, 9, 4], [7, 2, 3, 1], 12, 1),
    ([2, 12, 11, 20], [3, 1, 2, 2], 36, 1),
    ([2, 7, 9, 12], [3, 2, 1, 2], 8, 4),
    ([2, 8, 5, 7], [5, 1, 2, 1], 7, 7),
];

pub(super) fn convolutions(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let prove_one = |(n, (dims, window, outputs, groups)): (usize, _)| {
        let op = Conv {
            slide: slide(dims, window),
            groups,
            form: None,
        };
        prove(&op, gpu, &op.inputs(outputs, n % 2 == 0))
    };
    CONVOLUTIONS
        .into_iter()
        .enumerate()
        .map(prove_one)
        .collect()
}

/// Every form of a convolution without groups that this adapter can run.
pub(super) fn forms(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut forms = vec![ConvForm::Direct];
    forms.extend(gpu.caps().tiles.then_some(ConvForm::Tile));
    forms.extend(gpu.caps().reads_images().then_some(ConvForm::Image));
    let mut all = Vec::new();
    for form in forms {
        for (dims, window, outputs, groups) in CONVOLUTIONS {
            let op = Conv {
                slide: slide(dims, window),
                groups,
                form: Some(form),
            };
            if groups == 1 {
                all.push(prove(&op, gpu, &op.inputs(outputs, true))?);
            }
        }
    }
    Ok(all)
}

/// Pictures and a window of a pool.
const POOLS: [([usize; 4], [usize; 4]); 4] = [
    ([1, 1, 1, 1], [1, 1, 0, 1]),
    ([2, 9, 7, 5], [3, 2, 1, 1]),
    ([3, 8, 8, 64], [2, 2, 0, 1]),
    ([2, 11, 9, 12], [3, 1, 1, 2]),
];

pub(super) fn pools(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for (dims, window) in POOLS {
        let x = [pixels(&mut Data::new(dims[1] as u64), dims)];
        let slide = slide(dims, window);
        all.push(prove(&Pool::Max(slide), gpu, &x)?);
        all.push(prove(&Pool::Mean(slide), gpu, &x)?);
    }
    for (dims, windows) in [
        ([2, 7, 5, 12], [1, 1]),
        ([3, 5, 9, 7], [3, 4]),
        ([1, 3, 2, 8], [7, 6]),
    ] {
        let [n, height, width, c] = dims;
        let op = Pool::Shared(Adaptive {
            n,
            size: [height, width],
            c,
            windows,
        });
        let x = [pixels(&mut Data::new(c as u64), dims)];
        all.push(prove(&op, gpu, &x)?);
    }
    Ok(all)
}

pub(super) fn batch_norms(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for dims in [[1, 2, 1, 1], [3, 5, 7, 13], [2, 33, 9, 64]] {
        for own in [true, false] {
            let mut data = Data::new(dims[3] as u64);
            let op = BatchNorm::new(gpu, &mut data, dims[3], own)?;
            all.push(prove(&op, gpu, &norm_inputs(&mut data, dims))?);
            all.push(op.prove_running(gpu, &pixels(&mut data, dims))?);
        }
    }
    Ok(all)
}

pub(super) fn in_f16(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for (dims, window, outputs, groups) in &CONVOLUTIONS[1..] {
        let op = Conv {
            slide: slide(*dims, *window),
            groups: *groups,
            form: None,
        };
        let mut inputs = op.inputs(*outputs, true);
        inputs[0] = half(inputs[0].clone());
        all.push(prove(&op, gpu, &inputs)?);
    }
    for (dims, window) in &POOLS[1..] {
        let x = [half(pixels(&mut Data::new(dims[1] as u64), *dims))];
        let slide = slide(*dims, *window);
        all.push(prove(&Pool::Max(slide), gpu, &x)?);
        all.push(prove(&Pool::Mean(slide), gpu, &x)?);
    }
    for dims in [[3, 5, 9, 7], [2, 6, 5, 8]] {
        let [n, height, width, c] = dims;
        let op = Pool::Shared(Adaptive {
            n,
            size: [height, width],
            c,
            windows: [3, 2],
        });
        let x = [half(pixels(&mut Data::new(c as u64), dims))];
        all.push(prove(&op, gpu, &x)?);
        for own in [true, false] {
            let mut data = Data::new(c as u64);
            let op = BatchNorm::new(gpu, &mut data, c, own)?;
            let mut inputs = norm_inputs(&mut data, dims);
            inputs[2] = half(inputs[2].clone());
            all.push(prove(&op, gpu, &inputs)?);
        }
    }
    Ok(all)
}
