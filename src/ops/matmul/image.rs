//! Operands of a product as images: which can be, and the lines that are copied.

use super::sizes::{Gathered, Layout, Sizes};
use crate::device::{ImageLimits, LINE_BYTES, Lines};

/// Values of a texel.
const TEXEL: u32 = 4;
/// Most lines of a layer: as many as an image of lavapipe's has. A vocabulary has more.
const LINES: u32 = 1 << 14;

/// One operand as an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ImageOperand {
    pub lines: Lines,
    /// Layers from one batch to the next; 0 shares the operand.
    pub layers: u32,
}

/// A and B of `p`, if their lines can be copied; else which one's cannot.
pub(super) fn operands(p: &Sizes) -> Result<[ImageOperand; 2], &'static str> {
    // Of a gathered operand the pixels are the lines: along k in A, across it in B.
    let pixels = |g: Gathered| match g.is_a {
        true => (g.pixels, g.channels, [g.channels, 1]),
        false => (g.channels, g.pixels, [1, g.channels]),
    };
    let of = |is_a: bool, extent: u32, layout: Layout, half: bool| {
        let Some(g) = p.gathered.filter(|g| g.is_a == is_a) else {
            return operand(extent, p.k, layout, p.batch, half);
        };
        let (extent, k, [line, step]) = pixels(g);
        let layout = Layout {
            extent: line,
            k: step,
            batch: 0,
        };
        operand(extent, k, layout, 1, half)
    };
    let a = of(true, p.m, p.a, p.half[0]).ok_or("A")?;
    let b = of(false, p.n, p.b, p.half[1]).ok_or("B")?;
    // Steps of k go by fours. Beyond k panels have zeros, but lines anything.
    match [a, b].iter().find(|o| !o.lines.panels) {
        Some(_) if !p.k.is_multiple_of(TEXEL) => Err(if a.lines.panels { "B" } else { "A" }),
        _ => Ok([a, b]),
    }
}

fn operand(extent: u32, k: u32, layout: Layout, batch: u32, half: bool) -> Option<ImageOperand> {
    // Lines across k go into panels, so that 64 floats of all of them lie together.
    let (panels, stride, count, length) = match layout {
        Layout {
            extent: 1, k: line, ..
        } => (true, line, k, extent),
        Layout {
            extent: line, k: 1, ..
        } => (false, line, extent, k),
        _ => return None,
    };
    let whole = LINE_BYTES / if half { 2 } else { 4 };
    // The least number of lines that are whole copies apart, and of layers that hold all lines.
    let copied = whole >> stride.trailing_zeros().min(whole.trailing_zeros());
    let fold = copied.max(count.div_ceil(LINES).next_power_of_two());
    // Batches follow each other without gaps.
    let apart = u64::from(layout.batch);
    let suits = stride.is_multiple_of(TEXEL)
        && length <= stride
        && (apart == 0 || apart == u64::from(count) * u64::from(stride));
    let lines = Lines {
        batch: if apart == 0 { 1 } else { batch },
        count,
        texels: length.div_ceil(TEXEL),
        stride: stride / TEXEL,
        fold,
        panels,
        half,
    };
    suits.then_some(ImageOperand {
        lines,
        layers: if apart == 0 { 0 } else { lines.layers() },
    })
}

/// Whether both operands can be images.
pub(crate) fn suits(p: &Sizes, most: ImageLimits) -> bool {
    operands(p).is_ok_and(|both| both.iter().all(|o| o.lines.fit(most)))
}

/// Operations a second of one core by rows an invocation, on lavapipe: a step of k takes one fetch
/// for each eight rows and eight more for B.
const RATES: [(u32, f64); 4] = [(8, 19e9), (16, 25e9), (32, 31e9), (40, 32e9)];

/// Rows an invocation, `most` at most, that are fastest for `m` in all.
pub(crate) fn rows(m: u32, most: u32) -> u32 {
    let time = |&(rows, rate): &(u32, f64)| f64::from(m.next_multiple_of(rows)) / rate;
    let able = RATES.iter().filter(|&&(rows, _)| rows <= most);
    let best = able.min_by(|x, y| time(x).total_cmp(&time(y)));
    best.map_or(RATES[0].0, |&(rows, _)| rows)
}

/// Operations a second of one core with so many rows.
pub(super) fn rate(rows: u32) -> f64 {
    let found = RATES.iter().find(|(r, _)| *r == rows);
    found.map_or(RATES[0].1, |&(_, rate)| rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: ImageLimits = ImageLimits {
        side: 1 << 14,
        layers: 1 << 11,
    };

    #[test]
    fn lines_along_k_stay_and_those_across_it_become_panels() {
        let product = Sizes::new(100, 64, 128, false, true);
        let [a, b] = operands(&product).expect("images");
        let sizes = |o: ImageOperand| (o.lines.count, o.lines.texels, o.lines.panels, o.layers);
        assert_eq!(sizes(a), (100, 32, false, 0));
        assert_eq!(sizes(b), (64, 32, false, 0));
        let back = Sizes::new(128, 64, 100, true, false).batched(3);
        let [a, b] = operands(&back).expect("images");
        assert_eq!(sizes(a), (100, 32, true, 2));
        assert_eq!(sizes(b), (100, 16, true, 1));
        assert_eq!((a.lines.batch, a.lines.stride), (3, 32));
    }

    #[test]
    fn what_no_copy_makes_an_image_of_is_none() {
        let suits = |m, n, k| super::suits(&Sizes::new(m, n, k, false, false), MOST);
        assert!(suits(3, 64, 128));
        assert!(!suits(3, 66, 128), "lines of B of 264 bytes");
        assert!(!suits(3, 64, 30), "lines of A of 120 bytes");
        assert!(!suits(1 << 26, 64, 64), "more lines than an image has");
        let odd = |trans_b| Sizes::new(64, 64, 30, true, trans_b);
        assert!(super::suits(&odd(false), MOST));
        assert!(!super::suits(&odd(true), MOST), "lines of B of 120 bytes");
    }

    #[test]
    fn lines_that_are_no_whole_copies_take_turns() {
        let folds = |half, width| {
            let product = Sizes {
                half: [half; 2],
                ..Sizes::new(3, width, 128, false, false)
            };
            operands(&product).expect("images").map(|o| o.lines.fold)
        };
        assert_eq!(folds(false, 64), [1, 1]);
        assert_eq!(folds(true, 64), [1, 2]);
        assert_eq!(folds(false, 96), [1, 2]);
        assert_eq!(folds(false, 300), [1, 16]);
        assert_eq!(folds(true, 300), [1, 32]);
    }

    #[test]
    fn lines_that_one_layer_does_not_hold_take_turns() {
        let folds = |k, trans_b| {
            let product = Sizes::new(64, 49_152, k, false, trans_b);
            operands(&product).expect("images").map(|o| o.lines.fold)
        };
        assert_eq!(folds(576, true), [1, 4]);
        assert_eq!(folds(576, false), [1, 1]);
        assert_eq!(folds(16_388, false), [16, 2]);
    }

    #[test]
    fn rows_pad_little() {
        assert_eq!(
            [1, 8, 9, 32, 64, 128, 480, 2048].map(|m| rows(m, 40)),
            [8, 8, 16, 32, 32, 32, 40, 40]
        );
        assert_eq!([9, 2048].map(|m| rows(m, 32)), [16, 32]);
    }
}
