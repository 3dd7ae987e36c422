//! Talking to a model: turn after turn, in its own chat template, with what it has read kept in mind.

use std::path::Path;

use serde_json::Value;

use super::sampling::Sampling;
use super::writing::{Line, Writing};
use super::{Loaded, ROOM};
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::Head;
use crate::models::{Beside, Writer, template_of};
use crate::text::chat::{Encoder, Example, Learn, Message, Template, message};
use crate::text::rng::Rng;

const OP: &str = "chat";
/// Tokens that are read at once: a pass is recorded for each power of two up to it, whatever comes.
const AT_ONCE: usize = 256;

/// A language model that can be talked to.
pub struct ChatModel {
    loaded: Loaded,
    template: Template,
    /// The tokens that end a turn.
    ends: Vec<u32>,
}

impl ChatModel {
    /// Opens the folder of a causal language model, or an adapter's; `template` names the chat template, if
    /// not the model's own.
    ///
    /// # Errors
    /// [`Error::ConfigValue`] where there is no template, or none of that name; those of reading.
    pub fn open(
        gpu: Gpu,
        folder: &Path,
        beside: Beside<'_>,
        template: Option<&str>,
    ) -> Result<ChatModel> {
        let loaded = Loaded::open(gpu, folder, beside, |_| Ok(Head::CausalLm))?;
        let tokenizer = &loaded.tokenizer;
        let own = match template {
            Some(name) => Some(Template::named("--template", name, tokenizer)?),
            None => template_of(folder, loaded.base.as_deref(), tokenizer)?,
        };
        let template = own.ok_or_else(|| {
            let message = "is needed: the model has no chat template; say chatml, alpaca or a file, as it was trained";
            Error::value("--template", message)
        })?;
        let mut ends = loaded.ends()?;
        ends.extend(ends_of_turns(&loaded, &template)?);
        Ok(ChatModel {
            loaded,
            template,
            ends,
        })
    }

    /// Begins a conversation of up to `context` tokens (at most the model's positions).
    ///
    /// # Errors
    /// [`Error::Folder`] for a model that does not write; [`Error::TooLarge`].
    pub fn begin(&self, context: usize, seed: u64) -> Result<Chat<'_>> {
        let loaded = &self.loaded;
        let context = context.min(loaded.config.positions());
        let writes = loaded.network.as_causal_lm();
        let writes = writes.ok_or_else(|| loaded.cannot(Head::CausalLm))?;
        Ok(Chat {
            model: self,
            writer: writes.writer(&loaded.gpu, 1, context)?,
            read: Vec::new(),
            context,
            messages: Vec::new(),
            rng: Rng::new(seed, &[0xC4A7]),
        })
    }
}

/// The special tokens that the template puts after an answer.
fn ends_of_turns(loaded: &Loaded, template: &Template) -> Result<Vec<u32>> {
    let encoder = Encoder {
        tokenizer: &loaded.tokenizer,
        template: Some(template),
        learn: Learn::Assistant,
        key: "--template",
    };
    let turns = vec![message("user", "a"), message("assistant", "b")];
    let example = Example::Messages {
        messages: turns,
        tools: None,
        first: 0,
    };
    // Where it cannot be told, the model's own tokens must do.
    let Ok(encoded) = encoder.encode(&example)? else {
        return Ok(Vec::new());
    };
    let vocabulary = loaded.tokenizer.vocabulary();
    let learned = encoded.learned.iter().flat_map(|range| {
        let own = &encoded.ids[range.start as usize..range.end as usize];
        // Before the answer there may be others, as those of thinking.
        let last = own.iter().rposition(|id| !vocabulary.is_special(*id));
        own[last.map_or(0, |last| last + 1)..].iter().copied()
    });
    Ok(learned.collect())
}

/// A conversation.
pub struct Chat<'a> {
    model: &'a ChatModel,
    writer: Box<dyn Writer + 'a>,
    /// The tokens that the writer has read.
    read: Vec<u32>,
    context: usize,
    messages: Vec<Message>,
    rng: Rng,
}

impl Chat<'_> {
    /// What has been said so far.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Begins anew, keeping nothing.
    pub fn reset(&mut self) {
        self.messages.clear();
    }

    /// Begins anew after this system message; none for an empty one.
    pub fn system(&mut self, text: &str) {
        self.messages.clear();
        if !text.is_empty() {
            self.messages.push(message("system", text));
        }
    }

    /// Says something and lets the model answer; new text goes to `show`, piece by piece. What fails is not
    /// kept in mind.
    ///
    /// # Errors
    /// [`Error::Argument`] for a number out of range, or a conversation that is full; what the template
    /// says against it; those of `show` and of the device.
    pub fn say(
        &mut self,
        text: &str,
        sampling: &Sampling,
        show: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<String> {
        sampling.check()?;
        self.messages.push(message("user", text));
        let answer = self.answer(sampling, show);
        match &answer {
            Ok(answer) => self.messages.push(message("assistant", answer.as_str())),
            Err(_) => drop(self.messages.pop()),
        }
        answer
    }

    fn answer(
        &mut self,
        sampling: &Sampling,
        show: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<String> {
        let model = self.model;
        let (loaded, tokenizer) = (&model.loaded, &model.loaded.tokenizer);
        let rendered = model.template.render(&self.messages, None::<&Value>, true);
        let rendered = rendered.map_err(|wrong| Error::value("chat", wrong))?;
        let ids = tokenizer.encode(&rendered)?;
        if ids.is_empty() || ids.len() >= self.context {
            let value = format!("{} tokens", ids.len());
            let expected = match ids.is_empty() {
                true => ROOM,
                false => {
                    "fewer than --context, and than the model has positions; /reset begins anew"
                }
            };
            return Err(Error::argument(OP, "conversation", value, expected));
        }
        if sampling.max_tokens == 0 {
            return Ok(String::new());
        }
        let logits = self.follow(&ids)?;
        let writing = Writing {
            tokenizer,
            sampling,
            ends: &model.ends,
            known: tokenizer.vocab_size().min(loaded.config.vocab_size()),
            room: (ids.len() + sampling.max_tokens).min(self.context),
        };
        let (writer, seen) = (&mut self.writer, &mut self.read);
        let mut read = |id: u32| {
            seen.push(id);
            writer.read(&[&[id]])
        };
        let mut line = Line::after(ids);
        writing.go(&mut line, logits, &mut self.rng, &mut read, show)?;
        Ok(line.text)
    }

    /// Reads these tokens, of which those that were read already are not read again.
    fn follow(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        let same = self
            .read
            .iter()
            .zip(ids)
            .take_while(|(a, b)| a == b)
            .count();
        // What follows the last one must be asked for.
        let mut at = same.min(ids.len() - 1);
        self.writer.rewind(at);
        self.read.truncate(at);
        let mut logits = Vec::new();
        while at < ids.len() {
            let left = ids.len() - at;
            let next = (1 << left.ilog2()).min(AT_ONCE);
            logits = self.writer.read(&[&ids[at..at + next]])?;
            self.read.extend_from_slice(&ids[at..at + next]);
            at += next;
        }
        Ok(logits)
    }
}
