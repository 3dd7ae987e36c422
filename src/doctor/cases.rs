//! What the doctor tries: every operator at sizes on both sides of what kernels tile by, every form of
//! product, LSTM and attention, the optimisers.

use super::evidence::Evidence;
use super::forms::{self, TRANSPOSITIONS, forms};
use super::operators::attention::{Attend, Layout};
use super::operators::dropout::{Dropout, Noise};
use super::operators::elementwise::{Concat, FUNCTIONS, OfOne, OfTwo, Sum, apart};
use super::operators::layout::Slice;
use super::operators::lora::{self, Adapted};
use super::operators::loss::{Loss, OfLogits, OfRows, OfTargets, Smoothed};
use super::operators::lstm::{self, Case as LstmCase};
use super::operators::norm::{self, Norm, Used};
use super::operators::products::{Linear, Product};
use super::operators::rows::Rows;
use super::operators::select::{Pool, Select};
use super::proof::{input, prove};
use super::{decoders, half, optimizers, pictures, plain};
use crate::device::Gpu;
use crate::error::Result;
use crate::ops::matmul::Candidate;
use crate::ops::{Binary, LstmForm, Unary};
use crate::reference::attention::Attention;
use crate::reference::lora::Lora;
use crate::reference::loss::TargetLoss;
use crate::reference::matmul::MatMul;
use crate::reference::{Data, ODD_SIZES};

/// Some proofs that belong together.
pub(super) struct Case {
    /// What it is about.
    pub name: &'static str,
    /// Whether the adapter's optional features change what runs, so that it is tried without them as
    /// well.
    pub both: bool,
    /// Whether it needs 16-bit floats.
    pub half: bool,
    pub run: fn(&Gpu) -> Result<Vec<Evidence>>,
}

const fn case(name: &'static str, run: fn(&Gpu) -> Result<Vec<Evidence>>) -> Case {
    Case {
        name,
        both: false,
        half: false,
        run,
    }
}

const fn both(name: &'static str, run: fn(&Gpu) -> Result<Vec<Evidence>>) -> Case {
    Case {
        both: true,
        ..case(name, run)
    }
}

const fn in_f16(case: Case) -> Case {
    Case { half: true, ..case }
}

/// All of them.
pub(super) const CASES: &[Case] = &[
    case("copies and fills", plain::copies),
    case("functions", functions),
    case("arithmetic", arithmetic),
    case("sums", sums),
    case("dropout", dropout),
    case("layer normalisation", norms),
    case("root-mean-square normalisation", decoders::rms_norms),
    case("rotary positions and gates", decoders::rotary),
    case("embedding", embeddings),
    case("rows", rows),
    case("convolutions", pictures::convolutions),
    case("forms of the convolution", pictures::forms),
    case("pools", pictures::pools),
    case("batch normalisation", pictures::batch_norms),
    case("losses", losses),
    case("optimisers", optimizers::all),
    both("products", products),
    both("packed weights", decoders::packed),
    case("forms of the product", product_forms),
    case("products of images", images),
    case("split products", split_products),
    case("products of few rows", forms::few_rows),
    both("LoRA", low_rank),
    both("linear layer and loss", linear_losses),
    both("attention", attention),
    both("LSTM", lstm_layers),
    case("forms of the LSTM", lstm_forms),
    in_f16(case("elements in f16", half::elements)),
    in_f16(case("rows in f16", half::rows)),
    in_f16(case("pictures in f16", pictures::in_f16)),
    in_f16(case("products in f16", half::products)),
    in_f16(both("layers in f16", half::layers)),
    in_f16(both("attention in f16", half::attention)),
];

fn functions(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for f in FUNCTIONS {
        for n in ODD_SIZES.into_iter().chain([260]) {
            let mut data = Data::new(n as u64);
            let x = match f {
                Unary::Log | Unary::Sqrt => data.uniform(n, 0.02, 30.0),
                Unary::Exp => data.peaked(n, 1.0, 3.0),
                _ => data.peaked(n, 1.5, 20.0),
            };
            all.push(prove(&OfOne(f), gpu, &[input(&[n], x)])?);
        }
    }
    Ok(all)
}

fn arithmetic(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let shapes: [(&[usize], &[usize]); 4] = [
        (&[257], &[257]),
        (&[3, 65], &[65]),
        (&[3, 1, 5], &[1, 63, 1]),
        (&[300, 4], &[4]),
    ];
    let mut all = Vec::new();
    for op in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div] {
        for (a, b) in shapes {
            let mut data = Data::new(a.len() as u64);
            let inputs = [apart(&mut data, a), apart(&mut data, b)];
            let (a, b) = (a.to_vec(), b.to_vec());
            all.push(prove(&OfTwo { op, a, b }, gpu, &inputs)?);
        }
    }
    Ok(all)
}

fn sums(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    // The last takes two passes.
    for n in [1, 63, 257, 16_385] {
        let x = Data::new(n as u64).peaked(n, 1.0, 50.0);
        all.push(prove(&Sum, gpu, &[input(&[n], x)])?);
    }
    let mut data = Data::new(8);
    let parts = [65, 3].map(|w| input(&[5, w], data.normal(5 * w, 1.0)));
    all.push(prove(&Concat(vec![65, 3]), gpu, &parts)?);
    for (row, first, width) in [(63, 60, 3), (12, 4, 4)] {
        let slice = Slice::columns(row, first, width);
        let x = input(&[65, row], data.normal(65 * row, 1.0));
        all.push(prove(&slice, gpu, &[x])?);
    }
    Ok(all)
}

fn dropout(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for (n, p) in [(1, 0.5), (257, 0.1), (1028, 0.9)] {
        let x = Data::new(n as u64).peaked(n, 1.0, 20.0);
        all.push(prove(&Dropout(p), gpu, &[input(&[n], x)])?);
        let x = Data::new(n as u64).normal(n, 0.1);
        all.push(prove(&Noise(p), gpu, &[input(&[n], x)])?);
    }
    Ok(all)
}

fn norms(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for dims in [[65, 63], [3, 257], [9, 260]] {
        for (residual, p) in [(None, 0.0), (Some(Used::Both), 0.0), (Some(Used::Y), 0.3)] {
            let mut data = Data::new(dims[1] as u64);
            let op = Norm {
                residual,
                p,
                eps: 1e-5,
            };
            let count = 1 + usize::from(residual.is_some());
            all.push(prove(&op, gpu, &norm::inputs(&mut data, &dims, count))?);
        }
    }
    Ok(all)
}

fn embeddings(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for (sizes, padded) in [([41, 3, 5, 65], true), ([17, 33, 63, 4], false)] {
        let mut data = Data::new(sizes[0] as u64);
        let op = Rows::new(gpu, &mut data, sizes, padded)?;
        let [_, _, vocab, width] = sizes;
        let table = input(&[vocab, width], data.peaked(vocab * width, 1.0, 20.0));
        all.push(prove(&op, gpu, &[table])?);
    }
    Ok(all)
}

fn rows(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for (n, width) in [(65, 123), (21, 12), (3, 257)] {
        let x = Data::new(n as u64).peaked(n * width, 1.0, 20.0);
        all.push(prove(
            &Select::new(gpu, n, width)?,
            gpu,
            &[input(&[n, width], x)],
        )?);
    }
    for (steps, width) in [(65, 63), (9, 260)] {
        // One row without anything valid, one with more than there is.
        let op = Pool::new(
            gpu,
            vec![steps as u32, 0, steps as u32 + 9, 1],
            steps,
            width,
        )?;
        let x = Data::new(steps as u64).peaked(4 * steps * width, 1.0, 20.0);
        all.push(prove(&op, gpu, &[input(&[4, steps, width], x)])?);
    }
    Ok(all)
}

fn losses(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for loss in [TargetLoss::BinaryCrossEntropy, TargetLoss::SquaredError] {
        for dims in [[65, 3], [3, 257]] {
            let mut data = Data::new(dims[0] as u64);
            // Peaks far beyond where exp overflows.
            let z = input(&dims, data.peaked(dims[0] * dims[1], 3.0, 60.0));
            let op = OfTargets::new(gpu, &mut data, loss, dims)?;
            all.push(prove(&op, gpu, &[z])?);
        }
    }
    for (rows, classes) in [(65, 7), (17, 64)] {
        let mut data = Data::new(rows as u64);
        let logits = [input(
            &[rows, classes],
            data.peaked(rows * classes, 2.0, 30.0),
        )];
        let loss = Loss::new(gpu, &mut data, rows, classes)?;
        all.push(prove(&OfLogits(loss), gpu, &logits)?);
        let loss = Loss::new(gpu, &mut data, rows, classes)?;
        all.push(prove(&OfRows(loss), gpu, &logits)?);
        let loss = Loss::new(gpu, &mut data, rows, classes)?;
        let smoothing = 0.3;
        all.push(prove(&Smoothed { loss, smoothing }, gpu, &logits)?);
    }
    Ok(all)
}

fn products(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for (batch, (m, n, k)) in [
        (1, (1, 257, 123)),
        (1, (65, 3, 257)),
        (1, (68, 36, 40)),
        (3, (5, 63, 33)),
    ] {
        for [transpose_a, transpose_b] in TRANSPOSITIONS {
            let case = forms::Case::plain(m, n, k).transposed([transpose_a, transpose_b]);
            let mut data = Data::new((m + n + k) as u64);
            let mut operand = |dims: Vec<usize>| {
                let values = data.peaked(dims.iter().product(), 1.0, 20.0);
                input(&dims, values)
            };
            let shape = case.shape.batched(batch);
            let case = forms::Case { shape, ..case };
            let inputs = [
                operand(case.dims(m, k, transpose_a)),
                operand(case.dims(k, n, transpose_b)),
            ];
            all.push(prove(&Product(shape), gpu, &inputs)?);
        }
    }
    // The last has more rows than one pass of the bias's sum.
    for (rows, inputs, outputs) in [(65, 3, 63), (369, 17, 5)] {
        let mut data = Data::new(rows as u64);
        let all_inputs = [&[rows, inputs][..], &[outputs, inputs], &[outputs]]
            .map(|dims| input(dims, data.peaked(dims.iter().product(), 1.0, 20.0)));
        all.push(prove(
            &Linear(MatMul::nt(rows, outputs, inputs)),
            gpu,
            &all_inputs,
        )?);
    }
    Ok(all)
}

/// A product's epilogue: transposed C, what was there, a bias, a factor.
fn epilogue(case: forms::Case, [transpose_c, accumulate, bias]: [bool; 3]) -> forms::Case {
    forms::Case {
        transpose_c,
        accumulate,
        bias,
        alpha: 0.5,
        ..case
    }
}

fn product_forms(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for form in forms(gpu) {
        for swapped in TRANSPOSITIONS {
            for (m, n, k) in [(1, 257, 65), (3, 63, 123), (65, 123, 257), (40, 136, 24)] {
                all.push(
                    forms::Case::plain(m, n, k)
                        .transposed(swapped)
                        .prove(gpu, form)?,
                );
            }
            let batch = forms::Case::plain(24, 72, 16).transposed(swapped);
            let shape = batch.shape.batched(3);
            let batch = epilogue(
                forms::Case { shape, ..batch },
                [false, swapped[0], swapped[1]],
            );
            all.push(batch.prove(gpu, form)?);
        }
        let lines = forms::Case::plain(67, 5, 64).transposed([false, true]);
        all.push(epilogue(lines, [true; 3]).prove(gpu, form)?);
    }
    Ok(all)
}

fn images(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    if !gpu.caps().reads_images() {
        return Ok(all);
    }
    for (rows, (m, n, k)) in [(8, (64, 64, 64)), (8, (96, 80, 48)), (32, (192, 128, 64))] {
        for swapped in TRANSPOSITIONS {
            let case = forms::Case::plain(m, n, k).transposed(swapped);
            let case = epilogue(case, [false, swapped[0], swapped[1]]);
            all.push(case.prove(gpu, Candidate::Image { rows })?);
        }
    }
    Ok(all)
}

fn split_products(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    let units = std::iter::once(None).chain(gpu.caps().matrix.map(Some));
    for units in units.filter(|units| units.is_some() || gpu.caps().tiles) {
        for (parts, m, n, k) in [(4, 8, 96, 1024), (3, 65, 7, 1001)] {
            let case = forms::Case::plain(m, n, k).transposed([true, false]);
            let case = epilogue(case, [false, true, false]);
            all.push(case.prove(gpu, Candidate::Split { parts, units })?);
        }
    }
    Ok(all)
}

fn low_rank(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = forms::updated(gpu)?;
    for (sizes, in_out, rows) in [
        ((5, 65, 33, 8), false, 0..33),
        ((63, 24, 36, 3), true, 0..36),
        ((9, 12, 21, 2), false, 7..14),
    ] {
        let lora = Lora {
            rows,
            ..lora::shape(sizes, in_out)
        };
        let inputs = lora::inputs(&lora, &mut Data::new(5));
        all.push(prove(&Adapted(lora), gpu, &inputs)?);
    }
    let sizes = (33, 20, 12, 4);
    let lora = Lora {
        keep: Some((lora::first_mask(gpu, sizes.0, sizes.1, 0.25)?, 0.25)),
        ..lora::shape(sizes, false)
    };
    let inputs = lora::inputs(&lora, &mut Data::new(3));
    all.push(prove(&Adapted(lora), gpu, &inputs)?);
    Ok(all)
}

fn linear_losses(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for (rows, vocab, width) in [(3, 257, 65), (123, 1003, 5), (128, 1100, 64)] {
        let mut data = Data::new((rows + vocab) as u64);
        let op = Loss::new(gpu, &mut data, rows, vocab)?;
        let inputs = [
            input(&[rows, width], data.peaked(rows * width, 1.0, 10.0)),
            input(&[vocab, width], data.peaked(vocab * width, 0.5, 3.0)),
            input(&[vocab], data.normal(vocab, 1.0)),
        ];
        all.push(prove(&op, gpu, &inputs)?);
        all.push(prove(&OfRows(op), gpu, &inputs)?);
    }
    Ok(all)
}

fn attention(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for (layout, [t, heads, width], causal, dropout) in [
        (Layout::Packed, [1, 1, 8], false, 0.0),
        (Layout::Separate, [65, 2, 16], true, 0.0),
        (Layout::Packed, [37, 2, 32], false, 0.25),
        (Layout::Separate, [123, 1, 64], true, 0.25),
        (Layout::Packed, [9, 2, 3], true, 0.1),
        (Layout::Same, [11, 2, 80], false, 0.0),
        (Layout::Packed, [9, 1, 128], false, 0.0),
        (Layout::Packed, [257, 1, 8], true, 0.0),
    ] {
        let shape = Attention {
            causal,
            // One row without any key.
            lens: (t > 30).then(|| vec![t as u32, 19, 0]),
            ..Attention::new(3, t, heads, width)
        };
        let mut op = Attend::new(gpu, shape, dropout)?;
        op.layout = layout;
        all.push(prove(
            &op,
            gpu,
            &op.inputs(|data, n| data.peaked(n, 1.0, 4.0)),
        )?);
    }
    all.extend(decoders::shared_keys(gpu)?);
    let shape = Attention {
        keys: 17,
        lens: Some(vec![17, 9]),
        ..Attention::new(2, 5, 2, 32)
    };
    let op = Attend::new(gpu, shape, 0.0)?;
    all.push(prove(&op, gpu, &op.inputs(|data, n| data.normal(n, 1.0)))?);
    Ok(all)
}

fn lstm_case(sizes: [usize; 4], reverse: bool) -> LstmCase {
    LstmCase {
        sizes,
        reverse,
        cell_clip: reverse.then_some(0.7),
        state: !reverse,
        used: [true; 3],
    }
}

fn lstm_proofs(gpu: &Gpu, form: Option<LstmForm>, sizes: &[[usize; 4]]) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    for (n, sizes) in sizes.iter().enumerate() {
        for reverse in [false, true] {
            let mut data = Data::new(n as u64);
            let lens = data.lengths(sizes[1], sizes[0] as u32);
            let case = lstm_case(*sizes, reverse);
            all.push(lstm::prove_layer((gpu, form), &case, lens, &mut data)?);
        }
    }
    Ok(all)
}

fn lstm_layers(gpu: &Gpu) -> Result<Vec<Evidence>> {
    lstm_proofs(
        gpu,
        None,
        &[
            [1, 1, 1, 1],
            [5, 3, 7, 33],
            [2, 1, 17, 123],
            [4, 33, 5, 36],
            [4, 9, 5, 64],
        ],
    )
}

fn lstm_forms(gpu: &Gpu) -> Result<Vec<Evidence>> {
    let mut forms = vec![LstmForm::Steps, LstmForm::Persistent];
    if gpu.caps().broadcasts() {
        forms.push(LstmForm::SubgroupSteps);
    }
    let mut all = Vec::new();
    for form in forms {
        all.extend(lstm_proofs(
            gpu,
            Some(form),
            &[[5, 3, 7, 33], [4, 33, 5, 65]],
        )?);
    }
    if gpu.caps().reads_images() {
        all.extend(lstm_proofs(
            gpu,
            Some(LstmForm::ImageSteps),
            &[[4, 33, 5, 64]],
        )?);
    }
    Ok(all)
}
