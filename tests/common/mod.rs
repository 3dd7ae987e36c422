//! What the GPU tests share: one device for the whole binary, a context of its own for each test.

// Every test file compiles this module for itself and uses only part of it.
#![allow(dead_code)]

pub mod fixture;

use std::sync::OnceLock;

use melos::device::{AdapterChoice, Gpu};

static DEVICE: OnceLock<Gpu> = OnceLock::new();

/// Waits, when a test's thread ends, for the compiling that it began: nobody drops a static.
struct Settle;

impl Drop for Settle {
    fn drop(&mut self) {
        if let Some(device) = DEVICE.get() {
            device.settle();
        }
    }
}

thread_local! {
    static SETTLE: Settle = const { Settle };
}

/// A context on the adapter under test, kernels compiled with bounds checks.
pub fn gpu() -> Gpu {
    SETTLE.with(|_| ());
    DEVICE
        .get_or_init(|| {
            let choice = AdapterChoice {
                wanted: None,
                checked: true,
            };
            Gpu::open(&choice).expect("a GPU adapter; run through tools/with-vulkan")
        })
        .fork()
}
