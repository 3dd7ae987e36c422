//! `metrics.jsonl`: one JSON object per line, on the disk as soon as it is known.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::atomic::write_file;
use crate::error::{Error, Result};

/// Appends lines to `metrics.jsonl`.
#[derive(Debug)]
pub struct MetricsLog {
    file: File,
    path: PathBuf,
    length: u64,
}

impl MetricsLog {
    /// Opens the log, creating it where there is none.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |e| Error::io("open", path, e);
        let mut file = OpenOptions::new()
            .append(true)
            .read(true)
            .create(true)
            .open(path)
            .map_err(failed)?;
        // A line that was being written when the power went is not a line.
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(failed)?;
        let length = content
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |at| at as u64 + 1);
        if length < content.len() as u64 {
            file.set_len(length).map_err(failed)?;
        }
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
            length,
        })
    }

    /// Appends one line.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`]; no part of the line stays.
    pub fn line(&mut self, entry: &impl Serialize) -> Result<()> {
        let failed = |e: std::io::Error| Error::io("write", &self.path, e);
        let mut line = serde_json::to_vec(entry).map_err(|e| failed(e.into()))?;
        line.push(b'\n');
        if let Err(e) = self.file.write_all(&line) {
            let _ = self.file.set_len(self.length);
            return Err(failed(e));
        }
        self.length += line.len() as u64;
        Ok(())
    }

    /// Forgets what an interrupted unit wrote after the checkpoint it continues from.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`].
    pub fn rewind(&mut self, unit: &str, step: u64) -> Result<()> {
        let kept: String = read(&self.path)?
            .into_iter()
            .filter(|v| v["unit"] != unit || v["step"].as_u64().is_some_and(|s| s <= step))
            .map(|v| format!("{v}\n"))
            .collect();
        write_file(&self.path, kept.as_bytes())?;
        *self = Self::open(&self.path)?;
        Ok(())
    }
}

/// All lines of a log; lines that are not JSON are left out.
///
/// # Errors
/// [`Error::Io`].
pub fn read(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
    Ok(text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_half_line_is_cut_off_and_a_rewind_forgets_later_steps() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        std::fs::write(&path, "{\"unit\":\"a\",\"step\":1}\n{\"unit\":\"a\",\"st").unwrap();
        let mut log = MetricsLog::open(&path).unwrap();
        log.line(&json!({ "unit": "b", "step": 9 })).unwrap();
        log.line(&json!({ "unit": "a", "step": 2 })).unwrap();
        log.rewind("a", 1).unwrap();
        log.line(&json!({ "unit": "a", "step": 2, "loss": 0.5 }))
            .unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\"unit\":\"a\",\"step\":1}\n{\"unit\":\"b\",\"step\":9}\n{\"unit\":\"a\",\"step\":2,\"loss\":0.5}\n"
        );
    }

    #[test]
    fn a_full_disk_is_reported() {
        if Path::new("/dev/full").exists() {
            let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
            let mut log = MetricsLog {
                file,
                path: "metrics.jsonl".into(),
                length: 0,
            };
            let error = log.line(&json!({ "step": 1 })).unwrap_err();
            assert!(matches!(error, Error::DiskFull { .. }), "{error}");
        }
    }
}
