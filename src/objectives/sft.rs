//! "sft": supervised fine-tuning on conversations and instructions.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::batch::{Batch, Batches, Named, Targets};
use super::classify::check_smoothing;
use super::coverage::{Coverage, Read};
use super::criterion::{Criterion, Purpose, Setup, able};
use super::feed::Feed;
use super::{
    Conversation, Labelled, OWN_TEMPLATE, Objective, WrongOption, check_length, named_template,
    require,
};
use crate::error::{Error, Result};
use crate::hub::Head;
use crate::models::{Network, Tokens};
use crate::tensor::{Tape, Tensor};
use crate::text::chat::{ChatBatch, ChatBatches, ChatDocuments, ChatOptions, Learn};

/// Predicts each next token of what the assistant says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sft {
    /// Tokens of the longest row; of longer ones the end is cut off.
    pub max_len: usize,
    /// The chat template: "model" for the model's own, a built-in one's name, or a file.
    pub template: String,
    /// What is learned: the assistant's turns, or all.
    pub learn: Learn,
    /// Several conversations in a row, none of which sees another.
    pub packing: bool,
    /// Share of a token's probability that is spread evenly over all.
    pub label_smoothing: f32,
    /// α of the noise on embeddings (Jain et al. 2024, NEFTune); 0: none.
    pub neftune_noise_alpha: f32,
}

impl Sft {
    /// Its name in the run file.
    pub const NAME: &'static str = "sft";
}

impl Default for Sft {
    fn default() -> Self {
        Self {
            max_len: 1024,
            template: OWN_TEMPLATE.into(),
            learn: Learn::default(),
            packing: false,
            label_smoothing: 0.0,
            neftune_noise_alpha: 0.0,
        }
    }
}

impl Objective for Sft {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "the assistant's turns of conversations"
    }

    fn labels(&self) -> Labelled {
        Labelled::OfTurns
    }

    fn head(&self) -> Option<Head> {
        Some(Head::CausalLm)
    }

    fn length(&self) -> usize {
        self.max_len
    }

    fn conversation(&self) -> Option<Conversation<'_>> {
        Some(Conversation {
            template: named_template(&self.template),
            learn: self.learn,
            ..Conversation::default()
        })
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("max_len", self.max_len)?;
        check_smoothing(self.label_smoothing)?;
        let alpha = self.neftune_noise_alpha;
        require(
            alpha >= 0.0 && alpha.is_finite(),
            "neftune_noise_alpha",
            "should be a number, 0 or more",
        )
    }

    fn criterion(&self, setup: Setup) -> Result<Box<dyn Criterion>> {
        let chats = setup.chats.clone().ok_or_else(|| Error::NoLabels {
            what: "supervised fine-tuning".into(),
            found: "no conversations".into(),
        })?;
        let options = self.clone();
        Ok(Box::new(Answers {
            options,
            chats,
            setup,
        }))
    }
}

/// Conversations, and the tokens of their answers.
struct Answers {
    options: Sft,
    chats: Arc<ChatDocuments>,
    setup: Setup,
}

impl Criterion for Answers {
    fn title(&self) -> String {
        "supervised fine-tuning".into()
    }

    fn batches(&self, docs: &[u32], purpose: Purpose) -> Result<Box<dyn Batches>> {
        let max_len = self.options.max_len;
        let left = |doc: &u32| self.chats.learned_of(*doc, max_len) > 0;
        if !docs.is_empty() && !docs.iter().any(left) {
            let expected = "more: of no conversation an answer is left to learn";
            return Err(Error::argument(Sft::NAME, "max_len", max_len, expected));
        }
        let options = ChatOptions {
            batch: self.setup.batch,
            max_len,
            shuffle: purpose.shuffles(),
            packing: self.options.packing,
        };
        let (documents, chats) = (self.setup.documents.clone(), self.chats.clone());
        let vocabulary = self.setup.tokenizer.vocabulary();
        let stream =
            ChatBatches::new(documents, chats, docs, vocabulary, &options, purpose.seed())?;
        let work = stream.tokens_per_epoch(docs);
        Ok(Box::new(Named::new(stream, work, |b: ChatBatch| {
            let mut batch = Batch::of_rows(b.rows.inputs);
            batch.work = b.read;
            let batch = match b.starts {
                Some(starts) => batch.segments(starts),
                None => batch,
            };
            batch.targets("targets", Targets::classes(b.rows.targets))
        })))
    }

    fn coverage(&self, docs: &[u32]) -> Result<Coverage> {
        let read = |&doc: &u32| {
            let tokens = self.setup.documents.ids(doc).len();
            let kept = [usize::MAX, self.options.max_len];
            Read {
                tokens,
                read: tokens.min(self.options.max_len),
                second_cut: false,
                answers: kept.map(|most| self.chats.learned_of(doc, most)),
            }
        };
        Ok(Coverage::of(Some("tokens to learn"), docs.iter().map(read)))
    }

    fn loss(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Tensor> {
        let model = able(network.as_causal_lm(), Sft::NAME)?;
        let (targets, weights) = feed.targets("targets")?;
        let inputs = Tokens {
            noise: self.options.neftune_noise_alpha,
            ..feed.tokens()?
        };
        let smoothing = self.options.label_smoothing;
        model.smoothed_loss(tape, &inputs, [targets, weights], smoothing)
    }

    fn outputs(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Vec<Tensor>> {
        let model = able(network.as_causal_lm(), Sft::NAME)?;
        let (targets, weights) = feed.targets("targets")?;
        Ok(vec![model.loss(tape, &feed.tokens()?, targets, weights)?])
    }
}
