//! Data: tables, lines, archives, word vectors.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use melos::Result;
use melos::text::corpus::{self, Column, Format, Source};
use melos::text::{LabelKind, Tokenizer, WordVectors};

use crate::engine::{Target, fixture};

/// Reads a source as training does: what it is, a hash of it, its texts.
fn read(source: &Source) -> Result<()> {
    source.content_hash()?;
    corpus::read(source, &mut |_| Ok(())).map(drop)
}

/// A file of this name with these bytes.
fn source(folder: &Path, name: &str, input: &[u8]) -> Source {
    let path = folder.join(name);
    fs::write(&path, input).unwrap();
    Source::new(path)
}

pub fn csv() -> Target {
    Target {
        seeds: vec![
            fixture("../data/reviews.csv"),
            b"text;label\r\n\"a \"\"good\"\"; film\";1\r\nbad;0\r\n".to_vec(),
            b"\xef\xbb\xbfsep=|\nlabel|review\n1|a good\xc3\xa9 film\n0|bad\n".to_vec(),
            b"a\tlabel\tb\nso it is\tx\t1\nnever so\ty\t2\nnow\tx\t3\n".to_vec(),
            "text,label\nnaïve 走れ,1\nx,0\n"
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect(),
        ],
        words: &[
            "\"", "\"\"", ",", ";", "\t", "|", "\r\n", "sep=,", "text", "label", "review", "-1",
            "1.5",
        ],
        read: Box::new(|folder, input| {
            let table = source(
                folder,
                ["a.csv", "a.tsv"][usize::from(input.contains(&b'\t'))],
                input,
            );
            read(&Source {
                label_optional: true,
                ..table.clone()
            })?;
            let others = [
                Source {
                    labelled: false,
                    ..table.clone()
                },
                Source {
                    header: Some(input.len() % 2 == 0),
                    ..table.clone()
                },
                Source {
                    text: Some(Column::Index(0)),
                    label: Some(Column::Index(1)),
                    ..table.clone()
                },
                Source {
                    pair: Some("label".into()),
                    label_kind: LabelKind::Several,
                    ..table.clone()
                },
                Source {
                    sentence_end: Some("。".into()),
                    ..table
                },
            ];
            // Whether these columns are there is another matter.
            let _ = read(&others[input.len() % others.len()]);
            Ok(())
        }),
    }
}

pub fn jsonl() -> Target {
    Target {
        seeds: vec![
            b"{\"text\": \"a good film\", \"label\": 1}\n{\"text\": \"bad\", \"label\": \"neg\"}\n".to_vec(),
            b"\n{\"review\":\"\\u8d70\\ud83c\\udfc3 \\\"x\\\"\",\"labels\":[\"a\",\"b\"],\"n\":{\"x\":[1,null]}}\r\n".to_vec(),
            b"{\"sentence\":\"a\",\"b\":\"c\",\"label\":null}\n{\"sentence\":\"d\",\"b\":\"e\",\"label\":true}".to_vec(),
            b"[{\"text\": \"one\", \"label\": \"a\"},\n {\"text\": \"two, [3]\", \"label\": [\"a\", \"b\"]}]\n".to_vec(),
        ],
        words: &["{", "}", "[", "]", "\"text\"", "\"label\"", ":", ",", "\\u0000", "\\ud800", "null", "[[[[[[[["],
        read: Box::new(|folder, input| {
            let lines = source(folder, "a.jsonl", input);
            read(&Source { label_optional: true, label_kind: LabelKind::Several, ..lines.clone() })?;
            let others = [
                Source { labelled: false, ..lines.clone() },
                Source { pair: Some("b".into()), ..lines.clone() },
                Source { text: Some("b".into()), label: Some("n".into()), ..lines.clone() },
                Source { text: Some(Column::Index(1)), ..lines },
            ];
            let _ = read(&others[input.len() % others.len()]);
            Ok(())
        }),
    }
}

pub fn plain() -> Target {
    let wikitext = b" \n = One = \n\n Text of one .\n = = Part = = \n More <unk> @-@ text .\n\n = Two = \n\n Text .\n";
    Target {
        seeds: vec![
            fixture("../data/unlabelled.txt"),
            wikitext.to_vec(),
            "メロスは激怒した。\r\n走れ。走った。\n".into(),
            "\u{feff}one\ntwo 走\n"
                .encode_utf16()
                .flat_map(u16::to_be_bytes)
                .collect(),
        ],
        words: &[
            "\n", "\r\n", " = ", "= ", "。", "\u{2028}", "\u{85}", "\u{feff}", "<unk>",
        ],
        read: Box::new(|folder, input| {
            let text = source(folder, "a.txt", input);
            read(&text)?;
            let formats = [
                Format::Whole,
                Format::Wikitext,
                Format::RottenTomatoes,
                Format::Trec,
            ];
            let format = Some(formats[input.len() % formats.len()]);
            let _ = read(&Source {
                format,
                ..text.clone()
            });
            read(&Source {
                sentence_end: Some("。".into()),
                ..text
            })
        }),
    }
}

pub fn tagged() -> Target {
    Target {
        seeds: vec![
            b"-DOCSTART- -X- O O\n\nEU NNP B-ORG\nrejects VBZ O\n\nPeter B-PER\nran O\n".to_vec(),
            b"{\"tokens\": [\"EU\", \"ran\"], \"ner_tags\": [3, 0]}\n{\"words\": [], \"tags\": []}\n".to_vec(),
        ],
        words: &["\n\n", "-DOCSTART-", "B-", "I-", "O", "\"tokens\"", "\"tags\"", "[", "]", "\u{a0}"],
        read: Box::new(|folder, input| {
            let name = if input.contains(&b'{') { "b.jsonl" } else { "b.conll" };
            let source = source(folder, name, input);
            let words = corpus::read_words(&source).map(drop);
            corpus::read_tagged(&source).map(drop).and(words)
        }),
    }
}

pub fn parquet() -> Target {
    let seeds = ["snappy", "gzip", "none", "words", "binary"];
    Target {
        seeds: seeds
            .map(|name| fixture(&format!("parquet/{name}.parquet")))
            .to_vec(),
        words: &["PAR1", "sentence1", "label", "\x15\x04", "\u{feff}"],
        read: Box::new(|folder, input| {
            let rows = source(folder, "a.parquet", input);
            // A table of texts or one of words: either is well.
            corpus::read_tagged(&rows).map(drop).or_else(|_| {
                read(&Source {
                    label_optional: true,
                    ..rows
                })
            })
        }),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// A tar archive of these files.
fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, name, text.as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap()
}

pub fn archive() -> Target {
    let long = format!("{}/a.txt", "long".repeat(40));
    let texts = tar(&[
        ("texts/a.txt", "one"),
        (&long, "two\r\n"),
        ("README.txt", "no"),
        ("b.bin", "x"),
    ]);
    let imdb = tar(&[
        ("aclImdb/train/pos/0_9.txt", "good<br />film"),
        ("aclImdb/train/neg/0_1.txt", "bad"),
        ("aclImdb/test/pos/0_9.txt", "fine"),
        ("aclImdb/train/unsup/0_0.txt", "so"),
    ]);
    let rotten = tar(&[
        ("x/rt-polarity.pos", "good\n"),
        ("x/rt-polarity.neg", "bad \u{e9}\n"),
    ]);
    let mut sparse = texts.clone();
    // The kind of an entry.
    sparse[156] = b'S';
    Target {
        seeds: vec![gzip(&texts), gzip(&imdb), texts, imdb, rotten],
        words: &[
            "ustar",
            "ustar  \0",
            "././@LongLink",
            "x\0",
            "path=",
            "30 path=",
            "size=",
            "77777777777\0",
            "\u{80}",
        ],
        read: Box::new(move |folder, input| {
            // As it is, or what is packed is what was changed: else hardly any checksum would be right.
            let input = match input.len() % 3 {
                0 if !input.starts_with(&[0x1f, 0x8b]) => &gzip(&with_sums(input)),
                1 => &with_sums(input),
                _ => input,
            };
            let packed = source(folder, "a.tar.gz", input);
            let result = read(&packed);
            let _ = read(&source(folder, "a.txt.gz", input));
            result
        }),
    }
}

/// A tar archive whose headers have the checksums that they need.
fn with_sums(input: &[u8]) -> Vec<u8> {
    let mut all = input.to_vec();
    for block in all.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    all
}

pub fn vectors() -> Target {
    let words = "the film a good bad plot was is of and in to it story film the a";
    let words = Tokenizer::train_on([words, words], &Default::default()).unwrap();
    let row = |word: &str| [word.as_bytes(), b" ", &[0, 0, 128, 63, 0, 0, 0, 192], b"\n"].concat();
    let binary = [&b"2 2\n"[..], &row("the"), &row("film")].concat();
    Target {
        seeds: vec![
            fixture("../data/vectors.txt"),
            binary.clone(),
            gzip(&binary),
            b"2 3\nthe 1 2 3\nFilm\t0.5 -1e-3 4\n".to_vec(),
            b"the 1 2\n. . . 3 4\n\xff 5 6\n".to_vec(),
        ],
        words: &[
            "the",
            "film",
            " ",
            "\t",
            "\n",
            "1e38",
            "nan",
            "inf",
            "2 2\n",
            "\0\0\0\0",
            "\0\0\u{80}\u{7f}",
        ],
        read: Box::new(move |folder, input| {
            let file = source(folder, "vectors", input);
            WordVectors::read(file.path, &words).map(drop)
        }),
    }
}
