//! `melos chat`.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use clap::Args;

use super::model_options::ModelOptions;
use super::output;
use super::sampling_options::SamplingOptions;
use crate::error::{Error, Result};
use crate::inference::ChatModel;

const HELP: &str = "\
/system TEXT  begin anew with this system message
/reset        begin anew
/help         these lines
/exit         leave; so does the end of the input";

/// Talk to a language model, a line a turn.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Chat {
    /// Model folder, an adapter's, or a run's (its best model).
    model: PathBuf,
    /// The system message that begins the conversation.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Chat template: chatml, alpaca or a file [default: the model's own].
    #[arg(long, value_name = "NAME|FILE")]
    template: Option<String>,
    /// Most tokens of a conversation; the model's positions are a bound too.
    #[arg(long, value_name = "N", default_value_t = 4096)]
    context: usize,
    /// Most tokens of an answer.
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_tokens: usize,
    #[command(flatten)]
    sampling: SamplingOptions,
    #[command(flatten)]
    options: ModelOptions,
}

impl Chat {
    pub(super) fn run(self) -> Result<()> {
        let template = self.template.as_deref();
        let model = self.options.open(&self.model, |gpu, folder, beside| {
            ChatModel::open(gpu, folder, beside, template)
        })?;
        let sampling = self.sampling.sampling(self.max_tokens);
        let mut chat = model.begin(self.context, sampling.seed)?;
        if let Some(text) = &self.system {
            chat.system(text);
        }
        let asks = io::stdin().is_terminal();
        if asks {
            output::note("/help says what else there is; /exit leaves");
        }
        let mut lines = io::stdin().lock().lines();
        loop {
            if asks {
                output::print("> ")?;
            }
            let Some(line) = lines.next() else {
                return Ok(());
            };
            let line = line.map_err(|e| Error::io("read", "standard input", e))?;
            let line = line.trim();
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "" => {}
                "/exit" | "/quit" => return Ok(()),
                "/reset" => match &self.system {
                    Some(text) => chat.system(text),
                    None => chat.reset(),
                },
                "/system" => chat.system(rest.trim()),
                "/help" => output::note(HELP),
                _ if word.starts_with('/') => {
                    output::note(&format!("there is no {word}; /help lists what there is"));
                }
                _ => {
                    let said = chat.say(line, &sampling, &mut output::print);
                    output::print("\n")?;
                    match said {
                        Ok(_) => {}
                        // Somebody who talks is told, and goes on.
                        Err(error @ (Error::Argument { .. } | Error::ConfigValue { .. }))
                            if asks =>
                        {
                            output::report(&error);
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }
}
