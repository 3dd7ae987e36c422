//! Plain text: one document a line, WikiText articles, a folder of files.

use std::fs::File;
use std::path::Path;

use super::{Example, Sink, lines};
use crate::{Error, Result};

fn unlabelled(text: &str) -> Example {
    Example {
        text: text.to_owned(),
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
    while let Some(line) = lines.next()? {
        if is_title(line) && !article.is_empty() {
            sink(unlabelled(&std::mem::take(&mut article)))?;
        }
        if !line.trim().is_empty() {
            if !article.is_empty() {
                article.push('\n');
            }
            article.push_str(line.trim());
        }
    }
    if !article.is_empty() {
        sink(unlabelled(&article))?;
    }
    Ok(())
}

/// ` = Title = `; sections have more than one equals sign (` = = Section = = `).
fn is_title(line: &str) -> bool {
    let inner = line
        .trim()
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
        assert!(is_title(" = Valkyria Chronicles III = "));
        assert!(!is_title(" = = Gameplay = = "));
        assert!(!is_title(" a = b "));
        assert!(!is_title(""));
    }
}
