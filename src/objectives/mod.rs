//! What a stage can learn: one file an objective, one line of [`OBJECTIVES`] each.
//!
//! An objective is a struct that holds its own options, read from the stage's table of a run file
//! beside the keys that every stage has.

pub mod analysis;
pub mod batch;
pub mod coverage;
pub mod criterion;
mod entities;
pub mod evidence;
pub mod feed;
pub mod labels;
pub mod measures;
pub mod metrics;
pub mod scores;

mod class_weights;
pub(crate) mod classify;
mod clm;
mod image_classification;
mod joint;
mod lm;
mod mlm;
mod preference;
mod sa;
mod sft;
mod words;

pub use class_weights::ClassWeights;
pub use classify::{Classify, Problem};
pub use clm::Clm;
pub use image_classification::ImageClassification;
pub use joint::{Auxiliary, Joint};
pub use lm::Lm;
pub use mlm::{Mlm, MlmNsp};
pub use preference::{Dpo, DpoLoss, Kto, Orpo, Reward};
pub use sa::Sa;
pub use sft::Sft;
pub use words::Words;

use std::any::Any;
use std::fmt;
use std::ops::Deref;

use serde::de::DeserializeOwned;
use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};
use toml::Table;

use crate::error::Result;
use crate::hub::Head;
use crate::models::Cut;
use crate::schema::{self, Fault};
use crate::text::Keep;
use crate::text::chat::{Kind, Learn};
use criterion::{Criterion, Setup};
use evidence::Asked;

/// All objectives, in the order in which they are listed.
pub const OBJECTIVES: &[Registered] = &[
    Registered::of::<Lm>(),
    Registered::of::<Sa>(),
    Registered::of::<Mlm>(),
    Registered::of::<MlmNsp>(),
    Registered::of::<Clm>(),
    Registered::of::<Classify>(),
    Registered::of::<Joint>(),
    Registered::of::<Words>(),
    Registered::of::<ImageClassification>(),
    Registered::of::<Sft>(),
    Registered::of::<Dpo>(),
    Registered::of::<Orpo>(),
    Registered::of::<Kto>(),
    Registered::of::<Reward>(),
];

/// An objective and its options.
pub trait Objective: Options {
    /// Its name in the run file.
    fn name(&self) -> &'static str;

    /// What is learned, in a few words.
    fn about(&self) -> &'static str;

    /// What it learns labels of.
    fn labels(&self) -> Labelled {
        Labelled::None
    }

    /// What a model is asked that is scored; by one of the metrics of that its best checkpoint is chosen.
    fn asked(&self) -> Asked {
        Asked::Tokens
    }

    /// What its work is counted in.
    fn unit(&self) -> &'static str {
        "tokens"
    }

    /// What stands on a model that learns it: with the heads that a family has, all that says which
    /// family learns what. `None`: a model of the user's own learns it.
    fn head(&self) -> Option<Head> {
        None
    }

    /// Tokens of the longest sequence that it reads.
    fn length(&self) -> usize;

    /// The key by which that is set.
    fn length_key(&self) -> &'static str {
        "max_len"
    }

    /// How often each token is run through the model.
    fn passes(&self) -> usize {
        1
    }

    /// How many sequences it reads of a text at once.
    fn rows(&self) -> usize {
        1
    }

    /// Whether all its sequences are that long, so that steps follow from tokens.
    fn fills(&self) -> bool {
        false
    }

    /// Whether it reads on from one text to the next.
    fn reads_on(&self) -> bool {
        self.fills()
    }

    /// Which end of a longer text it reads.
    fn kept_end(&self) -> Keep {
        Keep::default()
    }

    /// How much the answers of each class count in training.
    fn class_weights(&self) -> Option<&ClassWeights> {
        None
    }

    /// Whether batch norms stay as they are while the rest is trained.
    fn frozen_norms(&self) -> bool {
        false
    }

    /// How it reads conversations, where it does.
    fn conversation(&self) -> Option<Conversation<'_>> {
        None
    }

    /// What a label is.
    fn problem(&self) -> Problem {
        Problem::default()
    }

    /// The objective as it scores a model that comes without a run file: texts cut off so; of a model
    /// whose labels mean `problem`.
    fn scoring(&self, _cut: Cut, _problem: Problem) -> Option<AnyObjective> {
        None
    }

    /// Checks the options.
    ///
    /// # Errors
    /// The key that is out of its range.
    fn check(&self) -> Result<(), WrongOption>;

    /// Its batches, loss and scores for one model and some texts.
    ///
    /// # Errors
    /// Texts without the labels that it learns.
    fn criterion(&self, setup: Setup) -> Result<Box<dyn Criterion>>;
}

/// How an objective reads conversations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conversation<'a> {
    /// The chat template that it names; `None`: the model's own.
    pub template: Option<&'a str>,
    /// What of a conversation is learned.
    pub learn: Learn,
    /// What the rows of its files say of answers.
    pub kind: Kind,
    /// Whether it leaves out what is longer than it reads, instead of cutting the end off.
    pub whole: bool,
}

/// What names the model's own template.
const OWN_TEMPLATE: &str = "model";

/// The template of that name, unless it is the model's own.
fn named_template(name: &str) -> Option<&str> {
    Some(name).filter(|name| *name != OWN_TEMPLATE)
}

/// What every struct of options can do; nothing implements it by hand.
pub trait Options: Any + fmt::Debug + Send + Sync {
    /// A copy.
    fn copy(&self) -> Box<dyn Objective>;
    /// Whether the other is the same objective with the same options.
    fn same(&self, other: &dyn Objective) -> bool;
    /// The options as a table.
    ///
    /// # Errors
    /// A number that TOML cannot hold.
    fn table(&self) -> Result<Table, String>;
}

impl<O: Objective + Clone + PartialEq + Serialize> Options for O {
    fn copy(&self) -> Box<dyn Objective> {
        Box::new(self.clone())
    }

    fn same(&self, other: &dyn Objective) -> bool {
        (other as &dyn Any).downcast_ref::<O>() == Some(self)
    }

    fn table(&self) -> Result<Table, String> {
        // By way of the text, where an f32 of 0.1 is written as 0.1.
        let text = toml::to_string(self).map_err(|e| e.to_string())?;
        text.parse().map_err(|e: toml::de::Error| e.to_string())
    }
}

/// An option that is out of its range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongOption {
    /// Its key, dotted below the stage's table.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

/// What an objective learns labels of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labelled {
    /// Of nothing: it learns from the text itself.
    None,
    /// One of each text, or pair of texts.
    OfTexts,
    /// One of each word.
    OfWords,
    /// One of each picture.
    OfPictures,
    /// An answer of each of the assistant's turns in a conversation.
    OfTurns,
}

/// The objective of a stage, whichever it is.
#[derive(Debug)]
pub struct AnyObjective(Box<dyn Objective>);

impl AnyObjective {
    /// Its options, where it is an `O`.
    pub fn get<O: Objective>(&self) -> Option<&O> {
        (&*self.0 as &dyn Any).downcast_ref()
    }

    /// Whether it is an `O`.
    pub fn is<O: Objective>(&self) -> bool {
        self.get::<O>().is_some()
    }

    /// Whether it learns from labels.
    pub fn needs_labels(&self) -> bool {
        matches!(
            self.labels(),
            Labelled::OfTexts | Labelled::OfWords | Labelled::OfPictures
        )
    }

    /// Whether it learns what was written down for it: labels, or answers.
    pub fn is_supervised(&self) -> bool {
        self.labels() != Labelled::None
    }
}

impl<O: Objective> From<O> for AnyObjective {
    fn from(objective: O) -> Self {
        Self(Box::new(objective))
    }
}

impl Deref for AnyObjective {
    type Target = dyn Objective;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl Clone for AnyObjective {
    fn clone(&self) -> Self {
        Self(self.copy())
    }
}

impl PartialEq for AnyObjective {
    fn eq(&self, other: &Self) -> bool {
        self.same(&*other.0)
    }
}

/// `objective` and the options beside it.
impl Serialize for AnyObjective {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let table = self.table().map_err(S::Error::custom)?;
        let mut map = to.serialize_map(Some(1 + table.len()))?;
        map.serialize_entry("objective", self.name())?;
        for (key, value) in &table {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// A line of [`OBJECTIVES`].
#[derive(Debug, Clone, Copy)]
pub struct Registered {
    standard: fn() -> AnyObjective,
    keys: fn() -> &'static [&'static str],
    read: fn(Table) -> Result<AnyObjective, Fault>,
}

impl Registered {
    const fn of<O: Objective + Default + DeserializeOwned>() -> Self {
        Self {
            standard: || O::default().into(),
            keys: || schema::keys(O::deserialize),
            read: |table| schema::read::<O>(table).map(Into::into),
        }
    }

    /// The objective, all its options at their defaults.
    pub fn standard(&self) -> AnyObjective {
        (self.standard)()
    }

    /// Its name in the run file.
    pub fn name(&self) -> &'static str {
        self.standard().name()
    }

    /// The keys of its options in a stage's table.
    pub fn keys(&self) -> &'static [&'static str] {
        (self.keys)()
    }

    /// The objective with the options of a table that holds nothing else.
    pub(crate) fn read(&self, options: Table) -> Result<AnyObjective, Fault> {
        (self.read)(options)
    }
}

/// The objective of that name.
pub fn find(name: &str) -> Option<&'static Registered> {
    OBJECTIVES.iter().find(|o| o.name() == name)
}

/// The names of those that `wanted` picks, in quotes: `"a", "b" or "c"`.
pub(crate) fn listed(wanted: impl Fn(&AnyObjective) -> bool) -> String {
    let all = OBJECTIVES.iter().map(Registered::standard);
    let names: Vec<String> = (all.filter(wanted))
        .map(|o| format!("\"{}\"", o.name()))
        .collect();
    match &names[..] {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => names.concat(),
    }
}

/// The names of the objectives that have an option of that key.
pub(crate) fn owners(key: &str) -> Vec<&'static str> {
    let have = OBJECTIVES.iter().filter(|o| o.keys().contains(&key));
    have.map(Registered::name).collect()
}

/// An error at `key`, unless it is `good`.
fn require(good: bool, key: &str, message: &str) -> Result<(), WrongOption> {
    if good {
        return Ok(());
    }
    Err(WrongOption {
        key: key.to_string(),
        message: message.to_string(),
    })
}

/// Checks a number of tokens.
fn check_length(key: &str, tokens: usize) -> Result<(), WrongOption> {
    require(tokens >= 1, key, "should be at least 1")?;
    require(tokens <= 1 << 20, key, "should be at most 1048576")
}

/// Tokens of a sequence where the run file does not say.
const LENGTH: usize = 64;
