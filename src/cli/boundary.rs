//! What becomes of a panic: one line and an exit code, as of any error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::process::ExitCode;
use std::sync::Mutex;

use super::{exit, output};
use crate::error::panic_message;

/// What the first panic said, and where.
static FIRST: Mutex<Option<String>> = Mutex::new(None);

fn said(info: &PanicHookInfo<'_>) -> String {
    let text = panic_message(info.payload());
    // No path of the machine that it was built on.
    let place = info.location().map_or(String::new(), |place| {
        let file = place.file().replace('\\', "/");
        let file = match file.split_once("/registry/src/") {
            Some((_, below)) => below.split_once('/').map_or(below, |(_, file)| file),
            None => &file,
        };
        format!(" ({file}:{})", place.line())
    });
    format!("{text}{place}")
}

/// Runs the program; a panic of it, or of what it builds on, ends in one line and [`exit::INTERNAL`].
pub fn run(program: impl FnOnce() -> ExitCode) -> ExitCode {
    panic::set_hook(Box::new(|info| {
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            trace.to_string().lines().for_each(output::note);
        }
        let mut first = FIRST.lock().unwrap_or_else(|e| e.into_inner());
        first.get_or_insert_with(|| said(info));
    }));
    panic::catch_unwind(AssertUnwindSafe(program)).unwrap_or_else(|_| {
        let first = FIRST.lock().unwrap_or_else(|e| e.into_inner()).take();
        output::note(&format!(
            "melos: internal error: {}; what was saved is whole. Please report it, with the command \
             and what it prints under RUST_BACKTRACE=1",
            first.unwrap_or_default()
        ));
        ExitCode::from(exit::INTERNAL)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_anywhere_is_one_line_without_paths_and_code_1() {
        let code = run(|| {
            let thread = std::thread::spawn(|| panic!("two\nlines"));
            let inner = thread.join().unwrap_err();
            let text = FIRST.lock().unwrap().clone().unwrap();
            let place = format!("({}:", file!());
            assert!(text.starts_with(&format!("two lines {place}")), "{text}");
            panic::resume_unwind(inner)
        });
        let _ = panic::take_hook();
        assert_eq!(
            format!("{code:?}"),
            format!("{:?}", ExitCode::from(exit::INTERNAL))
        );
        assert!(FIRST.lock().unwrap().is_none());
    }
}
