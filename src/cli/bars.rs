//! Progress bars for a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::train::progress::{Event, Progress, sentence, thousands};

/// One bar per unit on standard error; what is worth keeping scrolls above it.
pub struct Bars {
    bar: Option<ProgressBar>,
    loss: Option<f32>,
}

impl Bars {
    /// No bar yet: the first unit brings one.
    pub fn new() -> Self {
        Self {
            bar: None,
            loss: None,
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| super::output::note(text)),
            None => super::output::note(text),
        }
    }
}

impl Progress for Bars {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Start {
                unit, step, total, ..
            } => {
                if let Some(text) = sentence(event) {
                    self.line(&text);
                }
                let bar = ProgressBar::with_draw_target(Some(*total), ProgressDrawTarget::stderr());
                // The template is fixed and valid; a default bar is still a bar.
                if let Ok(style) = ProgressStyle::with_template(
                    "{prefix:.bold} {bar:28.cyan/dim} {pos}/{len}  {msg}  ETA {eta}",
                ) {
                    bar.set_style(style.progress_chars("━╸─"));
                }
                bar.set_prefix(unit.to_string());
                bar.set_position(*step);
                // Steps done by an earlier process must not flatter the ETA.
                bar.reset_eta();
                self.bar = Some(bar);
                self.loss = None;
            }
            Event::Loss { loss, .. } => self.loss = Some(*loss),
            Event::Step {
                step,
                tokens_per_second,
                counted,
                ..
            } => {
                if let Some(bar) = &self.bar {
                    let loss = self
                        .loss
                        .map_or(String::new(), |l| format!("loss {l:.4}  "));
                    bar.set_message(format!(
                        "{loss}{} {counted}/s",
                        thousands(*tokens_per_second)
                    ));
                    bar.set_position(*step);
                }
            }
            Event::Finish { .. } => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
                if let Some(text) = sentence(event) {
                    self.line(&text);
                }
            }
            other => {
                if let Some(text) = sentence(other) {
                    self.line(&text);
                }
            }
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }
}
