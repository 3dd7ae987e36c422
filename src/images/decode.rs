//! Encoded pictures to pixels.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};

use super::augment::grey;
use super::pictures::Picture;

/// Pixels of a picture: more are refused before they are decoded.
const PIXELS: u64 = 1 << 27;
/// Bytes that a decoder may take.
const BYTES: u64 = 1 << 30;

/// The ends of names that pictures have.
const ENDS: [&str; 6] = ["bmp", "gif", "jpeg", "jpg", "png", "webp"];

/// Whether a name is one of a picture.
pub fn is_picture(name: &std::path::Path) -> bool {
    let end = name.extension().and_then(|end| end.to_str());
    end.is_some_and(|end| ENDS.contains(&end.to_ascii_lowercase().as_str()))
}

/// A picture's pixels in so many channels, turned as its EXIF says; of several pictures in one file the first.
///
/// # Errors
/// What is wrong with it, in words.
pub fn decode(bytes: &[u8], channels: usize) -> Result<Picture, String> {
    let failed = |e: ImageError| match e {
        ImageError::Unsupported(e) => format!("is of a kind that is not read ({e})"),
        e => format!("is damaged ({e})"),
    };
    if bytes.is_empty() {
        return Err("is empty".into());
    }
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let reader = reader.map_err(|e| format!("cannot be read ({e})"))?;
    if reader.format().is_none() {
        return Err("is no png, jpeg, webp, bmp or gif".into());
    }
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > PIXELS {
        return Err(format!(
            "is {width} × {height} pixels, more than the {PIXELS} that are read of one; make it smaller"
        ));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(BYTES);
    decoder.set_limits(limits).map_err(failed)?;
    // What cannot be told does not turn it.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    image.apply_orientation(orientation);
    let (width, height) = (image.width() as usize, image.height() as usize);
    if width == 0 || height == 0 {
        return Err("has no pixel".into());
    }
    let pixels = match (channels, &image) {
        // What is grey stays as it is; of colours the grey that Pillow makes.
        (1, DynamicImage::ImageLuma8(_)) => image.into_bytes(),
        (1, _) => (image.to_rgb8().as_raw().chunks_exact(3))
            .map(grey)
            .collect(),
        _ => image.into_rgb8().into_raw(),
    };
    Ok(Picture {
        height,
        width,
        channels,
        pixels,
    })
}

impl Picture {
    /// The same in another number of channels: grey of colours, or three times the grey.
    pub(super) fn in_channels(self, channels: usize) -> Picture {
        let pixels = match (self.channels, channels) {
            (3, 1) => self.pixels.chunks_exact(3).map(grey).collect(),
            (1, 3) => self.pixels.iter().flat_map(|&x| [x; 3]).collect(),
            _ => return self,
        };
        Picture {
            channels,
            pixels,
            ..self
        }
    }
}
