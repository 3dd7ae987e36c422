//! Transformers' objectives: masked and causal language models, classifiers of sequences and of
//! words; from scratch or from files, whole, in part, or by an adapter.

mod adapter;
mod basis;
mod causal;
mod inputs;
mod labels;
mod masked;
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
use crate::models::Pretrained;
use crate::tensor::DType;
use crate::text::{Roles, Vocabulary};
use crate::train::config::{Problem, RunConfig, StageConfig};
use crate::train::estimate::{DataSizes, Estimate, TransformerSizes};
pub(crate) use inputs::Sequences;
pub(crate) use labels::names as label_names;
pub(crate) use scorer::{Scorer, shown};

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
    let source = init
        .map(|folder| Pretrained::open(folder, base))
        .transpose()?;
    let mut sizes = start::choose(config, stage, source.as_ref(), &vocabulary)?;
    if stage.objective.needs_labels() {
        let count = match stage.objective.problem() {
            Problem::Regression => 1,
            _ => data.classes.max(1),
        };
        let names: Vec<String> = (0..count).map(|n| format!("LABEL_{n}")).collect();
        sizes.set_labels(labels::of_config(&names, stage.objective.problem()));
    }
    let built = start::declare(&*sizes, source.as_ref(), stage)?;
    let mut total = TransformerSizes {
        parameters: 0,
        trainable: 0,
        halved: 0,
        largest_parameter: 0,
        extent: sizes.extent(),
    };
    for spec in built.vars.specs() {
        let len = spec.shape.len() as u64;
        let rule = built.rule(&spec, stage);
        total.parameters += len;
        total.trainable += if rule.lr_scale > 0.0 { len } else { 0 };
        total.halved += if rule.dtype == DType::F16 { len } else { 0 };
        total.largest_parameter = total.largest_parameter.max(len * rule.dtype.size());
    }
    Ok(Estimate::transformer(&total, stage))
}

/// An objective that the network cannot learn; [`start::architecture`] has said so before.
fn wrong_network(stage: &StageConfig) -> Error {
    Error::ConfigValue {
        place: format!("stage.{}.objective", stage.name),
        message: "does not fit the network".into(),
    }
}
