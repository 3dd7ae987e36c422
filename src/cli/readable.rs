//! What files and names hold, as a terminal may show it: no sequence that moves the cursor or changes
//! colours, nothing that reverses text, and no more of it than anybody reads.

use std::borrow::Cow;

/// Characters of a message, of which these are its end.
const LONGEST: usize = 4000;
const END: usize = 1000;

/// Whether a character says something to the terminal instead of to its reader.
fn acts(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control() && !matches!(c, '\n' | '\t')
}

/// A text whose characters are all there to be read: others are written as `\u{1b}`.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out.into()
}

/// A message, [`escaped`]; of one that quotes too much the middle is left out.
pub fn message(text: &str) -> String {
    let end = |(at, _)| at;
    // Whether there are as many characters shows without counting all of them.
    let Some(head) = text.char_indices().nth(LONGEST).map(end) else {
        return escaped(text).into_owned();
    };
    let head = text[..head]
        .char_indices()
        .nth(LONGEST - END)
        .map_or(head, end);
    let tail = text.char_indices().nth_back(END - 1).map_or(head, end);
    format!(
        "{} … ({} bytes left out) … {}",
        escaped(&text[..head]),
        tail - head,
        escaped(&text[tail..])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_written_out() {
        for (text, shown) in [
            ("'naïve 走れ 🏃'\n\tfine", "'naïve 走れ 🏃'\n\tfine"),
            ("\x1b[2Jgone\x07", "\\u{1b}[2Jgone\\u{7}"),
            ("a\rb\u{9b}31m\0", "a\\rb\\u{9b}31m\\u{0}"),
            ("\u{202e}txt.exe\u{2069}", "\\u{202e}txt.exe\\u{2069}"),
        ] {
            assert_eq!(escaped(text), shown);
            assert_eq!(message(text), shown);
        }
    }

    #[test]
    fn the_middle_of_a_long_message_is_left_out() {
        let whole = "走".repeat(LONGEST);
        assert_eq!(message(&whole), whole);
        let quote = format!("row 7: '{}\x1b' is no number", "走".repeat(1_000_000));
        let said = message(&quote);
        assert!(said.starts_with("row 7: '走走"), "{said}");
        assert!(said.ends_with("走走\\u{1b}' is no number"), "{said}");
        assert!(said.contains("bytes left out"), "{said}");
        let length = said.chars().count();
        assert!((LONGEST..LONGEST + 50).contains(&length), "{length}");
    }
}
