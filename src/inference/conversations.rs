//! Conversations that a reward model is asked about, as texts in its own template.

use std::path::Path;

use super::tokenizer;
use crate::error::{Error, Result};
use crate::models::{Beside, Pretrained, ProblemType, template_of};
use crate::text::chat::{self, Example as Said, Read, Row, Template};
use crate::text::{Example, Frame, Source};

/// Conversations that are asked about together: those of like length share a batch.
const AT_ONCE: usize = 256;

/// What makes texts of conversations, as they were when the model learned to reward them.
pub struct Conversations {
    template: Template,
    /// What ends a text that is no conversation.
    end: String,
    /// What fills rows, of which a model does not see whether it ends a text.
    pad: String,
}

impl Conversations {
    /// Of the model in a folder, if it says a number of a text and has a chat template.
    ///
    /// # Errors
    /// Those of reading.
    pub fn of(folder: &Path, beside: Beside<'_>) -> Result<Option<Conversations>> {
        let source = Pretrained::open_beside(folder, beside)?;
        let labels = source.config.labels();
        if labels.problem() != ProblemType::Regression || labels.text_pairs == Some(true) {
            return Ok(None);
        }
        let tokenizer = tokenizer(&source)?;
        let Some(template) = template_of(folder, source.base.as_deref(), &tokenizer)? else {
            return Ok(None);
        };
        let vocabulary = tokenizer.vocabulary();
        let named = |id: Option<u32>| id.and_then(|id| tokenizer.token(id)).unwrap_or_default();
        let pad = Frame::of(vocabulary).ok().map(|frame| frame.pad);
        Ok(Some(Conversations {
            template,
            end: named(vocabulary.roles().eos),
            pad: named(pad),
        }))
    }

    /// Whether a file holds some.
    pub fn are_in(&self, path: &Path) -> bool {
        chat::form(&Source::asked(path)).is_ok_and(chat::Form::is_conversation)
    }

    /// Gives those of a file to `each`, in portions; of a pair the better one first.
    ///
    /// # Errors
    /// Those of reading and of `each`; [`Error::MalformedRow`] for one that the template refuses.
    pub fn each(
        &self,
        path: &Path,
        each: &mut dyn FnMut(Vec<Example>) -> Result<()>,
    ) -> Result<()> {
        let mut texts = Vec::new();
        let rows = chat::rows(&Source::asked(path), &mut |Read { line, row }| {
            let all = match row {
                Row::Answer(said) | Row::Judged { example: said, .. } => vec![said],
                Row::Pair { chosen, rejected } => vec![chosen, rejected],
            };
            all.iter().try_for_each(|said| {
                let text = self.text(said).map_err(|message| Error::MalformedRow {
                    path: path.to_owned(),
                    line,
                    message,
                })?;
                texts.push(Example {
                    row: vec![("text".into(), said.said().into())],
                    text,
                    line: Some(line),
                    ..Example::default()
                });
                match texts.len() {
                    AT_ONCE => each(std::mem::take(&mut texts)),
                    _ => Ok(()),
                }
            })
        });
        rows?;
        each(texts)
    }

    fn text(&self, said: &Said) -> Result<String, String> {
        let mut text = match said {
            Said::Messages {
                messages, tools, ..
            } => self.template.render(messages, tools.as_ref(), false)?,
            Said::Text { .. } => said.said() + &self.end,
        };
        while let Some(shorter) = text
            .strip_suffix(&self.pad)
            .filter(|_| !self.pad.is_empty())
        {
            text.truncate(shorter.len());
        }
        Ok(text)
    }
}
