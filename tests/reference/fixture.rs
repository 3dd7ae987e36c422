//! Reads tests/fixtures/*.safetensors, what PyTorch computed (tools/make_fixtures.py).

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use super::Float;
use super::lstm::Named;

pub struct Fixture {
    name: String,
    floats: BTreeMap<String, Vec<f32>>,
    ids: BTreeMap<String, Vec<u32>>,
    ints: BTreeMap<String, Vec<i32>>,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl Fixture {
    pub fn open(name: &str) -> Self {
        // Of the folder that cargo, or who runs the program without it, names.
        let built_in = env!("CARGO_MANIFEST_DIR").into();
        let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(built_in);
        let path = Path::new(&root)
            .join("tests/fixtures")
            .join(format!("{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut fixture = Self {
            name: name.to_string(),
            floats: BTreeMap::new(),
            ids: BTreeMap::new(),
            ints: BTreeMap::new(),
            shapes: BTreeMap::new(),
        };
        for (key, view) in file.iter() {
            let key = key.to_string();
            fixture.shapes.insert(key.clone(), view.shape().to_vec());
            let words = view
                .data()
                .chunks_exact(4)
                .map(|b| [b[0], b[1], b[2], b[3]]);
            match view.dtype() {
                Dtype::F32 => drop(
                    fixture
                        .floats
                        .insert(key, words.map(f32::from_le_bytes).collect()),
                ),
                Dtype::U32 => drop(
                    fixture
                        .ids
                        .insert(key, words.map(u32::from_le_bytes).collect()),
                ),
                Dtype::I32 => drop(
                    fixture
                        .ints
                        .insert(key, words.map(i32::from_le_bytes).collect()),
                ),
                other => panic!("{name}: {key} is {other:?}"),
            }
        }
        fixture
    }

    fn find<'a, T>(&self, map: &'a BTreeMap<String, Vec<T>>, key: &str) -> &'a [T] {
        map.get(key)
            .unwrap_or_else(|| panic!("no tensor {key} of this dtype in {}", self.name))
    }
    pub fn f32(&self, key: &str) -> &[f32] {
        self.find(&self.floats, key)
    }
    pub fn float<F: Float>(&self, key: &str) -> Vec<F> {
        super::cast(self.f32(key))
    }
    pub fn u32(&self, key: &str) -> &[u32] {
        self.find(&self.ids, key)
    }
    pub fn i32(&self, key: &str) -> &[i32] {
        self.find(&self.ints, key)
    }
    pub fn shape(&self, key: &str) -> &[usize] {
        self.find(&self.shapes, key)
    }
    /// All float tensors whose names start with `prefix`, without it: `named("param.")`.
    pub fn named<F: Float>(&self, prefix: &str) -> Named<F> {
        let own = |key: &String| Some((key.strip_prefix(prefix)?.to_string(), self.float(key)));
        self.floats.keys().filter_map(own).collect()
    }
}
