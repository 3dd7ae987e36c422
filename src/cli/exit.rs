//! Exit codes: one table, printed by `--help` and used by [`code`].

use crate::error::Error;
use crate::kernels::KernelError;

/// Something inside melos or the driver went wrong.
pub const INTERNAL: u8 = 1;
/// A wrong argument or run file.
pub const USAGE: u8 = 2;
/// No adapter, not the one asked for, or one without f16.
pub const ADAPTER: u8 = 3;
/// Data that cannot be used.
pub const DATA: u8 = 4;
/// Files: not there, damaged, not writable, disk full.
pub const FILES: u8 = 5;
/// The loss or a parameter is NaN or infinite.
pub const DIVERGED: u8 = 6;
/// Larger than the adapter allows.
pub const TOO_LARGE: u8 = 7;
/// Ctrl-C or SIGTERM; 128 + 2, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// The table for `--help`.
pub const HELP: &str = "\
Exit codes:
    0  done
    1  internal error, or the driver failed
    2  wrong arguments or run file
    3  no GPU adapter, not the one asked for, or one without f16 where it is needed
    4  data that cannot be used
    5  files: missing, damaged, not writable, disk full
    6  training diverged (NaN or infinite loss)
    7  does not fit the adapter
  130  interrupted (Ctrl-C, SIGTERM)";

/// The exit code of an error.
pub fn code(error: &Error) -> u8 {
    match error {
        Error::NoAdapter { .. } | Error::UnknownAdapter { .. } | Error::NoHalf { .. } => ADAPTER,
        Error::TooLarge { .. } | Error::OutOfMemory { .. } | Error::DoesNotFit { .. } => TOO_LARGE,
        Error::ConfigSyntax { .. }
        | Error::ConfigUnknownKey { .. }
        | Error::ConfigType { .. }
        | Error::ConfigMissing { .. }
        | Error::ConfigValue { .. }
        | Error::UnknownName { .. } => USAGE,
        // A column that the user named, and one that nothing says.
        Error::ColumnMissing { wanted, .. } if !wanted.is_empty() => USAGE,
        // What the user wrote on the command line or in a run file, refused by what reads it.
        Error::Argument {
            op: "fill-mask" | "generate" | "chat" | "embed" | "predict",
            ..
        } => USAGE,
        Error::NoSteps { .. }
        | Error::Metric { .. }
        | Error::NotUtf8 { .. }
        | Error::EmptyText { .. }
        | Error::MalformedRow { .. }
        | Error::ColumnMissing { .. }
        | Error::UnknownFormat { .. }
        | Error::NoLabels { .. }
        | Error::EmptyClass { .. }
        | Error::UnseenLabel { .. }
        | Error::Vectors { .. } => DATA,
        Error::Io { .. }
        | Error::FileMissing { .. }
        | Error::Tokenizer { .. }
        | Error::Catalogue(KernelError::Write { .. })
        | Error::DiskFull { .. }
        | Error::TensorFile { .. }
        | Error::ModelConfig { .. }
        | Error::Folder { .. } => FILES,
        Error::Diverged { .. } => DIVERGED,
        _ => INTERNAL,
    }
}
