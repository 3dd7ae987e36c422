//! The run file's schema, but for its stages and its networks.

use std::path::PathBuf;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize, Serializer};

use super::model::ModelConfig;
pub use super::paths::Paths;
use super::stage::StageConfig;
pub use crate::images::{Normalise, OnBroken};
pub use crate::models::ImageSize;
pub use crate::text::Column;
pub use crate::text::TokenizerKind;
pub use crate::text::tokenizer::Subword;

/// A whole run: what `melos train FILE.toml` reads, and what `config.toml` in a run folder holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Names the run folder and the report.
    pub name: String,
    /// One or two sentences for `melos presets`.
    #[serde(default)]
    pub description: String,
    /// Data order, splits, folds, and the weights of stages without `seeds` of their own.
    #[serde(default = "one")]
    pub seed: u64,
    /// Device memory that a stage may take, as "8 GiB"; absent: what there is.
    #[serde(default, serialize_with = "in_bytes")]
    pub memory_limit: Option<ByteSize>,
    /// How text becomes tokens; shared by all stages.
    #[serde(default)]
    pub tokenizer: TokenizerConfig,
    /// How pictures become what a model reads; shared by all stages.
    #[serde(default, skip_serializing_if = "ImagesConfig::is_default")]
    pub images: ImagesConfig,
    /// The network; shared by all stages, so that weights can be handed on.
    #[serde(default)]
    pub model: ModelConfig,
    /// Where text and labels come from.
    pub data: DataConfig,
    /// What is done, in order.
    #[serde(rename = "stage", default)]
    pub stages: Vec<StageConfig>,
}

/// How text is cut into tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerConfig {
    /// Trained on the run's own text, unless `file` is given.
    pub kind: TokenizerKind,
    /// Largest number of tokens, special ones included.
    pub vocabulary: usize,
    /// Words (BPE, WordPiece: pairs) seen less often stay out of the vocabulary.
    pub min_frequency: u64,
    /// Lower-case the text ("wordpiece", "char", "morpheme").
    pub lowercase: bool,
    /// Take accents away ("wordpiece"); absent: as `lowercase` says.
    pub strip_accents: Option<bool>,
    /// How morphemes are cut further.
    pub subword: Subword,
    /// The dictionary of morphemes; absent: where `melos tokenizer build-dictionary` leaves it.
    pub dictionary: Option<PathBuf>,
    /// A `tokenizer.json`, or a tokeniser's folder, to use instead of training one. Transformers
    /// that start from a folder use that one's.
    pub file: Option<PathBuf>,
}

impl Default for TokenizerConfig {
    fn default() -> Self {
        Self {
            kind: TokenizerKind::Word,
            vocabulary: 10_000,
            min_frequency: 2,
            lowercase: true,
            strip_accents: None,
            subword: Subword::Wordpiece,
            dictionary: None,
            file: None,
        }
    }
}

/// How pictures become what a model reads; what is absent is as the weights' preprocessor_config.json has
/// it, or as the model's sizes ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImagesConfig {
    /// What the model reads: a number of pixels, or `[height, width]`.
    pub size: Option<ImageSize>,
    /// Pixels of the shorter side that every picture is resized to before; absent: as many as `size`.
    pub resize: Option<usize>,
    /// Numbers of a pixel: 1 (grey) or 3 (red, green, blue).
    pub channels: Option<usize>,
    /// By what the channels are normalised.
    pub normalise: Normalise,
    /// What is done about pictures that cannot be read.
    pub on_broken: OnBroken,
}

impl ImagesConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where text comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// What `path` holds.
    pub source: Source,
    /// Archive, folder or files of labelled text, one data set; `--data`.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub path: Paths,
    /// Test text, where it is a file of its own (source "files").
    #[serde(default)]
    pub test: Option<PathBuf>,
    /// Further text without labels; `--unlabelled`.
    #[serde(default)]
    pub unlabelled: Vec<PathBuf>,
    /// Column (by name or number) or JSON key of the text in csv, tsv and jsonl files; absent: found by its name.
    #[serde(default)]
    pub text_column: Option<Column>,
    /// Column or JSON key of the second text of a pair; absent: there is none.
    #[serde(default)]
    pub pair_column: Option<Column>,
    /// Column of the paths in a csv or tsv of pictures; absent: found by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_column: Option<Column>,
    /// Column or JSON key of the label; absent: found by its name.
    #[serde(default)]
    pub label_column: Option<Column>,
    /// Cut every text after each occurrence of this, as "。", and leave its line breaks out.
    #[serde(default)]
    pub sentence_end: Option<String>,
    /// Whether a .txt is one text, lines and all, and not a text on each line; absent: where all that is
    /// learned is a language model that reads on from left to right, as GPT-2 does.
    #[serde(default)]
    pub one_text: Option<bool>,
    /// Share of the training text held out to choose the best checkpoint.
    #[serde(default = "tenth")]
    pub validation: f64,
    /// Share of `path` kept for testing, where the data have no test set and no folds are used.
    #[serde(default = "tenth")]
    pub test_share: f64,
    /// Sizes of the generated corpus (source "demo").
    #[serde(default)]
    pub demo: DemoSizes,
}

/// Number of texts that the demo generator makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DemoSizes {
    /// Without labels, for pretraining.
    pub unlabelled: usize,
    /// With labels, to learn from.
    pub train: usize,
    /// With labels, to choose the best checkpoint by.
    pub validation: usize,
    /// With labels, for the test error.
    pub test: usize,
}

impl Default for DemoSizes {
    fn default() -> Self {
        Self {
            unlabelled: 8_000,
            train: 300,
            validation: 100,
            test: 1_000,
        }
    }
}

/// Kinds of data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The built-in synthetic reviews.
    Demo,
    /// The Large Movie Review Dataset: its tar.gz or its folder.
    Imdb,
    /// Rotten Tomatoes (Pang & Lee 2005): its tar.gz, folder or two files, Windows-1252.
    Rt,
    /// 20 Newsgroups by date: its tar.gz or its folder.
    #[serde(rename = "20ng")]
    Newsgroups,
    /// DBpedia (Zhang et al. 2015): csv files without headers, of classes' numbers, titles and texts.
    Dbpedia,
    /// csv, tsv, jsonl, parquet, txt.
    Files,
    /// Pictures: a folder (or tar) with a folder for each class, a csv of paths and labels, MNIST's IDX files or
    /// CIFAR's binary batches.
    Images,
}

/// Exactly, where "1.3 GiB" would be rounded.
fn in_bytes<S: Serializer>(size: &Option<ByteSize>, to: S) -> Result<S::Ok, S::Error> {
    size.map(|size| size.as_u64()).serialize(to)
}

// Defaults that serde needs as functions.

fn one() -> u64 {
    1
}

fn tenth() -> f64 {
    0.1
}
