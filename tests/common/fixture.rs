//! Reads the PyTorch fixtures.
// Each test binary has its own copy and uses its own part of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use melos::Result;
use melos::device::Gpu;
use melos::nn::Vars;
use melos::ops::TokenIds;
use melos::tensor::{Init, ParamSpec, ParamStore, Tensor};
use safetensors::SafeTensors;

/// A model whose parameters stand in `store`.
pub fn bound<M>(store: &ParamStore, new: impl Fn(&Vars) -> Result<M>) -> M {
    let v = Vars::new();
    let model = new(&v).unwrap();
    v.bind(store).unwrap();
    model
}

/// tests/fixtures: of the folder that cargo, or who runs the program without it, names.
pub fn fixtures() -> PathBuf {
    let built_in = env!("CARGO_MANIFEST_DIR").into();
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(built_in);
    Path::new(&root).join("tests/fixtures")
}

pub struct Fixture {
    name: String,
    bytes: Vec<u8>,
}

impl Fixture {
    pub fn open(name: &str) -> Fixture {
        let path = fixtures().join(format!("{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Fixture {
            name: name.to_string(),
            bytes,
        }
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    pub fn has(&self, name: &str) -> bool {
        self.file().tensor(name).is_ok()
    }

    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.view(name).shape().to_vec()
    }

    fn view(&self, name: &str) -> safetensors::tensor::TensorView<'_> {
        self.file()
            .tensor(name)
            .unwrap_or_else(|e| panic!("{}: {name}: {e}", self.name))
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        let view = self.view(name);
        assert_eq!(view.dtype(), safetensors::Dtype::F32, "{name}");
        view.data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }

    /// Whole numbers; -1 becomes `u32::MAX`.
    pub fn u32(&self, name: &str) -> Vec<u32> {
        let view = self.view(name);
        assert_ne!(view.dtype(), safetensors::Dtype::F32, "{name}");
        view.data()
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }

    pub fn tensor(&self, gpu: &Gpu, name: &str) -> Tensor {
        Tensor::from_slice(gpu, self.shape(name), &self.f32(name)).unwrap()
    }

    pub fn tensor_u32(&self, gpu: &Gpu, name: &str) -> Tensor {
        Tensor::from_slice(gpu, self.shape(name), &self.u32(name)).unwrap()
    }

    pub fn ids(&self, gpu: &Gpu, name: &str) -> TokenIds {
        let shape = self.shape(name);
        TokenIds::from_host(gpu, shape[0], shape[1], &self.u32(name)).unwrap()
    }

    /// Parameters with the fixture's values under melos's names: `rename` maps one of PyTorch's.
    pub fn store(&self, gpu: &Gpu, rename: impl Fn(&str) -> String) -> ParamStore {
        let names: Vec<String> = self.names("param.");
        let specs = names
            .iter()
            .map(|n| {
                ParamSpec::new(
                    rename(n),
                    self.shape(&format!("param.{n}")),
                    Init::Constant(f32::NAN),
                )
            })
            .collect();
        let store = ParamStore::new(gpu, specs, 0, |_| 1.0).unwrap();
        for name in &names {
            let values = self.f32(&format!("param.{name}"));
            store.get(&rename(name)).unwrap().write(&values).unwrap();
        }
        store
    }

    /// What follows `prefix` in the names that start with it.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let file = self.file();
        let mut names: Vec<String> = file
            .names()
            .into_iter()
            .filter_map(|n| n.strip_prefix(prefix))
            .map(str::to_string)
            .collect();
        names.sort();
        names
    }
}
