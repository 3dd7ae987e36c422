//! The run files of this folder, in the order in which they are listed.

use super::Preset;

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        pub(super) const PRESETS: &[Preset] = &[$(Preset {
            name: $name,
            text: include_str!(concat!($name, ".toml")),
        }),*];
    };
}

presets!(
    "demo",
    "lstm-imdb",
    "lm-lstm-imdb",
    "sa-lstm-imdb",
    "lstm-rt",
    "lm-lstm-rt",
    "sa-lstm-rt",
    "bert-mlm",
    "bert-mlm-nsp",
    "gpt2",
    "hashire-merosu",
    "finetune",
    "lora",
);
