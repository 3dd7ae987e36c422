//! The device layer: which adapter, its kernels, its memory, and the list of commands.
//!
//! A [`Gpu`] collects commands. [`Gpu::flush`] sends them; [`Gpu::record`] keeps them as a
//! [`Recording`] that [`Gpu::replay`] sends again and again: a training step is checked,
//! given its bind groups and its memory once, and replayed from then on.

mod adapter;
mod binding;
mod command;
mod driver;
mod gpu;
mod image;
mod kernel;
mod left_out;
mod lock;
mod measure;
mod memory;
mod pace;
mod params;
mod peak;
mod profile;
mod readback;
mod rung;
mod sender;
mod tuning;
mod tuning_table;
mod uniforms;
mod work;

pub use adapter::{AdapterChoice, AdapterReport, Caps, MatrixUnits, list_adapters};
pub use binding::Bound;
pub(crate) use binding::Resource;
pub use command::{Groups, Recording};
pub use gpu::Gpu;
pub(crate) use image::LINE_BYTES;
pub use image::{ImageLimits, Lines};
pub use kernel::{Kernel, Ran};

pub use left_out::left_out;
pub(crate) use left_out::{Findings, Optional};
pub(crate) use lock::lock;
pub use memory::{Buffer, Image, MemoryStats};
pub(crate) use params::params;
pub use peak::Peak;
pub use profile::{CommandTime, KernelTime, Profile, Timing};
pub use readback::Readback;
pub use rung::Rung;
pub use sender::Sent;
pub use tuning::Tuning;
pub use tuning_table::{FormTime, Measured};
pub use work::Counts;
