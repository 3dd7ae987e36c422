//! Pictures read, decoded and resized, many at a time.

use std::path::PathBuf;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::decode::decode;
use super::pictures::Picture;
use super::preprocess::{Preprocessing, Resize};
use super::resize::resize;
use super::sources::{Encoded, ImageSource, Item, bytes};
use crate::error::{Error, Result};
use crate::text::Split;

/// What is done about pictures that cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBroken {
    /// They are named, and nothing is trained.
    #[default]
    Refuse,
    /// They are passed over.
    Skip,
}

/// How pictures are kept before a model reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// What they are resized to; `None`: as they are.
    pub resize: Option<Resize>,
    /// Numbers of a pixel: 1 or 3.
    pub channels: usize,
    /// What is done about broken ones.
    pub on_broken: OnBroken,
}

/// A decoded picture, and what is known of it.
pub struct Read {
    /// Its path, or its place in its file.
    pub name: String,
    /// Its class.
    pub label: Option<String>,
    /// The part of the data that it belongs to.
    pub split: Option<Split>,
    /// Its pixels.
    pub picture: Picture,
    /// Its height and width as it lies on disk.
    pub original: [usize; 2],
}

/// A picture that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// Its path, or its place in its file.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Pictures decoded together, and the bytes of those in archives.
const TOGETHER: usize = 512;
const TOGETHER_BYTES: usize = 64 << 20;
/// Pixels of a picture once it is resized.
const PIXELS: usize = 1 << 26;
/// Broken pictures that are named.
const NAMED: usize = 5;

/// Gives each picture of the sources to `each`, in their order, whatever the number of threads; those that
/// are broken come back.
///
/// # Errors
/// Those of reading and of `each`; [`Error::Folder`] for broken pictures, unless they are passed over.
pub fn read(
    sources: &[ImageSource],
    kept: Kept,
    each: &mut dyn FnMut(Read) -> Result<()>,
) -> Result<Vec<Broken>> {
    let mut broken = Vec::new();
    let mut waiting: Vec<Item> = Vec::new();
    let mut held = 0;
    let mut drain = |items: Vec<Item>| -> Result<()> {
        let decoded: Vec<_> = items
            .into_par_iter()
            .map(|item| {
                let picture = prepared(item.encoded, kept);
                (item.name, item.label, item.split, picture)
            })
            .collect();
        for (name, label, split, picture) in decoded {
            match picture {
                Ok((picture, original)) => each(Read {
                    name,
                    label,
                    split,
                    picture,
                    original,
                })?,
                Err(problem) => broken.push(Broken { name, problem }),
            }
        }
        Ok(())
    };
    for source in sources {
        source.read(&mut |item| {
            held += match &item.encoded {
                Encoded::Bytes(bytes) => bytes.len(),
                Encoded::Pixels(picture) => picture.pixels.len(),
                Encoded::File(_) => 0,
            };
            waiting.push(item);
            if waiting.len() < TOGETHER && held < TOGETHER_BYTES {
                return Ok(());
            }
            held = 0;
            drain(std::mem::take(&mut waiting))
        })?;
    }
    drain(waiting)?;
    match (&broken[..], kept.on_broken) {
        ([], _) | (_, OnBroken::Skip) => Ok(broken),
        ([first, ..], OnBroken::Refuse) => Err(refused(first, &broken)),
    }
}

/// Pictures that cannot be read, named and counted.
fn refused(first: &Broken, all: &[Broken]) -> Error {
    let named = all.iter().skip(1).take(NAMED - 1);
    let others: Vec<&str> = named.map(|broken| broken.name.as_str()).collect();
    let others = match (&others[..], all.len().saturating_sub(NAMED)) {
        ([], _) => String::new(),
        (named, 0) => format!("; so cannot be read {}", named.join(", ")),
        (named, more) => format!("; so cannot be read {} and {more} others", named.join(", ")),
    };
    let problem = format!(
        "{}{others}; repair or take away what is broken, or pass it over with --set images.on_broken=skip",
        first.problem
    );
    Error::folder(PathBuf::from(&first.name), problem)
}

/// A picture decoded and resized, and its height and width before.
///
/// # Errors
/// What is wrong with it, in words.
fn prepared(encoded: Encoded, kept: Kept) -> Result<(Picture, [usize; 2]), String> {
    let picture = match encoded {
        Encoded::Pixels(picture) => picture.in_channels(kept.channels),
        Encoded::Bytes(bytes) => decode(&bytes, kept.channels)?,
        Encoded::File(path) => {
            let bytes = bytes(&path).map_err(|e| format!("cannot be read ({e})"))?;
            decode(&bytes, kept.channels)?
        }
    };
    let original = [picture.height, picture.width];
    let Some(to) = kept.resize else {
        return Ok((picture, original));
    };
    let [height, width] = Preprocessing::resized(to, picture.height, picture.width);
    if height
        .checked_mul(width)
        .is_none_or(|pixels| pixels > PIXELS)
    {
        return Err(format!(
            "is {} × {} pixels, too long and thin to be resized: it would be {width} × {height}",
            picture.width, picture.height
        ));
    }
    Ok((resize(picture.view(), height, width), original))
}
