//! The LSTM over a sequence, time-major, gate order i, f, g, o, weights as PyTorch stores them.
//!
//!   i, f, g, o = σ, σ, tanh, σ of (W_ih x_t + b_ih + W_hh h + b_hh)
//!   c = clamp(f∘c + i∘g, ±cell_clip);  h = o∘tanh(c)
//!
//! (Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000.) Past the end of a row
//! its state stays and its output is 0; the reverse direction starts at the end of each row.

use std::collections::BTreeMap;

use super::float::Float;

/// Sizes and settings of a layer in one direction.
#[derive(Clone, Copy, Debug)]
pub struct Lstm {
    /// time steps
    pub t: usize,
    /// sequences
    pub b: usize,
    /// width of x
    pub i: usize,
    /// width of h and c
    pub h: usize,
    /// From the end of each row to its start.
    pub reverse: bool,
    /// Bound of |c|, where there is one.
    pub cell_clip: Option<f64>,
}

/// Weights of a layer in one direction, as PyTorch stores them.
#[derive(Clone, Debug)]
pub struct LstmWeights<F> {
    /// (4H, I)
    pub w_ih: Vec<F>,
    /// (4H, H)
    pub w_hh: Vec<F>,
    /// (4H)
    pub b_ih: Vec<F>,
    /// (4H)
    pub b_hh: Vec<F>,
}

impl<F: Float> LstmWeights<F> {
    /// All 0.
    pub fn zeros(i: usize, h: usize) -> Self {
        Self {
            w_ih: vec![F::ZERO; 4 * h * i],
            w_hh: vec![F::ZERO; 4 * h * h],
            b_ih: vec![F::ZERO; 4 * h],
            b_hh: vec![F::ZERO; 4 * h],
        }
    }
}

/// What the forward pass gives, and what backward needs of it.
#[derive(Clone, Debug)]
pub struct LstmOutput<F> {
    /// (T, B, H)
    pub y: Vec<F>,
    /// (B, H)
    pub h_n: Vec<F>,
    /// (B, H)
    pub c_n: Vec<F>,
    /// (T, B, 4, H), after σ and tanh; 0 past the end
    pub gates: Vec<F>,
    /// (T, B, H), after clipping; 0 past the end
    pub cell: Vec<F>,
    /// (T, B, H), the cell before clipping; 0 past the end
    pub raw: Vec<F>,
}

/// The gradients of a layer in one direction.
#[derive(Clone, Debug)]
pub struct LstmGrads<F> {
    /// (T, B, I)
    pub dx: Vec<F>,
    /// (B, H)
    pub dh0: Vec<F>,
    /// (B, H)
    pub dc0: Vec<F>,
    /// (T, B, 4, H), with respect to the sums before σ and tanh
    pub dgates: Vec<F>,
    /// Of each weight.
    pub weights: LstmWeights<F>,
}

impl Lstm {
    /// The times of a row in the order in which this direction visits them.
    fn times(&self, length: u32) -> Vec<usize> {
        let length = length as usize;
        assert!(length <= self.t, "length {length} > T {}", self.t);
        if self.reverse {
            (0..length).rev().collect()
        } else {
            (0..length).collect()
        }
    }

    /// x (T, B, I); lengths (B); h0, c0 (B, H).
    pub fn forward<F: Float>(
        &self,
        lengths: &[u32],
        x: &[F],
        h0: &[F],
        c0: &[F],
        w: &LstmWeights<F>,
    ) -> LstmOutput<F> {
        let (b, i, h) = (self.b, self.i, self.h);
        assert_eq!(x.len(), self.t * b * i, "x");
        assert_eq!(w.w_ih.len(), 4 * h * i, "w_ih");
        assert_eq!(w.w_hh.len(), 4 * h * h, "w_hh");
        let mut out = LstmOutput {
            y: vec![F::ZERO; self.t * b * h],
            h_n: h0.to_vec(),
            c_n: c0.to_vec(),
            gates: vec![F::ZERO; self.t * b * 4 * h],
            cell: vec![F::ZERO; self.t * b * h],
            raw: vec![F::ZERO; self.t * b * h],
        };
        for row in 0..b {
            for t in self.times(lengths[row]) {
                let at = t * b + row;
                for gate in 0..4 {
                    for unit in 0..h {
                        let r = gate * h + unit;
                        let mut sum = F::ZERO;
                        for k in 0..i {
                            sum += w.w_ih[r * i + k] * x[at * i + k];
                        }
                        sum += w.b_ih[r];
                        for k in 0..h {
                            sum += w.w_hh[r * h + k] * out.h_n[row * h + k];
                        }
                        sum += w.b_hh[r];
                        out.gates[at * 4 * h + r] =
                            if gate == 2 { sum.tanh() } else { sum.sigmoid() };
                    }
                }
                for unit in 0..h {
                    let gate = |n: usize| out.gates[at * 4 * h + n * h + unit];
                    let raw = gate(1) * out.c_n[row * h + unit] + gate(0) * gate(2);
                    let cell = match self.cell_clip {
                        None => raw,
                        Some(clip) => raw.min(F::of(clip)).max(F::of(-clip)),
                    };
                    let y = gate(3) * cell.tanh();
                    out.raw[at * h + unit] = raw;
                    out.cell[at * h + unit] = cell;
                    out.y[at * h + unit] = y;
                    out.c_n[row * h + unit] = cell;
                    out.h_n[row * h + unit] = y;
                }
            }
        }
        out
    }

    /// All gradients, from dy (T, B, H; ignored past the end of a row), dh_n and dc_n (B, H). No
    /// gradient passes a cell that was clipped.
    #[expect(
        clippy::too_many_arguments,
        reason = "the inputs of forward, its output, three gradients"
    )]
    /// All gradients, from those of y, h_n and c_n.
    pub fn backward<F: Float>(
        &self,
        lengths: &[u32],
        x: &[F],
        h0: &[F],
        c0: &[F],
        w: &LstmWeights<F>,
        out: &LstmOutput<F>,
        dy: &[F],
        dh_n: &[F],
        dc_n: &[F],
    ) -> LstmGrads<F> {
        let (b, i, h) = (self.b, self.i, self.h);
        let mut grads = LstmGrads {
            dx: vec![F::ZERO; x.len()],
            dh0: dh_n.to_vec(),
            dc0: dc_n.to_vec(),
            dgates: vec![F::ZERO; out.gates.len()],
            weights: LstmWeights::zeros(i, h),
        };
        for row in 0..b {
            let times = self.times(lengths[row]);
            for (step, t) in times.iter().enumerate().rev() {
                let at = t * b + row;
                let before = step.checked_sub(1).map(|s| times[s] * b + row);
                let (h_before, c_before) = match before {
                    Some(p) => (&out.y[p * h..][..h], &out.cell[p * h..][..h]),
                    None => (&h0[row * h..][..h], &c0[row * h..][..h]),
                };
                for unit in 0..h {
                    let gate = |n: usize| out.gates[at * 4 * h + n * h + unit];
                    let (i_, f_, g_, o_) = (gate(0), gate(1), gate(2), gate(3));
                    let tanh_c = out.cell[at * h + unit].tanh();
                    let dh = grads.dh0[row * h + unit] + dy[at * h + unit];
                    let mut dc = grads.dc0[row * h + unit] + dh * o_ * (F::ONE - tanh_c * tanh_c);
                    if self
                        .cell_clip
                        .is_some_and(|clip| out.raw[at * h + unit].abs() > F::of(clip))
                    {
                        dc = F::ZERO;
                    }
                    let d = &mut grads.dgates[at * 4 * h..][..4 * h];
                    d[unit] = dc * g_ * i_ * (F::ONE - i_);
                    d[h + unit] = dc * c_before[unit] * f_ * (F::ONE - f_);
                    d[2 * h + unit] = dc * i_ * (F::ONE - g_ * g_);
                    d[3 * h + unit] = dh * tanh_c * o_ * (F::ONE - o_);
                    grads.dc0[row * h + unit] = dc * f_;
                }
                grads.dh0[row * h..][..h].fill(F::ZERO);
                for r in 0..4 * h {
                    let d = grads.dgates[at * 4 * h + r];
                    grads.weights.b_ih[r] += d;
                    grads.weights.b_hh[r] += d;
                    for k in 0..i {
                        grads.weights.w_ih[r * i + k] += d * x[at * i + k];
                        grads.dx[at * i + k] += d * w.w_ih[r * i + k];
                    }
                    for k in 0..h {
                        grads.weights.w_hh[r * h + k] += d * h_before[k];
                        grads.dh0[row * h + k] += d * w.w_hh[r * h + k];
                    }
                }
            }
        }
        grads
    }
}

/// (outer, 4, H, inner) → (outer, H, 4, inner): the four gates of a unit side by side, as the engine
/// keeps them. A weight (4H, I): outer 1, inner I. Gates (T, B, 4, H): outer T·B, inner 1.
pub fn interleave_gates<T: Copy>(stacked: &[T], h: usize, inner: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(stacked.len());
    for block in stacked.chunks(4 * h * inner) {
        for unit in 0..h {
            for gate in 0..4 {
                out.extend_from_slice(&block[(gate * h + unit) * inner..][..inner]);
            }
        }
    }
    out
}

/// The inverse of `interleave_gates`.
pub fn stack_gates<T: Copy>(interleaved: &[T], h: usize, inner: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(interleaved.len());
    for block in interleaved.chunks(4 * h * inner) {
        for gate in 0..4 {
            for unit in 0..h {
                out.extend_from_slice(&block[(unit * 4 + gate) * inner..][..inner]);
            }
        }
    }
    out
}

/// Tensors by their PyTorch names.
pub type Named<F> = BTreeMap<String, Vec<F>>;

/// Layers on layers, one or two directions, as nn.LSTM: the two directions of a layer are
/// concatenated, forward first, and feed the next.
#[derive(Clone, Copy, Debug)]
pub struct LstmStack {
    /// time steps
    pub t: usize,
    /// sequences
    pub b: usize,
    /// width of x
    pub i: usize,
    /// width of h and c
    pub h: usize,
    /// L
    pub layers: usize,
    /// D = 2 directions a layer.
    pub bidirectional: bool,
    /// Bound of |c|, where there is one.
    pub cell_clip: Option<f64>,
}

/// What the forward pass of a stack gives.
pub struct StackOutput<F> {
    /// (T, B, D·H) of the top layer
    pub y: Vec<F>,
    /// (L·D, B, H)
    pub h_n: Vec<F>,
    /// (L·D, B, H)
    pub c_n: Vec<F>,
    inputs: Vec<Vec<F>>,
    outputs: Vec<LstmOutput<F>>,
}

/// The gradients of a stack.
pub struct StackGrads<F> {
    /// (T, B, I)
    pub dx: Vec<F>,
    /// (L·D, B, H)
    pub dh0: Vec<F>,
    /// (L·D, B, H)
    pub dc0: Vec<F>,
    /// weight_ih_l0, …, as named in the parameters
    pub weights: Named<F>,
}

impl LstmStack {
    fn directions(&self) -> usize {
        if self.bidirectional { 2 } else { 1 }
    }
    fn cell(&self, layer: usize, direction: usize) -> Lstm {
        let i = if layer == 0 {
            self.i
        } else {
            self.h * self.directions()
        };
        let (t, b, h, cell_clip) = (self.t, self.b, self.h, self.cell_clip);
        Lstm {
            t,
            b,
            i,
            h,
            reverse: direction == 1,
            cell_clip,
        }
    }
    /// In the order of LstmWeights' fields.
    fn names(layer: usize, direction: usize) -> [String; 4] {
        let suffix = if direction == 1 { "_reverse" } else { "" };
        ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(|n| format!("{n}_l{layer}{suffix}"))
    }

    /// `params` holds weight_ih_l0, …; h0 and c0 are (L·D, B, H).
    pub fn forward<F: Float>(
        &self,
        lengths: &[u32],
        x: &[F],
        h0: &[F],
        c0: &[F],
        params: &Named<F>,
    ) -> StackOutput<F> {
        let (d, state) = (self.directions(), self.b * self.h);
        let mut out = StackOutput {
            y: x.to_vec(),
            h_n: vec![],
            c_n: vec![],
            inputs: vec![],
            outputs: vec![],
        };
        for layer in 0..self.layers {
            let x = std::mem::take(&mut out.y);
            out.y = vec![F::ZERO; self.t * state * d];
            for direction in 0..d {
                let n = layer * d + direction;
                let cell = self.cell(layer, direction);
                let (h0, c0) = (&h0[n * state..][..state], &c0[n * state..][..state]);
                let one = cell.forward(lengths, &x, h0, c0, &weights(params, layer, direction));
                for (at, y) in one.y.chunks(self.h).enumerate() {
                    out.y[(at * d + direction) * self.h..][..self.h].copy_from_slice(y);
                }
                out.h_n.extend_from_slice(&one.h_n);
                out.c_n.extend_from_slice(&one.c_n);
                out.outputs.push(one);
            }
            out.inputs.push(x);
        }
        out
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the inputs of forward, its output, three gradients"
    )]
    /// All gradients, from those of y, h_n and c_n.
    pub fn backward<F: Float>(
        &self,
        lengths: &[u32],
        h0: &[F],
        c0: &[F],
        params: &Named<F>,
        out: &StackOutput<F>,
        dy: &[F],
        dh_n: &[F],
        dc_n: &[F],
    ) -> StackGrads<F> {
        let (d, state) = (self.directions(), self.b * self.h);
        let mut grads = StackGrads {
            dx: dy.to_vec(),
            dh0: vec![F::ZERO; h0.len()],
            dc0: vec![F::ZERO; c0.len()],
            weights: Named::new(),
        };
        for layer in (0..self.layers).rev() {
            let x = &out.inputs[layer];
            let dy = std::mem::replace(&mut grads.dx, vec![F::ZERO; x.len()]);
            for direction in 0..d {
                let n = layer * d + direction;
                let at = n * state..(n + 1) * state;
                let own: Vec<F> = dy
                    .chunks(self.h)
                    .skip(direction)
                    .step_by(d)
                    .flatten()
                    .copied()
                    .collect();
                let one = self.cell(layer, direction).backward(
                    lengths,
                    x,
                    &h0[at.clone()],
                    &c0[at.clone()],
                    &weights(params, layer, direction),
                    &out.outputs[n],
                    &own,
                    &dh_n[at.clone()],
                    &dc_n[at.clone()],
                );
                grads
                    .dx
                    .iter_mut()
                    .zip(&one.dx)
                    .for_each(|(sum, dx)| *sum += *dx);
                grads.dh0[at.clone()].copy_from_slice(&one.dh0);
                grads.dc0[at].copy_from_slice(&one.dc0);
                let w = one.weights;
                let tensors = [w.w_ih, w.w_hh, w.b_ih, w.b_hh];
                grads
                    .weights
                    .extend(Self::names(layer, direction).into_iter().zip(tensors));
            }
        }
        grads
    }
}

fn weights<F: Float>(params: &Named<F>, layer: usize, direction: usize) -> LstmWeights<F> {
    let [w_ih, w_hh, b_ih, b_hh] =
        LstmStack::names(layer, direction).map(|name| params[&name].clone());
    LstmWeights {
        w_ih,
        w_hh,
        b_ih,
        b_hh,
    }
}
