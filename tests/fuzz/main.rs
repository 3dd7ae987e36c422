//! Every reader of files, given files that were changed at random: none may panic, take 10 seconds or
//! 1 GiB.
//!
//! ```text
//! cargo test --release --test fuzz              a bounded number of inputs, a minute or so
//! tools/fuzz                                    1,000,000 inputs
//! MELOS_FUZZ=5000 MELOS_FUZZ_SEED=7 …           so many in all, others
//! MELOS_FUZZ_FILE=FILE … --test fuzz csv        that input alone
//! ```
//!
//! The inputs are those of `tests/fixtures`, as they are and changed: see [`mutation`]. What once failed
//! lies in `tests/fixtures/fuzz/TARGET`, and is tried each time.
#![cfg(feature = "train")]

mod engine;
mod itself;
mod memory;
mod models;
mod mutation;
mod runs;
mod texts;
mod tokenizers;
mod tree;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// All targets: the module and function of each, and how many of a thousand inputs it gets.
macro_rules! targets {
    ($($module:ident::$name:ident: $share:literal),* $(,)?) => {
        const SHARES: u64 = 0 $(+ $share)*;
        $(
            #[test]
            fn $name() {
                engine::run(stringify!($name), ($share, SHARES), $module::$name());
            }
        )*
    };
}

targets! {
    models::gguf: 100,
    models::safetensors: 120,
    models::config: 100,
    models::adapter: 60,
    models::shards: 20,
    models::sentences: 40,
    tokenizers::tokenizer_json: 100,
    tokenizers::tokenizer_folder: 80,
    tokenizers::dictionary: 20,
    tokenizers::dictionary_sources: 10,
    texts::csv: 90,
    texts::jsonl: 80,
    texts::plain: 60,
    texts::tagged: 40,
    texts::parquet: 40,
    texts::archive: 50,
    texts::vectors: 50,
    runs::run_file: 60,
    runs::checkpoint: 30,
    runs::cache: 30,
    runs::records: 20,
}
