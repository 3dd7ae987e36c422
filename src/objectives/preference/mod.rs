//! What is learned from preferences: which of two answers is better, or which are good.
//!
//! ```text
//! rows       two rows for each document -> named arrays
//! reference  what the model said of them before its first step
//! dpo orpo kto reward   the losses, and the rewards that follow
//! ```

mod dpo;
mod kto;
mod orpo;
mod reference;
mod reward;
mod rows;

pub use dpo::{Dpo, DpoLoss};
pub use kto::Kto;
pub use orpo::Orpo;
pub use reward::Reward;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::batch::{Batch, Batches, Named};
use super::coverage::{Coverage, Read};
use super::criterion::{Criterion, OfBatch, Purpose, Setup, Tally, ToCome};
use super::evidence::{Asked, Evidence, Preferred};
use super::feed::{Feed, Pass, Passes};
use super::scores::Scores;
use super::{
    Conversation, Labelled, Objective, Problem, WrongOption, check_length, named_template, require,
};
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::Head;
use crate::models::{Network, Reading};
use crate::ops;
use crate::tensor::{DType, Tape, Tensor};
use crate::text::batch::NO_DOC;
use crate::text::chat::{
    ChatDocuments, Kind, PreferenceBatch, PreferenceBatches, PreferenceOptions, Second, is_left,
};
use crate::text::corpus::hex;
use crate::text::{Documents, Frame};
use reference::Reference;

/// The file that keeps what was said before the first step.
const REFERENCE: &str = "reference.json";
/// How often it is written while that is asked: as much as may be lost of it.
const WRITE_EVERY: Duration = Duration::from_secs(30);

/// Checks `beta`.
fn check_beta(beta: f32) -> Result<(), WrongOption> {
    let good = beta.is_finite() && beta > 0.0;
    require(good, "beta", "should be a number above 0")
}

/// What the objectives of preferences do differently.
trait Judge: fmt::Debug + Clone + PartialEq + Serialize + Send + Sync + 'static {
    /// The objective's name.
    const NAME: &'static str;
    /// What is learned, in a few words.
    const ABOUT: &'static str;
    /// What stands on the model.
    const HEAD: Head = Head::CausalLm;
    /// What the model's answers mean.
    const PROBLEM: Problem = Problem::SingleLabel;
    /// What is known of answers: pairs, or judgements of one.
    const KIND: Kind = Kind::Pairs;
    /// Whether rows are read whole.
    const WHOLE: bool = false;
    /// Whether it looks at what the model said before its first step.
    const REFERS: bool = false;

    /// Tokens of the longest text, and the name of the chat template.
    fn reading(&self) -> (usize, &str);

    /// Checks the options that are its own.
    ///
    /// # Errors
    /// The key that is out of its range.
    fn check_own(&self) -> Result<(), WrongOption> {
        Ok(())
    }

    /// What is trained, in a few words.
    fn title(&self) -> String;

    /// The arrays of a batch.
    fn arrays(&self, made: PreferenceBatch, known: &Known) -> Batch;

    /// The loss of a batch, as (1), and what [`outputs`](Self::outputs) gives of it.
    fn learn(
        &self,
        tape: &Tape,
        network: &dyn Network,
        feed: &Feed,
    ) -> Result<(Tensor, Vec<Tensor>)>;

    /// What rewards follow from: (B), or (2·B) of the better and of the worse answers.
    fn outputs(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Vec<Tensor>>;

    /// The loss and the rewards of each document, by the numbers that [`outputs`](Self::outputs) gave of it.
    fn judged(&self, said: &[(u32, Vec<f64>)], known: &Known) -> Vec<Preferred>;
}

impl<J: Judge> Objective for J {
    fn name(&self) -> &'static str {
        J::NAME
    }

    fn about(&self) -> &'static str {
        J::ABOUT
    }

    fn labels(&self) -> Labelled {
        Labelled::OfTurns
    }

    fn asked(&self) -> Asked {
        Asked::Preferences
    }

    fn head(&self) -> Option<Head> {
        Some(J::HEAD)
    }

    fn problem(&self) -> Problem {
        J::PROBLEM
    }

    fn length(&self) -> usize {
        self.reading().0
    }

    fn rows(&self) -> usize {
        if J::KIND == Kind::Pairs { 2 } else { 1 }
    }

    fn conversation(&self) -> Option<Conversation<'_>> {
        Some(Conversation {
            template: named_template(self.reading().1),
            kind: J::KIND,
            whole: J::WHOLE,
            ..Conversation::default()
        })
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("max_len", self.length())?;
        self.check_own()
    }

    fn criterion(&self, setup: Setup) -> Result<Box<dyn Criterion>> {
        Preference::criterion(self.clone(), setup)
    }
}

/// What is known of documents beside their rows.
struct Known {
    reference: Reference,
    documents: Arc<Documents>,
    chats: Arc<ChatDocuments>,
    /// What fills rows.
    pad: u32,
}

impl Known {
    /// How many tokens both answers of a pair have of those that are left.
    fn counts(&self, doc: u32, max_len: usize) -> [usize; 2] {
        let chats = &self.chats;
        [
            chats.learned_of(doc, max_len),
            chats.rejected_of(doc, max_len),
        ]
    }

    /// What tells these documents, read up to `max_len`, from others.
    fn digest(&self, max_len: usize) -> String {
        let mut hasher = Sha256::new();
        hasher.update((max_len as u64).to_le_bytes());
        for doc in 0..self.documents.len() as u32 {
            let (text, rejected) = self.documents.texts(doc);
            for ids in [text, rejected.unwrap_or_default()] {
                hasher.update((ids.len() as u64).to_le_bytes());
                hasher.update(bytemuck::cast_slice(ids));
            }
            for range in [self.chats.learned(doc), self.chats.rejected(doc)].concat() {
                hasher.update(range.start.to_le_bytes());
                hasher.update(range.end.to_le_bytes());
            }
        }
        hex(&hasher.finalize())
    }

    /// How many tokens follow another in what is left of a document's own text.
    fn length(&self, doc: u32, max_len: usize) -> usize {
        let (text, _) = self.documents.texts(doc);
        text.len().min(max_len).saturating_sub(1)
    }
}

/// An objective with the preferences that it learns from.
struct Preference<J> {
    judge: J,
    max_len: usize,
    setup: Setup,
    known: Arc<Known>,
}

/// What the second row of a document is.
fn second<J: Judge>() -> Second {
    match J::KIND {
        Kind::Judged => Second::Mismatched,
        Kind::Pairs | Kind::Answers => Second::Rejected,
    }
}

impl<J: Judge> Preference<J> {
    fn criterion(judge: J, setup: Setup) -> Result<Box<dyn Criterion>> {
        let chats = setup.chats.clone().ok_or_else(|| Error::NoLabels {
            what: format!("\"{}\"", J::NAME),
            found: "no preferences".into(),
        })?;
        if setup.config.reading() != Reading::Rows {
            let one = setup.config.family().one();
            let message = format!("\"{}\" is for transformers, and this is {one}", J::NAME);
            return Err(Error::value("model.kind", message));
        }
        let known = Known {
            reference: Reference::default(),
            documents: setup.documents.clone(),
            chats,
            pad: Frame::of(setup.tokenizer.vocabulary())?.pad,
        };
        Ok(Box::new(Preference {
            max_len: judge.length(),
            judge,
            setup,
            known: Arc::new(known),
        }))
    }

    fn options(&self, purpose: Purpose) -> PreferenceOptions {
        PreferenceOptions {
            batch: self.setup.batch,
            max_len: self.max_len,
            second: second::<J>(),
            whole: J::WHOLE,
            shuffle: purpose.shuffles(),
        }
    }

    /// The scores of documents by what was said of them.
    fn scores(&self, said: &[(u32, Vec<f64>)]) -> Result<Scores> {
        let judged = self.judge.judged(said, &self.known);
        Scores::of(Evidence::preferences(&judged), &[])
    }

    fn is_left(&self, doc: u32) -> bool {
        let options = self.options(Purpose::Scoring);
        is_left(&self.setup.documents, &self.known.chats, doc, &options)
    }
}

impl<J: Judge> Criterion for Preference<J> {
    fn title(&self) -> String {
        self.judge.title()
    }

    fn batches(&self, docs: &[u32], purpose: Purpose) -> Result<Box<dyn Batches>> {
        if !docs.is_empty() && !docs.iter().any(|&doc| self.is_left(doc)) {
            let expected = match (J::WHOLE, second::<J>()) {
                (true, _) => "more: of no pair both texts are that short",
                (_, Second::Rejected) => "more: of no pair something of both answers is left",
                (_, Second::Mismatched) => "more: of no conversation an answer is left to judge",
            };
            return Err(Error::argument(J::NAME, "max_len", self.max_len, expected));
        }
        let (documents, chats) = (self.setup.documents.clone(), self.known.chats.clone());
        let vocabulary = self.setup.tokenizer.vocabulary();
        let options = self.options(purpose);
        let stream =
            PreferenceBatches::new(documents, chats, docs, vocabulary, options, purpose.seed())?;
        let work = stream.tokens_per_epoch();
        let (judge, known) = (self.judge.clone(), self.known.clone());
        Ok(Box::new(Named::new(stream, work, move |made| {
            judge.arrays(made, &known)
        })))
    }

    fn coverage(&self, docs: &[u32]) -> Result<Coverage> {
        let documents = &self.setup.documents;
        let answers = |doc, most| self.known.counts(doc, most).iter().sum();
        let read = |&doc: &u32| {
            let (text, rejected) = documents.texts(doc);
            let texts = [Some(text), rejected].into_iter().flatten();
            let kept = |text: &[u32]| match self.is_left(doc) {
                true => text.len().min(self.max_len),
                false => 0,
            };
            Read {
                tokens: documents.ids(doc).len(),
                read: texts.map(kept).sum(),
                second_cut: rejected.is_some_and(|text| kept(text) < text.len()),
                answers: [
                    answers(doc, usize::MAX),
                    match self.is_left(doc) {
                        true => answers(doc, self.max_len),
                        false => 0,
                    },
                ],
            }
        };
        let what = Some("tokens of answers");
        Ok(Coverage::of(what, docs.iter().map(read)))
    }

    fn begin(
        &self,
        gpu: &Gpu,
        network: &dyn Network,
        to_come: &[ToCome<'_>],
        folder: &Path,
    ) -> Result<()> {
        if !J::REFERS {
            return Ok(());
        }
        let (reference, path) = (&self.known.reference, folder.join(REFERENCE));
        let data = self.known.digest(self.max_len);
        reference.read(&path, &data)?;
        let mut written = Instant::now();
        for part in to_come {
            let mut batches = self.batches(part.docs, part.purpose)?;
            let count = part.batches.min(batches.per_epoch());
            let mut passes = Passes::default();
            let mut said = false;
            for number in 0..count {
                let batch = batches.next(1, 1);
                if batch.documents().all(|(_, doc)| reference.knows(doc)) {
                    continue;
                }
                if !said {
                    let left = count - number;
                    log::info!(
                        "what the model says of {left} batches before its first step is noted"
                    );
                    said = true;
                }
                let pass = passes.of(batch.length, || {
                    let feed = Feed::new(gpu, &batch, Vec::new())?;
                    Pass::inference(gpu, feed, |tape, feed| {
                        self.judge.outputs(tape, network, feed)
                    })
                })?;
                pass.feed.write(&batch, std::slice::from_ref(&batch))?;
                for (doc, numbers) in numbers(&batch.docs, &values(pass.run(gpu)?)?) {
                    reference.set(doc, &numbers);
                }
                if written.elapsed() >= WRITE_EVERY {
                    reference.write(&path, &data)?;
                    written = Instant::now();
                }
            }
        }
        reference.write(&path, &data)
    }

    fn loss(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Tensor> {
        Ok(self.judge.learn(tape, network, feed)?.0)
    }

    fn learn(
        &self,
        tape: &Tape,
        network: &dyn Network,
        feed: &Feed,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let (loss, said) = self.judge.learn(tape, network, feed)?;
        let apart = Tape::inference(tape.gpu());
        let said = said.iter().map(|t| ops::cast(&apart, t, DType::F32));
        Ok((loss, said.collect::<Result<_>>()?))
    }

    fn told(&self, step: &[OfBatch]) -> Result<Option<Scores>> {
        let of = |(docs, values): &OfBatch| numbers(docs, values);
        let said: Vec<(u32, Vec<f64>)> = step.iter().flat_map(of).collect();
        self.scores(&said).map(Some)
    }

    fn outputs(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Vec<Tensor>> {
        self.judge.outputs(tape, network, feed)
    }

    fn tally(&self) -> Box<dyn Tally + '_> {
        Box::new(Judged {
            of: self,
            said: Vec::new(),
        })
    }
}

/// What a pass has given; waits for it.
fn values(outputs: &[Tensor]) -> Result<Vec<Vec<f32>>> {
    outputs.iter().map(Tensor::to_vec).collect()
}

/// The numbers of each document of a batch.
fn numbers(docs: &[u32], values: &[Vec<f32>]) -> Vec<(u32, Vec<f64>)> {
    let rows = docs.len();
    let of = |(row, doc): (usize, &u32)| {
        // Of both rows, where there is a number for each.
        let own = |values: &'_ Vec<f32>| values.iter().skip(row).step_by(rows).copied().collect();
        let each = values.iter().flat_map(|values| -> Vec<f32> { own(values) });
        (*doc, each.map(f64::from).collect())
    };
    let there = docs.iter().enumerate().filter(|(_, doc)| **doc != NO_DOC);
    there.map(of).collect()
}

/// What a model said of documents.
struct Judged<'a, J> {
    of: &'a Preference<J>,
    said: Vec<(u32, Vec<f64>)>,
}

impl<J: Judge> Tally for Judged<'_, J> {
    fn add(&mut self, batch: &Batch, outputs: &[Tensor]) -> Result<()> {
        self.said.extend(numbers(&batch.docs, &values(outputs)?));
        Ok(())
    }

    fn scores(&self) -> Result<Scores> {
        self.of.scores(&self.said)
    }
}

/// −ln σ(z)
fn softplus(z: f64) -> f64 {
    (-z).max(0.0) + (-z.abs()).exp().ln_1p()
}
