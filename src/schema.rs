//! Reads structs out of TOML tables and says exactly where a table does not fit: serde's own
//! complaints (unknown key, wrong type, missing key) arrive here as data, not as a sentence.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use serde::Deserialize;
use serde::de::value::StringDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Unexpected, Visitor};
use toml::{Table, Value};

use crate::error::Error;

/// What serde complained about, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Path from the root, outermost first.
    path: Vec<String>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    UnknownKey {
        key: String,
        known: Vec<&'static str>,
    },
    UnknownChoice {
        choice: String,
        known: Vec<&'static str>,
    },
    Missing(&'static str),
    Type {
        expected: String,
        found: String,
    },
    Message(String),
}

impl Fault {
    fn new(kind: Kind) -> Self {
        Self {
            path: Vec::new(),
            kind,
        }
    }

    /// A key that is not among the `known`.
    pub(crate) fn unknown_key(key: &str, known: Vec<&'static str>) -> Self {
        Self::new(Kind::UnknownKey {
            key: key.to_string(),
            known,
        })
    }

    /// A choice that is not among the `known`.
    pub(crate) fn unknown_choice(choice: &str, known: Vec<&'static str>) -> Self {
        Self::new(Kind::UnknownChoice {
            choice: choice.to_string(),
            known,
        })
    }

    /// A value that is not what was `expected`.
    pub(crate) fn wrong_type(expected: &str, found: &Value) -> Self {
        Self::new(Kind::Type {
            expected: expected.to_string(),
            found: words(match found {
                Value::String(text) => Unexpected::Str(text),
                Value::Integer(number) => Unexpected::Signed(*number),
                Value::Float(number) => Unexpected::Float(*number),
                Value::Boolean(flag) => Unexpected::Bool(*flag),
                Value::Datetime(_) => Unexpected::Other("a date"),
                Value::Array(_) => Unexpected::Seq,
                Value::Table(_) => Unexpected::Map,
            }),
        })
    }

    /// The same fault, seen from one table further out.
    pub(crate) fn inside(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_string());
        self
    }

    /// The error that the user sees; `file` names the run file where no key can.
    pub(crate) fn into_error(self, file: &str) -> Error {
        let place = if self.path.is_empty() {
            file.to_string()
        } else {
            self.path.join(".")
        };
        match self.kind {
            Kind::UnknownKey { key, known } => Error::ConfigUnknownKey {
                place,
                suggestion: nearest(&key, known.iter().copied()),
                known: known.join(", "),
                key,
            },
            Kind::UnknownChoice { choice, known } => {
                let hint = nearest(&choice, known.iter().copied())
                    .map_or(String::new(), |s| format!(": did you mean '{s}'?"));
                Error::ConfigValue {
                    place,
                    message: format!(
                        "unknown choice '{choice}'{hint}; known: {}",
                        known.join(", ")
                    ),
                }
            }
            Kind::Missing(key) => Error::ConfigMissing {
                place,
                key: key.to_string(),
            },
            Kind::Type { expected, found } => Error::ConfigType {
                place,
                expected,
                found,
            },
            Kind::Message(message) => Error::value(place, message),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.path.join("."), self.kind)
    }
}

/// What stands somewhere, in the user's words.
fn words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(flag) => flag.to_string(),
        Unexpected::Unsigned(number) => format!("the number {number}"),
        Unexpected::Signed(number) => format!("the number {number}"),
        Unexpected::Float(number) => format!("the number {number}"),
        Unexpected::Str(text) => {
            let short: String = text.chars().take(40).collect();
            format!("the text \"{short}\"")
        }
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a table".into(),
        Unexpected::Other(what) => what.into(),
        other => other.to_string(),
    }
}

/// The known name that looks most like `word`, where one looks like it at all.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let word = word.to_lowercase();
    let likeness = |k: &str| strsim::jaro_winkler(&word, &k.to_lowercase());
    let known = known.into_iter().map(|k| (likeness(k), k));
    known
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k.to_string())
}

/// Reads a struct whose keys are the table's.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(table: Table) -> Result<T, Fault> {
    T::deserialize(Read(Value::Table(table)))
}

/// The keys of a struct: `read` is its way of being read.
pub(crate) fn keys<T>(read: impl FnOnce(Keys) -> Result<T, Fault>) -> &'static [&'static str] {
    let keys = Rc::new(Cell::new(&[][..]));
    // It ends in an error whatever the struct is: there is nothing to read.
    let _ = read(Keys(keys.clone()));
    keys.get()
}

/// Holds nothing, and takes down which keys are asked of it.
pub(crate) struct Keys(Rc<Cell<&'static [&'static str]>>);

impl<'de> Deserializer<'de> for Keys {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        Err(de::Error::custom("holds nothing"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.0.set(keys);
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Kind::Message(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        // serde's words for Rust's types are not the user's.
        let expected = expected.to_string();
        let expected = match expected.as_str() {
            "f32" | "f64" => "a number, as 0.001",
            "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more, as 32",
            "i32" | "i64" => "a whole number, as -1",
            "a boolean" => "true or false",
            "a string" => "text in quotes, as \"a name\"",
            "path string" => "a path in quotes, as \"reviews.csv\"",
            "a sequence" => "a list, as [1, 2]",
            other if other == "a map" || other.starts_with("struct ") => {
                "a table of keys, as { key = value }"
            }
            other if other.contains("tagged enum") => "a name, or a table, as { kind = \"name\" }",
            other => other,
        };
        Self::new(Kind::Type {
            expected: expected.into(),
            found: words(found),
        })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::unknown_key(key, known.to_vec())
    }

    fn unknown_variant(choice: &str, known: &'static [&'static str]) -> Self {
        Self::unknown_choice(choice, known.to_vec())
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Kind::Missing(key))
    }
}

/// A value on its way into the schema.
pub(crate) struct Read(pub(crate) Value);

impl<'de> Deserializer<'de> for Read {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(s) => visitor.visit_string(s),
            Value::Integer(i) => match u64::try_from(i) {
                Ok(u) => visitor.visit_u64(u),
                Err(_) => visitor.visit_i64(i),
            },
            Value::Float(x) => visitor.visit_f64(x),
            Value::Boolean(b) => visitor.visit_bool(b),
            Value::Datetime(d) => visitor.visit_string(d.to_string()),
            Value::Array(items) => visitor.visit_seq(Items {
                items: items.into_iter(),
                index: 0,
            }),
            Value::Table(table) => visitor.visit_map(Entries {
                entries: table.into_iter(),
                next: None,
            }),
        }
    }

    // What is there at all is something: TOML has no null.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    /// `"choice"`, `{ choice = value }` with exactly one key, or `{ kind = "choice", … }` with the
    /// choice's own keys beside it.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(s) => visitor.visit_enum(s.into_deserializer()),
            Value::Table(mut table) if table.get("kind").is_some_and(Value::is_str) => {
                let kind = table.remove("kind");
                let kind = kind.as_ref().and_then(Value::as_str);
                visitor.visit_enum(Choice {
                    choice: kind.unwrap_or_default().into(),
                    value: Value::Table(table),
                    place: None,
                })
            }
            Value::Table(table) => {
                let mut entries = table.into_iter();
                match (entries.next(), entries.next()) {
                    (Some((choice, value)), None) => visitor.visit_enum(Choice {
                        place: Some(choice.clone()),
                        choice,
                        value,
                    }),
                    _ => Err(Fault::new(Kind::Message(format!(
                        "should hold exactly one of: {}",
                        known.join(", ")
                    )))),
                }
            }
            other => {
                let expected = format!("one of: {}", known.join(", "));
                Err(Fault::wrong_type(&expected, &other))
            }
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Entries {
    entries: toml::map::IntoIter<String, Value>,
    next: Option<(String, Value)>,
}

impl<'de> de::MapAccess<'de> for Entries {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((key, value)) = self.entries.next() else {
            return Ok(None);
        };
        self.next = Some((key.clone(), value));
        let key: StringDeserializer<Fault> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let (key, value) = self
            .next
            .take()
            .ok_or_else(|| de::Error::custom("a value was read before its key"))?;
        seed.deserialize(Read(value))
            .map_err(|fault| fault.inside(&key))
    }
}

struct Items {
    items: std::vec::IntoIter<Value>,
    index: usize,
}

impl<'de> de::SeqAccess<'de> for Items {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let Some(item) = self.items.next() else {
            return Ok(None);
        };
        // Stages go by their names, as in `--set`; other items by their number.
        let place = match item.get("name") {
            Some(Value::String(name)) => name.clone(),
            _ => self.index.to_string(),
        };
        self.index += 1;
        seed.deserialize(Read(item))
            .map(Some)
            .map_err(|fault| fault.inside(&place))
    }
}

struct Choice {
    choice: String,
    value: Value,
    /// The key that the value stands under, where it has one of its own.
    place: Option<String>,
}

impl<'de> de::EnumAccess<'de> for Choice {
    type Error = Fault;
    type Variant = Choice;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Choice), Fault> {
        let name: StringDeserializer<Fault> = self.choice.clone().into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl Choice {
    fn read<T>(self, read: impl FnOnce(Read) -> Result<T, Fault>) -> Result<T, Fault> {
        read(Read(self.value)).map_err(|fault| match &self.place {
            Some(key) => fault.inside(key),
            None => fault,
        })
    }
}

impl<'de> de::VariantAccess<'de> for Choice {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Err(de::Error::custom(format!(
            "'{}' takes no value",
            self.choice
        )))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        self.read(|value| seed.deserialize(value))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.read(|value| value.deserialize_any(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.read(|value| value.deserialize_any(visitor))
    }
}
