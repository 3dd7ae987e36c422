//! The commands that go on from a run.

use std::path::Path;

use crate::hub::Head;
use crate::train::config::{StageConfig, StageKind};

/// What a command is for, and the command.
pub type Command = (&'static str, String);

/// Those of a run in `folder`; of its best model's stage and unit, where it has one.
pub fn commands(folder: &Path, best: Option<(&StageConfig, &str)>, finished: bool) -> Vec<Command> {
    let run = quote(&folder.display().to_string());
    let inside = |name: &str| quote(&folder.join(name).display().to_string());
    let mut all = Vec::new();
    if !finished {
        all.push((
            "Go on where it stopped",
            format!("melos train --resume {run}"),
        ));
    }
    if let Some((stage, unit)) = best {
        let mut ask = |what, command: &str, rest: &str| {
            all.push((what, format!("melos {command} {run} {rest}")));
        };
        let head = stage.objective.head();
        match head {
            Some(Head::Sequence | Head::Joint) => {
                ask("Ask the best model", "predict", "'a text'");
            }
            Some(Head::Token) => ask("Label the words of a text", "predict", "'a text'"),
            Some(Head::MaskedLm | Head::NextSentence) => {
                ask("Guess what is masked", "fill-mask", "'a [MASK] text'");
            }
            Some(Head::CausalLm) => ask("Let it write on", "generate", "'Once upon'"),
            _ => {}
        }
        ask("Score it on other texts", "eval", "--data FILE");
        ask("See what is in it", "inspect", "");
        let model = inside(&format!("{unit}/model"));
        if stage.lora.is_some() {
            let base = stage.init.as_deref().map_or("BASE".into(), quote);
            all.push((
                "Merge the adapter into its base",
                format!("melos merge {base} {model} merged"),
            ));
        } else if stage.kind == StageKind::Pretrain {
            all.push((
                "Fine-tune it on labelled texts",
                format!("melos train --preset finetune --init {model} --data FILE"),
            ));
        }
    }
    let config = inside("config.toml");
    all.push((
        "Run it again with another seed",
        format!("melos train {config} --seed 2"),
    ));
    all.push(("Make this report again", format!("melos report {run}")));
    all.push((
        "The same curves in TensorBoard",
        format!("tensorboard --logdir {run}"),
    ));
    let trimmed = |(what, command): Command| (what, command.trim_end().to_string());
    all.into_iter().map(trimmed).collect()
}

/// A word as a shell wants it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,\\".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn a_path_with_a_space_survives_the_shell() {
        assert_eq!(quote("runs/demo-001"), "runs/demo-001");
        assert_eq!(quote("my runs/it's"), r"'my runs/it'\''s'");
    }
}
