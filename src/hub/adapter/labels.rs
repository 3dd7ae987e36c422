//! The names of the outputs of an adapter's head, for which PEFT has no place.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::error::{Error, Result};

/// The file with them in an adapter's folder.
pub const LABELS: &str = "labels.json";

#[derive(Debug, Serialize, Deserialize)]
struct Labels {
    labels: Vec<String>,
}

/// What the file says of these names.
pub fn labels_file(names: &[String]) -> Vec<u8> {
    let labels = Labels {
        labels: names.to_vec(),
    };
    // Strings: this cannot fail.
    serde_json::to_vec_pretty(&labels).unwrap_or_default()
}

/// The names, where the folder has them.
pub(super) fn read(folder: &Path) -> Result<Option<Vec<String>>> {
    let path = folder.join(LABELS);
    if !path.exists() {
        return Ok(None);
    }
    let text = bounded::read(&path, bounded::SETTINGS)?;
    let labels: Labels = bounded::json(&text).map_err(|e| Error::Folder {
        path,
        problem: format!("is damaged: {e}; delete it, and labels go by their numbers"),
    })?;
    Ok(Some(labels.labels))
}
