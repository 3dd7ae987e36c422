//! Letting a language model write on: one token after the other, each drawn from what the model says of the
//! tokens before it.

use std::path::Path;

use super::sampling::{OP, Sampling};
use super::writing::{Line, Writing};
use super::{Loaded, ROOM};
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::Head;
use crate::models::Beside;
use crate::text::rng::Rng;

/// Texts that are written at once.
const ROWS: usize = 16;

/// A causal language model.
pub struct Generator {
    loaded: Loaded,
    ends: Vec<u32>,
}

impl Generator {
    /// Opens the folder of a causal language model, or an adapter's.
    ///
    /// # Errors
    /// [`Error::Folder`] for another model; those of reading.
    pub fn open(gpu: Gpu, folder: &Path, beside: Beside<'_>) -> Result<Generator> {
        let loaded = Loaded::open(gpu, folder, beside, |_| Ok(Head::CausalLm))?;
        let ends = loaded.ends()?;
        Ok(Generator { loaded, ends })
    }

    /// Writes on after `prompt` until the model ends the text, a stop text appears, so many tokens
    /// are written, or the model has no more positions. `show` gets the new text piece by piece; the
    /// whole of it is returned.
    ///
    /// # Errors
    /// [`Error::Argument`] for a number out of range or a prompt longer than the model's positions;
    /// those of `show` and of the device.
    pub fn generate(
        &self,
        prompt: &str,
        sampling: &Sampling,
        show: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<String> {
        let mut texts = self.generate_all(&[prompt], sampling, &mut |_, text| show(text))?;
        Ok(texts.pop().unwrap_or_default())
    }

    /// [`Generator::generate`] after each of several prompts, all of them in one batch; `show` gets the number of
    /// the prompt with each piece. Each has draws of its own.
    ///
    /// # Errors
    /// As [`Generator::generate`].
    pub fn generate_all<S: AsRef<str>>(
        &self,
        prompts: &[S],
        sampling: &Sampling,
        show: &mut dyn FnMut(usize, &str) -> Result<()>,
    ) -> Result<Vec<String>> {
        sampling.check()?;
        let begun = prompts.iter().map(|prompt| self.begun(prompt.as_ref()));
        let mut lines: Vec<Line> = begun.collect::<Result<_>>()?;
        let longest = lines.iter().map(|line| line.ids.len()).max().unwrap_or(0);
        // A row that is full cannot wait for others.
        let full = longest + sampling.max_tokens > self.loaded.config.positions();
        let rows = if full { 1 } else { ROWS };
        if sampling.max_tokens > 0 {
            for (n, lines) in lines.chunks_mut(rows).enumerate() {
                let mut show = |row: usize, text: &str| show(n * rows + row, text);
                self.write(lines, n * rows, sampling, &mut show)?;
            }
        }
        Ok(lines.into_iter().map(|line| line.text).collect())
    }

    /// Writes texts to their ends, those of the prompts from `first` on.
    fn write(
        &self,
        lines: &mut [Line],
        first: usize,
        sampling: &Sampling,
        show: &mut dyn FnMut(usize, &str) -> Result<()>,
    ) -> Result<()> {
        let loaded = &self.loaded;
        let longest = lines.iter().map(|line| line.ids.len()).max().unwrap_or(0);
        let room = (longest + sampling.max_tokens).min(loaded.config.positions());
        let model = loaded.network.as_causal_lm();
        let model = model.ok_or_else(|| loaded.cannot(Head::CausalLm))?;
        let mut writer = model.writer(&loaded.gpu, lines.len(), room)?;
        let writing = Writing {
            tokenizer: &loaded.tokenizer,
            sampling,
            ends: &self.ends,
            known: loaded
                .tokenizer
                .vocab_size()
                .min(loaded.config.vocab_size()),
            room,
        };
        let stream = |row: usize| match first + row {
            0 => Rng::new(sampling.seed, &[0x6E4]),
            row => Rng::new(sampling.seed, &[0x6E4, row as u64]),
        };
        let mut draws: Vec<Rng> = (0..lines.len()).map(stream).collect();
        let all: Vec<&[u32]> = lines.iter().map(|line| &line.ids[..]).collect();
        let mut logits = writer.read(&all)?;
        let mut open = vec![true; lines.len()];
        loop {
            let width = logits.len() / lines.len();
            // A text that is at its end reads on, unheard.
            let (mut next, mut still) = (vec![0; lines.len()], vec![false; lines.len()]);
            for (row, line) in lines.iter_mut().enumerate().filter(|(row, _)| open[*row]) {
                let own = logits[row * width..(row + 1) * width].to_vec();
                let mut show = |text: &str| show(row, text);
                let id = writing.step(line, own, &mut draws[row], &mut show)?;
                next[row] = id.unwrap_or(0);
                still[row] = id.is_some();
            }
            open.copy_from_slice(&still);
            if !open.contains(&true) {
                return Ok(());
            }
            let tokens: Vec<&[u32]> = next.chunks(1).collect();
            logits = writer.read(&tokens)?;
        }
    }

    /// A text that goes on after a prompt.
    fn begun(&self, prompt: &str) -> Result<Line> {
        let [begin, _] = self.loaded.config.ends();
        let mut ids = self.loaded.tokenizer.encode(prompt)?;
        if ids.is_empty() {
            // A text of its own begins after the end of another.
            ids.extend(begin.or(self.ends.first().copied()));
        }
        if ids.is_empty() || ids.len() > self.loaded.config.positions() {
            let value = format!("{} tokens", ids.len());
            return Err(Error::argument(OP, "prompt", value, ROOM));
        }
        Ok(Line::after(ids))
    }
}
