//! `melos embed`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::input::Input;
use super::model_options::ModelOptions;
use super::output;
use super::sheet::{self, Fields, Sheet};
use crate::atomic::write_file_with;
use crate::error::{Error, Result};
use crate::inference::{Embedder, Pooling, SentenceOptions};
use crate::text::Example;

/// Turn texts into vectors, as sentence-transformers does.
#[derive(Debug, Args)]
pub struct Embed {
    /// Model folder, an adapter's, or a run's (its best model).
    model: PathBuf,
    #[command(flatten)]
    input: Input,
    /// How tokens become one vector [default: as the folder says, else mean].
    #[arg(long)]
    pooling: Option<PoolingName>,
    /// Give every vector length 1 [default: as the folder says].
    #[arg(long, overrides_with = "no_normalize")]
    normalize: bool,
    /// Leave vectors as they are.
    #[arg(long)]
    no_normalize: bool,
    /// Tokens of a text that are read [default: as the folder says].
    #[arg(long, value_name = "N")]
    max_len: Option<usize>,
    /// File to write: .npy for one array of float32; .csv, .tsv or .jsonl for a row for each text, its
    /// own columns and the vector [default: JSON lines on standard output].
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    options: ModelOptions,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PoolingName {
    /// The first token's vector.
    Cls,
    /// The mean over all tokens.
    Mean,
}

#[derive(Serialize)]
struct Line<'a> {
    text: &'a str,
    embedding: &'a [f32],
}

impl Embed {
    pub(super) fn run(self) -> Result<()> {
        if self.max_len == Some(0) {
            return Err(Error::ConfigValue {
                place: "--max-len".into(),
                message: "should be 1 or more".into(),
            });
        }
        let adjust = |options: &mut SentenceOptions| {
            options.pooling = match self.pooling {
                Some(PoolingName::Cls) => Pooling::Cls,
                Some(PoolingName::Mean) => Pooling::Mean,
                None => options.pooling,
            };
            options.normalised = (options.normalised || self.normalize) && !self.no_normalize;
            if let Some(most) = self.max_len {
                options.max_len = most.min(options.max_len);
            }
        };
        let mut model = (self.options).open(&self.model, |gpu, folder, beside| {
            Embedder::open(gpu, folder, beside, adjust)
        })?;
        let Some(path) = &self.out else {
            return self.input.each(None, false, &mut |examples| {
                let (_, texts) = split(examples);
                let vectors = model.embed(&texts)?;
                let mut lines = texts.iter().zip(&vectors);
                lines
                    .try_for_each(|(text, embedding)| output::print_json(&Line { text, embedding }))
            });
        };
        let end = sheet::ending(path);
        if end == "npy" {
            let mut vectors = Vec::new();
            self.input.each(None, false, &mut |examples| {
                vectors.extend(model.embed(&split(examples).1)?);
                Ok(())
            })?;
            return write_file_with(path, |out| write_npy(out, model.width(), &vectors));
        }
        let mut out = Sheet::begin(path)?;
        self.input.each(None, false, &mut |examples| {
            let (mut rows, texts) = split(examples);
            for (row, vector) in rows.iter_mut().zip(model.embed(&texts)?) {
                let numbers = vector.into_iter().map(sheet::number);
                if end == "csv" || end == "tsv" {
                    for (n, x) in numbers.enumerate() {
                        sheet::add(row, &format!("e{n}"), x);
                    }
                } else {
                    sheet::add(row, "embedding", numbers.collect());
                }
            }
            out.write(rows)
        })?;
        out.finish()
    }
}

/// Rows, and texts.
fn split(examples: Vec<Example>) -> (Vec<Fields>, Vec<String>) {
    examples.into_iter().map(|e| (e.row, e.text)).unzip()
}

/// NumPy's format, version 1.0: a magic, a header padded to 64 bytes, the numbers.
fn write_npy(out: &mut dyn Write, width: usize, vectors: &[Vec<f32>]) -> std::io::Result<()> {
    let rows = vectors.len();
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    let before = 6 + 2 + 2;
    while !(before + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&(header.len() as u16).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for value in vectors.iter().flatten() {
        out.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::write_npy;

    #[test]
    fn arrays_are_as_numpy_writes_them() {
        let mut out = Vec::new();
        write_npy(&mut out, 2, &[vec![1.0, 2.0], vec![3.0, 4.0]]).unwrap();
        assert_eq!(&out[..8], b"\x93NUMPY\x01\x00");
        assert_eq!(&out[8..10], [118, 0]);
        let header = std::str::from_utf8(&out[10..128]).unwrap();
        assert!(header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }"));
        assert!(header.ends_with(" \n"));
        let values: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        assert_eq!(&out[128..], values);
    }
}
