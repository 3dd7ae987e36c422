//! Whole training steps, recorded once and replayed: those of `support/cases.rs`. Throughput is in
//! tokens, so criterion's element rate is tokens/s.
//!
//! `cargo bench --bench steps`; with `MELOS_PROFILE=1` also the time in each kernel.

#[path = "support/cases.rs"]
mod cases;
#[path = "support/usage.rs"]
mod usage;

use std::time::{Duration, Instant};

use cases::{Case, cases};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use melos::device::{AdapterChoice, Gpu};

/// A busy machine makes steps longer, but not the processor time that they take.
fn report_cpu(name: &str, before: Option<f64>, steps: u64) {
    if let (Some(before), Some(after)) = (before, usage::cpu_seconds())
        && steps > 0
    {
        let each = (after - before) / steps as f64;
        println!("{name}: {each:.2} s of processor time a step, over {steps}");
    }
}

fn steps(criterion: &mut Criterion) {
    let gpu = Gpu::open(&AdapterChoice::default()).expect("a GPU adapter; see tools/with-vulkan");
    println!("adapter: {}", gpu.caps());
    let mut group = criterion.benchmark_group("step");
    group.sample_size(10).warm_up_time(Duration::from_secs(1));
    for Case {
        name,
        tokens,
        build,
    } in cases(&gpu)
    {
        group.throughput(Throughput::Elements(tokens as u64));
        let mut step = None;
        group.bench_function(&name, |bencher| {
            let step = step.get_or_insert_with(|| {
                let began = Instant::now();
                let mut step = build(&gpu).expect("a step");
                let first = step.run();
                println!(
                    "{name}: first step after {:.2} s",
                    began.elapsed().as_secs_f64()
                );
                // A step that does not learn would be fast for the wrong reason.
                let before = usage::cpu_seconds();
                let later = (0..3).map(|_| step.run()).last().expect("a loss");
                report_cpu(&name, before, 3);
                println!("{name}: the loss goes from {first:.4} to {later:.4} in four steps");
                assert!(
                    later < first,
                    "{name}: the loss does not fall ({first} to {later})"
                );
                step
            });
            let (before, first) = (usage::cpu_seconds(), step.number);
            bencher.iter(|| step.run());
            report_cpu(&name, before, step.number - first);
        });
        if let Some(step) = &step {
            if std::env::var_os("MELOS_PROFILE").is_some()
                && let Some(recording) = &step.recording
            {
                let run = || step.gpu.replay(recording);
                let (profile, ()) = step.gpu.profile(run).expect("a profile");
                println!("{name}: times by {}", profile.timing);
                for time in profile.kernels() {
                    let ms = 1e3 * time.seconds;
                    println!("{ms:>9.1} ms {:>6} x {}", time.count, time.name);
                }
            }
            let peak = step.gpu.memory().peak as f64 / 1048576.0;
            println!("{name}: {peak:.0} MiB of device memory at peak");
            if let Some(all) = usage::peak_memory() {
                println!("{name}: {all:.0} MiB of memory at the process's peak so far");
            }
        }
    }
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
