//! Using a trained model: guessing masked tokens, writing on, vectors of texts, labels. Models are
//! Hugging Face folders, PEFT adapters with their base, or what `melos train` has left.

mod answers;
mod chat;
mod conversations;
mod embed;
mod evaluate;
mod fill_mask;
mod generate;
mod pictures;
mod predict;
mod rows;
mod sampling;
mod sentence_options;
mod tag;
mod writing;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

pub use answers::{Model, Prediction, predict};
pub use chat::{Chat, ChatModel};
pub use conversations::Conversations;
pub use embed::Embedder;
pub use evaluate::{open, open_model};
pub use fill_mask::{Blank, FillMask, Guess};
pub use generate::Generator;
pub use pictures::{ImageClassifier, PicturePrediction, is_image_classifier};
pub use predict::Classifier;
pub use sampling::Sampling;
pub use sentence_options::{Pooling, SentenceOptions};
pub use tag::{Tagger, Word, is_tagger};

use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::{self, Architecture, Head};
use crate::models::{Beside, Config, Network, Pretrained, Reading, tokenizer_of};
use crate::nn::Vars;
use crate::objectives::batch::Batch;
use crate::objectives::feed::Feed;
use crate::ops::TokenIndex;
use crate::tensor::{DType, ParamSpec, ParamStore, Rule};
use crate::text::tokenizer::Encoding;
use crate::text::{Rows, Tokenizer};

/// A model with its parameters on the device, and its tokeniser.
pub(crate) struct Loaded {
    pub gpu: Gpu,
    folder: PathBuf,
    /// Where the base of an adapter stands.
    base: Option<PathBuf>,
    pub config: Box<dyn Config>,
    pub network: Box<dyn Network>,
    pub tokenizer: Arc<Tokenizer>,
}

impl Loaded {
    /// Loads the model in the folder, and what belongs to it beside, with the head that `wanted` says.
    ///
    /// # Errors
    /// Those of [`Pretrained::open_beside`] and of the tokeniser; [`Error::Folder`] for tensors that are not
    /// there.
    pub fn open(
        gpu: Gpu,
        folder: &Path,
        beside: Beside<'_>,
        wanted: impl FnOnce(&Pretrained) -> Result<Head>,
    ) -> Result<Loaded> {
        let source = Pretrained::open_beside(folder, beside)?;
        let head = wanted(&source)?;
        let tokenizer = Arc::new(tokenizer(&source)?);
        let config = source.config.clone();
        if head != Head::Layers && config.family().format().class(head).is_none() {
            return Err(cannot(&*config, head, folder));
        }
        tokenizer.vocabulary().fits(config.vocab_size())?;
        let vars = Vars::new();
        let network = config.build(&vars, head)?;
        vars.adapt(&source.plan)?;
        let specs = vars.specs();
        let lacking = |spec: &&ParamSpec| !source.has(&spec.name, &spec.shape.0);
        if let Some(spec) = specs.iter().find(lacking) {
            let class = config.family().format().class(head);
            let class = class.map_or(config.family().title(), Architecture::name);
            let problem = format!(
                "has no '{}' of shape {}, which a {class} needs; it is another kind of model",
                spec.name, spec.shape,
            );
            return Err(Error::folder(folder, problem));
        }
        // All of it is in the folder: nothing is drawn.
        let specs = specs.into_iter().map(ParamSpec::zeroed).collect();
        let packed = source.packed(&vars, config.family().format(), None);
        let store = ParamStore::with_rules(&gpu, specs, 0, |spec| Rule {
            lr_scale: 0.0,
            decays: false,
            level: 0,
            dtype: match packed.get(&spec.name) {
                Some(kind) => DType::Packed(*kind),
                None => DType::F32,
            },
        })?;
        source.load(&store, &[])?;
        vars.bind(&store)?;
        vars.measure(|_| false)?;
        Ok(Loaded {
            gpu,
            folder: folder.to_path_buf(),
            base: source.base,
            config,
            network,
            tokenizer,
        })
    }

    /// All tokens that end a text: those of config.json and of generation_config.json, and the tokeniser's.
    ///
    /// # Errors
    /// [`Error::Folder`] for a generation_config.json that is damaged.
    fn ends(&self) -> Result<Vec<u32>> {
        let [_, own] = self.config.ends();
        let mut ends: Vec<u32> = own.into_iter().collect();
        let folders = [Some(&self.folder), self.base.as_ref()];
        for folder in folders.into_iter().flatten() {
            for name in [hub::CONFIG, "generation_config.json"] {
                let path = folder.join(name);
                if folder.is_dir() && path.exists() {
                    ends.extend(ends_of(&hub::read_json(&path)?));
                }
            }
        }
        if ends.is_empty() {
            ends.extend(self.tokenizer.vocabulary().roles().eos);
        }
        ends.sort_unstable();
        ends.dedup();
        // The model's own first: it is what begins a text where nothing else does.
        if let Some(at) = own.and_then(|own| ends.iter().position(|end| *end == own)) {
            ends.swap(0, at);
        }
        Ok(ends)
    }

    /// That the model has no such head.
    fn cannot(&self, head: Head) -> Error {
        cannot(&*self.config, head, &self.folder)
    }

    /// A text framed by its special tokens, uploaded as a batch of one row.
    ///
    /// # Errors
    /// [`Error::Argument`] for a text without a token, or longer than the model's positions.
    fn row(&self, op: &'static str, encoding: &Encoding) -> Result<Feed> {
        let (time, most) = (encoding.ids.len(), self.config.positions());
        if time == 0 || time > most {
            return Err(Error::argument(op, "text", format!("{time} tokens"), ROOM));
        }
        let lens = vec![time as u32];
        let batch = Batch::of_rows(Rows {
            time,
            batch: 1,
            index: TokenIndex::of_rows(&encoding.ids, &lens),
            ids: encoding.ids.clone(),
            token_types: encoding.token_types.clone(),
            lens,
        });
        let feed = Feed::new(&self.gpu, &batch, Vec::new())?;
        feed.write(&batch, &[])?;
        Ok(feed)
    }
}

/// The tokens that end a text, of a configuration: one or a list.
fn ends_of(config: &Value) -> Vec<u32> {
    let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
    match config.get("eos_token_id") {
        Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(one) => id(one).into_iter().collect(),
        None => Vec::new(),
    }
}

/// How many tokens a text has to have.
const ROOM: &str = "at least one token, and no more than the model has positions";

/// What is asked of models, and by which command.
const ASKED: [(Head, &str, &str); 6] = [
    (Head::MaskedLm, "guess masked tokens", "fill-mask"),
    (Head::CausalLm, "write on", "generate"),
    (Head::Layers, "give vectors of texts", "embed"),
    (Head::Token, "label words", "predict"),
    (Head::Sequence, "label texts", "predict"),
    (Head::Picture, "label pictures", "predict"),
];

/// A model of a family that cannot do what is asked of it, with what can be asked instead.
fn cannot(config: &dyn Config, head: Head, folder: &Path) -> Error {
    let family = config.family();
    let asked = ASKED.iter().find(|(h, ..)| *h == head);
    let asked = asked.map_or("do this", |(_, asked, _)| asked);
    let able = |(h, ..): &&(Head, &str, &str)| family.format().class(*h).is_some();
    let commands: Vec<String> = (ASKED.iter().filter(able))
        .map(|(_, asked, command)| format!("`melos {command}` lets it {asked}"))
        .collect();
    let (one, commands) = (family.one(), commands.join(", "));
    let problem = format!("is {one}, which cannot {asked}; {commands}");
    Error::folder(folder, problem)
}

/// The tokeniser in a model's folder, or in that of an adapter's base.
fn tokenizer(source: &Pretrained) -> Result<Tokenizer> {
    if let Reading::Pictures(_) = source.config.reading() {
        return Tokenizer::of_no_text();
    }
    let own = tokenizer_of(&source.path, None);
    match (&source.base, own) {
        (Some(base), Err(_)) => tokenizer_of(base, None),
        (_, own) => own,
    }
}
