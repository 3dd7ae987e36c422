//! Conversations: from rows of files to tokens of which some are learned.
//!
//! ```text
//! forms      rows of json, jsonl, csv and parquet files in the usual forms -> examples
//! messages   the messages of an example, in one spelling and checked
//! template   the model's own chat template: messages -> text
//! encode     text -> tokens, and which of them are learned
//! documents  all of them, numbered
//! batches    rows of tokens with targets
//! preferences  two rows for each: a better and a worse answer, or one and another's
//! ```

mod batches;
mod documents;
mod encode;
mod forms;
mod messages;
mod pairs;
mod preferences;
mod python;
mod template;

pub use batches::{ChatBatch, ChatBatches, ChatOptions, SEGMENT, Turns};
pub use documents::{ChatDocuments, Item, each, read};
pub use encode::{Encoded, Encoder, Learn};
pub use forms::{Example, Form, Kind, Read, Row, form, rows};
pub use messages::{Message, check, message, text_of};
pub use preferences::{
    PreferenceBatch, PreferenceBatches, PreferenceOptions, PreferenceRows, Preferences, Second,
    is_left,
};
pub use template::{BUILT_IN, FILE, Template};
