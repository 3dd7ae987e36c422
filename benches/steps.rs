//! Whole training steps, recorded once and replayed: those of `melos::doctor::steps`, each until its loss
//! is on the host. Throughput is in tokens, so criterion's element rate is tokens/s.
//!
//! `cargo bench --bench steps`; with `MELOS_PROFILE=1` also the time in each kernel.

#[path = "support/report.rs"]
mod report;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use melos::device::Counts;
use melos::doctor::steps::{Case, Step, cases};

/// A step that does not learn would be fast for the wrong reason.
fn check(name: &str, step: &mut Step) {
    let mut run = || step.run().expect("a loss");
    let first = run();
    let later = (0..3).map(|_| run()).last().expect("a loss");
    assert!(
        later < first,
        "{name}: the loss does not fall ({first} to {later})"
    );
}

fn print_profile(name: &str, step: &Step) {
    let run = || step.gpu().replay(&step.recording);
    let (profile, ()) = step.gpu().profile(run).expect("a profile");
    println!("{name}: times by {}", profile.timing);
    for time in profile.kernels() {
        let ms = 1e3 * time.seconds;
        println!("{ms:>9.1} ms {:>6} x {}", time.count, time.name);
    }
}

fn steps(criterion: &mut Criterion) {
    let mut report = report::Report::open("steps");
    let mut group = report::group(criterion, "step");
    group.measurement_time(Duration::from_secs(5));
    let profiled = std::env::var_os("MELOS_PROFILE").is_some();
    for Case {
        name,
        tokens,
        build,
    } in cases(&report.gpu)
    {
        group.throughput(Throughput::Elements(tokens as u64));
        let work = |step: &Step| {
            if profiled {
                print_profile(&name, step);
            }
            let Counts { flops, bytes } = step.recording.work();
            report::Work {
                flops,
                bytes,
                tokens: Some(tokens),
                peak_bytes: None,
                half: name.ends_with("_f16"),
            }
        };
        let prepare = |gpu: &_| {
            let mut step = build(gpu)?;
            check(&name, &mut step);
            Ok(step)
        };
        let run = |step: &mut Step| step.run().map(drop);
        report.time(&mut group, &name, prepare, run, work);
    }
    group.finish();
    report.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
