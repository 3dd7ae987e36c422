//! `vocab.txt`: a token a line, its id the number of the line.
//!
//! Of equal lines the last one counts, so that ids may be left without a token: real vocabularies
//! have blank lines, and lines that come twice.

use std::collections::{BTreeMap, HashMap};

use tokenizers::AddedToken;

use crate::bounded;

/// The ids of a `vocab.txt`. Who reads it decides where a line ends: transformers' `BertTokenizer`
/// has the tokenizers library do it, which takes the white space at the end of a line for no part
/// of the token; its `BertJapaneseTokenizer` (`japanese`) reads as Python does, where a lone `\r`
/// ends a line as well.
pub(super) fn parse(text: &str, japanese: bool) -> HashMap<String, u32> {
    let normal;
    let text = if japanese {
        normal = text.replace("\r\n", "\n").replace('\r', "\n");
        &normal
    } else {
        text
    };
    let token = |line: &str| {
        if japanese {
            line.to_owned()
        } else {
            line.trim_end().to_owned()
        }
    };
    text.lines().map(token).zip(0..).collect()
}

/// A `vocab.txt` that says of each of `tokens`, sorted by their ids, that it has its id; none where
/// no such file can: for tokens with a line break in them, say.
///
/// An id without a token gets a line that comes again: a blank one where the vocabulary has that
/// (then it was most likely blank before), or the next token's.
pub(super) fn text(tokens: &[(String, u32)], japanese: bool) -> Option<String> {
    let blank = tokens.iter().find(|(token, _)| token.is_empty());
    let blank = blank.map_or(0, |(_, id)| *id);
    let (mut text, mut next) = (String::new(), 0);
    for (token, id) in tokens {
        let gaps = u64::from(id.saturating_sub(next));
        if text.len() as u64 + gaps * (token.len() as u64 + 1) > bounded::TOKENIZER {
            return None;
        }
        for gap in next..*id {
            text.push_str(if gap < blank { "" } else { token });
            text.push('\n');
        }
        text.push_str(token);
        text.push('\n');
        next = id + 1;
    }
    let read = parse(&text, japanese);
    let says = |(token, id): &(String, u32)| read.get(token) == Some(id);
    (read.len() == tokens.len() && tokens.iter().all(says)).then_some(text)
}

/// The library numbers added tokens by how many tokens there are before them, which is wrong behind
/// a vocabulary that leaves ids out: there they become part of it.
pub(super) fn place_added(
    vocabulary: &mut HashMap<String, u32>,
    added: &BTreeMap<u32, AddedToken>,
) {
    let size = vocabulary.values().max().map_or(0, |id| *id as usize + 1);
    if vocabulary.len() < size {
        for (id, token) in added.range(size as u32..) {
            vocabulary.entry(token.content.clone()).or_insert(*id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(map: HashMap<String, u32>) -> Vec<(String, u32)> {
        let mut tokens: Vec<_> = map.into_iter().collect();
        tokens.sort_unstable_by_key(|(_, id)| *id);
        tokens
    }

    fn ids(text: &str, japanese: bool) -> Vec<(String, u32)> {
        sorted(parse(text, japanese))
    }

    fn tokens(list: &[(&str, u32)]) -> Vec<(String, u32)> {
        list.iter().map(|(t, id)| (t.to_string(), *id)).collect()
    }

    /// What transformers 5.23 has for these files.
    #[test]
    fn every_line_is_an_id_and_the_last_of_equal_lines_counts() {
        for japanese in [false, true] {
            let plain = "a\n\nb\na\n\nc\nb";
            let expected = tokens(&[("a", 3), ("", 4), ("c", 5), ("b", 6)]);
            assert_eq!(ids(plain, japanese), expected);
            assert_eq!(ids(&format!("{plain}\n"), japanese), expected);
            assert_eq!(ids(&plain.replace('\n', "\r\n"), japanese), expected);
            let trailing = tokens(&[("a", 0), ("", 2)]);
            assert_eq!(ids("a\n\n\n", japanese), trailing);
            // Neither takes these for the end of a line.
            let odd = "x\u{2028}y\nz\u{85}w\nq\u{b}q\n";
            assert_eq!(ids(odd, japanese).len(), 3);
        }
        let breaks = "a\rb\r\rc\r\nd\n";
        assert_eq!(ids(breaks, false), tokens(&[("a\rb\r\rc", 0), ("d", 1)]));
        let four = tokens(&[("a", 0), ("b", 1), ("", 2), ("c", 3), ("d", 4)]);
        assert_eq!(ids(breaks, true), four);
        let spaces = " a\nb\u{3000}\nc\t\n\u{2028}\n";
        let trimmed = tokens(&[(" a", 0), ("b", 1), ("c", 2), ("", 3)]);
        assert_eq!(ids(spaces, false), trimmed);
        let whole = tokens(&[(" a", 0), ("b\u{3000}", 1), ("c\t", 2), ("\u{2028}", 3)]);
        assert_eq!(ids(spaces, true), whole);
    }

    #[test]
    fn what_is_written_says_the_same() {
        for japanese in [false, true] {
            for file in [
                "a\nb\n",
                "a\n\n\nb\n\nc\n",
                "\n\na\n",
                "[PAD]\n[UNK]\na\n[UNK]\n[PAD]\n[PAD]\nb\n",
                "a\na\na\n",
                "x\ny\nx\n\nz\n\n\n",
            ] {
                let read = ids(file, japanese);
                let written = text(&read, japanese).unwrap();
                assert_eq!(ids(&written, japanese), read, "{file:?}");
                let lines = |text: &str| text.lines().count();
                assert_eq!(lines(&written), lines(file), "{file:?}");
            }
            let blank = "a\n\nb\n\n\nc\n";
            assert_eq!(text(&ids(blank, japanese), japanese).unwrap(), blank);
            // An id without a token and no blank line behind it, as a tokenizer.json may have.
            let gap = tokens(&[("", 0), ("a", 2), ("b", 5)]);
            assert_eq!(text(&gap, japanese).unwrap(), "\na\na\nb\nb\nb\n");
            assert_eq!(text(&tokens(&[("a\nb", 0), ("c", 1)]), japanese), None);
            assert_eq!(text(&tokens(&[("a", 0), ("b", 0)]), japanese), None);
        }
        let spaces = tokens(&[("a", 0), ("a ", 1)]);
        assert_eq!(text(&spaces, false), None);
        assert_eq!(text(&spaces, true).unwrap(), "a\na \n");
    }
}
