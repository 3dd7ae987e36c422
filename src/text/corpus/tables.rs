//! A folder of tables that are one data set, and files that belong together.

use std::path::{Path, PathBuf};

use super::{Described, Source, Split, describe, detect, guess, lines};
use crate::{Error, Result};

/// Whether a file of a folder is a table.
pub(super) fn is_table(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_lowercase();
    let ending = name.strip_suffix(".gz").unwrap_or(&name);
    let ending = ending.rsplit_once('.').map(|(_, ending)| ending);
    let table = matches!(ending, Some("csv" | "tsv" | "tab")) || detect::holds_objects(file);
    // Notes on a data set, as Hugging Face's.
    table && !name.starts_with('.') && !name.ends_with(".json")
}

/// The part of the data that a file's name tells, as `train.tsv`, `dev.tsv`, `test-00000-of-00001.parquet`.
fn part(file: &Path) -> Option<Split> {
    let name = file.file_name()?.to_str()?.to_lowercase();
    part_called(name.split(|c: char| !c.is_alphabetic()).next()?)
}

/// The part of the data that is called by this word.
pub(crate) fn part_called(word: &str) -> Option<Split> {
    match word {
        "train" | "training" => Some(Split::Train),
        "dev" | "valid" | "validation" | "val" => Some(Split::Validation),
        "test" => Some(Split::Test),
        _ => None,
    }
}

/// The files of a folder of tables, each with its part of the data where their names tell. A test file
/// without labels, as benchmarks give it out, is left out where labels are learned.
pub(super) fn files(source: &Source) -> Result<Vec<Source>> {
    let mut files: Vec<PathBuf> = lines::files_below(&source.path)?;
    files.retain(|file| is_table(file));
    let told = files.iter().any(|file| part(file) == Some(Split::Train));
    let mut sources = Vec::new();
    for path in files {
        let split = part(&path).filter(|_| told && source.split.is_none());
        // A model that only reads text must not see what it is tested on.
        if !source.labelled && split == Some(Split::Test) {
            continue;
        }
        let own = Source {
            path,
            format: None,
            split: split.filter(|_| source.labelled).or(source.split),
            ..source.clone()
        };
        let asks = split == Some(Split::Test) && own.labelled && !own.label_optional;
        match asks.then(|| describe(&own, false)) {
            Some(Err(Error::ColumnMissing { role: "label", .. })) => {
                let said = "it has no labels, and is left out".into();
                guess::say(&own.path, log::Level::Warn, said);
            }
            Some(Err(error)) => return Err(error),
            _ => sources.push(own),
        }
    }
    Ok(sources)
}

/// Refuses files that are to be one data set and have other columns than the first.
///
/// # Errors
/// [`Error::ConfigValue`]; those of reading the first rows.
pub fn same_columns(sources: &[Source]) -> Result<()> {
    let mut first: Option<(Described, [Option<String>; 3])> = None;
    for source in sources {
        let described = describe(source, false)?;
        let own = [&described.text, &described.pair, &described.label].map(Clone::clone);
        let Some((other, columns)) = &first else {
            first = Some((described, own));
            continue;
        };
        let fits = |(a, b): (&Option<String>, &Option<String>)| match (a, b) {
            (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
            (a, b) => a == b,
        };
        if !own.iter().zip(columns).all(fits) {
            let said = |described: &Described| {
                let path = described.path.display();
                let all = described.columns.join(", ");
                let roles = [
                    ("text", &described.text),
                    ("second text", &described.pair),
                    ("label", &described.label),
                ];
                let roles = roles
                    .iter()
                    .filter_map(|(role, name)| Some(format!("{role} '{}'", name.as_ref()?)));
                let roles: Vec<String> = roles.collect();
                format!("'{path}' has {} (of {all})", roles.join(", "))
            };
            let message = format!(
                "holds files with different columns, which are no one data set: {}, {}; give them the same \
                 headers, or name one file",
                said(other),
                said(&described)
            );
            return Err(Error::value("data.path", message));
        }
    }
    Ok(())
}
