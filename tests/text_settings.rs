//! The settings of tokenisers' folders, as transformers 5.24 honours them: the ids here are what its
//! AutoTokenizer gave for the same folders.
#![cfg(feature = "train")]

use std::fs;
use std::path::{Path, PathBuf};

use melos::text::Tokenizer;
use melos::text::tokenizer::morphemes::build_dictionary;
use serde_json::{Value, json};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tokenizers")
        .join(name)
}

/// A fixture's folder with other files beside its own; null takes one away.
fn folder(base: &str, files: &[(&str, Value)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for entry in fs::read_dir(fixture(base)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    for (name, content) in files {
        let path = folder.path().join(name);
        match content {
            Value::Null => fs::remove_file(path).unwrap(),
            content => fs::write(path, content.to_string()).unwrap(),
        }
    }
    folder
}

/// The configuration of a fixture with other values; null takes one away.
fn config(base: &str, changes: Value) -> Value {
    let path = fixture(base).join("tokenizer_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encoding(text, None, true).unwrap().ids
}

/// The ids of a text, from the folder and from what is saved of it.
fn check(folder: &TempDir, dictionary: Option<&Path>, cases: &[(&str, &[u32])]) {
    let opened = Tokenizer::open_with(folder.path(), dictionary).unwrap();
    let saved = folder.path().join("saved");
    opened.save_folder(&saved).unwrap();
    let again = Tokenizer::open_with(&saved, dictionary).unwrap();
    for (text, expected) in cases {
        assert_eq!(ids(&opened, text), *expected, "{text:?}");
        assert_eq!(ids(&again, text), *expected, "{text:?}, saved");
    }
}

#[test]
fn the_configuration_overrules_the_tokenizer_json() {
    let lower: &[u32] = &[2, 6, 93, 5, 8, 31, 36, 35, 3];
    let cased: &[u32] = &[2, 1, 1, 5, 1, 3];
    let class = |class: Value, lowers: Value| {
        let changes = json!({"tokenizer_class": class, "do_lower_case": lowers});
        folder(
            "cased",
            &[("tokenizer_config.json", config("cased", changes))],
        )
    };
    let text = "A Film, CAFÉ";
    for name in ["BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer"] {
        check(&class(name.into(), true.into()), None, &[(text, lower)]);
        check(&class(name.into(), false.into()), None, &[(text, cased)]);
        // Their own default.
        check(&class(name.into(), Value::Null), None, &[(text, lower)]);
    }
    // Classes without options of their own.
    let generic = class("PreTrainedTokenizerFast".into(), true.into());
    check(&generic, None, &[(text, cased)]);
    check(&class(Value::Null, Value::Null), None, &[(text, cased)]);
    // Without a configuration the model tells the class.
    let bert = ("config.json", json!({"model_type": "bert"}));
    let silent = folder("cased", &[("tokenizer_config.json", Value::Null), bert]);
    check(&silent, None, &[(text, lower)]);
    let changes = json!({"strip_accents": true});
    let accents = [("tokenizer_config.json", config("cased", changes))];
    let expected: &[u32] = &[2, 1, 1, 5, 1, 8, 31, 36, 35, 3];
    check(
        &folder("cased", &accents),
        None,
        &[("A Film, CAFÉ café", expected)],
    );
}

#[test]
fn a_space_before_the_first_word_is_put_where_the_configuration_says() {
    let plain = Tokenizer::open(fixture("bpe")).unwrap();
    assert_eq!(ids(&plain, "film it"), [70, 73, 389, 332]);
    // As a tokenizer.json too, which says the contrary.
    let saved = TempDir::new().unwrap();
    plain.save_folder(saved.path()).unwrap();
    let mut config = json!({"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true});
    let put = |config: &Value| {
        let path = saved.path().join("tokenizer_config.json");
        fs::write(path, config.to_string()).unwrap();
    };
    put(&config);
    check(&saved, None, &[("film it", &[395, 332])]);
    config["tokenizer_class"] = "PreTrainedTokenizerFast".into();
    put(&config);
    check(&saved, None, &[("film it", &[70, 73, 389, 332])]);
    let older = [("tokenizer_config.json", json!({"add_prefix_space": true}))];
    check(&folder("bpe", &older), None, &[("film it", &[395, 332])]);
}

#[test]
fn tokens_that_someone_added_are_whole_and_have_their_ids() {
    let plain = json!({"tokenizer_class": "BertTokenizer"});
    let added = json!({"<e1>": 176, "covid": 178, "</e1>": 177});
    let map = json!({"additional_special_tokens": ["<e1>", "</e1>"]});
    let files = [
        ("tokenizer_config.json", plain.clone()),
        ("added_tokens.json", added),
        ("special_tokens_map.json", map),
    ];
    let expected: &[u32] = &[2, 6, 93, 5, 8, 31, 36, 35, 178, 178, 176, 27, 177, 4, 3];
    let text = "A film, café COVID covid <e1>x</e1> [MASK]";
    let older = folder("wordpiece", &files);
    check(&older, None, &[(text, expected)]);
    let tokenizer = Tokenizer::open(older.path()).unwrap();
    assert_eq!(tokenizer.vocab_size(), 179);
    assert!(tokenizer.vocabulary().is_special(176) && !tokenizer.vocabulary().is_special(178));
    // Without ids they get the next ones: those with a name of their own, then the lists.
    let named = json!({
        "tokenizer_class": "BertTokenizer", "image_token": "<x>",
        "additional_special_tokens": ["<e1>", {"content": "<e2>", "__type": "AddedToken"}],
    });
    let newer = folder("wordpiece", &[("tokenizer_config.json", named)]);
    let expected: &[u32] = &[2, 6, 176, 7, 177, 27, 178, 3];
    check(&newer, None, &[("a <x> b <e1>x<e2>", expected)]);
    let changes = json!({"extra_special_tokens": ["<e1>"]});
    let beside = [("tokenizer_config.json", config("cased", changes))];
    check(
        &folder("cased", &beside),
        None,
        &[("a <e1>x", &[2, 6, 176, 27, 3])],
    );
    let split = json!({"tokenizer_class": "BertTokenizer", "split_special_tokens": true});
    let split = folder("wordpiece", &[("tokenizer_config.json", split)]);
    let expected: &[u32] = &[2, 6, 1, 17, 31, 47, 40, 1, 93, 3];
    check(&split, None, &[("a [MASK] film", expected)]);

    let refused = |files: &[(&str, Value)], words: &[&str]| {
        let error = Tokenizer::open(folder("wordpiece", files).path()).unwrap_err();
        let error = error.to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    // An id that the vocabulary cannot give.
    let config = ("tokenizer_config.json", plain);
    let wrong = ("added_tokens.json", json!({"covid": 300}));
    refused(&[config.clone(), wrong], &["'covid' the id 300"]);
    let wrong = ("added_tokens.json", json!(["covid"]));
    refused(&[config, wrong], &["added_tokens.json", "tokens and ids"]);
    let wrong = json!({"additional_special_tokens": [7]});
    refused(
        &[("tokenizer_config.json", wrong)],
        &["additional_special_tokens", "no token"],
    );
}

#[test]
fn japanese_folders_have_settings_too() {
    let place = TempDir::new().unwrap();
    let words = place.path().join("words");
    build_dictionary(&fixture("ipadic"), &words).unwrap();
    let words = Some(&*words);
    let spaces = [
        "メロスは\u{2028}激怒した。",
        "\u{2029}メロス\u{2028}\u{2028}は\u{1c}激怒",
        "メロス\u{a0}は",
    ];
    let pieces: [&[u32]; 3] = [&[2, 5, 6, 7, 8, 9, 10, 3], &[2, 5, 6, 7, 3], &[2, 5, 6, 3]];
    let cases: Vec<(&str, &[u32])> = spaces.into_iter().zip(pieces).collect();
    check(&folder("japanese", &[]), words, &cases);
    // Characters lose none, but those that normalising takes away.
    let characters: [&[u32]; 3] = [
        &[2, 25, 26, 24, 18, 1, 35, 28, 10, 12, 6, 3],
        &[2, 1, 25, 26, 24, 1, 1, 18, 1, 35, 28, 3],
        &[2, 25, 26, 24, 18, 3],
    ];
    let characters: Vec<(&str, &[u32])> = spaces.into_iter().zip(characters).collect();
    check(&folder("characters", &[]), words, &characters);

    let mecab = |kwargs: Value| {
        let changes = json!({"mecab_kwargs": kwargs});
        ("tokenizer_config.json", config("japanese", changes))
    };
    let wide = "ﾒﾛｽ\u{3000}メロス";
    let normal = folder(
        "japanese",
        &[mecab(
            json!({"mecab_dic": "ipadic", "normalize_text": true}),
        )],
    );
    check(&normal, words, &[(wide, &[2, 5, 5, 3])]);
    let raw = folder(
        "japanese",
        &[mecab(
            json!({"mecab_dic": "ipadic", "normalize_text": false}),
        )],
    );
    let mut as_it_is = cases.clone();
    as_it_is.push((wide, &[2, 1, 5, 3]));
    check(&raw, words, &as_it_is);

    let files = [
        ("added_tokens.json", json!({"<e1>": 34, "<e2>": 35})),
        (
            "special_tokens_map.json",
            json!({"additional_special_tokens": ["<e1>"]}),
        ),
    ];
    let added = folder("japanese", &files);
    check(
        &added,
        words,
        &[("メロス<e1>は<e2>", &[2, 5, 34, 6, 35, 3])],
    );

    let refused = |base: &str, changes: Value, expected: &[&str]| {
        let files = [("tokenizer_config.json", config(base, changes))];
        let error = Tokenizer::open_with(folder(base, &files).path(), words).unwrap_err();
        let error = error.to_string();
        assert!(expected.iter().all(|word| error.contains(word)), "{error}");
    };
    for (kwargs, expected) in [
        (json!({"mecab_dic": null}), "mecab_dic null"),
        (
            json!({"mecab_dic": "ipadic", "mecab_option": "-O wakati"}),
            "mecab_option",
        ),
        (
            json!({"mecab_dic": "ipadic", "normalise": true}),
            "normalise",
        ),
    ] {
        let changes = json!({"mecab_kwargs": kwargs});
        refused("japanese", changes, &[expected, "not supported"]);
    }
    let kwargs = json!({"mecab_kwargs": {"normalize_text": false}});
    refused("characters", kwargs, &["normalize_text", "characters"]);
    let whole = json!({"do_subword_tokenize": false});
    refused(
        "japanese",
        whole,
        &["do_subword_tokenize false", "only true"],
    );
    refused(
        "japanese",
        json!({"never_split": ["メロス"]}),
        &["never_split"],
    );
}

#[test]
fn what_stands_around_byte_pairs_must_be_told() {
    let begins = json!({"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true});
    let folder = crate::folder("bpe", &[("tokenizer_config.json", begins.clone())]);
    let error = Tokenizer::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("add_bos_token true"), "{error}");
    // Of a tokenizer.json transformers takes what stands there.
    let saved = folder.path().join("saved");
    Tokenizer::open(fixture("bpe"))
        .unwrap()
        .save_folder(&saved)
        .unwrap();
    fs::write(saved.join("tokenizer_config.json"), begins.to_string()).unwrap();
    let tokenizer = Tokenizer::open(&saved).unwrap();
    assert_eq!(ids(&tokenizer, "film it"), [70, 73, 389, 332]);
}
