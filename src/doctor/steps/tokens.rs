//! The text that steps are timed with.

/// Tokens with a long tail, from a linear congruential generator.
pub fn tokens(vocab: usize, count: usize) -> Vec<u32> {
    let mut state = 12345u64;
    let mut draw = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as f64 / (1u64 << 31) as f64
    };
    (0..count)
        .map(|_| ((vocab as f64).powf(draw()) - 1.0) as u32)
        .collect()
}
