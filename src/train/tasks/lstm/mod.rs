//! The LSTM's objectives (Dai & Le 2015): language model, sequence autoencoder, classifier.

mod autoencoder;
mod classify;
mod language;
mod model;

use std::path::Path;

pub(super) use autoencoder::Autoencoder;
pub(super) use classify::Classifier;
pub(super) use language::LanguageModel;
pub(super) use model::{MODEL_TYPE, SavedModel};

use super::engine::{Engine, EngineOptions};
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::Array;
use crate::models::lstm::{EMBEDDING, LSTM, LstmConfig};
use crate::nn::Vars;
use crate::tensor::{ParamSpec, ParamStore};
use crate::text::{Keep, Tokenizer, WordVectors};
use crate::train::config::{KeptEnd, LstmModel, Part, StageConfig, StageKind};
use crate::train::state::{TensorMap, check_tensors, read_tensors};
use crate::train::task::TaskRequest;

/// What an LSTM's stage is built from.
pub(super) struct Start<'a> {
    pub gpu: Gpu,
    pub model: &'a LstmModel,
    pub request: &'a TaskRequest<'a>,
}

impl Start<'_> {
    /// The network of the stage.
    fn network(&self, vocab_size: usize) -> LstmConfig {
        let model = self.model;
        let dropout = self.request.stage.dropout(model);
        LstmConfig {
            vocab_size,
            embedding_size: model.embedding,
            hidden_size: model.hidden,
            num_layers: model.layers,
            bidirectional: model.bidirectional,
            head_size: model.head,
            cell_clip: model.cell_clip.unwrap_or(0.0),
            embedding_dropout: dropout.embedding,
            layer_dropout: dropout.output,
            output_dropout: dropout.output,
        }
    }

    /// Probability of dropping a word of the input.
    fn word_dropout(&self) -> f32 {
        self.request.stage.dropout(self.model).word
    }

    /// Allocates what was declared and starts it: from the seed, from the word vectors, or
    /// from the model folder of the request.
    fn engine(&self, vars: Vars, tokenizer: &Tokenizer) -> Result<Engine> {
        let (stage, seed) = (self.request.stage, self.request.unit.seed);
        let store = ParamStore::new(&self.gpu, vars.specs(), seed, |_| 1.0)?;
        if let Some(path) = &self.model.word_vectors {
            set_word_vectors(&store, &WordVectors::read(path, tokenizer)?, path)?;
        }
        if let Some(folder) = &self.request.init {
            let whole = stage.kind == StageKind::Evaluate;
            transfer(
                &store,
                folder,
                (!whole).then_some(&stage.transfer[..]),
                tokenizer,
            )?;
        }
        let options = EngineOptions {
            optimizer: &stage.optimizer,
            clip_norm: stage.clip_norm,
            unfreeze_every: None,
            accumulate: stage.accumulate,
            precision: stage.precision,
            seed,
        };
        Engine::new(self.gpu.clone(), store, vars, &options)
    }
}

/// Takes parameters over from a model folder: those of `parts`, or all of them.
pub(super) fn transfer(
    store: &ParamStore,
    folder: &Path,
    parts: Option<&[Part]>,
    tokenizer: &Tokenizer,
) -> Result<()> {
    let file = folder.join("model.safetensors");
    let theirs = Tokenizer::load(folder)?;
    if theirs.hash() != tokenizer.hash() {
        return Err(Error::Folder {
            path: folder.to_path_buf(),
            problem: "its tokenizer.json is not this run's; set tokenizer.file to it".into(),
        });
    }
    let tensors = read_tensors(&file)?;
    let wanted = |name: &str| {
        let of = |prefix: &str| {
            name.strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        parts.is_none_or(|parts| {
            parts.iter().any(|part| match part {
                Part::Embedding => of(EMBEDDING),
                Part::Lstm => of(LSTM),
            })
        })
    };
    let specs: Vec<&ParamSpec> = store.specs().filter(|spec| wanted(&spec.name)).collect();
    let taken: TensorMap = tensors
        .into_iter()
        .filter(|(name, _)| parts.is_none() || wanted(name))
        .collect();
    let expected = specs.iter().map(|s| (s.name.as_str(), &s.shape.0[..]));
    check_tensors(&taken, expected, &file)?;
    for spec in specs {
        if let Some(values) = taken.get(&spec.name).map(Array::values) {
            store.get(&spec.name)?.write(&values)?;
        }
    }
    Ok(())
}

/// Overwrites the rows of the embedding for which there is a vector.
fn set_word_vectors(store: &ParamStore, vectors: &WordVectors, path: &Path) -> Result<()> {
    let table = store.get(&format!("{EMBEDDING}.weight"))?;
    let width = table.shape().last();
    let mut values = table.to_vec::<f32>()?;
    for (id, row) in values.chunks_mut(width).enumerate() {
        let Some(vector) = vectors.row(id as u32) else {
            continue;
        };
        if vector.len() != width {
            return Err(Error::Vectors {
                path: path.to_path_buf(),
                place: "first vector".into(),
                message: format!(
                    "holds {} numbers, model.embedding is {width}; set one to the other",
                    vector.len()
                ),
            });
        }
        row.copy_from_slice(vector);
    }
    log::info!(
        "word vectors cover {:.1} % of the vocabulary",
        100.0 * vectors.coverage()
    );
    table.write(&values)
}

fn kept_end(end: KeptEnd) -> Keep {
    match end {
        KeptEnd::Head => Keep::Head,
        KeptEnd::Tail => Keep::Tail,
    }
}

/// Tokens that a stage reads of a text, its end included.
fn length(tokens: usize, stage: &StageConfig) -> u64 {
    (tokens + 1).min(stage.objective.length()) as u64
}
