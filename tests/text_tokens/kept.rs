//! Tokenisers kept between runs.

use std::fs;

use melos::text::corpus::Source;
use melos::text::tokenizer::{Tokenizer, TokenizerKind};
use tempfile::TempDir;

use crate::{TEXTS, options};

/// Half a tokeniser that still opens is what a kill leaves, or two processes at once.
#[test]
fn a_damaged_tokeniser_in_the_cache_is_trained_anew() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("text.txt");
    fs::write(&file, TEXTS.join("\n")).unwrap();
    let source = [Source::unlabelled(&file)];
    for kind in [TokenizerKind::Word, TokenizerKind::Wordpiece] {
        let cache = folder.path().join(format!("{kind:?}"));
        let options = options(kind, 100, 1);
        let hash = || {
            let tokenizer = Tokenizer::train_cached(&source, &options, &cache).unwrap();
            tokenizer.hash().to_owned()
        };
        let good = hash();
        let kept = fs::read_dir(&cache)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        assert_eq!(kept.extension().unwrap(), "tokenizer");
        let names = || {
            let entries = fs::read_dir(&kept).unwrap();
            let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let all = names();
        assert!(all.len() >= 2, "{all:?}");
        for name in &all {
            let path = kept.join(name);
            // Gone; empty; a letter of it another.
            fs::remove_file(&path).unwrap();
            assert_eq!(
                (hash(), names()),
                (good.clone(), all.clone()),
                "{name:?} gone"
            );
            fs::write(&path, "").unwrap();
            assert_eq!(
                (hash(), names()),
                (good.clone(), all.clone()),
                "{name:?} empty"
            );
            let mut bytes = fs::read(&path).unwrap();
            let place = bytes.len() / 2;
            bytes[place] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert_eq!(
                (hash(), names()),
                (good.clone(), all.clone()),
                "{name:?} changed"
            );
        }
        fs::write(kept.join("added_tokens.json"), "{\"the\": 3}").unwrap();
        assert_eq!((hash(), names()), (good.clone(), all.clone()), "one more");
        // What a kill left of another one.
        fs::create_dir(cache.join(".0123.tokenizer.9-0.partial")).unwrap();
        fs::remove_dir_all(&kept).unwrap();
        assert_eq!((hash(), names()), (good, all));
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 1);
    }
}

#[test]
fn processes_that_train_one_tokeniser_at_once_all_get_it() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("text.txt");
    fs::write(&file, TEXTS.join("\n")).unwrap();
    let source = [Source::unlabelled(&file)];
    let cache = folder.path().join("cache");
    let options = options(TokenizerKind::Wordpiece, 100, 1);
    let train = || {
        let tokenizer = Tokenizer::train_cached(&source, &options, &cache).unwrap();
        tokenizer.hash().to_owned()
    };
    let hashes: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(train)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 1);
}
