//! Batches for causal language models, batch-major.
//!
//! ```text
//! stream     <eos> text <eos> text <eos> …, cut in windows of T: every token, and the <eos> after
//!            each text, is a target exactly once in an epoch, so perplexity is over all text
//! documents  a row each: <eos> text <eos>; of a pair: prompt <eos> answer <eos>, where by default
//!            only the answer is to be said (Hu et al., "LoRA", ICLR 2022, appendix D on E2E)
//! ```

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::batch::{IGNORE, Position};
use super::documents::Documents;
use super::epochs::{Batches, Epochs, Maker, Plan, Shape, ordered};
use super::joined::Joined;
use super::rng::Rng;
use super::sequences::{Frame, Rows, check_shape};
use super::vocabulary::Vocabulary;
use crate::Result;

/// What a row holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CausalLayout {
    /// The next T tokens of all documents one after the other.
    #[default]
    Stream,
    /// One document, cut at T.
    Documents,
}

/// How documents become rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CausalOptions {
    /// B, rows of every batch.
    pub batch: usize,
    /// T, the tokens of a window, or of the longest document.
    pub max_len: usize,
    /// What a row holds.
    pub layout: CausalLayout,
    /// For documents: pad to one of a few lengths; otherwise every batch is `max_len` long.
    pub buckets: bool,
    /// Draw the order of the rows anew for every epoch.
    pub shuffle: bool,
    /// For pairs: the prompt's tokens are targets as well.
    pub prompt_loss: bool,
}

/// Rows and the tokens that follow each of their tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct CausalBatch {
    /// The inputs.
    pub inputs: Rows,
    /// (B, T) next tokens; [`IGNORE`] where none is to be said.
    pub targets: Vec<i32>,
    /// Number of targets that count.
    pub predicted: usize,
    /// This batch's own position.
    pub position: Position,
}

/// An endless stream of [`CausalBatch`]es.
pub type CausalBatches = Batches<Causal>;

/// Makes batches of windows or of documents.
pub struct Causal {
    documents: Arc<Documents>,
    options: CausalOptions,
    frame: Frame,
    eos: u32,
    /// The documents, for a row each.
    order: Vec<u32>,
    /// The same as a stream.
    joined: Joined,
}

impl CausalBatches {
    /// A stream over the documents `which` (empty ones are passed over).
    ///
    /// # Errors
    /// [`crate::Error::Argument`] for a zero batch or a length below 5; [`crate::Error::Tokenizer`]
    /// without an `eos_token`; [`crate::Error::EmptyText`] when there is no token.
    pub fn new(
        documents: Arc<Documents>,
        which: &[u32],
        vocabulary: &Vocabulary,
        options: CausalOptions,
        seed: u64,
    ) -> Result<Self> {
        check_shape("causal batches", options.batch, options.max_len)?;
        let eos = vocabulary.need("eos_token", "a causal language model")?;
        let frame = Frame::none(vocabulary.roles().pad.unwrap_or(eos));
        let full = which.iter().copied();
        let full = full.filter(|&doc| !documents.ids(doc).is_empty());
        let order = ordered(full, "the text for a causal language model")?;
        let shuffles = options.shuffle && options.layout == CausalLayout::Stream;
        let rng = shuffles.then(|| Rng::new(seed, &[0xCA5]));
        let joined = Joined::new(documents.clone(), &order, eos, rng);
        let max_len = options.max_len;
        let lengths: Vec<usize> = match options.layout {
            CausalLayout::Stream => {
                let total = joined.len();
                let starts = (0..total).step_by(max_len);
                starts
                    .map(|start| (total - start).min(max_len as u64) as usize)
                    .collect()
            }
            CausalLayout::Documents => order
                .iter()
                .map(|&doc| {
                    let pair = usize::from(documents.texts(doc).1.is_some());
                    (documents.ids(doc).len() + 1 + pair).min(max_len)
                })
                .collect(),
        };
        let buckets = options.buckets && options.layout == CausalLayout::Documents;
        let shape = Shape::new(options.batch, max_len, buckets, options.shuffle);
        let rows = (0..lengths.len() as u32).collect();
        Ok(Batches {
            epochs: Epochs::new(rows, lengths, shape, seed),
            maker: Causal {
                documents,
                options,
                frame,
                eos,
                order,
                joined,
            },
        })
    }

    /// Tokens of a document's row and the targets among them: all, and those that it has room for.
    pub fn read(&self, doc: u32) -> [[usize; 2]; 2] {
        let whole = self.maker.documents.ids(doc).len() + 3;
        [whole, self.maker.options.max_len].map(|room| {
            let (tokens, first) = self.maker.document(doc, room);
            [tokens.len(), tokens.len() - 1 - first]
        })
    }

    /// Tokens of the texts and one `<eos>` for each: of a stream, the targets in an epoch.
    pub fn tokens_per_epoch(&self) -> u64 {
        self.maker.joined.len()
    }
}

impl Maker for Causal {
    type Batch = CausalBatch;

    fn make(&self, plan: &Plan, position: Position, _: f64) -> CausalBatch {
        let mut inputs = Rows::empty(self.options.batch, plan.time, self.frame);
        let mut targets = vec![IGNORE; inputs.ids.len()];
        for (b, &row) in plan.items.iter().enumerate() {
            // The inputs and the last target, and the first target that counts.
            let (tokens, first) = match self.options.layout {
                CausalLayout::Stream => (self.window(row), 0),
                CausalLayout::Documents => {
                    let doc = self.order[row as usize];
                    self.document(doc, self.options.max_len)
                }
            };
            let length = tokens.len() - 1;
            inputs.write(b, self.frame, [(&tokens[..length], false)], &mut |_, _| ());
            for t in first..length {
                targets[b * plan.time + t] = tokens[t + 1] as i32;
            }
        }
        CausalBatch {
            inputs: inputs.indexed(),
            predicted: targets.iter().filter(|&&target| target != IGNORE).count(),
            targets,
            position,
        }
    }
}

impl Causal {
    /// T targets of the stream, and the token before them.
    fn window(&self, row: u32) -> Vec<u32> {
        let length = self.options.max_len;
        let from = u64::from(row) * length as u64;
        let targets = self.joined.targets(from).take(length);
        std::iter::once(self.joined.before(from))
            .chain(targets)
            .collect()
    }

    /// The tokens of a row of so many, and its first target that counts.
    fn document(&self, doc: u32, max_len: usize) -> (Vec<u32>, usize) {
        let most = max_len + 1;
        let (text, pair) = self.documents.texts(doc);
        let mut tokens;
        let mut first = 0;
        match pair {
            None => {
                tokens = vec![self.eos];
                tokens.extend_from_slice(text);
            }
            Some(answer) => {
                // The beginning of a prompt goes first, so that there is an answer to learn.
                let prompt = most.saturating_sub(answer.len() + 2).min(text.len());
                tokens = text[text.len() - prompt..].to_vec();
                if !self.options.prompt_loss {
                    first = prompt;
                }
                tokens.push(self.eos);
                tokens.extend_from_slice(answer);
            }
        }
        tokens.push(self.eos);
        tokens.truncate(most);
        (tokens, first)
    }
}
