//! Writing token by token, shown as text as soon as that can no longer change.

use super::sampling::Sampling;
use crate::error::Result;
use crate::text::Tokenizer;
use crate::text::rng::Rng;

/// How a text is written on.
pub(super) struct Writing<'a> {
    pub tokenizer: &'a Tokenizer,
    pub sampling: &'a Sampling,
    /// The tokens that end a text.
    pub ends: &'a [u32],
    /// Logits that are of tokens.
    pub known: usize,
    /// Tokens that there is room for in a row, those before with them.
    pub room: usize,
}

/// A text that is being written.
pub(super) struct Line {
    /// The tokens before it, and its own.
    pub ids: Vec<u32>,
    /// How many stand before it.
    begin: usize,
    /// What of it has been shown.
    pub text: String,
}

impl Line {
    /// One that goes on after these tokens.
    pub fn after(ids: Vec<u32>) -> Line {
        Line {
            begin: ids.len(),
            ids,
            text: String::new(),
        }
    }
}

impl Writing<'_> {
    /// Writes the next token of `line`, which `logits` follow, and hands new text to `show`. Returns the token
    /// where the text goes on.
    pub fn step(
        &self,
        line: &mut Line,
        mut logits: Vec<f32>,
        rng: &mut Rng,
        show: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Option<u32>> {
        logits.truncate(self.known);
        let id = self.sampling.choose(&mut logits, &line.ids, rng);
        let mut written = Written {
            text: &mut line.text,
            stop: &self.sampling.stop,
        };
        let ends = self.ends.contains(&id);
        if !ends {
            line.ids.push(id);
        }
        let text = self.tokenizer.decode(&line.ids[line.begin..])?;
        let goes_on = !ends && written.advance(&text, show)?;
        let full =
            line.ids.len() >= self.room || line.ids.len() - line.begin >= self.sampling.max_tokens;
        if ends || goes_on && full {
            written.show(&text, show)?;
        }
        Ok((goes_on && !full).then_some(id))
    }

    /// Writes all of `line`; `read` says what follows one more token.
    pub fn go(
        &self,
        line: &mut Line,
        logits: Vec<f32>,
        rng: &mut Rng,
        read: &mut dyn FnMut(u32) -> Result<Vec<f32>>,
        show: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        let mut next = self.step(line, logits, rng, show)?;
        while let Some(id) = next {
            next = self.step(line, read(id)?, rng, show)?;
        }
        Ok(())
    }
}

/// The text so far, of which only what can no longer change is shown.
struct Written<'a> {
    text: &'a mut String,
    stop: &'a [String],
}

impl Written<'_> {
    /// Takes the text of all tokens so far; false when it is at its end.
    fn advance(&mut self, all: &str, show: &mut dyn FnMut(&str) -> Result<()>) -> Result<bool> {
        let stops = self.stop.iter().filter(|s| !s.is_empty());
        if let Some(at) = stops.filter_map(|stop| all.find(stop.as_str())).min() {
            self.show(&all[..at], show)?;
            return Ok(false);
        }
        // A character may lack bytes that are still to come, and a stop text its end.
        let whole = all.trim_end_matches('\u{FFFD}');
        let open = |stop: &String| {
            let ends = stop.char_indices().map(|(at, _)| at).skip(1);
            ends.filter(|&at| whole.ends_with(&stop[..at]))
                .max()
                .unwrap_or(0)
        };
        let held = self.stop.iter().map(open).max().unwrap_or(0);
        self.show(&whole[..whole.len() - held], show)?;
        Ok(true)
    }

    /// Shows what is new up to there.
    fn show(&mut self, until: &str, show: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        if let Some(new) = until.strip_prefix(self.text.as_str())
            && !new.is_empty()
        {
            show(new)?;
            *self.text = until.to_string();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_stop_text_is_held_back() {
        let mut text = String::new();
        let mut written = Written {
            text: &mut text,
            stop: &["END".into()],
        };
        let mut shown = Vec::new();
        let mut show = |text: &str| {
            shown.push(text.to_string());
            Ok(())
        };
        assert!(written.advance("a é\u{FFFD}", &mut show).unwrap());
        assert!(written.advance("a éêE", &mut show).unwrap());
        assert!(written.advance("a éêEN", &mut show).unwrap());
        assert!(written.advance("a éêENd E", &mut show).unwrap());
        assert!(!written.advance("a éêENd END of it", &mut show).unwrap());
        assert_eq!(shown, ["a é", "ê", "ENd ",]);
        assert_eq!(text, "a éêENd ");
    }
}
