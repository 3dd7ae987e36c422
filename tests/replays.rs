//! Replaying a recorded step again and again takes no more memory. In a process of its own: what is measured
//! is what the driver has taken.
#![cfg(all(feature = "gpu", target_os = "linux"))]

use melos::device::{AdapterChoice, Gpu};
use melos::ops::{self, AttentionOptions, LoraWeights, WeightLayout, Window};
use melos::optim::StepState;
use melos::tensor::{Tape, Tensor};

/// Uses of an operator in a step.
const USES: usize = 5;
/// Steps that are measured.
const STEPS: usize = 10;
/// Bytes that these may take; a kernel that is kept for each of their dispatches is larger.
const MOST: i64 = 8 << 20;

/// Bytes of this process in memory.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib: i64 = line
        .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap();
    kib << 10
}

/// Records steps of forward and backward passes of `f`, and replays them.
fn replay(gpu: &Gpu, name: &str, f: impl Fn(&Tape) -> melos::Result<Tensor>) {
    let state = StepState::new(gpu, 5).unwrap();
    let step = || -> melos::Result<()> {
        for _ in 0..USES {
            let tape = Tape::training(gpu, state.tensor());
            let loss = ops::sum_all(&tape, &f(&tape)?)?;
            tape.backward(&loss)?;
        }
        Ok(())
    };
    let (recording, ()) = gpu.record(step).unwrap();
    let run = |steps| {
        for _ in 0..steps {
            gpu.replay(&recording).unwrap();
            gpu.wait().unwrap();
        }
    };
    run(3);
    let before = resident();
    run(STEPS);
    let grown = resident() - before;
    assert!(
        grown < MOST,
        "{name}: {grown} bytes more after {STEPS} steps"
    );
}

/// Mesa 22's llvmpipe keeps what it makes of a kernel for every dispatch, if a condition in it hangs on its
/// parameters alone: 2 to 4 MiB of attention for sequences of 512.
#[test]
fn steps_take_no_more_memory_the_more_there_are() {
    let gpu =
        Gpu::open(&AdapterChoice::default()).expect("a GPU adapter; run through tools/with-vulkan");
    let plain = |dims: &[usize]| Tensor::zeros(&gpu, dims.to_vec()).unwrap();
    let trained = |dims: &[usize]| plain(dims).with_grad(plain(dims));

    let (q, k, v) = (
        trained(&[2, 512, 576]),
        trained(&[2, 512, 192]),
        trained(&[2, 512, 192]),
    );
    let lens = Tensor::from_slice(&gpu, [2], &[512u32, 500]).unwrap();
    for causal in [true, false] {
        let options = AttentionOptions {
            kv_heads: Some(3),
            causal,
            ..AttentionOptions::new(9)
        };
        replay(&gpu, "attention", |tape| {
            ops::attention(tape, &q, &k, &v, Some(&lens), &options)
        });
    }

    let (x, w) = (trained(&[512, 256]), plain(&[320, 256]));
    let (a, b) = (trained(&[8, 256]), trained(&[320, 8]));
    replay(&gpu, "a linear layer with LoRA", |tape| {
        let lora = LoraWeights {
            a: &a,
            b: &b,
            scale: 2.0,
            dropout: 0.1,
            rows: None,
        };
        ops::lora_linear(tape, &x, &w, None, WeightLayout::OutIn, &[lora])
    });
    let (gamma, beta) = (trained(&[256]), trained(&[256]));
    replay(&gpu, "norms", |tape| {
        let y = ops::layer_norm(tape, &x, None, &gamma, &beta, 1e-5)?.y;
        Ok(ops::rms_norm(tape, &y, None, &gamma, 0.0, 1e-5)?.y)
    });
    let targets = Tensor::from_slice(&gpu, [512], &[3u32; 512]).unwrap();
    let weights = Tensor::from_slice(&gpu, [512], &[0.1f32; 512]).unwrap();
    let head = trained(&[2000, 256]);
    replay(&gpu, "cross entropy", |tape| {
        ops::linear_cross_entropy(tape, &x, &head, None, &targets, &weights)
    });

    let pictures = trained(&[4, 32, 32, 16]);
    let filters = trained(&[32, 3, 3, 16]);
    replay(&gpu, "convolutions and pools", |tape| {
        let window = Window::square(3).padding(1);
        let y = ops::conv2d(tape, &pictures, &filters, None, &window, 1)?;
        let y = ops::max_pool2d(tape, &y, &Window::square(2).stride(2))?;
        let y = ops::avg_pool2d(tape, &y, &Window::square(2).stride(2))?;
        ops::adaptive_avg_pool2d(tape, &y, [3, 3])
    });
}
