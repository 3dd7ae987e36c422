//! What batches must know of a tokeniser: its special tokens, and which tokens continue a word.

use std::path::PathBuf;

use crate::{Error, Result};

/// The ids that have a meaning of their own, under the names of Hugging Face's
/// `special_tokens_map.json`. A tokeniser need not have all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// Fills what is not text: `[PAD]`.
    pub pad: Option<u32>,
    /// Stands for what is outside the vocabulary: `[UNK]`.
    pub unk: Option<u32>,
    /// Begins a sequence: `[CLS]`.
    pub cls: Option<u32>,
    /// Ends each text of a sequence: `[SEP]`.
    pub sep: Option<u32>,
    /// Stands where a token is to be guessed: `[MASK]`.
    pub mask: Option<u32>,
    /// Begins a text (`<|endoftext|>`).
    pub bos: Option<u32>,
    /// Ends a text (`<|endoftext|>`).
    pub eos: Option<u32>,
}

/// How the second text of a pair stands behind the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecondText {
    /// How many separators stand between the two.
    pub separators: usize,
    /// The token type of the second and of the separator behind it; all else has type 0.
    pub token_type: u32,
}

impl Default for SecondText {
    /// `[CLS] a [SEP] b [SEP]`
    fn default() -> Self {
        Self {
            separators: 1,
            token_type: 1,
        }
    }
}

/// A tokeniser's vocabulary, as batches see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vocabulary {
    size: usize,
    roles: Roles,
    special: Vec<bool>,
    continues: Vec<bool>,
    sentence_ends: Vec<u32>,
    sentence_closers: Vec<u32>,
    second_text: SecondText,
    origin: PathBuf,
}

impl Roles {
    /// All of them, in the order of their declaration.
    pub(super) fn all(&self) -> [Option<u32>; 7] {
        let Roles {
            pad,
            unk,
            cls,
            sep,
            mask,
            bos,
            eos,
        } = *self;
        [pad, unk, cls, sep, mask, bos, eos]
    }
}

impl Vocabulary {
    /// A vocabulary of `size` ids, of which `special` (and those of `roles`) are no text, and
    /// `continues` begin no word. `origin` names it in errors.
    pub fn new(
        size: usize,
        roles: Roles,
        special: &[u32],
        continues: &[u32],
        origin: impl Into<PathBuf>,
    ) -> Self {
        let named = roles.all().into_iter().flatten();
        let flags = |ids: &mut dyn Iterator<Item = u32>| {
            let mut flags = vec![false; size];
            for id in ids {
                if let Some(flag) = flags.get_mut(id as usize) {
                    *flag = true;
                }
            }
            flags
        };
        Self {
            size,
            roles,
            special: flags(&mut special.iter().copied().chain(named)),
            continues: flags(&mut continues.iter().copied()),
            sentence_ends: Vec::new(),
            sentence_closers: Vec::new(),
            second_text: SecondText::default(),
            origin: origin.into(),
        }
    }

    /// The same vocabulary with the tokens that end a sentence (`.`, `。`) and those that may
    /// close it behind them (`"`, `」`).
    pub fn with_sentence_marks(mut self, ends: Vec<u32>, closers: Vec<u32>) -> Self {
        self.sentence_ends = ends;
        self.sentence_closers = closers;
        self
    }

    /// The same vocabulary whose pairs are framed so.
    pub fn with_second_text(mut self, second: SecondText) -> Self {
        self.second_text = second;
        self
    }

    /// The same vocabulary, where `pad` fills what is not text.
    pub(super) fn with_padding(mut self, pad: u32) -> Self {
        self.roles.pad = Some(pad);
        self
    }

    /// How the second text of a pair stands behind the first.
    pub fn second_text(&self) -> SecondText {
        self.second_text
    }

    /// Number of ids; every id is smaller.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The special tokens by role.
    pub fn roles(&self) -> Roles {
        self.roles
    }

    /// Whether `id` is a special token, hence no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.get(id as usize).copied().unwrap_or(true)
    }

    /// Whether a token continues the word before it (`##ing`; where the space before a word
    /// belongs to it, as in `Ġfilm` and `▁film`, a letter without one).
    pub fn continues(&self, id: u32) -> bool {
        self.continues.get(id as usize).copied().unwrap_or(false)
    }

    /// Whether a token ends a sentence.
    pub fn ends_sentence(&self, id: u32) -> bool {
        self.sentence_ends.contains(&id)
    }

    /// Whether a token belongs to the sentence that ends before it.
    pub fn closes_sentence(&self, id: u32) -> bool {
        self.sentence_closers.contains(&id)
    }

    /// The ids that are text.
    pub fn text_ids(&self) -> Vec<u32> {
        (0..self.size as u32)
            .filter(|&id| !self.is_special(id))
            .collect()
    }

    /// The id in a role, or an error that says who needs it.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn need(&self, role: &'static str, who: &str) -> Result<u32> {
        let id = match role {
            "pad_token" => self.roles.pad,
            "unk_token" => self.roles.unk,
            "cls_token" => self.roles.cls,
            "sep_token" => self.roles.sep,
            "mask_token" => self.roles.mask,
            "bos_token" => self.roles.bos,
            "eos_token" => self.roles.eos,
            _ => None,
        };
        id.ok_or_else(|| Error::Tokenizer {
            path: self.origin.clone(),
            message: format!(
                "it has no {role}, which {who} needs; name one of its tokens as {role} in \
                 tokenizer_config.json beside it, or train one with `melos tokenizer train`"
            ),
        })
    }

    /// Checks that a model with `rows` rows in its embedding knows every id.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn fits(&self, rows: usize) -> Result<()> {
        if self.size <= rows {
            return Ok(());
        }
        Err(Error::Tokenizer {
            path: self.origin.clone(),
            message: format!(
                "it has {} tokens, the model's vocab_size is {rows}; use the tokeniser that the \
                 model was trained with, or a model with vocab_size {} or more",
                self.size, self.size
            ),
        })
    }
}
