//! Presets: run files embedded in the binary.

#[path = "../../../presets/mod.rs"]
mod list;

use super::{Overrides, RunConfig, unknown_name};
use crate::error::Result;

/// A run file that comes with melos.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// Its name for `--preset`.
    pub name: &'static str,
    /// The run file's text.
    pub text: &'static str,
}

/// All presets; the first is the one that `melos train` runs without arguments.
pub const PRESETS: &[Preset] = list::PRESETS;

/// The preset of that name.
///
/// # Errors
/// [`UnknownName`](crate::Error::UnknownName), with a suggestion.
pub fn preset(name: &str) -> Result<&'static Preset> {
    PRESETS
        .iter()
        .find(|p| p.name == name)
        .ok_or_else(|| unknown_name("preset", name, PRESETS.iter().map(|p| p.name)))
}

impl Preset {
    /// The preset as a configuration.
    ///
    /// # Errors
    /// As [`RunConfig::parse`].
    pub fn config(&self, overrides: &Overrides) -> Result<RunConfig> {
        RunConfig::parse(self.text, &format!("preset '{}'", self.name), overrides)
    }
}
