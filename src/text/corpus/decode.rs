//! Text in UTF-16, as UTF-8: what spreadsheets and Windows' editors write.

use std::io::{self, BufRead, Read};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_16BE, UTF_16LE};

/// Bytes of UTF-8 that are decoded at a time.
const CHUNK: usize = 1 << 16;

/// A reader of UTF-8, whatever the text was. A byte order mark stays where it is.
pub struct Utf8<R> {
    inner: R,
    utf16: Option<Utf16>,
}

struct Utf16 {
    decoder: Decoder,
    text: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: BufRead> Utf8<R> {
    /// Tells by the first bytes what the text is: by their mark, or by the zeros in the letters of
    /// the Latin alphabet.
    ///
    /// # Errors
    /// Those of reading; UTF-32 is refused.
    pub fn new(mut inner: R) -> io::Result<Self> {
        let start = inner.fill_buf()?;
        if start.starts_with(&[0xff, 0xfe, 0, 0]) || start.starts_with(&[0, 0, 0xfe, 0xff]) {
            return Err(invalid(
                "is UTF-32; convert it with `iconv -f UTF-32 -t UTF-8`",
            ));
        }
        let encoding = wide(start);
        Ok(Self {
            inner,
            utf16: encoding.map(Utf16::new),
        })
    }
}

/// Which UTF-16 a text is that begins so, if it is one.
fn wide(start: &[u8]) -> Option<&'static Encoding> {
    match *start {
        [0xff, 0xfe, ..] => Some(UTF_16LE),
        [0xfe, 0xff, ..] => Some(UTF_16BE),
        [a, 0, b, 0, ..] if a != 0 && b != 0 => Some(UTF_16LE),
        [0, a, 0, b, ..] if a != 0 && b != 0 => Some(UTF_16BE),
        _ => None,
    }
}

/// What a text that begins so is read as.
pub fn name(start: &[u8]) -> &'static str {
    match wide(start) {
        Some(wide) => wide.name(),
        None if start.starts_with("\u{feff}".as_bytes()) => "UTF-8 with a byte order mark",
        None => "UTF-8",
    }
}

/// What to do about text that is not UTF-8, by some of it.
pub fn remedy(text: &[u8]) -> String {
    // Of UTF-8 with a few bad bytes a conversion would make garbage. A character that a window cuts is no
    // fault.
    let (mut good, mut bad) = (0, 0);
    for chunk in text.utf8_chunks() {
        good += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        bad += usize::from(!chunk.invalid().is_empty());
    }
    if good > 4 * bad {
        return "nearly all of it is: take the text from its source, or leave out what is damaged with \
                `iconv -c -f UTF-8 -t UTF-8`"
            .into();
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(text, true);
    let encoding = detector.guess(None, Utf8Detection::Deny).name();
    let encoding = encoding.to_uppercase();
    format!("it looks like {encoding}: convert it with `iconv -f {encoding} -t UTF-8`")
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

impl Utf16 {
    fn new(encoding: &'static Encoding) -> Self {
        Self {
            decoder: encoding.new_decoder_without_bom_handling(),
            text: Vec::new(),
            at: 0,
            ended: false,
        }
    }

    fn fill(&mut self, inner: &mut impl BufRead) -> io::Result<()> {
        self.at = 0;
        self.text.resize(CHUNK, 0);
        let mut written = 0;
        while written == 0 && !self.ended {
            let bytes = inner.fill_buf()?;
            let last = bytes.is_empty();
            let decoder = &mut self.decoder;
            let (result, read, new) =
                decoder.decode_to_utf8_without_replacement(bytes, &mut self.text, last);
            inner.consume(read);
            written = new;
            match result {
                DecoderResult::Malformed(..) => {
                    let message = "is UTF-16 with a character that is none: damaged or cut short";
                    return Err(invalid(message));
                }
                DecoderResult::InputEmpty => self.ended = last,
                DecoderResult::OutputFull => {}
            }
        }
        self.text.truncate(written);
        Ok(())
    }
}

impl<R: BufRead> BufRead for Utf8<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let Some(utf16) = &mut self.utf16 else {
            return self.inner.fill_buf();
        };
        if utf16.at == utf16.text.len() && !utf16.ended {
            utf16.fill(&mut self.inner)?;
        }
        Ok(&utf16.text[utf16.at..])
    }

    fn consume(&mut self, amount: usize) {
        match &mut self.utf16 {
            Some(utf16) => utf16.at = (utf16.at + amount).min(utf16.text.len()),
            None => self.inner.consume(amount),
        }
    }
}

impl<R: BufRead> Read for Utf8<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(unit).collect()
    }

    fn read(bytes: &[u8], buffer: usize) -> io::Result<String> {
        let mut text = String::new();
        let reader = BufReader::with_capacity(buffer, bytes);
        Utf8::new(reader)?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn text_is_the_same_however_it_was_encoded() {
        let text = "text,label\r\nnaïve 走れ 🏃,1\n".repeat(5000);
        for buffer in [5, 64, 1 << 18] {
            assert_eq!(read(text.as_bytes(), buffer).unwrap(), text);
            for mark in ["", "\u{feff}"] {
                let marked = format!("{mark}{text}");
                for unit in [u16::to_le_bytes, u16::to_be_bytes] {
                    assert_eq!(read(&utf16(&marked, unit), buffer).unwrap(), marked);
                }
            }
        }
        for text in ["", "a", "ab"] {
            assert_eq!(read(text.as_bytes(), 64).unwrap(), text);
        }
    }

    #[test]
    fn what_is_not_utf_8_is_told_by_its_letters() {
        let japanese = "メロスは激怒した。必ず、かの邪智暴虐の王を除かなければならぬと決意した。";
        let german = "Ein schöner Film für große Mädchen, ohne Übertreibung und Ärger.";
        for (encoding, text) in [
            (encoding_rs::SHIFT_JIS, japanese),
            (encoding_rs::EUC_JP, japanese),
            (encoding_rs::WINDOWS_1252, german),
            (
                encoding_rs::WINDOWS_1251,
                "Очень хороший фильм, его стоит посмотреть ещё раз.",
            ),
        ] {
            let (bytes, _, _) = encoding.encode(text);
            let said = remedy(&bytes);
            let name = encoding.name().to_uppercase();
            assert!(
                said.contains(&format!("iconv -f {name} -t UTF-8")),
                "{said}"
            );
        }
        let mut damaged = japanese.as_bytes().to_vec();
        damaged[40] = 0xff;
        assert!(remedy(&damaged).contains("iconv -c -f UTF-8"));
        assert!(remedy(b"\xe9").contains("iconv -f "));
    }

    #[test]
    fn what_is_cut_or_wider_is_refused() {
        let mut bytes = utf16("\u{feff}good\n", u16::to_le_bytes);
        bytes.pop();
        assert!(read(&bytes, 64).unwrap_err().to_string().contains("UTF-16"));
        bytes.extend([0, 0x3d, 0xd8]);
        assert!(read(&bytes, 64).unwrap_err().to_string().contains("UTF-16"));
        let wide = [0xff, 0xfe, 0, 0, b'a', 0, 0, 0];
        assert!(read(&wide, 64).unwrap_err().to_string().contains("UTF-32"));
    }
}
