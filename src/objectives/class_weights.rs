//! `class_weights`: how much the answers of each class count in training.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::{WrongOption, require};

/// How much the answers of each class count; the loss of a step is the weighted mean.
#[derive(Debug, Clone, PartialEq)]
pub enum ClassWeights {
    /// All classes as much together: n / (k · n of the class), n answers of k classes (King and Zeng 2001),
    /// counted over the texts of training.
    Balanced,
    /// By their labels; 1 for one that is not named.
    Table(BTreeMap<String, f64>),
}

const BALANCED: &str = "balanced";

impl ClassWeights {
    /// Checks the numbers.
    pub(super) fn check(&self) -> Result<(), WrongOption> {
        let Self::Table(table) = self else {
            return Ok(());
        };
        table.iter().try_for_each(|(label, &weight)| {
            let good = weight > 0.0 && (weight as f32).is_finite() && weight as f32 > 0.0;
            let key = format!("class_weights.{label}");
            require(good, &key, "should be a positive number")
        })
    }

    /// A label of the table that is none of the data.
    pub fn unknown(&self, names: &[String]) -> Option<&str> {
        match self {
            Self::Balanced => None,
            Self::Table(table) => {
                let mut labels = table.keys();
                labels
                    .find(|label| !names.contains(label))
                    .map(String::as_str)
            }
        }
    }

    /// The weight of each class; `classes` are those of all answers of training.
    pub(super) fn of(&self, names: &[String], classes: impl Iterator<Item = usize>) -> Vec<f32> {
        match self {
            Self::Table(table) => {
                let weight = |name| table.get(name).copied().unwrap_or(1.0) as f32;
                names.iter().map(weight).collect()
            }
            Self::Balanced => {
                let mut counts = vec![0u64; names.len()];
                classes.for_each(|class| {
                    if let Some(count) = counts.get_mut(class) {
                        *count += 1;
                    }
                });
                let there = counts.iter().filter(|count| **count > 0).count() as f64;
                let all = counts.iter().sum::<u64>() as f64;
                let weight = |&count: &u64| match count {
                    // Nothing is weighed by it.
                    0 => 1.0,
                    count => (all / (there * count as f64)) as f32,
                };
                counts.iter().map(weight).collect()
            }
        }
    }
}

impl Serialize for ClassWeights {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Balanced => to.serialize_str(BALANCED),
            Self::Table(table) => table.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for ClassWeights {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ClassWeights;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"balanced\", or numbers by label, as { rare = 5, often = 1 }")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<ClassWeights, E> {
                match word {
                    BALANCED => Ok(ClassWeights::Balanced),
                    other => Err(E::unknown_variant(other, &[BALANCED])),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ClassWeights, A::Error> {
                let mut table = BTreeMap::new();
                while let Some((label, weight)) = map.next_entry()? {
                    table.insert(label, weight);
                }
                Ok(ClassWeights::Table(table))
            }
        }
        from.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balanced_weights_are_those_of_scikit_learn() {
        // compute_class_weight("balanced", classes=[0, 1, 3], y=[0, 0, 0, 1, 3, 3]); class 2 is not there.
        let names = ["a", "b", "c", "d"].map(String::from);
        let classes = [0, 0, 0, 1, 3, 3].into_iter();
        let weights = ClassWeights::Balanced.of(&names, classes);
        assert_eq!(weights, [2.0 / 3.0, 2.0, 1.0, 1.0]);
        let table = ClassWeights::Table(BTreeMap::from([("c".into(), 2.5)]));
        assert_eq!(table.of(&names, [].into_iter()), [1.0, 1.0, 2.5, 1.0]);
        assert_eq!(table.unknown(&names[..2]), Some("c"));
    }
}
