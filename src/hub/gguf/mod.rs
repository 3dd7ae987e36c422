//! Models in one file, as llama.cpp and what is built on it (Ollama, LM Studio) have them: GGUF, in and
//! out.
//!
//! What a family has to say of such files is a [`Gguf`] of its `Format`: the architecture's name, sizes
//! and tensors. A file is then read as a folder would be: see `model`.

mod adapter;
mod export;
mod family;
mod file;
mod model;
mod pre;
mod said;
mod tokenizer;
mod value;
mod write;

use std::io::Read;
use std::path::Path;

pub use crate::blocks::BlockType;
pub use adapter::{export_adapter, import_adapter, is_adapter_file};
pub use export::{Quant, export};
pub use family::{Gguf, Key, Name, Number, Placed, Spaces, Told, real};
pub use file::{GgufFile, Stored};
pub(super) use model::GgufModel;
pub use value::{List, Value};
pub use write::Meta;

use crate::bounded;

/// Whether a path is that of a GGUF file, by its name or by how it begins.
pub fn is_gguf(path: &Path) -> bool {
    let named = path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
    if named || !path.is_file() {
        return named && !path.is_dir();
    }
    let mut start = [0; 4];
    let read = bounded::open(path).map(|mut file| file.read_exact(&mut start));
    matches!(read, Ok(Ok(()))) && start == *file::MAGIC
}
