//! Rungs: families of kernels that can be forced.
//!
//! The environment variable `MELOS_KERNELS` forces a rung in place of what was measured: `portable` uses no optional
//! feature of the adapter, `subgroup` broadcasts within subgroups wherever a kernel can, `image`
//! does that too and makes matrix products of operands copied into images, `tile` makes them by
//! tiles in workgroup memory, `matrix` those of f16 on matrix units. Unset or empty leaves the
//! choice to melos.

use super::adapter::Caps;
use crate::error::{Error, Result};

/// The environment variable names something that is not there.
pub(super) fn wrong(value: &str, expected: &str) -> Error {
    Error::ConfigValue {
        place: "MELOS_KERNELS".into(),
        message: format!("is '{value}'; expected {expected}"),
    }
}

/// A rung forced by `MELOS_KERNELS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// No optional feature.
    Portable,
    /// Subgroup broadcast, on adapters whose subgroups have 8 lanes or more.
    Subgroup,
    /// As `Subgroup`, and matrix products of operands copied into images where they suit it.
    Image,
    /// Matrix products by register tiles over workgroup memory; all else portable.
    Tile,
    /// Products of f16 on matrix units, those of f32 by tiles; all else portable.
    Matrix,
}

impl Rung {
    /// Whether kernels broadcast within subgroups.
    pub(crate) fn broadcasts(self) -> bool {
        matches!(self, Rung::Subgroup | Rung::Image)
    }

    /// What `MELOS_KERNELS` asks for.
    pub(super) fn from_env(caps: &Caps) -> Result<Option<Rung>> {
        let value = std::env::var_os("MELOS_KERNELS").unwrap_or_default();
        Rung::parse(&value.to_string_lossy(), caps)
    }

    fn parse(value: &str, caps: &Caps) -> Result<Option<Rung>> {
        let bad = |expected: &str| Err(wrong(value, expected));
        match value {
            "" => Ok(None),
            "portable" => Ok(Some(Rung::Portable)),
            "subgroup" | "image" if !caps.broadcasts() => {
                bad("another rung: this adapter's subgroups have fewer than 8 lanes")
            }
            "subgroup" => Ok(Some(Rung::Subgroup)),
            "image" => Ok(Some(Rung::Image)),
            "tile" => Ok(Some(Rung::Tile)),
            "matrix" if caps.matrix.is_some() => Ok(Some(Rung::Matrix)),
            "matrix" => bad("another rung: this adapter has no cooperative matrices for it"),
            _ => bad("portable, subgroup, image, tile or matrix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rung;
    use crate::device::adapter::tests::caps;

    #[test]
    fn rungs_are_those_the_adapter_has() {
        let parse = |value, lanes| Rung::parse(value, &caps(lanes)).map_err(|e| e.to_string());
        assert_eq!(parse("", 32), Ok(None));
        assert_eq!(parse("portable", 0), Ok(Some(Rung::Portable)));
        assert_eq!(parse("tile", 0), Ok(Some(Rung::Tile)));
        assert_eq!(parse("subgroup", 8), Ok(Some(Rung::Subgroup)));
        assert_eq!(parse("image", 8), Ok(Some(Rung::Image)));
        for rung in ["subgroup", "image"] {
            assert!(parse(rung, 4).is_err_and(|e| e.contains("fewer than 8 lanes")));
        }
        assert!(parse("matrix", 32).is_err_and(|e| e.contains("no cooperative matrices")));
        assert!(
            parse("fast", 32)
                .is_err_and(|e| e.contains("portable, subgroup, image, tile or matrix"))
        );
    }
}
