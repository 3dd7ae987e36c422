//! What a case showed: how near its numbers came, what is wrong, and which kernels made them.

use std::collections::BTreeSet;

use crate::device::Ran;
use crate::reference::compare::Comparison;

/// Which pass of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Forward,
    Backward,
}

/// What a case showed of one pass.
#[derive(Debug, Clone, Default)]
pub struct Pass {
    /// The worst [`Comparison::over_naive`] of its results.
    pub over_naive: f64,
    /// What is wrong, each with what it is of.
    pub faults: Vec<String>,
    /// The kernels that made them.
    pub kernels: BTreeSet<Ran>,
}

/// What a case showed.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The operator and its sizes.
    pub case: String,
    pub forward: Pass,
    pub backward: Pass,
}

impl Evidence {
    /// Nothing yet.
    pub fn of(case: impl Into<String>) -> Evidence {
        Evidence {
            case: case.into(),
            forward: Pass::default(),
            backward: Pass::default(),
        }
    }

    /// What is wrong in either pass.
    pub fn faults(&self) -> impl Iterator<Item = &String> {
        self.forward.faults.iter().chain(&self.backward.faults)
    }

    fn pass(&mut self, way: Way) -> &mut Pass {
        match way {
            Way::Forward => &mut self.forward,
            Way::Backward => &mut self.backward,
        }
    }

    /// A fault that no comparison found.
    pub fn wrong(&mut self, way: Way, fault: String) {
        let fault = format!("{}: {fault}", self.case);
        let pass = self.pass(way);
        pass.over_naive = f64::INFINITY;
        pass.faults.push(fault);
    }

    /// A comparison of what `of` names.
    pub fn add(&mut self, way: Way, of: &str, comparison: Comparison) {
        let fault = (comparison.fault).map(|fault| format!("{}: {of}: {fault}", self.case));
        let pass = self.pass(way);
        pass.over_naive = pass.over_naive.max(comparison.over_naive);
        pass.faults.extend(fault);
    }

    /// A comparison of a gradient that must be there.
    pub(super) fn gradient(
        &mut self,
        of: &str,
        got: &Option<Vec<f32>>,
        compare: impl FnOnce(&[f32]) -> Comparison,
    ) {
        match got {
            Some(got) => self.add(Way::Backward, of, compare(got)),
            None => self.wrong(Way::Backward, format!("{of}: there is none")),
        }
    }

    /// Bit for bit, NaN included.
    pub fn same(&mut self, way: Way, of: &str, a: &[f32], b: &[f32]) {
        if let Some(difference) = other_bits(a, b) {
            self.wrong(way, format!("{of}: {difference}"));
        }
    }

    /// Outputs and gradients, bit for bit.
    pub(super) fn alike(
        &mut self,
        what: &str,
        outputs: [&[Vec<f32>]; 2],
        grads: [&[Option<Vec<f32>>]; 2],
    ) {
        for (k, (a, b)) in outputs[0].iter().zip(outputs[1]).enumerate() {
            self.same(Way::Forward, &format!("output {k} {what}"), a, b);
        }
        for (k, pair) in grads[0].iter().zip(grads[1]).enumerate() {
            let of = format!("gradient {k} {what}");
            match pair {
                (Some(a), Some(b)) => self.same(Way::Backward, &of, a, b),
                _ => self.wrong(Way::Backward, format!("{of}: there is none")),
            }
        }
    }

    /// The kernels of a pass.
    pub fn ran(&mut self, way: Way, kernels: impl IntoIterator<Item = Ran>) {
        self.pass(way).kernels.extend(kernels);
    }
}

fn other_bits(a: &[f32], b: &[f32]) -> Option<String> {
    if a.len() != b.len() {
        return Some(format!("{} values and then {}", a.len(), b.len()));
    }
    let at = (a.iter().zip(b)).position(|(a, b)| a.to_bits() != b.to_bits())?;
    Some(format!(
        "not the same bits twice: [{at}] is {:e} and then {:e}",
        a[at], b[at]
    ))
}
