//! The lengths that a compiled dictionary claims, held to its size before vibrato makes room for them.
//!
//! Little-endian; a list is its length (u64), then its items. What melos builds is
//!
//! ```text
//! magic
//! lexicon      trie (a list of bytes: a list with a length of u32 of codes of 4 bytes, 4 bytes, then
//!              such a list of nodes of 8 bytes), postings (4 bytes each), parameters (6), features
//!              (strings), 4 bytes
//! 1 byte 0     no lexicon of the user's
//! 4 bytes 0    costs as a matrix: a list (2 bytes each), and its two sides (8 bytes each)
//! 1 byte 0     ids as they are
//! characters   a list (4 bytes each), their categories (strings)
//! unknown      offsets (8 bytes each), entries (8 bytes and a string)
//! ```

const MAGIC: &[u8] = b"VibratoTokenizer 0.5\n";

/// Whether all that a dictionary claims to hold lies in it.
pub(super) fn are_true(dictionary: &[u8]) -> bool {
    let walked = || {
        let mut rest = dictionary.strip_prefix(MAGIC)?;
        let mut trie = take(&mut rest, 1)?;
        for item in [4, 8] {
            let length = u32::from_le_bytes(*trie.split_first_chunk()?.0);
            // The second number of the first list is no list's.
            let behind = if item == 4 { 4 } else { 0 };
            trie = trie.get(4 + length as usize * item + behind..)?;
        }
        take(&mut rest, 4)?;
        take(&mut rest, 6)?;
        strings(&mut rest, 0)?;
        rest = rest.get(4..)?.strip_prefix(&[0; 5])?;
        take(&mut rest, 2)?;
        rest = rest.get(16..)?.strip_prefix(&[0])?;
        take(&mut rest, 4)?;
        strings(&mut rest, 0)?;
        take(&mut rest, 8)?;
        strings(&mut rest, 8)?;
        (trie.is_empty() && rest.is_empty()).then_some(())
    };
    walked().is_some()
}

/// The items of a list, of so many bytes each.
fn take<'a>(rest: &mut &'a [u8], item: usize) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (items, behind) = behind.split_at_checked(length.checked_mul(item)?)?;
    *rest = behind;
    Some(items)
}

/// A list of strings, each behind so many bytes.
fn strings(rest: &mut &[u8], before: usize) -> Option<()> {
    let (length, behind) = rest.split_first_chunk()?;
    *rest = behind;
    let length = u64::from_le_bytes(*length);
    // Each takes some memory before it is read.
    if length > rest.len() as u64 / 8 {
        return None;
    }
    for _ in 0..length {
        *rest = rest.get(before..)?;
        take(rest, 1)?;
    }
    Some(())
}
