//! The command line: one file per command, each a thin layer over [`train`](crate::train).

mod bars;
mod boundary;
mod chat;
mod choice;
mod completions;
mod convert;
mod data;
mod devices;
mod doctor;
mod embed;
mod eval;
pub mod exit;
mod fill_mask;
mod generate;
mod input;
mod inspect;
mod kernels;
mod lr_find;
mod man;
mod merge;
mod model_options;
mod output;
mod predict;
mod presets;
mod profile;
mod readable;
mod report;
mod run_options;
mod runs;
mod sampling_options;
mod sheet;
mod signals;
mod tokenizer;
mod train;
mod tune;
mod words;

use std::io::Write;
use std::process::{ExitCode, Termination};

use clap::{CommandFactory, Parser, Subcommand};

use crate::error::Result;

/// Pretrain and fine-tune language models on any GPU.
#[derive(Debug, Parser)]
#[command(name = "melos", version, about, after_help = exit::HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// All commands, each said once: its name, the struct of its arguments, and what else it is given.
macro_rules! commands {
    ($($name:ident($arguments:ty) $(with $more:expr)?),* $(,)?) => {
        #[derive(Debug, Subcommand)]
        enum Command {
            $($name($arguments),)*
        }

        impl Command {
            fn run(self) -> Result<ExitCode> {
                match self {
                    $(Command::$name(command) => command.run($($more)?).map(Termination::report),)*
                }
            }
        }
    };
}

commands! {
    Train(train::Train),
    Eval(eval::Eval),
    Predict(predict::Predict),
    FillMask(fill_mask::FillMask),
    Generate(generate::Generate),
    Chat(chat::Chat),
    Embed(embed::Embed),
    Inspect(inspect::Inspect),
    Convert(convert::Convert),
    Merge(merge::Merge),
    Devices(devices::Devices),
    Doctor(doctor::Doctor),
    Kernels(kernels::Kernels),
    Presets(presets::Presets),
    Report(report::ReportCommand),
    Runs(runs::Runs),
    Data(data::Data),
    Profile(profile::Profile),
    LrFind(lr_find::LrFind),
    Tune(tune::Tune),
    Tokenizer(tokenizer::TokenizerCommand),
    Completions(completions::Completions) with Cli::command(),
    Man(man::Man) with Cli::command(),
}

/// Runs the program that the arguments ask for; the codes are those of [`exit`].
pub fn main() -> ExitCode {
    boundary::run(program)
}

fn program() -> ExitCode {
    // Warnings by default; RUST_LOG=melos=debug for more. The library warns of vocabularies with gaps,
    // which are real and kept.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(
        "warn,melos::text::corpus=info,melos::text::chat=info,tokenizers::models=error",
    ))
    // As the crate itself writes them, but readable, and without the time, which progress tells.
    .format(|out, record| {
        let style = out.default_level_style(record.level());
        let level = record.level();
        let text = readable::message(&record.args().to_string());
        let target = record.target();
        writeln!(out, "[{style}{level:<5}{style:#} {target}] {text}")
    })
    .init();
    signals::outlive_file_limits();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            // Help and version come this way too, with code 0.
            let _ = message.print();
            return ExitCode::from(if message.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    output::keep_for_results();
    cli.command.run().unwrap_or_else(|error| {
        output::report(&error);
        ExitCode::from(exit::code(&error))
    })
}
