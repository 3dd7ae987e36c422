//! Starting the program in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A folder with a run file, where the program is started.
pub struct Workplace {
    folder: TempDir,
}

/// A file in `tests/data`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// A run file up to its stages: names, data and small sizes.
pub fn head() -> String {
    format!(
        r#"
name = "tiny"
[tokenizer]
vocabulary = 300
min_frequency = 1
[model]
embedding = 8
hidden = 16
[data]
source = "files"
path = '{}'
test = '{}'
unlabelled = ['{}']
validation = 0.2
[defaults.pretrain]
batch = 8
lr = 0.01
budget = {{ steps = 10 }}
[defaults.finetune]
objective = "classify"
batch = 8
max_len = 16
lr = 0.01
clip_norm = 5.0
budget = {{ steps = 20 }}
dropout = {{ word = 0.1, embedding = 0.2, output = 0.2 }}
"#,
        data("reviews.csv").display(),
        data("reviews_test.csv").display(),
        data("unlabelled.txt").display(),
    )
}

/// A stage of a run file: its name, kind and further lines; of an LSTM that pretrains, a small length.
pub fn stage(name: &str, kind: &str, lines: &str) -> String {
    let length = [("\"lm\"", "bptt = 8\n"), ("\"sa\"", "max_len = 16\n")]
        .into_iter()
        .find(|(objective, _)| lines.contains(&format!("objective = {objective}")))
        .map_or("", |(_, length)| length);
    format!("[[stage]]\nname = \"{name}\"\nkind = \"{kind}\"\n{length}{lines}\n")
}

impl Workplace {
    /// With `run.toml`, made of `head` and the stages.
    pub fn new(stages: &[String]) -> Workplace {
        Workplace::with(&head(), stages)
    }

    /// With `run.toml`, made of another head and the stages.
    pub fn with(head: &str, stages: &[String]) -> Workplace {
        let workplace = Workplace {
            folder: TempDir::new().unwrap(),
        };
        workplace.write("run.toml", head.to_string() + &stages.concat());
        workplace
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), contents).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The program, about to start here with its cache here as well.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_melos"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("MELOS_CACHE", self.path("cache"))
            // Mesa's device chooser writes to standard error where there is no desktop.
            .env("NODEVICE_SELECT", "1")
            .env_remove("MELOS_DICTIONARY")
            .env_remove("RUST_LOG");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .output()
            .expect("the program starts")
    }

    /// Runs to a good end; what it wrote to standard output.
    pub fn good(&self, arguments: &[&str]) -> String {
        let out = self.run(arguments);
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{arguments:?}: {error}");
        String::from_utf8(out.stdout).expect("UTF-8")
    }

    /// Is refused with `code` and one line of explanation, which is returned.
    pub fn refused(&self, arguments: &[&str], code: i32) -> String {
        self.refused_as(self.command(arguments), code)
    }

    /// The same of a command whose environment the test has changed.
    pub fn refused_as(&self, mut command: Command, code: i32) -> String {
        let out = command.output().expect("the program starts");
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{command:?}: {error}");
        assert!(!error.contains("panicked"), "{error}");
        let lines: Vec<&str> = error.lines().filter(|l| l.starts_with("melos: ")).collect();
        assert_eq!(lines.len(), 1, "{command:?}: {error}");
        self.nothing_half_written();
        lines[0].to_string()
    }

    /// No file or folder is left under the name it has while it is being written.
    pub fn nothing_half_written(&self) {
        let partial: Vec<PathBuf> = files(self.folder.path())
            .into_iter()
            .filter(|path| path.to_string_lossy().contains(".partial"))
            .collect();
        assert!(partial.is_empty(), "{partial:?}");
    }
}

/// Every file below `folder`.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => all.push(path),
        }
    }
    all
}
