//! Plain text: one document a line, WikiText articles, a folder of files.

use std::fs::File;
use std::path::Path;

use super::{Example, Sink, lines};
use crate::{Error, Result};

fn unlabelled(text: &str) -> Example {
    Example {
        text: text.to_owned(),
        pair: None,
        label: None,
        split: None,
    }
}

pub(super) fn read_lines(path: &Path, sink: &mut Sink) -> Result<()> {
    let mut lines = lines::Lines::open(path)?;
    while let Some(line) = lines.next()? {
        if !line.trim().is_empty() {
            sink(unlabelled(line.trim()))?;
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
        if let Some(title) = maybe_title.take() {
            if empty && !article.is_empty() {
                sink(unlabelled(&std::mem::take(&mut article)))?;
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
        sink(unlabelled(&article))?;
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

pub(super) fn read_folder(path: &Path, sink: &mut Sink) -> Result<()> {
    for file in lines::files_below(path)? {
        if file.extension().is_some_and(|end| end == "txt") {
            let mut reader = File::open(&file).map_err(|e| Error::read(&file, e))?;
            let text = lines::read_text(&mut reader, &file)?;
            let text = text.trim_start_matches('\u{feff}').trim();
            if !text.is_empty() {
                sink(unlabelled(text))?;
            }
        }
    }
    Ok(())
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
