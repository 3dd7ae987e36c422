//! How documents become sequences: `[CLS] text [SEP]`, pairs, packed blocks.
//!
//! A sequence is a list of pieces of documents; the special tokens around them are put in when
//! its row is written. Sequences are composed once, from a seed: an epoch draws their order.

use super::documents::Documents;
use super::rng::Rng;
use super::vocabulary::{SecondText, Vocabulary};
use crate::kernels::token_index::TokenIndex;
use crate::{Error, Result};

/// Tokens `start..end` of document `doc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Number of the document.
    pub doc: u32,
    /// First token.
    pub start: u32,
    /// One past the last token.
    pub end: u32,
}

impl Piece {
    /// Number of tokens.
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// True when it holds none.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Its tokens.
    pub fn ids<'a>(&self, documents: &'a Documents) -> &'a [u32] {
        &documents.ids(self.doc)[self.start as usize..self.end as usize]
    }
}

/// The special tokens around the pieces of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Begins the sequence, where the model wants that.
    pub cls: Option<u32>,
    /// Ends each piece, where the model wants that.
    pub sep: Option<u32>,
    /// How the second text of a pair stands behind the first.
    pub second: SecondText,
    /// Fills the row.
    pub pad: u32,
}

impl Frame {
    /// `[CLS] a [SEP] b [SEP]`, or as the tokeniser frames pairs otherwise.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when one of the three is not in the vocabulary.
    pub fn whole(vocabulary: &Vocabulary) -> Result<Self> {
        let need = |role| vocabulary.need(role, "a sequence of texts");
        Ok(Self {
            cls: Some(need("cls_token")?),
            sep: Some(need("sep_token")?),
            second: vocabulary.second_text(),
            pad: need("pad_token")?,
        })
    }

    /// `[CLS]` and `[SEP]` where the vocabulary has both; a causal model's has neither, and no `[PAD]`:
    /// there `<|endoftext|>` fills the rows.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when nothing can fill a row.
    pub fn of(vocabulary: &Vocabulary) -> Result<Self> {
        let roles = vocabulary.roles();
        if roles.cls.is_some() && roles.sep.is_some() {
            return Self::whole(vocabulary);
        }
        let pad = match roles.pad {
            Some(pad) => pad,
            None => vocabulary.need("eos_token", "padding")?,
        };
        Ok(Self::none(pad))
    }

    /// No token but `pad` behind the text.
    pub fn none(pad: u32) -> Self {
        Self {
            cls: None,
            sep: None,
            second: SecondText::default(),
            pad,
        }
    }

    /// Tokens that the frame adds to `pieces` pieces.
    pub fn overhead(&self, pieces: usize) -> usize {
        usize::from(self.cls.is_some()) + pieces * usize::from(self.sep.is_some())
    }

    /// Tokens that the frame adds to the two texts of a pair.
    pub fn pair_overhead(&self) -> usize {
        self.overhead(2) + self.doubled()
    }

    /// Checks T as [`check_shape`] does, for this frame.
    pub(super) fn check(&self, op: &'static str, max_len: usize) -> Result<()> {
        let least = self.pair_overhead() + 2;
        let expected = "room for a pair as its tokeniser frames it: <s> a </s></s> b </s>";
        check_room(op, max_len, least, expected)
    }

    /// Separators between the texts of a pair beside the one that ends every piece.
    fn doubled(&self) -> usize {
        self.sep
            .map_or(0, |_| self.second.separators.saturating_sub(1))
    }
}

/// Sequences of pieces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sequences {
    pieces: Vec<Piece>,
    /// Sequence `i` is pieces `ends[i - 1]..ends[i]`.
    ends: Vec<u32>,
}

impl Sequences {
    /// Adds one sequence.
    pub(super) fn push(&mut self, pieces: impl IntoIterator<Item = Piece>) {
        self.pieces.extend(pieces);
        self.ends.push(self.pieces.len() as u32);
    }

    /// One document a sequence; a longer one is cut in sequences of at most `max_len`, frame
    /// included, so that no text is lost.
    pub fn sentences(documents: &Documents, which: &[u32], frame: Frame, max_len: usize) -> Self {
        let most = (max_len - frame.overhead(1)) as u32;
        let mut sequences = Self::default();
        for &doc in which {
            let length = documents.ids(doc).len() as u32;
            for start in (0..length).step_by(most as usize) {
                let end = (start + most).min(length);
                sequences.push([Piece { doc, start, end }]);
            }
        }
        sequences
    }

    /// Blocks filled to `max_len` across documents, each piece followed by `[SEP]`: the
    /// FULL-SENTENCES of Liu et al. (2019, section 4.2). The order of the documents is
    /// drawn from `seed`, so that neighbours in a block have nothing to do with each other's
    /// place in the files; `None` keeps it.
    pub fn packed(
        documents: &Documents,
        which: &[u32],
        frame: Frame,
        max_len: usize,
        seed: Option<u64>,
    ) -> Self {
        let mut order = which.to_vec();
        if let Some(seed) = seed {
            Rng::new(seed, &[0xB10C]).shuffle(&mut order);
        }
        let (mut sequences, mut block) = (Self::default(), Vec::new());
        let mut used = frame.overhead(0);
        for doc in order {
            let length = documents.ids(doc).len() as u32;
            let mut start = 0;
            while start < length {
                let room = max_len.saturating_sub(used + frame.overhead(1) - frame.overhead(0));
                if room == 0 {
                    sequences.push(block.drain(..));
                    used = frame.overhead(0);
                    continue;
                }
                let end = (start + room as u32).min(length);
                block.push(Piece { doc, start, end });
                used += (end - start) as usize + frame.overhead(1) - frame.overhead(0);
                start = end;
            }
        }
        if !block.is_empty() {
            sequences.push(block);
        }
        sequences
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The pieces of sequence `number`.
    pub fn pieces(&self, number: u32) -> &[Piece] {
        let at = number as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.pieces[start as usize..self.ends[at] as usize]
    }

    /// Length of sequence `number`, frame included; of a pair where `pairs` says so.
    pub fn length(&self, number: u32, frame: Frame, pairs: bool) -> usize {
        let pieces = self.pieces(number);
        let frame = if pairs {
            frame.pair_overhead()
        } else {
            frame.overhead(pieces.len())
        };
        frame + pieces.iter().map(Piece::len).sum::<usize>()
    }
}

/// The inputs of a batch of sequences, batch-major: index `b * T + t`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// T, the padded length.
    pub time: usize,
    /// B.
    pub batch: usize,
    /// (B, T) ids; the pad token from `lens[b]` on.
    pub ids: Vec<u32>,
    /// (B, T) 0, and for the second text of a pair and its `[SEP]` what the frame says.
    pub token_types: Vec<u32>,
    /// (B) lengths; 0 for a row without sequence.
    pub lens: Vec<u32>,
    /// The inputs grouped by token.
    pub index: TokenIndex,
}

impl Rows {
    /// Rows of nothing.
    pub(super) fn empty(batch: usize, time: usize, frame: Frame) -> Self {
        Self {
            time,
            batch,
            ids: vec![frame.pad; batch * time],
            token_types: vec![0; batch * time],
            lens: vec![0; batch],
            index: TokenIndex::new(&[], &[]),
        }
    }

    /// Writes texts into row `b`, each with whether it is the second of a pair, and calls
    /// `place(text, start)` with the column where each begins. Texts must fit.
    pub(super) fn write<'a>(
        &mut self,
        b: usize,
        frame: Frame,
        texts: impl IntoIterator<Item = (&'a [u32], bool)>,
        place: &mut dyn FnMut(usize, usize),
    ) {
        let from = b * self.time;
        let row = &mut self.ids[from..from + self.time];
        let types = &mut self.token_types[from..from + self.time];
        let mut t = 0;
        if let Some(cls) = frame.cls {
            row[0] = cls;
            t = 1;
        }
        for (number, (text, second)) in texts.into_iter().enumerate() {
            if let (true, Some(sep)) = (second, frame.sep) {
                row[t..t + frame.doubled()].fill(sep);
                t += frame.doubled();
            }
            place(number, t);
            let start = t;
            row[t..t + text.len()].copy_from_slice(text);
            t += text.len();
            if let Some(sep) = frame.sep {
                row[t] = sep;
                t += 1;
            }
            if second {
                types[start..t].fill(frame.second.token_type);
            }
        }
        self.lens[b] = t as u32;
    }

    /// Groups the inputs by token; to be called when all ids stand.
    pub(super) fn indexed(mut self) -> Self {
        self.index = TokenIndex::of_rows(&self.ids, &self.lens);
        self
    }
}

/// Checks B and T: each row must hold the frame of a pair and a token for each of its texts.
pub(super) fn check_shape(op: &'static str, batch: usize, max_len: usize) -> Result<()> {
    super::lm::check_sizes(op, batch, max_len, 0.0)?;
    check_room(op, max_len, 5, "5 or more: [CLS] a [SEP] b [SEP]")
}

fn check_room(
    op: &'static str,
    max_len: usize,
    least: usize,
    expected: &'static str,
) -> Result<()> {
    if max_len < least {
        return Err(Error::argument(op, "max_len", max_len, expected));
    }
    Ok(())
}
