//! Examples to tokens, and which of them are learned.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::forms::Example;
use super::messages::{Message, is_answer};
use super::template::Template;
use crate::error::{Error, Result};
use crate::text::Tokenizer;
use crate::text::tokenizer::Encoding;

/// What of a conversation is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Learn {
    /// The assistant's turns, with the token that ends each.
    #[default]
    Assistant,
    /// Everything.
    All,
}

/// The tokens of an example.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// All of them.
    pub ids: Vec<u32>,
    /// Those that are learned, in order.
    pub learned: Vec<Range<u32>>,
}

impl Encoded {
    /// How many of its first `most` tokens are learned; the very first follows nothing.
    pub fn learned_of(&self, most: usize) -> usize {
        learned_of(&self.learned, most)
    }
}

/// How many of the first `most` tokens are in `learned`; the very first follows nothing.
pub(super) fn learned_of(learned: &[Range<u32>], most: usize) -> usize {
    let within = |range: &Range<u32>| {
        (range.end.min(u32::try_from(most).unwrap_or(u32::MAX))).saturating_sub(range.start.max(1))
    };
    learned.iter().map(|range| within(range) as usize).sum()
}

/// Makes tokens of examples.
pub struct Encoder<'a> {
    /// The model's tokeniser.
    pub tokenizer: &'a Tokenizer,
    /// What makes text of messages, where there is one.
    pub template: Option<&'a Template>,
    /// What is learned.
    pub learn: Learn,
    /// What names a template to the user: a key or an option.
    pub key: &'a str,
}

impl Encoder<'_> {
    /// The tokens of an example.
    ///
    /// # Errors
    /// As the inner result, in words, what the template says against it, or why what is learned cannot be
    /// told; as the outer one, what the tokeniser cannot encode, and [`Error::ConfigValue`] where messages
    /// have no template.
    pub fn encode(&self, example: &Example) -> Result<Result<Encoded, String>> {
        match example {
            Example::Text { prompt, completion } => self.text(prompt, completion).map(Ok),
            Example::Messages {
                messages,
                tools,
                first,
            } => self.messages(messages, tools.as_ref(), *first),
        }
    }

    /// A text as the tokeniser frames it, and its end.
    fn text(&self, prompt: &str, completion: &str) -> Result<Encoded> {
        let encoding = self
            .tokenizer
            .encoding(&format!("{prompt}{completion}"), None, true)?;
        let begin = prompt.chars().count();
        let tokens = encoding.offsets.iter();
        let first = match begin {
            0 => 0,
            _ => tokens.take_while(|(_, end)| *end <= begin).count(),
        };
        let mut ids = encoding.ids;
        let end = self.tokenizer.vocabulary().roles().eos;
        ids.extend(end.filter(|end| ids.last() != Some(end)));
        let first = if self.learn == Learn::All { 0 } else { first };
        let learned = std::iter::once(first as u32..ids.len() as u32).collect();
        Ok(Encoded { ids, learned })
    }

    fn messages(
        &self,
        messages: &[Message],
        tools: Option<&Value>,
        first: usize,
    ) -> Result<Result<Encoded, String>> {
        let Some(template) = self.template else {
            let message = "is needed: the model has no chat template; set it to chatml, to alpaca or to a file, as the model was trained";
            return Err(Error::value(self.key, message));
        };
        let (text, marked) = match template.render_marked(messages, tools, false) {
            Ok(rendered) => rendered,
            Err(wrong) => return Ok(Err(wrong)),
        };
        let encoding = self.tokenizer.encoding(&text, None, false)?;
        let ends = self.ends(&encoding, &text);
        let spans = match (self.learn, marked.is_empty()) {
            (Learn::All, _) => Ok(vec![[0, text.chars().count()]]),
            (Learn::Assistant, false) => of_marks(&marked, messages, first),
            (Learn::Assistant, true) => of_prefixes(template, messages, tools, first, &text),
        };
        let spans = match spans {
            Ok(spans) => spans,
            Err(wrong) => return Ok(Err(wrong)),
        };
        let mut learned: Vec<Range<u32>> = Vec::new();
        for span in spans {
            let mut range = tokens_of(&encoding, span);
            if marked.is_empty() && self.learn == Learn::Assistant {
                range = self.to_the_end_of_turn(&encoding, &text, range);
            }
            learned.push(range.start as u32..range.end as u32);
        }
        let mut ids = encoding.ids;
        let end = self.tokenizer.vocabulary().roles().eos;
        if let (false, Some(end)) = (ends, end) {
            // A model that never sees an end never ends.
            ids.push(end);
            match learned.last_mut() {
                Some(last) if last.end as usize == ids.len() - 1 => last.end += 1,
                _ => learned.push(ids.len() as u32 - 1..ids.len() as u32),
            }
        }
        learned.retain(|range| !range.is_empty());
        Ok(Ok(Encoded { ids, learned }))
    }

    /// Whether a special token ends the text, white space aside.
    fn ends(&self, encoding: &Encoding, text: &str) -> bool {
        let all = 0..encoding.ids.len();
        let shown = self.to_the_end_of_turn(encoding, text, all);
        let last = encoding.ids[shown].last();
        last.is_some_and(|last| self.tokenizer.vocabulary().is_special(*last))
    }

    /// Tokens without the white space behind the special token that ends them, where one does.
    fn to_the_end_of_turn(
        &self,
        encoding: &Encoding,
        text: &str,
        range: Range<usize>,
    ) -> Range<usize> {
        let special = |at: usize| self.tokenizer.vocabulary().is_special(encoding.ids[at]);
        let blank = |at: usize| {
            let (from, to) = encoding.offsets[at];
            let mut own = text.chars().skip(from).take(to - from);
            !special(at) && own.all(char::is_whitespace)
        };
        let mut end = range.end;
        while end > range.start && blank(end - 1) {
            end -= 1;
        }
        match end > range.start && special(end - 1) {
            true => range.start..end,
            false => range,
        }
    }
}

/// The tokens that hold some of the characters of `span`.
fn tokens_of(encoding: &Encoding, [begin, end]: [usize; 2]) -> Range<usize> {
    let offsets = &encoding.offsets;
    let first = offsets.iter().position(|(_, to)| *to > begin);
    let first = first.unwrap_or(offsets.len());
    let inside = offsets[first..].iter().take_while(|(from, _)| *from < end);
    first..first + inside.count()
}

/// What the template's own tags say, of the answers from message `first` on.
fn of_marks(
    marked: &[[usize; 2]],
    messages: &[Message],
    first: usize,
) -> Result<Vec<[usize; 2]>, String> {
    let answers = messages.iter().filter(|m| is_answer(m)).count();
    let before = messages[..first].iter().filter(|m| is_answer(m)).count();
    if before == 0 {
        return Ok(marked.to_vec());
    }
    if marked.len() != answers {
        return Err(format!(
            "the chat template marks {} answers of {answers}, so which of them to learn cannot be told",
            marked.len()
        ));
    }
    Ok(marked[before..].to_vec())
}

/// What each answer from message `first` on adds to the text before it.
fn of_prefixes(
    template: &Template,
    messages: &[Message],
    tools: Option<&Value>,
    first: usize,
    text: &str,
) -> Result<Vec<[usize; 2]>, String> {
    let mut spans = Vec::new();
    let answers = messages.iter().enumerate().skip(first);
    for (at, _) in answers.filter(|(_, m)| is_answer(m)) {
        let before = template.render(&messages[..at], tools, true)?;
        let after = match at + 1 == messages.len() {
            true => text.to_owned(),
            false => template.render(&messages[..=at], tools, false)?,
        };
        // A template may end a whole conversation with more than a turn.
        let ended = template.special("eos_token");
        let shorter = ended.and_then(|end| after.trim_end().strip_suffix(end));
        let after = [Some(after.as_str()), shorter].into_iter().flatten();
        let mut after = after.filter(|after| text.starts_with(after));
        match after.next() {
            Some(after) if after == before => {
                return Err(format!(
                    "message {}: the chat template ({}) leaves this answer out, so there is nothing of it to learn",
                    at + 1,
                    template.origin().display()
                ));
            }
            Some(after) if after.starts_with(&before) => {
                spans.push([before.chars().count(), after.chars().count()]);
            }
            _ => {
                return Err(format!(
                    "message {}: the chat template ({}) writes this answer otherwise once it stands in the \
                     whole conversation, so what to learn cannot be told; learn = \"all\" learns everything, \
                     or take a template with {{% generation %}} tags",
                    at + 1,
                    template.origin().display()
                ));
            }
        }
    }
    Ok(spans)
}
