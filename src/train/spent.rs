//! Where the seconds of a unit went.

use serde::{Deserialize, Serialize};

/// Seconds of a unit, by what they were spent on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// Reading text and making tokens of it. Stages that read the same text share what the first of them did.
    pub reading: f64,
    /// Making the model, its batches and what it needs on the device, before the first step.
    pub model: f64,
    /// Steps of a shape that was new: their kernels are compiled and recorded.
    pub first_steps: f64,
    /// All other steps.
    pub steps: f64,
    /// Scoring texts.
    pub evaluation: f64,
    /// Writing checkpoints and the model.
    pub files: f64,
}

impl Spent {
    /// The parts with their names, and the rest of so many seconds since the first step began.
    pub fn parts(&self, seconds: f64) -> [(&'static str, f64); 7] {
        let measured = self.first_steps + self.steps + self.evaluation + self.files;
        [
            ("reading text", self.reading),
            ("making model and batches", self.model),
            ("first steps, with kernels compiled", self.first_steps),
            ("training steps", self.steps),
            ("evaluation", self.evaluation),
            ("checkpoints and models", self.files),
            ("other", (seconds - measured).max(0.0)),
        ]
    }
}

impl std::ops::AddAssign for Spent {
    fn add_assign(&mut self, other: Spent) {
        self.reading += other.reading;
        self.model += other.model;
        self.first_steps += other.first_steps;
        self.steps += other.steps;
        self.evaluation += other.evaluation;
        self.files += other.files;
    }
}
