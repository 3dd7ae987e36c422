//! The one comparison that all tests use. See `tolerance` for the rule and its table.

use super::tolerance::Tolerance;

struct Errors {
    largest: f64,
    worst: usize,
    norm: f64,
}

fn errors(got: impl Iterator<Item = f64>, want: &[f64]) -> Errors {
    let mut out = Errors {
        largest: 0.0,
        worst: 0,
        norm: 0.0,
    };
    for (at, (got, want)) in got.zip(want).enumerate() {
        let error = (got - want).abs();
        out.norm += error * error;
        if error > out.largest {
            (out.largest, out.worst) = (error, at);
        }
    }
    out.norm = out.norm.sqrt();
    out
}

/// What is wrong with `got`, or nothing.
pub fn check(got: &[f32], want: &[f64], naive: &[f32], tolerance: Tolerance) -> Result<(), String> {
    if got.len() != want.len() || naive.len() != want.len() {
        let (got, want, naive) = (got.len(), want.len(), naive.len());
        return Err(format!("{got} values, wanted {want} (naive: {naive})"));
    }
    if let Some(at) = want
        .iter()
        .zip(naive)
        .position(|(w, n)| !w.is_finite() || !n.is_finite())
    {
        return Err(format!(
            "[{at}] the reference is {}, naive {}",
            want[at], naive[at]
        ));
    }
    if let Some(at) = got.iter().position(|x| !x.is_finite()) {
        let count = got.iter().filter(|x| !x.is_finite()).count();
        return Err(format!(
            "[{at}] is {}, wanted {} ({count} not finite)",
            got[at], want[at]
        ));
    }
    let own = errors(got.iter().map(|x| f64::from(*x)), want);
    let naive = errors(naive.iter().map(|x| f64::from(*x)), want);
    let Tolerance {
        factor,
        atol,
        rtol,
        reason,
    } = tolerance;

    let scale = want.iter().fold(1.0, |m: f64, w| m.max(w.abs()));
    let allowed = factor * naive.largest + atol * scale;
    let size = want.iter().map(|w| w * w).sum::<f64>().sqrt();
    let allowed_norm = factor * naive.norm + rtol * size;
    let mut faults = vec![];
    if own.largest > allowed {
        faults.push(format!("absolute {:.3e} > {allowed:.3e}", own.largest));
    }
    // Where all is 0 there is nothing to be relative to.
    if size > 0.0 && own.norm > allowed_norm {
        faults.push(format!(
            "relative {:.3e} > {:.3e}",
            own.norm / size,
            allowed_norm / size
        ));
    }
    if faults.is_empty() {
        return Ok(());
    }
    let at = own.worst;
    Err(format!(
        "{}\n  worst: [{at}] got {:e}, want {:e}, off by {:.3e} (naive f32 at most {:.3e})\n  \
         tolerance: {factor} x naive, atol {atol:e}, rtol {rtol:e}: {reason}",
        faults.join(", "),
        got[at],
        want[at],
        own.largest,
        naive.largest,
    ))
}

/// Fails on a value that is not finite, and when either the absolute or the relative rule fails.
/// `naive` is the same computed plainly in f32: the references at F = f32.
#[track_caller]
pub fn assert_close(name: &str, got: &[f32], want: &[f64], naive: &[f32], tolerance: Tolerance) {
    if let Err(fault) = check(got, want, naive, tolerance) {
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
