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
    /// Tokens that there is room for, those before with them.
    pub room: usize,
}

impl Writing<'_> {
    /// Writes on after the tokens `ids`, which `logits` follow; `read` says what follows one more token. What
    /// is written goes to `ids`, new text to `show`, piece by piece; the whole of it is returned.
    pub fn go(
        &self,
        ids: &mut Vec<u32>,
        mut logits: Vec<f32>,
        rng: &mut Rng,
        read: &mut dyn FnMut(u32) -> Result<Vec<f32>>,
        show: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<String> {
        let begin = ids.len();
        let mut written = Written {
            text: String::new(),
            stop: &self.sampling.stop,
        };
        while ids.len() - begin < self.sampling.max_tokens {
            logits.truncate(self.known);
            let id = self.sampling.choose(&mut logits, ids, rng);
            if self.ends.contains(&id) {
                break;
            }
            ids.push(id);
            let text = self.tokenizer.decode(&ids[begin..])?;
            if !written.advance(&text, show)? || ids.len() > self.room {
                return Ok(written.text);
            }
            if ids.len() == self.room {
                break;
            }
            logits = read(id)?;
        }
        written.show(&self.tokenizer.decode(&ids[begin..])?, show)?;
        Ok(written.text)
    }
}

/// The text so far, of which only what can no longer change is shown.
struct Written<'a> {
    text: String,
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
            self.text = until.to_string();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_stop_text_is_held_back() {
        let mut written = Written {
            text: String::new(),
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
        assert_eq!(written.text, "a éêENd ");
    }
}
