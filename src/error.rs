//! The one error type of melos. Each variant names what was being done, what was expected,
//! what was found and what to do about it.

use std::path::PathBuf;

use crate::kernels::KernelError;

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
    /// The adapter has no 16-bit floats.
    #[error(
        "precision \"f16\" needs 16-bit floats in shaders, which {adapter} lacks; leave precision at \
         \"f32\", or choose another adapter (`melos devices` says which have f16)"
    )]
    NoHalf {
        /// The adapter and its driver.
        adapter: String,
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
    /// The device has no memory left, or the run has reached its limit.
    #[error(
        "{adapter} has no memory left: {bytes} bytes were asked for beside the {held} bytes in use; \
         use a smaller batch or shorter texts, or leave it to fewer programs"
    )]
    OutOfMemory {
        /// Adapter name.
        adapter: String,
        /// Bytes asked for.
        bytes: u64,
        /// Bytes that the context had allocated before.
        held: u64,
    },
    /// A kernel was asked for or dispatched in a way its contract does not allow.
    #[error("kernel '{kernel}': {message}")]
    Kernel {
        /// Kernel name, as in the catalogue.
        kernel: String,
        /// What is wrong.
        message: String,
    },

    /// The kernel catalogue: a shader or contract that is damaged, an export that failed.
    #[error(transparent)]
    Catalogue(#[from] KernelError),

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
    /// A model's configuration that is damaged or describes what cannot be built.
    #[error("config.json: {field} {message}")]
    ModelConfig {
        /// The field.
        field: &'static str,
        /// What is wrong and what was expected.
        message: String,
    },

    // text
    /// A file or folder that the user named is not there.
    #[error("no such file or folder: '{path}'; check the path")]
    FileMissing {
        /// The path.
        path: PathBuf,
    },
    /// A text file is not UTF-8.
    #[error("'{path}' is not UTF-8 at line {line} (byte {offset}); {remedy}")]
    NotUtf8 {
        /// The file, or `archive: entry`.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// Offset in bytes of the first bad byte (in a csv: of its row) in the uncompressed file.
        offset: u64,
        /// What it looks like, and what to do.
        remedy: String,
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
        "'{path}' has no {role} column{wanted}; it has: {available}; name one by {by}: --{role} COLUMN, or data.{role}_column in a run file"
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
        /// What names a column.
        by: &'static str,
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
        "{what} needs labelled examples of two classes or more, found {found}; check the label column, or, in a folder of texts or pictures, that each class has a folder of its own"
    )]
    NoLabels {
        /// What needs them.
        what: String,
        /// The classes found.
        found: String,
    },
    /// A class has no example, or too few.
    #[error("class '{class}' has {found} of the {needed} examples needed in {place}; {remedy}")]
    EmptyClass {
        /// The class.
        class: String,
        /// Where it was counted.
        place: String,
        /// Examples needed.
        needed: usize,
        /// Examples found.
        found: usize,
        /// What to do.
        remedy: String,
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

    // train
    /// A run file or preset is not TOML.
    #[error("{file} is not valid TOML: {message}")]
    ConfigSyntax {
        /// The run file, preset or override.
        file: String,
        /// The parser's message, with line and column.
        message: String,
    },
    /// A key that the run file's schema does not have.
    #[error("unknown key '{key}' in {place}{}; known: {known}", suggestion.as_ref().map_or(String::new(), |s| format!(": did you mean '{s}'?")))]
    ConfigUnknownKey {
        /// Where the key stands, as `stage.finetune.optimizer`.
        place: String,
        /// The key.
        key: String,
        /// The nearest known key.
        suggestion: Option<String>,
        /// Every key allowed there.
        known: String,
    },
    /// A value of the wrong type.
    #[error("{place} should be {expected}, found {found}")]
    ConfigType {
        /// The key's full path.
        place: String,
        /// What the schema wants.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A key that must be there is missing.
    #[error("{place} needs the key '{key}'")]
    ConfigMissing {
        /// The table it belongs to.
        place: String,
        /// The key.
        key: String,
    },
    /// A value that the schema allows and the run cannot use.
    #[error("{place}: {message}")]
    ConfigValue {
        /// The key's full path.
        place: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// A name (preset, scale, stage) that does not exist.
    #[error("there is no {what} '{name}'{}; there is: {known}", suggestion.as_ref().map_or(String::new(), |s| format!(": did you mean '{s}'?")))]
    UnknownName {
        /// What was being named.
        what: &'static str,
        /// The name given.
        name: String,
        /// The nearest one.
        suggestion: Option<String>,
        /// All of them.
        known: String,
    },
    /// The loss or a parameter stopped being a number.
    #[error(
        "training diverged in '{unit}': {what} at step {step} is {value}; {}; lower the learning \
         rate, set clip_norm, or lengthen the warm-up (`--set stage.NAME.lr=…`)",
        match checkpoint {
            Some(dir) => format!("the last good checkpoint is {}", dir.display()),
            None => "no checkpoint had been written yet".to_string(),
        }
    )]
    Diverged {
        /// Stage and repeat, as `scratch.2`.
        unit: String,
        /// What is not finite: the loss, or a parameter's name.
        what: String,
        /// The step it was seen at.
        step: u64,
        /// The value: NaN or an infinity.
        value: f32,
        /// The last checkpoint known to be finite.
        checkpoint: Option<PathBuf>,
    },
    /// A stage whose budget or data give no training step.
    #[error("stage '{unit}' has no step to train: {reason}")]
    NoSteps {
        /// Stage and repeat.
        unit: String,
        /// Why.
        reason: String,
    },
    /// A run that does not fit the adapter, found before anything is allocated.
    #[error(
        "stage '{stage}' does not fit the adapter: {message}; lower batch, bptt, max_len or vocabulary, or use --scale small"
    )]
    DoesNotFit {
        /// Stage name.
        stage: String,
        /// What is too large, with both numbers.
        message: String,
    },
    /// A number that a measurement cannot be computed from.
    #[error("cannot compute {what}: {message}")]
    Metric {
        /// The measurement.
        what: &'static str,
        /// What is wrong.
        message: String,
    },

    // files
    /// Reading or writing failed.
    #[error(
        "cannot {action} {}; check that it {}",
        path.display(),
        if *action == "read" { "is readable and complete" } else { "lies in a folder that is there and writable" }
    )]
    Io {
        /// What was being done: read, write, create, rename.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// No room left: on the disk, or under the limit that the system sets to files.
    #[error(
        "{}: cannot {action} {}; nothing was left half-written; {} and resume",
        if is_limit(source) { "the limit on the size of files is reached" } else { "the disk is full" },
        path.display(),
        if is_limit(source) { "raise it (`ulimit -f`)" } else { "free some space" }
    )]
    DiskFull {
        /// What was being done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A safetensors file that cannot be read, or that does not hold what is expected.
    #[error("{}{}: {problem}", file.display(), tensor.as_ref().map_or(String::new(), |t| format!(", tensor '{t}'")))]
    TensorFile {
        /// The file.
        file: PathBuf,
        /// The tensor concerned, where it is one.
        tensor: Option<String>,
        /// What is wrong.
        problem: String,
    },
    /// A checkpoint, run folder or model folder that is incomplete or belongs to something else.
    #[error("{}: {problem}", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// Whether it was the limit on the size of files that ended a write.
fn is_limit(source: &std::io::Error) -> bool {
    source.kind() == std::io::ErrorKind::FileTooLarge
}

impl Error {
    /// The error of a failed read: a missing file is named as such.
    pub fn read(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            std::io::ErrorKind::NotFound => Error::FileMissing { path },
            _ => Error::io("read", path, source),
        }
    }

    /// The error of a failed write: a full disk is named as such.
    pub fn write(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::io("write", path, source)
    }

    /// An [`Error::Io`], or [`Error::DiskFull`] where that is the reason.
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let path = path.into();
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::DiskFull {
                action,
                path,
                source,
            },
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    pub(crate) fn argument(
        op: &'static str,
        arg: &'static str,
        value: impl ToString,
        expected: &'static str,
    ) -> Self {
        Self::Argument {
            op,
            arg,
            value: value.to_string(),
            expected,
        }
    }

    pub(crate) fn kernel(kernel: impl ToString, message: impl ToString) -> Self {
        let (kernel, message) = (kernel.to_string(), message.to_string());
        Self::Kernel { kernel, message }
    }

    pub(crate) fn parameter(name: impl ToString, message: impl ToString) -> Self {
        let (name, message) = (name.to_string(), message.to_string());
        Self::Parameter { name, message }
    }

    pub(crate) fn value(place: impl ToString, message: impl ToString) -> Self {
        let (place, message) = (place.to_string(), message.to_string());
        Self::ConfigValue { place, message }
    }

    pub(crate) fn folder(path: impl Into<PathBuf>, problem: impl ToString) -> Self {
        let (path, problem) = (path.into(), problem.to_string());
        Self::Folder { path, problem }
    }
}

/// What a panic said, in one line.
#[cfg(feature = "gpu")]
pub(crate) fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("it stopped without a word");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
