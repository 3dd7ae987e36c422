//! Everything between text files on disk and batches of token ids in host memory.
//!
//! ```text
//! corpus (files -> examples) -> tokenizer (text -> ids) -> documents (cached ids) -> batches
//! ```
//!
//! Nothing here touches a GPU. Every order is decided by a seed, never by the thread count, so
//! the same files and the same seed give the same batches on every machine.

pub mod batch;
pub mod bucket;
pub mod corpus;
pub mod demo;
pub mod documents;
pub mod lm;
pub mod rng;
pub mod split;
pub mod tokenizer;
pub mod vectors;

mod cache;

pub use batch::{Position, TokenIndex};
pub use bucket::{BucketBatches, BucketOptions, Keep, SequenceBatch};
pub use corpus::{Column, Example, Format, Source, Split};
pub use documents::{Documents, tokenise};
pub use lm::{LmBatch, LmBatches, LmOptions};
pub use tokenizer::{Tokenizer, TokenizerKind, TokenizerOptions, TokenizerTrainer};
pub use vectors::WordVectors;
