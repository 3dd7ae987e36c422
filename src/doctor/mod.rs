//! Is it right on this card? Every kernel of every rung that an adapter can run is held to its f64
//! reference ([`reference`](crate::reference)), forward and backward, at odd sizes, twice for equal bits;
//! tiny models train towards losses that PyTorch had; and the adapter is timed.
//!
//! What is wrong is named and, where melos can do without it, left out on that adapter and driver from
//! then on.
//!
//! ```no_run
//! let report = melos::doctor::examine(&melos::doctor::Options::default(), &mut |_| {})?;
//! print!("{}", report.table());
//! std::process::exit(if report.is_right() { 0 } else { 1 });
//! # Ok::<(), melos::Error>(())
//! ```

mod cases;
mod decoders;
#[doc(hidden)]
pub mod evidence;
mod examine;
#[doc(hidden)]
pub mod forms;
mod half;
#[doc(hidden)]
pub mod operators;
#[doc(hidden)]
pub mod optimizers;
mod pictures;
mod plain;
#[doc(hidden)]
pub mod proof;
mod report;
#[doc(hidden)]
pub mod steps;

pub use examine::{Options, examine};
pub use report::{KernelRow, NotRun, Report, StepRow, TrainingRow};
