//! `melos runs`.

use std::io::{IsTerminal, stdin};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::output;
use crate::error::{Error, Result};
use crate::train::artifacts::runs::{RunSummary, runs};
use crate::train::progress::thousands;
use crate::train::report::markdown;

/// List runs with their results, or free the space of their checkpoints.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Runs {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Args)]
struct List {
    /// Folder with run folders, or one run's.
    #[arg(default_value = "runs")]
    folder: PathBuf,
    /// One JSON object per run.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Remove the checkpoints of stages that are done; models and results stay, and so does what a
    /// resume goes on from.
    Clean(Clean),
}

#[derive(Debug, Args)]
struct Clean {
    /// Folders with run folders, or single runs' [default: runs].
    #[arg(default_value = "runs")]
    folders: Vec<PathBuf>,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

impl Runs {
    pub(super) fn run(self) -> Result<()> {
        match self.command {
            Some(Command::Clean(clean)) => clean.run(),
            None => self.list.run(),
        }
    }
}

impl List {
    fn run(self) -> Result<()> {
        let runs = runs(&self.folder)?;
        if self.json {
            return runs.iter().try_for_each(output::print_json);
        }
        if runs.is_empty() {
            output::note(&format!("no runs in {}", self.folder.display()));
            return Ok(());
        }
        let head = [
            "run",
            "state",
            "best model",
            "its score",
            "seconds",
            "spare MB",
        ];
        let head = head.map(String::from).to_vec();
        let rows = runs.iter().map(|run| {
            let score = run.best.map(|m| format!("{} {}", m.name, m.shown()));
            vec![
                run.folder.display().to_string(),
                state(run),
                run.model
                    .as_deref()
                    .unwrap_or("–")
                    .trim_end_matches("/model")
                    .into(),
                score.unwrap_or("–".into()),
                thousands(run.seconds),
                thousands(run.spare as f64 / 1e6),
            ]
        });
        let table: Vec<Vec<String>> = [head].into_iter().chain(rows).collect();
        output::print(&markdown(&table))
    }
}

fn state(run: &RunSummary) -> String {
    match (run.running, run.done == run.units) {
        (true, _) => format!("running, {} of {}", run.done, run.units),
        (false, true) => "done".into(),
        (false, false) => format!("stopped, {} of {}", run.done, run.units),
    }
}

impl Clean {
    fn run(self) -> Result<()> {
        let mut found = Vec::new();
        for folder in &self.folders {
            found.extend(runs(folder)?);
        }
        found.retain(|run| run.spare > 0 && !run.running);
        if found.is_empty() {
            output::note("nothing to remove");
            return Ok(());
        }
        for run in &found {
            let (folder, megabytes) = (run.folder.display(), run.spare as f64 / 1e6);
            output::note(&format!("{folder}: checkpoints of {megabytes:.1} MB"));
        }
        if !self.yes && !agreed()? {
            output::note("nothing removed");
            return Ok(());
        }
        found.iter().try_for_each(RunSummary::clean)?;
        let sum: u64 = found.iter().map(|run| run.spare).sum();
        output::print(&format!("{:.1} MB freed\n", sum as f64 / 1e6))
    }
}

/// Whether the user says yes.
fn agreed() -> Result<bool> {
    if !stdin().is_terminal() {
        let message = "is needed where nobody can be asked";
        return Err(Error::value("--yes", message));
    }
    output::note("Remove them? Models and results stay. [y/N]");
    let mut answer = String::new();
    let read = stdin().read_line(&mut answer);
    read.map_err(|e| Error::io("read", "standard input", e))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
