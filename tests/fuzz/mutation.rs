//! Files changed at random, as damage and malice change them.

use crate::tree;

/// Random numbers (SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
pub struct Random(u64);

impl Random {
    /// Those of a target.
    pub fn new(target: &str, seed: u64) -> Self {
        let mut random = Self(seed);
        for byte in target.bytes() {
            random.0 = random.next() ^ u64::from(byte);
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }

    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// No input is longer.
const LONGEST: usize = 1 << 16;

/// Numbers where programs err.
pub const NUMBERS: [&str; 24] = [
    "0",
    "-0",
    "1",
    "-1",
    "2",
    "3",
    "7",
    "64",
    "127",
    "128",
    "255",
    "256",
    "65535",
    "65536",
    "1000000000",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "18446744073709551615",
    "1e30",
    "1e-320",
    "1e400",
];
/// Values in the place of values.
pub const VALUES: [&str; 18] = [
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "\"\"",
    "\"a\"",
    "[[]]",
    "[0]",
    "[\"\"]",
    "{\"\":0}",
    "0.5",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"走\u{301}🏃\"",
    "[1,2,3]",
    "{\"type\":\"Sequence\"}",
    "nan",
];
/// Bytes that mean something.
const BYTES: &[u8] = b"\0\x01\x7f\x80\xff\n\r\t \"'\\,;:=[]{}<>#@\x1b\xef\xbb\xbf\xfe";

/// An input: one of the seeds, changed a few times; mostly one of the `first`, which are whole.
pub fn input(seeds: &[Vec<u8>], first: usize, words: &[&str], random: &mut Random) -> Vec<u8> {
    let among = match random.below(4) {
        0 => seeds.len(),
        _ => first,
    };
    let mut input = seeds[random.below(among)].clone();
    if random.below(2) == 0
        && let Some(other) = tree::changed(&input, seeds, words, random)
    {
        return other;
    }
    let times = random.of(&[1, 1, 1, 2, 2, 3, 5, 9]);
    for _ in 0..times {
        change(&mut input, seeds, words, random);
        input.truncate(LONGEST);
    }
    input
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&str], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let inside = at.min(input.len().saturating_sub(1));
    match random.below(16) {
        0 => {
            if let Some(byte) = input.get_mut(inside) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(inside) {
                *byte = random.of(BYTES);
            }
        }
        2 => input.insert(at, random.of(BYTES)),
        3 => input.truncate(at),
        4 => drop(input.drain(part(input, at, random))),
        // A part once more, or many times.
        5 => {
            let part = input[part(input, at, random)].to_vec();
            let times = random
                .of(&[1, 1, 2, 10, 1000])
                .min(LONGEST / part.len().max(1));
            let at = random.below(input.len() + 1);
            input.splice(at..at, part.repeat(times));
        }
        6 => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len() + 1);
            let there = part(input, at, random);
            input.splice(there, other[part(other, from, random)].iter().copied());
        }
        // A number of a text, or of bytes.
        7 | 8 => {
            if let Some(digits) = run(input, at, |b| b.is_ascii_digit()) {
                let number = random.of(&NUMBERS);
                input.splice(digits, number.bytes());
            }
        }
        9 => {
            let number: u64 = random.of(&NUMBERS[..21]).parse().unwrap_or(u64::MAX);
            let bytes = number.to_le_bytes();
            let width = random.of(&[1, 2, 4, 8]);
            let place = at - at % random.of(&[1, 4, 8]);
            if let Some(there) = input.get_mut(place..place + width) {
                there.copy_from_slice(&bytes[..width]);
            }
        }
        // A word of the format, beside what is there or in its place.
        10 | 11 if !words.is_empty() => {
            let word = random.of(words);
            let there = match random.below(2) {
                0 => Some(at..at),
                _ => run(input, at, |b| b.is_ascii_alphanumeric() || b == b'_'),
            };
            input.splice(there.unwrap_or(at..at), word.bytes());
        }
        // The value behind a colon, an equals sign or a comma.
        12 | 13 => {
            let behind = |b: &u8| matches!(b, b':' | b'=' | b',');
            if let Some(start) = input[inside..].iter().position(behind) {
                let start = inside + start + 1;
                let end = input[start..].iter().position(|b| b",\n]}".contains(b));
                let end = end.map_or(input.len(), |end| start + end);
                let value = random.of(&[&VALUES[..], &NUMBERS[..]].concat());
                input.splice(start..end, value.bytes());
            }
        }
        // A whole line, gone or twice.
        14 => {
            let start = input[..at]
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |n| n + 1);
            let end = input[at..]
                .iter()
                .position(|b| *b == b'\n')
                .map_or(input.len(), |n| at + n + 1);
            let line = input[start..end].to_vec();
            let there = if random.below(2) == 0 {
                start..end
            } else {
                start..start
            };
            let line = if there.is_empty() { line } else { Vec::new() };
            input.splice(there, line);
        }
        _ => {
            let other = random.below(input.len());
            if !input.is_empty() {
                input.swap(inside, other);
            }
        }
    }
}

/// A part that begins at `at`: mostly a short one.
fn part(input: &[u8], at: usize, random: &mut Random) -> std::ops::Range<usize> {
    let most = random.of(&[1, 4, 16, 64, LONGEST]);
    at..(at + 1 + random.below(most)).min(input.len()).max(at)
}

/// The first run of bytes of a kind from `at` on.
fn run(input: &[u8], at: usize, kind: impl Fn(u8) -> bool) -> Option<std::ops::Range<usize>> {
    let start = at + input[at..].iter().position(|b| kind(*b))?;
    let length = input[start..].iter().position(|b| !kind(*b));
    Some(start..length.map_or(input.len(), |length| start + length))
}
