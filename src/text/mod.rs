//! Everything between text files on disk and batches of token ids in host memory.
//!
//! ```text
//! corpus (files -> examples) -> tokenizer (text -> ids) -> documents (cached ids) -> batches
//! chat (files -> conversations) -> the model's template -> ids, and which of them are learned -> batches
//!
//! batches, time-major (T, B) for LSTMs     lm      the stream of all text in lanes
//!                                          bucket  whole documents
//!          batch-major (B, T) for          masked  masked LM: sentences, packed blocks, pairs
//!          transformers                   causal  windows of the stream, prompts with answers
//!                                         chat    conversations, of which answers are learned
//!                                          labelled  texts, pairs, words with labels
//! ```
//!
//! Nothing here touches a GPU. Every order is decided by a seed, never by the thread count, so
//! the same files and the same seed give the same batches on every machine.

pub mod batch;
pub mod bucket;
pub mod causal;
pub mod chat;
pub mod classes;
pub mod corpus;
pub mod demo;
pub mod documents;
pub mod labelled;
pub mod lm;
pub mod masked;
pub mod masking;
pub mod pairs;
pub mod rng;
pub mod sequences;
pub mod split;
pub mod tokenizer;
pub mod vectors;
pub mod vocabulary;

mod cache;
mod epochs;
mod joined;
mod words;

pub use batch::Position;
pub use bucket::{BucketBatches, BucketOptions, Keep, SequenceBatch};
pub use causal::{CausalBatch, CausalBatches, CausalLayout, CausalOptions};
pub use corpus::{Column, Example, Format, LabelKind, Source, Split};
pub use documents::{Documents, tokenise};
pub use epochs::{Batches, Maker, Plan, Stream, padded};
pub use labelled::{
    LabelledBatch, LabelledBatches, LabelledOptions, TaggedBatch, TaggedBatches, TaggedDocuments,
    TaggedText,
};
pub use lm::{LmBatch, LmBatches, LmOptions};
pub use masked::{Layout, MaskedBatch, MaskedBatches, MaskedOptions};
pub use masking::{MaskRate, Masking, RateShape};
pub use pairs::PairOptions;
pub use sequences::{Frame, Rows};
pub use tokenizer::{
    Encoding, Family, Subword, Tokenizer, TokenizerKind, TokenizerOptions, TokenizerTrainer,
};
pub use vectors::WordVectors;
pub use vocabulary::{Roles, SecondText, Vocabulary};
