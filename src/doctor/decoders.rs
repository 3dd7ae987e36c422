//! What the doctor tries of the operators that today's decoders are made of.

use super::evidence::Evidence;
use super::operators::attention::{Attend, Layout};
use super::operators::norm::{self, Rms, Used};
use super::operators::packed::{PackedLinear, PackedRows};
use super::operators::rotary::{Gated, Rotary};
use super::proof::{input, prove};
use crate::blocks::BlockType;
use crate::device::Gpu;
use crate::error::Result;
use crate::ops::Gate;
use crate::reference::Data;
use crate::reference::attention::Attention;

pub(super) fn rms_norms(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for dims in [[65, 63], [3, 257], [9, 260]] {
        for (residual, offset) in [(None, 1.0), (Some(Used::Both), 0.0)] {
            let mut inputs = norm::inputs(&mut Data::new(dims[1] as u64), &dims, 2);
            // No beta, and a residual only where there is one.
            inputs.remove(1);
            inputs.truncate(2 + usize::from(residual.is_some()));
            let op = Rms {
                residual,
                offset,
                eps: 1e-5,
            };
            all.push(prove(&op, gpu, &inputs)?);
        }
    }
    Ok(all)
}

pub(super) fn packed(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for kind in BlockType::PACKED {
        let mut data = Data::new(7);
        let op = PackedLinear::new(gpu, &mut data, kind, [9, 70, 512])?;
        let x = input(&[9, 512], data.normal(9 * 512, 1.0));
        all.push(prove(&op, gpu, &[x])?);
        let op = PackedRows::new(gpu, &mut data, kind, [33, 13, 256])?;
        let x = input(&[33, 256], data.normal(33 * 256, 1.0));
        all.push(prove(&op, gpu, &[x])?);
    }
    // More rows than are made plain at a time.
    let mut data = Data::new(8);
    let op = PackedLinear::new(gpu, &mut data, BlockType::Q4_1, [3, 1300, 1024])?;
    let x = input(&[3, 1024], data.normal(3 * 1024, 1.0));
    all.push(prove(&op, gpu, &[x])?);
    Ok(all)
}

pub(super) fn rotary(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for (sizes, pairs, placed) in [([2, 37, 3, 16], 8, true), ([3, 9, 2, 10], 3, false)] {
        let mut data = Data::new(pairs as u64);
        let op = Rotary::new(gpu, &mut data, sizes, pairs, placed)?;
        let [batch, steps, heads, width] = sizes;
        let dims = [batch, steps, heads * width];
        let x = data.normal(dims.iter().product(), 2.0);
        all.push(prove(&op, gpu, &[input(&dims, x)])?);
    }
    for f in [Gate::Silu, Gate::GeluTanh, Gate::Gelu] {
        for n in [63, 260] {
            let mut data = Data::new(n as u64);
            let pair = [1.5, 1.0].map(|s| input(&[n], data.peaked(n, s, 10.0)));
            all.push(prove(&Gated(f), gpu, &pair)?);
        }
    }
    Ok(all)
}

/// Attention whose keys several heads share, over windows, with bounded scores, of several sequences a row.
pub(super) fn shared_keys(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for (layout, [t, heads, kv_heads, width], window, softcap) in [
        (Layout::Packed, [65, 6, 2, 16], None, None),
        (Layout::Separate, [123, 4, 1, 32], Some(19), Some(3.0)),
        (Layout::Packed, [37, 2, 2, 5], Some(64), None),
        (Layout::Separate, [70, 2, 1, 80], Some(33), Some(30.0)),
    ] {
        let shape = Attention {
            kv_heads,
            causal: true,
            window,
            softcap,
            lens: (t > 100).then(|| vec![t as u32, 19]),
            // In the last, three sequences a row.
            starts: (t == 70).then(|| (0..2 * t as u32).map(|i| i % 70 / 32 * 32).collect()),
            ..Attention::new(2, t, heads, width)
        };
        let mut op = Attend::new(gpu, shape, 0.0)?;
        op.layout = layout;
        let inputs = op.inputs(|data, n| data.peaked(n, 1.0, 4.0));
        all.push(prove(&op, gpu, &inputs)?);
    }
    Ok(all)
}
