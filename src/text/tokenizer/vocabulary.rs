//! What batches must know of a tokeniser, found out from it.

use std::path::PathBuf;

use tokenizers as hf;
use tokenizers::PostProcessor;

use super::files::{Config, ROLES, named};
use super::pipeline::{Cut, Inner};
use crate::text::vocabulary::{Roles, SecondText, Vocabulary};

/// What ends a sentence.
const ENDS: [&str; 8] = [".", "!", "?", "...", "。", "！", "？", "．"];
/// What may stand behind it.
const CLOSERS: [&str; 8] = ["\"", "”", "’", ")", "」", "』", "）", "''"];

/// How tokens show where words begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    /// A word begins with this, which stands for the space before it; signs are words by themselves.
    Begin(char),
    /// What continues a word begins with `##`.
    Continue,
}

fn words(inner: &Inner) -> Words {
    use hf::PreTokenizerWrapper as Way;
    let Some(Cut::Library(way)) = inner.get_pre_tokenizer() else {
        return Words::Continue;
    };
    let metaspace = |way: &Way| match way {
        Way::Metaspace(way) => Some(Words::Begin(way.get_replacement())),
        _ => None,
    };
    let found = match way {
        Way::ByteLevel(_) => Some(Words::Begin('Ġ')),
        Way::Sequence(ways) => ways.as_ref().iter().find_map(metaspace),
        one => metaspace(one),
    };
    found.unwrap_or(Words::Continue)
}

/// How many tokens there are, and the number behind the largest id: there may be gaps.
pub(super) fn size(inner: &Inner) -> (usize, usize) {
    let vocabulary = inner.get_vocab(true);
    let most = vocabulary.values().max();
    (vocabulary.len(), most.map_or(0, |id| *id as usize + 1))
}

/// The vocabulary of a tokeniser that was opened at `path`.
pub(super) fn of(inner: &Inner, config: &Config, path: PathBuf) -> Vocabulary {
    // Sorted, so that equal tokenisers have equal vocabularies.
    let mut tokens: Vec<(String, u32)> = inner.get_vocab(true).into_iter().collect();
    tokens.sort_unstable_by_key(|(_, id)| *id);
    let size = tokens.last().map_or(0, |(_, id)| *id as usize + 1);
    let special: Vec<u32> = inner
        .get_added_tokens_decoder()
        .into_iter()
        .filter_map(|(id, token)| token.special.then_some(id))
        .collect();
    let words = words(inner);
    let (mut continues, mut ends, mut closers) = (Vec::new(), Vec::new(), Vec::new());
    for (token, id) in tokens {
        let bare = token.trim_start_matches("##").trim_start_matches('Ġ');
        let (bare, goes_on) = match words {
            Words::Begin(space) => (
                bare.trim_start_matches(space),
                token.starts_with(char::is_alphanumeric) && !token.starts_with(space),
            ),
            Words::Continue => (bare, token.len() > 2 && token.starts_with("##")),
        };
        let note = |yes: bool, list: &mut Vec<u32>| yes.then(|| list.push(id));
        note(goes_on, &mut continues);
        note(ENDS.contains(&bare), &mut ends);
        note(CLOSERS.contains(&bare), &mut closers);
    }
    let framed = framed(inner);
    let roles = roles(inner, config, framed.map(|(cls, sep, _)| (cls, sep)));
    let second = match framed {
        Some((cls, sep, second)) if (roles.cls, roles.sep) == (Some(cls), Some(sep)) => second,
        _ => SecondText::default(),
    };
    Vocabulary::new(size, roles, &special, &continues, path)
        .with_sentence_marks(ends, closers)
        .with_second_text(second)
}

/// The special tokens by role: as the configuration says or, where it says nothing of any, by
/// their usual names and by what frames texts.
fn roles(inner: &Inner, config: &Config, frame: Option<(u32, u32)>) -> Roles {
    let told = ROLES.iter().any(|(role, _)| named(config, role).is_some());
    let [pad, unk, cls, sep, mask, bos, eos] = ROLES.map(|(role, names)| {
        if told {
            named(config, role).and_then(|token| inner.token_to_id(token))
        } else {
            names.iter().find_map(|token| inner.token_to_id(token))
        }
    });
    let frame = frame.filter(|_| !told);
    Roles {
        pad,
        unk,
        cls: cls.or(frame.map(|(cls, _)| cls)),
        sep: sep.or(frame.map(|(_, sep)| sep)),
        mask,
        bos,
        eos,
    }
}

/// What the tokeniser puts around texts, tried on two tokens of no vocabulary: `cls a sep`, and
/// `cls a sep … b sep`. None where it puts something else, or nothing.
fn framed(inner: &Inner) -> Option<(u32, u32, SecondText)> {
    const TEXTS: [u32; 2] = [u32::MAX - 1, u32::MAX];
    let text = |id| {
        let token = hf::Token::new(id, "a".into(), (0, 1));
        hf::Encoding::from_tokens(vec![token], 0)
    };
    let processor = inner.get_post_processor()?;
    let [a, b] = TEXTS.map(text);
    let single = processor.process(a.clone(), None, true).ok()?;
    let pair = processor.process(a, Some(b), true).ok()?;
    let &[cls, _, sep] = single.get_ids() else {
        return None;
    };
    let ids = pair.get_ids();
    let [before, at] = TEXTS.map(|id| ids.iter().position(|found| *found == id));
    let (Some(1), Some(at)) = (before, at) else {
        return None;
    };
    let between = ids.get(2..at)?;
    let closes = ids[at + 1..] == [sep] && between.iter().all(|id| *id == sep);
    (ids[0] == cls && closes && !between.is_empty()).then(|| {
        let second = SecondText {
            separators: between.len(),
            token_type: pair.get_type_ids()[at],
        };
        (cls, sep, second)
    })
}
