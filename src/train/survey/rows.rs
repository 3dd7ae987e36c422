//! The rows of files, as they stand there.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use encoding_rs::WINDOWS_1252;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::images::Pictures;
use crate::text::Example;
use crate::train::tasks::Texts;

/// The rows of all files of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rows {
    /// How many there are.
    pub rows: u64,
    /// Rows with white space alone.
    pub empty: u64,
    /// Rows with a text (and second text) that stands in an earlier row.
    pub repeated: u64,
    /// Those of them whose label is another than there.
    pub disagreeing: u64,
    /// Rows with characters that could not be read when their file was written (U+FFFD).
    pub unreadable: u64,
    /// Rows that look like UTF-8 taken for Windows-1252, as `Ã©` for `é`.
    pub garbled: u64,
    /// Rows with control characters.
    pub control: u64,
    /// The first place of each of these, by their names.
    pub places: Vec<(&'static str, Place)>,
}

/// Where a row stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Its file or folder.
    pub path: PathBuf,
    /// What is counted there: lines, or texts where lines do not tell them apart.
    pub unit: &'static str,
    /// Its number, from 1.
    pub number: u64,
    /// The row that it repeats: its file and number.
    pub repeats: Option<(PathBuf, u64)>,
}

/// What is remembered of each row, in the order of the documents that are made of them.
#[derive(Default)]
pub struct Raw(Vec<Option<u128>>);

impl Raw {
    /// What tells a row's text from others; `None` for one without text.
    pub fn text(&self, row: u32) -> Option<u128> {
        self.0.get(row as usize).copied().flatten()
    }
}

/// Where a text stands for the first time.
struct First {
    file: usize,
    number: u64,
    label: Option<String>,
}

/// What is known of pictures: those that are the same once they are resized.
pub fn of_pictures(pictures: &Pictures) -> (Rows, Raw) {
    let (mut rows, mut raw) = (Rows::default(), Raw::default());
    let mut seen = HashSet::new();
    for number in 0..pictures.len() as u32 {
        let digest = Sha256::digest(pictures.get(number).pixels);
        let digest = digest.first_chunk().map_or(0, |b| u128::from_le_bytes(*b));
        rows.rows += 1;
        rows.repeated += u64::from(!seen.insert(digest));
        raw.0.push(Some(digest));
    }
    (rows, raw)
}

/// Reads all rows.
pub fn read(texts: &Texts) -> Result<(Rows, Raw)> {
    let (mut rows, mut raw) = (Rows::default(), Raw::default());
    let mut first: HashMap<u128, First> = HashMap::new();
    let (mut files, mut number): (Vec<PathBuf>, u64) = (Vec::new(), 0);
    texts.each(&mut |path, example| {
        if files.last().is_none_or(|last| last != path) {
            files.push(path.to_path_buf());
            number = 0;
        }
        (rows.rows, number) = (rows.rows + 1, number + 1);
        let (unit, place) = match example.line {
            Some(line) => ("line", line),
            None => ("text", number),
        };
        let mut found = |what: &'static str, repeats: Option<(PathBuf, u64)>| {
            if rows.places.iter().all(|(known, _)| *known != what) {
                let path = path.to_path_buf();
                rows.places.push((
                    what,
                    Place {
                        path,
                        unit,
                        number: place,
                        repeats,
                    },
                ));
            }
        };
        let text = digest(&example);
        raw.0.push(text);
        let Some(text) = text else {
            rows.empty += 1;
            found("empty", None);
            return Ok(());
        };
        let file = files.len() - 1;
        let label = example.label.clone();
        match first.get(&text) {
            None => {
                first.insert(
                    text,
                    First {
                        file,
                        number: place,
                        label,
                    },
                );
            }
            Some(first) => {
                let before = || Some((files[first.file].clone(), first.number));
                rows.repeated += 1;
                found("repeated", before());
                if first.label != label {
                    rows.disagreeing += 1;
                    found("disagreeing", before());
                }
            }
        }
        let both = [Some(example.text), example.pair].into_iter().flatten();
        let both: Vec<String> = both.collect();
        let any = |test: fn(&str) -> bool| both.iter().any(|text| test(text));
        if any(|text| text.contains('\u{fffd}')) {
            rows.unreadable += 1;
            found("unreadable", None);
        }
        if any(is_garbled) {
            rows.garbled += 1;
            found("garbled", None);
        }
        if any(|text| text.contains(is_control)) {
            rows.control += 1;
            found("control", None);
        }
        Ok(())
    })?;
    Ok((rows, raw))
}

/// What tells a text, or pair, from others: white space around it does not.
fn digest(example: &Example) -> Option<u128> {
    let pair = example.pair.as_deref().map(str::trim);
    let text = example.text.trim();
    if text.is_empty() && pair.is_none_or(str::is_empty) {
        return None;
    }
    let mut hasher = Sha256::new();
    hasher.update((text.len() as u64).to_le_bytes());
    hasher.update(text);
    hasher.update(pair.unwrap_or_default());
    let bytes = hasher.finalize();
    let half = bytes.first_chunk::<16>().copied().unwrap_or_default();
    Some(u128::from_le_bytes(half))
}

fn is_control(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')
}

/// Whether some characters are the bytes of one in UTF-8, each taken for a character of Windows-1252.
fn is_garbled(text: &str) -> bool {
    if text.is_ascii() {
        return false;
    }
    let chars: Vec<char> = text.chars().collect();
    let byte = |c: char| {
        let mut utf8 = [0; 4];
        let (bytes, _, unknown) = WINDOWS_1252.encode(c.encode_utf8(&mut utf8));
        match (&*bytes, unknown) {
            ([byte], false) => Some(*byte),
            _ => None,
        }
    };
    chars.windows(2).any(|pair| {
        let [Some(lead), Some(next)] = [byte(pair[0]), byte(pair[1])] else {
            return false;
        };
        // In Latin letters these are what two bytes become; what stands alone may be meant.
        matches!(lead, 0xc2 | 0xc3 | 0xe2 | 0xe3) && (0x80..0xc0).contains(&next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_8_that_was_taken_for_something_else_is_seen() {
        for text in [
            "cafÃ© noir",
            "itâ€™s",
            "naÃ¯ve",
            "Â£5",
            "ã\u{192}¡ã\u{192}\u{ad}ã\u{201a}¹",
        ] {
            assert!(is_garbled(text), "{text}");
        }
        for text in [
            "café noir",
            "it’s",
            "naïve",
            "£5",
            "メロスは激怒した",
            "SÃO PAULO",
            "ÂNGELA",
            "3 ± 1",
            "",
        ] {
            assert!(!is_garbled(text), "{text}");
        }
    }
}
