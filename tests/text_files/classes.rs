//! Folders of texts with a folder for each class.

use std::fs;
use std::path::Path;
use std::process::Command;

use melos::text::Format;
use melos::text::corpus::{Example, Source, Split, read};

use super::{all, folder};

fn put(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Text, class and part of each.
fn found(source: &Source) -> Vec<(String, Option<String>, Option<Split>)> {
    let mut found = Vec::new();
    let mut keep = |e: Example| {
        found.push((e.text, e.label, e.split));
        Ok(())
    };
    read(source, &mut keep).unwrap();
    found
}

fn entry(text: &str, class: &str, split: Option<Split>) -> (String, Option<String>, Option<Split>) {
    (text.into(), Some(class.into()), split)
}

#[test]
fn a_folder_names_the_class_of_its_texts() {
    let root = folder();
    put(root.path(), "pos/1.txt", "so fine\r\nand warm\n");
    put(root.path(), "pos/deeper/2.txt", "grand");
    put(root.path(), "neg/1.txt", "so dull");
    put(root.path(), "readme.txt", "Notes on the collection.");
    put(root.path(), ".git/x/3.txt", "none of them");
    let source = Source::new(root.path());
    assert_eq!(source.resolve_format().unwrap(), Format::Classes);
    let expected = [
        entry("so dull", "neg", None),
        entry("so fine\nand warm", "pos", None),
        entry("grand", "pos", None),
    ];
    assert_eq!(found(&source), expected);
    // The same in an archive, in a folder of its own.
    let archive = root.path().join("all.tar.gz");
    let mut tar = Command::new("tar");
    tar.arg("-czf").arg(&archive).arg("--exclude=.git");
    tar.args(["--transform", "s,^,reviews/,", "neg", "pos"])
        .current_dir(root.path());
    assert!(tar.status().unwrap().success());
    assert_eq!(found(&Source::new(&archive)), expected);
    // Where nothing learns from labels, texts are read as they were.
    for source in [Source::unlabelled(root.path()), Source::asked(root.path())] {
        assert_eq!(source.resolve_format().unwrap(), Format::Folder);
        assert!(found(&source).iter().all(|(_, label, _)| label.is_none()));
    }
}

#[test]
fn parts_stand_around_classes() {
    let root = folder();
    for (part, split) in [
        ("train", Split::Train),
        ("dev", Split::Validation),
        ("test", Split::Test),
    ] {
        for class in ["neg", "neutral", "pos"] {
            put(
                root.path(),
                &format!("{part}/{class}/1.txt"),
                &format!("{class} of {part}"),
            );
        }
        let source = Source::new(root.path());
        // Three classes are not IMDB's two.
        assert_eq!(source.resolve_format().unwrap(), Format::Classes, "{part}");
        let found = found(&source);
        let told = (part != "train").then_some(split);
        assert!(
            found.contains(&entry(&format!("neutral of {part}"), "neutral", told)),
            "{found:?}"
        );
    }
    // In an archive they are told, not lost.
    let packed = std::process::Command::new("tar")
        .args(["-czf", "all.tar.gz", "train", "test"])
        .current_dir(root.path())
        .status();
    assert!(packed.unwrap().success());
    let archive = root.path().join("all.tar.gz");
    let error = all(&Source::new(&archive)).unwrap_err().to_string();
    assert!(error.contains("a class 'neutral' besides"), "{error}");
    std::fs::remove_file(archive).unwrap();
    put(root.path(), "train/unsup/1.txt", "of no class");
    let found = found(&Source::new(root.path()));
    assert!(
        found.contains(&("of no class".into(), None, Some(Split::Unsup))),
        "{found:?}"
    );
    assert_eq!(
        found
            .iter()
            .filter(|(_, _, split)| *split == Some(Split::Train))
            .count(),
        3
    );
    // A model that only reads does not see what it is tested on: its own texts are another source's.
    let whole = Source {
        format: Some(Format::Classes),
        ..Source::unlabelled(root.path())
    };
    let read = all(&whole).unwrap();
    assert!(
        !read.iter().any(|(text, _)| text.contains("of test")),
        "{read:?}"
    );
}

#[test]
fn texts_beside_folders_are_a_text_a_file() {
    for names in [
        &["1.txt", "pos/2.txt", "neg/3.txt"][..],
        &["all/1.txt", "all/2.txt"],
        &["train/1.txt", "test/2.txt"],
    ] {
        let root = folder();
        for name in names {
            put(root.path(), name, name);
        }
        let source = Source::new(root.path());
        assert_eq!(
            source.resolve_format().unwrap(),
            Format::Folder,
            "{names:?}"
        );
        assert_eq!(all(&source).unwrap().len(), names.len());
    }
}
