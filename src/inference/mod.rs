//! Using a trained transformer: guessing masked tokens, writing on, vectors of texts, labels. Models
//! are Hugging Face folders, PEFT adapters with their base, or what `melos train` has left.

mod embed;
mod evaluate;
mod fill_mask;
mod generate;
mod predict;
mod tag;

use std::path::Path;

pub use embed::{Embedder, Pooling, SentenceOptions};
pub use evaluate::open_model;
pub use fill_mask::{Blank, FillMask, Guess};
pub use generate::{Generator, Sampling};
pub use predict::Classifier;
pub use tag::{Tagger, Word, is_tagger};

use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::Architecture;
use crate::nn::LoraPlan;
use crate::ops::TokenIndex;
use crate::tensor::{ParamSpec, ParamStore};
use crate::text::tokenizer::Encoding;
use crate::text::{Rows, Tokenizer};
use crate::train::tasks::transformer::{Network, Source};

/// A model with its parameters on the device, and its tokeniser.
pub(crate) struct Loaded {
    pub gpu: Gpu,
    pub network: Network,
    pub tokenizer: Tokenizer,
    pub store: ParamStore,
}

impl Loaded {
    /// Loads what `wanted` says of the class in the folder; `base` is where an adapter's base model
    /// stands, if not where the adapter says.
    ///
    /// # Errors
    /// Those of [`Source::open`] and of the tokeniser; [`Error::Folder`] for tensors that are not
    /// there.
    pub fn open(
        gpu: Gpu,
        folder: &Path,
        base: Option<&Path>,
        wanted: impl FnOnce(&Source) -> Result<Architecture>,
    ) -> Result<Loaded> {
        let source = Source::open(folder, base)?;
        let architecture = wanted(&source)?;
        let tokenizer = tokenizer(&source)?;
        tokenizer.vocabulary().fits(source.network.vocab_size())?;
        let network = source.network.clone();
        let specs = network.specs(architecture, &LoraPlan::default())?;
        let lacking = |spec: &&ParamSpec| !source.has(&spec.name, &spec.shape.0);
        if let Some(spec) = specs.iter().find(lacking) {
            return Err(Error::Folder {
                path: folder.to_path_buf(),
                problem: format!(
                    "has no '{}' of shape {}, which a {} needs; it is another kind of model",
                    spec.name,
                    spec.shape,
                    architecture.name()
                ),
            });
        }
        // All of it is in the folder: nothing is drawn.
        let specs = specs.into_iter().map(ParamSpec::zeroed).collect();
        let store = ParamStore::new(&gpu, specs, 0, |_| 0.0)?;
        source.load(&store, &[])?;
        Ok(Loaded {
            gpu,
            network,
            tokenizer,
            store,
        })
    }

    /// A text framed by its special tokens, as a batch of one row.
    ///
    /// # Errors
    /// [`Error::Argument`] for a text without a token, or longer than the model's positions.
    fn row(&self, op: &'static str, encoding: &Encoding) -> Result<Rows> {
        let (time, most) = (encoding.ids.len(), self.network.positions());
        if time == 0 || time > most {
            return Err(Error::Argument {
                op,
                arg: "text",
                value: format!("{time} tokens"),
                expected: "at least one token, and no more than the model has positions",
            });
        }
        let lens = vec![time as u32];
        Ok(Rows {
            time,
            batch: 1,
            index: TokenIndex::of_rows(&encoding.ids, &lens),
            ids: encoding.ids.clone(),
            token_types: encoding.token_types.clone(),
            lens,
        })
    }
}

/// The tokeniser in a model's folder, or in that of an adapter's base.
fn tokenizer(source: &Source) -> Result<Tokenizer> {
    let own = Tokenizer::open(&source.path);
    match (&source.base, own) {
        (Some(base), Err(_)) => Tokenizer::open(base),
        (_, own) => own,
    }
}
