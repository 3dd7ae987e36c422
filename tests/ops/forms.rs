//! Every form of the matrix product that the adapter can run, on a device without bounds checks: NaN
//! in C where it is overwritten, guard words on both sides of it.

use melos::device::Gpu;
use melos::doctor::forms::{Case, TRANSPOSITIONS, few_rows, forms, updated};
use melos::ops::matmul::{Candidate, Product, product_as};
use melos::tensor::{DType, Tensor};

use crate::reference::matmul::MatMul;
use crate::support::{right, unchecked};

trait Prove {
    fn prove_as(&self, gpu: &Gpu, form: Candidate);
}

impl Prove for Case {
    #[track_caller]
    fn prove_as(&self, gpu: &Gpu, form: Candidate) {
        right(self.prove(gpu, form), gpu);
    }
}

#[test]
fn every_form_at_odd_sizes() {
    let gpu = unchecked();
    for form in forms(&gpu) {
        for (m, n, k) in [
            (1, 1, 1),
            (1, 257, 65),
            (3, 63, 123),
            (65, 1, 3),
            (65, 123, 257),
            (257, 65, 1),
            (64, 128, 32),
            (36, 132, 20),
            // Whole eights of the contiguous axis, in part panels.
            (40, 136, 24),
        ] {
            for [transpose_a, transpose_b] in TRANSPOSITIONS {
                let mut case = Case::plain(m, n, k);
                case.shape.transpose_a = transpose_a;
                case.shape.transpose_b = transpose_b;
                case.prove_as(&gpu, form);
            }
        }
    }
}

#[test]
fn every_form_with_every_epilogue() {
    let gpu = unchecked();
    for form in forms(&gpu) {
        for (m, n, k) in [(33, 65, 17), (65, 68, 9)] {
            for (accumulate, bias, alpha) in
                [(true, false, 1.0), (false, true, -0.5), (true, true, 0.5)]
            {
                let plain = Case::plain(m, n, k);
                Case {
                    accumulate,
                    bias,
                    alpha,
                    ..plain
                }
                .prove_as(&gpu, form);
            }
        }
    }
}

/// Mesa's llvmpipe leaves a shader's loops after 65,535 iterations: products are split before that.
#[test]
fn every_form_with_a_long_inner_size() {
    for gpu in [unchecked(), crate::support::gpu()] {
        for form in forms(&gpu) {
            for (transpose_a, transpose_b) in [(false, true), (true, false)] {
                let mut case = Case::plain(5, 3, 40_001);
                case.accumulate = transpose_a;
                case.bias = true;
                case.shape.transpose_a = transpose_a;
                case.shape.transpose_b = transpose_b;
                case.prove_as(&gpu, form);
            }
        }
    }
}

#[test]
fn every_form_in_batches() {
    let gpu = unchecked();
    for form in forms(&gpu) {
        for (batch, m, n, k) in [(2, 65, 63, 17), (5, 3, 36, 40), (3, 24, 72, 16)] {
            for [transpose_a, transpose_b] in TRANSPOSITIONS {
                let mut case = Case::plain(m, n, k);
                case.accumulate = transpose_a;
                case.bias = transpose_b;
                case.shape = MatMul {
                    transpose_a,
                    transpose_b,
                    ..case.shape.batched(batch)
                };
                case.prove_as(&gpu, form);
            }
        }
    }
}

#[test]
fn every_form_with_columns_of_c_as_lines() {
    let gpu = unchecked();
    let mut forms = forms(&gpu);
    if gpu.caps().broadcasts() {
        forms.push(Candidate::Image { rows: 8 });
    }
    for form in forms {
        for (batch, m, n, k) in [(1, 8, 132, 64), (1, 67, 5, 64), (3, 12, 70, 64)] {
            let mut case = Case::plain(m, n, k);
            case.transpose_c = true;
            case.accumulate = batch == 1;
            case.bias = n == 70;
            case.alpha = 0.5;
            case.shape.transpose_b = true;
            if batch > 1 {
                case.shape = case.shape.batched(batch);
            }
            case.prove_as(&gpu, form);
        }
    }
}

/// Lines of whole texels, which alone can be images, whole copies apart or only every second to
/// sixteenth of them: rows and columns that do not fill a workgroup's part of C all the same.
#[test]
fn images_at_every_size_that_suits_them() {
    let gpu = unchecked();
    if !gpu.caps().broadcasts() {
        eprintln!("SKIPPED: no subgroups of 8 lanes");
        return;
    }
    let whole = [(1, 64, 64, 64), (1, 192, 320, 128), (3, 64, 128, 64)];
    let texels = [(1, 96, 80, 48), (3, 12, 100, 36), (2, 32, 20, 8)];
    for rows in [8, 16, 32, 40] {
        // How lines lie does not depend on the rows, and more of those take seconds to compile.
        let sizes = [&whole[..], if rows == 8 { &texels } else { &[] }].concat();
        for (batch, m, n, k) in sizes {
            for [transpose_a, transpose_b] in TRANSPOSITIONS {
                let mut shape = MatMul::nn(m, n, k);
                // What lies across the lines may be any number, k where it does in both.
                if !transpose_a {
                    shape.m -= 3;
                }
                if transpose_b {
                    shape.n -= 5;
                }
                if transpose_a && !transpose_b {
                    shape.k -= 3;
                }
                if batch > 1 {
                    shape = shape.batched(batch);
                }
                let mut case = Case::plain(shape.m, shape.n, shape.k);
                case.shape = MatMul {
                    transpose_a,
                    transpose_b,
                    ..shape
                };
                case.accumulate = transpose_a;
                case.bias = transpose_b;
                case.alpha = 0.5;
                case.prove_as(&gpu, Candidate::Image { rows });
            }
        }
    }
    let mut long = Case::plain(5, 64, 40_064);
    long.shape.transpose_b = true;
    long.bias = true;
    long.prove_as(&gpu, Candidate::Image { rows: 8 });
    // More lines than a layer has: a vocabulary's, along k and across it.
    for (n, k, transpose_b) in [(16_400, 64, true), (64, 16_404, false)] {
        let mut tall = Case::plain(5, n, k);
        tall.shape.transpose_b = transpose_b;
        tall.prove_as(&gpu, Candidate::Image { rows: 8 });
    }
}

#[test]
fn few_rows_in_their_forms() {
    let gpu = unchecked();
    for evidence in few_rows(&gpu).unwrap() {
        right(Ok(evidence), &gpu);
    }
}

#[test]
fn low_rank_updates_in_every_form() {
    let gpu = unchecked();
    for evidence in updated(&gpu).unwrap() {
        right(Ok(evidence), &gpu);
    }
}

/// Parts of k that fill it or leave a rest, more of them than k has, sums alone or added to C.
#[test]
fn split_products() {
    let gpu = unchecked();
    for units in [None, gpu.caps().matrix] {
        for (parts, m, n, k) in [
            (4, 8, 96, 1024),
            (3, 65, 7, 1001),
            (8, 5, 33, 300),
            (2, 1, 1, 65),
        ] {
            for [transpose_a, transpose_b] in TRANSPOSITIONS {
                let mut case = Case::plain(m, n, k);
                case.accumulate = transpose_a;
                case.alpha = 0.5;
                case.shape.transpose_a = transpose_a;
                case.shape.transpose_b = transpose_b;
                case.prove_as(&gpu, Candidate::Split { parts, units });
            }
        }
    }
    let a = Tensor::from_slice(&gpu, [8, 8], &[1.0f32; 64]).unwrap();
    let c = Tensor::empty(&gpu, [8, 8], DType::F32).unwrap();
    let bias = Tensor::from_slice(&gpu, [8], &[1.0f32; 8]).unwrap();
    let product = Product {
        bias: Some(&bias),
        ..Product::new(&a, &a, &c)
    };
    let form = Candidate::Split {
        parts: 2,
        units: None,
    };
    let error = product_as(&product, form).unwrap_err();
    assert!(error.to_string().contains("parts of k"), "{error}");
}

#[test]
fn an_operand_that_can_be_no_image_is_refused() {
    let gpu = unchecked();
    let a = Tensor::from_slice(&gpu, [6, 6], &[1.0f32; 36]).unwrap();
    let c = Tensor::empty(&gpu, [6, 6], DType::F32).unwrap();
    let form = Candidate::Image { rows: 8 };
    let error = product_as(&Product::new(&a, &a, &c), form).unwrap_err();
    assert!(
        error.to_string().contains("A cannot be an image"),
        "{error}"
    );
}

#[test]
fn a_form_that_the_adapter_cannot_run_is_refused() {
    let gpu = unchecked().portable();
    let a = Tensor::from_slice(&gpu, [8, 8], &[1.0f32; 64]).unwrap();
    let c = Tensor::empty(&gpu, [8, 8], DType::F32).unwrap();
    let form = Candidate::Subgroup { rows: 8, wg: 16 };
    let error = product_as(&Product::new(&a, &a, &c), form).unwrap_err();
    assert!(
        error.to_string().contains("needs subgroup operations"),
        "{error}"
    );
}
