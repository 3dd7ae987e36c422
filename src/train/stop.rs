//! Asking a run to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set from a signal handler (or another thread): finish the step, write a checkpoint, stop.
#[derive(Debug, Clone, Default)]
pub struct StopFlag {
    raised: Arc<AtomicBool>,
    idle: Arc<AtomicBool>,
}

impl StopFlag {
    /// Asks the loop to stop.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    /// The flag itself, for a signal handler.
    pub fn shared(&self) -> Arc<AtomicBool> {
        self.raised.clone()
    }

    /// Whether there is no step to finish: while texts are read, made tokens of or scored outside of the
    /// loop, a program may end at once, and loses nothing.
    pub fn idle(&self) -> Arc<AtomicBool> {
        self.idle.clone()
    }

    /// Says whether there is a step to finish.
    pub(super) fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::Relaxed);
    }
}
