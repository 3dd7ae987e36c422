//! What a model said of documents before its first step: what it is held to, as a second model would be that is
//! not trained, in two numbers a document.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::bounded;
use crate::device::lock;
use crate::error::{Error, Result};
use crate::text::batch::NO_DOC;

/// Cross entropies of the answers in both rows of documents.
#[derive(Default)]
pub(super) struct Reference(Mutex<BTreeMap<u32, [f64; 2]>>);

/// As it is written down.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// What tells the data from others.
    data: String,
    /// By the numbers of the documents.
    rows: BTreeMap<u32, [f64; 2]>,
}

impl Reference {
    /// Takes over what an earlier start of the run wrote down of the same `data`.
    ///
    /// # Errors
    /// Those of reading; [`Error::Folder`] for a file that is damaged.
    pub fn read(&self, path: &Path, data: &str) -> Result<()> {
        if !path.exists() {
            return Ok(());
        }
        let text = bounded::read(path, bounded::TEXT)?;
        let kept: Kept = serde_json::from_slice(&text).map_err(|e| {
            Error::folder(
                path,
                format!("is damaged ({e}); delete it, and it is computed again"),
            )
        })?;
        if kept.data == data {
            *lock(&self.0) = kept.rows;
        }
        Ok(())
    }

    /// Writes all of it down.
    ///
    /// # Errors
    /// Those of writing.
    pub fn write(&self, path: &Path, data: &str) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| Error::write(folder, e))?;
        }
        let kept = Kept {
            data: data.into(),
            rows: lock(&self.0).clone(),
        };
        // Numbers and a text: this cannot fail.
        let text = serde_json::to_vec(&kept).unwrap_or_default();
        atomic::write_file(path, &text)
    }

    /// Notes those of a document.
    pub fn set(&self, doc: u32, numbers: &[f64]) {
        if let &[first, second, ..] = numbers {
            lock(&self.0).insert(doc, [first, second]);
        }
    }

    /// Whether those of a document are known.
    pub fn knows(&self, doc: u32) -> bool {
        lock(&self.0).contains_key(&doc)
    }

    /// Those of a document. Of one that was not asked about nothing is known, so that nothing can be computed.
    pub fn of(&self, doc: u32) -> [f64; 2] {
        lock(&self.0).get(&doc).copied().unwrap_or([f64::NAN; 2])
    }

    /// Those of documents, the first of all before the second of all; 0 where there is no document.
    pub fn rows(&self, docs: &[u32]) -> Vec<f32> {
        let of = |at: usize| {
            docs.iter().map(move |&doc| match doc {
                NO_DOC => 0.0,
                doc => self.of(doc)[at] as f32,
            })
        };
        of(0).chain(of(1)).collect()
    }
}
