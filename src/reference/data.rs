//! Test data from a seed: the same on every machine, at odd sizes, with peaks.

/// One on each side of the powers of two that kernels tile by, and the degenerate 1.
pub const ODD_SIZES: [usize; 6] = [1, 3, 63, 65, 123, 257];

/// SplitMix64 (Steele et al. 2014): small, and every seed is a good one.
#[derive(Clone)]
pub struct Data {
    state: u64,
}

impl Data {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// n numbers, evenly between low and high.
    pub fn uniform(&mut self, n: usize, low: f64, high: f64) -> Vec<f32> {
        (0..n)
            .map(|_| (low + (high - low) * self.unit()) as f32)
            .collect()
    }

    /// n normal numbers (Box and Muller).
    pub fn normal(&mut self, n: usize, scale: f64) -> Vec<f32> {
        (0..n)
            .map(|_| {
                let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
                (scale * radius * (std::f64::consts::TAU * self.unit()).cos()) as f32
            })
            .collect()
    }

    /// Normal numbers among which one in 37 is `peak` times larger: sums dominated by few terms, softmax
    /// near one-hot, saturated gates.
    pub fn peaked(&mut self, n: usize, scale: f64, peak: f64) -> Vec<f32> {
        let mut values = self.normal(n, scale);
        for value in &mut values {
            if self.below(37) == 0 {
                *value *= peak as f32;
            }
        }
        values
    }

    /// In 0..n.
    pub fn below(&mut self, n: u32) -> u32 {
        (self.unit() * f64::from(n)) as u32
    }

    /// n ids below the vocabulary; a third are id 0, so that a scatter has something to add up.
    pub fn ids(&mut self, n: usize, vocabulary: u32) -> Vec<u32> {
        (0..n)
            .map(|_| {
                if self.below(3) == 0 {
                    0
                } else {
                    self.below(vocabulary)
                }
            })
            .collect()
    }

    /// n targets below the number of classes, one in five of them -1: ignored.
    pub fn targets(&mut self, n: usize, classes: u32) -> Vec<i32> {
        (0..n)
            .map(|_| {
                if self.below(5) == 0 {
                    -1
                } else {
                    self.below(classes) as i32
                }
            })
            .collect()
    }

    /// The lengths of a batch, 1 ..= t, the first full and the last 1, so that both ends are met.
    pub fn lengths(&mut self, batch: usize, t: u32) -> Vec<u32> {
        let mut lengths: Vec<u32> = (0..batch).map(|_| 1 + self.below(t)).collect();
        if let Some(last) = lengths.last_mut() {
            *last = 1;
        }
        if let Some(first) = lengths.first_mut() {
            *first = t;
        }
        lengths
    }

    /// A dropout mask: true (kept) with probability 1 - p.
    pub fn keep(&mut self, n: usize, p: f64) -> Vec<bool> {
        (0..n).map(|_| self.unit() >= p).collect()
    }
}
