//! Models: layers put together, with the names their parameters have in files.

pub mod bert;
mod config;
pub mod convnet;
pub mod decoder;
pub mod distilbert;
pub mod encoder;
#[cfg(feature = "train")]
mod family;
pub mod gpt2;
mod heads;
mod inputs;
pub mod llama;
pub mod lstm;
pub mod mlp;
mod network;
#[cfg(feature = "train")]
mod picture;
#[cfg(feature = "train")]
mod pretrained;
pub mod resnet;
pub mod roberta;

pub use config::{ImageSize, Labels, PictureAct, ProblemType, most};
#[cfg(feature = "train")]
pub use family::{
    Config, Cut, Dropouts, Extent, FAMILIES, Family, PictureModel, PictureShape, Reading, Sizes,
    architecture, formats, read_config,
};
pub use heads::{Pooling, classification_loss, embed};
pub use inputs::{Answers, MaskedTokens, NextSentence, Tokens};
pub use network::{
    Autoencoder, CausalLm, Classifier, Encoder, JointObjective, MaskedLm, MaskedNextSentence,
    Network, PictureClassifier, RecurrentLm, States, Tagger, Writer,
};
#[cfg(feature = "train")]
pub use pretrained::{Beside, Pretrained, is_adapter, open, template_of, tokenizer_of};
