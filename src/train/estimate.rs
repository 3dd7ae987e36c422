//! How large a stage is, from its configuration alone: parameters, memory, largest binding.
//!
//! The memory is an estimate of what must exist at once (weights, gradients, optimiser state,
//! saved activations), not of what an allocator rounds it up to.

use serde::Serialize;

use super::config::{Precision, StageConfig, StageKind};
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
    /// Bytes of optimiser state, and of the average of the parameters.
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

/// What a model's size follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelSizes {
    /// Numbers that it has.
    pub parameters: u64,
    /// Those of them that are trained.
    pub trainable: u64,
    /// Bytes that they are held in.
    pub held: u64,
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

    /// Works out the size of a stage.
    pub fn of(sizes: &ModelSizes, stage: &StageConfig) -> Self {
        let (s, of) = (sizes, sizes.extent);
        let [base, layer, layers] = [of.base, of.layer, of.layers].map(|n| n as u64);
        let (length, passes) = (stage.objective.length(), stage.objective.passes());
        let sequences = stage.objective.rows();
        let rows = (stage.batch * sequences * length * passes) as u64;
        let trains = stage.kind != StageKind::Evaluate;
        let per_token = |recomputed: Option<usize>| {
            let kept = match (trains, recomputed) {
                (false, _) => layer,
                (true, Some(kept)) => layers * kept as u64 + layer,
                (true, None) => layers * layer,
            };
            base + kept
        };
        // Evaluation is in f32.
        let number = match stage.precision {
            Precision::F16 if trains => F32 / 2,
            _ => F32,
        };
        let recomputed = of.recomputed.filter(|_| trains && !stage.checkpointing);
        let largest_fixed = s.largest_parameter;
        // What is written once more than it is read ends with an <eos>.
        let largest_per_text = number * (sequences * (length + passes - 1) * of.widest) as u64;
        // An average has its sum, and room to put parameters aside.
        let averages = if stage.ema.is_some() { 2 } else { 0 };
        let states = stage.optimizer.state_names().len() as u64 + averages;
        Self {
            parameters: s.parameters,
            trainable: s.trainable,
            weights: s.held + F32 * s.trainable,
            optimizer: F32 * s.trainable * states,
            activations: number * rows * per_token(of.recomputed.filter(|_| stage.checkpointing)),
            batch: stage.batch as u64,
            checkpointed: recomputed.map(|kept| number * rows * per_token(Some(kept))),
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
    use crate::train::tasks::planned;

    fn stage(preset_name: &str, index: usize) -> Estimate {
        let config = preset(preset_name)
            .unwrap()
            .config(&Overrides::default())
            .unwrap();
        let sizes = DataSizes {
            vocabulary: 30_000,
            classes: 2,
        };
        planned(&config, &config.stages[index], sizes).unwrap()
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
        let sizes = ModelSizes {
            parameters: 1000,
            trainable: 100,
            held: 4000,
            largest_parameter: 400,
            extent: Extent {
                layers: 2,
                base: 24,
                layer: 152,
                recomputed: Some(8),
                widest: 32,
            },
        };
        let mut stage = config.stages[0].clone();
        let whole = Estimate::of(&sizes, &stage);
        stage.precision = Precision::F16;
        let held = 4000 - 2 * 800;
        let half = Estimate::of(&ModelSizes { held, ..sizes }, &stage);
        assert_eq!(2 * half.activations, whole.activations);
        assert_eq!(whole.weights - half.weights, 2 * 800);
        assert_eq!(half.optimizer, whole.optimizer);
    }
}
