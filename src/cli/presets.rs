//! `melos presets`.

use clap::{Args, Subcommand};

use super::output;
use crate::error::Result;
use crate::train::config::{Overrides, PRESETS, preset};

/// The run files that come with melos.
#[derive(Debug, Args)]
pub struct Presets {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List them (the default).
    List,
    /// Print one, to start a run file of your own from.
    Show {
        /// Its name.
        name: String,
    },
}

impl Presets {
    pub(super) fn run(self) -> Result<()> {
        match self.command.unwrap_or(Command::List) {
            Command::List => {
                let mut text = String::new();
                for preset in PRESETS {
                    let config = preset.config(&Overrides::default())?;
                    text += &format!("{:14} {}\n", preset.name, config.description);
                }
                output::print(&text)
            }
            Command::Show { name } => output::print(preset(&name)?.text),
        }
    }
}
