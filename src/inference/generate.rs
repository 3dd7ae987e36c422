//! Letting a language model write on: one token after the other, each drawn from what the model says of the
//! tokens before it.

use std::path::Path;

use super::sampling::{OP, Sampling};
use super::writing::Writing;
use super::{Loaded, ROOM};
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::Head;
use crate::text::rng::Rng;

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
    pub fn open(gpu: Gpu, folder: &Path, base: Option<&Path>) -> Result<Generator> {
        let loaded = Loaded::open(gpu, folder, base, |_| Ok(Head::CausalLm))?;
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
        sampling.check()?;
        let tokenizer = &self.loaded.tokenizer;
        let [begin, _] = self.loaded.config.ends();
        let mut ids = tokenizer.encode(prompt)?;
        if ids.is_empty() {
            // A text of its own begins after the end of another.
            ids.extend(begin.or(self.ends.first().copied()));
        }
        let positions = self.loaded.config.positions();
        if ids.is_empty() || ids.len() > positions {
            let value = format!("{} tokens", ids.len());
            return Err(Error::argument(OP, "prompt", value, ROOM));
        }
        let begin = ids.len();
        let room = (begin + sampling.max_tokens).min(positions);
        let model = self.loaded.network.as_causal_lm();
        let model = model.ok_or_else(|| self.loaded.cannot(Head::CausalLm))?;
        let mut writer = model.writer(&self.loaded.gpu, 1, room)?;
        let mut rng = Rng::new(sampling.seed, &[0x6E4]);
        if sampling.max_tokens == 0 {
            return Ok(String::new());
        }
        let writing = Writing {
            tokenizer,
            sampling,
            ends: &self.ends,
            known: tokenizer.vocab_size().min(self.loaded.config.vocab_size()),
            room,
        };
        let logits = writer.read(&[&ids])?;
        let mut read = |id: u32| writer.read(&[&[id]]);
        writing.go(&mut ids, logits, &mut rng, &mut read, show)
    }
}
