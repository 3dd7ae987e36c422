//! How large a stage is, from its configuration alone: parameters, memory, largest binding.
//!
//! The memory is an estimate of what must exist at once (weights, gradients, optimiser state,
//! saved activations), not of what an allocator rounds it up to.

use serde::Serialize;

use super::config::{Auxiliary, LstmModel, Precision, StageConfig, StageKind};
use crate::objectives::{Classify, Joint, Lm, Sa};

use crate::models::Extent;

const F32: u64 = 4;

/// A stage's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Numbers that the model has.
    pub parameters: u64,
    /// Those of them that are trained.
    pub trainable: u64,
    /// Bytes of weights and their gradients.
    pub weights: u64,
    /// Bytes of optimiser state.
    pub optimizer: u64,
    /// Bytes of activations saved for the backward pass, and their gradients.
    pub activations: u64,
    /// Texts that they are of.
    pub batch: u64,
    /// What they would be with `checkpointing`, where it could be turned on.
    pub checkpointed: Option<u64>,
    /// Bytes of the largest single tensor.
    pub largest: u64,
    /// Bytes of the largest tensor that does not grow with the batch.
    pub largest_fixed: u64,
    /// Bytes, per text of the batch, of the largest tensor that does.
    pub largest_per_text: u64,
}

/// What a transformer's size follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransformerSizes {
    /// Numbers that it has.
    pub parameters: u64,
    /// Those of them that are trained.
    pub trainable: u64,
    /// Those of them that are held in f16.
    pub halved: u64,
    /// Bytes of its largest parameter.
    pub largest_parameter: u64,
    /// What its activations follow from.
    pub extent: Extent,
}

/// Numbers that depend on the data, with the values assumed before they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataSizes {
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Labels.
    pub classes: usize,
}

impl Estimate {
    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.weights + self.optimizer + self.activations
    }

    /// The memory in a line.
    pub fn sentence(&self) -> String {
        format!(
            "needs about {}: parameters and gradients {}, optimizer {}, activations {}",
            mebibytes(self.total()),
            mebibytes(self.weights),
            mebibytes(self.optimizer),
            mebibytes(self.activations)
        )
    }

    /// Works out the size of a transformer's stage.
    pub fn transformer(sizes: &TransformerSizes, stage: &StageConfig) -> Self {
        let s = sizes;
        let of = s.extent;
        let (c, f, layers) = (of.width as u64, of.inner as u64, of.layers as u64);
        let rows = (stage.batch * stage.objective.length()) as u64;
        // What a layer keeps of each token: its input, q, k, v and their mean, two normalised sums
        // and their sources, the feed-forward part before and after its function. Scores of
        // attention and logits are never kept.
        let layer = 11 * c + 2 * f;
        let trains = stage.kind != StageKind::Evaluate;
        let per_token = |checkpointing| {
            let layers_kept = match (trains, checkpointing) {
                (false, _) => layer,
                (true, true) => layers * c + layer,
                (true, false) => layers * layer,
            };
            3 * c + layers_kept
        };
        let widest = f.max(of.projections as u64);
        // Evaluation is in f32.
        let number = match stage.precision {
            Precision::F16 if trains => F32 / 2,
            _ => F32,
        };
        let largest_fixed = s.largest_parameter;
        let largest_per_text = number * stage.objective.length() as u64 * widest;
        Self {
            parameters: s.parameters,
            trainable: s.trainable,
            weights: F32 * (s.parameters + s.trainable) - F32 / 2 * s.halved,
            optimizer: F32 * s.trainable * stage.optimizer.state_names().len() as u64,
            activations: number * rows * per_token(stage.checkpointing),
            batch: stage.batch as u64,
            checkpointed: (trains && !stage.checkpointing).then(|| number * rows * per_token(true)),
            largest: largest_fixed.max(largest_per_text * stage.batch as u64),
            largest_fixed,
            largest_per_text,
        }
    }

    /// Works out the size of an LSTM's stage.
    pub fn lstm(model: &LstmModel, stage: &StageConfig, data: DataSizes) -> Self {
        let [v, e, h, k] =
            [data.vocabulary, model.embedding, model.hidden, data.classes].map(|n| n as u64);
        let directions = 1 + u64::from(model.bidirectional);
        let layers = model.layers as u64;
        let width = h * directions;

        let auxiliary = stage.options::<Joint>().map(|joint| joint.auxiliary);
        let reads = |aux| auxiliary == Some(Some(aux));
        let is_lm = stage.objective.is::<Lm>() || reads(Auxiliary::Lm);
        let is_sa = stage.objective.is::<Sa>() || reads(Auxiliary::Sa);
        let classifies = stage.objective.is::<Classify>() || auxiliary.is_some();

        let lstm: u64 = (0..layers)
            .map(|layer| {
                let input = if layer == 0 { e } else { width };
                // PyTorch keeps two bias vectors.
                directions * 4 * h * (input + h + 2)
            })
            .sum();
        let softmax = if is_lm || is_sa { (width + 1) * v } else { 0 };
        let classifier = match (classifies, model.head as u64) {
            (false, _) => 0,
            (true, 0) => (width + 1) * k,
            (true, head) => (width + 1) * head + (head + 1) * k,
        };
        let parameters = v * e + lstm + softmax + classifier;

        let length = stage.objective.length() as u64;
        // An autoencoder reads a text, then writes it with the same weights.
        let steps = length * (1 + u64::from(is_sa));
        let rows = steps * stage.batch as u64;
        // Per token: the embedding, then per layer gates (4h), cell and output, each with its
        // gradient. Logits are computed in chunks and never stored.
        let per_token = 2 * (e + layers * directions * 6 * h);
        let trained = if stage.kind == StageKind::Evaluate {
            0
        } else {
            1
        };
        let decoder = if softmax > 0 { v * width } else { 0 };
        let largest_fixed = F32 * (v * e).max(decoder).max(4 * h * width.max(e));
        // An LSTM's gates, over all the steps of one pass; an autoencoder writes <eos> as well.
        let largest_per_text = F32 * (length + u64::from(is_sa)) * (4 * h).max(e);
        Self {
            parameters,
            trainable: parameters * trained,
            weights: F32 * parameters * (1 + trained),
            optimizer: F32 * parameters * stage.optimizer.state_names().len() as u64 * trained,
            activations: F32 * rows * per_token,
            batch: stage.batch as u64,
            checkpointed: None,
            largest: largest_fixed.max(largest_per_text * stage.batch as u64),
            largest_fixed,
            largest_per_text,
        }
    }
}

/// Bytes as "12.3 MiB".
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::config::{Overrides, preset};

    fn stage(preset_name: &str, index: usize) -> Estimate {
        let config = preset(preset_name)
            .unwrap()
            .config(&Overrides::default())
            .unwrap();
        Estimate::lstm(
            config.model.lstm().unwrap(),
            &config.stages[index],
            DataSizes {
                vocabulary: 30_000,
                classes: 2,
            },
        )
    }

    #[test]
    fn parameters_of_the_papers_models_by_hand() {
        let embedding = 30_000 * 512;
        let lstm = 4 * 1024 * (512 + 1024 + 2);
        let softmax = 30_000 * 1024 + 30_000;
        let classifier = 1024 * 512 + 512 + 512 * 2 + 2;
        assert_eq!(
            stage("lm-lstm-imdb", 0).parameters,
            embedding + lstm + softmax
        );
        assert_eq!(
            stage("lm-lstm-imdb", 1).parameters,
            embedding + lstm + classifier
        );
    }

    #[test]
    fn an_autoencoder_saves_twice_the_activations_of_reading_alone() {
        let sa = stage("sa-lstm-imdb", 0);
        let classify = stage("sa-lstm-imdb", 1);
        assert_eq!(sa.activations, 2 * classify.activations);
    }

    #[test]
    fn f16_halves_activations_and_what_is_frozen() {
        let config = preset("lm-lstm-imdb")
            .unwrap()
            .config(&Overrides::default())
            .unwrap();
        let sizes = TransformerSizes {
            parameters: 1000,
            trainable: 100,
            halved: 0,
            largest_parameter: 400,
            extent: Extent {
                layers: 2,
                width: 8,
                inner: 32,
                projections: 8,
            },
        };
        let mut stage = config.stages[0].clone();
        let whole = Estimate::transformer(&sizes, &stage);
        stage.precision = Precision::F16;
        let halved = 800;
        let half = Estimate::transformer(&TransformerSizes { halved, ..sizes }, &stage);
        assert_eq!(2 * half.activations, whole.activations);
        assert_eq!(whole.weights - half.weights, 2 * halved);
        assert_eq!(half.optimizer, whole.optimizer);
    }
}
