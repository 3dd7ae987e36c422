//! The house: what the sources must hold to stay easy to find one's way in.

mod layers;
mod sources;

use std::path::Path;

fn src() -> sources::Sources {
    sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

/// Folders and single files of `src`, from the ground up. Each may use what stands in the rows above
/// it here, and nothing else; those of one row do not know each other.
const LAYERS: &[&[&str]] = &[
    &["kernels"],
    &["error", "cache"],
    &["bounded"],
    &["atomic", "schema"],
    &["translate"],
    &["device"],
    &["tensor"],
    &["ops"],
    &["optim", "nn"],
    // Files and texts to tensors and numbers: they know no model.
    &["hub", "text"],
    &["models"],
    &["objectives"],
    &["train", "trainer"],
    // What asks a trained model reads and scores texts as training does.
    &["inference"],
    &["prelude"],
    &["cli"],
];

/// Arrows that are still there against the rows: from, to, why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Folders without circles between their files.
const NO_CIRCLES: &[&str] = &["cli", "device", "ops"];

#[test]
fn arrows_between_folders_go_downward() {
    let found = layers::upward(&sources::arrows(&src()), LAYERS, EXCEPTIONS);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_circle_between_folders() {
    let arrows = sources::arrows(&src());
    let circle = layers::circle(&layers::between_folders(&arrows));
    assert!(circle.is_empty(), "{}", circle.join(" -> "));
}

#[test]
fn no_circle_between_the_files_of_a_folder() {
    let arrows = sources::arrows(&src());
    for folder in NO_CIRCLES {
        let within = layers::within(&arrows, folder);
        assert!(
            !within.is_empty(),
            "{folder} has no files that use each other"
        );
        let circle = layers::circle(&within);
        assert!(circle.is_empty(), "{}", circle.join(" -> "));
    }
}
