//! Labels of texts, and scores of any trained transformer on a data set.

use std::path::Path;
use std::sync::Arc;

use super::Loaded;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::Head;
use crate::models::{Config, Pretrained, ProblemType};
use crate::text::{Documents, Example, Keep, LabelledOptions};
use crate::train::config::Problem;
use crate::train::tasks::transformer::{Scorer, label_names, shown};

/// A model that classifies texts, or predicts numbers from them.
pub struct Classifier {
    loaded: Loaded,
    scorer: Scorer,
    labels: Vec<String>,
    problem: Problem,
}

/// Texts classified at a time.
const BATCH: usize = 32;
/// Longest text that is read whole.
const MAX_LEN: usize = 512;

impl Classifier {
    /// Opens the folder of a classifier, or an adapter's.
    ///
    /// # Errors
    /// [`Error::Folder`] for another model; those of reading.
    pub fn open(gpu: Gpu, folder: &Path, base: Option<&Path>) -> Result<Classifier> {
        let wanted = |source: &Pretrained| match source.architecture.map(|class| class.head()) {
            Some(Head::Sequence) => Ok(Head::Sequence),
            _ => Err(Error::Folder {
                path: folder.to_path_buf(),
                problem: "is no classifier; fine-tune it first (`melos train --preset finetune`)"
                    .into(),
            }),
        };
        let loaded = Loaded::open(gpu, folder, base, wanted)?;
        let scorer = scorer(&loaded, BATCH);
        Ok(Classifier {
            labels: label_names(&*loaded.config),
            problem: problem(&*loaded.config),
            loaded,
            scorer,
        })
    }

    /// Names of the outputs.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// What the outputs mean.
    pub fn problem(&self) -> Problem {
        self.problem
    }

    /// For each text, or pair of texts, the probabilities of the labels, or the numbers.
    ///
    /// # Errors
    /// Those of the tokeniser and of the device.
    pub fn predict(&mut self, texts: &[Example]) -> Result<Vec<Vec<f32>>> {
        let tokenizer = &self.loaded.tokenizer;
        let examples = texts.iter().cloned();
        let documents = Arc::new(Documents::from_examples(examples, tokenizer)?);
        let docs = documents.filter(|_| true);
        let (gpu, vocabulary) = (&self.loaded.gpu, tokenizer.vocabulary());
        // A few texts do not wait for a whole batch.
        let mut small = (texts.len() < BATCH).then(|| scorer(&self.loaded, texts.len().max(1)));
        let scorer = small.as_mut().unwrap_or(&mut self.scorer);
        let model = self.loaded.network.as_classifier();
        let model = model.ok_or_else(|| self.loaded.cannot(Head::Sequence))?;
        let mut rows = scorer.outputs(gpu, model, vocabulary, &documents, &docs)?;
        rows.sort_by_key(|(doc, _)| *doc);
        let problem = self.problem;
        Ok(rows
            .into_iter()
            .map(|(_, row)| shown(problem, &row))
            .collect())
    }
}

fn scorer(loaded: &Loaded, batch: usize) -> Scorer {
    Scorer::new(LabelledOptions {
        batch,
        max_len: loaded.config.positions().min(MAX_LEN),
        keep: Keep::Head,
        buckets: true,
        shuffle: false,
    })
}

/// What the outputs of a classifier mean.
pub(crate) fn problem(config: &dyn Config) -> Problem {
    match config.labels().problem() {
        ProblemType::SingleLabelClassification => Problem::SingleLabel,
        ProblemType::MultiLabelClassification => Problem::MultiLabel,
        ProblemType::Regression => Problem::Regression,
    }
}
