//! The devices under test, and the doctor's proofs as assertions.

use melos::device::{AdapterChoice, Gpu};
use melos::doctor::evidence::Evidence;
use melos::doctor::proof::{self, Input, Op, poison};
use melos::error::Result;

use crate::common;

/// The adapter under test, and the same one without its optional features: what runs anywhere.
pub fn adapters() -> [Gpu; 2] {
    let gpu = common::gpu();
    let portable = gpu.portable();
    [poisoned(gpu), poisoned(portable)]
}

pub fn gpu() -> Gpu {
    poisoned(common::gpu())
}

/// A device without bounds checks, as releases run.
pub fn unchecked() -> Gpu {
    let gpu = Gpu::open(&AdapterChoice::default());
    poisoned(gpu.expect("a GPU adapter; run through tools/with-vulkan"))
}

/// Puts NaN in what the pool will hand out.
fn poisoned(gpu: Gpu) -> Gpu {
    poison(&gpu).unwrap();
    gpu
}

#[track_caller]
pub fn prove<O: Op>(op: &O, gpu: &Gpu, inputs: &[Input]) {
    for i in inputs {
        assert_eq!(i.dims.iter().product::<usize>(), i.values.len(), "an input");
    }
    right(proof::prove(op, gpu, inputs), gpu);
}

/// Fails on what the evidence says is wrong.
#[track_caller]
pub fn right(evidence: Result<Evidence>, gpu: &Gpu) {
    let evidence = evidence.unwrap();
    let faults: Vec<&str> = evidence.faults().map(String::as_str).collect();
    let (on, thread) = (gpu.caps(), std::thread::current());
    let lanes = if on.subgroup {
        ""
    } else {
        ", without subgroups"
    };
    assert!(
        faults.is_empty(),
        "on {on}{lanes}: {}\n  again: tools/with-vulkan cargo test --release --test ops {} -- --exact --nocapture",
        faults.join("\n"),
        thread.name().unwrap_or_default(),
    );
    assert!(
        !evidence.forward.kernels.is_empty(),
        "{}: nothing ran",
        evidence.case
    );
}
