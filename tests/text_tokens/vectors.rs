//! Word vectors.

use std::fs;

use melos::Error;
use melos::text::vectors::WordVectors;

use crate::words;

const VECTORS: [(&str, [f32; 3]); 4] = [
    ("The", [9.0, 9.0, 9.0]),
    ("film", [1.0, -2.5, 3e-4]),
    ("the", [0.5, 0.25, -1.0]),
    ("elsewhere", [7.0, 7.0, 7.0]),
];

fn as_text(header: bool) -> Vec<u8> {
    let mut text = if header {
        "4 3\n".to_string()
    } else {
        String::new()
    };
    for (word, [x, y, z]) in VECTORS {
        text += &format!("{word} {x} {y} {z}\n");
    }
    text.into()
}

fn as_binary(line_ends: bool) -> Vec<u8> {
    let mut bytes = b"4 3\n".to_vec();
    for (word, row) in VECTORS {
        bytes.extend_from_slice(word.as_bytes());
        bytes.push(b' ');
        bytes.extend(row.iter().flat_map(|x| x.to_le_bytes()));
        if line_ends {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// Tabs, words with spaces of other kinds in them, marks and encodings change nothing.
#[test]
fn what_separates_words_and_numbers_is_a_blank_or_a_tab() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors.txt");
    let tokenizer = words();
    let plain = String::from_utf8(as_text(false)).unwrap();
    let odd = "\u{a0}a\u{3000}b\u{a0} 1 2 3\n\u{a0} 4 5 6\n";
    let marked = format!("\u{feff}4 3\n{plain}");
    let wide: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, count) in [
        (plain.replace(' ', "\t").into_bytes(), 4),
        (plain.replace('\n', "\t\r\n").into_bytes(), 4),
        (
            format!("4\t3\n{}", plain.replace(' ', "\t")).into_bytes(),
            4,
        ),
        (format!("{odd}{plain}").into_bytes(), 6),
        (format!("{plain}{odd}").into_bytes(), 6),
        (format!("{plain}a b\tc 1 2 3\n").into_bytes(), 5),
        (marked.clone().into_bytes(), 4),
        (wide, 4),
    ] {
        fs::write(&path, &bytes).unwrap();
        let vectors = WordVectors::read(&path, &tokenizer).unwrap();
        assert_eq!((vectors.dim, vectors.in_file), (3, count));
        let film = tokenizer.id("film").unwrap();
        assert_eq!(vectors.row(film), Some(&VECTORS[1].1[..]));
    }
}

#[test]
fn word_vectors_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors");
    let tokenizer = words();
    for bytes in [
        as_text(true),
        as_text(false),
        as_binary(true),
        as_binary(false),
    ] {
        fs::write(&path, &bytes).unwrap();
        let vectors = WordVectors::read(&path, &tokenizer).unwrap();
        assert_eq!((vectors.dim, vectors.in_file), (3, 4));
        assert_eq!(vectors.rows.len(), 3 * tokenizer.vocab_size());
        // `the` itself, though `The` came first.
        assert_eq!(
            vectors.row(tokenizer.id("the").unwrap()),
            Some(&VECTORS[2].1[..])
        );
        assert_eq!(
            vectors.row(tokenizer.id("film").unwrap()),
            Some(&VECTORS[1].1[..])
        );
        assert_eq!(vectors.row(tokenizer.id("good").unwrap()), None);
        assert_eq!(vectors.row(u32::MAX), None);
        let coverage = 2.0 / tokenizer.vocab_size() as f64;
        assert!((vectors.coverage() - coverage).abs() < 1e-12);
    }
    // Only the upper-case form is there; a word of GloVe 840B holds spaces.
    fs::write(&path, "The 1 2 3\n. . . 4 5 6\n").unwrap();
    let vectors = WordVectors::read(&path, &tokenizer).unwrap();
    assert_eq!(
        vectors.row(tokenizer.id("the").unwrap()),
        Some(&[1.0, 2.0, 3.0][..])
    );
    assert_eq!(vectors.in_file, 2);
}

#[test]
fn bad_word_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors");
    let tokenizer = words();
    assert!(matches!(
        WordVectors::read(&path, &tokenizer),
        Err(Error::FileMissing { .. })
    ));
    let fails = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        WordVectors::read(&path, &tokenizer).unwrap_err()
    };
    assert!(matches!(fails(b""), Error::EmptyText { .. }));
    let binary = as_binary(true);
    let huge = b"3 4000000000\nthe 1 2\n";
    let cases: [(&[u8], &str); 10] = [
        (
            b"1 3\nthe 1 2 3\nfilm 1 2 3\n",
            "promises 1 vectors, found 2; the header is wrong",
        ),
        (
            b"the 1 2 3\nfilm 1 2\n",
            "line 2: expected 3 numbers as before, found 2",
        ),
        (
            b"the 1 2 3\nfilm 1 2 3 4\n",
            "line 2: expected 3 numbers as before, found 4",
        ),
        (
            b"the 1 2 3\nfilm 1 two 3\n",
            "line 2: 'two' is not a finite number",
        ),
        (b"the 1 nan 3\n", "line 1: 'nan' is not a finite number"),
        (b"2 3\nthe 1 2 3\n", "promises 2 vectors, found 1"),
        (
            &binary[..binary.len() - 5],
            "vector 4: the file ends inside it",
        ),
        (&binary[..30], "vector 2: "),
        (huge, "expected a word and 1 to 8192 numbers"),
        (b"the\n", "expected a word and 1 to 8192 numbers"),
    ];
    for (bytes, expected) in cases {
        let error = fails(bytes);
        assert!(matches!(error, Error::Vectors { .. }), "{error:?}");
        assert!(
            error.to_string().contains(expected),
            "{error} lacks: {expected}"
        );
    }
    let mut nan = as_binary(false);
    nan[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(fails(&nan).to_string().contains("not finite"));
}
