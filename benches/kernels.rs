//! The cases of `support/kernels.rs`, each checked before it is timed. The table at the end gives
//! GFLOP/s or GB/s, and the share of what this device was measured to do at most in the same run
//! ([`Gpu::peak`]): fused multiply-adds for arithmetic, a copy between two buffers for memory.
//!
//! `cargo bench --bench kernels`; a name as argument runs the cases that contain it.
//!
//! [`Gpu::peak`]: melos::device::Gpu::peak

#[path = "support/kernels.rs"]
mod cases;
#[path = "support/report.rs"]
mod report;

use criterion::{Criterion, criterion_group, criterion_main};

fn kernels(criterion: &mut Criterion) {
    let mut report = report::Report::open("kernels");
    let mut group = report::group(criterion, "kernel");
    for (name, build) in cases::cases(&report.gpu) {
        let work = |case: &cases::Case| {
            let (flops, bytes) = match case.work {
                cases::Work::Flops(flops) => (Some(flops), None),
                cases::Work::Bytes(bytes) => (None, Some(bytes)),
            };
            report::Work {
                flops,
                bytes,
                half: name.ends_with("_f16"),
                ..report::Work::default()
            }
        };
        report.time(&mut group, &name, build, |case| (case.run)(), work);
    }
    group.finish();
    report.finish();
}

criterion_group!(benches, kernels);
criterion_main!(benches);
