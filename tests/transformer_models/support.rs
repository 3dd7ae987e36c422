//! What the fixtures of `tools/make_hf_fixtures.py` are compared with.

use std::collections::BTreeSet;
use std::path::Path;

use melos::device::Gpu;
use melos::error::Result;
use melos::models::bert::BertConfig;
use melos::models::{Dropouts, FAMILIES, Labels, ProblemType, Sizes, read_config};
use melos::nn::{LoraPlan, Vars};
use melos::ops::{RowSelection, TokenIds};
use melos::optim::{Optimizer, OptimizerKind, StepState};
use melos::tensor::{ParamStore, Tape, Tensor};
use serde_json::Value;

use crate::common::fixture::{Fixture, fixtures};
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{assert_near, cast};

const ADAMW: OptimizerKind = OptimizerKind::AdamW {
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weight_decay: 0.01,
};

/// A model of the fixtures: its folder, its parameters and what is expected of it.
pub struct Model {
    pub gpu: Gpu,
    pub fixture: Fixture,
    pub store: ParamStore,
    pub state: StepState,
}

/// `config.json` of a folder.
pub fn config(folder: &str) -> Value {
    let file = fixtures().join("hf").join(folder).join("config.json");
    let text = std::fs::read_to_string(file).unwrap();
    serde_json::from_str(&text).unwrap()
}

impl Model {
    /// What was declared, adapted by `plan`, with the values of `folder`, of an adapter's folder, and of
    /// the fixture `name` itself, each of which must be used up by the others' leftovers.
    pub fn new(gpu: Gpu, name: &str, folder: &str, v: &Vars, plan: &LoraPlan) -> Model {
        let trained = |name: &str| plan.is_empty() || plan.trains(name);
        v.adapt(plan).unwrap();
        let rate = |n: &str| if trained(n) { 1.0 } else { 0.0 };
        let store = v.store(&gpu, 0, rate).unwrap();
        let fixture = Fixture::open(&format!("hf/{name}"));
        let base = Fixture::open(&format!("hf/{folder}/model"));
        let adapter =
            (!plan.is_empty()).then(|| Fixture::open(&format!("hf/{name}/adapter_model")));
        let names: Vec<String> = store.specs().map(|s| s.name.clone()).collect();
        for name in names {
            let (own, peft) = (format!("param.{name}"), format!("base_model.model.{name}"));
            let source = match &adapter {
                Some(adapter) if adapter.has(&peft) => (adapter, &peft),
                _ if fixture.has(&own) => (&fixture, &own),
                _ => (&base, &name),
            };
            let param = store.get(&name).unwrap();
            assert_eq!(source.0.shape(source.1), param.dims(), "{name}");
            param.write(&source.0.f32(source.1)).unwrap();
        }
        let state = StepState::new(&gpu, 1).unwrap();
        Model {
            gpu,
            fixture,
            store,
            state,
        }
    }

    /// What was declared with the values of the bare class in the folder `name`, whose names lack
    /// `prefix`.
    pub fn unprefixed(gpu: Gpu, name: &str, prefix: &str, v: &Vars) -> Model {
        let store = v.store(&gpu, 0, |_| 0.0).unwrap();
        let base = Fixture::open(&format!("hf/{name}/model"));
        for spec in store.specs() {
            let param = store.get(&spec.name).unwrap();
            let values = base.f32(spec.name.strip_prefix(prefix).unwrap());
            param.write(&values).unwrap();
        }
        let state = StepState::new(&gpu, 1).unwrap();
        let fixture = Fixture::open(&format!("hf/{name}"));
        Model {
            gpu,
            fixture,
            store,
            state,
        }
    }

    pub fn ids(&self) -> TokenIds {
        self.fixture.ids(&self.gpu, "input.ids")
    }

    pub fn lens(&self) -> Tensor {
        self.fixture.tensor_u32(&self.gpu, "input.lens")
    }

    pub fn u32s(&self, values: &[u32]) -> Tensor {
        Tensor::from_slice(&self.gpu, [values.len()], values).unwrap()
    }

    /// Weights that make a sum over the targets that count their mean.
    pub fn mean_weights(&self, targets: &[u32]) -> Tensor {
        let count = targets.iter().filter(|t| **t != u32::MAX).count() as f32;
        let weight = |t: &u32| if *t == u32::MAX { 0.0 } else { 1.0 / count };
        let weights: Vec<f32> = targets.iter().map(weight).collect();
        Tensor::from_slice(&self.gpu, [weights.len()], &weights).unwrap()
    }

    /// `rows` of the flattened batch.
    pub fn selection(&self, rows: &[u32]) -> RowSelection {
        let n: usize = self.fixture.shape("input.ids").iter().product();
        let selection = RowSelection::empty(&self.gpu, n, rows.len()).unwrap();
        selection.write(rows).unwrap();
        selection
    }

    /// Each label at the place that predicts it.
    pub fn next_tokens(&self) -> Vec<u32> {
        let steps = self.fixture.shape("input.ids")[1];
        let labels = self.fixture.u32("input.labels");
        let rows = labels.chunks(steps);
        rows.flat_map(|row| [&row[1..], &[u32::MAX]].concat())
            .collect()
    }

    /// The last token of each row.
    pub fn last_tokens(&self) -> RowSelection {
        let steps = self.fixture.shape("input.ids")[1] as u32;
        let lens = self.fixture.u32("input.lens");
        let last = (0..).zip(&lens).map(|(b, len)| b * steps + len - 1);
        self.selection(&last.collect::<Vec<_>>())
    }

    /// All rows of the flattened batch.
    pub fn all_rows(&self) -> RowSelection {
        let n: usize = self.fixture.shape("input.ids").iter().product();
        self.selection(&(0..n as u32).collect::<Vec<_>>())
    }

    pub fn training(&self) -> Tape {
        Tape::training(&self.gpu, self.state.tensor())
    }

    pub fn inference(&self) -> Tape {
        Tape::inference(&self.gpu)
    }

    pub fn near(&self, name: &str, got: &Tensor, tolerance: Tolerance) {
        let want: Vec<f64> = cast(&self.fixture.f32(name));
        assert_near(name, &got.to_vec::<f32>().unwrap(), &want, tolerance);
    }

    /// As `near` for (B, T, …), where padding is 0 in the fixture.
    pub fn near_inside(&self, name: &str, got: &Tensor) {
        let shape = self.fixture.shape("input.ids");
        let lens = self.fixture.u32("input.lens");
        let mut values = got.to_vec::<f32>().unwrap();
        let width = values.len() / shape[0] / shape[1];
        for (row, values) in values.chunks_mut(width).enumerate() {
            if row % shape[1] >= lens[row / shape[1]] as usize {
                values.fill(0.0);
            }
        }
        let want: Vec<f64> = cast(&self.fixture.f32(name));
        assert_near(name, &values, &want, tolerance::TRANSFORMER);
    }

    pub fn hidden_states(&self, states: &[Tensor]) {
        assert_eq!(states.len(), self.fixture.names("act.hidden.").len());
        for (layer, state) in states.iter().enumerate() {
            self.near_inside(&format!("act.hidden.{layer}"), state);
        }
    }

    /// The loss, every gradient by name, and the losses and norms of ten steps of training.
    pub fn trains_alike(&self, loss_of: impl Fn(&Tape) -> Result<Tensor>) {
        let tape = self.training();
        let loss = loss_of(&tape).unwrap();
        self.near("loss", &loss, tolerance::TRANSFORMER);
        tape.backward(&loss).unwrap();
        let expected = self.fixture.names("grad.");
        assert!(!expected.is_empty());
        for file_name in &expected {
            let name = file_name.strip_prefix("base_model.model.");
            let param = self.store.get(name.unwrap_or(file_name)).unwrap();
            let got = param.grad().expect("a trained parameter");
            let file_name = format!("grad.{file_name}");
            if ["key.bias", "k_lin.bias"]
                .iter()
                .any(|key| file_name.ends_with(key))
            {
                // Softmax does not see it: the gradient is 0, and what is found is rounding.
                for values in [got.to_vec::<f32>().unwrap(), self.fixture.f32(&file_name)] {
                    assert!(values.iter().all(|v| v.abs() < 1e-6), "{file_name}");
                }
            } else {
                self.near(&file_name, got, tolerance::TRANSFORMER_BWD);
            }
        }
        self.store.zero_grads();

        let losses = self.fixture.f32("losses");
        let norms = self.fixture.f32("grad_norms");
        let optimizer = Optimizer::new(&self.gpu, ADAMW, &self.store).unwrap();
        let (recording, (loss, norm)) = self
            .gpu
            .record(|| {
                let tape = self.training();
                let loss = loss_of(&tape)?;
                tape.backward(&loss)?;
                let norm = optimizer.step(&self.store, &self.state, Some(1.0))?;
                Ok((loss, norm))
            })
            .unwrap();
        let (mut got, mut got_norms) = (Vec::new(), Vec::new());
        for step in 1..=losses.len() {
            self.state.advance(&optimizer, step as u64, 1e-3).unwrap();
            self.gpu.replay(&recording).unwrap();
            got.extend(loss.to_vec::<f32>().unwrap());
            got_norms.extend(norm.to_vec::<f32>().unwrap());
        }
        assert_near("losses", &got, &cast(&losses), tolerance::TRAINING_LOSS);
        assert_near("norms", &got_norms, &cast(&norms), tolerance::TRAINING_LOSS);
    }

    /// Gradients of all that is trained must be in the fixture.
    pub fn covers_all(&self) {
        let names = self.fixture.names("grad.");
        let (_, trained) = self.store.counts();
        let listed: usize = names
            .iter()
            .map(|n| self.fixture.f32(&format!("grad.{n}")).len())
            .sum();
        assert_eq!(trained, listed, "values that are trained, and listed");
    }
}

/// What transformers wrote comes out again, whatever of it melos knows; nothing else does.
#[test]
fn configurations_keep_every_field() {
    let root = fixtures().join("hf");
    let mut families = BTreeSet::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let folder = entry.unwrap().path();
        if folder.join("config.json").is_file() {
            let json = config(folder.file_name().unwrap().to_str().unwrap());
            let own = read_config(&json, &folder).unwrap();
            families.insert(own.family().format().model_type);
            assert_eq!(own.to_json(), json, "{}", folder.display());
        }
    }
    let of_transformers = FAMILIES.iter().filter(|f| !f.format().module.is_empty());
    let all: BTreeSet<&str> = of_transformers.map(|f| f.format().model_type).collect();
    assert_eq!(families, all);
    let many: Vec<String> = (0..12).map(|i| format!("label {i}")).collect();
    let labels = Labels::named(&many, None);
    assert_eq!((labels.count(), labels.name(10)), (12, "label 10".into()));
    let json = serde_json::json!({"num_labels": 1, "hidden_dropout_prob": 0.1});
    let own = BertConfig::from_json(&json).unwrap();
    assert_eq!(own.labels.problem(), ProblemType::Regression);
    assert_eq!(
        serde_json::to_value(&own).unwrap()["hidden_dropout_prob"],
        0.1
    );
}

/// A new model has the sizes that it was asked for, and no token of another vocabulary.
#[test]
fn new_models_are_of_the_sizes_given() {
    let sizes = Sizes {
        vocabulary: 41,
        hidden: 12,
        layers: 3,
        heads: 2,
        feed_forward: Some(20),
        positions: 17,
        activation: None,
        norm_eps: None,
        dropout: Dropouts::default(),
        pad: Some(4),
        begin: Some(7),
        end: None,
    };
    for family in FAMILIES {
        let kind = family.format().model_type;
        let Some(config) = family.sized(&sizes) else {
            // An LSTM's sizes are others, and those of what reads pictures.
            assert!(
                kind == "melos-lstm" || family.pictures().is_some(),
                "{kind}"
            );
            continue;
        };
        let json = config.to_json();
        let config = read_config(&json, Path::new(kind)).unwrap();
        assert_eq!(
            (config.vocab_size(), config.positions()),
            (41, 17),
            "{kind}"
        );
        let extent = config.extent();
        assert_eq!((extent.layers, extent.base), (3, 3 * 12), "{kind}");
        assert!(
            (8 * 12 + 2 * 20..=14 * 12 + 3 * 20).contains(&extent.layer),
            "{kind}"
        );
        let mut written = (family.format().defaults)();
        let (written, new) = (written.as_object_mut().unwrap(), json.as_object().unwrap());
        written.extend(new.clone());
        for (field, token) in written.iter().filter(|(f, _)| f.ends_with("_token_id")) {
            let known = [None, Some(4), Some(7)].contains(&token.as_u64());
            assert!(known, "{kind}: {field} is {token}");
        }
    }
}
