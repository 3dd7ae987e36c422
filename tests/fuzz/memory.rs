//! An allocator that counts, and ends the process where one input takes too much.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What one input may take.
const MOST: u64 = 1 << 30;

static HELD: AtomicU64 = AtomicU64::new(0);
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);
static OVER: AtomicBool = AtomicBool::new(false);

pub struct Counting;

/// Holds what is allocated from now on to the limit.
pub fn begin() {
    LIMIT.store(HELD.load(Relaxed) + MOST, Relaxed);
}

/// Lets all be allocated again.
pub fn end() {
    LIMIT.store(u64::MAX, Relaxed);
}

fn count(bytes: usize) {
    let held = HELD.fetch_add(bytes as u64, Relaxed) + bytes as u64;
    if held > LIMIT.load(Relaxed) && !OVER.swap(true, Relaxed) {
        end();
        crate::engine::give_up(&format!("takes more than 1 GiB ({bytes} bytes at once)"));
    }
}

// SAFETY: the system's allocator does all; this only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as u64, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.saturating_sub(layout.size()));
        HELD.fetch_sub(layout.size().saturating_sub(size) as u64, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
