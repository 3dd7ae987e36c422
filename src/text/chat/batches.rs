//! Batches of conversations, batch-major: a row each, cut at its end, of which answers are targets.

use std::sync::Arc;

use super::documents::ChatDocuments;
use crate::Result;
use crate::text::batch::{IGNORE, Position};
use crate::text::causal::CausalBatch;
use crate::text::documents::Documents;
use crate::text::epochs::{Batches, Epochs, Maker, Plan, Shape, ordered};
use crate::text::sequences::{Frame, Rows, check_shape};
use crate::text::vocabulary::Vocabulary;

/// How conversations become rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatOptions {
    /// B, rows of every batch.
    pub batch: usize,
    /// The tokens of the longest row; of a longer conversation the rest is cut off.
    pub max_len: usize,
    /// Draw the order of the rows anew for every epoch.
    pub shuffle: bool,
}

/// An endless stream of rows of conversations.
pub type ChatBatches = Batches<Turns>;

/// Makes batches of conversations.
pub struct Turns {
    documents: Arc<Documents>,
    chats: Arc<ChatDocuments>,
    max_len: usize,
    batch: usize,
    frame: Frame,
}

impl ChatBatches {
    /// A stream over the documents `which`; those of which nothing is left to learn are passed over.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] for a zero batch or a length below 5; [`crate::Error::Tokenizer`] where no
    /// token can fill rows; [`crate::Error::EmptyText`] where nothing is left to learn at all.
    pub fn new(
        documents: Arc<Documents>,
        chats: Arc<ChatDocuments>,
        which: &[u32],
        vocabulary: &Vocabulary,
        options: &ChatOptions,
        seed: u64,
    ) -> Result<Self> {
        let &ChatOptions {
            batch,
            max_len,
            shuffle,
        } = options;
        check_shape("batches of conversations", batch, max_len)?;
        let roles = vocabulary.roles();
        let pad = match roles.pad {
            Some(pad) => pad,
            None => vocabulary.need("eos_token", "padding")?,
        };
        let learns = |doc: &u32| chats.learned_of(*doc, max_len) > 0;
        let left = which.iter().copied().filter(learns);
        let order = ordered(left, "what is left of the conversations at this max_len")?;
        // The last token of a row is a target alone.
        let length = |&doc: &u32| documents.ids(doc).len().min(max_len) - 1;
        let lengths = order.iter().map(length).collect();
        let shape = Shape::new(batch, max_len - 1, true, shuffle);
        Ok(Batches {
            epochs: Epochs::new(order, lengths, shape, seed),
            maker: Turns {
                documents,
                chats,
                max_len,
                batch,
                frame: Frame::none(pad),
            },
        })
    }

    /// Tokens that are read in an epoch.
    pub fn tokens_per_epoch(&self, docs: &[u32]) -> u64 {
        let own = &self.maker;
        let learns = |doc: &&u32| own.chats.learned_of(**doc, own.max_len) > 0;
        let length = |&doc: &u32| own.documents.ids(doc).len().min(own.max_len) as u64 - 1;
        docs.iter().filter(learns).map(length).sum()
    }
}

impl Maker for Turns {
    type Batch = CausalBatch;

    fn make(&self, plan: &Plan, position: Position, _: f64) -> CausalBatch {
        let mut inputs = Rows::empty(self.batch, plan.time, self.frame);
        let mut targets = vec![IGNORE; inputs.ids.len()];
        for (b, &doc) in plan.items.iter().enumerate() {
            let ids = self.documents.ids(doc);
            let ids = &ids[..ids.len().min(self.max_len)];
            let read = &ids[..ids.len() - 1];
            inputs.write(b, self.frame, [(read, false)], &mut |_, _| ());
            for range in self.chats.learned(doc) {
                for at in (range.start as usize).max(1)..(range.end as usize).min(ids.len()) {
                    targets[b * plan.time + at - 1] = ids[at] as i32;
                }
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
