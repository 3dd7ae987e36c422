//! A driver that fails, by a Vulkan loader that does so on purpose (`vulkan.c`): whatever call fails, the
//! program ends with one line and a code, and goes on from its last checkpoint.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod doctor;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

struct Place {
    folder: TempDir,
    real: PathBuf,
}

/// The loader that the program would load.
fn real_loader() -> PathBuf {
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap();
    // Opening a device loads it into this process.
    let _gpu = melos::device::Gpu::open_best().unwrap();
    let maps = maps();
    let line = maps.lines().find(|line| line.contains("/libvulkan.so"));
    let path = line.and_then(|line| line.split_whitespace().last());
    PathBuf::from(path.expect("a Vulkan loader"))
}

impl Place {
    fn new() -> Place {
        let folder = TempDir::new().unwrap();
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("libvulkan.so.1"))
            .arg(tests.join("failing_driver/vulkan.c"))
            .arg("-ldl")
            .status();
        assert!(built.expect("cc, which Rust links with").success());
        let data = tests.join("data");
        let run = format!(
            "name = \"tiny\"\n[tokenizer]\nvocabulary = 300\nmin_frequency = 1\n[model]\nembedding = 8\n\
             hidden = 16\n[data]\nsource = \"files\"\npath = '{}'\n[[stage]]\nname = \"a\"\n\
             kind = \"finetune\"\nobjective = \"classify\"\nbatch = 8\nmax_len = 16\neval_every = 20\n\
             save_every = 20\nbudget = {{ steps = 60 }}\n",
            data.join("reviews.csv").display()
        );
        std::fs::write(folder.path().join("run.toml"), run).unwrap();
        Place {
            folder,
            real: real_loader(),
        }
    }

    /// `melos train` with these arguments, over a driver that fails so.
    fn train(&self, arguments: &[&str], fail: &[(&str, &str)]) -> Output {
        self.melos(&[&["train", "--quiet"], arguments].concat(), fail)
    }

    fn melos(&self, arguments: &[&str], fail: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_melos"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("MELOS_CACHE", self.folder.path().join("cache"))
            .env("LD_LIBRARY_PATH", self.folder.path())
            .env("REAL_VULKAN", &self.real)
            .env("NODEVICE_SELECT", "1")
            .env_remove("RUST_BACKTRACE")
            .envs(fail.iter().copied());
        command.output().unwrap()
    }

    fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
    }
}

/// The one line that it ended with, or nothing where it did not fail.
fn line(out: &Output) -> Option<String> {
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(!error.contains("panicked"), "{error}");
    let mut lines = error.lines().filter(|line| line.starts_with("melos: "));
    let first = lines.next().map(String::from);
    assert_eq!(lines.next(), None, "{error}");
    let code = out.status.code();
    match &first {
        None => assert_eq!(code, Some(0), "{error}"),
        // The driver failed, there is no adapter, its memory is used up.
        Some(_) => assert!(matches!(code, Some(1 | 3 | 7)), "{}: {error}", out.status),
    }
    first
}

#[test]
fn whatever_call_fails_the_program_ends_with_one_line() {
    let place = Place::new();
    // Text and tuning from the cache, so that it is the calls of the steps that fail.
    assert_eq!(
        line(&place.train(&["run.toml", "--out", "good"], &[])),
        None
    );
    let mut failed = 0;
    for call in [
        "vkCreateInstance",
        "vkEnumeratePhysicalDevices",
        "vkCreateDevice",
        "vkCreateSemaphore",
        "vkCreateBuffer",
        "vkAllocateMemory",
        "vkBindBufferMemory",
        "vkMapMemory",
        "vkCreateShaderModule",
        "vkCreateDescriptorSetLayout",
        "vkCreatePipelineLayout",
        "vkCreateComputePipelines",
        "vkCreateDescriptorPool",
        "vkAllocateDescriptorSets",
        "vkAllocateCommandBuffers",
        "vkBeginCommandBuffer",
        "vkEndCommandBuffer",
        "vkQueueSubmit",
        "vkGetSemaphoreCounterValue",
        "vkWaitSemaphores",
    ] {
        for (at, code) in [("1", "-4"), ("2", "-2"), ("30", "-4"), ("300", "-1")] {
            let fail = [("FAIL_CALL", call), ("FAIL_AT", at), ("FAIL_CODE", code)];
            let out = format!("{call}-{at}");
            println!("{call}, call {at}");
            let said = line(&place.train(&["run.toml", "--out", &out], &fail));
            failed += usize::from(said.is_some());
        }
    }
    // Not all are called so often.
    assert!(failed > 40, "{failed}");
}

#[test]
fn a_run_goes_on_from_the_checkpoint_that_the_message_names() {
    let place = Place::new();
    assert_eq!(
        line(&place.train(&["run.toml", "--out", "good"], &[])),
        None
    );
    let model = "a/model/model.safetensors";
    let good = place.read(&format!("good/{model}"));
    let mut resumed = 0;
    // The later the call, the later in the run.
    for at in ["150", "250", "350"] {
        let fail = [("FAIL_CALL", "vkQueueSubmit"), ("FAIL_AT", at)];
        let out = format!("run-{at}");
        let said = line(&place.train(&["run.toml", "--out", &out], &fail));
        let Some(said) = said.filter(|said| said.contains("checkpoint-")) else {
            continue;
        };
        assert!(said.contains("device lost"), "{said}");
        let way = format!("is whole: `melos train --resume {out}` goes on from it");
        assert!(said.contains(&way), "{said}");
        assert_eq!(line(&place.train(&["--resume", &out], &[])), None);
        assert_eq!(place.read(&format!("{out}/{model}")), good);
        resumed += 1;
    }
    assert!(resumed > 0, "no run failed after its first checkpoint");
}
