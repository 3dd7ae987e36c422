//! `melos completions`.

use clap::{Args, Command};
use clap_complete::Shell;

use super::output;
use crate::error::Result;

/// Print what teaches a shell to complete melos's commands.
///
/// bash: melos completions bash > ~/.local/share/bash-completion/completions/melos
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, mut program: Command) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, "melos", &mut script);
        output::print(&String::from_utf8_lossy(&script))
    }
}
