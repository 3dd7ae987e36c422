//! Paths in a run file: one, or a list.

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Deserializer, Serialize};

/// Files, folders or archives that are one data set: in a run file a path, or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths(Vec<PathBuf>);

impl Deref for Paths {
    type Target = [PathBuf];

    fn deref(&self) -> &[PathBuf] {
        &self.0
    }
}

impl<P: Into<PathBuf>> From<P> for Paths {
    fn from(path: P) -> Paths {
        Paths(vec![path.into()])
    }
}

impl FromIterator<PathBuf> for Paths {
    fn from_iter<I: IntoIterator<Item = PathBuf>>(paths: I) -> Paths {
        Paths(paths.into_iter().collect())
    }
}

impl Serialize for Paths {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [one] => one.serialize(to),
            all => all.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OneOrMany)
    }
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Paths;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path or a list of paths, as \"reviews.csv\" or [\"a.csv\", \"b.csv\"]")
    }

    fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<Paths, E> {
        Ok(path.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Paths, A::Error> {
        let mut paths = Vec::new();
        while let Some(path) = list.next_element::<PathBuf>()? {
            paths.push(path);
        }
        if paths.is_empty() {
            return Err(A::Error::custom("is an empty list; leave the key out"));
        }
        Ok(Paths(paths))
    }
}
