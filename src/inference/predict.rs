//! Labels of texts, and scores of any trained transformer on a data set.

use std::path::Path;
use std::sync::Arc;

use super::Loaded;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::Architecture;
use crate::models::ProblemType;
use crate::nn::LoraPlan;
use crate::text::{Documents, Example, Keep, LabelledOptions};
use crate::train::config::Problem;
use crate::train::tasks::transformer::{Scorer, SequenceModel, Source, label_names, shown};

/// A model that classifies texts, or predicts numbers from them.
pub struct Classifier {
    loaded: Loaded,
    model: SequenceModel,
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
        let wanted = |source: &Source| match source.architecture {
            Some(
                class @ (Architecture::BertForSequenceClassification
                | Architecture::GPT2ForSequenceClassification),
            ) => Ok(class),
            _ => Err(Error::Folder {
                path: folder.to_path_buf(),
                problem: "is no classifier; fine-tune it first (`melos train --preset finetune`)"
                    .into(),
            }),
        };
        let loaded = Loaded::open(gpu, folder, base, wanted)?;
        let model =
            SequenceModel::new(&loaded.store, &loaded.network, &LoraPlan::default(), false)?;
        let scorer = scorer(&loaded, BATCH);
        Ok(Classifier {
            labels: label_names(&loaded.network),
            problem: problem(&loaded.network),
            loaded,
            model,
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
        let mut rows = scorer.outputs(gpu, &self.model, vocabulary, &documents, &docs)?;
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
        max_len: loaded.network.positions().min(MAX_LEN),
        keep: Keep::Head,
        buckets: true,
        shuffle: false,
    })
}

/// What the outputs of a classifier mean.
pub(crate) fn problem(network: &crate::train::tasks::transformer::Network) -> Problem {
    match network.labels().problem() {
        ProblemType::SingleLabelClassification => Problem::SingleLabel,
        ProblemType::MultiLabelClassification => Problem::MultiLabel,
        ProblemType::Regression => Problem::Regression,
    }
}
