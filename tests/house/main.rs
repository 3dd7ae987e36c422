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
    &["blocks", "kernels", "reference"],
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
    &["images"],
    &["models"],
    &["objectives", "doctor"],
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

/// Files that open others without `bounded`, and why they may.
const UNBOUNDED: &[(&str, &str)] = &[
    ("atomic/file.rs", "reads in a test what it wrote"),
    ("atomic/folder.rs", "opens a folder, to lock it"),
    (
        "atomic/leftovers.rs",
        "opens what it has seen to be a file, to lock it",
    ),
    ("atomic/mod.rs", "opens a folder, to synchronise it"),
    (
        "atomic/seal.rs",
        "reads in parts what it has seen to be a file",
    ),
    ("bounded.rs", "is what has the bounds"),
    (
        "train/tasks/data.rs",
        "reads what it wrote to a temporary folder",
    ),
];

#[test]
fn files_are_read_with_a_bound() {
    let opens = |source: &str| {
        let tokens = sources::tokens(source);
        let ways = [("File", "open"), ("fs", "read"), ("fs", "read_to_string")];
        let is_way = |t: &[String]| ways.contains(&(t[0].as_str(), t[2].as_str())) && t[1] == "::";
        tokens.windows(3).any(is_way)
    };
    assert!(opens("fn f() { std::fs::read(path) }") && opens("use std::fs::File; File::open(x)"));
    assert!(!opens("fn f() { TensorFile::open(x) } // fs::read(x)"));
    let sources = src();
    let found = sources.iter().filter(|(_, source)| opens(source));
    let found: Vec<&str> = found.map(|(file, _)| file.as_str()).collect();
    let known: Vec<&str> = UNBOUNDED.iter().map(|(file, _)| *file).collect();
    assert_eq!(found, known, "use crate::bounded, or say why not");
}
