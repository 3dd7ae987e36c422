//! One vector for a text, as sentence-transformers makes it.

use std::path::Path;

use serde_json::Value;

use super::Loaded;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::{Head, SENTENCE_LIMITS};
pub use crate::models::Pooling;
use crate::models::embed;
use crate::objectives::batch::Batch;
use crate::objectives::feed::{Feed, Pass, Passes};
use crate::ops::TokenIndex;
use crate::text::Rows;

/// Texts that share a pass; a power of two.
const BATCH: usize = 32;
/// Padded lengths of a batch are multiples of this, so that few passes are recorded.
const LENGTHS: usize = 16;

/// How tokens become a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentenceOptions {
    /// The first token's vector, or the mean.
    pub pooling: Pooling,
    /// Whether every vector has length 1.
    pub normalised: bool,
    /// Longest text in tokens, special ones included; the rest is cut off.
    pub max_len: usize,
}

impl SentenceOptions {
    /// What a folder of sentence-transformers says; without its files the mean, not normalised, over
    /// as many tokens as the model has positions.
    ///
    /// # Errors
    /// [`Error::Folder`] for files that are damaged or ask for something else.
    pub fn read(folder: &Path, positions: usize) -> Result<SentenceOptions> {
        let mut options = SentenceOptions {
            pooling: Pooling::Mean,
            normalised: false,
            max_len: positions,
        };
        if let Some(limits) = json(&folder.join(SENTENCE_LIMITS))?
            && let Some(most) = limits["max_seq_length"].as_u64()
        {
            options.max_len = (most as usize).clamp(1, positions);
        }
        let modules = json(&folder.join("modules.json"))?.unwrap_or_default();
        for module in modules.as_array().into_iter().flatten() {
            let kind = module["type"].as_str().unwrap_or_default();
            let kind = kind.rsplit('.').next().unwrap_or_default();
            match kind {
                "Transformer" => {}
                "Normalize" => options.normalised = true,
                "Pooling" => {
                    let path = module["path"].as_str().unwrap_or("1_Pooling");
                    let path = folder.join(path).join("config.json");
                    options.pooling = pooling(&path)?.unwrap_or(options.pooling);
                }
                other => {
                    let problem = format!(
                        "has a module '{other}'; melos knows Transformer, Pooling and Normalize"
                    );
                    return Err(Error::folder(folder.join("modules.json"), problem));
                }
            }
        }
        Ok(options)
    }
}

fn pooling(path: &Path) -> Result<Option<Pooling>> {
    let Some(config) = json(path)? else {
        return Ok(None);
    };
    let modes = config.as_object().into_iter().flatten();
    let chosen: Vec<&str> = modes
        .filter(|(key, value)| key.starts_with("pooling_mode_") && value.as_bool() == Some(true))
        .map(|(key, _)| key.as_str())
        .collect();
    match chosen[..] {
        ["pooling_mode_cls_token"] => Ok(Some(Pooling::Cls)),
        ["pooling_mode_mean_tokens"] => Ok(Some(Pooling::Mean)),
        _ => {
            let chosen = chosen.join(" and ");
            let known = "pooling_mode_cls_token or pooling_mode_mean_tokens";
            let problem = format!("asks for {chosen}; melos has {known}");
            Err(Error::folder(path, problem))
        }
    }
}

fn json(path: &Path) -> Result<Option<Value>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::read(path, e)),
    };
    let value = serde_json::from_str(&text);
    let damaged = |e| Error::folder(path, format!("is not JSON: {e}; copy it again"));
    value.map(Some).map_err(damaged)
}

/// A model that gives texts vectors.
pub struct Embedder {
    loaded: Loaded,
    options: SentenceOptions,
    passes: Passes,
}

impl Embedder {
    /// Opens a model folder, or an adapter's; `change` may change how tokens become a vector.
    ///
    /// # Errors
    /// [`Error::Folder`] for another model; those of reading.
    pub fn open(
        gpu: Gpu,
        folder: &Path,
        base: Option<&Path>,
        change: impl FnOnce(&mut SentenceOptions),
    ) -> Result<Embedder> {
        let loaded = Loaded::open(gpu, folder, base, |_| Ok(Head::Layers))?;
        let mut options = SentenceOptions::read(folder, loaded.config.positions())?;
        change(&mut options);
        if loaded.network.as_encoder().is_none() {
            return Err(loaded.cannot(Head::Layers));
        }
        Ok(Embedder {
            loaded,
            options,
            passes: Passes::default(),
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
        let rows: Vec<Vec<u32>> = texts
            .iter()
            .map(|text| {
                let mut ids = tokenizer.encoding(text, None, true)?.ids;
                if ids.len() > most {
                    // The last token ends the sequence and stays.
                    let last = ids.last().copied();
                    ids.truncate(most);
                    if let (Some(slot), Some(last)) = (ids.last_mut(), last) {
                        *slot = last;
                    }
                }
                Ok(ids)
            })
            .collect::<Result<_>>()?;
        // Texts of like length share a batch.
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&n| rows[n].len());
        let mut vectors = vec![Vec::new(); rows.len()];
        for batch in order.chunks(BATCH) {
            let chosen: Vec<&[u32]> = batch.iter().map(|&n| &rows[n][..]).collect();
            for (&n, vector) in batch.iter().zip(self.pass(&chosen)?) {
                vectors[n] = vector;
            }
        }
        Ok(vectors)
    }

    fn pass(&mut self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        let pad = self.loaded.tokenizer.vocabulary().roles().pad.unwrap_or(0);
        let longest = texts.iter().map(|t| t.len()).max().unwrap_or(1).max(1);
        let time = longest.next_multiple_of(LENGTHS).min(self.options.max_len);
        // Few shapes, and a single text does not wait for a whole batch.
        let batch = texts.len().next_power_of_two();
        let mut ids = vec![pad; batch * time];
        let mut lens = vec![0; batch];
        for ((row, len), text) in ids.chunks_mut(time).zip(&mut lens).zip(texts) {
            row[..text.len()].copy_from_slice(text);
            *len = text.len() as u32;
        }
        let rows = Batch::of_rows(Rows {
            time,
            batch,
            index: TokenIndex::of_rows(&ids, &lens),
            token_types: vec![0; ids.len()],
            ids,
            lens,
        });
        let (gpu, loaded) = (&self.loaded.gpu, &self.loaded);
        let encoder = loaded.network.as_encoder();
        let encoder = encoder.ok_or_else(|| loaded.cannot(Head::Layers))?;
        let (pooling, normalised) = (self.options.pooling, self.options.normalised);
        let pass = self.passes.of(time * BATCH + batch, || {
            let feed = Feed::new(gpu, &rows, Vec::new())?;
            Pass::inference(gpu, feed, |tape, feed| {
                let tokens = feed.tokens()?;
                Ok(vec![embed(tape, encoder, &tokens, pooling, normalised)?])
            })
        })?;
        pass.feed.write(&rows, &[])?;
        let [vectors] = pass.run(gpu)? else {
            return Ok(Vec::new());
        };
        let width = vectors.shape().last();
        let values = vectors.to_vec::<f32>()?;
        let rows = values.chunks(width).take(texts.len());
        Ok(rows.map(<[f32]>::to_vec).collect())
    }
}
