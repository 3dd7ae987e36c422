//! Word vectors trained elsewhere: word2vec text and binary (Mikolov et al. 2013), GloVe text
//! (Pennington et al. 2014), each also gzipped.
//!
//! ```text
//! word2vec text    "COUNT DIM\n", then "word x1 ... xDIM\n"
//! word2vec binary  "COUNT DIM\n", then "word " and DIM little-endian f32, maybe "\n"
//! GloVe            as word2vec text, without the first line
//! ```

use std::io::{BufRead, Read};
use std::path::Path;

use super::corpus;
use super::tokenizer::Tokenizer;
use crate::{Error, Result};

/// No set of vectors is wider; a larger number is a damaged header.
const MAX_DIM: usize = 8192;
/// Numbers of a table: 4 GiB.
const MAX_TABLE: usize = 1 << 30;
/// No word is longer (in bytes); a longer one is a damaged file.
const MAX_WORD: u64 = 1 << 16;

/// The vectors of a tokeniser's vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct WordVectors {
    /// D, width of a vector.
    pub dim: usize,
    /// (V, D) f32, row-major; zeros for a token without vector.
    pub rows: Vec<f32>,
    /// (V) which tokens have a vector.
    pub found: Vec<bool>,
    /// Vectors in the file.
    pub in_file: u64,
}

impl WordVectors {
    /// Reads the vectors of `tokenizer`'s tokens. A token without one takes that of a word that
    /// is equal but for upper case, the first in the file.
    ///
    /// # Errors
    /// [`Error::FileMissing`], [`Error::Io`], [`Error::EmptyText`] for an empty file;
    /// [`Error::Vectors`] when a vector has another width than the first, a number is not one,
    /// or the file ends early.
    pub fn read(path: impl AsRef<Path>, tokenizer: &Tokenizer) -> Result<Self> {
        let path = path.as_ref();
        let reader = corpus::open(path)?;
        let mut file = VectorFile {
            path,
            reader,
            tokenizer,
            exact: Vec::new(),
            line: 0,
        };
        file.read()
    }

    /// The vector of a token.
    pub fn row(&self, id: u32) -> Option<&[f32]> {
        let id = id as usize;
        let found = *self.found.get(id)?;
        found.then(|| &self.rows[id * self.dim..(id + 1) * self.dim])
    }

    /// Share of the vocabulary that has a vector.
    pub fn coverage(&self) -> f64 {
        let found = self.found.iter().filter(|&&found| found).count();
        found as f64 / self.found.len().max(1) as f64
    }
}

struct VectorFile<'a> {
    path: &'a Path,
    reader: Box<dyn BufRead + Send>,
    tokenizer: &'a Tokenizer,
    /// Tokens whose vector came from the very same word.
    exact: Vec<bool>,
    line: u64,
}

impl VectorFile<'_> {
    fn read(&mut self) -> Result<WordVectors> {
        let Some(first) = self.next_line()? else {
            return Err(Error::EmptyText {
                path: self.path.to_owned(),
            });
        };
        let header = header(&first);
        let dim = header.map_or_else(|| fields(&first).count().saturating_sub(1), |h| h.1);
        if dim == 0 || dim > MAX_DIM {
            let message =
                format!("expected a word and 1 to {MAX_DIM} numbers, or a header, found {dim}");
            return Err(self.error("line 1".into(), message));
        }
        let vocab = self.tokenizer.vocab_size();
        if vocab * dim > MAX_TABLE {
            let message = format!("{vocab} vectors of {dim} numbers are more than {MAX_TABLE}");
            return Err(self.error("line 1".into(), message));
        }
        self.exact = vec![false; vocab];
        let mut vectors = WordVectors {
            dim,
            // Made with the first vector, when there is one.
            rows: Vec::new(),
            found: vec![false; vocab],
            in_file: 0,
        };
        match header {
            None => {
                self.add_line(&first, &mut vectors)?;
                self.read_text(&mut vectors)?;
            }
            Some((count, _)) => {
                if self.looks_like_text()? {
                    self.read_text(&mut vectors)?
                } else {
                    self.read_binary(count, &mut vectors)?
                }
                if vectors.in_file != count {
                    let found = vectors.in_file;
                    let wrong = if found < count {
                        "the file is incomplete"
                    } else {
                        "the header is wrong, or two files were joined"
                    };
                    let message =
                        format!("the header promises {count} vectors, found {found}; {wrong}");
                    return Err(self.error(format!("line {}", self.line), message));
                }
            }
        }
        vectors.rows.resize(vocab * dim, 0.0);
        Ok(vectors)
    }

    fn error(&self, place: String, message: String) -> Error {
        Error::Vectors {
            path: self.path.to_owned(),
            place,
            message,
        }
    }

    fn next_line(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        // Wide enough for any vector written out in decimals.
        let mut limited = self.reader.by_ref().take(MAX_WORD + 32 * MAX_DIM as u64);
        let length = limited
            .read_until(b'\n', &mut bytes)
            .map_err(|e| Error::read(self.path, e))?;
        if length == 0 {
            return Ok(None);
        }
        self.line += 1;
        // A word that is not UTF-8 is in no vocabulary; its vector is passed over.
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches(|c: char| c.is_ascii_whitespace());
        Ok(Some(match self.line {
            1 => text.trim_start_matches('\u{feff}').to_owned(),
            _ => text.to_owned(),
        }))
    }

    /// After the header: is what follows the first word a decimal number?
    fn looks_like_text(&mut self) -> Result<bool> {
        let bytes = self
            .reader
            .fill_buf()
            .map_err(|e| Error::read(self.path, e))?;
        let mut fields = bytes.split(|byte| byte.is_ascii_whitespace());
        let second = fields
            .nth(1)
            .and_then(|field| std::str::from_utf8(field).ok());
        Ok(second.is_some_and(|field| field.parse::<f32>().is_ok()))
    }

    fn read_text(&mut self, vectors: &mut WordVectors) -> Result<()> {
        while let Some(line) = self.next_line()? {
            if !line.is_empty() {
                self.add_line(&line, vectors)?;
            }
        }
        Ok(())
    }

    fn add_line(&mut self, line: &str, vectors: &mut WordVectors) -> Result<()> {
        let place = format!("line {}", self.line);
        let fields: Vec<&str> = fields(line).collect();
        let numbers = fields.len().saturating_sub(1);
        // Some words of GloVe 840B hold spaces; more numbers than the first line has is an error.
        let extra = numbers.saturating_sub(vectors.dim);
        let wide = extra > 0
            && fields[1..=extra]
                .iter()
                .all(|field| field.parse::<f32>().is_ok());
        if numbers < vectors.dim || wide {
            let message = format!(
                "expected {} numbers as before, found {numbers}",
                vectors.dim
            );
            return Err(self.error(place, message));
        }
        let (word, numbers) = fields.split_at(fields.len() - vectors.dim);
        let mut row = Vec::with_capacity(vectors.dim);
        for field in numbers {
            match field.parse::<f32>() {
                Ok(number) if number.is_finite() => row.push(number),
                _ => return Err(self.error(place, format!("'{field}' is not a finite number"))),
            }
        }
        self.add(&word.join(" "), &row, vectors);
        Ok(())
    }

    fn read_binary(&mut self, count: u64, vectors: &mut WordVectors) -> Result<()> {
        let mut bytes = vec![0; vectors.dim * 4];
        for number in 1..=count {
            let place = format!("vector {number}");
            let mut word = Vec::new();
            let read = self
                .reader
                .by_ref()
                .take(MAX_WORD)
                .read_until(b' ', &mut word);
            read.map_err(|e| Error::read(self.path, e))?;
            if word.pop() != Some(b' ') {
                let message = format!(
                    "expected a word and a space; the file is cut short or damaged ({count} vectors promised)"
                );
                return Err(self.error(place, message));
            }
            if let Err(e) = self.reader.read_exact(&mut bytes) {
                if e.kind() != std::io::ErrorKind::UnexpectedEof {
                    return Err(Error::read(self.path, e));
                }
                let message = format!("the file ends inside it ({count} vectors promised)");
                return Err(self.error(place, message));
            }
            let row: Vec<f32> = bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect();
            if !row.iter().all(|x| x.is_finite()) {
                return Err(self.error(place, "a number is not finite; the file is damaged".into()));
            }
            self.add(String::from_utf8_lossy(&word).trim_start(), &row, vectors);
        }
        Ok(())
    }

    fn add(&mut self, word: &str, row: &[f32], vectors: &mut WordVectors) {
        vectors.in_file += 1;
        if vectors.rows.is_empty() {
            vectors.rows = vec![0.0; vectors.found.len() * vectors.dim];
        }
        let exact = self.tokenizer.id(word).map(|id| (id, true));
        let lower = || {
            self.tokenizer
                .id(&word.to_lowercase())
                .map(|id| (id, false))
        };
        let Some((id, exact)) = exact.or_else(lower) else {
            return;
        };
        let id = id as usize;
        if id >= vectors.found.len() || self.exact[id] || (vectors.found[id] && !exact) {
            return;
        }
        vectors.rows[id * vectors.dim..(id + 1) * vectors.dim].copy_from_slice(row);
        vectors.found[id] = true;
        self.exact[id] = exact;
    }
}

/// The word and the numbers: blanks or tabs stand between them, and no other space, which may be (in)
/// a word.
fn fields(line: &str) -> impl Iterator<Item = &str> {
    line.split([' ', '\t']).filter(|field| !field.is_empty())
}

/// `COUNT DIM`, and nothing else, is a header.
fn header(line: &str) -> Option<(u64, usize)> {
    let mut fields = fields(line);
    let header = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    fields.next().is_none().then_some(header)
}
