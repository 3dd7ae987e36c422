//! Every form of the matrix product that the adapter can run: NaN in C where it is overwritten, guard
//! words on both sides of it, run twice.

use half::f16;

use super::evidence::{Evidence, Way};
use super::operators::dropout::kept;
use super::operators::packed::blocks;
use crate::blocks::BlockType;
use crate::device::Gpu;
use crate::error::Result;
use crate::ops::Draw;
use crate::ops::matmul::{Candidate, LowRank, Product, product_as};
use crate::optim::StepState;
use crate::reference::compare::compare;
use crate::reference::matmul::{MatMul, matmul_epilogue};
use crate::reference::{Data, Float, cast, tolerance};
use crate::tensor::{DType, Tape, Tensor};

const GUARD: f32 = 12345.5;
/// Elements on each side of C: a whole number of any adapter's alignment.
const MARGIN: usize = 64;

/// A product and its epilogue.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub shape: MatMul,
    /// C lies as its transpose.
    pub transpose_c: bool,
    pub accumulate: bool,
    pub bias: bool,
    pub alpha: f32,
    /// Which of A, B and C are f16.
    pub half: [bool; 3],
    /// What B is packed in.
    pub blocks: Option<BlockType>,
    /// What is added to C in the same pass.
    pub update: Option<Update>,
}

/// A low-rank update, 1.5 U V, or U V times the mask of a dropout.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    pub rank: usize,
    /// V is (n, rank).
    pub transposed: bool,
    /// The probability of its mask, 0 without one.
    pub dropout: f32,
}

impl Update {
    const SCALE: f32 = 1.5;

    /// Adds it to C (m, n); U (m, rank).
    fn add<F: Float>(&self, c: &mut [F], u: &[f32], v: &[f32], n: usize) {
        let keep = kept(c.len(), self.dropout);
        for (e, c) in c.iter_mut().enumerate() {
            let (row, column) = (e / n, e % n);
            let mut sum = F::ZERO;
            for r in 0..self.rank {
                let at = match self.transposed {
                    true => column * self.rank + r,
                    false => r * n + column,
                };
                sum += F::of(u[row * self.rank + r].into()) * F::of(v[at].into());
            }
            let factor = match (self.dropout > 0.0, keep[e]) {
                (false, _) => Self::SCALE.into(),
                (true, true) => 1.0 / (1.0 - f64::from(self.dropout)),
                (true, false) => 0.0,
            };
            *c += F::of(factor) * sum;
        }
    }
}

impl Case {
    /// A (m, k) · B (k, n), overwriting C.
    pub fn plain(m: usize, n: usize, k: usize) -> Case {
        Case {
            shape: MatMul::nn(m, n, k),
            transpose_c: false,
            accumulate: false,
            bias: false,
            alpha: 1.0,
            half: [false; 3],
            blocks: None,
            update: None,
        }
    }

    /// With A and B as their transposes.
    #[must_use]
    pub fn transposed(mut self, [a, b]: [bool; 2]) -> Case {
        (self.shape.transpose_a, self.shape.transpose_b) = (a, b);
        self
    }

    fn expected<F: Float>(&self, a: &[f32], b: &[f32], bias: &[f32], old: &[f32]) -> Vec<F> {
        let alpha = F::of(self.alpha.into());
        let a: Vec<F> = cast::<F, f32>(a).into_iter().map(|a| a * alpha).collect();
        let (bias, old) = (cast::<F, f32>(bias), cast::<F, f32>(old));
        let bias = self.bias.then_some(&bias[..]);
        let old = self.accumulate.then_some(&old[..]);
        matmul_epilogue(&self.shape, &a, &cast(b), bias, old)
    }

    /// The dims of a matrix of `rows` and `columns`, as it lies.
    pub(super) fn dims(&self, rows: usize, columns: usize, transposed: bool) -> Vec<usize> {
        let lead = (self.shape.batch > 1).then_some(self.shape.batch);
        let own = if transposed {
            [columns, rows]
        } else {
            [rows, columns]
        };
        lead.into_iter().chain(own).collect()
    }

    /// Matrices of so many rows as their transposes.
    fn turned(&self, values: &[f32], rows: usize) -> Vec<f32> {
        let (m, n) = (self.shape.m, self.shape.n);
        let columns = m * n / rows;
        let of = |one: &[f32]| -> Vec<f32> {
            let at = |i: usize| one[i % rows * columns + i / rows];
            (0..one.len()).map(at).collect()
        };
        values.chunks(m * n).flat_map(of).collect()
    }

    /// Proves it in one form.
    ///
    /// # Errors
    /// Those of the device, and where the form cannot make such a product.
    pub fn prove(&self, gpu: &Gpu, form: Candidate) -> Result<Evidence> {
        let MatMul { batch, m, n, k, .. } = self.shape;
        let mut case = *self;
        // Matrix units multiply f16.
        if matches!(form.whole(), Candidate::Coop(_)) {
            (case.half[0], case.half[1]) = (true, true);
        }
        let half = case.half;
        let mut data = Data::new((m * 3 + n * 5 + k * 7) as u64);
        let mut values = |len, half: bool| -> Vec<f32> {
            let values = data.peaked(len, 1.0, 20.0);
            if half {
                values.iter().map(|&v| f16::from_f32(v).to_f32()).collect()
            } else {
                values
            }
        };
        let (a, mut b) = (
            values(batch * m * k, half[0]),
            values(batch * k * n, half[1]),
        );
        let (bias, old) = (values(n, false), values(batch * m * n, half[2]));
        let rank = self.update.map_or(0, |update| update.rank);
        let (u, v) = (values(m * rank, false), values(rank * n, false));
        let dtype = |half: bool| if half { DType::F16 } else { DType::F32 };
        let tensor = |dims: Vec<usize>, half: bool, values: &[f32]| -> Result<Tensor> {
            let tensor = Tensor::empty(gpu, dims, dtype(half))?;
            tensor.write_rounded(values)?;
            Ok(tensor)
        };
        let dims = self.dims(k, n, self.shape.transpose_b);
        let matrix = match self.blocks {
            Some(kind) => {
                let (bytes, plain) = blocks(&mut data, kind, k * n / kind.elements());
                b = plain;
                let matrix = Tensor::empty(gpu, dims, DType::Packed(kind))?;
                matrix.write_blocks(&bytes)?;
                matrix
            }
            None => tensor(dims, half[1], &b)?,
        };
        let on_device = (
            tensor(self.dims(m, k, self.shape.transpose_a), half[0], &a)?,
            matrix,
            tensor(vec![n], false, &bias)?,
        );
        let before = match self.accumulate {
            true if self.transpose_c => self.turned(&old, m),
            true => old.clone(),
            false => vec![f32::NAN; old.len()],
        };
        let state = StepState::new(gpu, 5)?;
        let low_rank = match self.update {
            Some(update) => {
                let dims = self.dims(rank, n, update.transposed);
                let tape = Tape::training(gpu, state.tensor());
                Some((
                    tensor(vec![m, rank], false, &u)?,
                    tensor(dims, false, &v)?,
                    Draw::new(&tape, "matmul", update.dropout)?,
                ))
            }
            None => None,
        };
        let low_rank = low_rank.as_ref().map(|(u, v, mask)| LowRank {
            trans_v: self.update.is_some_and(|update| update.transposed),
            scale: Update::SCALE,
            mask: mask.as_ref(),
            ..LowRank::new(u, v)
        });
        let guard = [if half[2] { coarse(GUARD) } else { GUARD }; MARGIN];
        let around = [&guard[..], &before, &guard[..]].concat();
        let mut evidence = Evidence::of(format!("product, {form}, {self:?}"));
        let mut run = || -> Result<Vec<f32>> {
            let whole = tensor(vec![around.len()], half[2], &around)?;
            let c = whole.window(MARGIN, self.dims(m, n, self.transpose_c))?;
            let product = Product {
                trans_a: self.shape.transpose_a,
                trans_b: self.shape.transpose_b,
                trans_c: self.transpose_c,
                accumulate: self.accumulate,
                alpha: self.alpha,
                bias: self.bias.then_some(&on_device.2),
                low_rank,
                ..Product::new(&on_device.0, &on_device.1, &c)
            };
            let (recording, ()) = gpu.record(|| product_as(&product, form))?;
            gpu.replay(&recording)?;
            evidence.ran(Way::Forward, recording.kernels());
            let mut values = whole.to_f32_vec()?;
            let after = values.split_off(MARGIN + old.len());
            let inside = values.split_off(MARGIN);
            if values != guard || after != guard {
                evidence.wrong(Way::Forward, "what stands beside C is overwritten".into());
            }
            Ok(if self.transpose_c {
                self.turned(&inside, n)
            } else {
                inside
            })
        };
        let (got, again) = (run()?, run()?);
        let mut want = self.expected::<f64>(&a, &b, &bias, &old);
        let mut naive = self.expected::<f32>(&a, &b, &bias, &old);
        if let Some(update) = &self.update {
            update.add(&mut want, &u, &v, n);
            update.add(&mut naive, &u, &v, n);
        }
        let tolerance = if half[2] {
            tolerance::HALF
        } else {
            tolerance::MATMUL
        };
        evidence.add(Way::Forward, "C", compare(&got, &want, &naive, tolerance));
        evidence.same(Way::Forward, "C", &got, &again);
        Ok(evidence)
    }
}

fn coarse(v: f32) -> f32 {
    f16::from_f32(v).to_f32()
}

/// The forms that this adapter can run, but for images, which do not suit all sizes.
pub fn forms(gpu: &Gpu) -> Vec<Candidate> {
    let mut forms = vec![
        Candidate::Direct { wg: 16 },
        Candidate::Direct { wg: 64 },
        Candidate::Tile { bm: 64, bn: 64 },
        Candidate::Tile { bm: 128, bn: 128 },
    ];
    // It broadcasts from eight lanes.
    if gpu.caps().broadcasts() {
        forms.push(Candidate::Subgroup { rows: 8, wg: 16 });
        forms.push(Candidate::Subgroup { rows: 32, wg: 16 });
    }
    // For operands of f16, on adapters with matrix units.
    forms.extend(gpu.caps().matrix.map(Candidate::Coop));
    forms
}

/// The forms for few rows and lines along k, in cases that suit them: whole and part workgroups, passes
/// over B, epilogues, batches, f16, and every kind of blocks, its lines beginning on any sixteen of bytes.
///
/// # Errors
/// As [`Case::prove`].
pub fn few_rows(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let by_lanes = gpu.caps().broadcasts();
    let f16 = gpu.caps().f16;
    let along_k = |m, n, k| Case::plain(m, n, k).transposed([false, true]);
    let mut cases = Vec::new();
    for wg in [8, 32] {
        let form = Candidate::Vec { wg };
        for (m, n, k) in [(1, 1, 4), (1, 257, 64), (3, 63, 124), (8, 40, 516)] {
            cases.push((along_k(m, n, k), form));
        }
        let batch = along_k(2, 9, 20);
        let shape = batch.shape.batched(3);
        cases.push((Case { shape, ..batch }, form));
    }
    for kind in BlockType::PACKED {
        let block = kind.elements();
        let blocks = Some(kind);
        let sizes = [(1, 35, 9 * block), (2, 8, block), (7, 66, 4 * block)];
        let mut forms = vec![Candidate::Vec { wg: 8 }, Candidate::Vec { wg: 32 }];
        if by_lanes && block == 32 {
            forms.push(Candidate::VecSubgroup);
        }
        for form in forms {
            cases.extend(sizes.map(|(m, n, k)| {
                (
                    Case {
                        blocks,
                        ..along_k(m, n, k)
                    },
                    form,
                )
            }));
        }
    }
    for (case, form) in cases.clone() {
        let MatMul { m, k, .. } = case.shape;
        let each = case.blocks.is_none_or(|kind| kind == BlockType::Q8_0);
        if !each || m != 1 || k == 4 {
            continue;
        }
        let case = Case {
            accumulate: true,
            bias: true,
            alpha: 0.5,
            ..case
        };
        cases.push((case, form));
        let turned = Case {
            transpose_c: true,
            ..case
        };
        cases.push((turned, form));
        if f16 {
            let half = [true, case.blocks.is_none(), true];
            cases.push((Case { half, ..case }, form));
        }
    }
    let prove = |(case, form): &(Case, Candidate)| case.prove(gpu, *form);
    cases.iter().map(prove).collect()
}

/// A and B as they are and as their transposes.
pub const TRANSPOSITIONS: [[bool; 2]; 4] =
    [[false, false], [false, true], [true, false], [true, true]];

/// Every form that adds low-rank updates, and those that have them added after it: ranks that fill nothing, V in
/// both orders, masks, of whole fours of columns and of others.
///
/// # Errors
/// As [`Case::prove`].
pub fn updated(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    let mut prove = |case: Case, form| -> Result<()> {
        all.push(case.prove(gpu, form)?);
        Ok(())
    };
    let update = |rank, transposed, dropout| {
        Some(Update {
            rank,
            transposed,
            dropout,
        })
    };
    let updates = [
        update(1, false, 0.0),
        update(3, true, 0.0),
        update(8, true, 0.0),
        update(20, false, 0.25),
    ];
    let mut all_forms = forms(gpu);
    let units = gpu.caps().matrix;
    all_forms.push(Candidate::Split { parts: 2, units });
    if gpu.caps().reads_images() {
        all_forms.push(Candidate::Image { rows: 8 });
    }
    for form in all_forms {
        for ((m, n), update) in [(65, 80), (9, 128), (40, 200), (33, 68)]
            .into_iter()
            .zip(updates)
        {
            let case = Case {
                update,
                ..Case::plain(m, n, 64).transposed([false, true])
            };
            prove(case, form)?;
            let onto = Case {
                accumulate: true,
                bias: true,
                ..case
            };
            // Parts of k take no bias.
            if form.whole() == form {
                prove(onto, form)?;
            }
        }
    }
    for form in [Candidate::Vec { wg: 8 }, Candidate::Vec { wg: 32 }] {
        for update in updates {
            let case = Case::plain(3, 68, 64).transposed([false, true]);
            prove(Case { update, ..case }, form)?;
        }
    }
    // A mask of lines that are no whole fours goes by itself.
    let odd = Case {
        update: update(5, true, 0.5),
        ..Case::plain(7, 13, 20)
    };
    prove(odd, Candidate::Direct { wg: 16 })?;
    let packed = Case {
        blocks: Some(BlockType::Q4_1),
        ..Case::plain(2, 72, 64).transposed([false, true])
    };
    let mut packed_forms = vec![Candidate::Vec { wg: 32 }];
    if gpu.caps().broadcasts() {
        packed_forms.push(Candidate::VecSubgroup);
    }
    for form in packed_forms {
        for update in updates {
            prove(Case { update, ..packed }, form)?;
        }
    }
    Ok(all)
}
