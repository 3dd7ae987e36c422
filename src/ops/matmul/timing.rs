//! Which form of a matrix product an adapter runs: what is measured, once for each class of sizes.

use super::candidate::Candidate;
use super::choice::{self, SizeClass};
use super::dispatch::product_as;
use super::sizes::{Hardware, Sizes};
use super::tensors::Product;
use crate::device::{Gpu, MatrixUnits, Rung};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};

/// Rows of an invocation in products of images, the best guess first. The last are fastest with Mesa
/// 22 where nothing else shares the cores' caches, and slower elsewhere: `melos tune` alone tries them.
const IMAGE_ROWS: [u32; 3] = [32, 16, 40];

/// The form for a product: the rung that the environment forces, else the fastest as estimated
/// or, where the estimates are close, as measured.
pub(super) fn choose(gpu: &Gpu, sizes: &Sizes) -> Result<Candidate> {
    let caps = gpu.caps();
    let caps = Hardware {
        cpu: caps.is_cpu,
        broadcasts: caps.broadcasts(),
        tiles: caps.tiles,
        images: caps.image_limits(),
        image_rows: image_rows(gpu)?.unwrap_or(0),
        workgroup_bytes: caps.limits.max_compute_workgroup_storage_size,
        invocations: caps.limits.max_compute_invocations_per_workgroup,
        matrix: caps.matrix.filter(|units| {
            sizes.half == [true; 2] && gpu.proven("matmul_coop", |gpu| is_right(gpu, *units))
        }),
    };
    let forms = choice::forms(sizes, &caps, gpu.rung());
    let worth = choice::worth_timing(sizes, &caps, gpu.rung()).len();
    let class = SizeClass::of(sizes, &caps);
    let names: Vec<String> = forms.iter().map(ToString::to_string).collect();
    let chosen = gpu.fastest(&format!("matmul {class}"), &names, worth, |gpu, index| {
        let scratch = Scratch::new(gpu, &class.sample(caps.cpu))?;
        gpu.seconds(|| scratch.run(forms[index]))
    })?;
    Ok(forms[chosen])
}

/// How this adapter's kernels read what they read often: from images, with at most so many rows an
/// invocation in products, or from buffers, as a product shows that is made in each way. It depends on
/// the driver: Mesa 22's llvmpipe loads from a buffer lane by lane, Mesa 26's does not, and the
/// registers that rows take are spilled sooner or later.
pub(crate) fn image_rows(gpu: &Gpu) -> Result<Option<u32>> {
    let caps = gpu.caps();
    if let Some(rung) = gpu.rung() {
        return Ok((rung == Rung::Image).then_some(IMAGE_ROWS[0]));
    }
    if !(caps.is_cpu && caps.reads_images()) {
        return Ok(None);
    }
    // Bounds checks are for tests, whose forms are not to depend on the time of day.
    if gpu.is_checked() {
        return Ok(Some(IMAGE_ROWS[0]));
    }
    let mut ways = vec![Some(IMAGE_ROWS[0]), None];
    ways.extend(IMAGE_ROWS[1..].iter().copied().map(Some));
    let subgroup = Candidate::Subgroup { rows: 32, wg: 16 };
    let form = |rows: Option<u32>| rows.map_or(subgroup, |rows| Candidate::Image { rows });
    let names: Vec<String> = ways.iter().map(|&rows| form(rows).to_string()).collect();
    // Rows that all of them divide, long enough to measure.
    let class = SizeClass {
        m: 960,
        n: 512,
        k: 512,
        batch: 1,
        trans_a: false,
        trans_b: true,
        half: false,
        image: true,
        split: false,
        vec: false,
    };
    let worth = ways.len() - 1;
    let chosen = gpu.fastest("operands", &names, worth, |gpu, index| {
        let scratch = Scratch::new(gpu, &class)?;
        gpu.seconds(|| scratch.run(form(ways[index])))
    })?;
    Ok(ways[chosen])
}

/// Whether kernels should read what they read often from images.
pub(crate) fn reads_images(gpu: &Gpu) -> Result<bool> {
    Ok(image_rows(gpu)?.is_some())
}

/// Whether matrix units give what they should: some drivers have them that do not.
fn is_right(gpu: &Gpu, units: MatrixUnits) -> Result<bool> {
    let (m, n, k) = (70, 52, 40);
    // Numbers of few bits, so that every product is exact in f32.
    let number = |i: usize| ((i * 37 + i / 5) % 33) as f32 / 8.0 - 2.0;
    let a: Vec<f32> = (0..m * k).map(number).collect();
    let b: Vec<f32> = (0..n * k).map(|i| number(i + 7)).collect();
    let operand = |values: &[f32], rows| {
        let halves: Vec<half::f16> = values.iter().map(|&v| half::f16::from_f32(v)).collect();
        Tensor::from_slice(gpu, [rows, k], &halves)
    };
    let (left, right) = (operand(&a, m)?, operand(&b, n)?);
    let c = Tensor::zeros(gpu, [m, n])?;
    let product = Product {
        trans_b: true,
        ..Product::new(&left, &right, &c)
    };
    product_as(&product, Candidate::Coop(units))?;
    let dot = |i: usize| {
        let (row, column) = (&a[i / n * k..][..k], &b[i % n * k..][..k]);
        let pairs = row.iter().zip(column);
        let products = pairs.map(|(&x, &y)| f64::from(x) * f64::from(y));
        products.sum::<f64>()
    };
    let found = c.to_vec::<f32>()?;
    let right = |(i, &c): (usize, &f32)| (f64::from(c) - dot(i)).abs() <= 1e-4;
    Ok(found.iter().enumerate().all(right))
}

/// Operands to time a size class on; the real ones are never touched.
struct Scratch {
    a: Tensor,
    b: Tensor,
    c: Tensor,
    trans_a: bool,
    trans_b: bool,
}

impl Scratch {
    fn new(gpu: &Gpu, class: &SizeClass) -> Result<Scratch> {
        let matrix = |rows: u32, columns: u32, transposed: bool, dtype| {
            let [rows, columns] = if transposed {
                [columns, rows]
            } else {
                [rows, columns]
            };
            let all = [class.batch, rows, columns].map(|size| size as usize);
            let matrix = Tensor::empty(gpu, &all[usize::from(class.batch == 1)..], dtype)?;
            matrix.clear();
            Ok::<Tensor, Error>(matrix)
        };
        let dtype = if class.half { DType::F16 } else { DType::F32 };
        Ok(Scratch {
            a: matrix(class.m, class.k, class.trans_a, dtype)?,
            b: matrix(class.k, class.n, class.trans_b, dtype)?,
            c: matrix(class.m, class.n, false, DType::F32)?,
            trans_a: class.trans_a,
            trans_b: class.trans_b,
        })
    }

    fn run(&self, form: Candidate) -> Result<()> {
        let product = Product {
            trans_a: self.trans_a,
            trans_b: self.trans_b,
            ..Product::new(&self.a, &self.b, &self.c)
        };
        product_as(&product, form)
    }
}
