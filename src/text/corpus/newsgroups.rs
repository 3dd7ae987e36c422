//! 20 Newsgroups (Lang, "NewsWeeder", ICML 1995) as it is distributed: `20news-bydate-train/GROUP/NUMBER` and
//! `20news-bydate-test/GROUP/NUMBER`, or one folder of groups; a file is a posting with what its headers say.

use std::path::Path;

use super::{Example, Sink, Source, Split, lines};
use crate::Result;

/// What the names of its groups begin with.
const HIERARCHIES: [&str; 7] = ["alt.", "comp.", "misc.", "rec.", "sci.", "soc.", "talk."];

/// The group that the path of a posting tells, and the part of the data; `None` for any other file.
pub(super) fn place(name: &Path) -> Option<(Option<Split>, &str)> {
    let mut parts = name.iter().rev().map(|part| part.to_str());
    let (file, group) = (parts.next()??, parts.next()??);
    let posting = !file.is_empty() && file.bytes().all(|b| b.is_ascii_digit());
    if !posting || !HIERARCHIES.iter().any(|begin| group.starts_with(begin)) {
        return None;
    }
    let part = parts.next().flatten().unwrap_or_default();
    let split = if part.ends_with("-train") {
        Some(Split::Train)
    } else {
        part.ends_with("-test").then_some(Split::Test)
    };
    Some((split, group))
}

pub(super) fn read(source: &Source, sink: &mut Sink) -> Result<()> {
    let path = &source.path;
    let mut pass = |(split, group): (Option<Split>, &str), text: String| {
        sink(Example {
            text: text.trim().replace("\r\n", "\n"),
            label: Some(group.to_owned()),
            split,
            ..Example::default()
        })
    };
    if path.is_dir() {
        for file in lines::files_below(path)? {
            if let Some(place) = place(&file) {
                pass(
                    place,
                    lines::read_any(&mut lines::open_bytes(&file)?, &file)?,
                )?;
            }
        }
        return Ok(());
    }
    lines::for_each_in_tar(path, &mut |name, reader| {
        if let Some(place) = place(name) {
            let name = lines::entry_name(path, name);
            pass(place, lines::read_any(reader, &name)?)?;
        }
        Ok(true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let of = |name: &'static str| place(Path::new(name));
        assert_eq!(
            of("20news-bydate-train/alt.atheism/49960"),
            Some((Some(Split::Train), "alt.atheism"))
        );
        assert_eq!(
            of("x/20news-bydate-test/sci.space/1"),
            Some((Some(Split::Test), "sci.space"))
        );
        assert_eq!(of("20news-18828/rec.autos/7"), Some((None, "rec.autos")));
        assert_eq!(of("20news-bydate-train/alt.atheism/readme"), None);
        assert_eq!(of("train/pos/7"), None);
    }
}
