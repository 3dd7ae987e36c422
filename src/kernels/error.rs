//! Errors of the catalogue layer. Kept apart from `melos::Error` so that an engine which
//! embeds only the kernels sees only what can go wrong there.

/// Result with [`KernelError`].
pub type Result<T, E = KernelError> = std::result::Result<T, E>;

/// What can go wrong between a kernel's name and its shader text.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// No kernel of that name.
    #[error("no kernel named '{name}' in the catalogue; `melos kernels list` shows them")]
    UnknownKernel {
        /// The name asked for.
        name: String,
    },
    /// A shader's text does not preprocess with the variant given.
    #[error("{file}:{line}: {message}")]
    Preprocess {
        /// Shader or include file.
        file: String,
        /// Line in that file, from 1.
        line: u32,
        /// What is wrong and what to do.
        message: String,
    },
    /// A variant has a key that the kernel does not know.
    #[error("kernel '{kernel}' knows no constant or flag '{key}'; it has: {known}")]
    UnknownKey {
        /// Kernel or file.
        kernel: String,
        /// The key given.
        key: String,
        /// The keys there are.
        known: String,
    },
    /// The WGSL of [`Target::Web`](super::Target::Web) cannot say what a kernel does.
    #[error(
        "kernel '{kernel}' has no text for browsers, whose WGSL has no cooperative matrices; take Target::Naga, \
         or a kernel of the same family without them"
    )]
    NotForTarget {
        /// Kernel.
        kernel: String,
    },
    /// A kernel's WGSL and notes do not make a contract: something is missing or contradicts itself.
    #[error("contract of kernel '{kernel}': {message}")]
    Contract {
        /// Kernel.
        kernel: String,
        /// What is wrong.
        message: String,
    },
    /// naga refused the expanded text or a back end could not write it.
    #[error("kernel '{kernel}' ({stage}): {message}")]
    Translate {
        /// Kernel.
        kernel: String,
        /// parse, validate, spir-v, msl or hlsl.
        stage: &'static str,
        /// naga's message, with the place in the expanded text.
        message: String,
    },
    /// A file of an export could not be written.
    #[error("cannot write {path}: {message}")]
    Write {
        /// The file or folder.
        path: String,
        /// The system's message.
        message: String,
    },
}
