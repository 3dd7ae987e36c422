//! A checkpoint as another class, with other names or in another element type.

use std::path::Path;

use super::checkpoint::{CARD, Checkpoint};
use super::format::Architecture;
use super::report::LoadReport;
use super::save::{Model, SaveOptions, save};
use crate::error::{Error, Result};

/// Refuses to write over something: a folder is made whole, so what is in it would go.
///
/// # Errors
/// [`Error::Folder`] where `out` holds something; [`Error::Io`].
pub fn require_empty(out: &Path) -> Result<()> {
    let occupied = match std::fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_some(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
        Err(e) => return Err(Error::read(out, e)),
    };
    if occupied {
        return Err(Error::folder(out, "is not empty; give a new folder"));
    }
    Ok(())
}

/// Writes `input` to `out` as `architecture` (its own where that is `None`). Tensors that the class
/// does not have are left out and reported as unexpected.
///
/// # Errors
/// [`Error::Folder`] where `out` holds something or `input` lacks a tensor of the class; what
/// [`Checkpoint::report`] and [`save`] refuse.
pub fn convert(
    input: &Checkpoint,
    out: &Path,
    architecture: Option<Architecture>,
    options: &SaveOptions,
) -> Result<(Architecture, LoadReport)> {
    require_empty(out)?;
    let architecture = match architecture {
        Some(architecture) if std::ptr::eq(architecture.format, input.format) => architecture,
        Some(other) => {
            let own = input.config["model_type"].as_str();
            let (other, own) = (other.name(), own.unwrap_or("different model"));
            let problem = format!("cannot become a {other}: it is a {own}");
            return Err(Error::folder(&input.path, problem));
        }
        None => input.architecture()?,
    };
    let layout = input.layout(architecture)?;
    let report = input.report(&layout)?;
    report.require(&input.path, |_| false)?;
    let mut companions = input.companions()?;
    // Of another class it would tell what the model is not.
    if input.architecture().is_ok_and(|own| own == architecture) {
        companions.extend(input.beside(CARD)?);
    }
    let mut model = Model {
        architecture,
        config: input.config.clone(),
        tensors: Default::default(),
        companions,
    };
    for (name, _) in layout.tensors {
        let array = input.array(&name)?;
        model.tensors.insert(name, array);
    }
    save(out, &model, options)?;
    Ok((architecture, report))
}
