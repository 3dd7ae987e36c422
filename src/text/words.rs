//! The word tokeniser's cut of plain ASCII text, without a regular expression.
//!
//! It gives exactly what the pattern in `tokenizer.json` gives (a test holds the two together),
//! many times faster; reviews are ASCII but for a few in a hundred.

/// The words of ASCII text that is already lower-cased, in order.
pub(super) fn ascii_words(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while bytes.get(at).copied().is_some_and(is_space) {
            at += 1;
        }
        let start = at;
        at += length(&bytes[start..])?;
        text.get(start..at)
    })
}

/// Length of the word at the beginning of `rest`, which does not begin with a space.
fn length(rest: &[u8]) -> Option<usize> {
    let run = |kind: fn(&u8) -> bool| rest.iter().take_while(|byte| kind(byte)).count();
    Some(match rest.first()? {
        b'a'..=b'z' | b'A'..=b'Z' => {
            let letters = run(u8::is_ascii_alphabetic);
            // `isn't`: something, n, 't and no more.
            let negated = letters > 1
                && rest[letters - 1] == b'n'
                && rest[letters..].starts_with(b"'t")
                && ends_word(&rest[letters + 2..]);
            if negated { letters + 2 } else { letters }
        }
        b'0'..=b'9' => run(u8::is_ascii_digit),
        b'\'' => {
            let clitics: [&[u8]; 6] = [b"s", b"re", b"ve", b"ll", b"d", b"m"];
            let fits = |clitic: &&&[u8]| {
                rest[1..].starts_with(clitic) && ends_word(&rest[1 + clitic.len()..])
            };
            1 + clitics.iter().find(fits).map_or(0, |clitic| clitic.len())
        }
        b'.' => run(|&byte| byte == b'.'),
        b'-' => run(|&byte| byte == b'-'),
        _ => 1,
    })
}

/// `\b` after a letter: no letter, digit or underscore follows.
fn ends_word(rest: &[u8]) -> bool {
    !rest
        .first()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// `\s` within ASCII.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}
