//! What a kernel is specialised by.

use std::collections::BTreeMap;
use std::fmt;

/// A value of a [`Variant`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// `const … : u32`.
    U32(u32),
    /// `const … : f32`; must be finite.
    F32(f32),
    /// A flag of `#if`, or `const … : bool`.
    Bool(bool),
}

impl Value {
    /// The WGSL type name.
    pub fn type_name(self) -> &'static str {
        match self {
            Value::U32(_) => "u32",
            Value::F32(_) => "f32",
            Value::Bool(_) => "bool",
        }
    }
}

impl fmt::Display for Value {
    /// A WGSL literal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::U32(v) => write!(f, "{v}u"),
            Value::F32(v) => write!(f, "{v:?}"),
            Value::Bool(v) => write!(f, "{v}"),
        }
    }
}

impl From<u32> for Value {
    fn from(v: u32) -> Self {
        Value::U32(v)
    }
}
impl From<f32> for Value {
    fn from(v: f32) -> Self {
        Value::F32(v)
    }
}
impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Value::Bool(v)
    }
}

/// What a kernel is specialised by: constants and flags, by name, in a fixed order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Variant(BTreeMap<String, Value>);

impl Variant {
    /// No constants, no flags: what the contract gives as defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a constant or flag.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_string(), value.into());
        self
    }

    /// The value of a key.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.0.get(name).copied()
    }

    /// The entries, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// A stable text that tells this variant from any other, for caches: `BIAS=true,TILE=8u`.
    pub fn key(&self) -> String {
        let entries: Vec<String> = self.iter().map(|(n, v)| format!("{n}={v}")).collect();
        entries.join(",")
    }
}
