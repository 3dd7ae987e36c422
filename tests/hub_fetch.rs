//! Models by their names on the Hub, from a server of the test's own.
#![cfg(all(feature = "cli", feature = "fetch"))]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A Hub with one model, "org/tiny", and one that it gives to nobody, "org/closed".
#[derive(Default)]
struct Hub {
    files: BTreeMap<String, Vec<u8>>,
    /// What was asked for.
    asked: Mutex<Vec<String>>,
    /// Bytes of a large file after which the connection ends, each once.
    cuts: Mutex<Vec<usize>>,
}

/// The sha256 of what is large here, under which it is kept.
fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Hub {
    /// Begins to serve; its address.
    fn start(self) -> (Arc<Hub>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let hub = Arc::new(self);
        let (served, own) = (hub.clone(), address.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (hub, own) = (served.clone(), own.clone());
                std::thread::spawn(move || hub.serve(stream.unwrap(), &own));
            }
        });
        (hub, address)
    }

    /// Answers one request, and closes.
    fn serve(&self, mut stream: TcpStream, own: &str) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let Some(Ok(first)) = lines.next() else {
            return;
        };
        let path = first.split(' ').nth(1).unwrap().to_string();
        let mut headers = BTreeMap::new();
        for line in lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
        {
            let (name, value) = line.split_once(": ").unwrap();
            headers.insert(name.to_lowercase(), value.to_string());
        }
        self.asked.lock().unwrap().push(path.clone());
        let allowed = headers.get("authorization").map(String::as_str) == Some("Bearer secret");
        let range = headers.get("range").cloned().unwrap_or_default();
        let commit = format!("X-Repo-Commit: {COMMIT}\r\n");
        let plain = |status: &str| (format!("HTTP/1.1 {status}\r\n"), Vec::new());
        let (head, body) = if path.starts_with("/api/models/org/tiny/revision/") {
            let known = ["main", "v1", COMMIT]
                .iter()
                .any(|name| path.ends_with(name));
            let files = self
                .files
                .keys()
                .map(|file| format!("{{\"rfilename\":\"{file}\"}}"));
            let files = files.collect::<Vec<_>>().join(",");
            let info = format!("{{\"sha\":\"{COMMIT}\",\"siblings\":[{files}]}}");
            match known {
                true => ("HTTP/1.1 200 OK\r\n".into(), info.into_bytes()),
                false => plain("404 Not Found"),
            }
        } else if path.contains("/org/closed/") && !allowed {
            plain("401 Unauthorized")
        } else if let Some(file) = path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/")) {
            let bytes = &self.files[file];
            if file.ends_with(".safetensors") {
                // Large files lie elsewhere.
                let etag = format!("X-Linked-ETag: \"{}\"\r\n", sha256(bytes));
                let to = format!("Location: {own}/blobs/{file}\r\n");
                (
                    format!("HTTP/1.1 302 Found\r\n{commit}{etag}{to}"),
                    Vec::new(),
                )
            } else {
                let (head, body) = part(bytes, &range);
                // Made of the name: what lies under it is not looked at.
                let etag = format!("ETag: \"{:0>40}\"\r\n", file.replace(['/', '.', '_'], ""));
                (format!("{head}{commit}{etag}"), body)
            }
        } else if let Some(file) = path.strip_prefix("/blobs/") {
            let (head, body) = part(&self.files[file], &range);
            if body.len() > 1
                && let Some(cut) = self.cuts.lock().unwrap().pop()
            {
                let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(head.as_bytes());
                let _ = stream.write_all(&body[..cut]);
                return;
            }
            (head, body)
        } else {
            plain("404 Not Found")
        };
        let end = format!(
            "Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all((head + &end).as_bytes());
        let _ = stream.write_all(&body);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// The part of a file that is asked for.
fn part(bytes: &[u8], range: &str) -> (String, Vec<u8>) {
    let range = range.strip_prefix("bytes=").unwrap_or("0-");
    let (from, to) = range.split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to = to.parse().map_or(bytes.len(), |to: usize| to + 1);
    let (last, all) = (to - 1, bytes.len());
    let head =
        format!("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{last}/{all}\r\n");
    (head, bytes[from..to].to_vec())
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/hf")
        .join(name)
}

/// All files of a folder, by their names in it.
fn files(folder: &Path, before: &str, all: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{before}{}", path.file_name().unwrap().to_string_lossy());
        if path.is_dir() {
            files(&path, &format!("{name}/"), all);
        } else {
            all.insert(name, std::fs::read(&path).unwrap());
        }
    }
}

fn hub(model: &str) -> Hub {
    let mut hub = Hub::default();
    files(&fixture(model), "", &mut hub.files);
    for other in [
        "pytorch_model.bin",
        "onnx/model.onnx",
        "onnx/config.json",
        ".gitattributes",
    ] {
        hub.files.insert(other.into(), vec![7; 100]);
    }
    hub
}

/// Runs melos with a cache in `home`.
fn melos(home: &Path, endpoint: &str, arguments: &[&str], offline: bool) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_melos"));
    for name in [
        "HF_TOKEN",
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "RUST_LOG",
        "http_proxy",
        "HTTP_PROXY",
    ] {
        command.env_remove(name);
    }
    if offline {
        command.env("HF_HUB_OFFLINE", "1");
    }
    command.env("HF_HOME", home).env("HF_ENDPOINT", endpoint);
    command.args(arguments).current_dir(home).output().unwrap()
}

fn good(out: &Output) -> String {
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The one line that a command is refused with.
fn refused(out: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(code), "{said}");
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("melos: "))
        .collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(!said.contains("panicked"), "{said}");
    lines[0].to_string()
}

#[test]
fn a_model_is_fetched_once_and_read_without_network_afterwards() {
    let home = TempDir::new().unwrap();
    let (hub, address) = hub("bert_mlm").start();
    let first = good(&melos(
        home.path(),
        &address,
        &["inspect", "org/tiny"],
        false,
    ));
    let own = melos(
        home.path(),
        &address,
        &["inspect", fixture("bert_mlm").to_str().unwrap()],
        false,
    );
    let lines = |text: &str| -> Vec<String> { text.lines().skip(1).map(String::from).collect() };
    assert_eq!(lines(&first), lines(&good(&own)));
    // Nothing but what is read here.
    let asked = hub.asked();
    for other in [".bin", "onnx", ".gitattributes"] {
        assert!(!asked.iter().any(|path| path.contains(other)), "{asked:?}");
    }
    // Python's layout: a name for the branch, a folder of links for the commit.
    let model = home.path().join("hub/models--org--tiny");
    assert_eq!(
        std::fs::read_to_string(model.join("refs/main")).unwrap(),
        COMMIT
    );
    let folder = model.join("snapshots").join(COMMIT);
    let weights = std::fs::read(fixture("bert_mlm").join("model.safetensors")).unwrap();
    assert_eq!(
        std::fs::read(folder.join("model.safetensors")).unwrap(),
        weights
    );
    assert_eq!(
        std::fs::read(model.join("blobs").join(sha256(&weights))).unwrap(),
        weights
    );

    // Again: only whether it is still the same is asked.
    good(&melos(
        home.path(),
        &address,
        &["inspect", "org/tiny"],
        false,
    ));
    assert_eq!(hub.asked(), ["/api/models/org/tiny/revision/main"]);
    // By a tag and by its commit.
    good(&melos(
        home.path(),
        &address,
        &["inspect", "org/tiny@v1"],
        false,
    ));
    let by_commit = format!("org/tiny@{COMMIT}");
    good(&melos(
        home.path(),
        &address,
        &["inspect", &by_commit],
        false,
    ));
    assert!(hub.asked().iter().all(|path| path.starts_with("/api/")));
    // Offline nobody is asked; and where nobody answers, the cache does.
    for name in ["org/tiny", "org/tiny@v1", &by_commit] {
        good(&melos(home.path(), &address, &["inspect", name], true));
    }
    assert!(hub.asked().is_empty());
    let out = melos(
        home.path(),
        "http://127.0.0.1:9",
        &["inspect", "org/tiny"],
        false,
    );
    good(&out);
    assert!(String::from_utf8_lossy(&out.stderr).contains("as the cache has it"));
    // What was never fetched.
    let error = refused(
        &melos(home.path(), &address, &["inspect", "org/other"], true),
        5,
    );
    assert!(
        error.contains("HF_HUB_OFFLINE") && error.contains("hf download org/other"),
        "{error}"
    );
    // A folder of that name wins.
    std::fs::create_dir_all(home.path().join("org/tiny")).unwrap();
    refused(
        &melos(home.path(), &address, &["inspect", "org/tiny"], false),
        5,
    );
    assert!(hub.asked().is_empty());
}

#[test]
fn what_is_cut_off_is_gone_on_with() {
    let home = TempDir::new().unwrap();
    let mut hub = hub("bert_mlm");
    let length = hub.files["model.safetensors"].len();
    hub.cuts = Mutex::new(vec![0, 1000, length / 2]);
    let (hub, address) = hub.start();
    let out = melos(home.path(), &address, &["inspect", "org/tiny"], false);
    good(&out);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("model.safetensors was cut off"), "{said}");
    assert!(hub.cuts.lock().unwrap().is_empty());
    let folder = home
        .path()
        .join("hub/models--org--tiny/snapshots")
        .join(COMMIT);
    let found = std::fs::read(folder.join("model.safetensors")).unwrap();
    assert!(found == hub.files["model.safetensors"]);
}

#[test]
fn what_comes_damaged_is_no_model() {
    let home = TempDir::new().unwrap();
    let (hub, address) = hub("bert_mlm").start();
    good(&melos(
        home.path(),
        &address,
        &["inspect", "org/tiny"],
        false,
    ));
    // Half of it is there already, but of something else.
    let model = home.path().join("hub/models--org--tiny");
    let weights = hub.files["model.safetensors"].clone();
    let blob = model.join("blobs").join(sha256(&weights));
    std::fs::remove_file(
        model
            .join("snapshots")
            .join(COMMIT)
            .join("model.safetensors"),
    )
    .unwrap();
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(blob.with_extension("part"), vec![1; weights.len() / 2]).unwrap();
    good(&melos(
        home.path(),
        &address,
        &["inspect", "org/tiny"],
        false,
    ));
    assert!(std::fs::read(&blob).unwrap() == weights);
}

#[test]
fn what_cannot_be_had_is_said_in_one_line() {
    let home = TempDir::new().unwrap();
    let (_, address) = hub("bert_mlm").start();
    let inspect = |endpoint: &str, name: &str| {
        refused(&melos(home.path(), endpoint, &["inspect", name], false), 5)
    };
    let error = inspect(&address, "org/closed");
    assert!(
        error.contains("org/closed") && error.contains("HF_TOKEN"),
        "{error}"
    );
    for name in ["org/missing", "org/tiny@v2"] {
        let error = inspect(&address, name);
        assert!(error.contains("no such model or revision"), "{error}");
    }
    // Nobody there, and nothing in the cache.
    let error = inspect("http://127.0.0.1:9", "org/tiny");
    assert!(
        error.contains("hf download org/tiny --local-dir DIR"),
        "{error}"
    );
    let error = inspect("http://127.0.0.1:9", "org/tiny@v1");
    assert!(error.contains("--revision v1"), "{error}");
    // With the token it is another answer: there is nothing of that name.
    std::fs::write(home.path().join("token"), "secret\n").unwrap();
    assert!(inspect(&address, "org/closed").contains("no such model"));
    // What is below a folder that is there is no name on the Hub, and neither is a bare word.
    std::fs::create_dir(home.path().join("runs")).unwrap();
    for name in ["runs/first", "bert"] {
        let error = inspect(&address, name);
        assert!(!error.contains("Hub"), "{error}");
    }
}

#[test]
fn shards_are_those_that_the_index_names() {
    let home = TempDir::new().unwrap();
    let mut hub = hub("bert_mlm");
    let weights = hub.files.remove("model.safetensors").unwrap();
    let shard = "model-00001-of-00001.safetensors";
    let names = safetensors::SafeTensors::deserialize(&weights).unwrap();
    let map: Vec<String> = names
        .names()
        .iter()
        .map(|n| format!("\"{n}\":\"{shard}\""))
        .collect();
    let index = format!("{{\"metadata\":{{}},\"weight_map\":{{{}}}}}", map.join(","));
    hub.files.insert(shard.into(), weights);
    hub.files
        .insert("model.safetensors.index.json".into(), index.into_bytes());
    hub.files.insert("other.safetensors".into(), vec![7; 100]);
    let (hub, address) = hub.start();
    good(&melos(
        home.path(),
        &address,
        &["inspect", "org/tiny"],
        false,
    ));
    assert!(!hub.asked().iter().any(|path| path.contains("other")));
    good(&melos(
        home.path(),
        &address,
        &["inspect", "org/tiny"],
        true,
    ));
}

#[test]
fn an_adapter_names_its_base_as_the_hub_does() {
    let home = TempDir::new().unwrap();
    let mut hub = hub("bert_mlm");
    let config: serde_json::Value = serde_json::from_slice(&hub.files["config.json"]).unwrap();
    let mut vocabulary: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        .map(String::from)
        .into();
    let words = config["vocab_size"].as_u64().unwrap() as usize - vocabulary.len();
    vocabulary.extend((0..words).map(|n| format!("w{n}")));
    hub.files
        .insert("vocab.txt".into(), vocabulary.join("\n").into_bytes());
    let (hub, address) = hub.start();
    let rows: String = (0..40)
        .map(|n| format!("w{n} w1,{}\n", ["yes", "no"][n % 2]))
        .collect();
    std::fs::write(home.path().join("data.csv"), format!("text,label\n{rows}")).unwrap();
    let train = [
        "train",
        "--preset",
        "lora",
        "--init",
        "org/tiny",
        "--data",
        "data.csv",
        "--quiet",
        "--out",
        "run",
        "--set",
        "stage.*.max_len=8",
        "--set",
        "stage.*.budget={ steps = 2 }",
    ];
    good(&melos(home.path(), &address, &train, false));
    // Asked once, however often the run looks there.
    let asked = hub
        .asked()
        .iter()
        .filter(|path| path.starts_with("/api/"))
        .count();
    assert_eq!(asked, 1);
    let adapter = home.path().join("run/lora/model/adapter_config.json");
    let adapter: serde_json::Value =
        serde_json::from_slice(&std::fs::read(adapter).unwrap()).unwrap();
    assert_eq!(adapter["base_model_name_or_path"], "org/tiny");
    let said = good(&melos(
        home.path(),
        &address,
        &["predict", "run", "w3 w1"],
        true,
    ));
    assert!(
        said.starts_with("yes\t") || said.starts_with("no\t"),
        "{said}"
    );
    good(&melos(
        home.path(),
        &address,
        &["merge", "org/tiny", "run", "merged"],
        true,
    ));
    let merged = good(&melos(
        home.path(),
        &address,
        &["predict", "merged", "w3 w1"],
        true,
    ));
    assert_eq!(merged.split('\t').next(), said.split('\t').next());
}
