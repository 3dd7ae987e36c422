//! What a trained model is asked, and what it answers.

use serde::Serialize;

use crate::error::Result;
use crate::objectives::Problem;
use crate::objectives::scores::Scores;
use crate::text::Example;
use crate::train::config::DataConfig;

/// A model that is ready to be used.
pub trait Model {
    /// Label names, in the order of the probabilities.
    fn labels(&self) -> &[String];

    /// What its outputs mean.
    fn problem(&self) -> Problem {
        Problem::SingleLabel
    }

    /// Whether it was trained on pairs of texts, where it says so.
    fn pairs(&self) -> Option<bool> {
        None
    }

    /// Probabilities of the labels (or the numbers predicted), per text or pair of texts.
    ///
    /// # Errors
    /// A model without a classifier; whatever the device reports.
    fn predict(&mut self, texts: &[Example]) -> Result<Vec<Vec<f32>>>;

    /// Scores the model on all texts of `data` (a language model: on their next tokens).
    ///
    /// # Errors
    /// Whatever the data or the device report; a label that the model does not know.
    fn evaluate(&mut self, data: &DataConfig) -> Result<Scores>;
}

/// A text with its predicted label.
#[derive(Debug, Clone, Serialize)]
pub struct Prediction {
    /// The text.
    pub text: String,
    /// The second text of a pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// The most probable label; all that are more likely than not, with several labels a text; or
    /// the number.
    pub label: String,
    /// All labels with their probabilities, in the model's order.
    pub probabilities: Vec<(String, f32)>,
}

/// What is predicted, in a word.
fn said(problem: Problem, outputs: &[(String, f32)]) -> String {
    match problem {
        Problem::SingleLabel => {
            let best = outputs.iter().max_by(|a, b| a.1.total_cmp(&b.1));
            best.map_or(String::new(), |(label, _)| label.clone())
        }
        Problem::MultiLabel => {
            let likely = outputs.iter().filter(|(_, p)| *p > 0.5);
            let labels: Vec<&str> = likely.map(|(label, _)| label.as_str()).collect();
            labels.join(", ")
        }
        Problem::Regression => outputs
            .first()
            .map_or(String::new(), |(_, y)| y.to_string()),
    }
}

/// Predicts the labels of texts, or of [`Example`]s with a second text.
///
/// # Errors
/// As [`Model::predict`].
pub fn predict<T: Into<Example>>(
    model: &mut dyn Model,
    texts: impl IntoIterator<Item = T>,
) -> Result<Vec<Prediction>> {
    let texts: Vec<Example> = texts.into_iter().map(Into::into).collect();
    let rows = model.predict(&texts)?;
    Ok(texts
        .into_iter()
        .zip(rows)
        .map(|(Example { text, pair, .. }, row)| {
            let probabilities: Vec<(String, f32)> =
                model.labels().iter().cloned().zip(row).collect();
            let label = said(model.problem(), &probabilities);
            Prediction {
                text,
                pair,
                label,
                probabilities,
            }
        })
        .collect())
}
