//! Against Pillow (tools/make_image_fixtures.py).

use melos::images::{Picture, Preprocessing, Resize, Stated, decode, resize};

use super::support::{bytes, expected, fixture};

/// The most that two pictures differ by.
fn off(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn every_form_is_decoded_as_pillow_does() {
    let expected = expected();
    let pictures = expected["pictures"].as_object().unwrap();
    assert_eq!(pictures.len(), 13);
    for (name, said) in pictures {
        let file = std::fs::read(fixture(name)).unwrap();
        // Decoders of JPEG may round otherwise, colours that are converted twice a little more.
        let most = match name.as_str() {
            "cmyk.jpg" => 6,
            name if name.ends_with("jpg") || name.ends_with("jpeg") => 3,
            "lossy.webp" => 3,
            _ => 0,
        };
        let colour = decode(&file, 3).unwrap();
        let size = [colour.height as u64, colour.width as u64];
        assert_eq!(serde_json::json!(size), said["size"], "{name}");
        let differ = off(&colour.pixels, &bytes(&said["rgb"]));
        assert!(differ <= most, "{name}: {differ}");
        let grey = decode(&file, 1).unwrap();
        assert_eq!(grey.pixels.len(), colour.pixels.len() / 3, "{name}");
        if said["grey"].is_string() {
            let differ = off(&grey.pixels, &bytes(&said["grey"]));
            assert!(differ <= most, "{name}: {differ}");
        }
    }
}

#[test]
fn pictures_are_resized_as_pillow_does() {
    let expected = expected();
    let source = Picture {
        height: 9,
        width: 13,
        channels: 3,
        pixels: bytes(&expected["source"]),
    };
    let resized = expected["resized"].as_object().unwrap();
    assert_eq!(resized.len(), 5);
    for (size, pixels) in resized {
        let (height, width) = size.split_once('x').unwrap();
        let own = resize(
            source.view(),
            height.parse().unwrap(),
            width.parse().unwrap(),
        );
        // Pillow 13 begins with columns where that is less work, and rounds in between.
        let most = if size == "3x17" { 1 } else { 0 };
        assert!(off(&own.pixels, &bytes(pixels)) <= most, "{size}");
    }
}

#[test]
fn what_is_broken_says_how() {
    for name in [
        "colour.png",
        "colour.jpg",
        "lossless.webp",
        "two.gif",
        "colour.bmp",
    ] {
        let file = std::fs::read(fixture(name)).unwrap();
        let short = decode(&file[..file.len() / 3], 3).unwrap_err();
        assert!(short.contains("damaged"), "{name}: {short}");
    }
    assert!(decode(b"", 3).unwrap_err().contains("empty"));
    assert!(decode(b"GIF is a name", 3).unwrap_err().contains("no png"));
    // A picture that would fill the memory is refused by what its header says.
    let mut png = std::fs::read(fixture("colour.png")).unwrap();
    png[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    png[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    let sum = crc32(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&sum);
    let huge = decode(&png, 3).unwrap_err();
    assert!(huge.contains("60000 × 60000"), "{huge}");
}

/// PNG's checksum.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// As torchvision's Resize, CenterCrop, ToTensor and Normalize.
#[test]
fn preprocessing_is_torchvisions() {
    assert_eq!(
        Preprocessing::resized(Resize::Shorter(10), 20, 31),
        [10, 15]
    );
    assert_eq!(
        Preprocessing::resized(Resize::Shorter(10), 31, 20),
        [15, 10]
    );
    let way = Preprocessing {
        resize: Resize::Shorter(4),
        size: [2, 3],
        mean: vec![0.5],
        std: vec![0.25],
    };
    let picture = Picture {
        height: 5,
        width: 4,
        channels: 1,
        pixels: (0..20).collect(),
    };
    // round(1.5) = 2 and round(0.5) = 0 in Python.
    assert_eq!(way.middle(picture.view()).pixels, [8, 9, 10, 12, 13, 14]);
    let mut numbers = [0.0; 6];
    way.normalise(way.middle(picture.view()).view(), &mut numbers);
    assert!((numbers[1] - (9.0 / 255.0 - 0.5) / 0.25).abs() < 1e-6);
    let stated = Stated::of(&way.to_json());
    assert_eq!(stated.resize, Some(Resize::Shorter(4)));
    assert_eq!(stated.size, Some([2, 3]));
    assert_eq!(stated.scale, Some([vec![0.5], vec![0.25]]));
    // google/vit-base-patch16-224 and microsoft/resnet-50 have theirs so.
    let vit = serde_json::json!({"do_normalize": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5], "resample": 2, "size": {"height": 224, "width": 224}});
    assert_eq!(Stated::of(&vit).resize, Some(Resize::Exact([224; 2])));
    let old = serde_json::json!({"do_normalize": false, "size": 224});
    assert_eq!(Stated::of(&old).size, Some([224; 2]));
    assert_eq!(Stated::of(&old).scale, None);
}
