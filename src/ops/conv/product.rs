//! Convolutions without groups, as products of matrices one of which is never stored: the kernels of the
//! product compute where in the pictures each of its numbers lies.
//!
//! Forward: rows of A are windows of x, B holds the weights. The gradient of x: rows of A are what of dy
//! reaches a pixel. The gradient of w: rows of B are windows of x, A is dy transposed; long sums are made in
//! parts.

use super::form::{Conv, ConvForm, Way};
use crate::device::Gpu;
use crate::error::Result;
use crate::ops::layout::{CopyParams, copy_strided};
use crate::ops::matmul::{
    self, Candidate, Gathered, Layout, Sizes, gathered, image_rows, image_rows_for, max_k,
    suits_images,
};
use crate::ops::reduce::sum_columns;
use crate::ops::window::Picture;
use crate::tensor::{DType, Tensor};

/// Operations below which compiling a kernel of images takes longer than it saves.
const LEAST_WORK: u64 = 1 << 23;
/// Tiles of 64 by 64 that fill most devices.
const FULL: usize = 128;
/// Parts of a sum are multiples of this, so that any number of them falls on every adapter's alignment.
const UNIT: usize = 128;
/// Shorter parts than this cost more to add up than they gain.
const SHORTEST: usize = 256;

/// The kernel of a product: what is asked for, else what suits the adapter.
fn candidate(gpu: &Gpu, sizes: &Sizes, form: Option<ConvForm>) -> Result<Candidate> {
    let caps = gpu.caps();
    let rows = match form {
        Some(ConvForm::Image) => Some(32),
        Some(_) => None,
        None => image_rows(gpu)?,
    };
    let work = [sizes.m, sizes.n, sizes.k].map(u64::from);
    let large = work.iter().product::<u64>() >= LEAST_WORK || form.is_some();
    let rows = rows.filter(|_| large && suits_images(sizes, caps.image_limits()));
    if let Some(most) = rows {
        return Ok(Candidate::Image {
            rows: image_rows_for(sizes.m, most),
        });
    }
    let count = |by: u32| u64::from(sizes.m.div_ceil(by)) * u64::from(sizes.n.div_ceil(by));
    let limits = &caps.limits;
    let fits = limits.max_compute_invocations_per_workgroup >= 256
        && limits.max_compute_workgroup_storage_size >= 264 * 32;
    let side = if !caps.is_cpu && fits && count(128) >= 128 {
        128
    } else {
        64
    };
    Ok(Candidate::Tile { bm: side, bn: side })
}

/// Whether channels should come in fours: where images may be read, whose texels have so many numbers.
fn wants_fours(gpu: &Gpu, form: Option<ConvForm>) -> Result<bool> {
    Ok(match form {
        Some(form) => form == ConvForm::Image,
        None => matmul::reads_images(gpu)?,
    })
}

/// Lines of `channels` as lines of `wide`, zeros behind each.
fn widened(x: &Tensor, channels: usize, wide: usize) -> Result<Tensor> {
    if channels == wide {
        return Ok(x.clone());
    }
    let lines = x.len() / channels;
    let y = Tensor::empty(x.gpu(), [lines, wide], x.dtype())?;
    y.clear();
    let params = between([lines, channels], [channels, wide], 0);
    copy_strided(x.gpu(), x, &y, &params)?;
    Ok(y)
}

/// A copy of lines of so many numbers, from one distance to another.
fn between([lines, numbers]: [usize; 2], [from, to]: [usize; 2], accumulate: u32) -> CopyParams {
    CopyParams {
        shape: [1, 1, lines as u32, numbers as u32],
        stride_x: [0, 0, from as u32, 1],
        stride_y: [0, 0, to as u32, 1],
        n: (lines * numbers) as u32,
        offset_x: 0,
        offset_y: 0,
        accumulate,
    }
}

/// Queues what goes from `x` through `w` to `y`, or back.
pub(super) fn apply(
    conv: &Conv,
    way: Way,
    [x, w, y]: [&Tensor; 3],
    bias: Option<&Tensor>,
    accumulate: bool,
) -> Result<()> {
    let gpu = y.gpu();
    let [inner, outer] = conv.channels(way);
    let fours = wants_fours(gpu, conv.form)?;
    let up = |n: usize| if fours { n.next_multiple_of(4) } else { n };
    let (wide, line) = (up(inner), up(outer));
    let x = widened(x, inner, wide)?;
    let Conv {
        window,
        rows,
        pixels,
        ..
    } = conv;
    if way == Way::Forward {
        let w = widened(w, inner, wide)?;
        let lines = Layout {
            extent: (conv.taps * wide) as u32,
            k: 1,
            batch: 0,
        };
        let picture = conv.picture(way).with_channels(wide);
        let sizes = [*rows, outer, conv.taps * wide, *pixels];
        return windows(
            conv,
            sizes,
            [&x, &w, y],
            lines,
            (&picture, bias, accumulate),
        );
    }
    let lines = Layout {
        extent: 1,
        k: line as u32,
        batch: 0,
    };
    if window.stride == [1; 2] || window.dilation != [1; 2] {
        let w = turned(conv, w, [wide, line], [0; 2], window.kernel, [1; 2])?;
        let picture = conv.picture(way).with_channels(wide);
        let sizes = [*pixels, outer, conv.taps * wide, *rows];
        return windows(
            conv,
            sizes,
            [&x, &w, y],
            lines,
            (&picture, None, accumulate),
        );
    }
    // Of a stride the pixels fall into classes, each a product of its own taps.
    if !accumulate {
        y.clear();
    }
    let [down, across] = window.stride;
    let count = pixels / (conv.size[0] * conv.size[1]);
    for class in (0..down).flat_map(|r| (0..across).map(move |c| [r, c])) {
        let Some(of) = conv.picture(Way::Forward).class(window, class, wide) else {
            continue;
        };
        let w = turned(conv, w, [wide, line], of.first, of.taps, window.stride)?;
        let m = count * of.size[0] * of.size[1];
        let k = of.taps[0] * of.taps[1] * wide;
        let part = Tensor::empty(gpu, [m, outer], y.dtype())?;
        windows(
            conv,
            [m, outer, k, *rows],
            [&x, &w, &part],
            lines,
            (&of.picture, None, false),
        )?;
        let [height, width] = conv.size;
        let sizes = [count, of.size[0], of.size[1], outer].map(|v| v as u32);
        let strides =
            |area: usize, line: usize, pixel: usize| [area, line, pixel, 1].map(|v| v as u32);
        let line = width * outer;
        let params = CopyParams {
            shape: sizes,
            stride_x: strides(of.size[0] * of.size[1] * outer, of.size[1] * outer, outer),
            stride_y: strides(height * line, down * line, across * outer),
            n: part.len() as u32,
            offset_x: 0,
            offset_y: (class[0] * line + class[1] * outer) as u32,
            accumulate: u32::from(accumulate),
        };
        copy_strided(gpu, &part, y, &params)?;
    }
    Ok(())
}

/// Queues C (m, n) = windows of the `pixels` of `a` · B, k taps and channels.
fn windows(
    conv: &Conv,
    [m, n, k, pixels]: [usize; 4],
    [a, b, c]: [&Tensor; 3],
    lines: Layout,
    (picture, bias, accumulate): (&Picture, Option<&Tensor>, bool),
) -> Result<()> {
    let gpu = c.gpu();
    let channels = a.len() / pixels;
    let sizes = Sizes {
        a: Layout {
            extent: channels as u32,
            k: 1,
            batch: 0,
        },
        b: lines,
        accumulate,
        has_bias: bias.is_some(),
        half: [a.is_half(), b.is_half()],
        half_c: c.is_half(),
        gathered: Some(Gathered {
            is_a: true,
            pixels: pixels as u32,
            channels: channels as u32,
        }),
        ..Sizes::new(m as u32, n as u32, k as u32, false, false)
    };
    let form = candidate(gpu, &sizes, conv.form)?;
    // Parts of the rows, so that no dispatch is longer than a system allows.
    let part = most_rows(gpu, &sizes);
    for first in (0..m).step_by(part) {
        let rows = part.min(m - first);
        let c = c.window(first * n, [rows * n])?;
        let sizes = Sizes {
            m: rows as u32,
            ..sizes
        };
        let picture = picture.from(first).tensor(gpu)?;
        gathered(&sizes, [a, b, &c], bias, &picture, form)?;
    }
    Ok(())
}

/// Rows of C to be made at once: whole alignments of any size of line.
fn most_rows(gpu: &Gpu, sizes: &Sizes) -> usize {
    let Some(most) = gpu.most_of_dispatch() else {
        return sizes.m as usize;
    };
    let rows = (most / (2.0 * f64::from(sizes.n) * f64::from(sizes.k))) as usize;
    (rows / UNIT).max(1) * UNIT
}

/// Some taps of w (O, kernel, I), so many from `first` on by a stride, as (taps, `wide` ≥ O, `line` ≥ I), zeros
/// where there is nothing.
fn turned(
    conv: &Conv,
    w: &Tensor,
    [wide, line]: [usize; 2],
    first: [usize; 2],
    taps: [usize; 2],
    by: [usize; 2],
) -> Result<Tensor> {
    let (outputs, inputs) = (conv.outputs, conv.inputs);
    let across = conv.window.kernel[1];
    let y = Tensor::empty(w.gpu(), [taps[0] * taps[1] * wide, line], w.dtype())?;
    if [wide, line] != [outputs, inputs] {
        y.clear();
    }
    let four = |sizes: [usize; 4]| sizes.map(|v| v as u32);
    let params = CopyParams {
        shape: four([taps[0], taps[1], outputs, inputs]),
        stride_x: four([
            by[0] * across * inputs,
            by[1] * inputs,
            conv.taps * inputs,
            1,
        ]),
        stride_y: four([taps[1] * wide * line, wide * line, line, 1]),
        n: (taps[0] * taps[1] * outputs * inputs) as u32,
        offset_x: ((first[0] * across + first[1]) * inputs) as u32,
        offset_y: 0,
        accumulate: 0,
    };
    copy_strided(w.gpu(), w, &y, &params)?;
    Ok(y)
}

/// Queues the gradient of the weights, from x and dy.
pub(super) fn weights(conv: &Conv, [x, dy, dw]: [&Tensor; 3], accumulate: bool) -> Result<()> {
    let gpu = dw.gpu();
    let fours = wants_fours(gpu, conv.form)?;
    let up = |n: usize| if fours { n.next_multiple_of(4) } else { n };
    let (wide, lines) = (up(conv.inputs), up(conv.outputs));
    let x = widened(x, conv.inputs, wide)?;
    let dy = widened(dy, conv.outputs, lines)?;
    let (m, n) = (conv.outputs, conv.taps * wide);
    let whole = Sizes {
        a: Layout {
            extent: 1,
            k: lines as u32,
            batch: 0,
        },
        b: Layout {
            extent: 1,
            k: wide as u32,
            batch: 0,
        },
        half: [dy.is_half(), x.is_half()],
        gathered: Some(Gathered {
            is_a: false,
            pixels: conv.pixels as u32,
            channels: wide as u32,
        }),
        ..Sizes::new(m as u32, n as u32, conv.rows as u32, true, false)
    };
    let form = candidate(gpu, &whole, conv.form)?;
    // As wide as the sums are made; where channels were added, what is wanted of them is copied.
    let sums = match wide == conv.inputs {
        true => dw.reshaped([m * n])?,
        false => Tensor::empty(gpu, [m * n], DType::F32)?,
    };
    let adds = accumulate && wide == conv.inputs;
    let picture = conv.picture(Way::Forward).with_channels(wide);
    // Queues rows `first` and on of dy and windows, so many in each of `batch` products.
    let part = |c: &Tensor, first: usize, k: usize, batch: usize, accumulate: bool| {
        let sizes = Sizes {
            k: k as u32,
            batch: batch as u32,
            a: Layout {
                batch: (k * lines) as u32,
                ..whole.a
            },
            b: Layout {
                batch: k as u32,
                ..whole.b
            },
            c_batch: (m * n) as u32,
            accumulate,
            ..whole
        };
        let sizes = match batch {
            1 => Sizes {
                a: whole.a,
                b: whole.b,
                c_batch: 0,
                ..sizes
            },
            _ => sizes,
        };
        let dy = dy.window(first * lines, [batch * k * lines])?;
        let picture = picture.from(first).tensor(gpu)?;
        gathered(&sizes, [&dy, &x, c], None, &picture, form)
    };
    // Parts begin where every adapter's alignment does.
    let most = max_k(gpu) as usize / UNIT * UNIT;
    let tiles = m.div_ceil(64) * n.div_ceil(64);
    let parts = match gpu.caps().is_cpu {
        true => 1,
        false => (FULL / tiles).min(conv.rows / SHORTEST).max(1),
    };
    let k = conv.rows.div_ceil(parts).next_multiple_of(UNIT).min(most);
    let together = if parts > 1 { conv.rows / k } else { 0 };
    if together > 0 {
        let partial = Tensor::empty(gpu, [together, m * n], DType::F32)?;
        part(&partial, 0, k, together, false)?;
        sum_columns(&partial, &sums, adds)?;
    }
    for first in (together * k..conv.rows).step_by(k) {
        let k = k.min(conv.rows - first);
        part(&sums, first, k, 1, adds || first > 0)?;
    }
    if wide == conv.inputs {
        return Ok(());
    }
    let params = between(
        [m * conv.taps, conv.inputs],
        [wide, conv.inputs],
        u32::from(accumulate),
    );
    copy_strided(gpu, &sums, &dw.reshaped([dw.len()])?, &params)
}
