//! Decoded pictures of a data set, as bytes.

use memmap2::Mmap;

/// A picture: rows of pixels from the top down, the channels of each side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Rows.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Numbers of a pixel.
    pub channels: usize,
    /// (H, W, C)
    pub pixels: Vec<u8>,
}

/// Where a picture lies among the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) height: u32,
    pub(super) width: u32,
}

impl Place {
    pub(super) fn bytes(self, channels: usize) -> Option<usize> {
        let pixels = (self.height as usize).checked_mul(self.width as usize)?;
        pixels.checked_mul(channels)
    }
}

/// The pixels of all pictures, one after the other.
#[derive(Debug)]
pub(super) enum Bytes {
    Owned(Vec<u8>),
    Mapped(Mmap),
}

impl Bytes {
    pub(super) fn all(&self) -> &[u8] {
        match self {
            Bytes::Owned(bytes) => bytes,
            Bytes::Mapped(map) => map,
        }
    }
}

/// The pictures of a data set, numbered from 0 in the order of their files.
#[derive(Debug)]
pub struct Pictures {
    pub(super) bytes: Bytes,
    pub(super) places: Vec<Place>,
    pub(super) channels: usize,
    pub(super) names: Vec<String>,
}

impl Pictures {
    /// Those in memory, all with so many channels, with their names.
    pub fn of(pictures: impl IntoIterator<Item = (String, Picture)>, channels: usize) -> Pictures {
        let (mut bytes, mut places, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (name, picture) in pictures {
            places.push(Place {
                start: bytes.len() as u64,
                height: picture.height as u32,
                width: picture.width as u32,
            });
            bytes.extend(picture.pixels);
            names.push(name);
        }
        Pictures {
            bytes: Bytes::Owned(bytes),
            places,
            channels,
            names,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Numbers of a pixel.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// What a picture is called: its path, or its number in its file.
    pub fn name(&self, number: u32) -> &str {
        self.names.get(number as usize).map_or("", String::as_str)
    }

    /// Picture `number`; one without a pixel for a number that is out of range.
    pub fn get(&self, number: u32) -> View<'_> {
        let found = self.places.get(number as usize).and_then(|place| {
            let (start, len) = (place.start as usize, place.bytes(self.channels)?);
            let pixels = self.bytes.all().get(start..start.checked_add(len)?)?;
            Some((place, pixels))
        });
        match found {
            Some((place, pixels)) => View {
                height: place.height as usize,
                width: place.width as usize,
                channels: self.channels,
                pixels,
            },
            None => View {
                height: 0,
                width: 0,
                channels: self.channels,
                pixels: &[],
            },
        }
    }
}

/// A picture that lies elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View<'a> {
    /// Rows.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Numbers of a pixel.
    pub channels: usize,
    /// (H, W, C)
    pub pixels: &'a [u8],
}

impl View<'_> {
    /// A picture of its own.
    pub fn to_picture(self) -> Picture {
        Picture {
            height: self.height,
            width: self.width,
            channels: self.channels,
            pixels: self.pixels.to_vec(),
        }
    }
}

impl Picture {
    /// It, without giving it away.
    pub fn view(&self) -> View<'_> {
        View {
            height: self.height,
            width: self.width,
            channels: self.channels,
            pixels: &self.pixels,
        }
    }
}
