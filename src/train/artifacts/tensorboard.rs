//! TensorBoard event files, written by hand: the format is a few protobuf fields in TFRecord
//! frames, and a dependency on protobuf would be larger than all of this.
//!
//! Frame: length (u64), masked CRC-32C of the length, payload, masked CRC-32C of the payload;
//! little-endian. Payload: `tensorflow.Event` (tensorflow/core/util/event.proto).

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};

/// Appends scalars to an event file.
#[derive(Debug)]
pub struct EventWriter {
    file: File,
    path: PathBuf,
}

impl EventWriter {
    /// Opens a new event file in `folder`. With `resumed_at`, TensorBoard forgets what earlier
    /// files of the folder say about later steps.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`].
    pub fn create(folder: &Path, resumed_at: Option<u64>) -> Result<Self> {
        let seconds = now() as u64;
        // A run may be resumed within the same second; the files' order is that of their names.
        for number in 0.. {
            let path = folder.join(format!("events.out.tfevents.{seconds:010}.{number}.melos"));
            match File::create_new(&path) {
                Ok(file) => {
                    let mut writer = Self { file, path };
                    writer.frame(&event(0, &bytes_field(3, b"brain.Event:2")))?;
                    if let Some(step) = resumed_at {
                        // SessionLog { status: START }
                        writer.frame(&event(step + 1, &bytes_field(7, &varint_field(1, 1))))?;
                    }
                    return Ok(writer);
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(Error::io("create", path, e)),
            }
        }
        unreachable!("the loop above has no end")
    }

    /// Appends one number.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`].
    pub fn scalar(&mut self, step: u64, tag: &str, value: f32) -> Result<()> {
        let mut entry = bytes_field(1, tag.as_bytes());
        entry.push(2 << 3 | 5); // simple_value, 32 bits
        entry.extend(value.to_le_bytes());
        self.frame(&event(step, &bytes_field(5, &bytes_field(1, &entry))))
    }

    fn frame(&mut self, payload: &[u8]) -> Result<()> {
        let length = (payload.len() as u64).to_le_bytes();
        let mut frame = Vec::with_capacity(payload.len() + 16);
        frame.extend(length);
        frame.extend(masked_crc(&length).to_le_bytes());
        frame.extend(payload);
        frame.extend(masked_crc(payload).to_le_bytes());
        self.file
            .write_all(&frame)
            .map_err(|e| Error::io("write", &self.path, e))
    }
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64())
}

/// `Event { wall_time, step, …what }`.
fn event(step: u64, what: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1 << 3 | 1]; // wall_time, 64 bits
    bytes.extend(now().to_le_bytes());
    bytes.extend(varint_field(2, step));
    bytes.extend(what);
    bytes
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn varint_field(number: u8, value: u64) -> Vec<u8> {
    let mut bytes = vec![number << 3];
    bytes.extend(varint(value));
    bytes
}

fn bytes_field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    bytes.extend(varint(content.len() as u64));
    bytes.extend(content);
    bytes
}

/// TFRecord's mask, so that a checksum of data that holds checksums stays a good one.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bit by bit: frames are some fifty bytes long.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_of_the_standards_examples() {
        // RFC 3720, appendix B.4
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn varints_by_hand() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(300), [0xac, 0x02]);
    }

    #[test]
    fn frames_can_be_walked() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(dir.path(), Some(6)).unwrap();
        writer.scalar(7, "loss", 0.5).unwrap();
        let bytes = std::fs::read(&writer.path).unwrap();
        let mut at = 0;
        let mut payloads = Vec::new();
        while at < bytes.len() {
            let head: [u8; 8] = bytes[at..at + 8].try_into().unwrap();
            let n = u64::from_le_bytes(head) as usize;
            let crc = |i: usize| u32::from_le_bytes(bytes[i..i + 4].try_into().unwrap());
            assert_eq!(crc(at + 8), masked_crc(&head));
            let payload = &bytes[at + 12..at + 12 + n];
            assert_eq!(crc(at + 12 + n), masked_crc(payload));
            payloads.push(payload.to_vec());
            at += n + 16;
        }
        assert_eq!(payloads.len(), 3);
        assert!(payloads[0].ends_with(b"brain.Event:2"));
        // wall_time, step 7, summary { value { tag "loss", simple_value 0.5 } }
        let mut expected = vec![2 << 3, 7, 5 << 3 | 2, 13, 1 << 3 | 2, 11, 1 << 3 | 2, 4];
        expected.extend(b"loss");
        expected.extend([2 << 3 | 5, 0, 0, 0, 0x3f]);
        assert_eq!(payloads[2][9..], expected);
    }
}
