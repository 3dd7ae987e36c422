//! The one error type of melos. Each variant names what was being done, what was expected,
//! what was found and what to do about it.

use std::path::PathBuf;

/// Result with melos's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in melos.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // device
    /// No adapter answered at all.
    #[error(
        "no GPU adapter found (looked for {looked_for}); install a driver, or the software one: \
         Debian/Ubuntu `apt-get install mesa-vulkan-drivers`, or run through tools/with-vulkan"
    )]
    NoAdapter {
        /// The backends that were asked.
        looked_for: String,
    },
    /// The adapter that was asked for is not there.
    #[error("adapter '{wanted}' not found; available: {available}; `melos devices` lists them")]
    UnknownAdapter {
        /// Name fragment or index the user gave.
        wanted: String,
        /// What there is.
        available: String,
    },
    /// The driver refused to open the device or failed while it was used.
    #[error("device '{adapter}': {message}")]
    Device {
        /// Adapter name.
        adapter: String,
        /// The driver's or wgpu's message.
        message: String,
    },
    /// A tensor or buffer is larger than the adapter allows.
    #[error(
        "{what} needs {bytes} bytes, more than the {limit} bytes this adapter allows for {limit_name}; \
         use a smaller batch, sequence or vocabulary"
    )]
    TooLarge {
        /// What was being allocated or bound.
        what: String,
        /// Bytes needed.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
        /// The limit's name.
        limit_name: &'static str,
    },
    /// A kernel was asked for or dispatched in a way its contract does not allow.
    #[error("kernel '{kernel}': {message}")]
    Kernel {
        /// Kernel name, as in the catalogue.
        kernel: String,
        /// What is wrong.
        message: String,
    },

    // tensors and operators
    /// An operator's argument has the wrong shape.
    #[error("{op}: argument '{arg}' should have shape {expected}, found {found}")]
    Shape {
        /// Operator.
        op: &'static str,
        /// Argument name.
        arg: &'static str,
        /// Expected shape, in words or numbers.
        expected: String,
        /// The shape found.
        found: String,
    },
    /// An operator's argument has the wrong element type.
    #[error("{op}: argument '{arg}' should hold {expected}, found {found}")]
    DType {
        /// Operator.
        op: &'static str,
        /// Argument name.
        arg: &'static str,
        /// Expected type.
        expected: &'static str,
        /// Type found.
        found: &'static str,
    },
    /// An operator's number is out of its range.
    #[error("{op}: {arg} = {value} is out of range; expected {expected}")]
    Argument {
        /// Operator.
        op: &'static str,
        /// Argument name.
        arg: &'static str,
        /// The value given.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A parameter name that the model does not have, or one it has twice.
    #[error("parameter '{name}': {message}")]
    Parameter {
        /// Full parameter name.
        name: String,
        /// What is wrong.
        message: String,
    },

    // text
    /// A file or folder that the user named is not there.
    #[error("no such file or folder: '{path}'; check the path")]
    FileMissing {
        /// The path.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot read '{path}'; check that it is readable and complete")]
    FileRead {
        /// The file, or `archive: entry`.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write '{path}'; check that the folder exists and is writable")]
    FileWrite {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The disk or the quota is full. What was half written has been removed.
    #[error(
        "no space left on the disk while writing '{path}'; free some space or choose another folder"
    )]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
    },
    /// A text file is not UTF-8.
    #[error(
        "'{path}' is not UTF-8 at line {line} (byte {offset}); convert it, e.g. \
         `iconv -f WINDOWS-1252 -t UTF-8`"
    )]
    NotUtf8 {
        /// The file, or `archive: entry`.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// Offset in bytes of the first bad byte (in a csv: of its row) in the uncompressed file.
        offset: u64,
    },
    /// A corpus holds no text at all.
    #[error("'{path}' holds no text; expected at least one document")]
    EmptyText {
        /// The file or folder.
        path: PathBuf,
    },
    /// A row of a csv, tsv or jsonl file cannot be understood.
    #[error("'{path}' line {line}: {message}")]
    MalformedRow {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// What is wrong and what was expected.
        message: String,
    },
    /// A column that was asked for, or is needed, is not in the file.
    #[error(
        "'{path}' has no {role} column{wanted}; its columns are: {available}; name one by its header or number (from 0)"
    )]
    ColumnMissing {
        /// The file.
        path: PathBuf,
        /// `text` or `label`.
        role: &'static str,
        /// ` 'name'` when the user asked for one, else empty.
        wanted: String,
        /// The columns there are.
        available: String,
    },
    /// The format of a corpus cannot be told from its path.
    #[error("cannot tell the format of '{path}': {message}")]
    UnknownFormat {
        /// The path.
        path: PathBuf,
        /// What was looked for and what to do.
        message: String,
    },
    /// A corpus that should be labelled is not.
    #[error(
        "{what} needs labelled examples of two classes or more, found {found}; check the label column, or that the data are labelled"
    )]
    NoLabels {
        /// What needs them.
        what: String,
        /// The classes found.
        found: String,
    },
    /// A class has no example, or too few.
    #[error(
        "class '{class}' has {found} examples in {place}, {needed} or more are needed; add examples or ask for fewer"
    )]
    EmptyClass {
        /// The class.
        class: String,
        /// Where it was counted.
        place: String,
        /// Examples needed.
        needed: usize,
        /// Examples found.
        found: usize,
    },
    /// A label of the evaluation data never occurs in the training data.
    #[error(
        "label '{label}' in {place} never occurs in the training examples (their labels: {known}); correct the label or add training examples for it"
    )]
    UnseenLabel {
        /// The label.
        label: String,
        /// Where it was found.
        place: String,
        /// The labels of the training examples.
        known: String,
    },
    /// A tokeniser cannot be trained, read or written.
    #[error("tokeniser '{path}': {message}")]
    Tokenizer {
        /// The file, or a name for a tokeniser that is in memory.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// A file of word vectors cannot be understood.
    #[error("word vectors '{path}', {place}: {message}")]
    Vectors {
        /// The file.
        path: PathBuf,
        /// `line N` or `vector N`.
        place: String,
        /// What is wrong and what was expected.
        message: String,
    },
}

impl Error {
    /// The error of a failed read: a missing file is named as such.
    pub fn read(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            std::io::ErrorKind::NotFound => Error::FileMissing { path },
            _ => Error::FileRead { path, source },
        }
    }

    /// The error of a failed write: a full disk is named as such.
    pub fn write(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let path = path.into();
        match source.kind() {
            StorageFull | QuotaExceeded => Error::DiskFull { path },
            _ => Error::FileWrite { path, source },
        }
    }
}
