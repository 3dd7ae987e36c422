//! A small picture in a page.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::pictures::View;
use super::resize::resize;

/// Pixels of its longer side.
const SIDE: usize = 64;
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A small copy of a picture as the address of an `img`; `None` for one that has no pixel.
pub fn thumbnail(picture: View<'_>) -> Option<String> {
    let longer = picture.height.max(picture.width);
    let side = |side: usize| match longer > SIDE {
        true => (side * SIDE / longer).max(1),
        false => side,
    };
    let small = resize(picture, side(picture.height), side(picture.width));
    let colour = match small.channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        _ => return None,
    };
    let mut png = Vec::new();
    let (width, height) = (small.width as u32, small.height as u32);
    let encoded = PngEncoder::new(&mut png).write_image(&small.pixels, width, height, colour);
    encoded.ok()?;
    Some(format!("data:image/png;base64,{}", base64(&png)))
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let mut padded = [0; 4];
        padded[1..=three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes(padded);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() {
                digit.into()
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::Picture;

    /// RFC 4648, section 10.
    #[test]
    fn base64_is_that_of_the_standard() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn a_thumbnail_is_small_and_a_picture_without_pixels_has_none() {
        let picture = Picture {
            height: 10,
            width: 200,
            channels: 3,
            pixels: vec![9; 6000],
        };
        let address = thumbnail(picture.view()).unwrap();
        assert!(address.starts_with("data:image/png;base64,iVBOR") && address.len() < 600);
        let none = Picture {
            height: 0,
            width: 0,
            channels: 2,
            pixels: Vec::new(),
        };
        assert_eq!(thumbnail(none.view()), None);
    }
}
