//! `melos kernels`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::output;
use crate::error::Result;
use crate::kernels::{Target, catalogue};
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
        /// Who is to compile the WGSL.
        #[arg(long, value_name = "WHO", default_value = "web")]
        target: TargetName,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TargetName {
    /// Browsers, Dawn and Tint.
    Web,
    /// naga 30, as native wgpu has it.
    Naga,
}

impl Kernels {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::List => {
                let names: String = catalogue::iter().map(|k| format!("{}\n", k.name)).collect();
                output::print(&names)?;
            }
            Command::Export { dir, target } => {
                let target = match target {
                    TargetName::Web => Target::Web,
                    TargetName::Naga => Target::Naga,
                };
                let manifest = export(&dir, target)?;
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
