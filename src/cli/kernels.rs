//! `melos kernels`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::output;
use crate::error::Result;
use crate::kernels::catalogue;
use crate::translate::export;

/// The kernel catalogue, for use in another engine.
#[derive(Debug, Args)]
pub struct Kernels {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the kernels.
    List,
    /// Write every kernel as WGSL, SPIR-V, MSL and HLSL, with contracts and a manifest.
    Export {
        /// Folder to write to; made where it is not there.
        dir: PathBuf,
    },
}

impl Kernels {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::List => {
                let names: String = catalogue::iter().map(|k| format!("{}\n", k.name)).collect();
                output::print(&names)?;
            }
            Command::Export { dir } => {
                let manifest = export(&dir)?;
                output::print(&format!(
                    "{} kernel variants in {}\n",
                    manifest.kernels.len(),
                    dir.display()
                ))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
