//! The models of Dai & Le, "Semi-supervised Sequence Learning" (2015): an LSTM language model
//! (LM-LSTM), a sequence autoencoder (SA-LSTM) and a classifier, on one common backbone that the
//! first two pretrain for the third.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::nn::{Embedding, Linear, LstmLayers, LstmLayersOutput, LstmShape};
use crate::ops::{self, TokenIds};
use crate::tensor::{ParamSpec, ParamStore, Tape, Tensor};

/// Names of the parts, as prefixes in files.
pub const EMBEDDING: &str = "embedding";
/// The LSTM stack.
pub const LSTM: &str = "lstm";
/// The language model's and the autoencoder's output layer.
pub const DECODER: &str = "decoder";
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

    fn backbone_specs(&self) -> Vec<ParamSpec> {
        let mut specs = Embedding::specs(EMBEDDING, self.vocab_size, self.embedding_size);
        specs.extend(LstmLayers::specs(LSTM, &self.lstm_shape()));
        specs
    }

    /// Parameters of [`LstmLanguageModel`] and of [`SequenceAutoencoder`].
    pub fn decoder_specs(&self) -> Vec<ParamSpec> {
        let mut specs = self.backbone_specs();
        specs.extend(Linear::specs(
            DECODER,
            self.lstm_shape().outputs(),
            self.vocab_size,
        ));
        specs
    }

    /// Parameters of [`LstmClassifier`].
    pub fn classifier_specs(&self, classes: usize) -> Vec<ParamSpec> {
        let mut specs = self.backbone_specs();
        specs.extend(Linear::specs(
            CLASSIFIER,
            self.lstm_shape().outputs(),
            classes,
        ));
        specs
    }

    /// Parameters of a classifier that is also trained as a language model or autoencoder.
    pub fn joint_specs(&self, classes: usize) -> Vec<ParamSpec> {
        let mut specs = self.decoder_specs();
        specs.extend(Linear::specs(
            CLASSIFIER,
            self.lstm_shape().outputs(),
            classes,
        ));
        specs
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
    fn new(store: &ParamStore, config: &LstmConfig) -> Result<Backbone> {
        Ok(Backbone {
            embedding: Embedding::new(store, EMBEDDING)?,
            lstm: LstmLayers::new(store, LSTM, config.lstm_shape())?,
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
        decoder: &Linear,
        hidden: &Tensor,
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<Tensor> {
        let rows = hidden.reshaped([hidden.shape().rows(), hidden.shape().last()])?;
        let rows = ops::dropout(tape, &rows, self.output_dropout)?;
        decoder.cross_entropy(tape, &rows, targets, weights)
    }
}

/// LM-LSTM: predicts each next token; its state is carried from window to window.
pub struct LstmLanguageModel {
    backbone: Backbone,
    decoder: Linear,
}

impl LstmLanguageModel {
    /// The model whose parameters stand in `store`.
    ///
    /// # Errors
    /// [`crate::Error::Parameter`] when one is missing.
    pub fn new(store: &ParamStore, config: &LstmConfig) -> Result<LstmLanguageModel> {
        Ok(LstmLanguageModel {
            backbone: Backbone::new(store, config)?,
            decoder: Linear::new(store, DECODER)?,
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
    /// What the decoder reads, `<bos> x₁ x₂ …` (T', B).
    pub shifted: &'a TokenIds,
    /// Its lengths (B) u32.
    pub shifted_lens: &'a Tensor,
    /// What it must predict, `x₁ x₂ … <eos>` (T'·B) u32.
    pub targets: &'a Tensor,
    /// Weight of each prediction (T'·B).
    pub weights: &'a Tensor,
}

impl SequenceAutoencoder {
    /// The model whose parameters stand in `store`.
    ///
    /// # Errors
    /// [`crate::Error::Parameter`] when one is missing.
    pub fn new(store: &ParamStore, config: &LstmConfig) -> Result<SequenceAutoencoder> {
        Ok(SequenceAutoencoder {
            backbone: Backbone::new(store, config)?,
            decoder: Linear::new(store, DECODER)?,
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
    classifier: Linear,
    directions: usize,
}

impl LstmClassifier {
    /// The model whose parameters stand in `store`.
    ///
    /// # Errors
    /// [`crate::Error::Parameter`] when one is missing.
    pub fn new(store: &ParamStore, config: &LstmConfig) -> Result<LstmClassifier> {
        Ok(LstmClassifier {
            backbone: Backbone::new(store, config)?,
            classifier: Linear::new(store, CLASSIFIER)?,
            directions: config.lstm_shape().directions(),
        })
    }

    /// What is classified, (B, D·H): the last layer's final states.
    fn summary(&self, tape: &Tape, finals: &[(Tensor, Tensor)]) -> Result<Tensor> {
        let top: Vec<Tensor> = finals[finals.len() - self.directions..]
            .iter()
            .map(|(h, _)| h.clone())
            .collect();
        match &top[..] {
            [one] => Ok(one.clone()),
            many => ops::concat(tape, many),
        }
    }

    /// ids (T, B), lens (B) u32, targets and weights: (B) to classify the final state, or (T·B)
    /// to classify every state (linear gain: weights grow along the row). Returns
    /// Σ weightᵢ·lossᵢ as (1).
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn loss(
        &self,
        tape: &Tape,
        ids: &TokenIds,
        lens: &Tensor,
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<Tensor> {
        let result = self.backbone.forward(tape, ids, lens, None)?;
        let every_state = targets.len() == result.out.shape().rows();
        let hidden = if every_state && targets.len() != lens.len() {
            result.out
        } else {
            self.summary(tape, &result.finals)?
        };
        self.backbone
            .decode(tape, &self.classifier, &hidden, targets, weights)
    }

    /// ids (T, B), lens (B) u32 → logits (B, classes).
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn logits(&self, tape: &Tape, ids: &TokenIds, lens: &Tensor) -> Result<Tensor> {
        let result = self.backbone.forward(tape, ids, lens, None)?;
        let hidden = self.summary(tape, &result.finals)?;
        let hidden = ops::dropout(tape, &hidden, self.backbone.output_dropout)?;
        self.classifier.forward(tape, &hidden)
    }
}
