//! Tokenisers of other programs, and dictionaries.

use std::fs;
use std::path::Path;

use melos::Result;
use melos::text::Tokenizer;
use melos::text::tokenizer::TokenizerOptions;
use melos::text::tokenizer::morphemes::{Dictionary, build_dictionary};
use sha2::{Digest, Sha256};

use crate::engine::{Target, fixture, folder, joined, most, write_files};

const TEXTS: [&str; 5] = [
    "",
    "The film isn't good, it's [MASK] <mask> <unk> great!",
    "naïve façade 走れメロス。ＡＢＣ ﾒﾛｽ 🏃\u{200d}♀️ \u{301}",
    " \t\r\n\u{2028}\u{a0}a  b\0\u{feff}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// Does with a tokeniser what the program does with one. A text that cannot be cut is an error.
fn ask(tokenizer: &Tokenizer) {
    for text in TEXTS {
        if let Ok(ids) = tokenizer.encode(text) {
            let _ = tokenizer.decode(&ids);
            let _ = tokenizer.decode_with(&ids, false);
        }
        let _ = tokenizer.encoding(text, Some("two"), true);
        let _ = tokenizer.encode_word(text, false);
    }
    let size = tokenizer.vocab_size() as u32;
    let _ = tokenizer.decode(&[0, 1, size, size.wrapping_sub(1), u32::MAX]);
    let _ = (
        tokenizer.token(0),
        tokenizer.token(u32::MAX),
        tokenizer.id(""),
    );
    let vocabulary = tokenizer.vocabulary();
    let _ = (
        vocabulary.roles(),
        vocabulary.is_special(size),
        vocabulary.continues(0),
    );
    let _ = (tokenizer.to_json(), tokenizer.padded().hash().len());
}

const WORDS: &[&str] = &[
    "type",
    "model",
    "vocab",
    "merges",
    "unk_token",
    "BPE",
    "WordPiece",
    "Unigram",
    "WordLevel",
    "normalizer",
    "pre_tokenizer",
    "post_processor",
    "decoder",
    "added_tokens",
    "Sequence",
    "normalizers",
    "pretokenizers",
    "decoders",
    "BertNormalizer",
    "NFC",
    "NFKD",
    "Lowercase",
    "Strip",
    "StripAccents",
    "Replace",
    "Prepend",
    "Precompiled",
    "precompiled_charsmap",
    "ByteLevel",
    "Metaspace",
    "Split",
    "Punctuation",
    "Digits",
    "Whitespace",
    "WhitespaceSplit",
    "CharDelimiterSplit",
    "BertPreTokenizer",
    "TemplateProcessing",
    "single",
    "pair",
    "special_tokens",
    "RobertaProcessing",
    "BertProcessing",
    "ByteFallback",
    "Fuse",
    "CTC",
    "pattern",
    "Regex",
    "String",
    "content",
    "behavior",
    "Isolated",
    "Removed",
    "MergedWithNext",
    "Contiguous",
    "prefix",
    "unk_id",
    "byte_fallback",
    "dropout",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "fuse_unk",
    "ignore_merges",
    "max_input_chars_per_word",
    "prepend_scheme",
    "always",
    "first",
    "never",
    "replacement",
    "\u{2581}",
    "trim_offsets",
    "use_regex",
    "special",
    "lstrip",
    "rstrip",
    "single_word",
    "normalized",
    "id",
    "truncation",
    "padding",
    "Fixed",
    "[UNK]",
    "<s>",
    "</s>",
    "##",
    "a",
    "",
    "(a+)+$",
    "(?=.)",
    "\\\\p{L}{1000}",
    "x*",
    "(?<=a)b",
    "[\\\\s\\\\S]*",
    "a{1000000}",
];

pub fn tokenizer_json() -> Target {
    let mut seeds = vec![
        fixture("tokenizers/cased/tokenizer.json"),
        fixture("tokenizers/xlm-roberta/tokenizer.json"),
        fixture("fuzz/seeds/parts.json"),
        fixture("fuzz/seeds/byte_level.json"),
    ];
    let small = TokenizerOptions {
        vocab_size: 60,
        min_frequency: 1,
        ..TokenizerOptions::default()
    };
    let words = Tokenizer::train_on(TEXTS, &small).unwrap();
    seeds.push(words.to_json().unwrap().into());
    Target {
        seeds,
        words: WORDS,
        read: Box::new(|folder, input| {
            let path = folder.join("tokenizer.json");
            fs::write(&path, input).unwrap();
            let _ = Tokenizer::load(&path).map(|tokenizer| ask(&tokenizer));
            ask(&Tokenizer::open(folder)?);
            Ok(())
        }),
    }
}

const FILES: [&str; 7] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
];

/// The files of a fixture, and others.
fn joined_folder(name: &str, files: &[&str], others: &[(&str, &[u8])]) -> Vec<u8> {
    let of = |file: &&str| fixture(&format!("tokenizers/{name}/{file}"));
    let contents: Vec<Vec<u8>> = files.iter().map(of).collect();
    let own = files
        .iter()
        .zip(&contents)
        .map(|(file, bytes)| (*file, &bytes[..]));
    joined(&own.chain(others.iter().copied()).collect::<Vec<_>>())
}

pub fn tokenizer_folder() -> Target {
    let special: (&str, &[u8]) = (
        "special_tokens_map.json",
        br#"{"unk_token": "[UNK]", "mask_token": {"content": "[MASK]", "lstrip": true}, "additional_special_tokens": ["[A]"]}"#,
    );
    let added: (&str, &[u8]) = ("added_tokens.json", br#"{}"#);
    let kept = folder();
    let words = kept.path().join("words");
    build_dictionary(&fixture_path("tokenizers/ipadic"), &words).unwrap();
    Target {
        seeds: vec![
            joined_folder(
                "wordpiece",
                &["tokenizer_config.json", "vocab.txt"],
                &[special, added],
            ),
            joined_folder("gaps", &["tokenizer_config.json", "vocab.txt"], &[]),
            joined_folder(
                "bpe",
                &["tokenizer_config.json", "vocab.json", "merges.txt"],
                &[added],
            ),
            joined_folder("japanese", &["tokenizer_config.json", "vocab.txt"], &[]),
            joined_folder(
                "characters-gaps",
                &["tokenizer_config.json", "vocab.txt"],
                &[],
            ),
        ],
        words: &[
            "@@ vocab.txt\n",
            "@@ vocab.json\n",
            "@@ merges.txt\n",
            "@@ tokenizer.json\n",
            "tokenizer_class",
            "BertTokenizer",
            "BertJapaneseTokenizer",
            "GPT2Tokenizer",
            "RobertaTokenizer",
            "do_lower_case",
            "strip_accents",
            "added_tokens_decoder",
            "additional_special_tokens",
            "extra_special_tokens",
            "unk_token",
            "mask_token",
            "content",
            "[UNK]",
            "[MASK]",
            "<s>",
            "</s>",
            "mecab_kwargs",
            "mecab_dic",
            "normalize_text",
            "word_tokenizer_type",
            "subword_tokenizer_type",
            "character",
            "add_prefix_space",
            "split_special_tokens",
            "##",
            "\u{120}",
            "#version: 0.2\n",
            "\r",
            "\n\n",
        ],
        read: Box::new(move |folder, input| {
            let _ = &kept;
            write_files(folder, input, &FILES);
            let tokenizer = Tokenizer::open_with(folder, Some(&words))?;
            ask(&tokenizer);
            let saved = folder.join("saved");
            if tokenizer.vocab_size() < 10_000 && tokenizer.save_folder(&saved).is_ok() {
                let _ = Tokenizer::open_with(&saved, Some(&words));
            }
            let _ = fs::remove_dir_all(saved);
            Ok(())
        }),
    }
}

fn fixture_path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn cut(path: &Path) -> Result<()> {
    let dictionary = Dictionary::open(path)?;
    for text in TEXTS {
        dictionary.cut(text)?;
    }
    Ok(())
}

/// The compiled dictionary. Most of its half a megabyte are two tables by characters, so that an input
/// says what to change elsewhere: 14 bytes for each place, which are where, how, and by what.
pub fn dictionary() -> Target {
    let kept = folder();
    let path = kept.path().join("good");
    build_dictionary(&fixture_path("tokenizers/ipadic"), &path).unwrap();
    let whole = fs::read(path).unwrap();
    // Of equal numbers of four bytes, one behind the other, only the first counts.
    let fours: Vec<&[u8]> = whole.chunks(4).collect();
    let first = |at: usize| at / 4 == 0 || fours[at / 4] != fours[at / 4 - 1];
    let places: Vec<usize> = (0..whole.len()).filter(|at| first(*at)).collect();
    Target {
        // These change nothing.
        seeds: vec![vec![0; 14], vec![0; 14 * 5]],
        words: &[
            "\0\0\0\0\0\0\0\0",
            "\x01",
            "\u{7f}\u{7f}\u{7f}\u{7f}",
            "VibratoTokenizer 0.5\n",
        ],
        read: Box::new(move |folder, input| {
            let mut bytes = whole.clone();
            for change in input.chunks_exact(14) {
                let sum: usize = input.iter().map(|byte| usize::from(*byte)).sum();
                let number = u32::from_le_bytes(change[..4].try_into().unwrap());
                let number = (number as usize + sum).wrapping_mul(0x9e37_79b1);
                let at = places[number % places.len()].min(bytes.len());
                let new = &change[5 + usize::from(change[4] / 16) % 8..13];
                let end = (at + new.len()).min(bytes.len());
                match change[4] % 4 {
                    0 => (bytes[at..end].iter_mut().zip(new)).for_each(|(byte, new)| *byte ^= new),
                    1 => drop(bytes.splice(at..at, new.iter().copied())),
                    2 => drop(bytes.drain(at..end)),
                    _ => drop(bytes.splice(at..end, new.iter().copied())),
                }
            }
            if most(input) && bytes.len() > 48 {
                let digest = Sha256::digest(&bytes[48..]);
                bytes[16..48].copy_from_slice(&digest);
            }
            let path = folder.join("dictionary");
            fs::write(&path, bytes).unwrap();
            cut(&path)
        }),
    }
}

pub fn dictionary_sources() -> Target {
    let names = ["a.csv", "b.csv", "char.def", "unk.def", "matrix.def"];
    let matrix = fixture("tokenizers/ipadic/matrix.def");
    let files =
        ["b.csv", "char.def", "unk.def"].map(|name| fixture(&format!("tokenizers/ipadic/{name}")));
    let small = joined(&[
        ("b.csv", &files[0]),
        ("char.def", &files[1]),
        ("unk.def", &files[2]),
        ("matrix.def", &matrix),
    ]);
    Target {
        seeds: vec![small],
        words: &[
            "DEFAULT",
            "SPACE",
            "KANJI",
            "0x",
            "0x0000",
            "0xFFFF",
            "0x110000",
            "..",
            " 1 0 0",
            " ",
            ",",
            "\"",
            "\n",
            "65535",
            "-32769",
            "@@ matrix.def\n",
            "@@ char.def\n",
            "#",
        ],
        read: Box::new(move |folder, input| {
            write_files(folder, input, &names);
            let out = folder.join("out");
            let _ = fs::remove_file(&out);
            build_dictionary(folder, &out)?;
            cut(&out)
        }),
    }
}
