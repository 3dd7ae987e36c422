//! Every variant of `Error` is triggered by a test through the public API. `TRIGGERED` names one for
//! each; those that stand in this file check the variant, and that the message names what it should.
#![cfg(feature = "cli")]

#[path = "../common/mod.rs"]
mod common;
#[macro_use]
mod refused;
mod models;
mod operators;

use std::path::Path;
use std::process::{Command, Output};

use common::gpu;
use melos::Error;
use melos::device::{AdapterChoice, Gpu, Groups};
use melos::kernels::{KernelError, Target, Variant};
use melos::objectives::scores::Scores;
use melos::tensor::{DType, Tensor};
use melos::text::tokenizer::Tokenizer;
use melos::train::artifacts::RunFolder;
use melos::train::config::{Overrides, RunConfig, preset};
use melos::train::estimate::DataSizes;
use melos::train::fit::AdapterLimits;
use melos::train::tasks::planned;
use operators::floats;

/// (variant, file, test)
#[rustfmt::skip] // A row a line.
const TRIGGERED: [(&str, &str, &str); 42] = [
    ("NoAdapter", "tests/errors/main.rs", "without_an_adapter_the_program_says_how_to_get_one"),
    ("UnknownAdapter", "tests/errors/main.rs", "an_adapter_that_is_not_there"),
    ("Device", "tests/errors/main.rs", "host_data_inside_a_recording"),
    ("NoHalf", "tests/ops/half.rs", "a_tape_without_f16_is_refused"),
    ("TooLarge", "tests/errors/main.rs", "a_tensor_beyond_the_adapter"),
    ("OutOfMemory", "tests/errors/main.rs", "a_context_that_has_reached_its_limit"),
    ("Kernel", "tests/errors/main.rs", "kernels_outside_of_their_contract"),
    ("Catalogue", "tests/errors/main.rs", "an_export_that_cannot_be_written"),
    ("Shape", "tests/errors/operators.rs", "wrong_shapes"),
    ("DType", "tests/errors/operators.rs", "wrong_element_types"),
    ("Argument", "tests/errors/operators.rs", "numbers_out_of_range"),
    ("Parameter", "tests/errors/operators.rs", "parameters_that_are_not_there_or_there_twice"),
    ("FileMissing", "tests/errors/main.rs", "files_that_are_no_model"),
    ("NotUtf8", "tests/text_corpus.rs", "every_error_says_what_and_where"),
    ("EmptyText", "tests/text_corpus.rs", "every_error_says_what_and_where"),
    ("MalformedRow", "tests/text_corpus.rs", "every_error_says_what_and_where"),
    ("ColumnMissing", "tests/text_corpus.rs", "every_error_says_what_and_where"),
    ("UnknownFormat", "tests/text_corpus.rs", "every_error_says_what_and_where"),
    ("NoLabels", "tests/text_batches/splits.rs", "bad_splits"),
    ("EmptyClass", "tests/text_batches/splits.rs", "bad_splits"),
    ("UnseenLabel", "tests/text_tokens/documents.rs", "labels_are_checked"),
    ("Tokenizer", "tests/errors/main.rs", "files_that_are_no_model"),
    ("Vectors", "tests/text_tokens/vectors.rs", "bad_word_vectors"),
    ("ConfigSyntax", "tests/errors/main.rs", "run_files_with_faults"),
    ("ConfigUnknownKey", "tests/errors/main.rs", "run_files_with_faults"),
    ("ConfigType", "tests/errors/main.rs", "run_files_with_faults"),
    ("ConfigMissing", "tests/errors/main.rs", "run_files_with_faults"),
    ("ConfigValue", "tests/errors/main.rs", "run_files_with_faults"),
    ("UnknownName", "tests/errors/main.rs", "run_files_with_faults"),
    ("Diverged", "tests/train_run/main.rs", "a_nan_loss_stops_the_run_and_names_the_last_good_checkpoint"),
    ("NoSteps", "src/train/task.rs", "data_without_a_step_are_refused"),
    ("DoesNotFit", "tests/errors/main.rs", "a_run_larger_than_its_adapter"),
    ("Metric", "tests/errors/main.rs", "nothing_to_measure"),
    ("ModelConfig", "tests/errors/models.rs", "models_that_cannot_be_built"),
    ("Io", "tests/text_tokens/tokenizers.rs", "bad_tokenizer_files"),
    ("DiskFull", "tests/text_tokens/documents.rs", "a_full_disk_is_named"),
    ("TensorFile", "src/train/artifacts/checkpoints.rs", "a_number_that_is_none_is_damage"),
    ("Folder", "tests/errors/main.rs", "files_that_are_no_model"),
    // Of `KernelError`, which the catalogue has to itself.
    ("KernelError::UnknownKernel", "tests/errors/main.rs", "kernels_outside_of_their_contract"),
    ("KernelError::UnknownKey", "tests/errors/main.rs", "kernels_outside_of_their_contract"),
    ("KernelError::NotForTarget", "tests/shaders.rs", "matrices_have_no_text_for_browsers"),
    ("KernelError::Write", "tests/errors/main.rs", "an_export_that_cannot_be_written"),
];

#[test]
fn every_variant_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let source = read("src/error.rs");
    let body = source.split("pub enum Error {").nth(1).unwrap();
    let body = body.split("\n}\n").next().unwrap();
    let variants: Vec<&str> = body
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| line.split([' ', '(', ',']).next().unwrap())
        .collect();
    assert!(variants.len() > 30, "{variants:?}");
    for variant in &variants {
        let named = TRIGGERED.iter().any(|(v, ..)| v == variant);
        assert!(named, "no test triggers Error::{variant}");
    }
    for (variant, file, test) in TRIGGERED {
        let here = read(file).contains(&format!("fn {test}()"));
        assert!(here, "{variant}: {file} has no test {test}");
        let known = variant.contains("::") || variants.contains(&variant);
        assert!(known, "Error has no variant {variant}");
    }
}

#[test]
fn an_adapter_that_is_not_there() {
    for wanted in ["no such adapter", "999"] {
        let choice = AdapterChoice {
            wanted: Some(wanted.into()),
            ..AdapterChoice::default()
        };
        refused!(
            Gpu::open(&choice),
            Error::UnknownAdapter { .. },
            wanted,
            "0: ",
            "melos devices"
        );
    }
}

#[test]
fn host_data_inside_a_recording() {
    let gpu = gpu();
    let x = floats(&gpu, &[4]);
    let result = gpu.record(|| {
        x.clear();
        x.write(&[1.0f32; 4])
    });
    refused!(
        result.map(drop),
        Error::Device { .. },
        &gpu.caps().name,
        "recorded",
        "before it"
    );
    // The context goes on.
    assert_eq!(x.to_vec::<f32>().unwrap(), [0.5; 4]);
}

#[test]
fn a_tensor_beyond_the_adapter() {
    let gpu = gpu();
    let limit = gpu.caps().limits.max_storage_buffer_binding_size;
    let elements = (limit / 4 + 1) as usize;
    let bytes = (elements * 4).to_string();
    let result = Tensor::empty(&gpu, [elements], DType::F32);
    refused!(
        result,
        Error::TooLarge { .. },
        &bytes,
        &limit.to_string(),
        "one storage binding"
    );
}

#[test]
fn a_context_that_has_reached_its_limit() {
    let gpu = gpu();
    gpu.limit_memory(Some(1 << 20));
    let half = Tensor::zeros(&gpu, [1 << 17]).unwrap();
    let more = || Tensor::empty(&gpu, [(1 << 17) + 1], DType::F32);
    refused!(
        more(),
        Error::OutOfMemory { .. },
        &gpu.caps().name,
        "655360 bytes",
        "524288 bytes"
    );
    assert_eq!(gpu.memory().reserved, 1 << 19);
    // What is there goes on, and memory that comes back is not asked for again.
    for _ in 0..2 {
        drop(Tensor::zeros(&gpu, [1 << 17]).unwrap());
        gpu.wait().unwrap();
    }
    assert_eq!(half.to_vec::<f32>().unwrap()[..2], [0.0; 2]);
    gpu.limit_memory(None);
    assert!(more().is_ok());
}

#[test]
fn kernels_outside_of_their_contract() {
    let gpu = gpu();
    let plain = Variant::new();
    refused!(
        gpu.kernel("no_such", &plain).map(drop),
        Error::Kernel { .. },
        "no_such",
        "catalogue"
    );
    let odd = Variant::new().with("NO_SUCH", 1u32);
    refused!(
        gpu.kernel("fill", &odd).map(drop),
        Error::Kernel { .. },
        "fill",
        "NO_SUCH",
        "it has"
    );
    let kernel = gpu.kernel("fill", &plain).unwrap();
    let x = floats(&gpu, &[4]);
    let params = [4u32, 0, 0];
    let result = gpu.dispatch(&kernel, &params, &[], Groups::Linear(1));
    refused!(
        result,
        Error::Kernel { .. },
        "fill",
        "takes 1 bindings, was given 0"
    );
    for grid in [[0, 1, 1], [1 << 20, 1, 1]] {
        let result = gpu.dispatch(&kernel, &params, &[x.binding()], Groups::Grid(grid));
        refused!(result, Error::Kernel { .. }, "fill", "grid");
    }
    let unknown = melos::kernels::catalogue::contract("no_such").map(drop);
    refused!(
        unknown,
        KernelError::UnknownKernel { .. },
        "no_such",
        "melos kernels list"
    );
    let fill = melos::kernels::catalogue::get("fill").unwrap();
    let result = fill.source(&odd, Target::Naga).map(drop);
    refused!(result, KernelError::UnknownKey { .. }, "fill", "NO_SUCH");
}

fn config(set: &str) -> melos::Result<RunConfig> {
    let overrides = Overrides {
        set: vec![set.into()],
        ..Overrides::default()
    };
    preset("demo")?.config(&overrides)
}

#[test]
fn run_files_with_faults() {
    let parse = |text: &str| RunConfig::parse(text, "test.toml", &Overrides::default());
    refused!(
        parse("name = "),
        Error::ConfigSyntax { .. },
        "test.toml",
        "line 1"
    );
    refused!(
        parse(""),
        Error::ConfigMissing { .. },
        "test.toml",
        "needs the key"
    );
    refused!(
        config("model.hiden=3"),
        Error::ConfigUnknownKey { .. },
        "model",
        "'hidden'"
    );
    refused!(
        config("model.hidden='x'"),
        Error::ConfigType { .. },
        "model.hidden",
        "the text"
    );
    refused!(
        config("model.hidden=0"),
        Error::ConfigValue { .. },
        "model.hidden"
    );
    refused!(
        preset("dmeo").map(drop),
        Error::UnknownName { .. },
        "'dmeo'",
        "'demo'"
    );
}

#[test]
fn a_run_larger_than_its_adapter() {
    let config = config("name='large'").unwrap();
    let sizes = DataSizes {
        vocabulary: 1000,
        classes: 2,
    };
    let estimate = planned(&config, &config.stages[0], sizes).unwrap();
    let limits = AdapterLimits {
        name: "toy".into(),
        max_binding: 1,
        max_buffer: 1,
        memory: None,
    };
    refused!(
        estimate.check("lm", &limits),
        Error::DoesNotFit { .. },
        "'lm'",
        "toy",
        "batch"
    );
}

#[test]
fn nothing_to_measure() {
    refused!(
        Scores::language(0.0, 0).map(drop),
        Error::Metric { .. },
        "there is no text to score"
    );
    let crooked = vec![vec![1], vec![1, 2]];
    refused!(
        Scores::classifier(0.0, crooked).map(drop),
        Error::Metric { .. },
        "cannot compute"
    );
}

#[test]
fn files_that_are_no_model() {
    let dir = tempfile::tempdir().unwrap();
    refused!(
        RunFolder::open(dir.path()).map(drop),
        Error::Folder { .. },
        "not a run folder"
    );
    let path = dir.path().join("tokenizer.json");
    refused!(
        Tokenizer::load(&path).map(drop),
        Error::FileMissing { .. },
        "tokenizer.json"
    );
    std::fs::write(&path, "{}").unwrap();
    refused!(
        Tokenizer::load(&path).map(drop),
        Error::Tokenizer { .. },
        "tokenizer.json"
    );
}

fn melos(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_melos"));
    command.args(arguments).envs(environment.iter().copied());
    command.output().expect("the program starts")
}

/// One line to standard error and this exit code.
fn program_refused(out: &Output, code: i32) -> String {
    let error = String::from_utf8(out.stderr.clone()).unwrap();
    assert_eq!(out.status.code(), Some(code), "{error}");
    assert!(!error.contains("panicked"), "{error}");
    let own = error.lines().find(|line| line.starts_with("melos: "));
    own.unwrap_or_else(|| panic!("no line of melos in: {error}"))
        .to_string()
}

#[cfg(target_os = "linux")]
#[test]
fn without_an_adapter_the_program_says_how_to_get_one() {
    // The Vulkan loader looks for drivers in these, and nowhere else.
    let nowhere = [
        ("VK_DRIVER_FILES", "/nowhere"),
        ("VK_ICD_FILENAMES", "/nowhere"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run").display().to_string();
    for arguments in [&["devices"][..], &["train", "--out", &out]] {
        let error = program_refused(&melos(arguments, &nowhere), 3);
        for word in [
            "Vulkan",
            "apt-get install mesa-vulkan-drivers",
            "tools/with-vulkan",
        ] {
            assert!(error.contains(word), "{word} is not in: {error}");
        }
    }
}

#[test]
fn an_export_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let inside = file.join("kernels");
    let failed = melos::translate::export(&inside, Target::Web)
        .map(drop)
        .map_err(Error::from);
    let wanted = inside.display().to_string();
    refused!(
        failed,
        Error::Catalogue(KernelError::Write { .. }),
        "cannot write",
        &wanted
    );
    let out = melos(&["kernels", "export", &wanted], &[]);
    let error = program_refused(&out, 5);
    assert!(error.contains(&wanted), "{error}");
}
