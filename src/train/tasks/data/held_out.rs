//! What is held out of texts whose labels nothing learns from.

use super::Data;
use crate::error::Result;
use crate::text::{Documents, Split, Tokenizer, split};
use crate::train::config::RunConfig;

/// Tokens of a piece where text is read on from one to the next: its ends should be few.
const LONG: usize = 1024;

/// A text that is all there is, in pieces as long as the pretraining stages read them.
pub(super) fn cut(documents: Documents, config: &RunConfig, tokenizer: &Tokenizer) -> Documents {
    let objectives = config.stages.iter().map(|s| &s.objective);
    let lengths = objectives
        .filter(|o| !o.needs_labels() && !o.reads_on())
        .map(|o| o.length());
    documents.in_pieces(lengths.max().unwrap_or(LONG), tokenizer.vocabulary())
}

impl Data {
    /// The texts of `data.path`, whose labels mean nothing: those to train on and those to test on.
    pub(super) fn texts(&self) -> Result<(Vec<u32>, Vec<u32>)> {
        let documents = &self.documents;
        let in_part = |test: bool| {
            documents.filter(|d| match documents.split(d) {
                Some(Split::Unsup) => false,
                split => (split == Some(Split::Test)) == test,
            })
        };
        let (rest, test) = (in_part(false), in_part(true));
        if test.is_empty() && rest.len() > 1 {
            self.hold(&rest, self.test_share)
        } else {
            Ok((rest, test))
        }
    }

    /// Texts to learn from and some to judge by, of every class as many where classes are learned.
    pub(super) fn hold(&self, docs: &[u32], share: f64) -> Result<(Vec<u32>, Vec<u32>)> {
        if share <= 0.0 {
            return Ok((docs.to_vec(), Vec::new()));
        }
        if self.learns {
            split::holdout(&self.documents, docs, share, self.seed)
        } else {
            split::holdout_texts(&self.documents, docs, share, self.seed)
        }
    }
}
