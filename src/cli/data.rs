//! `melos data preview`.

use clap::{Args, Subcommand};

use super::output;
use super::run_options::RunOptions;
use crate::error::Result;
use crate::train::config::Source;
use crate::train::{preview, preview_pictures};

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

/// Show a few conversations token by token, with what is learned of them, and how many are cut; or a few pictures as
/// the model reads them, in signs.
#[derive(Debug, Args)]
struct Preview {
    #[command(flatten)]
    options: RunOptions,
    /// Conversations or pictures to show.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rows: usize,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

impl Preview {
    fn run(self) -> Result<()> {
        let config = self.options.config()?;
        if config.data.source == Source::Images {
            let preview = preview_pictures::preview(&config, self.rows)?;
            return output::show(self.json, &preview, || preview.text());
        }
        let preview = preview::preview(&config, self.rows)?;
        output::show(self.json, &preview, || preview.text())
    }
}
