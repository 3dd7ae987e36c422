//! The tokeniser of a GGUF file as `tokenizer.json` and `tokenizer_config.json`: byte pairs (`gpt2`), or
//! SentencePiece's byte pairs (`llama`), which have scores instead of merges.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::family::Spaces;
use super::file::GgufFile;
use super::pre::Pre;
use crate::error::Result;

pub(super) const MODEL: &str = "tokenizer.ggml.model";
pub(super) const PRE: &str = "tokenizer.ggml.pre";
pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(super) const SCORES: &str = "tokenizer.ggml.scores";
pub(super) const KINDS: &str = "tokenizer.ggml.token_type";
pub(super) const MERGES: &str = "tokenizer.ggml.merges";
pub(super) const BOS: &str = "tokenizer.ggml.bos_token_id";
pub(super) const EOS: &str = "tokenizer.ggml.eos_token_id";
pub(super) const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
pub(super) const PAD: &str = "tokenizer.ggml.padding_token_id";
pub(super) const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
pub(super) const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
pub(super) const ADD_SPACE: &str = "tokenizer.ggml.add_space_prefix";
pub(super) const TEMPLATE: &str = "tokenizer.chat_template";

/// Roles of `tokenizer_config.json`, and the keys of their ids.
pub(super) const ROLES: [(&str, &str); 4] = [
    ("bos_token", BOS),
    ("eos_token", EOS),
    ("unk_token", UNKNOWN),
    ("pad_token", PAD),
];

/// Kinds of tokens.
pub(super) mod kind {
    pub const NORMAL: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const CONTROL: i32 = 3;
    pub const USER: i32 = 4;
    pub const UNUSED: i32 = 5;
    pub const BYTE: i32 = 6;
}

/// The space of SentencePiece.
const SPACE: &str = "▁";
/// Bytes of a token that is put together from others; longer ones stand for themselves.
const LONGEST: usize = 1 << 10;

/// The files, or none for a model without a tokeniser.
///
/// # Errors
/// [`crate::Error::TensorFile`] for a kind that is not read, for parts that do not fit each other.
pub(super) fn read(file: &GgufFile, spaces: Spaces) -> Result<Vec<(String, Vec<u8>)>> {
    let Some(model) = file.text(MODEL)? else {
        return Ok(Vec::new());
    };
    let vocabulary = Vocabulary::read(file)?;
    let (json, begins) = match model {
        "gpt2" => vocabulary.byte_level()?,
        "llama" => vocabulary.sentence_pieces(spaces)?,
        other => {
            let problem = format!(
                "has a tokeniser of the kind '{other}', which is not read here, only gpt2 and llama; \
                 take the model's own folder"
            );
            return Err(file.bad(problem));
        }
    };
    let json = vocabulary.framed(json, begins)?;
    let config = vocabulary.config()?;
    let files = [("tokenizer.json", json), ("tokenizer_config.json", config)];
    let files = files.map(|(name, json)| (name.to_string(), json.to_string().into_bytes()));
    Ok(files.into())
}

struct Vocabulary<'a> {
    file: &'a GgufFile,
    tokens: Vec<&'a str>,
    kinds: Vec<i32>,
    /// Ids of the roles, in their order.
    roles: [Option<usize>; 4],
}

impl<'a> Vocabulary<'a> {
    fn read(file: &'a GgufFile) -> Result<Vocabulary<'a>> {
        let tokens = file.texts(TOKENS)?.ok_or_else(|| file.lacks(TOKENS))?;
        let kinds = match file.numbers(KINDS)? {
            Some(kinds) => kinds.into_iter().map(|kind| kind as i32).collect(),
            None => vec![kind::NORMAL; tokens.len()],
        };
        if kinds.len() != tokens.len() {
            let (kinds, tokens) = (kinds.len(), tokens.len());
            let problem = format!("has {kinds} kinds of tokens for {tokens} tokens; copy it again");
            return Err(file.bad(problem));
        }
        let mut roles = [None; 4];
        for (role, (_, key)) in roles.iter_mut().zip(ROLES) {
            *role = file.whole(key)?;
            if let Some(id) = role.filter(|id| *id >= tokens.len()) {
                let problem = format!("'{key}' is {id}, and there are {} tokens", tokens.len());
                return Err(file.bad(problem));
            }
        }
        Ok(Vocabulary {
            file,
            tokens,
            kinds,
            roles,
        })
    }

    fn role(&self, key: &str) -> Option<&'a str> {
        let at = ROLES.iter().position(|(_, of)| *of == key)?;
        self.roles[at].map(|id| self.tokens[id])
    }

    /// Byte pairs, and whether texts begin with BOS where the file does not say.
    fn byte_level(&self) -> Result<(Value, bool)> {
        let name = self.file.text(PRE)?.unwrap_or("default");
        let pre = Pre::named(name).ok_or_else(|| {
            let problem = format!(
                "its tokeniser cuts texts as '{name}' ({PRE}), which is not known here; known: {}",
                Pre::known()
            );
            self.file.bad(problem)
        })?;
        let merges = self.file.texts(MERGES)?;
        let merges = merges.ok_or_else(|| self.file.lacks(MERGES))?;
        let pairs: Option<Vec<[&str; 2]>> = merges.iter().map(|merge| pair(merge)).collect();
        let pairs = pairs.ok_or_else(|| {
            let problem = format!("'{MERGES}' has one that is no pair of tokens; copy it again");
            self.file.bad(problem)
        })?;
        let alphabet = alphabet();
        let letters: BTreeSet<char> = alphabet.iter().copied().collect();
        let spelled = |id: usize| {
            let token = self.tokens[id];
            let whole = matches!(self.kinds[id], kind::CONTROL | kind::USER);
            if whole || token.chars().all(|c| letters.contains(&c)) {
                return token.to_string();
            }
            // Some files have a few tokens as they read.
            token.bytes().map(|b| alphabet[usize::from(b)]).collect()
        };
        let vocabulary: Map<String, Value> = (0..self.tokens.len())
            .map(|id| (spelled(id), json!(id)))
            .collect();
        let json = json!({
            "normalizer": null,
            "pre_tokenizer": pre.json(),
            "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": pre.ignore_merges, "vocab": vocabulary, "merges": pairs,
            },
        });
        Ok((json, pre.begins))
    }

    /// SentencePiece's byte pairs.
    fn sentence_pieces(&self, spaces: Spaces) -> Result<(Value, bool)> {
        let scores = self.file.numbers(SCORES)?;
        let mut scores = scores.ok_or_else(|| self.file.lacks(SCORES))?;
        if scores.len() != self.tokens.len() {
            let (scores, tokens) = (scores.len(), self.tokens.len());
            let problem = format!("has {scores} scores for {tokens} tokens; copy it again");
            return Err(self.file.bad(problem));
        }
        let mut tokens: Vec<String> = self.tokens.iter().map(|t| t.to_string()).collect();
        if spaces == Spaces::AsTheyAre {
            // Runs of spaces stand there as they are, and tokens in the order of their merges.
            for token in tokens.iter_mut().filter(|token| token.contains(' ')) {
                if token.trim().is_empty() {
                    *token = SPACE.repeat(token.chars().count());
                }
            }
            scores = (0..tokens.len()).map(|id| -(id as f32)).collect();
        }
        let merges = merges(&tokens, &scores);
        let vocabulary: Map<String, Value> = (tokens.iter().enumerate())
            .map(|(id, token)| (token.clone(), json!(id)))
            .collect();
        let prefixed = self.file.flag(ADD_SPACE)?.unwrap_or(true);
        let spaces = if prefixed { spaces } else { Spaces::AsTheyAre };
        let replaced = json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE });
        let normalizer = match spaces {
            Spaces::Before => {
                let before = json!({ "type": "Prepend", "prepend": SPACE });
                json!({ "type": "Sequence", "normalizers": [before, replaced] })
            }
            Spaces::AsTheyAre => replaced,
        };
        let mut decoders = vec![
            json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " }),
            json!({ "type": "ByteFallback" }),
            json!({ "type": "Fuse" }),
        ];
        if spaces != Spaces::AsTheyAre {
            decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        let json = json!({
            "normalizer": normalizer,
            "pre_tokenizer": null,
            "decoder": { "type": "Sequence", "decoders": decoders },
            "model": {
                "type": "BPE", "dropout": null, "unk_token": self.role(UNKNOWN),
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
                "byte_fallback": true, "ignore_merges": false, "vocab": vocabulary, "merges": merges,
            },
        });
        Ok((json, true))
    }

    /// With the tokens that are found whole in texts, and what is put around texts.
    fn framed(&self, mut json: Value, begins: bool) -> Result<Value> {
        let mut added = BTreeMap::new();
        let token = |id: usize, special: bool| {
            json!({
                "id": id, "content": self.tokens[id], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special,
            })
        };
        for (id, kind) in self.kinds.iter().enumerate() {
            if matches!(*kind, kind::CONTROL | kind::USER) && !self.tokens[id].is_empty() {
                added.insert(id, token(id, *kind == kind::CONTROL));
            }
        }
        for id in self.roles.into_iter().flatten() {
            added.insert(id, token(id, true));
        }
        let ends = |key: &str, role: &str, default: bool| -> Result<Option<&str>> {
            let told = self.file.flag(key)?;
            let wanted = told.unwrap_or(default);
            match self.role(role).filter(|_| wanted) {
                None if told == Some(true) => Err(self.file.lacks(role)),
                found => Ok(found),
            }
        };
        let [begin, end] = [ends(ADD_BOS, BOS, begins)?, ends(ADD_EOS, EOS, false)?];
        json["version"] = json!("1.0");
        json["added_tokens"] = added.into_values().collect();
        json["post_processor"] = self.frame(begin, end);
        Ok(json)
    }

    fn frame(&self, begin: Option<&str>, end: Option<&str>) -> Value {
        if begin.or(end).is_none() {
            return Value::Null;
        }
        let special =
            |token: &str, part: usize| json!({ "SpecialToken": { "id": token, "type_id": part } });
        let text = |name: &str, part: usize| {
            let text = json!({ "Sequence": { "id": name, "type_id": part } });
            let before = begin.map(|token| special(token, part));
            let behind = end.map(|token| special(token, part));
            before.into_iter().chain([text]).chain(behind)
        };
        let id = |token: &str| self.tokens.iter().position(|t| *t == token);
        let tokens = begin.into_iter().chain(end);
        let tokens = tokens.map(|token| {
            let entry = json!({ "id": token, "ids": [id(token)], "tokens": [token] });
            (token.to_string(), entry)
        });
        json!({
            "type": "TemplateProcessing",
            "single": text("A", 0).collect::<Vec<_>>(),
            "pair": text("A", 0).chain(text("B", 1)).collect::<Vec<_>>(),
            "special_tokens": tokens.collect::<Map<_, _>>(),
        })
    }

    fn config(&self) -> Result<Value> {
        let mut config = Map::new();
        config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
        config.insert("clean_up_tokenization_spaces".into(), json!(false));
        for (role, key) in ROLES {
            if let Some(token) = self.role(key) {
                config.insert(role.into(), json!(token));
            }
        }
        if let Some(template) = self.file.text(TEMPLATE)? {
            config.insert("chat_template".into(), json!(template));
        }
        Ok(config.into())
    }
}

/// The two tokens of a merge; the first may begin with a space.
fn pair(merge: &str) -> Option<[&str; 2]> {
    let first = merge.chars().next()?.len_utf8();
    let at = first + merge[first..].find(' ')?;
    Some([&merge[..at], &merge[at + 1..]])
}

/// The letter of each byte in byte-level vocabularies: printable ones stand for themselves, the others for
/// letters from U+0100 on.
pub(super) fn alphabet() -> [char; 256] {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let byte = byte as u8;
        match byte {
            b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
            _ => {
                let letter = char::from_u32(next).unwrap_or_default();
                next += 1;
                letter
            }
        }
    })
}

/// The merges that scores stand for: every way to put a token together from two others, the best tokens
/// first; of one score the longest first part, then the longest second one.
fn merges(tokens: &[String], scores: &[f32]) -> Vec<[String; 2]> {
    let ids: HashMap<&str, usize> = (tokens.iter().enumerate())
        .map(|(id, token)| (token.as_str(), id))
        .collect();
    let mut found = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        // Of two that are the same, the last counts.
        if token.len() > LONGEST || ids.get(token.as_str()) != Some(&id) {
            continue;
        }
        let starts = token.char_indices().map(|(at, _)| at).skip(1);
        let mut ways: Vec<(usize, usize, [&str; 2])> = starts
            .filter_map(|at| {
                let (left, right) = token.split_at(at);
                Some((*ids.get(left)?, *ids.get(right)?, [left, right]))
            })
            .collect();
        ways.sort_by_key(|(left, right, _)| (*left, *right));
        found.extend(ways.into_iter().map(|(.., way)| (scores[id], way)));
    }
    let length = |part: &str| part.chars().count();
    found.sort_by(|(a, [al, ar]), (b, [bl, br])| {
        let better = b.total_cmp(a);
        let longer = (Reverse(length(al)), Reverse(length(ar)))
            .cmp(&(Reverse(length(bl)), Reverse(length(br))));
        better.then(longer)
    });
    let owned = |(_, pair): (f32, [&str; 2])| pair.map(str::to_string);
    found.into_iter().map(owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_is_cut_behind_its_first_character() {
        assert_eq!(pair("Ġ t"), Some(["Ġ", "t"]));
        assert_eq!(pair("  t"), Some([" ", "t"]));
        assert_eq!(pair("ab"), None);
        assert_eq!(pair(""), None);
    }

    #[test]
    fn letters_of_bytes_are_those_of_gpt2() {
        let letters = alphabet();
        for (byte, letter) in [
            (b'a', 'a'),
            (b' ', 'Ġ'),
            (b'\n', 'Ċ'),
            (0xAD, 'Ń'),
            (0xFF, 'ÿ'),
            (0x7F, 'ġ'),
        ] {
            assert_eq!(letters[usize::from(byte)], letter, "{byte}");
        }
        assert_eq!(BTreeSet::from(letters).len(), 256);
    }

    #[test]
    fn scores_become_merges() {
        let tokens = ["<unk>", "a", "b", "c", "ab", "bc", "abc"].map(String::from);
        let scores = [0.0, -9.0, -9.0, -9.0, -2.0, -1.0, -3.0];
        let found = merges(&tokens, &scores);
        let found: Vec<String> = found.iter().map(|pair| pair.join(" ")).collect();
        assert_eq!(found, ["b c", "a b", "ab c", "a bc"]);
    }
}
