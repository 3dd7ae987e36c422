//! The angles of rotary positions, with every scaling that a `config.json` can name.

use std::f64::consts::PI;
use std::sync::Mutex;

use crate::device::{Gpu, lock};
use crate::error::Result;
use crate::ops::RopeTable;

/// How angles are changed so that a model reads longer texts than it was pretrained on. As in
/// transformers' `modeling_rope_utils`.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    None,
    /// Positions are divided by a factor (Chen et al. 2023).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// The base grows with the text ("dynamic NTK").
    Dynamic {
        /// How fast.
        factor: f64,
        /// Positions up to which nothing changes.
        original: usize,
    },
    /// Slow angles are divided by a factor, fast ones are not (Llama 3.1).
    Llama3 {
        /// The factor.
        factor: f64,
        /// Turns over the original positions below which an angle is slow.
        low: f64,
        /// Turns above which it is fast.
        high: f64,
        /// Positions it was pretrained on.
        original: usize,
    },
    /// The same with a ramp between, and scores made larger (Peng et al. 2023, YaRN).
    Yarn {
        /// The factor.
        factor: f64,
        /// Turns above which an angle is fast, and below which it is slow.
        beta: [f64; 2],
        /// Whether the ramp begins and ends at whole pairs.
        truncate: bool,
        /// What cosines and sines are multiplied by.
        scale: f64,
        /// Positions it was pretrained on.
        original: usize,
    },
    /// A factor for each angle (Ding et al. 2024, LongRoPE).
    LongRope {
        /// Of texts as long as those of pretraining at most.
        short: Vec<f64>,
        /// Of longer ones.
        long: Vec<f64>,
        /// What cosines and sines are multiplied by.
        scale: f64,
        /// Positions it was pretrained on.
        original: usize,
    },
}

/// Rotary positions: the angles of R/2 pairs of columns of each head.
pub struct Rope {
    pairs: usize,
    base: f64,
    scaling: RopeScaling,
    /// The longest table that was made, and its angles.
    made: Mutex<Option<(Vec<f32>, RopeTable)>>,
}

impl Rope {
    /// Angles of position p: p / base^(2i/R) for pair i, scaled.
    pub fn new(pairs: usize, base: f64, scaling: RopeScaling) -> Rope {
        Rope {
            pairs,
            base,
            scaling,
            made: Mutex::default(),
        }
    }

    /// The angles that position 1 turns each pair by, for texts of `steps` positions.
    pub fn frequencies(&self, steps: usize) -> Vec<f32> {
        let width = 2 * self.pairs;
        let power = |base: f64, i: usize| {
            // As f32 has them, since the models were trained with those.
            let exponent = (2 * i) as f32 / width as f32;
            base.powf(exponent.into()) as f32
        };
        let plain = |i: usize| 1.0 / power(self.base, i);
        let of = |i: usize| match &self.scaling {
            RopeScaling::None => plain(i),
            RopeScaling::Linear { factor } => plain(i) / *factor as f32,
            RopeScaling::Dynamic { factor, original } => {
                let (steps, original) = (steps.max(*original) as f64, *original as f64);
                let width = width as f64;
                let growth = factor * steps / original - (factor - 1.0);
                1.0 / power(self.base * growth.powf(width / (width - 2.0)), i)
            }
            RopeScaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => {
                let frequency = f64::from(plain(i));
                let turns = *original as f64 * frequency / (2.0 * PI);
                let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                ((1.0 - smooth) * frequency / factor + smooth * frequency) as f32
            }
            RopeScaling::Yarn {
                factor,
                beta,
                truncate,
                original,
                ..
            } => {
                let [first, last] = self.ramp(*beta, *original, *truncate);
                let slow = ((i as f64 - first) / (last - first)).clamp(0.0, 1.0);
                let frequency = f64::from(plain(i));
                (frequency / factor * slow + frequency * (1.0 - slow)) as f32
            }
            RopeScaling::LongRope {
                short,
                long,
                original,
                ..
            } => {
                let factors = if steps > *original { long } else { short };
                let factor = factors.get(i).copied().unwrap_or(1.0) as f32;
                1.0 / (factor * power(self.base, i))
            }
        };
        (0..self.pairs).map(of).collect()
    }

    /// The pairs between which YaRN's ramp rises.
    fn ramp(&self, beta: [f64; 2], original: usize, truncate: bool) -> [f64; 2] {
        let width = 2.0 * self.pairs as f64;
        let pair = |turns: f64| {
            width * (original as f64 / (turns * 2.0 * PI)).ln() / (2.0 * self.base.ln())
        };
        let [mut first, mut last] = beta.map(pair);
        if truncate {
            (first, last) = (first.floor(), last.ceil());
        }
        (first, last) = (first.max(0.0), last.min(width - 1.0));
        if first == last {
            last += 0.001;
        }
        [first, last]
    }

    /// What cosines and sines are multiplied by.
    pub fn scale(&self) -> f32 {
        match self.scaling {
            RopeScaling::Yarn { scale, .. } | RopeScaling::LongRope { scale, .. } => scale as f32,
            _ => 1.0,
        }
    }

    /// The table for texts of up to `steps` positions; it is kept for those that are no longer.
    ///
    /// # Errors
    /// [`crate::Error::TooLarge`] beyond the adapter's limits.
    pub fn table(&self, gpu: &Gpu, steps: usize) -> Result<RopeTable> {
        let frequencies = self.frequencies(steps);
        let mut made = lock(&self.made);
        if let Some((of, table)) = &*made
            && *of == frequencies
            && table.positions() >= steps
        {
            return Ok(table.clone());
        }
        let positions = steps.next_multiple_of(64);
        let scale = self.scale();
        let mut turns = Vec::with_capacity(positions * self.pairs);
        for position in 0..positions {
            for frequency in &frequencies {
                let angle = f64::from(position as f32 * frequency);
                turns.push([angle.cos() as f32 * scale, angle.sin() as f32 * scale]);
            }
        }
        let table = RopeTable::new(gpu, positions, &turns)?;
        *made = Some((frequencies, table.clone()));
        Ok(table)
    }
}
