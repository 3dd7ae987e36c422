//! The one comparison that all tests and the doctor use. See [`tolerance`](super::tolerance) for the
//! rule and its table.

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

/// How near values came to the reference.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// The largest error, in errors of the naive program; where that makes less than a rounding of the
    /// largest value to its own format (half a unit in the last place), in such roundings. Infinite where
    /// a value is not finite.
    pub over_naive: f64,
    /// What is wrong, where something is.
    pub fault: Option<String>,
}

impl Comparison {
    fn wrong(fault: String) -> Comparison {
        Comparison {
            over_naive: f64::INFINITY,
            fault: Some(fault),
        }
    }
}

/// Compares `got` with what is right and with what a plain f32 program gives (`naive`).
pub fn compare(got: &[f32], want: &[f64], naive: &[f32], tolerance: Tolerance) -> Comparison {
    if got.len() != want.len() || naive.len() != want.len() {
        let (got, want, naive) = (got.len(), want.len(), naive.len());
        return Comparison::wrong(format!("{got} values, wanted {want} (naive: {naive})"));
    }
    if let Some(at) = want
        .iter()
        .zip(naive)
        .position(|(w, n)| !w.is_finite() || !n.is_finite())
    {
        return Comparison::wrong(format!(
            "[{at}] the reference is {}, naive {}",
            want[at], naive[at]
        ));
    }
    if let Some(at) = got.iter().position(|x| !x.is_finite()) {
        let count = got.iter().filter(|x| !x.is_finite()).count();
        return Comparison::wrong(format!(
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
        unit,
        reason,
    } = tolerance;

    let most = want.iter().fold(0.0, |m: f64, w| m.max(w.abs()));
    let allowed = factor * naive.largest + atol * most.max(1.0);
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
    let at = own.worst;
    let fault = (!faults.is_empty()).then(|| {
        format!(
            "{}\n  worst: [{at}] got {:e}, want {:e}, off by {:.3e} (naive f32 at most {:.3e})\n  \
             tolerance: {factor} x naive, atol {atol:e}, rtol {rtol:e}: {reason}",
            faults.join(", "),
            got[at],
            want[at],
            own.largest,
            naive.largest,
        )
    });
    let measure = naive.largest.max(unit * most);
    Comparison {
        over_naive: if own.largest > 0.0 {
            own.largest / measure
        } else {
            0.0
        },
        fault,
    }
}
