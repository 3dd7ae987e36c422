//! Layers forward and backward, as a training step runs them: recorded once, then replayed. The
//! loss is the sum of what the layer returns, so that every output's gradient is 1.

use melos::Result;
use melos::device::{Gpu, Recording};
use melos::ops::{self, LstmOptions, LstmWeights, TokenIds};
use melos::optim::StepState;
use melos::tensor::{Tape, Tensor};

use super::values::{gradient, noise, parameter};
use super::{Case, Work, check, sampled};

/// Records a layer, and its backward pass with `backward`, and runs it once.
fn recorded(
    gpu: &Gpu,
    backward: bool,
    layer: impl FnOnce(&Tape) -> Result<Tensor>,
) -> Result<(Recording, Tensor)> {
    let state = StepState::new(gpu, 1)?;
    let (recording, y) = gpu.record(|| {
        if !backward {
            return layer(&Tape::inference(gpu));
        }
        let tape = Tape::training(gpu, state.tensor());
        let y = layer(&tape)?;
        let loss = ops::sum_all(&tape, &y)?;
        tape.backward(&loss)?;
        Ok(y)
    })?;
    gpu.replay(&recording)?;
    Ok((recording, y))
}

fn replayed(gpu: &Gpu, recording: Recording, work: Work) -> Case {
    let gpu = gpu.clone();
    Case {
        work,
        run: Box::new(move || gpu.replay(&recording)),
    }
}

/// V 10,000, C 256, 2,048 tokens: rows gathered, their gradients added to the table's.
pub fn embedding(gpu: &Gpu) -> Result<Case> {
    let (vocab, width, steps, batch) = (10_000, 256, 64, 32);
    let host = noise(vocab * width, 1, 1.0);
    let table = parameter(gpu, &[vocab, width], &host)?;
    let ids: Vec<u32> = (0..steps * batch).map(|i| (i * i % vocab) as u32).collect();
    let tokens = TokenIds::from_host(gpu, steps, batch, &ids)?;
    let (recording, rows) = recorded(gpu, true, |tape| ops::embedding(tape, &table, &tokens))?;
    let (rows, sums) = (rows.to_vec::<f32>()?, gradient(&table)?);
    for at in sampled(rows.len()) {
        let want = host[ids[at / width] as usize * width + at % width];
        check("embedding_fwd", rows[at], f64::from(want), 0.0);
    }
    for &id in ids.iter().take(64) {
        let stands = ids.iter().filter(|&&other| other == id).count();
        let got = sums[id as usize * width + 3];
        check("embedding_bwd", got, stands as f64, 1.0);
    }
    // Rows read and written; the loss reads them, its gradient is written and read, sums read and
    // written at most once per token.
    let bytes = (7 * 4 * steps * batch * width) as f64;
    Ok(replayed(gpu, recording, Work::Bytes(bytes)))
}

/// A quarter of 8 M values dropped.
pub fn dropout(gpu: &Gpu) -> Result<Case> {
    let (len, p) = (8usize << 20, 0.25);
    let host = noise(len, 1, 1.0);
    let x = parameter(gpu, &[len], &host)?;
    let (recording, y) = recorded(gpu, true, |tape| ops::dropout(tape, &x, p))?;
    let (y, dx) = (y.to_vec::<f32>()?, gradient(&x)?);
    let kept = y.iter().filter(|&&v| v != 0.0).count() as f64 / len as f64;
    assert!((kept - 0.75).abs() < 1e-3, "dropout kept {kept}");
    for at in sampled(len) {
        let factor = if y[at] == 0.0 { 0.0 } else { 1.0 / 0.75 };
        check("dropout_fwd", y[at], factor * f64::from(host[at]), 1.0);
        check("dropout_bwd", dx[at], factor, 1.0);
    }
    // Forward two arrays, the sum one, its gradient one, backward three.
    Ok(replayed(gpu, recording, Work::Bytes((7 * 4 * len) as f64)))
}

/// A whole layer: T 64, B 32, I 256, H 512. Checked in f64 along the first row of the batch: all its
/// states, and the gradient of its last input.
pub fn lstm(gpu: &Gpu, backward: bool) -> Result<Case> {
    let (steps, batch, inputs, hidden) = (64, 32, 256, 512);
    let small = |shape: &[usize], seed| -> Result<(Tensor, Vec<f32>)> {
        let values = noise(shape.iter().product(), seed, 0.05);
        Ok((parameter(gpu, shape, &values)?, values))
    };
    let x_host = noise(steps * batch * inputs, 1, 1.0);
    let x = parameter(gpu, &[steps, batch, inputs], &x_host)?;
    let (w_ih, w_ih_host) = small(&[4 * hidden, inputs], 2)?;
    let (w_hh, w_hh_host) = small(&[4 * hidden, hidden], 3)?;
    let (bias, bias_host) = small(&[4 * hidden], 4)?;
    // A second bias of zeros: the two would share one gradient.
    let zeros = Tensor::zeros(gpu, [4 * hidden])?;
    let lens = Tensor::from_slice(gpu, [batch], &vec![steps as u32; batch])?;
    let (recording, out) = recorded(gpu, backward, |tape| {
        let weights = LstmWeights {
            w_ih: &w_ih,
            w_hh: &w_hh,
            b_ih: &bias,
            b_hh: &zeros,
        };
        Ok(ops::lstm(tape, &x, &lens, None, &weights, LstmOptions::default())?.out)
    })?;

    let got = out.to_vec::<f32>()?;
    let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
    let dot =
        |w: &[f32], v: &[f64]| -> f64 { w.iter().zip(v).map(|(w, v)| f64::from(*w) * v).sum() };
    let (mut h, mut c) = (vec![0.0f64; hidden], vec![0.0f64; hidden]);
    let mut dgates = vec![0.0f64; 4 * hidden];
    for t in 0..steps {
        let first = t * batch * inputs;
        let x: Vec<f64> = x_host[first..first + inputs]
            .iter()
            .map(|&v| v.into())
            .collect();
        let gate = |row: usize| {
            dot(&w_ih_host[row * inputs..(row + 1) * inputs], &x)
                + dot(&w_hh_host[row * hidden..(row + 1) * hidden], &h)
                + f64::from(bias_host[row])
        };
        let mut next = vec![0.0; hidden];
        for (u, next) in next.iter_mut().enumerate() {
            let [i, f, g, o] = [0, 1, 2, 3].map(|q| gate(q * hidden + u));
            let (i, f, g, o) = (sigmoid(i), sigmoid(f), g.tanh(), sigmoid(o));
            let before = c[u];
            c[u] = f * before + i * g;
            let squashed = c[u].tanh();
            *next = o * squashed;
            // Of the last step: no later one adds to it.
            let dc = o * (1.0 - squashed * squashed);
            dgates[u] = dc * g * i * (1.0 - i);
            dgates[hidden + u] = dc * before * f * (1.0 - f);
            dgates[2 * hidden + u] = dc * i * (1.0 - g * g);
            dgates[3 * hidden + u] = squashed * o * (1.0 - o);
        }
        h = next;
        for (u, want) in h.iter().enumerate() {
            check("lstm_fwd", got[t * batch * hidden + u], *want, 1.0);
        }
    }
    let flops = (2 * steps * batch * 4 * hidden * (inputs + hidden)) as f64;
    if !backward {
        return Ok(replayed(gpu, recording, Work::Flops(flops)));
    }
    let dx = gradient(&x)?;
    let first = (steps - 1) * batch * inputs;
    for (i, &got) in dx[first..first + inputs].iter().enumerate() {
        let want: f64 = dgates
            .iter()
            .enumerate()
            .map(|(row, d)| d * f64::from(w_ih_host[row * inputs + i]))
            .sum();
        check("lstm_bwd", got, want, 1.0);
    }
    Ok(replayed(gpu, recording, Work::Flops(3.0 * flops)))
}
