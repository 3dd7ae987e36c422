//! BERT's and GPT-2's objectives: masked and causal language models, classifiers of sequences and
//! of words; from scratch or from files, whole, in part, or by an adapter.

mod adapter;
mod basis;
mod causal;
mod inputs;
mod labels;
mod masked;
mod network;
mod scorer;
mod sequence;
mod start;
mod words;

pub(super) use causal::CausalLm;
pub(super) use masked::MaskedLm;
pub(super) use sequence::SequenceClassifier;
pub(super) use words::WordClassifier;

use std::path::Path;

use crate::error::{Error, Result};
use crate::tensor::DType;
use crate::text::{Roles, Vocabulary};
use crate::train::config::{Problem, Rates, RunConfig, StageConfig};
use crate::train::estimate::{DataSizes, Estimate, TransformerSizes};
pub(crate) use inputs::Sequences;
pub(crate) use labels::names as label_names;
pub(crate) use network::Network;
pub(crate) use scorer::{Scorer, SequenceModel, shown};
pub(crate) use start::{Source, is_adapter};

/// The size of a stage that starts from the folder `init`, or else from random weights.
///
/// # Errors
/// Those of the folder; [`Error::ConfigValue`] for what does not fit its model.
pub fn estimate(
    config: &RunConfig,
    stage: &StageConfig,
    (init, base): (Option<&Path>, Option<&Path>),
    data: DataSizes,
) -> Result<Estimate> {
    let vocabulary = Vocabulary::new(data.vocabulary.max(1), Roles::default(), &[], &[], "");
    let source = init.map(|folder| Source::open(folder, base)).transpose()?;
    let mut network = start::choose(config, stage, source.as_ref(), &vocabulary)?;
    if stage.objective.needs_labels() {
        let count = match stage.objective.problem() {
            Problem::Regression => 1,
            _ => data.classes.max(1),
        };
        let names: Vec<String> = (0..count).map(|n| format!("LABEL_{n}")).collect();
        network.set_labels(&names, stage.objective.problem());
    }
    let architecture = network.architecture(stage.objective.name(), &stage.name)?;
    let missing = match &source {
        Some(source) => source.report(&network, architecture)?.missing,
        None => Vec::new(),
    };
    let adapter = start::adapter(stage, &network, architecture, &missing)?;
    let plan = adapter.map(|a| a.plan).unwrap_or_default();
    let rates = Rates::new(stage).map_err(|(key, message)| Error::ConfigValue {
        place: format!("stage.{}.{key}", stage.name),
        message,
    })?;
    let mut sizes = TransformerSizes {
        parameters: 0,
        trainable: 0,
        halved: 0,
        largest_parameter: 0,
        layers: network.layers(),
        width: network.widths()[0],
        inner: network.widths()[1],
        joint_projection: matches!(network, Network::Gpt2(_)),
    };
    for spec in network.specs(architecture, &plan)? {
        let len = spec.shape.len() as u64;
        let rule = start::rule(&spec, &rates, &network, &plan, stage);
        sizes.parameters += len;
        sizes.trainable += if rule.lr_scale > 0.0 { len } else { 0 };
        sizes.halved += if rule.dtype == DType::F16 { len } else { 0 };
        sizes.largest_parameter = sizes.largest_parameter.max(len * rule.dtype.size());
    }
    Ok(Estimate::transformer(&sizes, stage))
}

/// An objective that the network cannot learn; [`network::Network::architecture`] has said so
/// before.
fn wrong_network(stage: &StageConfig) -> Error {
    Error::ConfigValue {
        place: format!("stage.{}.objective", stage.name),
        message: "does not fit the network".into(),
    }
}
