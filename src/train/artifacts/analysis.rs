//! `analysis.json` in a unit's folder: its worst answers, what was read.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic::write_file;
use crate::bounded;
use crate::error::{Error, Result};
use crate::objectives::analysis::Analysis;
use crate::objectives::coverage::Coverage;
use crate::train::report::UnitResult;

const ANALYSIS: &str = "analysis.json";

/// What is known of a unit's texts beyond its scores.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UnitAnalysis {
    /// Its answers to the test texts, or else to the validation texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Analysis>,
    /// What of its training texts was read, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
}

impl UnitAnalysis {
    /// Of a unit that is done.
    pub fn of(result: &UnitResult, coverage: Coverage) -> Self {
        let scores = result.test.as_ref().or(result.validation.as_ref());
        Self {
            answers: scores.and_then(|scores| scores.analysis.clone()),
            coverage: (coverage.tokens > 0).then_some(coverage),
        }
    }

    /// Writes it to the unit's folder, where there is something to say.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        if *self == Self::default() {
            return Ok(());
        }
        let path = folder.join(ANALYSIS);
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|e| Error::write(&path, e.into()))?;
        text.push(b'\n');
        write_file(&path, &text)
    }

    /// What a unit's folder holds. Nothing is known of one of before there were analyses, nor of a
    /// damaged one: a report goes without, and a run goes on.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Folder`] for what is no regular file.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(ANALYSIS);
        let Some(bytes) = bounded::read_if_there(&path, bounded::SETTINGS)? else {
            return Ok(Self::default());
        };
        Ok(bounded::json(&bytes).unwrap_or_else(|e| {
            log::warn!("{} is damaged and left out: {e}", path.display());
            Self::default()
        }))
    }
}
