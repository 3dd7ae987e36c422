//! Pictures made to measure.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/images")
        .join(name)
}

pub fn expected() -> Value {
    serde_json::from_slice(&fs::read(fixture("expected.json")).unwrap()).unwrap()
}

/// Bytes written as hexadecimal.
pub fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len() / 2)
        .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
        .collect()
}

/// A 24-bit bmp of one row after the other, which needs no library to be written.
pub fn bmp(height: usize, width: usize, pixel: impl Fn(usize, usize) -> [u8; 3]) -> Vec<u8> {
    let row = (3 * width).next_multiple_of(4);
    let mut file = b"BM".to_vec();
    let word = |file: &mut Vec<u8>, n: usize| file.extend((n as u32).to_le_bytes());
    word(&mut file, 54 + row * height);
    word(&mut file, 0);
    word(&mut file, 54);
    word(&mut file, 40);
    word(&mut file, width);
    word(&mut file, height);
    file.extend([1, 0, 24, 0]);
    for _ in 0..6 {
        word(&mut file, 0);
    }
    for y in (0..height).rev() {
        let mut line = Vec::new();
        for x in 0..width {
            let [r, g, b] = pixel(y, x);
            line.extend([b, g, r]);
        }
        line.resize(row, 0);
        file.extend(line);
    }
    file
}

/// A picture of a class: dark above and bright below, or the other way round, none like another.
pub fn of_class(class: usize, number: usize) -> Vec<u8> {
    bmp(9, 8, |y, x| {
        let bright = (y < 4) == (class == 0);
        let noise = (number * 37 + y * 11 + x * 7) % 60;
        [(if bright { 180 } else { 10 } + noise) as u8; 3]
    })
}

/// A file, with the folders around it.
pub fn write(path: &Path, contents: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

/// A folder with a folder for each of two classes, so many pictures in each, below `part`.
pub fn two_classes(root: &Path, part: &str, count: usize, first: usize) {
    for (class, name) in ["sky", "sea"].into_iter().enumerate() {
        for number in first..first + count {
            let path = root.join(part).join(name).join(format!("{number}.bmp"));
            write(&path, of_class(class, number));
        }
    }
}
