//! The masked-LM head at BERT's vocabulary, forward and backward: melos' form, which takes only the
//! masked rows and never holds their logits at once, beside the naive form, which computes and stores
//! the logits of every position. Both give the same loss and the same gradients, which is checked
//! before they are timed.
//!
//! `cargo bench --bench masked_lm`

#[path = "support/report.rs"]
mod report;
#[path = "support/values.rs"]
mod values;

use std::cell::OnceCell;

use criterion::{Criterion, criterion_group, criterion_main};
use melos::Result;
use melos::device::{Gpu, Groups};
use melos::kernels::Variant;
use melos::ops::matmul::{Product, product};
use melos::ops::{self, RowSelection, Unary};
use melos::optim::StepState;
use melos::tensor::{DType, Tape, Tensor};
use values::{gradient, noise};

const VOCAB: usize = 30_522;
const WIDTH: usize = 256;
/// 8 sequences of 128: one more and the naive form's logits exceed a binding of 128 MiB.
const POSITIONS: usize = 1024;
/// 15 %.
const MASKED: usize = 154;

/// The encoder's output, the head's parameters, and what the masked positions should be.
struct Head {
    gpu: Gpu,
    state: StepState,
    hidden: Tensor,
    dense: Tensor,
    gamma: Tensor,
    beta: Tensor,
    /// The embedding, tied.
    table: Tensor,
    bias: Tensor,
    selection: RowSelection,
    /// Of the masked rows, and of all positions with `u32::MAX` where nothing is masked.
    targets: [Tensor; 2],
    weights: [Tensor; 2],
}

impl Head {
    fn new(gpu: &Gpu) -> Result<Head> {
        let parameter = |shape: &[usize], seed, size| {
            values::parameter(gpu, shape, &noise(shape.iter().product(), seed, size))
        };
        let rows: Vec<u32> = (0..MASKED)
            .map(|i| (i * POSITIONS / MASKED) as u32)
            .collect();
        let words: Vec<u32> = (0..MASKED).map(|i| (i * 7919 % VOCAB) as u32).collect();
        let mut all = vec![u32::MAX; POSITIONS];
        for (row, word) in rows.iter().zip(&words) {
            all[*row as usize] = *word;
        }
        let selection = RowSelection::empty(gpu, POSITIONS, MASKED)?;
        selection.write(&rows)?;
        let upload = |words: &[u32]| Tensor::from_slice(gpu, [words.len()], words);
        let mean = |n: usize| Tensor::from_slice(gpu, [n], &vec![1.0 / MASKED as f32; n]);
        Ok(Head {
            state: StepState::new(gpu, 1)?,
            hidden: parameter(&[POSITIONS, WIDTH], 1, 1.0)?,
            dense: parameter(&[WIDTH, WIDTH], 2, 0.1)?,
            gamma: parameter(&[WIDTH], 3, 1.0)?,
            beta: parameter(&[WIDTH], 4, 0.1)?,
            table: parameter(&[VOCAB, WIDTH], 5, 0.05)?,
            bias: parameter(&[VOCAB], 6, 0.1)?,
            targets: [upload(&words)?, upload(&all)?],
            weights: [mean(MASKED)?, mean(POSITIONS)?],
            selection,
            gpu: gpu.clone(),
        })
    }

    fn tape(&self) -> Tape {
        Tape::training(&self.gpu, self.state.tensor())
    }

    /// Dense, GELU, LayerNorm.
    fn transform(&self, tape: &Tape, x: &Tensor) -> Result<Tensor> {
        let h = ops::linear(tape, x, &self.dense, None)?;
        let h = ops::unary(tape, &h, Unary::Gelu)?;
        Ok(ops::layer_norm(tape, &h, None, &self.gamma, &self.beta, 1e-12)?.y)
    }

    /// Gather, transform, project and lose in chunks.
    fn masked(&self) -> Result<Tensor> {
        let tape = self.tape();
        let x = ops::select_rows(&tape, &self.hidden, &self.selection)?;
        let h = self.transform(&tape, &x)?;
        let (targets, weights) = (&self.targets[0], &self.weights[0]);
        let loss =
            ops::linear_cross_entropy(&tape, &h, &self.table, Some(&self.bias), targets, weights)?;
        tape.backward(&loss)?;
        Ok(loss)
    }

    /// All positions through everything, all logits at once; their gradient takes their place,
    /// which halves what the naive form needs elsewhere.
    fn naive(&self) -> Result<Tensor> {
        let tape = self.tape();
        let h = self.transform(&tape, &self.hidden)?;
        let empty = |shape: &[usize]| Tensor::empty(&self.gpu, shape, DType::F32);
        let logits = empty(&[POSITIONS, VOCAB])?;
        product(&Product {
            bias: Some(&self.bias),
            trans_b: true,
            ..Product::new(&h, &self.table, &logits)
        })?;
        let losses = empty(&[POSITIONS])?;
        let variant = Variant::new().with("GRAD", true);
        let kernel = self.gpu.kernel("softmax_xent", &variant)?;
        let params = [POSITIONS as u32, VOCAB as u32, 0, 0, VOCAB as u32];
        let (targets, weights) = (&self.targets[1], &self.weights[1]);
        let bindings = [targets, weights, &logits, &losses].map(Tensor::binding);
        let groups = Groups::Linear(POSITIONS as u64);
        self.gpu.dispatch(&kernel, &params, &bindings, groups)?;
        if let Some(grad) = self.table.grad() {
            product(&Product {
                trans_a: true,
                accumulate: true,
                ..Product::new(&logits, &h, grad)
            })?;
        }
        let dh = empty(&[POSITIONS, WIDTH])?;
        product(&Product::new(&logits, &self.table, &dh))?;
        // The gradient of Σ h·dh by h is dh. (The bias', a column sum, is left out.)
        let inner = ops::sum_all(&tape, &ops::mul(&tape, &h, &dh)?)?;
        tape.backward(&inner)?;
        ops::sum_all(&Tape::inference(&self.gpu), &losses)
    }

    fn gradients(&self) -> Result<Vec<Vec<f32>>> {
        let tensors = [&self.hidden, &self.dense, &self.gamma, &self.table];
        tensors.into_iter().map(gradient).collect()
    }
}

type Form = fn(&Head) -> Result<Tensor>;

/// Fails loudly: a wrong result is not worth timing.
fn check(gpu: &Gpu) -> Result<()> {
    let (ours, naive) = (Head::new(&gpu.fork())?, Head::new(&gpu.fork())?);
    let (a, b) = (
        ours.masked()?.to_vec::<f32>()?[0],
        naive.naive()?.to_vec::<f32>()?[0],
    );
    assert!((a - b).abs() < 1e-4 * b, "losses of {a} and {b}");
    for (ours, naive) in ours.gradients()?.iter().zip(naive.gradients()?) {
        let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|v| v * v).sum::<f32>().sqrt();
        let error = norm(&mut ours.iter().zip(&naive).map(|(a, b)| a - b));
        let size = norm(&mut naive.iter().copied());
        assert!(error < 1e-4 * size, "gradients differ by {error} of {size}");
    }
    Ok(())
}

fn masked_lm(criterion: &mut Criterion) {
    let mut report = report::Report::open("masked_lm");
    let mut group = report::group(criterion, "masked_lm");
    let checked = OnceCell::new();
    let forms: [(&str, Form); 2] = [("melos", Head::masked), ("naive", Head::naive)];
    for (name, run) in forms {
        report.time(
            &mut group,
            &format!("{name}_V{VOCAB}_C{WIDTH}_{MASKED}_of_{POSITIONS}"),
            |gpu| {
                checked.get_or_init(|| check(gpu).expect("equal results"));
                Head::new(gpu)
            },
            |head| run(head).map(drop),
            |_| report::Work {
                tokens: Some(POSITIONS),
                ..report::Work::default()
            },
        );
    }
    group.finish();
    report.finish();
}

criterion_group!(benches, masked_lm);
criterion_main!(benches);
