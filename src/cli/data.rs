//! `melos data preview`.

use clap::{Args, Subcommand};

use super::output;
use super::run_options::RunOptions;
use crate::error::Result;
use crate::train::preview;

/// Look at data as training reads them.
#[derive(Debug, Args)]
pub struct Data {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Preview(Preview),
}

impl Data {
    pub(super) fn run(self) -> Result<()> {
        match self.action {
            Action::Preview(command) => command.run(),
        }
    }
}

/// Show a few conversations token by token, with what is learned of them, and how many are cut.
#[derive(Debug, Args)]
struct Preview {
    #[command(flatten)]
    options: RunOptions,
    /// Conversations to show.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rows: usize,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

impl Preview {
    fn run(self) -> Result<()> {
        let preview = preview::preview(&self.options.config()?, self.rows)?;
        output::show(self.json, &preview, || preview.text())
    }
}
