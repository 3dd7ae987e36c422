//! Batches of pictures, in an order that is drawn for every epoch.

use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::augment::Augment;
use super::pictures::Pictures;
use super::preprocess::Preprocessing;
use crate::error::Result;
use crate::text::batch::Position;
use crate::text::rng::Rng;
use crate::text::{Batches, Maker, Plan};

/// How pictures become batches.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureOptions {
    /// N, pictures of a batch; the last one of an epoch may have fewer.
    pub batch: usize,
    /// Draw the order anew for every epoch.
    pub shuffle: bool,
    /// What is changed of them; `None`: nothing.
    pub augment: Option<Augment>,
    /// How two of them become one.
    pub mix: Mix,
}

/// How two pictures of a batch become one: α of the Beta distribution that their shares are drawn from; 0:
/// they do not. With both each batch has one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Mix {
    /// Their mean, weighted (Zhang et al. 2018).
    pub mixup: f64,
    /// A part of one stands in the other (Yun et al. 2019).
    pub cutmix: f64,
}

/// What other pictures are in those of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixed {
    /// The other picture of each.
    pub docs: Vec<u32>,
    /// Its share.
    pub share: f32,
}

/// A batch of pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureBatch {
    /// N, H, W, C
    pub size: [usize; 4],
    /// (N, H, W, C), normalised.
    pub pixels: Vec<f32>,
    /// (N) numbers of the pictures.
    pub docs: Vec<u32>,
    /// What others are in them.
    pub mixed: Option<Mixed>,
    /// This batch's own position.
    pub position: Position,
}

/// An endless stream of [`PictureBatch`]es.
pub type PictureBatches = Batches<PictureMaker>;

/// Makes batches of pictures.
pub struct PictureMaker {
    pictures: Arc<Pictures>,
    way: Preprocessing,
    options: PictureOptions,
}

impl PictureBatches {
    /// A stream over the pictures `which`.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] for a zero batch; [`crate::Error::EmptyText`] where there is no picture.
    pub fn pictures(
        pictures: Arc<Pictures>,
        which: &[u32],
        way: Preprocessing,
        options: PictureOptions,
        seed: u64,
    ) -> Result<Self> {
        let shape = (options.batch, options.shuffle);
        let maker = PictureMaker {
            pictures,
            way,
            options,
        };
        Batches::of_equals(maker, which, shape, seed)
    }
}

/// What the generator is asked for: a picture's changes, a batch's mixture.
const CHANGES: u64 = 0xA0;
const MIXTURE: u64 = 0xA1;

impl Maker for PictureMaker {
    type Batch = PictureBatch;

    fn make(&self, plan: &Plan, position: Position, _: f64) -> PictureBatch {
        let (way, docs) = (&self.way, plan.items.clone());
        let [height, width] = way.size;
        let mut pixels = vec![0.0; docs.len() * way.numbers()];
        let rows = pixels.par_chunks_mut(way.numbers().max(1)).enumerate();
        rows.zip(&docs).for_each(|((row, into), &doc)| {
            let picture = self.pictures.get(doc);
            let Some(augment) = &self.options.augment else {
                way.normalise(way.middle(picture).view(), into);
                return;
            };
            let key = [CHANGES, position.epoch, position.index, row as u64];
            let mut rng = Rng::new(position.seed, &key);
            let seen = augment.apply(picture, way, &mut rng);
            way.normalise(seen.view(), into);
            augment.erase(into, way, &mut rng);
        });
        let size = [docs.len(), height, width, way.channels()];
        let mut rng = Rng::new(position.seed, &[MIXTURE, position.epoch, position.index]);
        let mixed = self.options.mix.apply(&mut pixels, size, &mut rng);
        let mixed = mixed.map(|share| {
            let mut others = docs.clone();
            others.rotate_right(1);
            Mixed {
                docs: others,
                share,
            }
        });
        PictureBatch {
            size,
            pixels,
            docs,
            mixed,
            position,
        }
    }
}

impl Mix {
    /// Mixes each picture with the one before it; the share of the other, where it does.
    fn apply(self, pixels: &mut [f32], size: [usize; 4], rng: &mut Rng) -> Option<f32> {
        let [count, height, width, channels] = size;
        let both = self.mixup > 0.0 && self.cutmix > 0.0;
        let cuts = self.cutmix > 0.0 && (!both || rng.chance(0.5));
        let alpha = if cuts { self.cutmix } else { self.mixup };
        if alpha <= 0.0 || count < 2 {
            return None;
        }
        let own = beta(rng, alpha);
        let others = rotated(pixels, height * width * channels);
        if !cuts {
            let share = own as f32;
            for (x, other) in pixels.iter_mut().zip(&others) {
                *x = share * *x + (1.0 - share) * other;
            }
            return Some(1.0 - share);
        }
        let (x, y) = (rng.below(width), rng.below(height));
        let half = 0.5 * (1.0 - own).sqrt();
        let span = |at: usize, whole: usize| {
            let reach = (half * whole as f64) as usize;
            at.saturating_sub(reach)..(at + reach).min(whole)
        };
        let (columns, rows) = (span(x, width), span(y, height));
        for picture in 0..count {
            for row in rows.clone() {
                let start = (picture * height + row) * width;
                let range = (start + columns.start) * channels..(start + columns.end) * channels;
                pixels[range.clone()].copy_from_slice(&others[range]);
            }
        }
        Some((rows.len() * columns.len()) as f32 / (height * width) as f32)
    }
}

/// All pictures one place on, the last one first.
fn rotated(pixels: &[f32], picture: usize) -> Vec<f32> {
    let mut others = pixels.to_vec();
    others.rotate_right(picture);
    others
}

/// A number of the distribution Beta(α, α).
fn beta(rng: &mut Rng, alpha: f64) -> f64 {
    let (a, b) = (gamma(rng, alpha), gamma(rng, alpha));
    if a + b > 0.0 { a / (a + b) } else { 0.5 }
}

/// A number of the distribution Gamma(α): Marsaglia & Tsang, "A simple method for generating gamma
/// variables" (2000).
fn gamma(rng: &mut Rng, alpha: f64) -> f64 {
    if alpha < 1.0 {
        let u = 1.0 - rng.unit();
        return gamma(rng, alpha + 1.0) * u.powf(1.0 / alpha);
    }
    let d = alpha - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        // Box & Muller.
        let (u, angle) = (1.0 - rng.unit(), std::f64::consts::TAU * rng.unit());
        let x = (-2.0 * u.ln()).sqrt() * angle.cos();
        let v = (1.0 + c * x).powi(3);
        let u = 1.0 - rng.unit();
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{ColorJitter, Picture, RandomErasing, RandomResizedCrop, Resize};
    use crate::text::Stream;

    fn pictures() -> Arc<Pictures> {
        let picture = |n: usize| Picture {
            height: 6 + n % 3,
            width: 9 - n % 2,
            channels: 3,
            pixels: (0..(6 + n % 3) * (9 - n % 2) * 3)
                .map(|at| (at * 7 + n * 31) as u8)
                .collect(),
        };
        let named = (0..7).map(|n| (n.to_string(), picture(n)));
        Arc::new(Pictures::of(named, 3))
    }

    fn stream(mix: Mix) -> PictureBatches {
        let way = Preprocessing {
            resize: Resize::Shorter(6),
            size: [5, 4],
            mean: vec![0.4, 0.5, 0.6],
            std: vec![0.2, 0.3, 0.4],
        };
        let jitter = ColorJitter {
            brightness: 0.3,
            contrast: 0.3,
            saturation: 0.3,
            hue: 0.1,
        };
        let augment = Augment {
            random_resized_crop: Some(RandomResizedCrop::default()),
            random_horizontal_flip: 0.5,
            color_jitter: Some(jitter),
            random_erasing: Some(RandomErasing::default()),
            ..Augment::default()
        };
        let options = PictureOptions {
            batch: 3,
            shuffle: true,
            augment: Some(augment),
            mix,
        };
        let which: Vec<u32> = (0..7).collect();
        PictureBatches::pictures(pictures(), &which, way, options, 5).unwrap()
    }

    #[test]
    fn the_same_seed_gives_the_same_pictures_whatever_the_threads_and_from_any_place() {
        let mix = Mix {
            mixup: 0.4,
            cutmix: 1.0,
        };
        let mut whole = stream(mix);
        let batches: Vec<PictureBatch> = (0..9).map(|_| whole.next_batch()).collect();
        // The last batch of an epoch has what is left.
        let sizes: Vec<usize> = batches.iter().map(|b| b.size[0]).collect();
        assert_eq!(sizes, [3, 3, 1, 3, 3, 1, 3, 3, 1]);
        for threads in [1, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let mut again = stream(mix);
            let same: Vec<PictureBatch> = pool
                .build()
                .unwrap()
                .install(|| (0..9).map(|_| again.next_batch()).collect());
            assert!(same == batches);
        }
        for batch in &batches {
            let mut other = stream(mix);
            other.seek(batch.position);
            assert!(other.next_batch() == *batch);
        }
        // Another time another picture.
        let of = |doc: u32| {
            let seen = batches.iter().filter_map(|b| {
                let row = b.docs.iter().position(|d| *d == doc)?;
                Some(b.pixels[row * 60..][..60].to_vec())
            });
            seen.collect::<Vec<_>>()
        };
        let seen = of(2);
        assert!(seen.len() == 3 && seen[0] != seen[1] && seen[1] != seen[2]);
    }

    #[test]
    fn mixed_pictures_have_the_shares_that_are_said() {
        let size = [2, 4, 4, 1];
        for seed in 0..60 {
            let one = |at: f32| vec![at; 16];
            let mut pixels = [one(0.0), one(1.0)].concat();
            let (mixup, cutmix) = if seed % 2 == 0 {
                (1.0, 0.0)
            } else {
                (0.0, 1.0)
            };
            let mix = Mix { mixup, cutmix };
            let share = mix
                .apply(&mut pixels, size, &mut Rng::new(seed, &[]))
                .unwrap();
            let mean = |pixels: &[f32]| pixels.iter().sum::<f32>() / 16.0;
            assert!((mean(&pixels[..16]) - share).abs() < 1e-6);
            assert!((mean(&pixels[16..]) - (1.0 - share)).abs() < 1e-6);
            let whole = pixels.iter().all(|x| *x == 0.0 || *x == 1.0);
            assert_eq!(whole, cutmix > 0.0);
        }
        // One picture has no other.
        let none = Mix {
            mixup: 1.0,
            cutmix: 1.0,
        };
        assert_eq!(
            none.apply(&mut [0.5; 16], [1, 4, 4, 1], &mut Rng::new(1, &[])),
            None
        );
    }

    #[test]
    fn shares_have_the_mean_and_spread_of_their_distribution() {
        for alpha in [0.2, 1.0, 3.0] {
            let mut rng = Rng::new(9, &[]);
            let all: Vec<f64> = (0..20_000).map(|_| beta(&mut rng, alpha)).collect();
            let mean = all.iter().sum::<f64>() / 20_000.0;
            let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!((mean - 0.5).abs() < 0.012, "{alpha}: {mean}");
            assert!(
                (variance / expected - 1.0).abs() < 0.05,
                "{alpha}: {variance}"
            );
        }
    }
}
