//! Plain text: one document a line, WikiText articles, a folder of files.

use std::path::Path;

use super::{Example, Format, Sink, Source, guess, lines};
use crate::{Result, bounded};

pub(super) fn read_lines(path: &Path, sink: &mut Sink) -> Result<()> {
    let mut lines = lines::Lines::open(path)?;
    while let Some(line) = lines.next()? {
        if !line.trim().is_empty() {
            let example = Example::from(line.trim());
            let line = Some(lines.line);
            sink(Example { line, ..example })?;
        }
    }
    Ok(())
}

pub(super) fn read_wikitext(path: &Path, sink: &mut Sink) -> Result<()> {
    let mut lines = lines::Lines::open(path)?;
    let mut article = String::new();
    // A title stands between empty lines: a line of a table may look like one.
    let (mut after_empty, mut maybe_title) = (true, None::<String>);
    loop {
        let line = lines.next()?.map(str::trim);
        let empty = line.is_none_or(str::is_empty);
        if article.len() as u64 > bounded::TEXT {
            return Err(bounded::too_long(path, bounded::TEXT));
        }
        if let Some(title) = maybe_title.take() {
            if empty && !article.is_empty() {
                sink(article.as_str().into())?;
                article.clear();
            }
            append(&mut article, &title);
        }
        let Some(line) = line else { break };
        if after_empty && is_title(line) {
            maybe_title = Some(line.to_owned());
        } else if !empty {
            append(&mut article, line);
        }
        after_empty = empty;
    }
    if !article.is_empty() {
        sink(article.as_str().into())?;
    }
    Ok(())
}

fn append(article: &mut String, line: &str) {
    if !article.is_empty() {
        article.push('\n');
    }
    article.push_str(line);
}

/// ` = Title = `; sections have more than one equals sign (` = = Section = = `).
fn is_title(line: &str) -> bool {
    let inner = line
        .strip_prefix("= ")
        .and_then(|rest| rest.strip_suffix(" ="));
    inner.is_some_and(|title| !title.starts_with("= ") && !title.ends_with(" ="))
}

/// Bytes of a `.txt` that is taken as one text where nothing says so: it is made tokens of as a whole.
const ONE: u64 = 32 << 20;

impl Source {
    /// The same source, where a `.txt` is one text as `one_text` says or, where it says nothing,
    /// `by_default`; which is said.
    ///
    /// # Errors
    /// Those of [`Source::resolve_format`].
    pub fn one_text(self, one_text: Option<bool>, by_default: bool) -> Result<Source> {
        if self.resolve_format()? != Format::Txt {
            return Ok(self);
        }
        let small = || self.path.metadata().is_ok_and(|file| file.len() <= ONE);
        let one = one_text.unwrap_or_else(|| by_default && small());
        if one_text.is_none() {
            let said = match one {
                true => "one text, lines and all (data.one_text = false: a text on each line)",
                false => "a text on each line (data.one_text = true: one text, lines and all)",
            };
            guess::say(&self.path, log::Level::Info, said.into());
        }
        Ok(match one {
            true => Source {
                format: Some(Format::Whole),
                ..self
            },
            false => self,
        })
    }
}

/// Notes that come with a collection and are none of its texts.
const NOTES: [&str; 6] = [
    "classes.txt",
    "readme.txt",
    "license.txt",
    "copying.txt",
    "notice.txt",
    "colophons.txt",
];

/// Whether a file of a folder or archive is one of its texts.
pub(super) fn is_text(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_lowercase();
    name.ends_with(".txt") && !name.starts_with('.') && !NOTES.contains(&&*name)
}

pub(super) fn read_folder(source: &Source, sink: &mut Sink) -> Result<()> {
    read_files(&source.path, &mut |name, text| {
        let mut example = Example::from(text.as_str());
        if source.rows {
            let name = name.to_string_lossy().into_owned();
            example.row = vec![("file".into(), name.into()), ("text".into(), text.into())];
        }
        sink(example)
    })
}

/// Gives each text of a folder or archive to `each`, with its name below that.
pub(super) fn read_files(
    path: &Path,
    each: &mut dyn FnMut(&Path, String) -> Result<()>,
) -> Result<()> {
    let mut of_file = |name: &Path, text: &str| match document(text) {
        Some(text) => each(name, text),
        None => Ok(()),
    };
    if !path.is_dir() {
        return lines::for_each_in_tar(path, &mut |name, reader| {
            if is_text(name) {
                let text = lines::read_text(reader, &lines::entry_name(path, name))?;
                of_file(name, &text)?;
            }
            Ok(true)
        });
    }
    for file in lines::files_below(path)? {
        if is_text(&file) {
            let name = file.strip_prefix(path).unwrap_or(&file);
            of_file(name, &lines::read_file(&file)?)?;
        }
    }
    Ok(())
}

pub(super) fn read_whole(path: &Path, sink: &mut Sink) -> Result<()> {
    match document(&lines::read_text(&mut lines::open(path)?, path)?) {
        Some(text) => sink(text.as_str().into()),
        None => Ok(()),
    }
}

/// A file's text as a document, unless there is none.
fn document(text: &str) -> Option<String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    (!text.is_empty()).then(|| text.replace("\r\n", "\n"))
}

#[cfg(test)]
mod tests {
    use super::is_title;

    #[test]
    fn titles() {
        assert!(is_title("= Valkyria Chronicles III ="));
        assert!(!is_title("= = Gameplay = ="));
        assert!(!is_title("a = b"));
        assert!(!is_title(""));
    }
}
