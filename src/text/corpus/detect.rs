//! Tells the format of a corpus from its path.

use std::path::Path;

use super::by_file::{ROTTEN_TOMATOES, SUBJECTIVITY};
use super::by_folder::{self, Layout};
use super::{Format, Source, columns, imdb, lines, newsgroups, plain, tables, unknown_format};
use crate::{Error, Result};

pub(super) const FORMATS: &str = "imdb, rotten-tomatoes, subjectivity, trec, newsgroups, csv, tsv, jsonl, parquet, tables, txt, wikitext, folder, classes and whole";

/// Whether a file's name, in small letters and without `.gz`, is one of JSON lines.
fn is_json_lines(name: &str) -> bool {
    matches!(
        name.rsplit_once('.'),
        Some((_, "jsonl" | "ndjson" | "json"))
    )
}

fn is_parquet(name: &str) -> bool {
    matches!(name.rsplit_once('.'), Some((_, "parquet" | "pq")))
}

/// Whether a file's name is one of objects with keys.
pub(super) fn holds_objects(path: &Path) -> bool {
    let name = path.to_string_lossy().to_lowercase();
    let name = name.trim_end_matches(".gz");
    is_json_lines(name) || is_parquet(name)
}

pub(super) fn format(source: &Source) -> Result<Format> {
    let path = &source.path;
    if !path.exists() {
        return Err(Error::FileMissing { path: path.clone() });
    }
    if let Some(format) = source.format {
        return Ok(format);
    }
    let found = if path.is_dir() {
        of_folder(path)?
    } else {
        of_file(source)?
    };
    let learns = source.labelled && !source.label_optional;
    let found = match found {
        Some(Format::Folder) if learns && Layout::of(&by_folder::texts(path)?).is_some() => {
            Some(Format::Classes)
        }
        // A sentence may run over several lines.
        Some(Format::Txt) if source.sentence_end.is_some() => Some(Format::Whole),
        found => found,
    };
    found.ok_or_else(|| {
        let message = format!(
            "it is not an IMDB or Rotten Tomatoes archive or folder, its name does not end in \
             .csv, .tsv, .jsonl, .json, .parquet, .txt or .tokens (each also with .gz), and it is no folder or archive \
             with .txt files, nor a folder of tables; rename it, or state the format where a command has --format (one of {FORMATS})"
        );
        unknown_format(path, message)
    })
}

fn of_folder(path: &Path) -> Result<Option<Format>> {
    if imdb::root(path).is_some() {
        return Ok(Some(Format::Imdb));
    }
    if ROTTEN_TOMATOES.root(path).is_some() {
        return Ok(Some(Format::RottenTomatoes));
    }
    if SUBJECTIVITY.root(path).is_some() {
        return Ok(Some(Format::Subjectivity));
    }
    let files = lines::files_below(path)?;
    if files.iter().any(|file| newsgroups::place(file).is_some()) {
        return Ok(Some(Format::Newsgroups));
    }
    let texts = files.iter().any(|file| plain::is_text(file));
    let tables = files.iter().any(|file| tables::is_table(file));
    let format = if texts {
        Some(Format::Folder)
    } else {
        tables.then_some(Format::Tables)
    };
    Ok(format)
}

fn of_file(source: &Source) -> Result<Option<Format>> {
    let path = &source.path;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_lowercase();
    if name.ends_with(".tgz") {
        return of_archive(path);
    }
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    if is_json_lines(name) {
        return Ok(Some(Format::Jsonl));
    }
    if is_parquet(name) {
        return Ok(Some(Format::Parquet));
    }
    if SUBJECTIVITY.class(path).is_some() {
        return Ok(Some(Format::Subjectivity));
    }
    Ok(match name.rsplit_once('.').map(|(_, end)| end) {
        Some("tar") => of_archive(path)?,
        Some("csv") => Some(Format::Csv),
        Some("tsv" | "tab") => Some(Format::Tsv),
        Some("txt" | "text") if is_table(source)? => Some(Format::Tsv),
        Some("txt" | "text") => Some(Format::Txt),
        Some("label") => Some(Format::Trec),
        Some("tokens") => Some(Format::Wikitext),
        Some("pos" | "neg") => Some(Format::RottenTomatoes),
        _ => None,
    })
}

/// Whether a text begins with a header: two names or more that are known, with tabs between them, as MRPC
/// and SNLI are published.
fn is_table(source: &Source) -> Result<bool> {
    let mut lines = lines::Lines::open(&source.path)?;
    // What cannot be read as text is refused where it is read.
    let Ok(Some(first)) = lines.next() else {
        return Ok(false);
    };
    let known = first
        .split('\t')
        .filter(|name| columns::is_known(source, name));
    Ok(first.contains('\t') && known.count() > 1)
}

/// Looks at the archive's names until one is telling.
fn of_archive(path: &Path) -> Result<Option<Format>> {
    let (mut found, mut texts) = (None, false);
    lines::for_each_in_tar(path, &mut |name, _| {
        if imdb::place(name).is_some() {
            found = Some(Format::Imdb);
        } else if ROTTEN_TOMATOES.class(name).is_some() {
            found = Some(Format::RottenTomatoes);
        } else if SUBJECTIVITY.class(name).is_some() {
            found = Some(Format::Subjectivity);
        } else if newsgroups::place(name).is_some() {
            found = Some(Format::Newsgroups);
        } else if plain::is_text(name) {
            texts = true;
        }
        Ok(found.is_none())
    })?;
    Ok(found.or(texts.then_some(Format::Folder)))
}
