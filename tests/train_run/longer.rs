//! Where a stage ends: early, for want of patience, or later, by a longer budget.

use super::*;

#[test]
fn a_run_without_patience_stops_early_and_so_does_the_one_that_was_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    // So high a rate that the best comes early.
    let set = [
        "stage.*.lr=2.0",
        "stage.first.schedule={kind=\"constant\"}",
        "stage.*.eval_every=2",
        "stage.*.save_every=5",
        "stage.*.patience=3",
    ];
    let whole = dir.path().join("whole");
    let none = || (Plot::default(), StopFlag::default());
    let (plot, flag) = none();
    let report = finish(begin(config(&set), &whole, &plot, &flag));
    let first = &report.units[0];
    assert!(first.stopped_early && first.steps < 40, "{first:?}");
    assert_eq!(first.steps, first.best_step.unwrap() + 3 * 2);
    assert!(
        whole
            .join(format!("first/checkpoint-{}", first.steps))
            .is_dir()
    );
    // Between two checkpoints, at the best, before the end, at the end.
    let best = first.best_step.unwrap();
    for stop_at in [best - 1, best, best + 3, first.steps - 1, first.steps] {
        let folder = dir.path().join(format!("stopped-{stop_at}"));
        let flag = StopFlag::default();
        let plot = Plot {
            stop_at: Some((stop_at, flag.clone())),
            ..Plot::default()
        };
        let mut outcome = begin(config(&set), &folder, &plot, &flag);
        while let Ok(Outcome::Interrupted { .. }) = outcome {
            let (plot, flag) = none();
            outcome = go(resume(&folder), &plot, &flag);
        }
        finish(outcome);
        for (a, b) in essence(&whole).into_iter().zip(essence(&folder)) {
            assert!(a == b, "{} differs after a stop at step {stop_at}", a.0);
        }
    }
}

#[test]
fn patience_is_checked() {
    let refused = |set: &[&str]| {
        let set = set.iter().map(|s| s.to_string()).collect();
        let overrides = Overrides {
            set,
            ..Overrides::default()
        };
        let error = RunConfig::parse(RUN, "toy.toml", &overrides).unwrap_err();
        assert!(matches!(error, Error::ConfigValue { .. }), "{error}");
        error.to_string()
    };
    let none = refused(&["stage.first.patience=0"]);
    assert!(
        none.starts_with("stage.first.patience: should be at least 1"),
        "{none}"
    );
    let blind = refused(&["stage.first.patience=2", "data.validation=0"]);
    assert!(
        blind.contains("stage.first.patience: needs texts for validation"),
        "{blind}"
    );
}

#[test]
fn a_stage_that_is_done_is_trained_on_and_what_began_with_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let none = || (Plot::default(), StopFlag::default());
    let constant = "stage.first.schedule={kind=\"constant\"}";
    let (plot, flag) = none();
    let whole = dir.path().join("whole");
    finish(begin(config(&[constant]), &whole, &plot, &flag));

    let grown = dir.path().join("grown");
    let short = config(&[constant, "stage.first.budget={steps=20}"]);
    let (plot, flag) = none();
    finish(begin(short, &grown, &plot, &flag));
    fs::write(grown.join("first/kept"), "").unwrap();
    fs::write(grown.join("second.1/lost"), "").unwrap();
    let (plot, flag) = none();
    let set = ["stage.first.budget.steps=40"];
    finish(go(resume_with(&grown, &set), &plot, &flag));
    assert_eq!(
        plot.steps_run.get(),
        20 + 10 + 10,
        "the rest, and the stages after"
    );
    assert!(grown.join("first/kept").exists() && !grown.join("second.1/lost").exists());
    for (a, b) in essence(&whole).into_iter().zip(essence(&grown)) {
        if a.0 != "metrics.jsonl" {
            assert!(a == b, "{} is not that of the run of 40 steps", a.0);
        }
    }
    let (_, now) = artifacts::RunFolder::open(&grown).unwrap();
    assert_eq!(now.stages[0].budget, config::Budget::Steps(40));
    // Done, and without a change to its folder.
    let (plot, flag) = none();
    finish(go(resume(&grown), &plot, &flag));
    assert_eq!(plot.steps_run.get(), 0);

    // The later stage alone: the first stays.
    let (plot, flag) = none();
    let set = ["stage.second.budget.epochs=3"];
    finish(go(resume_with(&grown, &set), &plot, &flag));
    assert_eq!(plot.steps_run.get(), 5 + 5);
}

#[test]
fn a_longer_budget_that_cannot_be_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let begun = [
        "stage.first.lr=2.0",
        "stage.first.schedule={kind=\"constant\"}",
        "stage.first.eval_every=2",
        "stage.first.patience=3",
    ];
    let (plot, flag) = (Plot::default(), StopFlag::default());
    let report = finish(begin(config(&begun), &out, &plot, &flag));
    assert!(report.units[0].stopped_early);
    let before = essence(&out);
    let refused = |set: &str| {
        let (plot, flag) = (Plot::default(), StopFlag::default());
        let error = go(resume_with(&out, &[set]), &plot, &flag).unwrap_err();
        assert!(matches!(error, Error::ConfigValue { .. }), "{error}");
        assert!(out.join("results.json").exists());
        assert!(essence(&out) == before);
        error.to_string()
    };
    let rate = refused("stage.first.lr=0.1");
    assert!(
        rate.starts_with("stage.first.lr: cannot become another"),
        "{rate}"
    );
    let patience = refused("stage.first.budget.steps=80");
    assert!(
        patience.starts_with("stage.first.patience: 'first' ended for want of it"),
        "{patience}"
    );
    let shorter = refused("stage.second.budget.epochs=1");
    assert!(
        shorter.starts_with("stage.second.budget: is less than the 10 steps"),
        "{shorter}"
    );
    // As `melos runs clean` leaves it.
    let all = Checkpoints::new(&out.join("second.1"), 1).all().unwrap();
    all.iter()
        .for_each(|path| fs::remove_dir_all(path).unwrap());
    let before = essence_of_models(&out);
    let (plot, flag) = (Plot::default(), StopFlag::default());
    let error = go(
        resume_with(&out, &["stage.second.budget.epochs=9"]),
        &plot,
        &flag,
    )
    .unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("'second.1' has no checkpoint to go on from"),
        "{error}"
    );
    assert!(essence_of_models(&out) == before);
    // With more patience it goes on.
    let (plot, flag) = (Plot::default(), StopFlag::default());
    let report = finish(go(
        resume_with(&out, &["stage.first.patience=20"]),
        &plot,
        &flag,
    ));
    assert_eq!(report.units[0].steps, 40);
}

fn essence_of_models(folder: &Path) -> Vec<Vec<u8>> {
    let model = |unit: &str| fs::read(folder.join(unit).join("model/model.safetensors")).unwrap();
    ["first", "second.1", "second.2"].map(model).into()
}
