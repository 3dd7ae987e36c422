//! Texts that never end, and archives that unpack to more than anybody has.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write, repeat};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use melos::text::corpus::{self, Example};
use melos::text::{Format, Source, Tokenizer, WordVectors};
use tempfile::TempDir;

use crate::refused;

/// Longer than any text that is read as one.
const HUGE: u64 = 300 << 20;

fn read(path: &Path, format: Option<Format>) -> melos::Result<Vec<String>> {
    let mut source = Source::unlabelled(path);
    source.format = format;
    let mut texts = Vec::new();
    corpus::read(&source, &mut |example: Example| {
        texts.push(example.text);
        Ok(())
    })?;
    Ok(texts)
}

/// A file that begins with a text and goes on with zeros, which take no room on the disk.
fn endless(path: &Path, start: &str) {
    let mut file = File::create(path).unwrap();
    file.write_all(start.as_bytes()).unwrap();
    file.seek(SeekFrom::Start(HUGE)).unwrap();
    file.write_all(b"0\n").unwrap();
}

#[test]
fn a_line_or_a_row_that_never_ends_is_named() {
    let folder = TempDir::new().unwrap();
    for (name, start, place) in [
        ("a.txt", "first\nsecond", "line 2"),
        ("a.jsonl", "{\"text\": \"a\"}\n{", "line 2"),
        ("a.csv", "text,label\na,1\n\"", "line 3"),
        ("a.tsv", "text\tlabel\na\t1\n", "line 3"),
        ("a.tokens", "\n = A = \n\n", "line 4"),
    ] {
        let path = folder.path().join(name);
        endless(&path, start);
        refused(move || read(&path, None), &[name, place, "longer than"]);
    }
    let path = folder.path().join("b.txt");
    endless(&path, "");
    refused(
        move || read(&path, Some(Format::Whole)),
        &["b.txt", "256 MiB"],
    );
}

#[test]
fn a_row_of_separators_alone_is_too_long_before_it_fills_the_memory() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.csv");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"text,label\n").unwrap();
    for _ in 0..64 {
        file.write_all(&[b','; 1 << 20]).unwrap();
    }
    refused(
        move || read(&path, None),
        &["a.csv", "line 2", "longer than"],
    );
}

#[test]
fn a_row_of_values_alone_is_too_many_of_them() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.jsonl");
    let rows = format!(
        "{{\"text\": \"fine, [so] {{it}} is\"}}\n{{\"text\": [{}]}}\n",
        "1,".repeat(5 << 20)
    );
    fs::write(&path, rows).unwrap();
    refused(
        move || read(&path, None),
        &["a.jsonl", "line 2", "4194304 values"],
    );
    let deep = folder.path().join("deep.jsonl");
    fs::write(&deep, format!("{{\"text\": {}", "[".repeat(1_000_000))).unwrap();
    refused(
        move || read(&deep, None),
        &["deep.jsonl", "line 1", "recursion"],
    );
}

#[test]
fn a_whole_book_in_one_line_is_a_text() {
    let folder = TempDir::new().unwrap();
    let book = "メロスは激怒した。 He had to run, and ran. ".repeat(100_000);
    let book = book.trim();
    for (name, text) in [
        ("a.txt", book.to_string()),
        ("a.csv", format!("text,label\n\"{book}\",1\n")),
        ("a.jsonl", format!("{{\"text\": \"{book}\"}}\n")),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let found = read(&path, None).unwrap();
        assert!(found == [book], "{name}: {}", found.len());
    }
}

/// So many bytes of one value, gzipped.
fn bomb(path: &Path, byte: u8, bytes: u64) {
    let mut packed = GzEncoder::new(File::create(path).unwrap(), Compression::fast());
    std::io::copy(&mut repeat(byte).take(bytes), &mut packed).unwrap();
    packed.finish().unwrap();
}

#[test]
fn gzipped_zeros_are_one_line_too_long() {
    let folder = TempDir::new().unwrap();
    let zeros = folder.path().join("zeros.txt.gz");
    bomb(&zeros, 0, 2 * HUGE);
    for name in [
        "zeros.txt.gz",
        "zeros.csv.gz",
        "zeros.tsv.gz",
        "zeros.jsonl.gz",
    ] {
        let path = folder.path().join(name);
        if path != zeros {
            fs::copy(&zeros, &path).unwrap();
        }
        refused(move || read(&path, None), &[name, "longer than"]);
    }
    let tokenizer = Tokenizer::train_on(["a text a text"], &Default::default()).unwrap();
    refused(
        move || WordVectors::read(zeros, &tokenizer),
        &["zeros.txt.gz", "line 1"],
    );
}

/// A tar archive, gzipped, of one file with a size that is claimed and zeros that are there.
fn archive(path: &Path, name: &str, claimed: u64, there: u64, kind: tar::EntryType) {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_size(claimed);
    header.set_entry_type(kind);
    header.set_cksum();
    let mut packed = GzEncoder::new(File::create(path).unwrap(), Compression::fast());
    packed.write_all(header.as_bytes()).unwrap();
    std::io::copy(&mut repeat(0).take(there), &mut packed).unwrap();
    packed.finish().unwrap();
}

fn in_folder(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

#[test]
fn a_huge_entry_of_an_archive_is_named() {
    let folder = TempDir::new().unwrap();
    let path = in_folder(&folder, "a.tar.gz");
    let file = tar::EntryType::Regular;
    archive(&path, "texts/long.txt", HUGE, HUGE, file);
    refused(
        move || read(&path, None),
        &["a.tar.gz: texts/long.txt", "256 MiB"],
    );
    let path = in_folder(&folder, "b.tar.gz");
    archive(&path, "texts/long.txt", 1 << 40, 1 << 20, file);
    refused(
        move || read(&path, None),
        &["b.tar.gz: texts/long.txt", "4096 MiB"],
    );
    // A name may be an entry of its own, of any length.
    let path = in_folder(&folder, "c.tar.gz");
    archive(
        &path,
        "././@LongLink",
        HUGE,
        HUGE,
        tar::EntryType::GNULongName,
    );
    refused(move || read(&path, None), &["c.tar.gz"]);
    // One that is not read may be larger than any text.
    let path = in_folder(&folder, "d.tar.gz");
    archive(&path, "weights.bin", HUGE, HUGE, file);
    refused(
        move || read(&path, None),
        &["d.tar.gz", "no folder or archive with .txt files"],
    );
}
