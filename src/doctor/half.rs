//! What the doctor tries with activations in f16.

use super::evidence::Evidence;
use super::forms::Case;
use super::operators::attention::{Attend, Layout};
use super::operators::dropout::Dropout;
use super::operators::elementwise::{OfOne, OfTwo};
use super::operators::lora::{self, Adapted};
use super::operators::loss::{Loss, OfRows};
use super::operators::norm::{Norm, Rms, Used};
use super::operators::products::Linear;
use super::operators::rotary::{Gated, Rotary};
use super::operators::rows::{HalfRows, Rows};
use super::operators::select::{Pool, Select};

use super::proof::{Input, Rounding, half, input, prove};
use crate::device::Gpu;
use crate::error::Result;
use crate::ops::matmul::Candidate;
use crate::ops::{Binary, Gate, Unary};
use crate::reference::attention::Attention;
use crate::reference::matmul::MatMul;
use crate::reference::{Data, tolerance};

fn normal(data: &mut Data, dims: &[usize]) -> Input {
    input(dims, data.normal(dims.iter().product(), 1.0))
}

pub(super) fn elements(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for n in [63, 260] {
        let x = half(normal(&mut Data::new(n as u64), &[n]));
        all.push(prove(&Dropout(0.5), gpu, &[x])?);
    }
    for f in [Unary::Tanh, Unary::Gelu, Unary::Relu] {
        for n in [65, 260] {
            let x = half(normal(&mut Data::new(n as u64), &[n]));
            all.push(prove(&OfOne(f), gpu, &[x])?);
        }
    }
    for op in [Binary::Add, Binary::Mul] {
        for (a, b) in [(vec![3, 5, 7], vec![5, 7]), (vec![5, 64], vec![5, 64])] {
            let mut data = Data::new(7);
            let (x, y) = (normal(&mut data, &a), normal(&mut data, &b));
            let inputs = [half(x), half(y)];
            all.push(prove(&OfTwo { op, a, b }, gpu, &inputs)?);
        }
    }
    for (residual, p) in [(None, 0.0), (Some(Used::Both), 0.3)] {
        for dims in [[5, 63], [9, 260]] {
            let mut data = Data::new(dims[1] as u64);
            let mut inputs = vec![normal(&mut data, &dims[1..]), normal(&mut data, &dims[1..])];
            let count = 1 + usize::from(residual.is_some());
            inputs.extend((0..count).map(|_| half(normal(&mut data, &dims))));
            let op = Norm {
                residual,
                p,
                eps: 1e-5,
            };
            all.push(match residual {
                // Nothing but its results is rounded.
                None => prove(&op, gpu, &inputs)?,
                // The sum is normalised as it is stored.
                Some(_) => prove(&Rounding(op, tolerance::HALF), gpu, &inputs)?,
            });
        }
    }
    for (residual, width) in [(None, 63), (Some(Used::Both), 260)] {
        let mut data = Data::new(width as u64);
        let mut inputs = vec![normal(&mut data, &[width])];
        let count = 1 + usize::from(residual.is_some());
        inputs.extend((0..count).map(|_| half(normal(&mut data, &[9, width]))));
        let op = Rms {
            residual,
            offset: 1.0,
            eps: 1e-5,
        };
        all.push(match residual {
            None => prove(&op, gpu, &inputs)?,
            Some(_) => prove(&Rounding(op, tolerance::HALF), gpu, &inputs)?,
        });
    }
    for (width, pairs) in [(16, 8), (10, 3)] {
        let mut data = Data::new(width as u64);
        let op = Rotary::new(gpu, &mut data, [2, 7, 3, width], pairs, true)?;
        let x = half(normal(&mut data, &[2, 7, 3 * width]));
        all.push(prove(&op, gpu, &[x])?);
    }
    for (f, n) in [(Gate::Silu, 260), (Gate::GeluTanh, 63)] {
        let mut data = Data::new(n as u64);
        let pair = [0, 1].map(|_| half(normal(&mut data, &[n])));
        all.push(prove(&Gated(f), gpu, &pair)?);
    }
    Ok(all)
}

pub(super) fn rows(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for width in [12, 63] {
        let mut data = Data::new(8);
        let op = HalfRows(Rows::new(gpu, &mut data, [9, 3, 5, width], true)?);
        all.push(prove(&op, gpu, &[normal(&mut data, &[5, width])])?);
        let x = half(normal(&mut data, &[21, width]));
        all.push(prove(&Select::new(gpu, 21, width)?, gpu, &[x])?);
        let op = Pool::new(gpu, vec![9, 0, 4], 7, width)?;
        all.push(prove(&op, gpu, &[half(normal(&mut data, &[3, 7, width]))])?);
    }
    Ok(all)
}

pub(super) fn products(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let caps = gpu.caps();
    let mut forms = vec![Candidate::Direct { wg: 16 }];
    if caps.tiles {
        forms.push(Candidate::Tile { bm: 64, bn: 64 });
    }
    if caps.broadcasts() {
        forms.push(Candidate::Subgroup { rows: 32, wg: 16 });
    }
    if caps.reads_images() {
        forms.push(Candidate::Image { rows: 16 });
    }
    forms.extend(caps.matrix.map(Candidate::Coop));
    let mut all = Vec::new();
    for form in forms {
        let sizes = match form {
            Candidate::Image { .. } => [(128, 60, 256), (36, 20, 44)],
            _ => [(3, 63, 123), (40, 136, 24)],
        };
        for (m, n, k) in sizes {
            for half in [
                [true, true, false],
                [true, false, true],
                [false, true, false],
            ] {
                let mut case = Case::plain(m, n, k).transposed([true, true]);
                (case.accumulate, case.half) = (true, half);
                all.push(case.prove(gpu, form)?);
            }
        }
    }
    Ok(all)
}

pub(super) fn layers(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for (rows, i, o) in [(3, 65, 123), (36, 24, 68)] {
        let mut data = Data::new(rows as u64);
        let mut tensor = |dims: &[usize]| normal(&mut data, dims);
        let inputs = [half(tensor(&[rows, i])), tensor(&[o, i]), tensor(&[o])];
        all.push(prove(&Linear(MatMul::nt(rows, o, i)), gpu, &inputs)?);
        let lora = lora::shape((rows, i, o, 3), rows == 3);
        let mut inputs = lora::inputs(&lora, &mut Data::new(5));
        inputs[0] = half(inputs[0].clone());
        let op = Rounding(Adapted(lora), tolerance::HALF_CHAIN);
        all.push(prove(&op, gpu, &inputs)?);
    }
    let (rows, vocab, width) = (63, 1003, 12);
    let mut data = Data::new(rows as u64);
    let op = Loss::new(gpu, &mut data, rows, vocab)?;
    let mut tensor = |dims: &[usize]| normal(&mut data, dims);
    let inputs = [
        half(tensor(&[rows, width])),
        tensor(&[vocab, width]),
        tensor(&[vocab]),
    ];
    all.push(prove(&op, gpu, &inputs)?);
    all.push(prove(&OfRows(op), gpu, &inputs)?);
    Ok(all)
}

pub(super) fn attention(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for (width, layout, causal, dropout) in [
        (16, Layout::Separate, false, 0.0),
        (12, Layout::Packed, true, 0.25),
        (7, Layout::Packed, false, 0.0),
        (64, Layout::Same, false, 0.0),
    ] {
        let shape = Attention {
            causal,
            lens: Some(vec![37, 3]),
            ..Attention::new(2, 37, 2, width)
        };
        let mut op = Attend::new(gpu, shape, dropout)?;
        op.layout = layout;
        let inputs = op.inputs(|data, n| data.normal(n, 1.0));
        let inputs: Vec<Input> = inputs.into_iter().map(half).collect();
        all.push(prove(&Rounding(op, tolerance::HALF), gpu, &inputs)?);
    }
    Ok(all)
}
