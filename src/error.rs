//! The one error type of melos. Each variant names what was being done, what was expected,
//! what was found and what to do about it.

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
}
