//! What `cargo bench --bench kernels` times computes what it should: building a case checks it.

#![cfg(feature = "train")]

#[path = "../benches/support/kernels.rs"]
mod cases;
mod common;

use cases::Work;

#[test]
fn what_is_timed_is_right() {
    let gpu = common::gpu();
    // The largest products take minutes without optimisation, and are made of the same kernels.
    let small = |(name, _): &(String, _)| !["_1536x", "_2048x"].iter().any(|m| name.contains(m));
    for (name, build) in cases::cases(&gpu).into_iter().filter(small) {
        let gpu = gpu.fork();
        let case = build(&gpu).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (Work::Flops(work) | Work::Bytes(work)) = case.work;
        assert!(work > 0.0, "{name} does nothing");
        (case.run)().unwrap_or_else(|e| panic!("{name}, again: {e}"));
        gpu.wait().unwrap_or_else(|e| panic!("{name}, again: {e}"));
    }
}
