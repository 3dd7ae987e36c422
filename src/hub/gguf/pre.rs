//! How byte pairs of GGUF files cut text in words: what `tokenizer.ggml.pre` names, after llama.cpp's
//! table (src/llama-vocab.cpp), in the expressions of the models' own `tokenizer.json`.

use serde_json::{Value, json};

/// A way to cut.
pub(super) struct Pre {
    /// Its names in files; the first is written.
    pub names: &'static [&'static str],
    cut: Cut,
    /// Whether a word that is a token is that token, whatever the merges say.
    pub ignore_merges: bool,
    /// Whether a text begins with BOS where a file does not say.
    pub begins: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// As GPT-2.
    Gpt2,
    /// Every digit by itself, then as GPT-2.
    Digits,
    /// By these expressions, one after the other.
    Split(&'static [&'static str]),
}

/// Words of GPT-2: what the library does by itself.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const fn pre(names: &'static [&'static str], cut: Cut) -> Pre {
    Pre {
        names,
        cut,
        ignore_merges: false,
        begins: false,
    }
}

static ALL: &[Pre] = &[
    pre(
        &[
            "gpt-2",
            "a.x-4.0",
            "exaone4",
            "gigachat",
            "granite-docling",
            "jais",
            "jina-de",
            "jina-es",
            "jina-v2-de",
            "jina-v2-es",
            "mellum",
            "mpt",
            "olmo",
            "phi-2",
            "trillion",
        ],
        Cut::Gpt2,
    ),
    pre(
        &[
            "smollm",
            "codeshell",
            "command-r",
            "exaone",
            "mellum2",
            "minerva-7b",
            "refact",
            "starcoder",
        ],
        Cut::Digits,
    ),
    Pre {
        ignore_merges: true,
        begins: true,
        ..pre(
            &[
                "llama-bpe",
                "falcon-h1",
                "falcon3",
                "jina-v5-nano",
                "lfm2",
                "llama-v3",
                "llama3",
                "midm-2.0",
                "pixtral",
            ],
            Cut::Split(&[LLAMA3]),
        )
    },
    Pre {
        ignore_merges: true,
        ..pre(&["glm4", "glm5"], Cut::Split(&[LLAMA3]))
    },
    pre(&["dbrx", "chatglm-bpe", "smaug-bpe"], Cut::Split(&[LLAMA3])),
    pre(
        &[
            "qwen2",
            "deepseek-r1-qwen",
            "f2llmv2",
            "grok-2",
            "hunyuan",
            "kormo",
            "megrez",
            "solar-open",
            "stablelm2",
        ],
        Cut::Split(&[QWEN2]),
    ),
    pre(&["qwen35"], Cut::Split(&[QWEN35])),
    Pre {
        ignore_merges: true,
        begins: true,
        ..pre(&["tekken"], Cut::Split(&[TEKKEN]))
    },
    pre(
        &["gpt-4o", "kanana2", "llama4", "minimax-m2", "talkie"],
        Cut::Split(&[GPT4O]),
    ),
    pre(
        &["default"],
        Cut::Split(&[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
    ),
    pre(
        &["falcon"],
        Cut::Split(&[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"]),
    ),
];

impl Pre {
    /// The way of that name.
    pub(super) fn named(name: &str) -> Option<&'static Pre> {
        ALL.iter().find(|pre| pre.names.contains(&name))
    }

    /// All names, for messages.
    pub(super) fn known() -> String {
        let mut names: Vec<&str> = ALL.iter().flat_map(|p| p.names).copied().collect();
        names.sort_unstable();
        names.join(", ")
    }

    /// As a `tokenizer.json` has it.
    pub(super) fn json(&self) -> Value {
        let bytes = |words: bool| {
            json!({
                "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": words,
            })
        };
        let mut steps = match self.cut {
            Cut::Gpt2 => return bytes(true),
            Cut::Digits => {
                let digits = json!({ "type": "Digits", "individual_digits": true });
                vec![digits, bytes(true)]
            }
            Cut::Split(all) => {
                let split = |regex: &&str| {
                    json!({
                        "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false,
                    })
                };
                all.iter().map(split).collect()
            }
        };
        if let Cut::Split(_) = self.cut {
            steps.push(bytes(false));
        }
        json!({ "type": "Sequence", "pretokenizers": steps })
    }

    /// The way that a `tokenizer.json` cuts, if it is one of these.
    pub(super) fn of(pre_tokenizer: &Value, ignore_merges: bool) -> Option<&'static Pre> {
        let found = plain(pre_tokenizer);
        let same = |pre: &&Pre| plain(&pre.json()) == found;
        let alike = ALL.iter().filter(same);
        // Where two differ in nothing else.
        alike.clone().find(|pre| pre.ignore_merges == ignore_merges)
    }
}

/// Without what changes no token.
fn plain(pre_tokenizer: &Value) -> Value {
    let mut plain = pre_tokenizer.clone();
    if let Some(keys) = plain.as_object_mut() {
        keys.remove("trim_offsets");
        if let Some(Value::Array(steps)) = keys.get_mut("pretokenizers") {
            steps.iter_mut().for_each(|step| *step = self::plain(step));
        }
        keys.sort_keys();
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_known_again_by_its_expressions() {
        for pre in ALL {
            let found = Pre::of(&pre.json(), pre.ignore_merges).unwrap();
            assert_eq!(found.json(), pre.json());
            assert_eq!(found.ignore_merges, pre.ignore_merges);
            for name in pre.names {
                assert!(std::ptr::eq(Pre::named(name).unwrap(), pre), "{name}");
            }
        }
        let other = json!({ "type": "Whitespace" });
        assert!(Pre::of(&other, false).is_none());
        // What the library leaves out of its own way is no other.
        let bare = json!({ "use_regex": true, "type": "ByteLevel", "add_prefix_space": false });
        assert_eq!(Pre::of(&bare, false).unwrap().names[0], "gpt-2");
        let spaced = json!({ "use_regex": true, "type": "ByteLevel", "add_prefix_space": true });
        assert!(Pre::of(&spaced, false).is_none());
        assert!(Pre::named("no-such").is_none());
    }
}
