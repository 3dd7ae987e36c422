//! Convolution and pools of pictures (N, H, W, C); weights (O, U, V, C / groups).

use super::float::Float;

/// Pictures and a window that slides over them.
#[derive(Clone, Copy, Debug)]
pub struct Slide {
    /// Pictures.
    pub n: usize,
    /// Height and width.
    pub size: [usize; 2],
    /// Channels.
    pub c: usize,
    /// Taps down and across.
    pub kernel: [usize; 2],
    /// Pixels from one position to the next.
    pub stride: [usize; 2],
    /// Pixels beyond each edge.
    pub padding: [usize; 2],
    /// Pixels from one tap to the next.
    pub dilation: [usize; 2],
}

impl Slide {
    /// Positions down and across.
    pub fn positions(&self) -> [usize; 2] {
        std::array::from_fn(|a| {
            let reach = self.dilation[a] * (self.kernel[a] - 1);
            (self.size[a] + 2 * self.padding[a] - reach - 1) / self.stride[a] + 1
        })
    }

    /// Calls `f` with each row of the result, each tap of it that lies in the picture, and that pixel's row.
    fn each(&self, mut f: impl FnMut(usize, usize, usize)) {
        let [down, across] = self.positions();
        for n in 0..self.n {
            for p in 0..down {
                for q in 0..across {
                    for u in 0..self.kernel[0] {
                        for v in 0..self.kernel[1] {
                            let y = p * self.stride[0] + u * self.dilation[0];
                            let x = q * self.stride[1] + v * self.dilation[1];
                            let (Some(y), Some(x)) = (
                                y.checked_sub(self.padding[0]),
                                x.checked_sub(self.padding[1]),
                            ) else {
                                continue;
                            };
                            if y < self.size[0] && x < self.size[1] {
                                let row = (n * down + p) * across + q;
                                let pixel = (n * self.size[0] + y) * self.size[1] + x;
                                f(row, u * self.kernel[1] + v, pixel);
                            }
                        }
                    }
                }
            }
        }
    }

    fn rows(&self) -> usize {
        self.n * self.positions().iter().product::<usize>()
    }

    fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// y (rows, O), of w (O, taps, C / groups) and a bias (O).
    pub fn conv<F: Float>(&self, x: &[F], w: &[F], bias: Option<&[F]>, groups: usize) -> Vec<F> {
        let inner = self.c / groups;
        let outputs = w.len() / (self.taps() * inner);
        let mut y = vec![F::ZERO; self.rows() * outputs];
        self.each(|row, tap, pixel| {
            for o in 0..outputs {
                let first = o / (outputs / groups) * inner;
                for i in 0..inner {
                    y[row * outputs + o] +=
                        x[pixel * self.c + first + i] * w[(o * self.taps() + tap) * inner + i];
                }
            }
        });
        for (at, y) in y.iter_mut().enumerate() {
            if let Some(bias) = bias {
                *y += bias[at % outputs];
            }
        }
        y
    }

    /// Gradients of x, w and a bias.
    pub fn conv_bwd<F: Float>(&self, x: &[F], w: &[F], groups: usize, dy: &[F]) -> [Vec<F>; 3] {
        let inner = self.c / groups;
        let outputs = w.len() / (self.taps() * inner);
        let mut dx = vec![F::ZERO; x.len()];
        let mut dw = vec![F::ZERO; w.len()];
        self.each(|row, tap, pixel| {
            for o in 0..outputs {
                let first = o / (outputs / groups) * inner;
                for i in 0..inner {
                    let at = (o * self.taps() + tap) * inner + i;
                    let from = pixel * self.c + first + i;
                    dx[from] += dy[row * outputs + o] * w[at];
                    dw[at] += dy[row * outputs + o] * x[from];
                }
            }
        });
        let mut db = vec![F::ZERO; outputs];
        for (at, dy) in dy.iter().enumerate() {
            db[at % outputs] += *dy;
        }
        [dx, dw, db]
    }

    /// The pixel of the first largest of each window and channel.
    fn largest<F: Float>(&self, x: &[F]) -> Vec<usize> {
        let mut at = vec![usize::MAX; self.rows() * self.c];
        self.each(|row, _, pixel| {
            for c in 0..self.c {
                let held = &mut at[row * self.c + c];
                if *held == usize::MAX || x[pixel * self.c + c] > x[*held * self.c + c] {
                    *held = pixel;
                }
            }
        });
        at
    }

    /// The largest of each window.
    pub fn max_pool<F: Float>(&self, x: &[F]) -> Vec<F> {
        let at = self.largest(x).into_iter().enumerate();
        at.map(|(i, pixel)| x[pixel * self.c + i % self.c])
            .collect()
    }

    /// The gradient of x.
    pub fn max_pool_bwd<F: Float>(&self, x: &[F], dy: &[F]) -> Vec<F> {
        let mut dx = vec![F::ZERO; x.len()];
        for (i, pixel) in self.largest(x).into_iter().enumerate() {
            dx[pixel * self.c + i % self.c] += dy[i];
        }
        dx
    }

    /// The mean of each window, zeros outside.
    pub fn avg_pool<F: Float>(&self, x: &[F]) -> Vec<F> {
        let mut y = vec![F::ZERO; self.rows() * self.c];
        self.each(|row, _, pixel| {
            for c in 0..self.c {
                y[row * self.c + c] += x[pixel * self.c + c];
            }
        });
        let taps = F::of(self.taps() as f64);
        y.iter().map(|sum| *sum / taps).collect()
    }

    /// The gradient of x.
    pub fn avg_pool_bwd<F: Float>(&self, dy: &[F]) -> Vec<F> {
        let pixels = self.n * self.size[0] * self.size[1];
        let mut dx = vec![F::ZERO; pixels * self.c];
        let taps = F::of(self.taps() as f64);
        self.each(|row, _, pixel| {
            for c in 0..self.c {
                dx[pixel * self.c + c] += dy[row * self.c + c] / taps;
            }
        });
        dx
    }
}

/// Pictures, of which windows share out the sides.
#[derive(Clone, Copy, Debug)]
pub struct Adaptive {
    /// Pictures.
    pub n: usize,
    /// Height and width.
    pub size: [usize; 2],
    /// Channels.
    pub c: usize,
    /// Windows down and across.
    pub windows: [usize; 2],
}

impl Adaptive {
    /// Calls `f` with each window's row, each pixel's in it, and how many it has.
    fn each(&self, mut f: impl FnMut(usize, usize, usize)) {
        let part = |i: usize, axis: usize| {
            let (whole, parts) = (self.size[axis], self.windows[axis]);
            i * whole / parts..((i + 1) * whole).div_ceil(parts)
        };
        let [down, across] = self.windows;
        for n in 0..self.n {
            for p in 0..down {
                for q in 0..across {
                    let count = part(p, 0).len() * part(q, 1).len();
                    for y in part(p, 0) {
                        for x in part(q, 1) {
                            let pixel = (n * self.size[0] + y) * self.size[1] + x;
                            f((n * down + p) * across + q, pixel, count);
                        }
                    }
                }
            }
        }
    }

    /// The means.
    pub fn avg_pool<F: Float>(&self, x: &[F]) -> Vec<F> {
        let mut y = vec![F::ZERO; self.n * self.windows[0] * self.windows[1] * self.c];
        let mut counts = vec![1; y.len() / self.c];
        self.each(|row, pixel, count| {
            counts[row] = count;
            for c in 0..self.c {
                y[row * self.c + c] += x[pixel * self.c + c];
            }
        });
        let mean = |(i, sum): (usize, &F)| *sum / F::of(counts[i / self.c] as f64);
        y.iter().enumerate().map(mean).collect()
    }

    /// The gradient of x.
    pub fn avg_pool_bwd<F: Float>(&self, dy: &[F]) -> Vec<F> {
        let mut dx = vec![F::ZERO; self.n * self.size[0] * self.size[1] * self.c];
        self.each(|row, pixel, count| {
            for c in 0..self.c {
                dx[pixel * self.c + c] += dy[row * self.c + c] / F::of(count as f64);
            }
        });
        dx
    }
}
