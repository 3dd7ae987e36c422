//! How much of the texts an objective's batches hold.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What of some texts goes into batches, and what is cut off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Texts.
    pub texts: u64,
    /// Those of them of which something is never read.
    pub cut: u64,
    /// Those of which the second text (of a pair) is cut.
    pub second_cut: u64,
    /// Tokens of the texts.
    pub tokens: u64,
    /// Those of them that are never read.
    pub unread: u64,
    /// What the model should say at places in the texts, where it should.
    pub answers: Option<Places>,
}

/// What a model should say at places in texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// What they are: "labels of words".
    pub what: Cow<'static, str>,
    /// How many the texts have.
    pub all: u64,
    /// Those of them that are never asked for, because they stand in what is cut off.
    pub lost: u64,
    /// Texts that lose some.
    pub texts: u64,
    /// Texts that lose all of theirs.
    pub emptied: u64,
}

/// What is read of one text.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Read {
    pub tokens: usize,
    pub read: usize,
    pub second_cut: bool,
    /// Places with an answer, and those that are read.
    pub answers: [usize; 2],
}

impl Coverage {
    /// That of the texts whose reading is `read`; `what` stands at places in them.
    pub(super) fn of(what: Option<&'static str>, read: impl Iterator<Item = Read>) -> Coverage {
        let mut all = Coverage {
            answers: what.map(|what| Places {
                what: what.into(),
                all: 0,
                lost: 0,
                texts: 0,
                emptied: 0,
            }),
            ..Coverage::default()
        };
        for text in read {
            all.texts += 1;
            all.cut += u64::from(text.read < text.tokens);
            all.second_cut += u64::from(text.second_cut);
            all.tokens += text.tokens as u64;
            all.unread += (text.tokens - text.read.min(text.tokens)) as u64;
            if let Some(places) = &mut all.answers {
                let [wanted, asked] = text.answers;
                places.all += wanted as u64;
                places.lost += (wanted - asked.min(wanted)) as u64;
                places.texts += u64::from(asked < wanted);
                places.emptied += u64::from(asked == 0 && wanted > 0);
            }
        }
        all
    }
}
