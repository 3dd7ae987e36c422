//! The models of Dai & Le, "Semi-supervised Sequence Learning" (2015): an LSTM language model
//! (LM-LSTM), a sequence autoencoder (SA-LSTM) and a classifier, on one common backbone that the
//! first two pretrain for the third.

#[cfg(feature = "train")]
mod config;
#[cfg(feature = "train")]
mod family;

#[cfg(feature = "train")]
pub use config::Lstm;
#[cfg(feature = "train")]
pub use family::LSTM_FAMILY;

use serde::{Deserialize, Serialize};

use super::heads::classification_loss;
use super::inputs::{Answers, Tokens};
use super::network::{Autoencoder, Classifier, JointObjective, Network, RecurrentLm, States};
use crate::device::Gpu;
use crate::error::Result;
use crate::nn::{Embedding, Linear, LstmLayers, LstmLayersOutput, LstmShape, Vars};
use crate::ops;
use crate::tensor::{Depth, Init, Tape, Tensor};

/// Names of the parts, as prefixes in files.
pub const EMBEDDING: &str = "embedding";
/// The LSTM stack.
pub const LSTM: &str = "lstm";
/// The language model's and the autoencoder's output layer.
pub const DECODER: &str = "decoder";
/// The layer between the LSTM and the classifier's output layer.
pub const HEAD: &str = "head";
/// The classifier's output layer.
pub const CLASSIFIER: &str = "classifier";

/// Sizes and regularisation of an LSTM model; what stands in its `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LstmConfig {
    /// Tokens (V).
    pub vocab_size: usize,
    /// Width of an embedding (E).
    pub embedding_size: usize,
    /// Units of the LSTM (H).
    pub hidden_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Whether the LSTM also reads backwards.
    pub bidirectional: bool,
    /// Width of the ReLU layer between the LSTM and the classifier; 0 leaves it out.
    pub head_size: usize,
    /// The cell is clamped to ± this; 0 leaves it free.
    pub cell_clip: f32,
    /// Dropout on the embeddings' elements.
    pub embedding_dropout: f32,
    /// Dropout between layers.
    pub layer_dropout: f32,
    /// Dropout before the output layer.
    pub output_dropout: f32,
}

impl LstmConfig {
    /// Sizes of the stack.
    pub fn lstm_shape(&self) -> LstmShape {
        LstmShape {
            inputs: self.embedding_size,
            hidden: self.hidden_size,
            layers: self.num_layers,
            bidirectional: self.bidirectional,
            cell_clip: self.cell_clip,
            dropout: self.layer_dropout,
        }
    }
}

/// Embedding and LSTM: what pretraining hands on.
struct Backbone {
    embedding: Embedding,
    lstm: LstmLayers,
    embedding_dropout: f32,
    output_dropout: f32,
}

impl Backbone {
    fn new(v: &Vars, config: &LstmConfig) -> Result<Backbone> {
        let (vocabulary, width) = (config.vocab_size, config.embedding_size);
        let bottom = v.depth(Depth::Embeddings);
        Ok(Backbone {
            // Dai & Le start small; ±0.1 keeps the first gates near their middle.
            embedding: bottom.embedding(EMBEDDING, vocabulary, width, Init::Uniform(0.1))?,
            lstm: v.lstm(LSTM, config.lstm_shape())?,
            embedding_dropout: config.embedding_dropout,
            output_dropout: config.output_dropout,
        })
    }

    fn forward(
        &self,
        tape: &Tape,
        inputs: &Tokens<'_>,
        state: Option<&[(Tensor, Tensor)]>,
    ) -> Result<LstmLayersOutput> {
        let embedded = self.embedding.forward(tape, inputs.ids)?;
        let embedded = ops::dropout(tape, &embedded, self.embedding_dropout)?;
        self.lstm.forward(tape, &embedded, inputs.lens, state)
    }

    /// Hidden states (…, D·H) as rows, dropped out for the output layer.
    fn rows(&self, tape: &Tape, hidden: &Tensor) -> Result<Tensor> {
        let rows = hidden.reshaped([hidden.shape().rows(), hidden.shape().last()])?;
        ops::dropout(tape, &rows, self.output_dropout)
    }

    /// Loss of predicting `targets` (N) from the hidden states (…, D·H), N of them in all.
    fn decode(
        &self,
        tape: &Tape,
        output: &Linear,
        hidden: &Tensor,
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<Tensor> {
        output.cross_entropy(tape, &self.rows(tape, hidden)?, targets, weights)
    }
}

/// The output layer over the vocabulary.
fn decoder(v: &Vars, config: &LstmConfig) -> Result<Linear> {
    v.linear(DECODER, config.lstm_shape().outputs(), config.vocab_size)
}

/// LM-LSTM: predicts each next token; its state is carried from window to window.
pub struct LstmLanguageModel {
    backbone: Backbone,
    decoder: Linear,
    layers: usize,
    hidden: usize,
}

impl LstmLanguageModel {
    /// Declares the model.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn new(v: &Vars, config: &LstmConfig) -> Result<LstmLanguageModel> {
        Ok(LstmLanguageModel {
            backbone: Backbone::new(v, config)?,
            decoder: decoder(v, config)?,
            layers: config.num_layers,
            hidden: config.hidden_size,
        })
    }
}

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
        let (backbone, decoder) = (&self.backbone, &self.decoder);
        let read = backbone.forward(tape, inputs, Some(states))?;
        let loss = backbone.decode(tape, decoder, &read.out, targets, weights)?;
        Ok((loss, read.finals))
    }
}

/// SA-LSTM: reads a sequence, then writes it again from its final state, with one set of weights.
pub struct SequenceAutoencoder {
    backbone: Backbone,
    decoder: Linear,
}

impl SequenceAutoencoder {
    /// Declares the model.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn new(v: &Vars, config: &LstmConfig) -> Result<SequenceAutoencoder> {
        Ok(SequenceAutoencoder {
            backbone: Backbone::new(v, config)?,
            decoder: decoder(v, config)?,
        })
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
        let (backbone, decoder) = (&self.backbone, &self.decoder);
        let read = backbone.forward(tape, source, None)?;
        let written = backbone.forward(tape, shifted, Some(&read.finals))?;
        backbone.decode(tape, decoder, &written.out, targets, weights)
    }
}

/// Classifies a sequence from the LSTM's final state, or from every state with the linear label
/// gain of Dai & Le.
pub struct LstmClassifier {
    backbone: Backbone,
    head: Option<Linear>,
    classifier: Linear,
    directions: usize,
}

impl LstmClassifier {
    /// Declares the model.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn new(v: &Vars, config: &LstmConfig, classes: usize) -> Result<LstmClassifier> {
        LstmClassifier::on(v, Backbone::new(v, config)?, config, classes)
    }

    fn on(
        v: &Vars,
        backbone: Backbone,
        config: &LstmConfig,
        classes: usize,
    ) -> Result<LstmClassifier> {
        let mut width = config.lstm_shape().outputs();
        let mut head = None;
        if config.head_size > 0 {
            head = Some(v.linear(HEAD, width, config.head_size)?);
            width = config.head_size;
        }
        Ok(LstmClassifier {
            backbone,
            head,
            classifier: v.linear(CLASSIFIER, width, classes)?,
            directions: config.lstm_shape().directions(),
        })
    }

    /// What the output layer sees of hidden states (…, D·H): the head's units, if there is one.
    fn features(&self, tape: &Tape, hidden: &Tensor) -> Result<Tensor> {
        match &self.head {
            Some(head) => ops::unary(tape, &head.forward(tape, hidden)?, ops::Unary::Relu),
            None => Ok(hidden.clone()),
        }
    }

    /// The last layer's final states, (B, D·H).
    fn summary(&self, tape: &Tape, finals: &[(Tensor, Tensor)]) -> Result<Tensor> {
        let top = &finals[finals.len() - self.directions..];
        match top {
            [(h, _)] => Ok(h.clone()),
            many => ops::concat(
                tape,
                &many.iter().map(|(h, _)| h.clone()).collect::<Vec<_>>(),
            ),
        }
    }

    /// What the output layer sees of the states that are learned from: the final ones, or all where
    /// there is an answer for each.
    fn learned(
        &self,
        tape: &Tape,
        read: &LstmLayersOutput,
        inputs: &Tokens<'_>,
        answers: &Answers<'_>,
    ) -> Result<Tensor> {
        let hidden = if answers.weights.len() == inputs.lens.len() {
            self.summary(tape, &read.finals)?
        } else {
            read.out.clone()
        };
        self.features(tape, &hidden)
    }

    /// The loss of one class of several.
    fn decode(&self, tape: &Tape, features: &Tensor, answers: &Answers<'_>) -> Result<Tensor> {
        let (targets, weights) = (answers.targets, answers.weights);
        self.backbone
            .decode(tape, &self.classifier, features, targets, weights)
    }

    /// Logits (N, classes) of what the output layer sees.
    fn output(&self, tape: &Tape, features: &Tensor) -> Result<Tensor> {
        let rows = self.backbone.rows(tape, features)?;
        self.classifier.forward(tape, &rows)
    }
}

impl Network for LstmClassifier {
    fn as_classifier(&self) -> Option<&dyn Classifier> {
        Some(self)
    }
}

impl Classifier for LstmClassifier {
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Tensor> {
        let read = self.backbone.forward(tape, inputs, None)?;
        let features = self.features(tape, &self.summary(tape, &read.finals)?)?;
        self.output(tape, &features)
    }

    /// As many answers as tokens are of the states after each of them.
    fn loss(&self, tape: &Tape, inputs: &Tokens<'_>, answers: &Answers<'_>) -> Result<Tensor> {
        let read = self.backbone.forward(tape, inputs, None)?;
        let features = self.learned(tape, &read, inputs, answers)?;
        if answers.is_plain() {
            return self.decode(tape, &features, answers);
        }
        classification_loss(tape, &self.output(tape, &features)?, answers)
    }
}

/// A classifier that is trained as a language model or autoencoder at the same time (Dai & Le,
/// section 2: joint training).
pub struct JointClassifier {
    classifier: LstmClassifier,
    decoder: Linear,
}

impl JointClassifier {
    /// Declares the model.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn new(v: &Vars, config: &LstmConfig, classes: usize) -> Result<JointClassifier> {
        let backbone = Backbone::new(v, config)?;
        let decoder = decoder(v, config)?;
        Ok(JointClassifier {
            classifier: LstmClassifier::on(v, backbone, config, classes)?,
            decoder,
        })
    }
}

impl Network for JointClassifier {
    fn as_classifier(&self) -> Option<&dyn Classifier> {
        Some(&self.classifier)
    }

    fn as_joint(&self) -> Option<&dyn JointObjective> {
        Some(self)
    }
}

impl JointObjective for JointClassifier {
    fn losses(
        &self,
        tape: &Tape,
        inputs: &Tokens<'_>,
        answers: &Answers<'_>,
        shifted: Option<&Tokens<'_>>,
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<[Tensor; 2]> {
        let (classifier, backbone) = (&self.classifier, &self.classifier.backbone);
        let read = backbone.forward(tape, inputs, None)?;
        let features = classifier.learned(tape, &read, inputs, answers)?;
        let label_loss = classifier.decode(tape, &features, answers)?;
        let hidden = match shifted {
            Some(shifted) => backbone.forward(tape, shifted, Some(&read.finals))?.out,
            None => read.out,
        };
        let text_loss = backbone.decode(tape, &self.decoder, &hidden, targets, weights)?;
        Ok([label_loss, text_loss])
    }
}
