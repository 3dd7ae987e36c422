//! Networks that read pictures, against what torchvision's make of the same numbers
//! (`tools/make_picture_fixtures.py`).
#![cfg(feature = "train")]

mod common;
#[path = "reference/mod.rs"]
mod reference;

use std::collections::BTreeMap;
use std::path::Path;

use melos::device::Gpu;
use melos::hub::{Array, Head, Layout};
use melos::models::convnet::Layout as Layers;
use melos::models::resnet::{ResNetConfig, ResNetDepth, ResNetModel};
use melos::models::{Config, Labels, Network, Pretrained, read_config};
use melos::nn::{Vars, mean_cross_entropy};
use melos::optim::{Optimizer, OptimizerKind, StepState};
use melos::tensor::{ParamSpec, ParamStore, Tape, Tensor};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;

use crate::common::fixture::fixtures;
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, assert_near};

/// 64-bit FNV-1a.
fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn uniform(name: &str, count: usize, low: f64, high: f64) -> Vec<f32> {
    Data::new(seed_of(name)).uniform(count, low, high)
}

/// A parameter's values in PyTorch's order.
fn values(spec: &ParamSpec) -> Vec<f32> {
    let (name, dims) = (&spec.name, &spec.shape.0);
    let scale = dims.len() == 1 && name.ends_with("weight");
    let (low, high) = match dims.len() {
        _ if name.ends_with("num_batches_tracked") => return vec![3.0],
        _ if scale || name.ends_with("running_var") => (0.5, 1.5),
        0 | 1 => (-0.3, 0.3),
        _ => {
            let fan: usize = dims[1..].iter().product();
            let bound = (3.0 / fan as f64).sqrt();
            (-bound, bound)
        }
    };
    uniform(name, spec.shape.len(), low, high)
}

/// The norm of a tensor in PyTorch's order, and its products with two drawn vectors.
fn seen(name: &str, values: &[f32]) -> Vec<f32> {
    let dot = |other: &[f32]| {
        let pairs = values.iter().zip(other);
        pairs
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>()
    };
    let drawn = |n: usize| uniform(&format!("{name}#{n}"), values.len(), -1.0, 1.0);
    let all = [dot(values).sqrt(), dot(&drawn(1)), dot(&drawn(2))];
    all.map(|v| v as f32).to_vec()
}

fn numbers(json: &Value) -> Vec<f64> {
    let all = json.as_array().expect("a list");
    all.iter().map(|v| v.as_f64().expect("a number")).collect()
}

struct Model {
    gpu: Gpu,
    fixture: Value,
    vars: Vars,
    network: Box<dyn Network>,
    store: ParamStore,
    pixels: Tensor,
    targets: Tensor,
    state: StepState,
}

impl Model {
    fn new(name: &str) -> Model {
        let gpu = common::gpu();
        let path = fixtures().join(format!("pictures/{name}.json"));
        let text = std::fs::read_to_string(path).unwrap();
        let fixture: Value = serde_json::from_str(&text).unwrap();
        let config = read_config(&fixture["config"], Path::new(name)).unwrap();
        let vars = Vars::new();
        let network = config.build(&vars, Head::Picture).unwrap();
        let store = vars.store(&gpu, 0, |_| 1.0).unwrap();
        for spec in store.specs() {
            let tensor = store.get(&spec.name).unwrap();
            tensor.write(&spec.to_held(values(spec))).unwrap();
        }
        let size: Vec<usize> = numbers(&fixture["size"])
            .iter()
            .map(|v| *v as usize)
            .collect();
        let [batch, channels] = [&fixture["batch"], &fixture["config"]["num_channels"]]
            .map(|v| v.as_u64().unwrap() as usize);
        let area = size[0] * size[1];
        let planes = uniform(
            &format!("{name}/pixels"),
            batch * channels * area,
            -2.0,
            2.0,
        );
        let at = |i: usize| {
            let (picture, pixel, channel) =
                (i / channels / area, i / channels % area, i % channels);
            planes[(picture * channels + channel) * area + pixel]
        };
        let rows: Vec<f32> = (0..planes.len()).map(at).collect();
        let dims = [batch, size[0], size[1], channels];
        let labels: Vec<u32> = numbers(&fixture["labels"])
            .iter()
            .map(|v| *v as u32)
            .collect();
        Model {
            pixels: Tensor::from_slice(&gpu, dims, &rows).unwrap(),
            targets: Tensor::from_slice(&gpu, [batch], &labels).unwrap(),
            state: StepState::new(&gpu, 1).unwrap(),
            gpu,
            fixture,
            vars,
            network,
            store,
        }
    }

    fn logits(&self, tape: &Tape) -> Tensor {
        let classifier = self.network.as_picture_classifier().unwrap();
        classifier.logits(tape, &self.pixels).unwrap()
    }

    fn loss(&self, tape: &Tape) -> Tensor {
        mean_cross_entropy(tape, &self.logits(tape), &self.targets).unwrap()
    }

    fn training(&self) -> Tape {
        Tape::training(&self.gpu, self.state.tensor())
    }

    /// A tensor in PyTorch's order.
    fn host(&self, spec: &ParamSpec, tensor: &Tensor) -> Vec<f32> {
        spec.from_held(tensor.to_vec().unwrap())
    }

    fn near(&self, key: &str, got: &Tensor, row: Tolerance) {
        assert_near(
            key,
            &got.to_vec().unwrap(),
            &numbers(&self.fixture[key]),
            row,
        );
    }

    /// The loss and every gradient by name.
    fn gradients(&self, key: &str) {
        let want = &self.fixture[key];
        let tape = self.training();
        let loss = self.loss(&tape);
        let expected = [want["loss"].as_f64().unwrap()];
        let found = loss.to_vec().unwrap();
        assert_near(
            &format!("{key} loss"),
            &found,
            &expected,
            tolerance::TRANSFORMER,
        );
        tape.backward(&loss).unwrap();
        let mut count = 0;
        for spec in self.store.specs().filter(|spec| !spec.buffer) {
            let name = &spec.name;
            let tensor = self.store.get(name).unwrap();
            let grad = self.host(spec, tensor.grad().expect("a trained parameter"));
            let want = numbers(&want["grads"][name]);
            if want[0] < 1e-12 {
                // A norm takes away what the bias before it adds: what is found is rounding.
                assert!(grad.iter().all(|v| v.abs() < 1e-6), "{key} {name}");
                count += 1;
                continue;
            }
            let row = tolerance::TRANSFORMER_BWD;
            assert_near(&format!("{key} {name}"), &seen(name, &grad), &want, row);
            count += 1;
        }
        assert_eq!(count, want["grads"].as_object().unwrap().len(), "gradients");
        self.store.zero_grads();
    }

    fn buffers(&self) -> BTreeMap<String, Vec<f32>> {
        let buffers = self.store.specs().filter(|spec| spec.buffer);
        buffers
            .map(|spec| {
                let tensor = self.store.get(&spec.name).unwrap();
                (spec.name.clone(), tensor.to_vec().unwrap())
            })
            .collect()
    }
}

fn as_torchvision(name: &str) {
    let mut model = Model::new(name);
    let shapes = model.vars.file_order();
    let listed = model.fixture["tensors"].as_object().unwrap();
    assert_eq!(shapes.len(), listed.len(), "tensors");
    for (name, shape) in &shapes {
        let want: Vec<usize> = numbers(&listed[name]).iter().map(|v| *v as usize).collect();
        assert_eq!(*shape, want, "{name}");
    }

    let before = model.buffers();
    let evaluated = model.logits(&Tape::inference(&model.gpu));
    model.near("evaluated", &evaluated, tolerance::TRANSFORMER);
    model.network.set_frozen_norms(true);
    model.gradients("frozen");
    assert_eq!(
        model.buffers(),
        before,
        "what is frozen or evaluated changes nothing"
    );
    model.network.set_frozen_norms(false);

    if model.fixture.get("trained").is_some() {
        model.gradients("trained");
        assert_ne!(
            model.buffers(),
            before,
            "training changes running statistics"
        );
        for spec in model.store.specs().filter(|spec| spec.buffer) {
            let tensor = model.store.get(&spec.name).unwrap();
            tensor.write(&before[&spec.name]).unwrap();
        }
    }

    let kind = OptimizerKind::Momentum {
        momentum: 0.9,
        weight_decay: 0.0,
    };
    let optimizer = Optimizer::new(&model.gpu, kind, &model.store).unwrap();
    let (recording, loss) = model
        .gpu
        .record(|| {
            let tape = model.training();
            let loss = model.loss(&tape);
            tape.backward(&loss)?;
            optimizer.step(&model.store, &model.state, None)?;
            Ok(loss)
        })
        .unwrap();
    let mut losses = Vec::new();
    for step in 1..=numbers(&model.fixture["losses"]).len() {
        model.state.advance(&optimizer, step as u64, 0.01).unwrap();
        model.gpu.replay(&recording).unwrap();
        losses.extend(loss.to_vec::<f32>().unwrap());
    }
    let want = numbers(&model.fixture["losses"]);
    assert_near("losses", &losses, &want, tolerance::TRAINING_LOSS);
    for (name, values) in model.buffers() {
        let want = numbers(&model.fixture["buffers"][&name]);
        assert_near(
            &name,
            &seen(&name, &values),
            &want,
            tolerance::TRAINED_PARAMETER,
        );
    }
    let after = model.logits(&Tape::inference(&model.gpu));
    model.near("after", &after, tolerance::TRAINED_PARAMETER);
}

#[test]
fn residual_networks() {
    as_torchvision("resnet_basic");
}

#[test]
fn residual_networks_of_bottlenecks() {
    as_torchvision("resnet_bottleneck");
}

#[test]
fn vgg() {
    as_torchvision("vgg");
}

#[test]
fn vgg_with_norms() {
    as_torchvision("vgg_bn");
}

#[test]
fn lenet() {
    as_torchvision("lenet");
}

#[test]
fn alexnet() {
    as_torchvision("alexnet");
}

/// The sizes that are known by name have as many parameters as torchvision's.
#[test]
fn sizes_known_by_name() {
    let text = std::fs::read_to_string(fixtures().join("pictures/parameters.json")).unwrap();
    let counts: Value = serde_json::from_str(&text).unwrap();
    let resnet = |depth| -> Box<dyn Config> {
        let depth = ResNetDepth::try_from(depth).unwrap();
        let model = ResNetModel {
            depth,
            ..ResNetModel::default()
        };
        Box::new(ResNetConfig::from(model))
    };
    for (name, count) in counts.as_object().unwrap() {
        let mut config = match &name[..] {
            "resnet18" => resnet(18),
            "resnet50" => resnet(50),
            other => {
                let layout: Layers = serde_json::from_value(other.into()).unwrap();
                Box::new(layout.config())
            }
        };
        let names: Vec<String> = (0..7).map(|n| n.to_string()).collect();
        config.set_labels(Labels::named(&names, None));
        let again = read_config(&config.to_json(), Path::new(name)).unwrap();
        assert_eq!(again.to_json(), config.to_json(), "{name}");
        let vars = Vars::new();
        config.build(&vars, Head::Picture).unwrap();
        let specs = vars.specs().into_iter().filter(|spec| !spec.buffer);
        let total: usize = specs.map(|spec| spec.shape.len()).sum();
        assert_eq!(Some(total as u64), count.as_u64(), "{name}");
    }
}

/// A file as torch.save's neighbours write it, names, order and counts of batches as torchvision has them, and no
/// configuration beside it.
fn bare_file(model: &Model, path: &Path) {
    let by_name: BTreeMap<String, Vec<u8>> = model
        .vars
        .specs()
        .iter()
        .map(|spec| {
            let bytes = match spec.shape.0.is_empty() {
                true => 3i64.to_le_bytes().to_vec(),
                false => values(spec).iter().flat_map(|v| v.to_le_bytes()).collect(),
            };
            (spec.name.clone(), bytes)
        })
        .collect();
    let shapes: BTreeMap<String, Vec<usize>> = model.vars.file_order().into_iter().collect();
    let views = by_name.iter().map(|(name, bytes)| {
        let dtype = match shapes[name].is_empty() {
            true => Dtype::I64,
            false => Dtype::F32,
        };
        (
            name,
            TensorView::new(dtype, shapes[name].clone(), bytes).unwrap(),
        )
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A bare file is known by its tensors; what is written is what was read.
#[test]
fn a_file_without_a_configuration_opens_and_is_written_again() {
    for name in ["resnet_basic", "resnet_bottleneck"] {
        let mut model = Model::new(name);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resnet18-f37072fd.safetensors");
        bare_file(&model, &path);
        let source = Pretrained::open(&path, None).unwrap();
        assert_eq!(source.config.labels().count(), 5);
        let vars = Vars::new();
        model.network = source.config.build(&vars, Head::Picture).unwrap();
        model.store = vars.store(&model.gpu, 0, |_| 1.0).unwrap();
        let format = source.config.family().format();
        let architecture = format.class(Head::Picture).unwrap();
        let layout = Layout::new(architecture, &vars);
        let report = source.report(&layout).unwrap();
        assert!(report.missing.is_empty() && report.unexpected.is_empty());
        source.load(&model.store, &report.missing).unwrap();
        let logits = model.logits(&Tape::inference(&model.gpu));
        model.near("evaluated", &logits, tolerance::TRANSFORMER);

        let tensors = model.store.specs().map(|spec| {
            let held = model.store.get(&spec.name).unwrap().to_vec().unwrap();
            let array = Array::new(&spec.shape.0, spec.from_held(held)).unwrap();
            (spec.name.clone(), array)
        });
        let saved = melos::hub::Model {
            architecture,
            config: source.config.to_json(),
            tensors: tensors.collect(),
            companions: Vec::new(),
        };
        let out = folder.path().join("saved");
        melos::hub::save(&out, &saved, &melos::hub::SaveOptions::default()).unwrap();
        let again = melos::hub::TensorFile::open(&out.join("model.safetensors")).unwrap();
        for spec in model.vars.specs() {
            let array = again.array(&spec.name).unwrap();
            assert_eq!(array.shape(), spec.shape.0, "{}", spec.name);
            assert_eq!(array.values().as_ref(), values(&spec), "{}", spec.name);
        }
    }
}
