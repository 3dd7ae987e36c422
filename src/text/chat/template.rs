//! Chat templates: Jinja texts that come with models, rendered as transformers renders them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fancy_regex::Regex;
use minijinja::value::Serde;
use minijinja::{Environment, context};
use serde_json::Value;

use super::messages::Message;
use super::python;
use crate::bounded;
use crate::error::{Error, Result};
use crate::text::Tokenizer;

/// Templates for models that bring none.
pub const BUILT_IN: [(&str, &str); 2] = [
    ("chatml", include_str!("templates/chatml.jinja")),
    ("alpaca", include_str!("templates/alpaca.jinja")),
];

/// The file of a model's template.
pub const FILE: &str = "chat_template.jinja";
const CONFIG: &str = "tokenizer_config.json";
const KEY: &str = "chat_template";
const FURTHER: &str = "additional_chat_templates";
/// The names that a model may have templates under: for most, and for those with tools.
const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

/// A model's chat template.
pub struct Template {
    environment: Environment<'static>,
    /// Where it comes from, for messages.
    origin: PathBuf,
    /// As it is written.
    text: String,
    /// Special tokens by the names of their roles.
    specials: Vec<(&'static str, String)>,
}

impl Template {
    /// The template in a model's folder, if it has one: `chat_template.jinja`, or that of
    /// `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`Error::Folder`] for one that is no template; those of reading.
    pub fn of_folder(folder: &Path, tokenizer: &Tokenizer) -> Result<Option<Template>> {
        let file = folder.join(FILE);
        let mut texts = Vec::new();
        let mut origin = file.clone();
        if file.exists() {
            texts.push((DEFAULT.to_owned(), text(&file)?));
            let with_tools = folder.join(FURTHER).join(format!("{TOOL_USE}.jinja"));
            if with_tools.exists() {
                texts.push((TOOL_USE.into(), text(&with_tools)?));
            }
        } else {
            origin = folder.join(CONFIG);
            // A GGUF file has the same settings inside, which its tokeniser keeps.
            let found = match origin.exists() {
                true => settings(&origin)?.get_mut(KEY).map(Value::take),
                false => tokenizer.setting(KEY).cloned(),
            };
            match found {
                None | Some(Value::Null) => return Ok(None),
                Some(Value::String(text)) => texts.push((DEFAULT.into(), text)),
                Some(named) => texts.extend(list(&named).ok_or_else(|| {
                    let problem =
                        format!("its {KEY} should be a text, or a list of name and template");
                    Error::folder(&origin, problem)
                })?),
            }
        }
        Template::new(origin, texts, tokenizer).map(Some)
    }

    /// A template by the name of a [built-in one](BUILT_IN), or a file's; `key` is what names it.
    ///
    /// # Errors
    /// [`Error::ConfigValue`] where there is none of that name; those of reading.
    pub fn named(key: &str, name: &str, tokenizer: &Tokenizer) -> Result<Template> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            let texts = vec![(DEFAULT.into(), (*text).to_owned())];
            return Template::new(name.into(), texts, tokenizer);
        }
        let path = Path::new(name);
        if !path.exists() {
            let known = BUILT_IN.map(|(known, _)| known).join(", ");
            let message = format!("'{name}' is neither a template's file nor one of {known}");
            return Err(Error::value(key, message));
        }
        let texts = vec![(DEFAULT.into(), text(path)?)];
        Template::new(path.into(), texts, tokenizer)
    }

    /// Of templates with their names, for the special tokens of a tokeniser.
    fn new(
        origin: PathBuf,
        texts: Vec<(String, String)>,
        tokenizer: &Tokenizer,
    ) -> Result<Template> {
        let broken = |e: minijinja::Error| {
            Error::folder(
                &origin,
                format!("is no chat template that can be read: {e}"),
            )
        };
        let mut environment = python::environment().map_err(broken)?;
        for (name, text) in &texts {
            let text = blocks(text, &origin)?;
            let added = environment.add_template_owned(name.clone(), text);
            added.map_err(broken)?;
        }
        let own = texts.into_iter().find(|(name, _)| name == DEFAULT);
        let Some((_, text)) = own else {
            let problem = format!("has chat templates, but none that is called '{DEFAULT}'");
            return Err(Error::folder(&origin, problem));
        };
        let roles = tokenizer.vocabulary().roles();
        let specials = [
            ("bos_token", roles.bos),
            ("eos_token", roles.eos),
            ("unk_token", roles.unk),
            ("sep_token", roles.sep),
            ("pad_token", roles.pad),
            ("cls_token", roles.cls),
            ("mask_token", roles.mask),
        ];
        let named = |(role, id): (&'static str, Option<u32>)| Some((role, tokenizer.token(id?)?));
        Ok(Template {
            environment,
            origin,
            text,
            specials: specials.into_iter().filter_map(named).collect(),
        })
    }

    /// As it is written, to be kept beside a model that learned it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where it comes from: a file, or a built-in one's name.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// The text of the special token of a role.
    pub(super) fn special(&self, role: &str) -> Option<&str> {
        let found = self.specials.iter().find(|(own, _)| *own == role);
        found.map(|(_, token)| token.as_str())
    }

    /// The text of a conversation; with `prompt`, the beginning of an answer after it.
    ///
    /// # Errors
    /// What the template says against it, in words.
    pub fn render(
        &self,
        messages: &[Message],
        tools: Option<&Value>,
        prompt: bool,
    ) -> Result<String, String> {
        Ok(self.render_marked(messages, tools, prompt)?.0)
    }

    /// The same, and where in it what `{% generation %}` holds begins and ends, in characters.
    pub(super) fn render_marked(
        &self,
        messages: &[Message],
        tools: Option<&Value>,
        prompt: bool,
    ) -> Result<(String, Vec<[usize; 2]>), String> {
        let failed = |e: minijinja::Error| {
            let origin = self.origin.display();
            let said = e.detail().map_or(e.to_string(), str::to_owned);
            format!("the chat template ({origin}) says: {said}")
        };
        let environment = &self.environment;
        let template = match tools.and_then(|_| environment.get_template(TOOL_USE).ok()) {
            Some(template) => template,
            None => environment.get_template(DEFAULT).map_err(failed)?,
        };
        let specials: BTreeMap<_, _> = self.specials.iter().cloned().collect();
        let values = context! {
            messages => Serde(messages),
            tools => Serde(tools),
            documents => (),
            add_generation_prompt => prompt,
            ..minijinja::Value::from(Serde(specials))
        };
        let marked = template.render(values).map_err(failed)?;
        let (mut text, mut spans) = (String::with_capacity(marked.len()), Vec::new());
        let mut at = 0;
        let [begin, end] = python::MARKS;
        for c in marked.chars() {
            if c == begin {
                spans.push([at, at]);
            } else if c == end {
                if let Some(span) = spans.last_mut() {
                    span[1] = at;
                }
            } else {
                text.push(c);
                at += 1;
            }
        }
        Ok((text, spans))
    }
}

/// A tokeniser's settings.
fn settings(path: &Path) -> Result<Value> {
    let parsed = bounded::json(&bounded::read(path, bounded::TOKENIZER)?);
    parsed.map_err(|e| Error::folder(path, format!("is not valid JSON ({e})")))
}

/// A template's file.
fn text(path: &Path) -> Result<String> {
    bounded::read_text(path, bounded::TOKENIZER)
}

/// Templates with their names.
fn list(value: &Value) -> Option<Vec<(String, String)>> {
    let text = |value: &Value, key: &str| value.get(key)?.as_str().map(str::to_owned);
    let named = |value| Some((text(value, "name")?, text(value, "template")?));
    value.as_array()?.iter().map(named).collect()
}

/// The same template, whose `{% generation %}` blocks are filters, which cut white space alike.
fn blocks(text: &str, origin: &Path) -> Result<String> {
    let broken = |e: fancy_regex::Error| Error::folder(origin, e.to_string());
    let tag = Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").map_err(broken)?;
    let replaced = tag.replace_all(text, |found: &fancy_regex::Captures| {
        let group = |at| found.get(at).map_or("", |m| m.as_str());
        let block = match group(2) {
            "" => "filter melos_generation",
            _ => "endfilter",
        };
        format!("{{%{} {block} {}%}}", group(1), group(3))
    });
    Ok(replaced.into_owned())
}
