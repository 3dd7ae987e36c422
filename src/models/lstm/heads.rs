//! What the LSTM's models can be asked to do.

use super::{
    AutoencoderInputs, Auxiliary, ClassifierInputs, JointClassifier, LstmClassifier,
    LstmLanguageModel, SequenceAutoencoder,
};
use crate::device::Gpu;
use crate::error::Result;
use crate::models::heads::classification_loss;
use crate::models::inputs::{Answers, Tokens};
use crate::models::network::{
    Autoencoder, Classifier, JointObjective, Network, RecurrentLm, States,
};
use crate::tensor::{Tape, Tensor};

impl Network for LstmLanguageModel {
    fn as_recurrent_lm(&self) -> Option<&dyn RecurrentLm> {
        Some(self)
    }
}

impl RecurrentLm for LstmLanguageModel {
    fn states(&self, gpu: &Gpu, batch: usize) -> Result<States> {
        let zero = || Tensor::zeros(gpu, [batch, self.hidden]);
        (0..self.layers).map(|_| Ok((zero()?, zero()?))).collect()
    }

    fn loss(
        &self,
        tape: &Tape,
        inputs: &Tokens<'_>,
        states: &[(Tensor, Tensor)],
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<(Tensor, States)> {
        let (ids, lens) = (inputs.ids, inputs.lens);
        LstmLanguageModel::loss(self, tape, ids, lens, Some(states), targets, weights)
    }
}

impl Network for SequenceAutoencoder {
    fn as_autoencoder(&self) -> Option<&dyn Autoencoder> {
        Some(self)
    }
}

impl Autoencoder for SequenceAutoencoder {
    fn loss(
        &self,
        tape: &Tape,
        source: &Tokens<'_>,
        shifted: &Tokens<'_>,
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<Tensor> {
        let inputs = AutoencoderInputs {
            source: source.ids,
            source_lens: source.lens,
            shifted: shifted.ids,
            shifted_lens: shifted.lens,
            targets,
            weights,
        };
        SequenceAutoencoder::loss(self, tape, &inputs)
    }
}

impl Network for LstmClassifier {
    fn as_classifier(&self) -> Option<&dyn Classifier> {
        Some(self)
    }
}

/// What is learned of each text, or of each of its tokens.
fn inputs<'a>(inputs: &Tokens<'a>, answers: &Answers<'a>) -> ClassifierInputs<'a> {
    ClassifierInputs {
        ids: inputs.ids,
        lens: inputs.lens,
        targets: answers.targets,
        weights: answers.weights,
    }
}

impl Classifier for LstmClassifier {
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Tensor> {
        LstmClassifier::logits(self, tape, inputs.ids, inputs.lens)
    }

    /// As many answers as tokens are of the states after each of them.
    fn loss(&self, tape: &Tape, tokens: &Tokens<'_>, answers: &Answers<'_>) -> Result<Tensor> {
        let inputs = inputs(tokens, answers);
        if answers.is_plain() {
            return LstmClassifier::loss(self, tape, &inputs);
        }
        let logits = self.logits_of(tape, &inputs)?;
        classification_loss(tape, &logits, answers)
    }
}

impl Network for JointClassifier {
    fn as_classifier(&self) -> Option<&dyn Classifier> {
        Some(self.classifier())
    }

    fn as_joint(&self) -> Option<&dyn JointObjective> {
        Some(self)
    }
}

impl JointObjective for JointClassifier {
    fn losses(
        &self,
        tape: &Tape,
        tokens: &Tokens<'_>,
        answers: &Answers<'_>,
        shifted: Option<&Tokens<'_>>,
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<[Tensor; 2]> {
        let auxiliary = Auxiliary {
            shifted: shifted.map(|shifted| (shifted.ids, shifted.lens)),
            targets,
            weights,
        };
        JointClassifier::losses(self, tape, &inputs(tokens, answers), &auxiliary)
    }
}
