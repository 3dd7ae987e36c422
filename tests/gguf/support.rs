//! Fixtures, and files made to measure.

use std::path::{Path, PathBuf};

use melos::hub::gguf::GgufFile;
use safetensors::SafeTensors;
use serde_json::Value;

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/gguf")
        .join(name)
}

pub fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

/// The bytes of a tensor of a file of the fixtures.
pub fn raw(file: &str, tensor: &str) -> Vec<u8> {
    let bytes = std::fs::read(fixture(file)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensor(tensor).unwrap().data().to_vec()
}

pub fn floats(file: &str, tensor: &str) -> Vec<f32> {
    let bytes = raw(file, tensor);
    let (numbers, _) = bytes.as_chunks::<4>();
    numbers.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Name, sides from the fastest on, type, offset.
pub type Entry = (String, Vec<u64>, u32, u64);

/// A GGUF file put together by hand.
#[derive(Clone)]
pub struct Made {
    pub version: u32,
    pub keys: Vec<(String, Vec<u8>)>,
    pub tensors: Vec<Entry>,
    pub data: Vec<u8>,
    /// What the header says of their numbers, if not the truth.
    pub counts: Option<[u64; 2]>,
}

pub fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// A value with its kind before it.
pub fn whole(n: u32) -> Vec<u8> {
    [4u32.to_le_bytes(), n.to_le_bytes()].concat()
}

pub fn real(x: f32) -> Vec<u8> {
    [6u32.to_le_bytes(), x.to_le_bytes()].concat()
}

pub fn flag(flag: bool) -> Vec<u8> {
    [&7u32.to_le_bytes()[..], &[flag.into()]].concat()
}

pub fn said(words: &str) -> Vec<u8> {
    [&8u32.to_le_bytes()[..], &text(words)].concat()
}

pub fn list(kind: u32, count: u64, bytes: &[u8]) -> Vec<u8> {
    let head = [9u32.to_le_bytes(), kind.to_le_bytes()].concat();
    [&head, &count.to_le_bytes()[..], bytes].concat()
}

pub fn texts<S: AsRef<str>>(all: &[S]) -> Vec<u8> {
    let bytes: Vec<u8> = all.iter().flat_map(|t| text(t.as_ref())).collect();
    list(8, all.len() as u64, &bytes)
}

impl Made {
    pub fn new() -> Made {
        Made {
            version: 3,
            keys: Vec::new(),
            tensors: Vec::new(),
            data: Vec::new(),
            counts: None,
        }
    }

    pub fn key(mut self, name: &str, value: Vec<u8>) -> Made {
        self.keys.retain(|(known, _)| known != name);
        self.keys.push((name.to_string(), value));
        self
    }

    pub fn without(mut self, name: &str) -> Made {
        self.keys.retain(|(known, _)| known != name);
        self
    }

    /// A tensor of f32 numbers behind those that are there.
    pub fn tensor(mut self, name: &str, sides: &[u64]) -> Made {
        let offset = self.data.len() as u64;
        let bytes = 4 * sides.iter().product::<u64>() as usize;
        self.tensors
            .push((name.to_string(), sides.to_vec(), 0, offset));
        self.data
            .resize((self.data.len() + bytes).next_multiple_of(32), 0);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        let counts = [self.tensors.len() as u64, self.keys.len() as u64];
        for count in self.counts.unwrap_or(counts) {
            out.extend(count.to_le_bytes());
        }
        for (name, value) in &self.keys {
            out.extend(text(name));
            out.extend(value);
        }
        for (name, sides, kind, offset) in &self.tensors {
            out.extend(text(name));
            out.extend((sides.len() as u32).to_le_bytes());
            sides.iter().for_each(|side| out.extend(side.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(&self.data);
        out
    }

    pub fn write(&self, folder: &tempfile::TempDir) -> PathBuf {
        let path = folder.path().join("a.gguf");
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }
}

/// A GPT-2 of one layer without numbers, and the tokeniser of a fixture.
pub fn tiny() -> Made {
    let from = GgufFile::open(&fixture("gpt2.gguf")).unwrap();
    let tokens = from.texts("tokenizer.ggml.tokens").unwrap().unwrap();
    let kinds = from.numbers("tokenizer.ggml.token_type").unwrap().unwrap();
    let kinds: Vec<u8> = kinds
        .iter()
        .flat_map(|k| (*k as i32).to_le_bytes())
        .collect();
    let merges = from.texts("tokenizer.ggml.merges").unwrap().unwrap();
    let rows = tokens.len() as u64;
    let mut made = Made::new()
        .key("general.architecture", said("gpt2"))
        .key("gpt2.block_count", whole(1))
        .key("gpt2.context_length", whole(6))
        .key("gpt2.embedding_length", whole(4))
        .key("gpt2.feed_forward_length", whole(8))
        .key("gpt2.attention.head_count", whole(2))
        .key("gpt2.attention.layer_norm_epsilon", real(1e-5))
        .key("tokenizer.ggml.model", said("gpt2"))
        .key("tokenizer.ggml.pre", said("gpt-2"))
        .key("tokenizer.ggml.tokens", texts(&tokens))
        .key("tokenizer.ggml.token_type", list(5, rows, &kinds))
        .key("tokenizer.ggml.merges", texts(&merges))
        .tensor("token_embd.weight", &[4, rows])
        .tensor("position_embd.weight", &[4, 6]);
    for (name, sides) in [
        ("attn_qkv", [4, 12]),
        ("attn_output", [4, 4]),
        ("ffn_up", [4, 8]),
        ("ffn_down", [8, 4]),
    ] {
        made = made
            .tensor(&format!("blk.0.{name}.weight"), &sides)
            .tensor(&format!("blk.0.{name}.bias"), &sides[1..]);
    }
    for norm in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"] {
        made = made
            .tensor(&format!("{norm}.weight"), &[4])
            .tensor(&format!("{norm}.bias"), &[4]);
    }
    made
}
