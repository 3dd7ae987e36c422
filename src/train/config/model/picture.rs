//! Networks of a run file that read pictures: what their keys mean is their family's matter.

use std::fmt;

use toml::Table;

use super::ModelKind;
use crate::models::{Config, FAMILIES, Family, PictureModel};
use crate::schema::Fault;

/// The keys of a stage that are for them, beside those of every model.
const KEYS: &[&str] = &["precision", "checkpointing", "lora"];

/// A network that reads pictures, from random weights.
#[derive(Clone)]
pub struct PictureNet {
    pub(super) family: &'static dyn Family,
    model: PictureModel,
    keys: Table,
}

/// The families that read pictures.
pub(super) fn all() -> impl Iterator<Item = (&'static dyn Family, PictureModel)> {
    let families = FAMILIES.iter();
    families.filter_map(|family| Some((*family, family.pictures()?)))
}

/// The family of that kind.
pub(super) fn find(kind: &str) -> Option<(&'static dyn Family, PictureModel)> {
    all().find(|(_, model)| model.kind == kind)
}

/// What a family is good for: what its heads learn.
pub(super) fn kind(family: &'static dyn Family, model: PictureModel) -> ModelKind {
    let format = family.format();
    ModelKind {
        name: model.kind,
        keys: KEYS,
        pairs: true,
        learns: Box::new(|o| o.head().and_then(|head| format.class(head)).is_some()),
        sizes: model.keys,
    }
}

impl PictureNet {
    /// Reads `[model]`.
    pub(super) fn read(
        family: &'static dyn Family,
        model: PictureModel,
        keys: Table,
    ) -> Result<PictureNet, Fault> {
        (model.read)(keys.clone())?;
        Ok(PictureNet {
            family,
            model,
            keys,
        })
    }

    /// What a run file says of it.
    pub(super) fn keys(&self) -> &Table {
        &self.keys
    }

    pub(super) fn kind(&self) -> ModelKind {
        kind(self.family, self.model)
    }

    /// Its sizes; those that follow from the data are yet to be set.
    pub(in crate::train) fn sized(&self) -> Option<Box<dyn Config>> {
        // It was read before.
        (self.model.read)(self.keys.clone()).ok()
    }
}

impl fmt::Debug for PictureNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.model.kind, self.keys)
    }
}

impl PartialEq for PictureNet {
    fn eq(&self, other: &PictureNet) -> bool {
        self.model.kind == other.model.kind && self.keys == other.keys
    }
}
