//! Progress bars for a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::train::progress::{Event, Progress, Recent, sentence, thousands};

/// One bar per unit on standard error; what is worth keeping scrolls above it.
pub struct Bars {
    bar: Option<ProgressBar>,
    recent: Recent,
}

impl Bars {
    /// No bar yet: the first unit brings one.
    pub fn new() -> Self {
        Self {
            bar: None,
            recent: Recent::default(),
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
                self.recent = Recent::default();
            }
            Event::Loss { loss, told, .. } => self.recent.note(*loss, *told),
            Event::Step {
                step,
                tokens_per_second,
                counted,
                ..
            } => {
                if let Some(bar) = &self.bar {
                    let recent = self.recent.text();
                    let speed = thousands(*tokens_per_second);
                    let message = format!("{recent}  {speed} {counted}/s");
                    bar.set_message(message.trim_start().to_string());
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
