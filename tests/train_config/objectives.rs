//! Keys that belong to an objective: whose they are, how they reach several stages, where they are
//! written.

use std::collections::BTreeSet;

use melos::objectives::{Lm, OBJECTIVES, Registered, Sa};
use toml::{Table, Value};

use super::*;

/// A stage of every objective, over a model that learns it.
fn run_of(objective: &Registered) -> String {
    let name = objective.name();
    let kinds = model_kinds();
    let kinds = kinds.iter().find(|k| k.objectives().contains(&name));
    let kind = if objective.standard().is_supervised() {
        "finetune"
    } else {
        "pretrain"
    };
    format!(
        "name = \"test\"\nmodel.kind = \"{}\"\ndata.source = \"files\"\n\
         [[stage]]\nname = \"a\"\nkind = \"{kind}\"\nobjective = \"{name}\"\n{}",
        kinds.unwrap().name,
        // The only key without a default.
        if objective.keys().contains(&"auxiliary") {
            "auxiliary = \"lm\"\n"
        } else {
            ""
        }
    )
}

fn parse(text: &str, set: &[&str]) -> Result<RunConfig, Error> {
    let overrides = Overrides {
        set: set.iter().map(|s| s.to_string()).collect(),
        ..Overrides::default()
    };
    RunConfig::parse(text, "test.toml", &overrides)
}

/// What `config.toml` says of its only stage.
fn written(config: &RunConfig) -> Table {
    let table: Table = config.to_toml().unwrap().parse().unwrap();
    table["stage"][0].as_table().unwrap().clone()
}

#[test]
fn class_weights_are_a_word_or_a_table() {
    let classify = OBJECTIVES.iter().find(|o| o.name() == "classify").unwrap();
    for weights in ["\"balanced\"", "{ 'a label' = 2.5, b = 1 }"] {
        let set = format!("stage.a.class_weights={weights}");
        let config = parse(&run_of(classify), &[&set]).unwrap();
        assert!(written(&config).contains_key("class_weights"));
        let text = config.to_toml().unwrap();
        assert_eq!(parse(&text, &[]).unwrap(), config, "{text}");
    }
    let wrong = parse(&run_of(classify), &["stage.a.class_weights=[1, 2]"]);
    let wrong = wrong.unwrap_err().to_string();
    assert!(
        wrong.contains("stage.a.class_weights") && wrong.contains("numbers by label"),
        "{wrong}"
    );
}

#[test]
fn every_objective_has_a_model_and_reads_back_what_it_writes() {
    for objective in OBJECTIVES {
        let config = parse(&run_of(objective), &[]).unwrap();
        assert_eq!(config.stages[0].objective.name(), objective.name());
        let text = config.to_toml().unwrap();
        assert_eq!(parse(&text, &[]).unwrap(), config, "{text}");
        let stage = written(&config);
        // By serde's traits alone, too.
        let back: StageConfig = stage.clone().try_into().unwrap();
        assert_eq!(back, config.stages[0]);
        for other in OBJECTIVES {
            for key in other.keys() {
                // Nothing is written of what is not set.
                let has = objective.keys().contains(key) && *key != "class_weights";
                assert_eq!(stage.contains_key(*key), has, "{}: {key}", objective.name());
            }
        }
        for shared in [
            "name",
            "kind",
            "objective",
            "lr",
            "batch",
            "budget",
            "optimizer",
        ] {
            assert!(stage.contains_key(shared), "{shared}");
        }
    }
}

#[test]
fn numbers_are_written_as_they_were_given() {
    let joint = OBJECTIVES.iter().find(|o| o.name() == "joint").unwrap();
    let set = ["stage.a.auxiliary_weight=0.1", "stage.a.clip_norm=0.7"];
    let stage = written(&parse(&run_of(joint), &set).unwrap());
    assert_eq!(stage["auxiliary_weight"], Value::Float(0.1));
    assert_eq!(stage["clip_norm"], Value::Float(0.7));
}

#[test]
fn a_key_of_another_objective_is_told_whose_it_is() {
    for objective in OBJECTIVES {
        for other in OBJECTIVES {
            for key in other
                .keys()
                .iter()
                .filter(|key| !objective.keys().contains(key))
            {
                let error = parse(&run_of(objective), &[&format!("stage.a.{key}=1")]).unwrap_err();
                let error = error.to_string();
                let begin = format!("stage.a.{key}: belongs to ");
                let (owners, end) = error
                    .strip_prefix(&begin)
                    .and_then(|rest| rest.split_once(", and the stage's objective is "))
                    .unwrap_or_else(|| panic!("{error}"));
                assert!(owners.split(", ").any(|o| o == other.name()), "{error}");
                assert!(end.starts_with(objective.name()), "{error}");
            }
        }
    }
    // An objective that does not fit the stage is the first thing to say.
    let text = BASE.replace("init = \"lm\"", "init = \"lm\"\nkept_end = \"head\"");
    let error = parse(&text, &["stage.finetune.objective=clm"]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("stage.finetune.objective: a finetune stage")
    );
    // Where it stands in the file, as well.
    let text = BASE.replace("objective = \"lm\"", "objective = \"lm\"\nmax_len = 3");
    let error = parse(&text, &[]).unwrap_err().to_string();
    assert!(
        error.starts_with("stage.lm.max_len: belongs to sa, mlm, mlm_nsp, clm, classify,"),
        "{error}"
    );
}

#[test]
fn a_misspelt_key_is_suggested_from_the_objectives_own() {
    for (set, want) in [
        (
            "stage.lm.bpt=3",
            "unknown key 'bpt' in stage.lm: did you mean 'bptt'?",
        ),
        (
            "stage.finetune.maxlen=3",
            "unknown key 'maxlen' in stage.finetune: did you mean 'max_len'?",
        ),
        (
            "stage.lm.objectiv=3",
            "unknown key 'objectiv' in stage.lm: did you mean 'objective'?",
        ),
        (
            "stage.*.max_le=3",
            "unknown key 'max_le' in stage.*: did you mean 'max_len'?",
        ),
    ] {
        assert!(refused(set).starts_with(want), "{set}: {}", refused(set));
    }
    let text = format!("{BASE}\n[defaults.finetune]\nkept_en = \"head\"\n");
    let error = parse(&text, &[]).unwrap_err().to_string();
    assert!(
        error.starts_with("unknown key 'kept_en' in defaults.finetune: did you mean 'kept_end'?"),
        "{error}"
    );
}

#[test]
fn a_key_of_all_stages_reaches_those_that_have_it() {
    let lengths =
        |c: &RunConfig| -> Vec<usize> { c.stages.iter().map(|s| s.objective.length()).collect() };
    let c = with(&["stage.*.max_len=7"]).unwrap();
    assert_eq!(lengths(&c), [64, 7]);
    let c = with(&["stage.*.max_len=7", "stage.finetune.max_len=8"]).unwrap();
    assert_eq!(lengths(&c), [64, 8]);
    let c = with(&["stage.finetune.max_len=8", "stage.*.max_len=7"]).unwrap();
    assert_eq!(lengths(&c), [64, 7]);
    // Whatever the objective was when the key was set.
    let c = with(&["stage.*.max_len=7", "stage.lm.objective=sa"]).unwrap();
    assert_eq!(lengths(&c), [7, 7]);
    let c = with(&["stage.lm.objective=sa", "stage.*.max_len=7"]).unwrap();
    assert_eq!(lengths(&c), [7, 7]);
    // A stage that names the key itself is told that it has none of it.
    for set in [
        ["stage.lm.max_len=8", "stage.*.max_len=7"],
        ["stage.*.max_len=7", "stage.lm.max_len=8"],
    ] {
        let error = with(&set).unwrap_err().to_string();
        assert!(error.starts_with("stage.lm.max_len: belongs to"), "{error}");
    }
    assert_eq!(
        refused("stage.*.packing=true"),
        "stage.*.packing: belongs to mlm, clm, sft, and no stage has such an objective; leave it out"
    );
    let scale = format!("{BASE}\n[scale.small.stage.\"*\"]\nbptt = 5\n");
    let overrides = Overrides {
        scale: Some("small".into()),
        ..Overrides::default()
    };
    let c = RunConfig::parse(&scale, "test.toml", &overrides).unwrap();
    assert_eq!(lengths(&c), [5, 64]);
}

#[test]
fn defaults_reach_the_stages_that_have_the_key() {
    let text = format!(
        "{BASE}[[stage]]\nname = \"sa\"\nkind = \"pretrain\"\n\
         [defaults.pretrain]\nobjective = \"sa\"\nbptt = 11\nmax_len = 12\n"
    );
    let c = parse(&text, &[]).unwrap();
    assert_eq!(c.stages[0].options::<Lm>(), Some(&Lm { bptt: 11 }));
    assert_eq!(c.stages[2].options::<Sa>().unwrap().max_len, 12);
    let text = format!("{BASE}\n[defaults.pretrain]\nmax_len = 12\n");
    let error = parse(&text, &[]).unwrap_err().to_string();
    assert!(
        error.starts_with("defaults.pretrain.max_len: belongs to sa, mlm,")
            && error.contains("no stage has such an objective"),
        "{error}"
    );
    // Of a kind that no stage is of, anything that some objective knows.
    let text = format!("{BASE}\n[defaults.evaluate]\nmax_len = 12\n");
    assert_eq!(parse(&text, &[]).unwrap(), parse(BASE, &[]).unwrap());
}

#[test]
fn an_objectives_options_are_checked_where_they_stand() {
    for (objective, set, want) in [
        ("lm", "bptt=0", "bptt: should be at least 1"),
        (
            "sa",
            "max_len=2000000",
            "max_len: should be at most 1048576",
        ),
        (
            "sa",
            "kept_end=\"middle\"",
            "kept_end: unknown choice 'middle'",
        ),
        (
            "clm",
            "packing=1",
            "packing should be true or false, found the number",
        ),
        (
            "classify",
            "label_smoothing=1.0",
            "label_smoothing: is a share",
        ),
        (
            "classify",
            "label_smoothing=-0.1",
            "label_smoothing: is a share",
        ),
        (
            "token_classify",
            "label_smoothing=1.0",
            "label_smoothing: is a share",
        ),
        (
            "mlm_nsp",
            "masking.rate=0.0",
            "masking.rate: is a share of the tokens",
        ),
        (
            "joint",
            "auxiliary_weight=0.0",
            "auxiliary_weight: should be a positive number",
        ),
    ] {
        let registered = OBJECTIVES.iter().find(|o| o.name() == objective).unwrap();
        let error = parse(&run_of(registered), &[&format!("stage.a.{set}")]).unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with(&format!("stage.a.{want}")),
            "{objective}, {set}: {error}"
        );
    }
    let numbers = [
        "model.kind=bert",
        "stage.finetune.problem=regression",
        "stage.finetune.label_smoothing=0.1",
        "stage.lm.objective=mlm",
    ];
    let error = with(&numbers).unwrap_err().to_string();
    assert!(
        error.starts_with("stage.finetune.label_smoothing: is for texts of one label each"),
        "{error}"
    );
}

/// The cells of the rows of a document's tables, by the name in each row's first cell.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter(|line| line.starts_with('|'));
    lines.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
}

/// The words in backticks.
fn ticked(cell: &str) -> BTreeSet<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_documentation_has_every_key_of_a_stage() {
    let text = include_str!("../../docs/run-files.md");
    for objective in OBJECTIVES {
        let name = format!("`{}`", objective.name());
        let row = rows(text)
            .find(|cells| cells.len() == 4 && cells[0] == name)
            .unwrap_or_else(|| panic!("docs/run-files.md has no row for objective {name}"));
        let keys: BTreeSet<&str> = objective.keys().iter().copied().collect();
        assert_eq!(ticked(row[3]), keys, "{name}");
        assert_eq!(row[2], objective.standard().about(), "{name}");
        let kinds = model_kinds();
        let models: Vec<&str> = kinds
            .iter()
            .filter(|k| k.name != "pretrained" && k.objectives().contains(&objective.name()))
            .map(|k| k.name)
            .collect();
        assert_eq!(row[1], models.join(", "), "{name}");
    }
    let explained: BTreeSet<&str> = rows(text)
        .filter(|cells| cells.len() == 3)
        .flat_map(|cells| ticked(cells[0]))
        .collect();
    let classify = OBJECTIVES.iter().find(|o| o.name() == "classify").unwrap();
    let stage = written(&parse(&run_of(classify), &[]).unwrap());
    let own = OBJECTIVES.iter().flat_map(|o| o.keys()).copied();
    for key in stage.keys().map(String::as_str).chain(own) {
        assert!(
            explained.contains(key),
            "docs/run-files.md does not explain `{key}`"
        );
    }
}
