//! What happened when a checkpoint was matched with a model: returned, never swallowed.

use std::fmt;

use serde::Serialize;

use crate::error::{Error, Result};

/// How the tensors of a checkpoint and those of a model compare; names are canonical.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LoadReport {
    /// The model has it, the checkpoint does not: it keeps its initial values.
    pub missing: Vec<String>,
    /// The checkpoint has it, the model does not: it is left unread.
    pub unexpected: Vec<String>,
    /// Read under another name than the file's.
    pub renamed: Vec<Renamed>,
    /// In the file and of no consequence.
    pub ignored: Vec<Ignored>,
}

/// A tensor whose name in the file is not the canonical one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Renamed {
    /// In the file.
    pub from: String,
    /// Canonical.
    pub to: String,
}

/// A tensor that no model needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// In the file.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl LoadReport {
    /// Whether the checkpoint holds exactly what the model has.
    pub fn is_exact(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty()
    }

    /// Refuses a checkpoint that lacks more than what may begin anew (a head above all).
    ///
    /// # Errors
    /// [`Error::Folder`] naming what is missing from `place`.
    pub fn require(
        &self,
        place: &std::path::Path,
        may_begin_anew: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let lacking: Vec<&str> = (self.missing.iter().map(String::as_str))
            .filter(|name| !may_begin_anew(name))
            .collect();
        if lacking.is_empty() {
            return Ok(());
        }
        Err(Error::Folder {
            path: place.to_path_buf(),
            problem: format!(
                "lacks {} tensors of the model: {}; it belongs to another model, or to one with \
                 other sizes in its config.json",
                lacking.len(),
                some_of(&lacking)
            ),
        })
    }
}

/// How many names of a list are shown.
const SHOWN: usize = 6;

/// The first few names, and how many more there are.
pub(super) fn some_of<S: AsRef<str>>(names: &[S]) -> String {
    first_of(names, SHOWN)
}

fn first_of<S: AsRef<str>>(names: &[S], count: usize) -> String {
    let shown: Vec<&str> = names.iter().take(count).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(count) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

impl fmt::Display for LoadReport {
    /// One line for each thing that is worth saying; nothing where all is as expected.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let renamed = self.renamed.iter();
        let renamed: Vec<_> = renamed.map(|r| format!("{} → {}", r.from, r.to)).collect();
        let ignored = self.ignored.iter();
        let ignored: Vec<_> = ignored
            .map(|i| format!("{} ({})", i.name, i.reason))
            .collect();
        for (names, what, shown) in [
            (&self.missing, "missing (they begin anew)", SHOWN),
            (&self.unexpected, "unexpected (not read)", SHOWN),
            // A folder has one reason for all of them, so that one example says it.
            (&renamed, "renamed", 1),
            (&ignored, "ignored", 3),
        ] {
            if !names.is_empty() {
                writeln!(f, "{} {what}: {}", names.len(), first_of(names, shown))?;
            }
        }
        Ok(())
    }
}
