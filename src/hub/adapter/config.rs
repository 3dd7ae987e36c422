//! `adapter_config.json`: PEFT's description of a LoRA adapter, with PEFT's rules.

use std::fmt;
use std::path::Path;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::matcher::{Matcher, first_match};
use crate::error::{Error, Result};
use crate::hub::checkpoint::read_json;
use crate::hub::config::sorted;
use crate::hub::format::Layout;
use crate::hub::report::some_of;
use crate::nn::LinearShape;

/// The largest rank: no layer that melos has is wider.
pub const MOST_RANK: usize = 1 << 16;

/// The file's name.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";

/// Modules by their names, or by a regular expression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Targets {
    /// Modules of these names, or whose names end in `.` and one of them. In a run file none means those
    /// that PEFT takes for such a model.
    Names(Vec<String>),
    /// Modules whose whole name matches; `all-linear` means every linear layer but the output's.
    Pattern(String),
}

impl Default for Targets {
    fn default() -> Self {
        Self::Names(Vec::new())
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Targets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of names or a regex")
            }

            fn visit_str<E: de::Error>(self, regex: &str) -> Result<Targets, E> {
                Ok(Targets::Pattern(regex.to_string()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Targets, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(Targets::Names(names))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Which biases are trained along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bias {
    /// None of them.
    #[default]
    None,
    /// Every bias of the model.
    All,
    /// Those of the adapted layers.
    LoraOnly,
}

/// A LoRA configuration; fields and defaults are PEFT's `LoraConfig`'s.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdapterConfig {
    /// Always `LORA` here.
    pub peft_type: String,
    /// `SEQ_CLS`, `TOKEN_CLS`, `CAUSAL_LM`, `FEATURE_EXTRACTION`, or nothing.
    pub task_type: Option<String>,
    /// Where the base model came from.
    pub base_model_name_or_path: Option<String>,
    /// Rank.
    pub r: usize,
    /// The update is scaled by alpha / r (rank-stabilised: alpha / √r).
    pub lora_alpha: f64,
    /// Dropout on the update's input while training.
    pub lora_dropout: f64,
    /// Which linear layers are adapted; PEFT has a default for each model type.
    pub target_modules: Option<Targets>,
    /// Which of these are not.
    // Not written where it says nothing: older versions of PEFT refuse keys that they do not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_modules: Option<Targets>,
    /// Modules that are trained and saved whole: those whose names end so.
    pub modules_to_save: Option<Vec<String>>,
    /// Biases that are trained along.
    pub bias: Bias,
    /// Whether the base's weights lie as (in, out). Written as the base has it.
    pub fan_in_fan_out: bool,
    /// Scale by alpha / √r (Kalajdzievski 2023).
    pub use_rslora: bool,
    /// Give every row of an adapted weight a length of its own (Liu et al. 2024).
    pub use_dora: bool,
    /// Ranks that differ: the first key that matches the end of a module's name, as a regex.
    pub rank_pattern: Map<String, Value>,
    /// Alphas that differ, likewise.
    pub alpha_pattern: Map<String, Value>,
    /// Adapt only the layers of these numbers.
    pub layers_to_transform: Option<Value>,
    /// What stands before the number, with `layers_to_transform`.
    pub layers_pattern: Option<Value>,
    /// Treat a tied embedding in `modules_to_save` as one with the output layer.
    #[serde(skip_serializing_if = "is_false")]
    pub ensure_weight_tying: bool,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for AdapterConfig {
    fn default() -> Self {
        AdapterConfig {
            peft_type: "LORA".into(),
            task_type: None,
            base_model_name_or_path: None,
            r: 8,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            target_modules: None,
            exclude_modules: None,
            modules_to_save: None,
            bias: Bias::None,
            fan_in_fan_out: false,
            use_rslora: false,
            use_dora: false,
            rank_pattern: Map::new(),
            alpha_pattern: Map::new(),
            layers_to_transform: None,
            layers_pattern: None,
            ensure_weight_tying: false,
            other: Map::new(),
        }
    }
}

/// A linear layer that is adapted.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The module's canonical name.
    pub module: String,
    /// Its sizes.
    pub linear: LinearShape,
    /// R.
    pub rank: usize,
    /// What B·A is multiplied by: alpha / R, or alpha / √R.
    pub scale: f64,
}

/// Fields that ask for another method than LoRA, or another form of it.
const UNSUPPORTED: &[&str] = &[
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
];

/// Initialisations that change the base model, so that it is not the one the adapter was made on.
const CHANGES_THE_BASE: &[&str] = &["pissa", "olora", "corda", "loftq", "lora_ga"];

fn is_false(value: &bool) -> bool {
    !value
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    }
}

impl AdapterConfig {
    /// Reads `adapter_config.json` of an adapter's folder.
    ///
    /// # Errors
    /// [`Error::Folder`] where it is no LoRA configuration or [`check`](Self::check) refuses it.
    pub fn read(folder: &Path) -> Result<AdapterConfig> {
        let path = folder.join(ADAPTER_CONFIG);
        if folder.is_dir() && !path.exists() {
            return Err(Error::Folder {
                path: folder.to_path_buf(),
                problem: "is no adapter folder (it has no adapter_config.json)".into(),
            });
        }
        let mut value = read_json(&path)?;
        // null stands for the default, as None does in PEFT.
        if let Some(keys) = value.as_object_mut() {
            keys.retain(|_, value| !value.is_null());
        }
        let config: AdapterConfig = serde_json::from_value(value)
            .map_err(|e| Error::folder(&path, format!("is no LoRA configuration: {e}")))?;
        config.check(&path)?;
        Ok(config)
    }

    /// As `adapter_config.json`: the keys that PEFT writes, sorted.
    pub fn to_json(&self) -> Value {
        let mut value = json!(self);
        if let Some(keys) = value.as_object_mut() {
            // PEFT has whole numbers here, and only these were read by its older versions.
            if self.lora_alpha.fract() == 0.0 {
                keys.insert("lora_alpha".into(), json!(self.lora_alpha as i64));
            }
            let usual = json!({
                "auto_mapping": null, "inference_mode": true, "init_lora_weights": true,
                "loftq_config": {}, "revision": null,
            });
            for (key, default) in usual.as_object().into_iter().flatten() {
                keys.entry(key.clone()).or_insert(default.clone());
            }
        }
        sorted(&value)
    }

    /// Refuses what cannot be an adapter here; `place` is where the configuration stands.
    ///
    /// # Errors
    /// [`Error::Folder`]: another method, rank 0, a number out of its range.
    pub fn check(&self, place: &Path) -> Result<()> {
        let bad = |problem: String| Err(Error::folder(place, problem));
        if self.peft_type != "LORA" {
            return bad(format!("is a {} adapter; melos has LORA", self.peft_type));
        }
        let uses = |key: &&&str| self.other.get(**key).is_some_and(is_set);
        if let Some(key) = UNSUPPORTED.iter().find(uses) {
            return bad(format!(
                "asks for '{key}', a form of LoRA that melos does not have"
            ));
        }
        let init = self.other.get("init_lora_weights").and_then(Value::as_str);
        if let Some(init) = init.filter(|i| CHANGES_THE_BASE.iter().any(|c| i.starts_with(c))) {
            return bad(format!(
                "was initialised by '{init}', which changes the base model; convert it to plain LoRA \
                 first (PEFT: save_pretrained with path_initial_model_for_weight_conversion)"
            ));
        }
        if !(1..=MOST_RANK).contains(&self.r) {
            let r = self.r;
            return bad(format!("has rank r = {r}; a rank is 1 to {MOST_RANK}"));
        }
        if !self.lora_alpha.is_finite() {
            return bad(format!(
                "has lora_alpha = {}; expected a number",
                self.lora_alpha
            ));
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return bad(format!(
                "has lora_dropout = {}; expected 0 or more and less than 1",
                self.lora_dropout
            ));
        }
        Ok(())
    }

    /// The layers of `model` that are adapted, in the model's order. `bare`: the base was opened
    /// without its head, so its modules' names have no prefix.
    ///
    /// # Errors
    /// [`Error::Folder`] naming `place`: nothing matches, something other than a linear layer does,
    /// a pattern is no regular expression, a rank of 0.
    pub fn targets(&self, model: &Layout, bare: bool, place: &Path) -> Result<Vec<Target>> {
        let bad = |problem: String| Error::folder(place, problem);
        let matcher = Matcher::new(self, model.architecture).map_err(bad)?;
        let family = model.architecture.format;
        let modules = &model.modules;
        let mut targets = Vec::new();
        for module in modules {
            let name = family.spelled(&module.name, bare, false);
            let matches = matcher.matches(&name, module.linear.is_some());
            if !matches.map_err(bad)? {
                continue;
            }
            let linear = module.linear.ok_or_else(|| {
                bad(format!(
                    "target_modules match '{name}', which is no linear layer; name linear layers only"
                ))
            })?;
            let rank = match first_match(&self.rank_pattern, &name).map_err(bad)? {
                Some(rank) => (rank.as_u64().and_then(|r| usize::try_from(r).ok()))
                    .ok_or_else(|| bad(format!("has the rank {rank} for '{name}'")))?,
                None => self.r,
            };
            if !(1..=MOST_RANK).contains(&rank) {
                return Err(bad(format!(
                    "has rank {rank} for '{name}'; a rank is 1 to {MOST_RANK} (a layer that is not to be \
                     adapted has no place in target_modules)"
                )));
            }
            let alpha = match first_match(&self.alpha_pattern, &name).map_err(bad)? {
                Some(alpha) => (alpha.as_f64())
                    .ok_or_else(|| bad(format!("has the alpha {alpha} for '{name}'")))?,
                None => self.lora_alpha,
            };
            let whole = rank as f64;
            let divisor = if self.use_rslora { whole.sqrt() } else { whole };
            targets.push(Target {
                module: module.name.clone(),
                linear,
                rank,
                scale: alpha / divisor,
            });
        }
        if targets.is_empty() {
            let linear = modules.iter().filter(|m| m.linear.is_some());
            let names = linear.map(|m| family.spelled(&m.name, bare, false));
            let names: Vec<String> = names.collect();
            return Err(bad(format!(
                "target_modules match nothing in a {}; its linear layers are {}",
                model.architecture.name(),
                some_of(&names)
            )));
        }
        Ok(targets)
    }

    /// The tied tensors of `model` of which a module saved whole holds a copy, (copy, original), but
    /// for the originals that the adapter `has` itself.
    pub fn copies(
        &self,
        model: &Layout,
        has: impl Fn(&str) -> bool,
    ) -> Vec<(&'static str, &'static str)> {
        let own = |(copy, original): &(&str, &str)| {
            let module = copy.rsplit_once('.').map_or(*copy, |(module, _)| module);
            self.saves_whole(module) && !has(original)
        };
        model.tied().filter(own).collect()
    }

    /// Whether a tensor is a bias that is trained along, beside these adapted layers.
    pub fn trains_bias(&self, name: &str, targets: &[Target]) -> bool {
        let adapted = |module| targets.iter().any(|target| target.module == module);
        match (self.bias, name.strip_suffix(".bias")) {
            (Bias::None, _) | (_, None) => false,
            (Bias::All, _) => true,
            (Bias::LoraOnly, Some(module)) => adapted(module),
        }
    }

    /// Whether a module, or what it belongs to, is saved whole.
    pub fn saves_whole(&self, module: &str) -> bool {
        let saved = self.modules_to_save.iter().flatten();
        // PEFT wraps every module whose name ends so, and saves all that is inside.
        let mut ends = (module.match_indices('.').map(|(at, _)| at)).chain([module.len()]);
        let saved: Vec<&String> = saved.collect();
        ends.any(|end| saved.iter().any(|s| module[..end].ends_with(s.as_str())))
    }
}
