//! Ctrl-C and SIGTERM: the first asks the training to stop after its step, or ends the process where no
//! step is being done; the second ends it at once. A file that reaches the limit on its size does not end it, but the write.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::exit::INTERRUPTED;
use crate::error::{Error, Result};
use crate::train::StopFlag;

/// A flag that the first signal raises.
pub fn stop_flag() -> Result<StopFlag> {
    let stop = StopFlag::default();
    for signal in [SIGINT, SIGTERM] {
        // Handlers run in this order: the shutdown looks at the flag before it is raised.
        flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), stop.idle())
            .and_then(|_| {
                flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), stop.shared())
            })
            .and_then(|_| flag::register(signal, stop.shared()))
            .map_err(|e| Error::io("install", "the handler for Ctrl-C", e))?;
    }
    Ok(stop)
}

/// Makes a write beyond the limit on the size of files fail as one to a full disk does, instead of ending
/// the process (SIGXFSZ).
pub fn outlive_file_limits() {
    #[cfg(unix)]
    if let Err(e) = flag::register(signal_hook::consts::SIGXFSZ, StopFlag::default().shared()) {
        log::warn!("the limit on the size of files would end the process: {e}");
    }
}
