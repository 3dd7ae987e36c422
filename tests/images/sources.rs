//! Pictures from wherever they lie, and the copy that is kept of them.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use melos::images::{Encoded, ImageSource, Kept, OnBroken, Resize, decode, open};
use melos::text::Split;

use super::support::{of_class, two_classes, write};

/// Labels, parts and the ends of names of all pictures, in order.
fn listed(path: &Path) -> Vec<(String, Option<String>, Option<Split>)> {
    let mut all = Vec::new();
    let source = ImageSource::new(path);
    source
        .read(&mut |item| {
            let name = item.name.replace('\\', "/");
            let end: Vec<&str> = name.rsplit('/').take(2).collect();
            all.push((format!("{}/{}", end[1], end[0]), item.label, item.split));
            Ok(())
        })
        .unwrap();
    all
}

fn entry(name: &str, label: &str, split: Option<Split>) -> (String, Option<String>, Option<Split>) {
    (name.into(), Some(label.into()), split)
}

#[test]
fn folders_are_classes_and_parts() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("photos");
    two_classes(&root, "", 1, 3);
    write(&root.join("sea/.hidden.png"), "x");
    write(&root.join("notes.txt"), "not a picture");
    let plain = [
        entry("sea/3.bmp", "sea", None),
        entry("sky/3.bmp", "sky", None),
    ];
    assert_eq!(listed(&root), plain);
    let parts = folder.path().join("parts");
    two_classes(&parts, "train", 1, 0);
    two_classes(&parts, "val", 1, 1);
    let (train, val) = (Some(Split::Train), Some(Split::Validation));
    let expected = [
        entry("sea/0.bmp", "sea", train),
        entry("sky/0.bmp", "sky", train),
        entry("sea/1.bmp", "sea", val),
        entry("sky/1.bmp", "sky", val),
    ];
    assert_eq!(listed(&parts), expected);
    // The same in an archive, whose order is its own.
    let tar = folder.path().join("photos.tar.gz");
    let gz = GzEncoder::new(std::fs::File::create(&tar).unwrap(), Compression::fast());
    let mut archive = tar::Builder::new(gz);
    archive.append_dir_all("photos", &parts).unwrap();
    archive.into_inner().unwrap().finish().unwrap();
    let mut found = listed(&tar);
    let mut wanted = expected.to_vec();
    found.sort_by_key(|e| e.0.clone());
    wanted.sort_by_key(|e| e.0.clone());
    assert_eq!(found, wanted);
}

#[test]
fn tables_name_paths_from_their_folder_on() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(&root.join("a/1.bmp"), of_class(0, 1));
    write(&root.join("a/2.bmp"), of_class(1, 2));
    let csv = root.join("all.csv");
    write(
        &csv,
        "class,file,split\nsky,a/1.bmp,train\nsea,a/2.bmp,test\n",
    );
    let expected = [
        entry("a/1.bmp", "sky", Some(Split::Train)),
        entry("a/2.bmp", "sea", Some(Split::Test)),
    ];
    assert_eq!(listed(&csv), expected);
}

/// An IDX file of bytes.
fn idx(axes: &[usize], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, axes.len() as u8];
    axes.iter()
        .for_each(|n| file.extend((*n as u32).to_be_bytes()));
    file.extend(bytes);
    file
}

#[test]
fn mnists_files_are_read_gzipped_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let pixels: Vec<u8> = (0..12).collect();
    let put = |name: &str, bytes: Vec<u8>, gz: bool| {
        let mut file = Vec::new();
        if gz {
            let mut out = GzEncoder::new(&mut file, Compression::fast());
            out.write_all(&bytes).unwrap();
            out.finish().unwrap();
            return write(&folder.path().join(format!("{name}.gz")), file);
        }
        write(&folder.path().join(name), bytes);
    };
    put("train-images-idx3-ubyte", idx(&[2, 2, 3], &pixels), true);
    put("train-labels-idx1-ubyte", idx(&[2], &[7, 3]), false);
    put(
        "t10k-images-idx3-ubyte",
        idx(&[1, 2, 3], &pixels[6..]),
        false,
    );
    put("t10k-labels-idx1-ubyte", idx(&[1], &[3]), true);
    let mut all = Vec::new();
    let source = ImageSource::new(folder.path());
    source
        .read(&mut |item| {
            let Encoded::Pixels(picture) = item.encoded else {
                panic!("not as pixels");
            };
            all.push((item.label.unwrap(), item.split, picture.pixels));
            Ok(())
        })
        .unwrap();
    let label = |n: &str| n.to_string();
    assert_eq!(
        all,
        [
            (label("3"), Some(Split::Test), pixels[6..].to_vec()),
            (label("7"), Some(Split::Train), pixels[..6].to_vec()),
            (label("3"), Some(Split::Train), pixels[6..].to_vec()),
        ]
    );
    put("t10k-labels-idx1-ubyte", idx(&[2], &[3, 4]), true);
    let error = source.read(&mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("2 labels of 1 pictures"), "{error}");
}

#[test]
fn cifars_batches_have_their_planes_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let mut row = vec![1u8];
    row.extend((0..3 * 1024).map(|n| (n / 1024 * 100 + n % 50) as u8));
    write(&folder.path().join("data_batch_1.bin"), &row);
    write(
        &folder.path().join("batches.meta.txt"),
        "airplane\nautomobile\n\n",
    );
    let mut all = Vec::new();
    let source = ImageSource::new(folder.path());
    source
        .read(&mut |item| {
            all.push(item);
            Ok(())
        })
        .unwrap();
    let Encoded::Pixels(picture) = &all[0].encoded else {
        panic!("not as pixels");
    };
    assert_eq!(all[0].label.as_deref(), Some("automobile"));
    assert_eq!(all[0].split, Some(Split::Train));
    assert_eq!(picture.pixels[3 * 33..3 * 34], [33, 107, 231]);
    write(&folder.path().join("data_batch_1.bin"), &row[..3000]);
    let error = source.read(&mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("ends within a picture"), "{error}");
}

#[test]
fn a_copy_is_kept_and_gives_the_same_pictures() {
    let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    two_classes(folder.path(), "train", 3, 0);
    two_classes(folder.path(), "test", 2, 9);
    let sources = [ImageSource::new(folder.path())];
    let kept = Kept {
        resize: Some(Resize::Shorter(6)),
        channels: 1,
        on_broken: OnBroken::Refuse,
    };
    let plain = open(&sources, kept, None).unwrap();
    let made = open(&sources, kept, Some(cache.path())).unwrap();
    let again = open(&sources, kept, Some(cache.path())).unwrap();
    assert!(!made.from_cache() && again.from_cache());
    assert_eq!((plain.len(), again.len()), (10, 10));
    for number in 0..10 {
        assert_eq!(plain.get(number), made.get(number));
        assert_eq!(plain.get(number), again.get(number));
        assert_eq!(plain.name(number), again.name(number));
    }
    assert!(plain.labels().eq(again.labels()));
    assert_eq!(plain.sizes(), [[9, 8], [9, 8]]);
    assert_eq!((plain.get(0).height, plain.get(0).width), (6, 6));
    // Mean and deviation are those of what is not for testing, at full precision.
    let train = (0..10).filter(|&n| plain.name(n).contains("train"));
    let values = train.flat_map(|n| plain.get(n).pixels.iter().map(|&x| f64::from(x) / 255.0));
    let values: Vec<f64> = values.collect();
    assert_eq!(values.len(), 6 * 36);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64;
    assert!((f64::from(plain.scale().mean[0]) - mean).abs() < 1e-6);
    assert!((f64::from(again.scale().std[0]) - variance.sqrt()).abs() < 1e-6);
    // Damage is noticed and made good, another picture is another copy.
    let copy = std::fs::read_dir(cache.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&copy).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&copy, bytes).unwrap();
    let good = open(&sources, kept, Some(cache.path())).unwrap();
    assert!(!good.from_cache() && good.get(1) == plain.get(1));
    write(&folder.path().join("train/sea/0.bmp"), of_class(0, 77));
    assert!(
        !open(&sources, kept, Some(cache.path()))
            .unwrap()
            .from_cache()
    );
}

#[test]
fn broken_pictures_are_named_and_counted_or_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    two_classes(folder.path(), "", 4, 0);
    for number in 0..3 {
        write(
            &folder.path().join(format!("sea/{number}.bmp")),
            b"BMnonsense",
        );
    }
    let sources = [ImageSource::new(folder.path())];
    let mut kept = Kept {
        resize: None,
        channels: 3,
        on_broken: OnBroken::Refuse,
    };
    let error = open(&sources, kept, None).unwrap_err().to_string();
    assert!(error.contains("0.bmp: is damaged"), "{error}");
    assert!(
        error.contains("1.bmp") && error.contains("2.bmp"),
        "{error}"
    );
    assert!(error.contains("images.on_broken=skip"), "{error}");
    kept.on_broken = OnBroken::Skip;
    let pictures = open(&sources, kept, None).unwrap();
    assert_eq!((pictures.len(), pictures.broken().len()), (5, 3));
    let first = decode(&of_class(1, 3), 3).unwrap();
    assert_eq!(pictures.get(0).to_picture(), first);
}
