//! `melos man`.

use std::path::PathBuf;

use clap::{Args, Command};

use super::output;
use crate::error::{Error, Result};

/// Write man pages, one for each command.
#[derive(Debug, Args)]
pub struct Man {
    /// Folder for them, as ~/.local/share/man/man1; made where there is none.
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(self, program: Command) -> Result<()> {
        let folder = &self.folder;
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        // Its own help command would get pages of its own.
        let program = program.disable_help_subcommand(true);
        clap_mangen::generate_to(program, folder).map_err(|e| Error::write(folder, e))?;
        output::print(&format!("man pages in {}\n", folder.display()))
    }
}
