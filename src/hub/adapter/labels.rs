//! The names of the outputs of an adapter's head, for which PEFT has no place.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::error::{Error, Result};

/// The file with them in an adapter's folder.
pub const LABELS: &str = "labels.json";

/// What an adapter's outputs are called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterLabels {
    /// Their names, in order.
    pub labels: Vec<String>,
    /// Whether they are of pairs of texts, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_pairs: Option<bool>,
}

impl AdapterLabels {
    /// As the file has them.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings: this cannot fail.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }
}

/// The names, where the folder has them.
pub(super) fn read(folder: &Path) -> Result<Option<AdapterLabels>> {
    let path = folder.join(LABELS);
    if !path.exists() {
        return Ok(None);
    }
    let text = bounded::read(&path, bounded::SETTINGS)?;
    let labels = bounded::json(&text).map_err(|e| Error::Folder {
        path,
        problem: format!("is damaged: {e}; delete it, and labels go by their numbers"),
    })?;
    Ok(Some(labels))
}
