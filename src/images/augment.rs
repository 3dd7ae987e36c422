//! Pictures as training sees them, another way each time: what torchvision calls its transforms, drawn by
//! the house's generator.

use serde::{Deserialize, Serialize};

use super::pictures::{Picture, View};
use super::preprocess::Preprocessing;
use super::resize::{crop, resize};
use crate::text::rng::Rng;

/// What is changed of a picture in training, in this order; all of it absent: its middle is read.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// A part of it of any size and shape within these bounds, resized.
    pub random_resized_crop: Option<RandomResizedCrop>,
    /// A part of the model's own size, from anywhere.
    pub random_crop: Option<RandomCrop>,
    /// Probability of turning left and right about.
    pub random_horizontal_flip: f64,
    /// Other colours.
    pub color_jitter: Option<ColorJitter>,
    /// A part of it made the mean of all pictures.
    pub random_erasing: Option<RandomErasing>,
}

/// torchvision's `RandomResizedCrop`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomResizedCrop {
    /// Least and greatest share of the picture's area.
    pub scale: [f64; 2],
    /// Least and greatest width over height.
    pub ratio: [f64; 2],
}

impl Default for RandomResizedCrop {
    fn default() -> Self {
        Self {
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
        }
    }
}

/// torchvision's `RandomCrop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomCrop {
    /// Black pixels that are put on every side before.
    pub padding: usize,
}

/// torchvision's `ColorJitter`: of each how far it may go from as it is.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColorJitter {
    /// Of 1: 0.2 makes it 0.8 to 1.2 times as bright.
    pub brightness: f64,
    /// Of 1, about the picture's mean grey.
    pub contrast: f64,
    /// Of 1, about the pixel's own grey.
    pub saturation: f64,
    /// Of a whole turn, 0.5 at most.
    pub hue: f64,
}

/// torchvision's `RandomErasing`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomErasing {
    /// Probability of doing so.
    pub p: f64,
    /// Least and greatest share of the picture's area.
    pub scale: [f64; 2],
    /// Least and greatest height over width.
    pub ratio: [f64; 2],
}

impl Default for RandomErasing {
    fn default() -> Self {
        Self {
            p: 0.5,
            scale: [0.02, 0.33],
            ratio: [0.3, 3.3],
        }
    }
}

/// How often a part is drawn anew that does not fit.
const TRIES: usize = 10;

fn between(rng: &mut Rng, [least, most]: [f64; 2]) -> f64 {
    least + (most - least) * rng.unit()
}

/// A height and width of a share of an area, within `ratio` of `first` over `second`.
fn part(rng: &mut Rng, area: f64, scale: [f64; 2], ratio: [f64; 2]) -> [usize; 2] {
    let area = area * between(rng, scale);
    let aspect = between(rng, ratio.map(f64::ln)).exp();
    let rounded = |x: f64| x.sqrt().round_ties_even() as usize;
    [rounded(area * aspect), rounded(area / aspect)]
}

impl Augment {
    /// What is wrong with its numbers: the key, and in words.
    ///
    /// # Errors
    /// The first of them.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let probability = |p: f64| (0.0..=1.0).contains(&p);
        let bounds =
            |[least, most]: [f64; 2], top: f64| 0.0 < least && least <= most && most <= top;
        let within = "are the least and the greatest: expected more than 0, in order";
        let share = "are shares of the area: expected more than 0, at most 1, in order";
        if !probability(self.random_horizontal_flip) {
            let message = "is a probability: expected 0 to 1";
            return Err(("random_horizontal_flip", message));
        }
        if let Some(c) = self.random_resized_crop {
            if !bounds(c.scale, 1.0) {
                return Err(("random_resized_crop.scale", share));
            }
            if !bounds(c.ratio, f64::MAX) {
                return Err(("random_resized_crop.ratio", within));
            }
            if self.random_crop.is_some() {
                let message = "and random_resized_crop do the same; set one of them";
                return Err(("random_crop", message));
            }
        }
        if self.random_crop.is_some_and(|c| c.padding > 1 << 12) {
            return Err(("random_crop.padding", "should be at most 4096 pixels"));
        }
        if let Some(j) = self.color_jitter {
            if [j.brightness, j.contrast, j.saturation]
                .iter()
                .any(|x| !(0.0..=10.0).contains(x))
            {
                let message = "is how far from 1: expected 0 to 10";
                return Err(("color_jitter", message));
            }
            if !(0.0..=0.5).contains(&j.hue) {
                return Err((
                    "color_jitter.hue",
                    "is a share of a turn: expected 0 to 0.5",
                ));
            }
        }
        if let Some(e) = self.random_erasing {
            if !probability(e.p) {
                return Err(("random_erasing.p", "is a probability: expected 0 to 1"));
            }
            if !bounds(e.scale, 1.0) {
                return Err(("random_erasing.scale", share));
            }
            if !bounds(e.ratio, f64::MAX) {
                return Err(("random_erasing.ratio", within));
            }
        }
        Ok(())
    }

    /// The picture as the model sees it this time, of the size that it reads.
    pub fn apply(&self, picture: View<'_>, way: &Preprocessing, rng: &mut Rng) -> Picture {
        let mut seen = match (self.random_resized_crop, self.random_crop) {
            (Some(crop), _) => crop.apply(picture, way.size, rng),
            (None, Some(crop)) => crop.apply(picture, way.size, rng),
            (None, None) => way.middle(picture),
        };
        if rng.chance(self.random_horizontal_flip) {
            flip(&mut seen);
        }
        if let Some(jitter) = self.color_jitter {
            jitter.apply(&mut seen, rng);
        }
        seen
    }

    /// Erases a part of the numbers that a model is given.
    pub fn erase(&self, numbers: &mut [f32], way: &Preprocessing, rng: &mut Rng) {
        let Some(erasing) = self.random_erasing else {
            return;
        };
        if !rng.chance(erasing.p) {
            return;
        }
        let ([height, width], channels) = (way.size, way.channels());
        for _ in 0..TRIES {
            let area = (height * width) as f64;
            let [h, w] = part(rng, area, erasing.scale, erasing.ratio);
            if h >= height || w >= width {
                continue;
            }
            let (top, left) = (rng.below(height - h + 1), rng.below(width - w + 1));
            for row in top..top + h {
                let start = (row * width + left) * channels;
                numbers[start..start + w * channels].fill(0.0);
            }
            return;
        }
    }
}

impl RandomResizedCrop {
    fn apply(self, picture: View<'_>, [height, width]: [usize; 2], rng: &mut Rng) -> Picture {
        let (all_h, all_w) = (picture.height, picture.width);
        let area = (all_h * all_w) as f64;
        for _ in 0..TRIES {
            let [w, h] = part(rng, area, self.scale, self.ratio);
            if (1..=all_w).contains(&w) && (1..=all_h).contains(&h) {
                let at = [rng.below(all_h - h + 1), rng.below(all_w - w + 1)];
                let part = crop(picture, at.map(|x| x as isize), [h, w]);
                return resize(part.view(), height, width);
            }
        }
        // The largest part in the middle of a shape that is allowed.
        let shape = all_w as f64 / all_h.max(1) as f64;
        let (mut h, mut w) = (all_h, all_w);
        if shape < self.ratio[0] {
            h = (all_w as f64 / self.ratio[0]).round_ties_even() as usize;
        } else if shape > self.ratio[1] {
            w = (all_h as f64 * self.ratio[1]).round_ties_even() as usize;
        }
        let (h, w) = (h.clamp(1, all_h.max(1)), w.clamp(1, all_w.max(1)));
        let at = [(all_h.saturating_sub(h)) / 2, (all_w.saturating_sub(w)) / 2];
        let part = crop(picture, at.map(|x| x as isize), [h, w]);
        resize(part.view(), height, width)
    }
}

impl RandomCrop {
    fn apply(self, picture: View<'_>, [height, width]: [usize; 2], rng: &mut Rng) -> Picture {
        // A picture that is too small even so has as much on both sides as it takes.
        let padding = |whole: usize, part: usize| -> usize {
            let short = part.saturating_sub(whole + 2 * self.padding);
            self.padding + short.div_ceil(2)
        };
        let mut at = |whole: usize, part: usize| -> isize {
            let pad = padding(whole, part);
            rng.below(whole + 2 * pad - part + 1) as isize - pad as isize
        };
        let top = at(picture.height, height);
        let left = at(picture.width, width);
        crop(picture, [top, left], [height, width])
    }
}

/// Turns left and right about.
fn flip(picture: &mut Picture) {
    let channels = picture.channels;
    for row in picture.pixels.chunks_mut((picture.width * channels).max(1)) {
        let (mut left, mut right) = (0, picture.width.saturating_sub(1));
        while left < right {
            for c in 0..channels {
                row.swap(left * channels + c, right * channels + c);
            }
            left += 1;
            right -= 1;
        }
    }
}

/// Grey of a pixel, as Pillow makes it (ITU-R 601-2).
pub(super) fn grey(pixel: &[u8]) -> u8 {
    match *pixel {
        [r, g, b] => {
            let [r, g, b] = [r, g, b].map(u32::from);
            ((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u8
        }
        [grey, ..] => grey,
        [] => 0,
    }
}

/// What Pillow blends: `to` of the way from one to the other and on, cut off to whole numbers.
fn blend(from: f32, value: u8, to: f32) -> u8 {
    // A number that is too large or too small becomes the nearest.
    (from + to * (f32::from(value) - from)) as u8
}

impl ColorJitter {
    fn apply(self, picture: &mut Picture, rng: &mut Rng) {
        let mut order = [0, 1, 2, 3];
        rng.shuffle(&mut order);
        let factor =
            |rng: &mut Rng, far: f64| between(rng, [(1.0 - far).max(0.0), 1.0 + far]) as f32;
        let brightness = factor(rng, self.brightness);
        let contrast = factor(rng, self.contrast);
        let saturation = factor(rng, self.saturation);
        let hue = between(rng, [-self.hue, self.hue]) as f32;
        let channels = picture.channels.max(1);
        for step in order {
            let pixels = picture.pixels.chunks_exact_mut(channels);
            match step {
                0 if self.brightness > 0.0 => {
                    picture
                        .pixels
                        .iter_mut()
                        .for_each(|x| *x = blend(0.0, *x, brightness));
                }
                1 if self.contrast > 0.0 => {
                    let count = (picture.pixels.len() / channels).max(1) as f64;
                    let greys = picture.pixels.chunks_exact(channels);
                    let sum: u64 = greys.map(|pixel| u64::from(grey(pixel))).sum();
                    let mean = (sum as f64 / count + 0.5).floor() as f32;
                    picture
                        .pixels
                        .iter_mut()
                        .for_each(|x| *x = blend(mean, *x, contrast));
                }
                2 if self.saturation > 0.0 => pixels.for_each(|pixel| {
                    let own = f32::from(grey(pixel));
                    pixel
                        .iter_mut()
                        .for_each(|x| *x = blend(own, *x, saturation));
                }),
                3 if self.hue > 0.0 && channels == 3 => {
                    pixels.for_each(|pixel| turn_hue(pixel, hue));
                }
                _ => {}
            }
        }
    }
}

/// Turns the hue of a pixel of red, green and blue; lightness and saturation stay.
fn turn_hue(pixel: &mut [u8], turn: f32) {
    let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(|x| f32::from(x) / 255.0);
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    let range = most - least;
    if range == 0.0 {
        return;
    }
    let hue = if most == r {
        (g - b) / range
    } else if most == g {
        2.0 + (b - r) / range
    } else {
        4.0 + (r - g) / range
    };
    let hue = (hue / 6.0 + turn).rem_euclid(1.0) * 6.0;
    for (c, offset) in [5.0, 3.0, 1.0].into_iter().enumerate() {
        let k = (offset + hue).rem_euclid(6.0);
        let value = most - range * k.min(4.0 - k).clamp(0.0, 1.0);
        pixel[c] = (value * 255.0).round() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::Resize;

    fn way(side: usize, channels: usize) -> Preprocessing {
        Preprocessing {
            resize: Resize::Shorter(side),
            size: [side; 2],
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
        }
    }

    fn numbered(height: usize, width: usize) -> Picture {
        Picture {
            height,
            width,
            channels: 1,
            pixels: (0..height * width).map(|n| n as u8).collect(),
        }
    }

    #[test]
    fn a_flip_turns_rows_about_and_twice_gives_the_same() {
        let mut picture = numbered(2, 3);
        flip(&mut picture);
        assert_eq!(picture.pixels, [2, 1, 0, 5, 4, 3]);
        flip(&mut picture);
        assert_eq!(picture, numbered(2, 3));
        let mut colours = Picture {
            height: 1,
            width: 2,
            channels: 3,
            pixels: vec![1, 2, 3, 4, 5, 6],
        };
        flip(&mut colours);
        assert_eq!(colours.pixels, [4, 5, 6, 1, 2, 3]);
    }

    #[test]
    fn a_random_crop_with_padding_reaches_every_place() {
        let (picture, way) = (numbered(3, 3), way(3, 1));
        let augment = Augment {
            random_crop: Some(RandomCrop { padding: 1 }),
            ..Augment::default()
        };
        let mut corners = std::collections::BTreeSet::new();
        for seed in 0..300 {
            let seen = augment.apply(picture.view(), &way, &mut Rng::new(seed, &[]));
            corners.insert(seen.pixels);
        }
        // Three places each way, and nothing else.
        assert_eq!(corners.len(), 9);
        assert!(corners.contains(&vec![0, 0, 0, 0, 0, 1, 0, 3, 4]));
        assert!(corners.contains(&picture.pixels));
        // A picture that is smaller than what is read.
        let small = numbered(1, 1);
        let seen = augment.apply(small.view(), &way, &mut Rng::new(0, &[]));
        assert_eq!((seen.height, seen.width, seen.pixels.len()), (3, 3, 9));
    }

    #[test]
    fn resized_crops_stay_within_their_bounds() {
        let augment = Augment {
            random_resized_crop: Some(RandomResizedCrop::default()),
            ..Augment::default()
        };
        for (height, width) in [(1, 1), (1, 40), (33, 2), (20, 30)] {
            let picture = Picture {
                pixels: vec![77; height * width],
                height,
                width,
                channels: 1,
            };
            for seed in 0..40 {
                let seen = augment.apply(picture.view(), &way(8, 1), &mut Rng::new(seed, &[]));
                // Nothing of what lies outside of the picture.
                assert_eq!(seen.pixels, [77; 64], "{height} x {width}");
            }
        }
    }

    #[test]
    fn colours_change_as_their_factors_say() {
        assert_eq!(blend(0.0, 100, 1.5), 150);
        assert_eq!(blend(0.0, 200, 1.5), 255);
        assert_eq!(blend(128.0, 28, 2.0), 0);
        assert_eq!(grey(&[255, 0, 0]), 76);
        assert_eq!(grey(&[10, 200, 30]), 124);
        // A third of a turn makes red green.
        let mut red = [255, 0, 0];
        turn_hue(&mut red, 1.0 / 3.0);
        assert_eq!(red, [0, 255, 0]);
        let mut any = [12, 99, 201];
        turn_hue(&mut any, 1.0);
        assert_eq!(any, [12, 99, 201]);
    }

    #[test]
    fn erasing_keeps_to_its_share() {
        let (way, p) = (way(20, 2), 1.0);
        let augment = Augment {
            random_erasing: Some(RandomErasing {
                p,
                ..RandomErasing::default()
            }),
            ..Augment::default()
        };
        for seed in 0..50 {
            let mut numbers = vec![1.0; way.numbers()];
            augment.erase(&mut numbers, &way, &mut Rng::new(seed, &[]));
            let erased = numbers.iter().filter(|x| **x == 0.0).count() as f64 / 800.0;
            assert!((0.01..=0.36).contains(&erased), "{erased}");
        }
    }
}
