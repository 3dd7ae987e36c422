//! Values of a GGUF file's metadata, read where they lie.

/// What a value is. Those but texts and lists have a size of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Flag,
    Text,
    List,
    U64,
    I64,
    F64,
}

/// In the order of their numbers in files.
const KINDS: [Kind; 13] = [
    Kind::U8,
    Kind::I8,
    Kind::U16,
    Kind::I16,
    Kind::U32,
    Kind::I32,
    Kind::F32,
    Kind::Flag,
    Kind::Text,
    Kind::List,
    Kind::U64,
    Kind::I64,
    Kind::F64,
];

impl Kind {
    pub(super) fn numbered(number: u32) -> Option<Kind> {
        KINDS.get(number as usize).copied()
    }

    pub(super) fn number(self) -> u32 {
        self as u32
    }

    /// Bytes of such a value.
    pub(super) fn size(self) -> Option<usize> {
        match self {
            Kind::U8 | Kind::I8 | Kind::Flag => Some(1),
            Kind::U16 | Kind::I16 => Some(2),
            Kind::U32 | Kind::I32 | Kind::F32 => Some(4),
            Kind::U64 | Kind::I64 | Kind::F64 => Some(8),
            Kind::Text | Kind::List => None,
        }
    }
}

/// A value of a file's metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// u8 to u64.
    Unsigned(u64),
    /// i8 to i64.
    Signed(i64),
    /// f32.
    Single(f32),
    /// f64.
    Double(f64),
    /// bool.
    Flag(bool),
    /// A text.
    Text(&'a str),
    /// A list.
    List(List<'a>),
}

/// A list of values of one kind.
#[derive(Clone, PartialEq)]
pub struct List<'a> {
    item: Kind,
    count: usize,
    /// Its values.
    bytes: &'a [u8],
}

impl<'a> Value<'a> {
    /// The value that begins there; `None` for a text that is not UTF-8.
    pub(super) fn read(kind: Kind, bytes: &'a [u8]) -> Option<Value<'a>> {
        Some(match kind {
            Kind::U8 => Value::Unsigned((*bytes.first()?).into()),
            Kind::I8 => Value::Signed((*bytes.first()? as i8).into()),
            Kind::U16 => Value::Unsigned(u16::from_le_bytes(*bytes.first_chunk()?).into()),
            Kind::I16 => Value::Signed(i16::from_le_bytes(*bytes.first_chunk()?).into()),
            Kind::U32 => Value::Unsigned(u32::from_le_bytes(*bytes.first_chunk()?).into()),
            Kind::I32 => Value::Signed(i32::from_le_bytes(*bytes.first_chunk()?).into()),
            Kind::F32 => Value::Single(f32::from_le_bytes(*bytes.first_chunk()?)),
            Kind::Flag => Value::Flag(*bytes.first()? != 0),
            Kind::U64 => Value::Unsigned(u64::from_le_bytes(*bytes.first_chunk()?)),
            Kind::I64 => Value::Signed(i64::from_le_bytes(*bytes.first_chunk()?)),
            Kind::F64 => Value::Double(f64::from_le_bytes(*bytes.first_chunk()?)),
            Kind::Text => Value::Text(std::str::from_utf8(text(bytes)?.0).ok()?),
            Kind::List => {
                let item = Kind::numbered(u32::from_le_bytes(*bytes.first_chunk()?))?;
                let count = usize::try_from(u64::from_le_bytes(*bytes[4..].first_chunk()?)).ok()?;
                let bytes = &bytes[12..];
                Value::List(List { item, count, bytes })
            }
        })
    }

    pub(super) fn whole(&self) -> Option<usize> {
        match self {
            Value::Unsigned(n) => usize::try_from(*n).ok(),
            Value::Signed(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<f32> {
        match self {
            Value::Unsigned(n) => Some(*n as f32),
            Value::Signed(n) => Some(*n as f32),
            Value::Single(x) => Some(*x),
            Value::Double(x) => Some(*x as f32),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub(super) fn in_words(&self) -> String {
        match self {
            Value::Unsigned(n) => n.to_string(),
            Value::Signed(n) => n.to_string(),
            Value::Single(x) => x.to_string(),
            Value::Double(x) => x.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::Text(text) => format!("'{}'", text.chars().take(40).collect::<String>()),
            Value::List(list) => format!("a list of {}", list.count),
        }
    }
}

impl std::fmt::Debug for List<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {:?}", self.count, self.item)
    }
}

/// The text that begins there, and how many bytes it takes.
fn text(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let count = usize::try_from(u64::from_le_bytes(*bytes.first_chunk()?)).ok()?;
    let end = count.checked_add(8)?;
    Some((bytes.get(8..end)?, end))
}

impl<'a> List<'a> {
    /// How many values it has.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Its texts; `None` where they are none, or not UTF-8.
    pub fn texts(&self) -> Option<Vec<&'a str>> {
        if self.item != Kind::Text {
            return None;
        }
        let mut rest = self.bytes;
        let each = (0..self.count).map(|_| {
            let (found, end) = text(rest)?;
            rest = rest.get(end..)?;
            std::str::from_utf8(found).ok()
        });
        each.collect()
    }

    /// Its numbers; `None` where they are none.
    pub fn numbers(&self) -> Option<Vec<f32>> {
        let size = self.item.size()?;
        let each = self.bytes.chunks_exact(size).take(self.count);
        each.map(|bytes| Value::read(self.item, bytes)?.number())
            .collect()
    }
}
