//! "mlm" and "mlm_nsp": masked language models, alone or with next-sentence prediction.

use serde::{Deserialize, Serialize};

use super::batch::{Batch, Batches, Named, Targets};
use super::coverage::{Coverage, Read};
use super::criterion::{Criterion, LanguageTally, Purpose, Setup, Tally, able};
use super::evidence::{Asked, Evidence};
use super::feed::Feed;
use super::scores::Scores;
use super::{AnyObjective, LENGTH, Objective, Problem, WrongOption, check_length, require};
use crate::error::Result;
use crate::hub::Head;
use crate::models::{Cut, MaskedTokens, Network, NextSentence};
use crate::ops;
use crate::tensor::{Tape, Tensor};
use crate::text::{
    Layout, MaskRate, MaskedBatch, MaskedBatches, MaskedOptions, Masking, PairOptions,
};

/// Predicts masked tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mlm {
    /// Tokens of a sequence.
    pub max_len: usize,
    /// Fill sequences with text up to `max_len` instead of one text each.
    pub packing: bool,
    /// How tokens are masked.
    pub masking: Masking,
}

/// Predicts masked tokens, and whether the second half of the sequence follows the first in the
/// text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlmNsp {
    /// Tokens of a sequence.
    pub max_len: usize,
    /// How tokens are masked.
    pub masking: Masking,
}

/// Checks rates and shares.
fn check_masking(masking: &Masking) -> Result<(), WrongOption> {
    let MaskRate { from, to, .. } = masking.rate;
    let rates = if masking.rate == MaskRate::constant(from) {
        vec![("masking.rate", from)]
    } else {
        vec![("masking.rate.from", from), ("masking.rate.to", to)]
    };
    for (key, rate) in rates {
        require(
            rate > 0.0 && rate < 1.0,
            key,
            "is a share of the tokens: expected more than 0 and less than 1",
        )?;
    }
    for (key, share) in [
        ("masking.replace", masking.replace),
        ("masking.random", masking.random),
        ("masking.keep", masking.keep),
    ] {
        require(
            (0.0..=1.0).contains(&share),
            key,
            "is a share of the masked tokens: expected 0 to 1",
        )?;
    }
    let sum = masking.replace + masking.random + masking.keep;
    require(
        (sum - 1.0).abs() < 1e-4,
        "masking",
        "replace, random and keep should add up to 1",
    )
}

impl Mlm {
    /// Its name in the run file.
    pub const NAME: &'static str = "mlm";
}

impl Default for Mlm {
    fn default() -> Self {
        Self {
            max_len: LENGTH,
            packing: false,
            masking: Masking::default(),
        }
    }
}

impl Objective for Mlm {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "masked tokens"
    }

    fn head(&self) -> Option<Head> {
        Some(Head::MaskedLm)
    }

    fn asked(&self) -> Asked {
        Asked::MaskedTokens
    }

    fn length(&self) -> usize {
        self.max_len
    }

    fn reads_on(&self) -> bool {
        self.packing
    }

    fn scoring(&self, cut: Cut, _: Problem) -> Option<AnyObjective> {
        let scoring = Mlm {
            max_len: cut.length,
            packing: true,
            ..Mlm::default()
        };
        Some(scoring.into())
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("max_len", self.max_len)?;
        check_masking(&self.masking)
    }

    fn criterion(&self, setup: Setup) -> Result<Box<dyn Criterion>> {
        Ok(Box::new(Guessing {
            max_len: self.max_len,
            layout: if self.packing {
                Layout::Packed
            } else {
                Layout::Sentences
            },
            masking: self.masking,
            setup,
        }))
    }
}

impl MlmNsp {
    /// Its name in the run file.
    pub const NAME: &'static str = "mlm_nsp";
}

impl Default for MlmNsp {
    fn default() -> Self {
        Self {
            max_len: LENGTH,
            masking: Masking::default(),
        }
    }
}

impl Objective for MlmNsp {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "masked tokens, and whether one text follows the other"
    }

    fn head(&self) -> Option<Head> {
        Some(Head::NextSentence)
    }

    fn asked(&self) -> Asked {
        Asked::MaskedTokens
    }

    fn length(&self) -> usize {
        self.max_len
    }

    fn scoring(&self, cut: Cut, _: Problem) -> Option<AnyObjective> {
        let scoring = MlmNsp {
            max_len: cut.length,
            ..MlmNsp::default()
        };
        Some(scoring.into())
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("max_len", self.max_len)?;
        check_masking(&self.masking)
    }

    fn criterion(&self, setup: Setup) -> Result<Box<dyn Criterion>> {
        Ok(Box::new(Guessing {
            max_len: self.max_len,
            layout: Layout::Pairs,
            masking: self.masking,
            setup,
        }))
    }
}

/// Bytes of logits that scoring may hold at once.
const LOGITS: usize = 64 << 20;

/// Masked sequences.
struct Guessing {
    max_len: usize,
    layout: Layout,
    masking: Masking,
    setup: Setup,
}

impl Guessing {
    fn options(&self, purpose: Purpose) -> MaskedOptions {
        let own = MaskedOptions {
            batch: self.setup.batch,
            max_len: self.max_len,
            layout: self.layout,
            buckets: true,
            shuffle: purpose.shuffles(),
            masking: self.masking,
            pairs: PairOptions::default(),
        };
        if purpose != Purpose::Scoring {
            return own;
        }
        // Always the same masks, with the usual rate and shares, so that stages that mask otherwise
        // can be compared.
        let masking = Masking {
            dynamic: false,
            ..Masking::default()
        };
        let masked = (self.max_len as f64 * masking.rate.max()).ceil() as usize;
        let vocabulary = self.setup.config.vocab_size();
        let rows = LOGITS / (size_of::<f32>() * vocabulary * masked.max(1));
        MaskedOptions {
            batch: own.batch.min(rows.max(1)),
            masking,
            ..own
        }
    }
}

impl Guessing {
    fn sequences(&self, docs: &[u32], purpose: Purpose) -> Result<MaskedBatches> {
        let (documents, vocabulary) = (
            self.setup.documents.clone(),
            self.setup.tokenizer.vocabulary(),
        );
        let seed = match purpose {
            Purpose::Training(seed) => seed,
            Purpose::Scoring => self.setup.seed,
        };
        MaskedBatches::new(documents, docs, vocabulary, &self.options(purpose), seed)
    }
}

/// What one of the two networks is asked: that of pairs answers "next" as well.
const NEXT: &str = "next";

impl Criterion for Guessing {
    fn title(&self) -> String {
        "masked language model".into()
    }

    fn batches(&self, docs: &[u32], purpose: Purpose) -> Result<Box<dyn Batches>> {
        let stream = self.sequences(docs, purpose)?;
        let work = self.setup.tokens(docs, 2, usize::MAX);
        Ok(Box::new(Named::new(stream, work, |b: MaskedBatch| {
            let places = b.inputs.ids.len();
            let batch = Batch::of_rows(b.inputs)
                .rows("rows", b.rows, places)
                .targets("targets", Targets::classes(b.targets));
            match b.next_sentence {
                Some(next) => batch.targets(NEXT, Targets::classes(next)),
                None => batch,
            }
        })))
    }

    /// Pairs lose what does not fit beside the other text.
    fn coverage(&self, docs: &[u32]) -> Result<Coverage> {
        let (stream, documents) = (
            self.sequences(docs, Purpose::Training(self.setup.seed))?,
            &self.setup.documents,
        );
        let found = stream.read();
        let read = |&doc: &u32| Read {
            tokens: documents.ids(doc).len(),
            read: found.get(&doc).copied().unwrap_or(0),
            ..Read::default()
        };
        Ok(Coverage::of(None, docs.iter().map(read)))
    }

    fn loss(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Tensor> {
        let (targets, weights) = feed.targets("targets")?;
        let (tokens, rows) = (feed.tokens()?, feed.rows("rows")?);
        let masked = MaskedTokens {
            rows,
            targets,
            weights,
        };
        if self.layout != Layout::Pairs {
            let model = able(network.as_masked_lm(), Mlm::NAME)?;
            return model.loss(tape, &tokens, &masked);
        }
        let model = able(network.as_next_sentence(), MlmNsp::NAME)?;
        let (targets, weights) = feed.targets(NEXT)?;
        let next = NextSentence { targets, weights };
        let [words, next] = model.losses(tape, &tokens, &masked, &next)?;
        ops::add(tape, &words, &next)
    }

    /// Losses and best guesses of one objective or both, without a gradient.
    fn outputs(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Vec<Tensor>> {
        let (tokens, rows) = (feed.tokens()?, feed.rows("rows")?);
        let scored = |logits: &Tensor, name| {
            let (targets, weights) = feed.targets(name)?;
            let (loss, best) = ops::score_logits(tape, logits, targets, weights)?;
            Ok(vec![loss, best])
        };
        if self.layout != Layout::Pairs {
            let model = able(network.as_masked_lm(), Mlm::NAME)?;
            return scored(&model.logits(tape, &tokens, rows)?, "targets");
        }
        let model = able(network.as_next_sentence(), MlmNsp::NAME)?;
        let [words, next] = model.logits(tape, &tokens, rows)?;
        Ok([scored(&words, "targets")?, scored(&next, NEXT)?].concat())
    }

    fn tally(&self) -> Box<dyn Tally + '_> {
        Box::new(Guesses::default())
    }
}

/// Guesses, counted.
#[derive(Default)]
struct Guesses {
    words: LanguageTally,
    hits: u64,
    next_hits: u64,
    pairs: u64,
}

/// How many guesses are right.
fn right(best: &Tensor, targets: &[i32]) -> Result<u64> {
    let best = best.to_vec::<u32>()?;
    let pairs = best.iter().zip(targets);
    Ok(pairs
        .filter(|(b, t)| i64::from(**b) == i64::from(**t))
        .count() as u64)
}

impl Tally for Guesses {
    fn add(&mut self, batch: &Batch, outputs: &[Tensor]) -> Result<()> {
        if let ([mean, best, ..], Some(targets)) = (outputs, batch.answers("targets")) {
            self.words.mean(batch, mean)?;
            self.hits += right(best, targets.as_classes())?;
        }
        if let ([_, _, _, best], Some(next)) = (outputs, batch.answers(NEXT)) {
            self.next_hits += right(best, next.as_classes())?;
            self.pairs += next.count() as u64;
        }
        Ok(())
    }

    fn scores(&self) -> Result<Scores> {
        let (loss, tokens) = self.words.sums();
        let evidence = Evidence {
            next_sentence: (self.pairs > 0).then_some([self.next_hits, self.pairs]),
            ..Evidence::masked_tokens(loss, tokens, self.hits)
        };
        Scores::of(evidence, &[])
    }
}
