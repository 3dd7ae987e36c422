//! Files of Hugging Face's transformers and PEFT, and GGUF files, in and out. On the host only: nothing here knows
//! a GPU, nor which families of models there are: each brings its [`Format`].
//!
//! Reading maps files into memory and converts a tensor (f32, f16, bf16) when it is asked for, under
//! the canonical name that today's transformers has for it, however old the file's spelling is. What
//! is missing, unexpected, renamed or ignored is returned as a [`LoadReport`].
//!
//! ```no_run
//! use std::path::Path;
//! use melos::models;
//!
//! let checkpoint = models::open(Path::new("a-folder"))?;
//! let model = checkpoint.layout(checkpoint.architecture()?)?;
//! let report = checkpoint.report(&model)?;
//! report.require(&checkpoint.path, |name| name.starts_with("cls."))?;
//! let bias: Vec<f32> = checkpoint.values("classifier.bias")?;
//! # Ok::<(), melos::Error>(())
//! ```

pub mod adapter;
mod array;
mod bitsandbytes;
mod checkpoint;
mod config;
mod convert;
mod fetch;
mod file;
mod format;
pub mod gguf;
mod inspect;
mod report;
mod save;
mod shards;
mod torch;
mod weights;

pub use array::{Array, FloatType};
pub use checkpoint::{
    CARD, COMPANIONS, CONFIG, Checkpoint, INDEX, SENTENCE_LIMITS, TORCH_INDEX, TORCH_WEIGHTS,
    TensorInfo, WEIGHTS, has_weights, open, read_json, without_weights,
};
pub use config::{complete, generation, set_labels, without_quantisation};
pub use convert::{convert, require_empty};
pub use fetch::{local, model_name};
pub use file::{TensorFile, write as write_tensors};
pub use format::{Architecture, Class, Format, Head, Layout, OTHER, num_labels};
pub use inspect::{AdapterSummary, Summary, Tensor, inspect};
pub use report::{Ignored, LoadReport, Renamed};
pub use save::{MAX_SHARD_BYTES, Model, SaveOptions, save, write};
pub use torch::{TorchFile, is_torch};
pub use weights::ElementType;
