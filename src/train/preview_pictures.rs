//! A few pictures as a model reads them, in signs.

use std::path::Path;

use serde::Serialize;

use super::config::RunConfig;
use super::run::units;
use super::tasks::Data;
use crate::error::{Error, Result};
use crate::images::{View, resize};

/// The first pictures of a run's training part.
#[derive(Debug, Clone, Serialize)]
pub struct PicturePreview {
    /// Pictures in all.
    pub pictures: u64,
    /// Those that could not be read and are passed over.
    pub broken: u64,
    /// What the model reads: height, width, channels.
    pub read: [usize; 3],
    /// The first few.
    pub shown: Vec<Shown>,
}

/// A picture.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// Its path, or its place in its file.
    pub picture: String,
    /// Its class.
    pub label: Option<String>,
    /// It, in signs: the more ink, the brighter.
    pub lines: Vec<String>,
}

/// Signs by the ink that they take, and the most of a line; a sign is twice as high as wide.
const SIGNS: &[u8] = b" .:-=+*#%@";
const COLUMNS: usize = 56;

/// Reads the pictures of a run and shows the first `shown`.
///
/// # Errors
/// Those of reading.
pub fn preview(config: &RunConfig, shown: usize) -> Result<PicturePreview> {
    config.data.require()?;
    let place = || Path::new("a temporary folder");
    let folder = tempfile::tempdir().map_err(|e| Error::write(place(), e))?;
    let data = Data::open(config, folder.path(), false)?;
    let first = units(config).into_iter().next();
    let stage = first.as_ref().map(|unit| &config.stages[unit.stage]);
    let (Some(pictures), Some(unit), Some(stage)) = (&data.pictures, &first, stage) else {
        let message = "says that these are no pictures";
        return Err(Error::value("data.source", message));
    };
    let docs = data.parts(stage, unit)?.train;
    let (way, all) = (&pictures.way, &pictures.pictures);
    let names = data.documents.label_names();
    let one = |&doc: &u32| {
        let label = data.documents.label(doc);
        Shown {
            picture: all.name(doc).to_string(),
            label: label.and_then(|label| names.get(label as usize).cloned()),
            lines: signs(way.middle(all.get(doc)).view()),
        }
    };
    // From all over: files are often sorted by class.
    let step = (docs.len() / shown.max(1)).max(1);
    Ok(PicturePreview {
        pictures: all.len() as u64,
        broken: all.broken().len() as u64,
        read: [way.size[0], way.size[1], way.channels()],
        shown: docs.iter().step_by(step).take(shown).map(one).collect(),
    })
}

/// A picture in signs.
fn signs(picture: View<'_>) -> Vec<String> {
    let width = (2 * picture.width).clamp(1, COLUMNS);
    let height = (picture.height * width / (2 * picture.width.max(1))).max(1);
    let small = resize(picture, height, width);
    let row = (width * small.channels).max(1);
    let line = |row: &[u8]| {
        let sign = |pixel: &[u8]| {
            let bright: usize = pixel.iter().map(|&x| usize::from(x)).sum();
            char::from(SIGNS[bright * (SIGNS.len() - 1) / (255 * pixel.len().max(1))])
        };
        let signs: String = row.chunks(small.channels.max(1)).map(sign).collect();
        signs.trim_end().to_string()
    };
    small.pixels.chunks(row).map(line).collect()
}

impl PicturePreview {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for shown in &self.shown {
            let label = shown.label.as_deref().unwrap_or("(no class)");
            text += &format!("{}: {label}\n{}\n\n", shown.picture, shown.lines.join("\n"));
        }
        let [height, width, channels] = self.read;
        text + &format!(
            "{} pictures, read as {width} × {height} in {channels} channels; {} are broken\n",
            self.pictures, self.broken
        )
    }
}
