//! The run file's schema. Every key has its place here and nowhere else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize, Serializer};

use super::model::{Dropout, LstmModel, ModelConfig};
use super::optimizer::Optimizer;
use super::tuning::{Lora, Masking, Problem, UnfreezeEvery};
use crate::optim::schedule::Schedule;
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

/// Where text comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// What `path` holds.
    pub source: Source,
    /// Archive, folder or file(s) of labelled text; `--data`.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Test text, where it is a file of its own (source "files").
    #[serde(default)]
    pub test: Option<PathBuf>,
    /// Further text without labels; `--unlabelled`.
    #[serde(default)]
    pub unlabelled: Vec<PathBuf>,
    /// Column or JSON key of the text in csv, tsv and jsonl files; absent: found by its name.
    #[serde(default)]
    pub text_column: Option<String>,
    /// Column or JSON key of the second text of a pair; absent: there is none.
    #[serde(default)]
    pub pair_column: Option<String>,
    /// Column or JSON key of the label; absent: found by its name.
    #[serde(default)]
    pub label_column: Option<String>,
    /// Cut every text after each occurrence of this, as "。", and leave its line breaks out.
    #[serde(default)]
    pub sentence_end: Option<String>,
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
    /// csv, tsv, jsonl, txt.
    Files,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// Names the stage in `init`, `--set stage.NAME.…`, folders and the report.
    pub name: String,
    /// What is done.
    pub kind: StageKind,
    /// What is learned.
    pub objective: Objective,
    /// The second objective of "joint".
    #[serde(default)]
    pub auxiliary: Option<Auxiliary>,
    /// Weight of the second objective's loss.
    #[serde(default = "one_f32")]
    pub auxiliary_weight: f32,
    /// Weights to start from: an earlier stage's name or a model folder; absent: from scratch.
    #[serde(default)]
    pub init: Option<String>,
    /// Which of those weights are taken over.
    #[serde(default = "both_parts")]
    pub transfer: Vec<Part>,
    /// Which text a pretrain stage reads.
    #[serde(default)]
    pub text: TextChoice,
    /// Run the stage once per seed and report the mean.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// Run the stage once per fold of a cross-validation and report the mean.
    #[serde(default)]
    pub folds: Option<usize>,
    /// Run only the first so many folds of the cross-validation.
    #[serde(default)]
    pub run_folds: Option<usize>,
    /// Highest learning rate.
    #[serde(default = "default_lr")]
    pub lr: f64,
    /// Texts (or parallel streams of an LM) per step.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Truncated backpropagation through time: tokens per window of an LM.
    #[serde(default = "default_length")]
    pub bptt: usize,
    /// Tokens of a text that a classifier or autoencoder reads; the rest is cut off.
    #[serde(default = "default_length")]
    pub max_len: usize,
    /// Which end of a text longer than `max_len` is kept.
    #[serde(default)]
    pub kept_end: KeptEnd,
    /// Largest norm of the whole gradient; absent: not clipped.
    #[serde(default)]
    pub clip_norm: Option<f32>,
    /// Steps between evaluations; absent: once per epoch.
    #[serde(default)]
    pub eval_every: Option<u64>,
    /// Steps between checkpoints; absent: at every evaluation.
    #[serde(default)]
    pub save_every: Option<u64>,
    /// Checkpoints kept, besides the best.
    #[serde(default = "two")]
    pub keep: usize,
    /// When the stage is done.
    #[serde(default)]
    pub budget: Budget,
    /// The optimiser.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// How the learning rate moves.
    #[serde(default)]
    pub schedule: Schedule,
    /// This stage's own dropout; absent: the model's (LSTM).
    #[serde(default)]
    pub dropout: Option<Dropout>,
    /// Micro-batches of `batch` texts per step.
    #[serde(default = "one_usize")]
    pub accumulate: usize,
    /// What activations and their gradients are held in (BERT, GPT-2).
    #[serde(default)]
    pub precision: Precision,
    /// Compute each layer's activations again on the way back instead of keeping them.
    #[serde(default)]
    pub checkpointing: bool,
    /// Fill sequences with text up to `max_len` instead of one text each ("mlm" and "clm").
    #[serde(default)]
    pub packing: bool,
    /// How tokens are masked ("mlm" and "mlm_nsp").
    #[serde(default)]
    pub masking: Masking,
    /// What a label is ("classify").
    #[serde(default)]
    pub problem: Problem,
    /// Parameters that are not trained: parts, as "embeddings, layer.0-7", or a regex.
    #[serde(default)]
    pub freeze: Option<String>,
    /// Factor of the learning rate from each layer to the one below it.
    #[serde(default)]
    pub layer_decay: Option<f64>,
    /// Factors of the learning rate, by regex; those that match a name multiply.
    #[serde(default)]
    pub rates: BTreeMap<String, f64>,
    /// Begin with the head alone and train one more layer every so often, from the top down.
    #[serde(default)]
    pub unfreeze_every: Option<UnfreezeEvery>,
    /// Train a low-rank adapter instead of the model.
    #[serde(default)]
    pub lora: Option<Lora>,
}

/// What a stage does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageKind {
    /// Train on text without labels.
    Pretrain,
    /// Train on labelled text, and test.
    Finetune,
    /// Only test the weights named by `init`.
    Evaluate,
}

/// What activations and their gradients are held in; parameters in training are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, with a loss scale that follows the gradients.
    F16,
}

/// What is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Predict the next token (LSTM).
    Lm,
    /// Sequence autoencoder: read the text, then write it (LSTM).
    Sa,
    /// Predict masked tokens (BERT).
    Mlm,
    /// Predict masked tokens and whether the second text follows the first (BERT).
    MlmNsp,
    /// Causal language model: predict the next token (GPT-2).
    Clm,
    /// Predict the label.
    Classify,
    /// Predict the label and, at the same time, `auxiliary` (LSTM).
    Joint,
    /// Predict a label for every word (BERT).
    TokenClassify,
}

/// The second objective of joint training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auxiliary {
    /// Next token.
    Lm,
    /// Sequence autoencoder.
    Sa,
}

/// Weights that a later stage can take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Word embeddings.
    Embedding,
    /// LSTM weights and biases.
    Lstm,
}

/// Ends of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeptEnd {
    /// The beginning.
    Head,
    /// The end, where a review's verdict often stands.
    #[default]
    Tail,
}

/// Which text a pretrain stage reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextChoice {
    /// Text without labels where the data have some, the training texts otherwise.
    #[default]
    Auto,
    /// Only text without labels; where none has any, that of `unlabelled`.
    Unlabelled,
    /// Only the training texts of `path`, their labels unread (the fold's, under `folds`).
    Train,
    /// Both.
    All,
}

/// When a stage is done: exactly one of the three.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Budget {
    /// Optimiser steps.
    Steps(u64),
    /// Passes over the stage's training data; fractions are allowed.
    Epochs(f64),
    /// Tokens read.
    Tokens(u64),
}

impl Default for Budget {
    fn default() -> Self {
        Self::Epochs(1.0)
    }
}

impl StageConfig {
    /// The dropout in force: the stage's own, or the model's.
    pub fn dropout(&self, model: &LstmModel) -> Dropout {
        self.dropout.unwrap_or(model.dropout)
    }
}

/// Exactly, where "1.3 GiB" would be rounded.
fn in_bytes<S: Serializer>(size: &Option<ByteSize>, to: S) -> Result<S::Ok, S::Error> {
    size.map(|size| size.as_u64()).serialize(to)
}

// Defaults that serde needs as functions.

fn one() -> u64 {
    1
}

fn one_usize() -> usize {
    1
}

fn two() -> usize {
    2
}

fn one_f32() -> f32 {
    1.0
}

fn tenth() -> f64 {
    0.1
}

fn both_parts() -> Vec<Part> {
    vec![Part::Embedding, Part::Lstm]
}

fn default_lr() -> f64 {
    1e-3
}

fn default_batch() -> usize {
    32
}

fn default_length() -> usize {
    64
}
