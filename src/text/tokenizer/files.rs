//! A tokeniser's folder, as transformers' `AutoTokenizer` reads and writes it.
//!
//! ```text
//! tokenizer.json           everything, for the tokenizers library (not for morphemes)
//! vocab.txt                WordPiece and characters: a token a line, its id the number of the line
//! vocab.json, merges.txt   byte-pair encoding
//! tokenizer_config.json    the class, its options, the special tokens by role
//! special_tokens_map.json  the special tokens by role
//! added_tokens.json        tokens that someone added, and their ids, as transformers 4 wrote them
//! ```

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokenizers as hf;
use tokenizers::models::bpe::BPE;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, NFKC};

use super::morphemes::{Dictionary, FILE, Morphemes};
use super::pipeline::{self, Cut, Inner};
use super::{
    Family, Subword, Tokenizer, TokenizerKind, TokenizerOptions, bytes, internal, settings, vocab,
};
use crate::atomic::write_file;
use crate::bounded;
use crate::{Error, Result};

/// `tokenizer_config.json`.
pub(super) type Config = Map<String, Value>;

pub(super) const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";
/// Characters of a word that WordPiece cuts, in a time that grows with their square; BERT has 100.
const LONGEST_WORD: usize = 1000;
/// Names of the roles, and the tokens that usually have them.
pub(super) const ROLES: [(&str, &[&str]); 7] = [
    ("pad_token", &["[PAD]", "<pad>"]),
    ("unk_token", &["[UNK]", "<unk>"]),
    ("cls_token", &["[CLS]"]),
    ("sep_token", &["[SEP]"]),
    ("mask_token", &["[MASK]", "<mask>"]),
    ("bos_token", &["<bos>", "<s>", "<|endoftext|>"]),
    ("eos_token", &["<eos>", "</s>", "<|endoftext|>"]),
];

/// The `tokenizer_config.json` of a tokeniser trained here.
pub(super) fn config_of(options: &TokenizerOptions) -> Config {
    let mut config = Config::new();
    let mut set = |key: &str, value: Value| config.insert(key.into(), value);
    match (options.kind, options.family()) {
        (TokenizerKind::Wordpiece, Family::Bert) => {
            set("tokenizer_class", json!("BertTokenizer"));
            set("do_lower_case", json!(options.lowercase));
            set("strip_accents", json!(options.strip_accents));
            let chinese = options.tokenize_chinese_chars;
            set("tokenize_chinese_chars", json!(chinese));
        }
        (TokenizerKind::Morpheme, Family::Bert) => {
            set("tokenizer_class", json!("BertJapaneseTokenizer"));
            set("do_lower_case", json!(options.lowercase));
            set("word_tokenizer_type", json!("mecab"));
            set("subword_tokenizer_type", json!(options.subword));
            set("mecab_kwargs", json!({"mecab_dic": "ipadic"}));
        }
        (TokenizerKind::Bpe, Family::Gpt2) => {
            set("tokenizer_class", json!("GPT2Tokenizer"));
            set("add_prefix_space", json!(false));
        }
        _ => {
            set("tokenizer_class", json!("PreTrainedTokenizerFast"));
        }
    }
    let specials = options.family().specials();
    for (role, names) in ROLES {
        if let Some(token) = names.iter().find(|name| specials.contains(name)) {
            set(role, json!(token));
        }
    }
    if options.family() == Family::Gpt2 {
        set("unk_token", json!(specials[0]));
    }
    set("clean_up_tokenization_spaces", json!(false));
    config
}

/// BPE without a merge: the tokens of a word are its characters.
pub(super) fn character_model(vocabulary: HashMap<String, u32>, unknown: String) -> Result<BPE> {
    BPE::builder()
        .vocab_and_merges(vocabulary.into_iter().collect::<HfMap>(), Vec::new())
        .unk_token(unknown)
        .build()
        .map_err(internal)
}

/// The library's own map type, which its builders want.
pub(super) type HfMap = hf::models::bpe::Vocab;

/// The token of a role: a string, or an object with its content.
pub(super) fn named<'a>(config: &'a Config, role: &str) -> Option<&'a str> {
    let value = config.get(role)?;
    value.as_str().or_else(|| value.get("content")?.as_str())
}

pub(super) fn wrong(path: &Path, message: impl Into<String>) -> Error {
    Error::Tokenizer {
        path: path.to_owned(),
        message: message.into(),
    }
}

/// A JSON file, if it is there.
pub(super) fn read_json(path: &Path) -> Result<Option<Value>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = bounded::read(path, bounded::TOKENIZER)?;
    let value = bounded::json(&bytes);
    value
        .map(Some)
        .map_err(|e| wrong(path, format!("is not valid JSON ({e}); copy it anew")))
}

/// `tokenizer_config.json` and `special_tokens_map.json`. As in transformers the latter has the last
/// word, unless the former lists the tokens that were added.
fn read_config(folder: &Path) -> Result<Config> {
    let mut maps = Vec::new();
    for name in [CONFIG, SPECIAL] {
        match read_json(&folder.join(name))? {
            Some(Value::Object(map)) => maps.push(map),
            Some(_) => return Err(wrong(&folder.join(name), "should hold one JSON object")),
            None => maps.push(Config::new()),
        }
    }
    if maps[0].contains_key("added_tokens_decoder") {
        maps.reverse();
    }
    let all = maps.into_iter().flatten();
    let config: Config = all.filter(|(_, value)| !value.is_null()).collect();
    settings::check(&config, &folder.join(CONFIG));
    Ok(config)
}

pub(super) fn read_text(path: &Path) -> Result<String> {
    let bytes = bounded::read(path, bounded::TOKENIZER)?;
    String::from_utf8(bytes).map_err(|_| wrong(path, "is not UTF-8; copy it anew"))
}

/// `vocab.txt`, and what was added behind it.
fn read_vocabulary(path: &Path, config: &Config, japanese: bool) -> Result<HashMap<String, u32>> {
    let mut vocabulary = vocab::parse(&read_text(path)?, japanese);
    vocab::place_added(&mut vocabulary, &added_tokens(path, config)?);
    Ok(vocabulary)
}

/// Opens a folder or, in it, the file that is named.
pub(super) fn open(path: &Path, dictionary: Option<&Path>) -> Result<(Inner, Config, PathBuf)> {
    if !path.exists() {
        return Err(Error::FileMissing {
            path: path.to_owned(),
        });
    }
    let (folder, only) = if path.is_dir() {
        (path, None)
    } else {
        let name = path.file_name().and_then(|name| name.to_str());
        (path.parent().unwrap_or(Path::new(".")), name)
    };
    let config = read_config(folder)?;
    let has = |name: &str| only.is_none_or(|only| only == name) && folder.join(name).exists();
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    let japanese = text("word_tokenizer_type").is_some_and(|kind| kind != "basic")
        || text("tokenizer_class") == Some("BertJapaneseTokenizer");
    let mut inner = if japanese && has("vocab.txt") {
        open_japanese(folder, &config, dictionary)?
    } else if has("tokenizer.json") || only.is_some_and(|name| name.ends_with(".json")) {
        let file = match only {
            Some(_) => path.to_owned(),
            None => folder.join("tokenizer.json"),
        };
        let mut inner = from_json(&file)?;
        settings::overrule(&mut inner, folder, &config)?;
        add_tokens(&mut inner, folder, &config)?;
        inner
    } else if has("vocab.txt") {
        open_wordpiece(folder, &config)?
    } else if has("vocab.json") && folder.join("merges.txt").exists() {
        settings::check_frame(&config, &folder.join(CONFIG))?;
        bytes::open(folder, &config)?
    } else {
        return Err(wrong(
            path,
            "no tokeniser found; expected a folder with tokenizer.json, or vocab.txt, or \
             vocab.json and merges.txt (train one with `melos tokenizer train`)",
        ));
    };
    inner.set_encode_special_tokens(flag(&config, "split_special_tokens", false));
    Ok((inner, config, path.to_owned()))
}

/// The two files of a tokeniser that stand in the file at `path`.
pub(super) fn within(files: &[(String, Vec<u8>)], path: &Path) -> Result<(Inner, Config)> {
    let file = |name: &str| {
        let found = files.iter().find(|(found, _)| found == name);
        found.map(|(_, bytes)| &bytes[..])
    };
    let json = file("tokenizer.json").ok_or_else(|| wrong(path, "has no tokeniser"))?;
    let config = match file(CONFIG).map(bounded::json) {
        Some(Ok(Value::Object(config))) => config,
        Some(_) => {
            return Err(wrong(
                path,
                "tokenizer_config.json should hold one JSON object",
            ));
        }
        None => Config::new(),
    };
    Ok((from_bytes(json, path)?, config))
}

pub(super) fn from_json(path: &Path) -> Result<Inner> {
    from_bytes(&bounded::read(path, bounded::TOKENIZER)?, path)
}

fn from_bytes(bytes: &[u8], path: &Path) -> Result<Inner> {
    let mut inner = Inner::from_bytes(bytes).map_err(|e| {
        let message = format!("not a valid tokenizer.json, perhaps cut short ({e}); write it anew");
        wrong(path, message)
    })?;
    if let hf::ModelWrapper::WordPiece(model) = inner.get_model()
        && model.max_input_chars_per_word > LONGEST_WORD
    {
        let longest = model.max_input_chars_per_word;
        let message = format!(
            "cuts words of {longest} characters (max_input_chars_per_word), which takes too long; \
             {LONGEST_WORD} at most"
        );
        return Err(wrong(path, message));
    }
    // Batches cut and pad. As transformers does, what a training script left here has no effect.
    inner.with_padding(None);
    inner.with_truncation(None).map_err(internal)?;
    Ok(inner)
}

/// The tokens that someone added, by their ids, for a vocabulary in the folder of `file`: those of
/// `added_tokens_decoder` or, without one, of `added_tokens.json`.
pub(super) fn added_tokens(file: &Path, config: &Config) -> Result<BTreeMap<u32, hf::AddedToken>> {
    let mut added = BTreeMap::new();
    if let Some(Value::Object(map)) = config.get("added_tokens_decoder") {
        for (id, token) in map {
            let parsed = (id.parse().ok(), serde_json::from_value(token.clone()).ok());
            let (Some(id), Some(token)) = parsed else {
                let message = format!("added_tokens_decoder: '{id}' is no id with its token");
                return Err(wrong(&file.with_file_name(CONFIG), message));
            };
            added.insert(id, token);
        }
        return Ok(added);
    }
    let file = file.with_file_name(ADDED);
    let read = read_json(&file)?.map(serde_json::from_value::<BTreeMap<String, u32>>);
    let map = match read {
        None => return Ok(added),
        Some(Ok(map)) => map,
        Some(Err(_)) => return Err(wrong(&file, "should be one JSON object of tokens and ids")),
    };
    let special = settings::special_tokens(config, &file)?;
    for (token, id) in map {
        let special = special.contains(&token);
        added.insert(id, hf::AddedToken::from(token, special));
    }
    Ok(added)
}

/// Special tokens and those that someone added later, with the ids that they should have.
pub(super) fn add_tokens(inner: &mut Inner, folder: &Path, config: &Config) -> Result<()> {
    let is_added = |inner: &Inner, token: &hf::AddedToken| {
        let added = inner.get_added_tokens_decoder();
        added.values().any(|found| found.content == token.content)
    };
    let added = added_tokens(&folder.join(CONFIG), config)?;
    // What tokenizer.json says of a token, only that list overrules.
    let listed = config.contains_key("added_tokens_decoder");
    for (id, token) in added {
        if !listed && is_added(inner, &token) {
            continue;
        }
        let content = token.content.clone();
        if token.special {
            inner.add_special_tokens(&[token])
        } else {
            inner.add_tokens(&[token])
        };
        if inner.token_to_id(&content) != Some(id) {
            let file = if listed { CONFIG } else { ADDED };
            let message = format!(
                "gives '{content}' the id {id}, which the vocabulary does not; the vocabulary \
                 belongs to another tokeniser"
            );
            return Err(wrong(&folder.join(file), message));
        }
    }
    let roles = ROLES.iter().filter_map(|(role, _)| config.get(*role));
    let roles = roles.filter_map(settings::token);
    let roles = roles.filter(|token| inner.token_to_id(&token.content).is_some());
    let further = settings::further_tokens(config, &folder.join(CONFIG))?;
    let new: Vec<hf::AddedToken> = roles
        .chain(further)
        .filter(|token| !is_added(inner, token))
        .collect();
    inner.add_special_tokens(&new);
    Ok(())
}

/// The roles that BERT's classes have when the configuration is silent.
fn bert_token<'a>(config: &'a Config, role: &str) -> &'a str {
    let usual = ROLES.iter().find(|(name, _)| *name == role);
    named(config, role).unwrap_or(usual.map_or("", |(_, names)| names[0]))
}

pub(super) fn flag(config: &Config, key: &str, default: bool) -> bool {
    config.get(key).and_then(Value::as_bool).unwrap_or(default)
}

/// The unknown token must be in the vocabulary: a word without it could not be encoded.
fn check_unknown(path: &Path, known: bool, unknown: &str) -> Result<()> {
    if known {
        return Ok(());
    }
    let message = format!(
        "it has no unk_token '{unknown}'; name the right one in {CONFIG} beside it, or \
         copy the vocabulary anew"
    );
    Err(wrong(path, message))
}

fn finish_bert(mut inner: Inner, folder: &Path, config: &Config) -> Result<Inner> {
    let mut whole = config.clone();
    for (role, _) in &ROLES[..5] {
        let token = json!(bert_token(config, role));
        whole.entry(*role).or_insert(token);
    }
    add_tokens(&mut inner, folder, &whole)?;
    let frame = ["cls_token", "sep_token"].map(|role| bert_token(config, role));
    pipeline::frame(&mut inner, frame[0], frame[1])?;
    Ok(inner)
}

fn wordpiece_model(path: &Path, config: &Config, japanese: bool) -> Result<WordPiece> {
    let vocabulary = read_vocabulary(path, config, japanese)?;
    let unknown = bert_token(config, "unk_token");
    check_unknown(path, vocabulary.contains_key(unknown), unknown)?;
    WordPiece::builder()
        .vocab(vocabulary.into_iter().collect::<HfMap>())
        .unk_token(unknown.to_owned())
        .build()
        .map_err(|e| wrong(path, e.to_string()))
}

/// What BERT's classes do to a text before they cut it.
pub(super) fn bert_normalizer(config: &Config) -> BertNormalizer {
    BertNormalizer::new(
        true,
        flag(config, "tokenize_chinese_chars", true),
        config.get("strip_accents").and_then(Value::as_bool),
        flag(config, "do_lower_case", true),
    )
}

fn open_wordpiece(folder: &Path, config: &Config) -> Result<Inner> {
    let mut inner = Inner::new(wordpiece_model(&folder.join("vocab.txt"), config, false)?.into());
    pipeline::wordpiece(&mut inner, bert_normalizer(config));
    finish_bert(inner, folder, config)
}

fn open_japanese(folder: &Path, config: &Config, dictionary: Option<&Path>) -> Result<Inner> {
    let file = folder.join("vocab.txt");
    let refuse = |key: &str, value: &str, known: &str| {
        let message = format!("{key} '{value}' is not supported, only {known}");
        Err(wrong(&folder.join(CONFIG), message))
    };
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    match text("word_tokenizer_type") {
        Some("mecab") => (),
        other => return refuse("word_tokenizer_type", other.unwrap_or("basic"), "mecab"),
    }
    settings::check_japanese(config, &folder.join(CONFIG))?;
    let normalizes = settings::check_mecab(config, &folder.join(CONFIG))?;
    let subword = text("subword_tokenizer_type").unwrap_or("wordpiece");
    if !normalizes && subword != "wordpiece" {
        return refuse("normalize_text", "false", "true for characters");
    }
    let model: hf::ModelWrapper = match subword {
        "wordpiece" => wordpiece_model(&file, config, true)?.into(),
        "character" => {
            let vocabulary = read_vocabulary(&file, config, true)?;
            let unknown = bert_token(config, "unk_token");
            check_unknown(&file, vocabulary.contains_key(unknown), unknown)?;
            character_model(vocabulary, unknown.to_owned())?.into()
        }
        other => return refuse("subword_tokenizer_type", other, "wordpiece and character"),
    };
    // A tokeniser may bring its dictionary.
    let own = folder.join(FILE);
    let dictionary = Dictionary::find(dictionary.or(own.exists().then_some(&own)))?;
    let morphemes = Morphemes {
        dictionary,
        lowercase: flag(config, "do_lower_case", false),
        space_is_text: subword == "character",
    };
    let mut inner = Inner::new(model);
    inner
        .with_normalizer(normalizes.then_some(NFKC))
        .with_pre_tokenizer(Some(Cut::Morphemes(morphemes)))
        .with_decoder(Some(hf::decoders::wordpiece::WordPiece::new(
            "##".into(),
            false,
        )));
    finish_bert(inner, folder, config)
}

impl Tokenizer {
    /// Writes the files that transformers' `AutoTokenizer.from_pretrained` and
    /// [`Tokenizer::open`] read. The folder is made if need be.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DiskFull`].
    pub fn save_folder(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(|e| Error::write(folder, e))?;
        let write = |name: &str, text: &str| write_file(&folder.join(name), text.as_bytes());
        let json = serde_json::to_value(&self.inner).map_err(|e| internal(e.into()))?;
        let morphemes = matches!(self.inner.get_pre_tokenizer(), Some(Cut::Morphemes(_)));
        if !morphemes {
            write("tokenizer.json", &self.to_json()?)?;
        }
        let mut vocabulary: Vec<(String, u32)> = self.inner.get_vocab(false).into_iter().collect();
        vocabulary.sort_unstable_by_key(|(_, id)| *id);
        let model = &json["model"];
        let wordpiece = matches!(self.inner.get_model(), hf::ModelWrapper::WordPiece(_));
        if morphemes || wordpiece {
            match vocab::text(&vocabulary, morphemes) {
                Some(text) => write("vocab.txt", &text)?,
                // tokenizer.json says it all.
                None if !morphemes => (),
                None => {
                    let message = "cannot say which token has which id: a token has a line break \
                                   in it, or two have the same id";
                    return Err(wrong(&folder.join("vocab.txt"), message));
                }
            }
        } else if let Some(merges) = model["merges"].as_array().filter(|m| !m.is_empty()) {
            let ids = vocabulary.into_iter().map(|(token, id)| (token, json!(id)));
            write("vocab.json", &Value::Object(ids.collect()).to_string())?;
            let pair = |merge: &Value| {
                let [left, right] = [0, 1].map(|side| merge[side].as_str().unwrap_or_default());
                format!("{left} {right}\n")
            };
            let lines: String = merges.iter().map(pair).collect();
            write("merges.txt", &format!("#version: 0.2\n{lines}"))?;
        }
        let mut config = self.config.clone();
        if morphemes {
            settings::list_added(&mut config, &self.inner);
        }
        let mut special = Config::new();
        for ((role, _), id) in ROLES.iter().zip(self.vocabulary().roles().all()) {
            if let Some(token) = id.and_then(|id| self.token(id)) {
                special.insert((*role).into(), json!(token));
                config.entry(*role).or_insert(json!(token));
            }
        }
        config
            .entry("tokenizer_class")
            .or_insert(json!("PreTrainedTokenizerFast"));
        let pretty = |map: Config| format!("{:#}\n", Value::Object(map));
        write(CONFIG, &pretty(config))?;
        write(SPECIAL, &pretty(special))
    }
}

impl TokenizerOptions {
    /// Options for BERT on Japanese text: morphemes, then WordPiece or characters.
    pub fn japanese(vocab_size: usize, subword: Subword, dictionary: Option<PathBuf>) -> Self {
        Self {
            kind: TokenizerKind::Morpheme,
            vocab_size,
            lowercase: false,
            subword,
            dictionary,
            ..Self::default()
        }
    }
}
