//! The models of Dai & Le, "Semi-supervised Sequence Learning" (2015): an LSTM language model
//! (LM-LSTM), a sequence autoencoder (SA-LSTM) and a classifier, on one common backbone that the
//! first two pretrain for the third.

#[cfg(feature = "train")]
mod config;
#[cfg(feature = "train")]
mod family;
mod heads;

#[cfg(feature = "train")]
pub use config::Lstm;
#[cfg(feature = "train")]
pub use family::LSTM_FAMILY;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::nn::{Embedding, Linear, LstmLayers, LstmLayersOutput, LstmShape, Vars};
use crate::ops::{self, TokenIds};
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
        ids: &TokenIds,
        lens: &Tensor,
        state: Option<&[(Tensor, Tensor)]>,
    ) -> Result<LstmLayersOutput> {
        let embedded = self.embedding.forward(tape, ids)?;
        let embedded = ops::dropout(tape, &embedded, self.embedding_dropout)?;
        self.lstm.forward(tape, &embedded, lens, state)
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
        let rows = hidden.reshaped([hidden.shape().rows(), hidden.shape().last()])?;
        let rows = ops::dropout(tape, &rows, self.output_dropout)?;
        output.cross_entropy(tape, &rows, targets, weights)
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

    /// ids (T, B), lens (B) u32, targets (T·B) u32, weights (T·B), first states for every layer;
    /// returns Σ weightᵢ·lossᵢ as (1), and the final states.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn loss(
        &self,
        tape: &Tape,
        ids: &TokenIds,
        lens: &Tensor,
        state: Option<&[(Tensor, Tensor)]>,
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<(Tensor, Vec<(Tensor, Tensor)>)> {
        let result = self.backbone.forward(tape, ids, lens, state)?;
        let loss = self
            .backbone
            .decode(tape, &self.decoder, &result.out, targets, weights)?;
        Ok((loss, result.finals))
    }
}

/// SA-LSTM: reads a sequence, then writes it again from its final state, with one set of weights.
pub struct SequenceAutoencoder {
    backbone: Backbone,
    decoder: Linear,
}

/// What the autoencoder reads and must write.
pub struct AutoencoderInputs<'a> {
    /// The sequence (T, B).
    pub source: &'a TokenIds,
    /// Its lengths (B) u32.
    pub source_lens: &'a Tensor,
    /// What the decoder reads, `<eos> x₁ x₂ …` (T', B).
    pub shifted: &'a TokenIds,
    /// Its lengths (B) u32.
    pub shifted_lens: &'a Tensor,
    /// What it must predict, `x₁ x₂ … <eos>` (T'·B) u32.
    pub targets: &'a Tensor,
    /// Weight of each prediction (T'·B).
    pub weights: &'a Tensor,
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

    /// Σ weightᵢ·lossᵢ of reconstructing the sequence, as (1).
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn loss(&self, tape: &Tape, inputs: &AutoencoderInputs<'_>) -> Result<Tensor> {
        let read = self
            .backbone
            .forward(tape, inputs.source, inputs.source_lens, None)?;
        let written = self.backbone.forward(
            tape,
            inputs.shifted,
            inputs.shifted_lens,
            Some(&read.finals),
        )?;
        self.backbone.decode(
            tape,
            &self.decoder,
            &written.out,
            inputs.targets,
            inputs.weights,
        )
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

/// What a classifier learns from.
pub struct ClassifierInputs<'a> {
    /// The sequences (T, B).
    pub ids: &'a TokenIds,
    /// Their lengths (B) u32.
    pub lens: &'a Tensor,
    /// Their classes: (B) to classify the final state, (T·B) to classify every state. u32;
    /// `u32::MAX` does not count.
    pub targets: &'a Tensor,
    /// Weight of each prediction, as many. With the linear gain it grows along the sequence.
    pub weights: &'a Tensor,
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

    /// Σ weightᵢ·lossᵢ, as (1).
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn loss(&self, tape: &Tape, inputs: &ClassifierInputs<'_>) -> Result<Tensor> {
        let read = self.backbone.forward(tape, inputs.ids, inputs.lens, None)?;
        self.loss_of(tape, inputs, &read)
    }

    fn loss_of(
        &self,
        tape: &Tape,
        inputs: &ClassifierInputs<'_>,
        read: &LstmLayersOutput,
    ) -> Result<Tensor> {
        let features = self.learned(tape, inputs, read)?;
        self.backbone.decode(
            tape,
            &self.classifier,
            &features,
            inputs.targets,
            inputs.weights,
        )
    }

    /// What the output layer sees of the states that are learned from: the final ones, or all.
    fn learned(
        &self,
        tape: &Tape,
        inputs: &ClassifierInputs<'_>,
        read: &LstmLayersOutput,
    ) -> Result<Tensor> {
        let hidden = if inputs.weights.len() == inputs.lens.len() {
            self.summary(tape, &read.finals)?
        } else {
            read.out.clone()
        };
        self.features(tape, &hidden)
    }

    /// Logits (N, classes) of the states that are learned from.
    fn logits_of(&self, tape: &Tape, inputs: &ClassifierInputs<'_>) -> Result<Tensor> {
        let read = self.backbone.forward(tape, inputs.ids, inputs.lens, None)?;
        let features = self.learned(tape, inputs, &read)?;
        let rows = features.reshaped([features.shape().rows(), features.shape().last()])?;
        let rows = ops::dropout(tape, &rows, self.backbone.output_dropout)?;
        self.classifier.forward(tape, &rows)
    }

    /// ids (T, B), lens (B) u32 → logits (B, classes), without dropout on an inference tape.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn logits(&self, tape: &Tape, ids: &TokenIds, lens: &Tensor) -> Result<Tensor> {
        let read = self.backbone.forward(tape, ids, lens, None)?;
        let features = self.features(tape, &self.summary(tape, &read.finals)?)?;
        let features = ops::dropout(tape, &features, self.backbone.output_dropout)?;
        self.classifier.forward(tape, &features)
    }
}

/// A classifier that is trained as a language model or autoencoder at the same time (Dai & Le,
/// section 2: joint training).
pub struct JointClassifier {
    classifier: LstmClassifier,
    decoder: Linear,
}

/// The second objective of [`JointClassifier`]: what is predicted, (T·B) u32, and with which
/// weights.
pub struct Auxiliary<'a> {
    /// What the decoder reads and its lengths, for an autoencoder; a language model predicts from
    /// the states that the classifier's own reading leaves.
    pub shifted: Option<(&'a TokenIds, &'a Tensor)>,
    /// (T·B) u32
    pub targets: &'a Tensor,
    /// (T·B)
    pub weights: &'a Tensor,
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

    /// The classifier in it.
    pub fn classifier(&self) -> &LstmClassifier {
        &self.classifier
    }

    /// The losses of the classifier and of the second objective, (1) each.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn losses(
        &self,
        tape: &Tape,
        inputs: &ClassifierInputs<'_>,
        auxiliary: &Auxiliary<'_>,
    ) -> Result<[Tensor; 2]> {
        let backbone = &self.classifier.backbone;
        let read = backbone.forward(tape, inputs.ids, inputs.lens, None)?;
        let label_loss = self.classifier.loss_of(tape, inputs, &read)?;
        let hidden = match auxiliary.shifted {
            Some((ids, lens)) => backbone.forward(tape, ids, lens, Some(&read.finals))?.out,
            None => read.out,
        };
        let (targets, weights) = (auxiliary.targets, auxiliary.weights);
        let text_loss = backbone.decode(tape, &self.decoder, &hidden, targets, weights)?;
        Ok([label_loss, text_loss])
    }
}
