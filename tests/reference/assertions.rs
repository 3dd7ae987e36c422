//! The comparison of `melos::reference::compare`, as assertions.

use melos::reference::compare::compare;
use melos::reference::tolerance::Tolerance;

/// Fails on a value that is not finite, and when either the absolute or the relative rule fails.
/// `naive` is the same computed plainly in f32: the references at F = f32.
#[track_caller]
pub fn assert_close(name: &str, got: &[f32], want: &[f64], naive: &[f32], tolerance: Tolerance) {
    if let Some(fault) = compare(got, want, naive, tolerance).fault {
        let thread = std::thread::current();
        panic!(
            "{name}: {fault}\n  again: tools/with-vulkan cargo test --release --test {} {} -- --exact --nocapture",
            env!("CARGO_CRATE_NAME"),
            thread.name().unwrap_or_default(),
        );
    }
}

/// For what is right without a naive program to measure by: expected values from a file, or
/// operators that round nothing. Only atol and rtol count.
#[track_caller]
pub fn assert_near(name: &str, got: &[f32], want: &[f64], tolerance: Tolerance) {
    let naive: Vec<f32> = want.iter().map(|w| *w as f32).collect();
    assert_close(
        name,
        got,
        want,
        &naive,
        Tolerance {
            factor: 0.0,
            ..tolerance
        },
    );
}

/// Bit for bit, NaN included: for run-twice and save-and-resume.
#[track_caller]
pub fn assert_same_bits(name: &str, a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len(), "{name}: lengths");
    if let Some(at) = a
        .iter()
        .zip(b)
        .position(|(a, b)| a.to_bits() != b.to_bits())
    {
        panic!("{name}: [{at}] {:e} and then {:e}", a[at], b[at]);
    }
}
