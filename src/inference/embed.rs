//! One vector for a text, as sentence-transformers makes it.

use std::path::Path;

use super::rows::{Framed, Runner};
use super::{Loaded, SentenceOptions};
use crate::device::Gpu;
use crate::error::Result;
use crate::hub::Head;
use crate::models::{Beside, embed};
use crate::objectives::feed::Feed;
use crate::tensor::Tape;

/// A model that gives texts vectors.
pub struct Embedder {
    loaded: Loaded,
    options: SentenceOptions,
    runner: Runner,
}

impl Embedder {
    /// Opens a model folder, or an adapter's; `change` may change how tokens become a vector.
    ///
    /// # Errors
    /// [`crate::Error::Folder`] for another model; those of reading.
    pub fn open(
        gpu: Gpu,
        folder: &Path,
        beside: Beside<'_>,
        change: impl FnOnce(&mut SentenceOptions),
    ) -> Result<Embedder> {
        let loaded = Loaded::open(gpu, folder, beside, |_| Ok(Head::Layers))?;
        let mut options = SentenceOptions::read(folder, loaded.config.positions())?;
        change(&mut options);
        if loaded.network.as_encoder().is_none() {
            return Err(loaded.cannot(Head::Layers));
        }
        Ok(Embedder {
            loaded,
            options,
            runner: Runner::default(),
        })
    }

    /// Numbers of a vector.
    pub fn width(&self) -> usize {
        let encoder = self.loaded.network.as_encoder();
        encoder.map_or(0, |encoder| encoder.width())
    }

    /// The vectors of texts.
    ///
    /// # Errors
    /// Those of the tokeniser and of the device.
    pub fn embed(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let tokenizer = &self.loaded.tokenizer;
        let most = self.options.max_len;
        let rows: Vec<Framed> = texts
            .iter()
            .map(|text| {
                let text = self.options.prepared(text);
                let mut ids = tokenizer.encoding(&text, None, true)?.ids;
                if ids.len() > most {
                    // The last token ends the sequence and stays.
                    let last = ids.last().copied();
                    ids.truncate(most);
                    if let (Some(slot), Some(last)) = (ids.last_mut(), last) {
                        *slot = last;
                    }
                }
                let types = vec![0; ids.len()];
                Ok(Framed { ids, types })
            })
            .collect::<Result<_>>()?;
        let loaded = &self.loaded;
        let encoder = loaded.network.as_encoder();
        let encoder = encoder.ok_or_else(|| loaded.cannot(Head::Layers))?;
        let (pooling, normalised) = (self.options.pooling, self.options.normalised);
        let forward =
            |tape: &Tape, feed: &Feed| embed(tape, encoder, &feed.tokens()?, pooling, normalised);
        let mut vectors = vec![Vec::new(); rows.len()];
        self.runner.run(loaded, &rows, most, forward, |n, vector| {
            vectors[n] = vector.to_vec();
        })?;
        Ok(vectors)
    }
}
