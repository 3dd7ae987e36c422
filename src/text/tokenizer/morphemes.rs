//! Japanese words: a dictionary of morphemes in MeCab's format, and text cut by it.
//!
//! The cut is MeCab's (Kudo, Yamamoto, Matsumoto, "Applying Conditional Random Fields to Japanese
//! Morphological Analysis", EMNLP 2004), computed by vibrato.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use tokenizers as hf;
use tokenizers::normalizer;
use tokenizers::{PreTokenizedString, PreTokenizer};
use vibrato::errors::VibratoError;

use super::lengths;
use crate::atomic::write_file_with;
use crate::bounded::{self, guarded};
use crate::text::corpus::hex;
use crate::{Error, Result};

/// The dictionary's file name, in a tokeniser's folder and in the cache folder.
pub const FILE: &str = "ipadic.morphemes";
const MAGIC: &[u8; 16] = b"MELOS MORPHEMES\x01";
/// MeCab groups at most so many characters to an unknown word.
const GROUPING: usize = 24;

/// A dictionary of morphemes.
#[derive(Clone)]
pub struct Dictionary {
    tokenizer: Arc<vibrato::Tokenizer>,
    hash: String,
    path: PathBuf,
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Dictionary({}, {})", self.path.display(), self.hash)
    }
}

fn damaged(path: &Path, problem: impl fmt::Display) -> Error {
    let problem = format!("{problem}; build the dictionary anew: {HOW}");
    Error::folder(path, problem)
}

const HOW: &str = "`apt-get install mecab-ipadic` (or unpack mecab-ipadic-2.7.0-20070801), then \
                   `melos tokenizer build-dictionary /usr/share/mecab/dic/ipadic`";

impl Dictionary {
    /// Reads a dictionary that [`build_dictionary`] wrote.
    ///
    /// # Errors
    /// [`Error::FileMissing`], [`Error::Io`]; [`Error::Folder`] when it is damaged or something
    /// else.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let bytes = bounded::read(&path, bounded::LARGE)?;
        let parts = bytes
            .split_at_checked(MAGIC.len())
            .filter(|(magic, _)| magic == MAGIC)
            .and_then(|(_, rest)| rest.split_at_checked(32));
        let Some((digest, payload)) = parts else {
            return Err(damaged(&path, "is no dictionary of melos"));
        };
        if Sha256::digest(payload)[..] != *digest {
            return Err(damaged(&path, "is damaged or cut short"));
        }
        if !lengths::are_true(payload) {
            return Err(damaged(&path, "does not hold what it says it holds"));
        }
        let open = || {
            let dictionary = vibrato::Dictionary::read(payload)?;
            let tokenizer = vibrato::Tokenizer::new(dictionary).ignore_space(true)?;
            Ok::<_, VibratoError>(tokenizer.max_grouping_len(GROUPING))
        };
        let tokenizer = guarded(open)
            .map_err(|panic| damaged(&path, panic))?
            .map_err(|e| damaged(&path, e))?;
        Ok(Self {
            tokenizer: Arc::new(tokenizer),
            hash: hex(digest),
            path,
        })
    }

    /// Opens `path`; without one the file that `MELOS_DICTIONARY` names, or the one in the cache
    /// folder, where `melos tokenizer build-dictionary` puts it.
    ///
    /// # Errors
    /// Those of [`Dictionary::open`]; [`Error::Folder`] that says how to build one when there is
    /// none.
    pub fn find(path: Option<&Path>) -> Result<Self> {
        let named = std::env::var_os("MELOS_DICTIONARY").filter(|name| !name.is_empty());
        if let Some(path) = path.map(PathBuf::from).or(named.map(PathBuf::from)) {
            return Self::open(path);
        }
        match default_path().filter(|path| path.exists()) {
            Some(path) => Self::open(path),
            None => Err(Error::Folder {
                path: default_path().unwrap_or_else(|| FILE.into()),
                problem: format!(
                    "no dictionary of morphemes, which Japanese text needs; build it once: {HOW} \
                     (or name one with --dictionary or MELOS_DICTIONARY)"
                ),
            }),
        }
    }

    /// sha256 of its content, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The morphemes of a text, as ranges of bytes; white space is in none.
    ///
    /// # Errors
    /// [`Error::Folder`] when the dictionary is damaged.
    pub fn cut(&self, text: &str) -> Result<Vec<Range<usize>>> {
        guarded(|| {
            let mut worker = self.tokenizer.new_worker();
            worker.reset_sentence(text);
            worker.tokenize();
            worker.token_iter().map(|t| t.range_byte()).collect()
        })
        .map_err(|panic| damaged(&self.path, panic))
    }
}

/// Where a dictionary is looked for when none is named.
pub fn default_path() -> Option<PathBuf> {
    crate::cache::cache_folder().map(|folder| folder.join(FILE))
}

/// Builds a dictionary from a folder of MeCab's sources (`*.csv`, `matrix.def`, `char.def`,
/// `unk.def`, in EUC-JP or UTF-8) and writes it to `out`. Returns the number of words.
///
/// # Errors
/// [`Error::FileMissing`], [`Error::Io`], [`Error::DiskFull`]; [`Error::Folder`] when the
/// sources cannot be understood.
pub fn build_dictionary(folder: &Path, out: &Path) -> Result<usize> {
    if !folder.is_dir() {
        return Err(Error::FileMissing {
            path: folder.to_owned(),
        });
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::read(folder, e))? {
        let path = entry.map_err(|e| Error::read(folder, e))?.path();
        if path.extension().is_some_and(|end| end == "csv") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        let problem = format!("holds no .csv of a MeCab dictionary's sources; {HOW}");
        return Err(Error::folder(folder, problem));
    }
    let mut lexicon = String::new();
    for file in &files {
        lexicon += &read_japanese(file)?;
        if !lexicon.ends_with('\n') {
            lexicon.push('\n');
        }
    }
    let [matrix, characters, unknown] =
        ["matrix.def", "char.def", "unk.def"].map(|name| read_japanese(&folder.join(name)));
    let (matrix, characters, unknown) = (matrix?, characters?, unknown?);
    let incomplete = |problem: &dyn fmt::Display| {
        let problem =
            format!("cannot be built into a dictionary ({problem}); are the sources complete?");
        Error::folder(folder, problem)
    };
    check_matrix(&matrix).map_err(|problem| incomplete(&problem))?;
    let build = || {
        let dictionary = vibrato::SystemDictionaryBuilder::from_readers(
            lexicon.as_bytes(),
            matrix.as_bytes(),
            characters.as_bytes(),
            unknown.as_bytes(),
        )?;
        let mut payload = Vec::new();
        dictionary.write(&mut payload)?;
        Ok::<_, VibratoError>(payload)
    };
    let payload = guarded(build)
        .map_err(|panic| incomplete(&panic))?
        .map_err(|e| incomplete(&e))?;
    if let Some(parent) = out.parent() {
        std::fs::create_dir_all(parent).map_err(|e| Error::write(parent, e))?;
    }
    write_file_with(out, |file| {
        file.write_all(MAGIC)?;
        file.write_all(&Sha256::digest(&payload))?;
        file.write_all(&payload)
    })?;
    Ok(lexicon.lines().count())
}

/// Costs that a matrix may have in any case.
const COSTS: u64 = 1 << 24;

/// Refuses a `matrix.def` whose first line promises many costs that do not follow.
fn check_matrix(text: &str) -> std::result::Result<(), String> {
    let mut lines = text.lines();
    let sides = lines.next().unwrap_or_default().split(' ');
    let sides: Option<Vec<u64>> = sides.map(|side| side.parse().ok()).collect();
    let Some([right, left]) = sides.as_deref() else {
        return Err("matrix.def does not begin with two numbers".into());
    };
    let (costs, lines) = (right.saturating_mul(*left), lines.count() as u64);
    if costs > lines.max(COSTS) {
        return Err(format!("matrix.def promises {costs} costs and has {lines}"));
    }
    Ok(())
}

/// A source file, in UTF-8 or EUC-JP.
fn read_japanese(path: &Path) -> Result<String> {
    let bytes = bounded::read(path, bounded::LARGE)?;
    let error = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    let (text, _, wrong) = encoding_rs::EUC_JP.decode(error.as_bytes());
    if wrong {
        let problem = "is neither UTF-8 nor EUC-JP; convert it with `iconv -t UTF-8`";
        return Err(Error::folder(path, problem));
    }
    Ok(text.into_owned())
}

/// Cuts text in morphemes.
#[derive(Clone, Debug)]
pub(super) struct Morphemes {
    pub(super) dictionary: Dictionary,
    /// Lower-case each of them.
    pub(super) lowercase: bool,
    /// White space that the dictionary takes for a word is one: what cuts morphemes in pieces drops
    /// it, what cuts them in characters does not.
    pub(super) space_is_text: bool,
}

/// White space as Python has it.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// The parts of a morpheme between white space, as ranges of bytes.
fn without_space(text: &str, morpheme: Range<usize>) -> Vec<Range<usize>> {
    let inside = &text[morpheme.clone()];
    let words = inside.split(is_space).filter(|word| !word.is_empty());
    let start = |word: &str| morpheme.start + word.as_ptr() as usize - inside.as_ptr() as usize;
    words
        .map(|word| start(word)..start(word) + word.len())
        .collect()
}

impl PreTokenizer for Morphemes {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> hf::Result<()> {
        text.split(|_, text| {
            let mut cut = self.dictionary.cut(text.get())?;
            if !self.space_is_text {
                let whole = text.get();
                let words = cut.into_iter().flat_map(|word| without_space(whole, word));
                cut = words.collect();
            }
            let mut parts = Vec::with_capacity(cut.len());
            for range in cut {
                let mut part = text
                    .slice(normalizer::Range::Normalized(range))
                    .ok_or("a morpheme is not within its text")?;
                if self.lowercase {
                    part.lowercase();
                }
                parts.push(part);
            }
            Ok(parts)
        })
    }
}

impl Serialize for Morphemes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Morphemes", 3)?;
        fields.serialize_field("type", "Morphemes")?;
        fields.serialize_field("dictionary", &self.dictionary.hash)?;
        fields.serialize_field("lowercase", &self.lowercase)?;
        fields.end()
    }
}
