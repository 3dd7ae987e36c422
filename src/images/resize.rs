//! Resizing and cropping, as Pillow does them: what torchvision does to a picture before it is a tensor.
//!
//! Source: Pillow's `Resample.c`, BILINEAR: a triangle as wide as the shrinking, weights in whole numbers
//! of 2⁻²², first along rows, then along columns, each rounded to 8 bits.

use super::pictures::{Picture, View};

/// Bits behind the point of a weight: 8 of a sum are the result's, 2 are spare.
const PRECISION: u32 = 32 - 8 - 2;

/// For each number of the result, where what it is made of begins, and the weights of that.
struct Weights {
    starts: Vec<usize>,
    weights: Vec<Vec<i32>>,
}

impl Weights {
    fn new(from: usize, to: usize) -> Weights {
        let scale = from as f64 / to as f64;
        let wide = scale.max(1.0);
        let mut all = Weights {
            starts: Vec::with_capacity(to),
            weights: Vec::with_capacity(to),
        };
        for at in 0..to {
            let centre = (at as f64 + 0.5) * scale;
            // As C cuts a number off, which is towards zero.
            let first = ((centre - wide + 0.5) as i64).max(0) as usize;
            let last = ((centre + wide + 0.5) as i64).clamp(0, from as i64) as usize;
            let raw = (first..last).map(|x| {
                let distance = (x as f64 - centre + 0.5) / wide;
                (1.0 - distance.abs()).max(0.0)
            });
            let raw: Vec<f64> = raw.collect();
            let sum: f64 = raw.iter().sum();
            let whole = |weight: f64| {
                let share = if sum == 0.0 { weight } else { weight / sum };
                (0.5 + share * f64::from(1u32 << PRECISION)) as i32
            };
            all.starts.push(first);
            all.weights.push(raw.into_iter().map(whole).collect());
        }
        all
    }

    /// The weighted sum of what `of` gives for each number.
    fn sum(&self, at: usize, of: impl Fn(usize) -> u8) -> u8 {
        let start = self.starts[at];
        let sum = self.weights[at]
            .iter()
            .enumerate()
            .fold(1i32 << (PRECISION - 1), |sum, (n, &weight)| {
                sum.wrapping_add(weight.wrapping_mul(i32::from(of(start + n))))
            });
        (sum >> PRECISION).clamp(0, 255) as u8
    }
}

/// The picture at another size, bilinear with antialiasing.
pub fn resize(picture: View<'_>, height: usize, width: usize) -> Picture {
    let channels = picture.channels;
    let mut current = picture.to_picture();
    if current.pixels.is_empty() || height == 0 || width == 0 {
        return Picture {
            height,
            width,
            channels,
            pixels: vec![0; height * width * channels],
        };
    }
    if width != current.width {
        let weights = Weights::new(current.width, width);
        let mut pixels = Vec::with_capacity(current.height * width * channels);
        for row in current.pixels.chunks(current.width * channels) {
            for x in 0..width {
                for c in 0..channels {
                    pixels.push(weights.sum(x, |from| row[from * channels + c]));
                }
            }
        }
        current = Picture {
            width,
            pixels,
            ..current
        };
    }
    if height != current.height {
        let weights = Weights::new(current.height, height);
        let row = width * channels;
        let mut pixels = Vec::with_capacity(height * row);
        for y in 0..height {
            for x in 0..row {
                pixels.push(weights.sum(y, |from| current.pixels[from * row + x]));
            }
        }
        current = Picture {
            height,
            pixels,
            ..current
        };
    }
    current
}

/// A part of a picture: `top` and `left` may lie outside of it, and what is outside is black.
pub fn crop(picture: View<'_>, [top, left]: [isize; 2], [height, width]: [usize; 2]) -> Picture {
    let channels = picture.channels;
    let mut pixels = vec![0; height * width * channels];
    for (y, row) in pixels.chunks_mut((width * channels).max(1)).enumerate() {
        let Some(from) = top
            .checked_add_unsigned(y)
            .and_then(|y| usize::try_from(y).ok())
        else {
            continue;
        };
        if from >= picture.height {
            break;
        }
        // Columns of the part that lie in the picture.
        let first = usize::try_from(-left).unwrap_or(0).min(width);
        let last = picture
            .width
            .checked_add_signed(-left)
            .unwrap_or(0)
            .min(width);
        if first >= last {
            continue;
        }
        let start = (from * picture.width).wrapping_add_signed(left + first as isize) * channels;
        let count = (last - first) * channels;
        row[first * channels..last * channels]
            .copy_from_slice(&picture.pixels[start..start + count]);
    }
    Picture {
        height,
        width,
        channels,
        pixels,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(height: usize, width: usize) -> Picture {
        Picture {
            height,
            width,
            channels: 1,
            pixels: (0..height * width).map(|n| n as u8).collect(),
        }
    }

    #[test]
    fn a_part_may_lie_outside_and_is_black_there() {
        let picture = ramp(3, 4);
        let part = crop(picture.view(), [1, 2], [2, 2]);
        assert_eq!(part.pixels, [6, 7, 10, 11]);
        let part = crop(picture.view(), [-1, -1], [3, 3]);
        assert_eq!(part.pixels, [0, 0, 0, 0, 0, 1, 0, 4, 5]);
        let part = crop(picture.view(), [2, 3], [2, 2]);
        assert_eq!(part.pixels, [11, 0, 0, 0]);
        let part = crop(picture.view(), [9, -9], [2, 2]);
        assert_eq!(part.pixels, [0; 4]);
        assert_eq!(crop(picture.view(), [0, 0], [3, 4]), picture);
    }

    #[test]
    fn a_flat_picture_stays_flat_at_any_size() {
        let flat = Picture {
            pixels: vec![201; 5 * 7 * 3],
            height: 5,
            width: 7,
            channels: 3,
        };
        for (height, width) in [(1, 1), (2, 9), (13, 3), (5, 7), (40, 1)] {
            let other = resize(flat.view(), height, width);
            assert_eq!(other.pixels, vec![201; height * width * 3]);
        }
    }
}
