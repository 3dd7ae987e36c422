//! How parameters start: what is drawn hangs on the seed and their names alone.

use rayon::prelude::*;

use crate::kernels::philox;

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// The same number everywhere.
    Constant(f32),
    /// Uniform in `[-bound, bound)`.
    Uniform(f32),
    /// Normal with mean 0 and this standard deviation.
    Normal(f32),
}

/// Blocks of four values that a thread draws at a time.
const BLOCKS: usize = 1 << 14;

impl Init {
    /// Draws block by block, each from its own number: as many threads as there are draw what one
    /// would.
    pub(crate) fn fill(self, out: &mut [f32], seed: u64, name: &str) {
        let key = [(seed as u32) ^ fnv1a(name), (seed >> 32) as u32];
        let draw = |block| philox::philox4x32(counter(block), key);
        let uniform = |block, bound: f32| draw(block).map(|word| (2.0 * unit(word) - 1.0) * bound);
        let normal = |block, std: f32| {
            let [a, b, c, d] = draw(block);
            // Box-Muller, in f64 so that the tail is smooth.
            let pair = |a, b| {
                let radius = (-2.0 * (1.0 - f64::from(unit(a))).ln()).sqrt();
                let angle = std::f64::consts::TAU * f64::from(unit(b));
                [radius * angle.cos(), radius * angle.sin()]
            };
            let ([a, b], [c, d]) = (pair(a, b), pair(c, d));
            [a, b, c, d].map(|normal| normal as f32 * std)
        };
        let parts = out.par_chunks_mut(4 * BLOCKS).enumerate();
        parts.for_each(|(part, out)| {
            for (i, chunk) in out.chunks_mut(4).enumerate() {
                let block = part * BLOCKS + i;
                let values = match self {
                    Init::Constant(value) => [value; 4],
                    Init::Uniform(bound) => uniform(block, bound),
                    Init::Normal(std) => normal(block, std),
                };
                chunk.copy_from_slice(&values[..chunk.len()]);
            }
        });
    }
}

fn counter(block: usize) -> [u32; 4] {
    [block as u32, (block as u64 >> 32) as u32, 0, 0]
}

/// A word as a number in `[0, 1)`, exactly representable.
fn unit(word: u32) -> f32 {
    (word >> 8) as f32 / (1u32 << 24) as f32
}

/// 32-bit FNV-1a, so that a parameter's values depend on its name and not on its place.
fn fnv1a(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::Init;

    #[test]
    fn initial_values_have_the_stated_distribution() {
        let mut values = vec![0.0f32; 40_001];
        Init::Normal(0.02).fill(&mut values, 7, "w");
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let var = values
            .iter()
            .map(|&v| (f64::from(v) - mean).powi(2))
            .sum::<f64>()
            / n;
        assert!(
            mean.abs() < 5e-4 && (var.sqrt() - 0.02).abs() < 5e-4,
            "{mean} {}",
            var.sqrt()
        );
        Init::Uniform(0.1).fill(&mut values, 7, "w");
        assert!(values.iter().all(|v| (-0.1..0.1).contains(v)));
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        assert!(mean.abs() < 2e-3, "{mean}");
    }

    #[test]
    fn several_threads_draw_what_one_draws() {
        let draw = |len| {
            let mut values = vec![0.0f32; len];
            Init::Normal(1.0).fill(&mut values, 3, "w");
            values
        };
        // More than a thread draws at a time, and not a multiple of four.
        let (long, short) = (draw(3 * 4 * super::BLOCKS + 7), draw(4 * super::BLOCKS));
        assert_eq!(long[..short.len()], short);
        let [last, before] = [long.len() - 1, long.len() - 2];
        assert!(long[last] != 0.0 && long[before] != long[last]);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let alone = pool.expect("a thread").install(|| draw(long.len()));
        assert_eq!(alone, long);
    }

    #[test]
    fn another_name_or_seed_gives_other_values() {
        let draw = |seed, name: &str| {
            let mut values = [0.0f32; 8];
            Init::Uniform(1.0).fill(&mut values, seed, name);
            values
        };
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
    }
}
