//! What is said in few words, and what is said of wrong ones.

use super::*;

#[test]
fn what_most_runs_change_is_set_where_it_matters_most() {
    let of = |name: &str, main: &[&str], set: &[&str]| {
        let overrides = Overrides {
            main: main.iter().map(ToString::to_string).collect(),
            set: set.iter().map(ToString::to_string).collect(),
            ..Overrides::default()
        };
        let config = preset(name).unwrap().config(&overrides).unwrap();
        let stages = config.stages.into_iter();
        stages
            .map(|s| (s.lr, s.batch, s.budget))
            .collect::<Vec<_>>()
    };
    let main = ["lr=0.25", "batch=7", "budget={ epochs = 2.5 }"];
    let changed = (0.25, 7, Budget::Epochs(2.5));
    // Where a stage fine-tunes, the pretraining stays as it was.
    let before = of("lm-lstm-rt", &[], &[]);
    assert_eq!(of("lm-lstm-rt", &main, &[]), [before[0], changed]);
    assert_ne!(before[1], changed);
    assert_eq!(of("gpt2", &main, &[]), [changed]);
    // All that fine-tune, and `--set` has the last word.
    assert!(
        of("demo", &main, &[])[2..]
            .iter()
            .all(|stage| *stage == changed)
    );
    let last = of("gpt2", &main, &["stage.pretrain.batch=9"]);
    assert_eq!(last, [(0.25, 9, Budget::Epochs(2.5))]);
}

#[test]
fn a_kind_may_be_named_alone() {
    let stage = |set: &[&str]| with(set).unwrap().stages.remove(1);
    let bare = stage(&[
        "stage.finetune.optimizer=adamw",
        "stage.finetune.schedule=cosine",
    ]);
    let table = stage(&[
        "stage.finetune.optimizer={ kind = \"adamw\" }",
        "stage.finetune.schedule={ kind = \"cosine\" }",
    ]);
    assert_eq!(bare, table);
    // Numbers of the same kind stay, and may be set behind its name.
    let same = stage(&["stage.finetune.optimizer=adam"]);
    assert_eq!(same, stage(&[]));
    let set = stage(&[
        "stage.finetune.optimizer=adamw",
        "stage.finetune.optimizer.beta1=0.5",
    ]);
    let table = stage(&["stage.finetune.optimizer={ kind = \"adamw\", beta1 = 0.5 }"]);
    assert_eq!(set, table);
    // In a file, and in its defaults.
    let file = BASE.replace(
        "optimizer = { kind = \"adam\", beta2 = 0.99 }",
        "optimizer = \"sgd\"",
    ) + "[defaults.pretrain]\nschedule = \"linear\"\noptimizer = \"rmsprop\"\n";
    let config = RunConfig::parse(&file, "x.toml", &Overrides::default()).unwrap();
    assert_eq!(
        config.stages[1].optimizer,
        OptimizerKind::Sgd { weight_decay: 0.0 }
    );
    assert_eq!(config.stages[0].optimizer.state_names().len(), 1);
    let error = refused("stage.finetune.optimizer=adamx");
    assert!(
        error.starts_with(
            "stage.finetune.optimizer.kind: unknown choice 'adamx': did you mean 'adam"
        ),
        "{error}"
    );
}

#[test]
fn wrong_types_are_said_in_plain_words() {
    for (set, said) in [
        (
            "stage.lm.lr=fast",
            "stage.lm.lr should be a number, as 0.001, found the text \"fast\"",
        ),
        (
            "stage.lm.optimizer=3",
            "stage.lm.optimizer should be a name, or a table, as { kind = \"name\" }, found the number 3",
        ),
        (
            "stage.finetune.init=[1]",
            "stage.finetune.init should be text in quotes, as \"a name\", found a list",
        ),
        (
            "stage.finetune.seeds=1",
            "stage.finetune.seeds should be a list, as [1, 2], found the number 1",
        ),
        (
            "tokenizer=word",
            "tokenizer should be a table of keys, as { key = value }, found the text \"word\"",
        ),
        (
            "tokenizer.file=true",
            "tokenizer.file should be a path in quotes, as \"reviews.csv\", found true",
        ),
        (
            "data.path={ a = 1 }",
            "data.path should be a path or a list of paths, as \"reviews.csv\" or [\"a.csv\", \"b.csv\"], found a table",
        ),
    ] {
        assert_eq!(refused(set), said);
    }
}
