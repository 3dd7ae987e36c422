//! Which part of a model a stage trains: layer by layer, or an adapter.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::blocks::BlockType;
use crate::hub::adapter::{Bias, Targets};

/// How often one more layer is trained, from the top down (Howard & Ruder 2018, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnfreezeEvery {
    /// After so many passes over the data.
    Epochs(f64),
    /// After so many steps.
    Steps(u64),
}

/// A kind of blocks, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Packing(pub BlockType);

impl TryFrom<String> for Packing {
    type Error = String;

    fn try_from(name: String) -> std::result::Result<Packing, String> {
        let able = |kind: &BlockType| {
            // Double quantisation has a key of its own.
            kind.float_type().is_none() && kind.packs() && *kind != BlockType::Nf4Double
        };
        let found = BlockType::named(&name).filter(able);
        found.map(Packing).ok_or_else(|| {
            let names = BlockType::all().filter(able);
            let names: Vec<String> = names.map(|kind| kind.name().to_lowercase()).collect();
            format!("is '{name}'; expected one of {}", names.join(", "))
        })
    }
}

impl From<Packing> for String {
    fn from(packing: Packing) -> String {
        packing.0.name().to_lowercase()
    }
}

/// How A of an adapter begins; B is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraInit {
    /// Uniform in ±1/√I, as PEFT's usual one.
    #[default]
    Uniform,
    /// Normal with a standard deviation of 1 / r.
    Gaussian,
}

/// A low-rank adapter (Hu et al. 2021), with PEFT's options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lora {
    /// r.
    pub rank: usize,
    /// The update is scaled by alpha / r.
    pub alpha: f64,
    /// Probability of dropping units of the adapter's input.
    pub dropout: f64,
    /// The layers that get an adapter: endings of their names, or one regex for the whole name.
    pub targets: Targets,
    /// Other ranks, by an ending of the layer's name or a regex.
    pub rank_pattern: BTreeMap<String, usize>,
    /// Other alphas, likewise.
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Scale by alpha / √r (Kalajdzievski 2023).
    pub rslora: bool,
    /// Learn the length of every row of an adapted weight beside B·A (Liu et al. 2024, DoRA).
    pub dora: bool,
    /// Layers that are trained whole and saved with the adapter; a new head always is.
    pub modules_to_save: Vec<String>,
    /// Biases that are trained along: of no layer, of all, of those that are adapted.
    pub bias: Bias,
    /// How A begins.
    pub init: LoraInit,
    /// What the frozen matrices are packed in, as "nf4" or "q8_0" (Dettmers et al. 2023, QLoRA); absent: as
    /// their file has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Packing>,
    /// With `base = "nf4"`: pack the scales as well (ibid., as `bnb_4bit_use_double_quant`).
    pub double_quant: bool,
    /// Which of q, k and v an adapter on a layer that makes all three acts on, as "qv"; absent: all.
    pub rows: Option<String>,
}

impl Default for Lora {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 8.0,
            dropout: 0.0,
            targets: Targets::default(),
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            rslora: false,
            dora: false,
            modules_to_save: Vec::new(),
            bias: Bias::None,
            init: LoraInit::Uniform,
            base: None,
            double_quant: false,
            rows: None,
        }
    }
}

impl Lora {
    /// What the frozen matrices are packed in, where that is asked for.
    pub fn packing(&self) -> Option<BlockType> {
        self.base.map(|Packing(kind)| match self.double_quant {
            true => BlockType::Nf4Double,
            false => kind,
        })
    }
}
