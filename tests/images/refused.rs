//! Pictures and runs that cannot be used: one clear error each.

use std::fs;

use super::runs::Place;
use super::support::{of_class, two_classes, write};

/// Is refused with this exit code and a line that says all of this.
fn refused(place: &Place, arguments: &[&str], code: i32, said: &[&str]) {
    let out = place.run(arguments, "2");
    let error = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{arguments:?}: {error}");
    let line = error
        .lines()
        .find(|line| line.starts_with("melos: "))
        .unwrap_or_default();
    for said in said {
        assert!(line.contains(said), "{said}: {error}");
    }
}

fn dry<'a>(data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [
        &["train", "--preset", "mlp", "--dry-run", "--data", data][..],
        more,
    ]
    .concat()
}

#[test]
fn folders_and_tables_that_teach_nothing() {
    let place = Place::new();
    write(&place.path("single/sea/1.bmp"), of_class(0, 1));
    refused(
        &place,
        &dry("single", &[]),
        4,
        &["a single one", "a folder of its own"],
    );
    two_classes(&place.path("hollow"), "train", 3, 0);
    fs::create_dir(place.path("hollow/train/fog")).unwrap();
    refused(
        &place,
        &dry("hollow", &[]),
        4,
        &["class 'fog' has 0 of the 1"],
    );
    write(&place.path("nothing/readme.txt"), "no picture");
    refused(&place, &dry("nothing", &[]), 4, &["there is no picture"]);
    write(
        &place.path("t.csv"),
        "path,kind\nphotos/train/sea/0.bmp,sea\n",
    );
    refused(
        &place,
        &dry("t.csv", &[]),
        4,
        &["no label column", "path, kind"],
    );
    refused(
        &place,
        &dry("t.csv", &["--label", "sort"]),
        2,
        &["no label column 'sort'"],
    );
    refused(
        &place,
        &dry("t.csv", &["--image", "file"]),
        2,
        &["no image column 'file'"],
    );
    write(&place.path("gone.csv"), "path,label\nnot/here.png,sea\n");
    refused(
        &place,
        &dry("gone.csv", &[]),
        4,
        &["line 2", "not/here.png"],
    );
    // A label that is only tested.
    write(&place.path("photos/test/fog/1.bmp"), of_class(1, 3));
    refused(&place, &dry("photos", &[]), 4, &["'fog'", "never occurs"]);
}

#[test]
fn pictures_that_are_broken_or_too_large() {
    let place = Place::new();
    let mut bmp = of_class(0, 1);
    bmp.truncate(100);
    write(&place.path("photos/train/sea/5.bmp"), bmp);
    refused(
        &place,
        &dry("photos", &[]),
        5,
        &["5.bmp", "damaged", "images.on_broken=skip"],
    );
    let mut huge = of_class(0, 1);
    huge[18..22].copy_from_slice(&50_000u32.to_le_bytes());
    huge[22..26].copy_from_slice(&50_000u32.to_le_bytes());
    write(&place.path("photos/train/sea/5.bmp"), huge);
    refused(&place, &dry("photos", &[]), 5, &["5.bmp", "50000 × 50000"]);
    let good = place.run(&dry("photos", &["--set", "images.on_broken=skip"]), "2");
    assert!(good.status.success());
}

#[test]
fn models_and_settings_that_do_not_fit() {
    let place = Place::new();
    let out = place.train("grey", 2, &[], "2");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let transfer = |more: &[&'static str]| {
        let start = [
            "train",
            "--preset",
            "image-transfer",
            "--init",
            "grey",
            "--data",
            "photos",
            "--dry-run",
        ];
        [&start[..], more].concat()
    };
    refused(
        &place,
        &transfer(&["--set", "images.channels=3"]),
        2,
        &["images.channels", "pictures of 1"],
    );
    refused(
        &place,
        &transfer(&["--set", "images.size=32"]),
        2,
        &["images.size", "6 × 6"],
    );
    refused(
        &place,
        &dry("photos", &["--set", "images.channels=4"]),
        2,
        &["images.channels", "1 (grey) or 3"],
    );
    refused(
        &place,
        &dry("photos", &["--set", "images.normalise=imagenet"]),
        2,
        &["images.normalise"],
    );
    let wrong = [
        "--set",
        "stage.train.augment={ random_horizontal_flip = 2.0 }",
    ];
    refused(
        &place,
        &dry("photos", &wrong),
        2,
        &["stage.train.augment.random_horizontal_flip"],
    );
    refused(
        &place,
        &dry("photos", &["--set", "model.width=3"]),
        2,
        &["unknown key 'width' in model", "hidden"],
    );
    refused(
        &place,
        &dry("photos", &["--set", "model.hidden=[0]"]),
        2,
        &["model: hidden_sizes is 0"],
    );
    refused(
        &place,
        &dry("photos", &["--set", "data.source=files"]),
        2,
        &["data.source", "image_classification"],
    );
    let text = [
        "train",
        "--preset",
        "lstm",
        "--scale",
        "small",
        "--data",
        "photos",
        "--dry-run",
        "--set",
        "data.source=images",
    ];
    refused(&place, &text, 2, &["data.source", "of texts"]);
    refused(
        &place,
        &["predict", "grey", "a text"],
        2,
        &["reads pictures"],
    );
    write(&place.path("bad.png"), "no picture");
    refused(
        &place,
        &["predict", "grey", "bad.png"],
        5,
        &["bad.png", "no png"],
    );
}

#[test]
fn pictures_of_one_pixel_are_learned_from() {
    let place = Place::new();
    for (class, name) in ["day", "night"].into_iter().enumerate() {
        for number in 0..8 {
            let dot = super::support::bmp(1, 1, |_, _| [(200 * class + number) as u8; 3]);
            write(&place.path(&format!("dots/{name}/{number}.bmp")), dot);
        }
    }
    for size in ["1", "[3, 2]"] {
        let size = format!("images.size={size}");
        let data = ["--data", "dots", "--set", size.as_str()];
        let out = place.run(
            &[
                &[
                    "train",
                    "--preset",
                    "mlp",
                    "--quiet",
                    "--out",
                    &size,
                    "--set",
                    "stage.train.budget={ steps = 2 }",
                ][..],
                &data,
            ]
            .concat(),
            "2",
        );
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
}
