//! `metrics.jsonl`: one JSON object per line, on the disk as soon as it is known.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::atomic::write_file;
use crate::bounded;
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
        if path.exists() {
            bounded::open(path)?;
        }
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

    /// Waits until all lines are on the disk: a checkpoint is never newer than the metrics before it.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`].
    pub fn sync(&self) -> Result<()> {
        (self.file.sync_data()).map_err(|e| Error::write(&self.path, e))
    }

    /// Forgets what an interrupted unit wrote after the checkpoint it continues from, and lines that
    /// are damaged; every other line keeps its bytes.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`].
    pub fn rewind(&mut self, unit: &str, step: u64, evaluated: bool) -> Result<()> {
        let content = bounded::read(&self.path, bounded::LARGE)?;
        let (mut kept, mut damaged) = (Vec::with_capacity(content.len()), 0);
        for line in content.split_inclusive(|&byte| byte == b'\n') {
            let Some(entry) = entry(line) else {
                damaged += 1;
                continue;
            };
            // A unit is tested when it ends, and this one goes on.
            let again = match entry["split"].as_str() {
                Some("test") => true,
                Some(_) => !evaluated && entry["step"] == step,
                None => false,
            };
            let until_here = entry["step"].as_u64().is_some_and(|s| s <= step);
            if entry["unit"] != unit || (until_here && !again) {
                kept.extend_from_slice(line);
            }
        }
        if damaged > 0 {
            ::log::warn!(
                "{}: {damaged} damaged lines are left out",
                self.path.display()
            );
        }
        if kept != content {
            write_file(&self.path, &kept)?;
            *self = Self::open(&self.path)?;
        }
        Ok(())
    }
}

/// All lines of a log; those that are damaged are left out.
///
/// # Errors
/// [`Error::Io`].
pub fn read(path: &Path) -> Result<Vec<Value>> {
    let content = bounded::read(path, bounded::LARGE)?;
    Ok(content
        .split(|&byte| byte == b'\n')
        .filter_map(entry)
        .collect())
}

/// What a line says; `None` where it is damaged.
fn entry(line: &[u8]) -> Option<Value> {
    bounded::json(line).ok().filter(Value::is_object)
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
        log.rewind("a", 1, true).unwrap();
        log.line(&json!({ "unit": "a", "step": 2, "loss": 0.5 }))
            .unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\"unit\":\"a\",\"step\":1}\n{\"unit\":\"b\",\"step\":9}\n{\"unit\":\"a\",\"step\":2,\"loss\":0.5}\n"
        );
    }

    #[test]
    fn a_rewind_keeps_bytes_and_survives_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        // Numbers that a reader and writer of JSON would spell otherwise, and what is no JSON.
        let good = "{\"unit\":\"b\",\"step\":1,\"loss\":0.1000000000000000055511151231257827}\n\
                    {\"unit\":\"a\", \"step\":2,\"x\":1e-7}\n";
        let eval = "{\"unit\":\"a\",\"step\":2,\"split\":\"validation\"}\n";
        let test = "{\"unit\":\"a\",\"step\":2,\"split\":\"test\"}\n";
        let bytes = [good, "{\"unit\":\n", eval, test].concat().into_bytes();
        let bytes = [&bytes[..], b"\xff\xfe\0\n", b"{}half"].concat();
        for (evaluated, expected) in [(true, [good, eval].concat()), (false, good.to_string())] {
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(read(&path).unwrap().len(), 4);
            let mut log = MetricsLog::open(&path).unwrap();
            log.rewind("a", 2, evaluated).unwrap();
            log.line(&json!({ "step": 3 })).unwrap();
            let found = std::fs::read_to_string(&path).unwrap();
            assert_eq!(found, expected + "{\"step\":3}\n");
        }
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
