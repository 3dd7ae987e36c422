//! The decoded copy of a data set on disk.
//!
//! ```text
//! 64 bytes   magic "MELOSPIX", version u32, 0 u32, bytes of pixels u64, bytes of meta u64, zeros
//! pixels     of all pictures, one after the other
//! meta       JSON: the key, and what is known of each picture
//! 32 bytes   sha256 of everything between the header and here, then of the header
//! ```
//! Numbers are in the machine's byte order: the copy belongs to the machine that made it.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::pictures::{Bytes, Pictures, Place};
use super::read::{Broken, Kept, Read, read};
use super::sources::ImageSource;
use crate::atomic::{self, NewFile};
use crate::bounded;
use crate::error::{Error, Result};
use crate::text::Split;
use crate::text::corpus::hex;

const MAGIC: [u8; 8] = *b"MELOSPIX";
/// Raised with every change of the layout, of the readers or of the resizing.
const VERSION: u32 = 1;

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct Header {
    magic: [u8; 8],
    version: u32,
    zero: u32,
    pixels: u64,
    meta: u64,
    rest: [u64; 4],
}

const HEADER: usize = size_of::<Header>();
const DIGEST: usize = 32;

/// Mean and standard deviation of each channel, of values from 0 to 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// Means.
    pub mean: Vec<f32>,
    /// Standard deviations.
    pub std: Vec<f32>,
}

/// All that is known of pictures but their pixels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Meta {
    key: String,
    pub channels: usize,
    pub places: Vec<Place>,
    pub names: Vec<String>,
    pub labels: Vec<Option<String>>,
    pub splits: Vec<Option<Split>>,
    pub broken: Vec<Broken>,
    /// Height and width as they lie on disk: the least and the greatest of each.
    pub sizes: [[usize; 2]; 2],
    pub scale: Scale,
}

/// How often each value of each channel is there, in pictures that are not for testing.
struct Histogram(Vec<[u64; 256]>);

impl Histogram {
    fn add(&mut self, pixels: &[u8]) {
        let channels = self.0.len().max(1);
        for pixel in pixels.chunks_exact(channels) {
            for (counts, &value) in self.0.iter_mut().zip(pixel) {
                counts[usize::from(value)] += 1;
            }
        }
    }

    fn scale(&self) -> Scale {
        let of = |counts: &[u64; 256]| {
            let count = counts.iter().sum::<u64>().max(1) as f64;
            let mean_of = |f: &dyn Fn(f64) -> f64| {
                let each = counts.iter().enumerate();
                let each = each.map(|(value, &n)| f(value as f64 / 255.0) * n as f64);
                each.sum::<f64>() / count
            };
            let mean = mean_of(&|x| x);
            let std = mean_of(&|x| (x - mean) * (x - mean)).sqrt();
            // Pictures of one colour are not divided by nothing.
            (mean as f32, if std > 1e-6 { std as f32 } else { 1.0 })
        };
        let (mean, std) = self.0.iter().map(of).unzip();
        Scale { mean, std }
    }
}

/// Reads the pictures of the sources, giving their pixels to `write` in order.
fn gather(
    sources: &[ImageSource],
    kept: Kept,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Meta> {
    let mut meta = Meta {
        channels: kept.channels,
        ..Meta::default()
    };
    let mut histogram = Histogram(vec![[0; 256]; kept.channels]);
    let mut start = 0;
    let broken = read(sources, kept, &mut |one: Read| {
        let picture = one.picture;
        if one.split != Some(Split::Test) {
            histogram.add(&picture.pixels);
        }
        write(&picture.pixels)?;
        meta.places.push(Place {
            start,
            height: picture.height as u32,
            width: picture.width as u32,
        });
        start += picture.pixels.len() as u64;
        let [least, most] = &mut meta.sizes;
        let first = meta.names.is_empty();
        for (axis, &side) in one.original.iter().enumerate() {
            least[axis] = if first { side } else { least[axis].min(side) };
            most[axis] = most[axis].max(side);
        }
        meta.names.push(one.name);
        meta.labels.push(one.label);
        meta.splits.push(one.split);
        Ok(())
    })?;
    meta.broken = broken;
    meta.scale = histogram.scale();
    Ok(meta)
}

/// The pictures of the sources, decoded and resized; with a folder `cache` the copy that an earlier run left
/// there, or one that is made.
///
/// The copy is keyed by the content of the sources and by how they are kept. One that is damaged is made
/// anew.
///
/// # Errors
/// Those of [`read`]; [`Error::EmptyText`] where no picture is left; [`Error::Io`], [`Error::DiskFull`].
pub fn open(sources: &[ImageSource], kept: Kept, cache: Option<&Path>) -> Result<Pictures> {
    let pictures = match cache {
        Some(folder) => load_or_build(sources, kept, folder)?,
        None => {
            let mut pixels = Vec::new();
            let meta = gather(sources, kept, &mut |new| {
                pixels.extend_from_slice(new);
                Ok(())
            })?;
            Pictures::new(Bytes::Owned(pixels), meta, false)
        }
    };
    if pictures.is_empty() {
        let path = sources.first().map(|source| source.path.clone());
        return Err(Error::folder(
            path.unwrap_or_default(),
            "holds no picture that can be read; expected png, jpeg, webp, bmp or gif",
        ));
    }
    Ok(pictures)
}

fn key(sources: &[ImageSource], kept: Kept) -> Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(VERSION.to_le_bytes());
    // Strings and numbers: this cannot fail.
    hasher.update(serde_json::to_vec(&kept).unwrap_or_default());
    for source in sources {
        hasher.update(source.content_hash()?);
        hasher.update(serde_json::to_vec(source).unwrap_or_default());
        // Its pictures are called by where they lie.
        hasher.update(source.path.as_os_str().as_encoded_bytes());
    }
    Ok(hex(&hasher.finalize()))
}

fn load_or_build(sources: &[ImageSource], kept: Kept, folder: &Path) -> Result<Pictures> {
    let key = key(sources, kept)?;
    let path = folder.join(format!("{}.pixels", &key[..16]));
    if path.exists() {
        match open_copy(&path, &key)? {
            Some((map, meta)) => return Ok(Pictures::new(Bytes::Mapped(map), meta, true)),
            None => log::warn!(
                "'{}' is damaged or out of date; making it anew",
                path.display()
            ),
        }
    }
    std::fs::create_dir_all(folder).map_err(|e| Error::write(folder, e))?;
    atomic::clear(folder);
    let failed = |e| Error::write(&path, e);
    let mut file = NewFile::begin(&path).map_err(failed)?;
    let mut hasher = Sha256::new();
    file.write_all(&[0; HEADER]).map_err(failed)?;
    let mut pixels = 0;
    let mut meta = gather(sources, kept, &mut |new| {
        hasher.update(new);
        pixels += new.len() as u64;
        file.write_all(new).map_err(failed)
    })?;
    meta.key = key.clone();
    finish(file, hasher, pixels, &meta).map_err(failed)?;
    match open_copy(&path, &key)? {
        Some((map, meta)) => Ok(Pictures::new(Bytes::Mapped(map), meta, false)),
        None => Err(failed(io::Error::other(
            "the file changed while it was being written",
        ))),
    }
}

fn finish(mut file: NewFile, mut hasher: Sha256, pixels: u64, meta: &Meta) -> io::Result<()> {
    let meta = serde_json::to_vec(meta)?;
    let header = Header {
        magic: MAGIC,
        version: VERSION,
        pixels,
        meta: meta.len() as u64,
        ..Header::default()
    };
    hasher.update(&meta);
    hasher.update(bytemuck::bytes_of(&header));
    file.write_all(&meta)?;
    file.write_all(&hasher.finalize())?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(bytemuck::bytes_of(&header))?;
    file.commit()
}

/// `None` when the file is not a whole, undamaged copy with this key.
fn open_copy(path: &Path, key: &str) -> Result<Option<(Mmap, Meta)>> {
    let file = bounded::open(path)?;
    if file.metadata().map_err(|e| Error::read(path, e))?.len() < (HEADER + DIGEST) as u64 {
        return Ok(None);
    }
    // SAFETY: the file is only ever replaced as a whole, by renaming a new one over it, which
    // leaves this mapping on the old one. Nobody writes into it while it is mapped.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::read(path, e))?;
    Ok(parse(&map, key).map(|meta| (map, meta)))
}

fn parse(bytes: &[u8], key: &str) -> Option<Meta> {
    let (header_bytes, rest) = bytes.split_at_checked(HEADER)?;
    let (payload, digest) = rest.split_at_checked(rest.len().checked_sub(DIGEST)?)?;
    let header: Header = bytemuck::try_pod_read_unaligned(header_bytes).ok()?;
    if header.magic != MAGIC || header.version != VERSION {
        return None;
    }
    let mut hasher = Sha256::new();
    hasher.update(payload);
    hasher.update(header_bytes);
    if hasher.finalize()[..] != *digest {
        return None;
    }
    let (pixels, meta) = payload.split_at_checked(usize::try_from(header.pixels).ok()?)?;
    let meta: Meta = serde_json::from_slice(meta).ok()?;
    let count = meta.places.len();
    let whole = [meta.names.len(), meta.labels.len(), meta.splits.len()] == [count; 3];
    let inside = |place: &Place| {
        let end = (place.start as usize).checked_add(place.bytes(meta.channels)?)?;
        (end <= pixels.len()).then_some(())
    };
    let sound = whole && meta.places.iter().all(|place| inside(place).is_some());
    // Behind the header: where the pixels begin.
    let places = meta.places.iter().map(|place| Place {
        start: place.start + HEADER as u64,
        ..*place
    });
    let places = places.collect();
    (sound && meta.key == key).then_some(Meta { places, ..meta })
}
