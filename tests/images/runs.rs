//! Runs from pictures to answers, on the command line.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use melos::hub::TensorFile;
use melos::images::{Preprocessing, Resize, decode};
use serde_json::Value;

use super::support::{of_class, two_classes, write};

/// A folder to work in, with pictures of two classes in `photos`.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        two_classes(&place.path("photos"), "train", 12, 0);
        two_classes(&place.path("photos"), "test", 4, 100);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn run(&self, arguments: &[&str], threads: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_melos"))
            .args(arguments)
            .current_dir(self.0.path())
            .env("MELOS_CACHE", self.path("cache"))
            .env("RAYON_NUM_THREADS", threads)
            .env("NODEVICE_SELECT", "1")
            .env_remove("RUST_LOG")
            .output()
            .unwrap()
    }

    pub fn good(&self, arguments: &[&str]) -> String {
        let out = self.run(arguments, "2");
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{arguments:?}: {error}");
        String::from_utf8(out.stdout).unwrap()
    }

    /// A short run of a small perceptron.
    pub fn train(&self, out: &str, steps: usize, more: &[&str], threads: &str) -> Output {
        let steps = format!("stage.train.budget={{ steps = {steps} }}");
        let mut arguments = vec![
            "train",
            "--preset",
            "mlp",
            "--data",
            "photos",
            "--out",
            out,
            "--quiet",
            "--set",
            "images.size=6",
            "--set",
            "model.hidden=[9]",
            "--set",
            "model.dropout=0",
            "--set",
            "stage.train.batch=5",
            "--set",
            "stage.train.lr=0.01",
            "--set",
            "stage.train.schedule=constant",
            "--set",
            "data.validation=0",
            "--set",
            &steps,
        ];
        arguments.extend(more);
        self.run(&arguments, threads)
    }
}

fn weights(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("train/model/model.safetensors")).unwrap()
}

/// What `predict` says is what the model's files say by hand: resized, cut, scaled, two layers, softmax.
#[test]
fn pictures_are_learned_and_answers_follow_from_the_files() {
    let place = Place::new();
    let out = place.train("run", 60, &[], "2");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let scores: Value =
        serde_json::from_str(&place.good(&["eval", "run", "--data", "photos", "--json"])).unwrap();
    assert_eq!(
        (&scores["examples"], &scores["error"]),
        (&8.into(), &0.0.into())
    );
    assert_eq!(
        scores["classes"]["names"],
        serde_json::json!(["sea", "sky"])
    );
    write(&place.path("one.bmp"), of_class(0, 555));
    write(&place.path("more/two.bmp"), of_class(1, 556));
    let said = place.good(&["predict", "run", "one.bmp", "more", "--json"]);
    let said: Vec<Value> = said
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(said.len(), 2);
    let model = place.path("run/train/model");
    let config: Value =
        serde_json::from_slice(&std::fs::read(model.join("preprocessor_config.json")).unwrap())
            .unwrap();
    let number = |key: &str| config[key][0].as_f64().unwrap() as f32;
    let way = Preprocessing {
        resize: Resize::Shorter(6),
        size: [6, 6],
        mean: vec![number("image_mean")],
        std: vec![number("image_std")],
    };
    let file = TensorFile::open(&model.join("model.safetensors")).unwrap();
    let layer = |name: &str, x: &[f64]| -> Vec<f64> {
        let read = |part: &str| file.array(&format!("{name}.{part}")).unwrap().into_values();
        let (weight, bias) = (read("weight"), read("bias"));
        let rows = weight.chunks(x.len()).zip(bias);
        rows.map(|(row, bias)| {
            let products = row.iter().zip(x).map(|(w, x)| f64::from(*w) * x);
            products.sum::<f64>() + f64::from(bias)
        })
        .collect()
    };
    for (said, (class, number)) in said.iter().zip([(0, 555), (1, 556)]) {
        let picture = decode(&of_class(class, number), 1).unwrap();
        let mut pixels = vec![0.0f32; 36];
        way.normalise(way.whole(picture.view()).view(), &mut pixels);
        let pixels: Vec<f64> = pixels.into_iter().map(f64::from).collect();
        let hidden: Vec<f64> = layer("hidden.0", &pixels)
            .iter()
            .map(|x| x.max(0.0))
            .collect();
        let exps: Vec<f64> = layer("classifier", &hidden)
            .iter()
            .map(|z| z.exp())
            .collect();
        let sum: f64 = exps.iter().sum();
        for (n, name) in ["sea", "sky"].iter().enumerate() {
            assert_eq!(said["probabilities"][n][0], *name);
            let p = said["probabilities"][n][1].as_f64().unwrap();
            assert!(
                (p - exps[n] / sum).abs() < 1e-4,
                "{p} is not {}",
                exps[n] / sum
            );
        }
        assert_eq!(said["label"], ["sky", "sea"][class]);
    }
    place.good(&["predict", "run", "more", "--out", "said.csv"]);
    let csv = std::fs::read_to_string(place.path("said.csv")).unwrap();
    assert!(csv.starts_with("picture,prediction,p_sea,p_sky\n"), "{csv}");
    assert!(
        csv.lines().nth(1).unwrap().contains("two.bmp,sea,"),
        "{csv}"
    );
    // It goes on from its own folder, with its own preprocessing.
    place.good(&[
        "train",
        "--preset",
        "image-transfer",
        "--init",
        "run",
        "--data",
        "photos",
        "--out",
        "next",
        "--quiet",
        "--set",
        "stage.*.budget={ steps = 3 }",
    ]);
    let next = std::fs::read(place.path("next/finetune/model/preprocessor_config.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&next).unwrap(), config);
}

const CHANGED: [&str; 6] = [
    "--set",
    "stage.train.augment={ random_resized_crop = {}, random_horizontal_flip = 0.5, color_jitter = { brightness = 0.3 }, random_erasing = {} }",
    "--set",
    "stage.train.mixup=0.4",
    "--set",
    "stage.train.cutmix=1.0",
];

#[test]
fn augmented_runs_are_the_same_bits_whatever_the_threads_and_when_resumed() {
    let place = Place::new();
    for (out, steps, threads) in [("one", 11, "1"), ("four", 11, "4"), ("cut", 6, "2")] {
        let out = place.train(out, steps, &CHANGED, threads);
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    let whole = weights(&place.path("one"));
    assert!(
        whole == weights(&place.path("four")),
        "threads change the result"
    );
    assert!(whole != weights(&place.path("cut")));
    let longer = "stage.train.budget.steps=11";
    place.good(&["train", "--resume", "cut", "--set", longer, "--quiet"]);
    assert!(
        whole == weights(&place.path("cut")),
        "a resumed run is another"
    );
    let plain = place.train("plain", 11, &[], "2");
    assert!(plain.status.success() && whole != weights(&place.path("plain")));
}

#[test]
fn the_report_shows_the_most_wrong_pictures() {
    let place = Place::new();
    // Labels that nothing tells: some answers are wrong.
    for number in 0..8 {
        let name = ["sky", "sea"][number % 2];
        let path = place
            .path("photos/test")
            .join(name)
            .join(format!("odd{number}.bmp"));
        write(&path, of_class(0, 300 + number));
    }
    let out = place.train("run", 30, &[], "2");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let page = std::fs::read_to_string(place.path("run/report.html")).unwrap();
    assert!(
        page.contains("src=\"data:image/png;base64,"),
        "no thumbnail"
    );
    assert!(page.contains("odd1.bmp"), "no name");
}

#[test]
fn a_dry_run_and_a_preview_say_what_there_is() {
    let place = Place::new();
    write(&place.path("photos/train/sea/bad.jpg"), "nonsense");
    let all = [
        "--preset",
        "mlp",
        "--data",
        "photos",
        "--set",
        "images.on_broken=skip",
    ];
    let dry = place.good(&[&["train", "--dry-run"][..], &all].concat());
    for said in [
        "32 pictures of 8 × 9 pixels, 0 repeated, 1 broken",
        "passed over: ",
        "bad.jpg' is no png",
        "| sea   |       11 |          1 |    4 |",
    ] {
        assert!(dry.contains(said), "{said}: {dry}");
    }
    let preview = place.good(&[&["data", "preview", "--rows", "2"][..], &all].concat());
    assert!(
        preview.contains(": sea\n") && preview.contains("32 pictures, read as 28 × 28"),
        "{preview}"
    );
}
