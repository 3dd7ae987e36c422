//! The linear layer whose rows have learned lengths, against what its equations say in f64: both layouts, packed
//! weights and halves, dropout, merging.

use melos::blocks::BlockType;
use melos::doctor::operators::lora::first_mask;
use melos::ops::{self, DoraWeights, LoraWeights, WeightLayout};
use melos::optim::StepState;
use melos::tensor::{DType, Tape, Tensor};

use crate::reference::{Data, assert_near, tolerance};
use crate::support::gpu;

const SCALE: f64 = 1.5;
/// N, I, O, R.
const SIZES: [usize; 4] = [9, 64, 35, 3];

/// Numbers of a matrix by row and column.
struct Host(Vec<f64>, usize);

impl Host {
    fn of(tensor: &Tensor) -> Host {
        let values = tensor.to_f32_vec().unwrap();
        Host(
            values.into_iter().map(f64::from).collect(),
            tensor.shape().last(),
        )
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.0[row * self.1 + column]
    }
}

fn sum(n: usize, term: impl Fn(usize) -> f64) -> f64 {
    (0..n).map(term).sum()
}

/// A layer of these sizes, its weight held so, with what its inputs keep of x.
fn check(layout: WeightLayout, dtype: DType, dropout: f32) {
    let what = format!("{layout:?}, {}, dropout {dropout}", dtype.name());
    let [n, i, o, r] = SIZES;
    let gpu = gpu();
    let mut data = Data::new(7);
    let mut normal = |dims: &[usize], scale: f64| {
        let values = data.normal(dims.iter().product(), scale);
        Tensor::from_slice(&gpu, dims.to_vec(), &values).unwrap()
    };
    let trained = |t: Tensor| {
        let grad = Tensor::zeros(&gpu, t.shape().clone()).unwrap();
        t.with_grad(grad)
    };
    let (x, bias) = (trained(normal(&[n, i], 1.0)), trained(normal(&[o], 1.0)));
    let (a, b) = (trained(normal(&[r, i], 0.3)), trained(normal(&[o, r], 0.3)));
    let (m, dy) = (trained(normal(&[o], 2.0)), normal(&[n, o], 1.0));
    let w = Tensor::empty(&gpu, layout.shape(o, i), dtype).unwrap();
    w.write_rounded(&normal(w.dims(), 0.2).to_vec::<f32>().unwrap())
        .unwrap();

    let squares = ops::row_squares(&w, layout).unwrap();
    let squares = Tensor::from_slice(&gpu, [o], &squares).unwrap();
    let dora = DoraWeights {
        lora: LoraWeights {
            a: &a,
            b: &b,
            scale: SCALE as f32,
            dropout,
            rows: None,
        },
        magnitude: &m,
        squares: &squares,
    };
    // What passes on to the update, of each number of x.
    let kept: Vec<f64> = match dropout {
        0.0 => vec![1.0; n * i],
        p => {
            let mask = first_mask(&gpu, n, i, p).unwrap();
            let factor = 1.0 / (1.0 - f64::from(p));
            mask.iter()
                .map(|k| f64::from(u8::from(*k)) * factor)
                .collect()
        }
    };
    let state = StepState::new(&gpu, 5).unwrap();
    let tape = Tape::training(&gpu, state.tensor());
    let y = ops::dora_linear(&tape, &x, &w, Some(&bias), layout, &dora).unwrap();
    let weighed = ops::mul(&tape, &y, &dy).unwrap();
    let loss = ops::sum_all(&tape, &weighed).unwrap();
    tape.backward(&loss).unwrap();

    let [hx, ha, hb, hdy] = [&x, &a, &b, &dy].map(Host::of);
    let hw = Host::of(&w);
    let plain = |o: usize, i: usize| match layout {
        WeightLayout::OutIn => hw.at(o, i),
        WeightLayout::InOut => hw.at(i, o),
    };
    let adapted = |o: usize, i: usize| plain(o, i) + SCALE * sum(r, |r| hb.at(o, r) * ha.at(r, i));
    let adapted = Host((0..o * i).map(|at| adapted(at / i, at % i)).collect(), i);
    let length = |o: usize| sum(i, |i| adapted.at(o, i).powi(2)).sqrt();
    let lengths: Vec<f64> = (0..o).map(length).collect();
    let (hm, hbias) = (Host::of(&m).0, Host::of(&bias).0);
    let factor: Vec<f64> = hm.iter().zip(&lengths).map(|(m, l)| m / l).collect();
    let dropped = |n: usize, at: usize| hx.at(n, at) * kept[n * i + at];
    let z = |n: usize, o: usize| sum(i, |i| dropped(n, i) * adapted.at(o, i));
    let rest = |n: usize, o: usize| sum(i, |i| (hx.at(n, i) - dropped(n, i)) * plain(o, i));
    let of = |rows: usize, columns: usize, value: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
        (0..rows * columns)
            .map(|at| value(at / columns, at % columns))
            .collect()
    };
    let near = |name: &str, got: &Tensor, want: Vec<f64>| {
        let got = got.to_vec::<f32>().unwrap();
        assert_near(
            &format!("{what}: {name}"),
            &got,
            &want,
            tolerance::TRANSFORMER,
        );
    };
    let dz = |n: usize, o: usize| hdy.at(n, o) * factor[o];
    let dw = Host(of(o, i, &|o, i| sum(n, |n| dz(n, o) * dropped(n, i))), i);
    near(
        "y",
        &y,
        of(n, o, &|n, o| factor[o] * z(n, o) + rest(n, o) + hbias[o]),
    );
    let grad = |t: &Tensor| t.grad().unwrap().clone();
    near(
        "dm",
        &grad(&m),
        of(1, o, &|_, o| {
            sum(n, |n| hdy.at(n, o) * z(n, o)) / lengths[o]
        }),
    );
    near(
        "dbias",
        &grad(&bias),
        of(1, o, &|_, o| sum(n, |n| hdy.at(n, o))),
    );
    near(
        "da",
        &grad(&a),
        of(r, i, &|r, i| SCALE * sum(o, |o| hb.at(o, r) * dw.at(o, i))),
    );
    near(
        "db",
        &grad(&b),
        of(o, r, &|o, r| SCALE * sum(i, |i| dw.at(o, i) * ha.at(r, i))),
    );
    near(
        "dx",
        &grad(&x),
        of(n, i, &|n, at| {
            let kept = kept[n * i + at];
            let through = |o: usize| {
                dz(n, o) * kept * adapted.at(o, at) + hdy.at(n, o) * (1.0 - kept) * plain(o, at)
            };
            sum(o, through)
        }),
    );
    if dtype == DType::F32 && dropout == 0.0 {
        ops::merge_dora(&w, layout, &dora).unwrap();
        let merged = |o: usize, i: usize| factor[o] * adapted.at(o, i);
        let want = match layout {
            WeightLayout::OutIn => of(o, i, &merged),
            WeightLayout::InOut => of(i, o, &|i, o| merged(o, i)),
        };
        near("merged", &w, want);
    }
}

#[test]
fn rows_have_the_lengths_that_are_learned() {
    for layout in [WeightLayout::OutIn, WeightLayout::InOut] {
        check(layout, DType::F32, 0.0);
        check(layout, DType::F16, 0.0);
    }
    for kind in [BlockType::Q8_0, BlockType::Nf4] {
        check(WeightLayout::OutIn, DType::Packed(kind), 0.0);
    }
}

#[test]
fn dropout_leaves_the_weight_itself_alone() {
    check(WeightLayout::OutIn, DType::F32, 0.25);
    check(WeightLayout::OutIn, DType::Packed(BlockType::Q8_0), 0.25);
}

/// Where a row is of zeros, so is what it gives, and not 0 / 0.
#[test]
fn rows_of_zeros_have_a_length() {
    let gpu = gpu();
    let zeros = |dims: &[usize]| Tensor::zeros(&gpu, dims.to_vec()).unwrap();
    let (w, a, b) = (zeros(&[2, 4]), zeros(&[1, 4]), zeros(&[2, 1]));
    w.write(&[0.0f32, 0.0, 0.0, 0.0, 3.0, 0.0, 4.0, 0.0])
        .unwrap();
    let squares = ops::row_squares(&w, WeightLayout::OutIn).unwrap();
    assert_eq!(squares[1], 25.0);
    assert!(squares[0] > 0.0 && squares[0] < 1e-30);
    let dora = DoraWeights {
        lora: LoraWeights {
            a: &a,
            b: &b,
            scale: 1.0,
            dropout: 0.0,
            rows: None,
        },
        magnitude: &Tensor::from_slice(&gpu, [2], &[0.0f32, 10.0]).unwrap(),
        squares: &Tensor::from_slice(&gpu, [2], &squares).unwrap(),
    };
    let x = Tensor::from_slice(&gpu, [1, 4], &[1.0f32; 4]).unwrap();
    let tape = Tape::inference(&gpu);
    let y = ops::dora_linear(&tape, &x, &w, None, WeightLayout::OutIn, &dora).unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), [0.0, 14.0]);
}
