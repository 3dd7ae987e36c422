//! Labels of texts.

use std::path::Path;
use std::sync::Arc;

use super::Loaded;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::Head;
use crate::models::{Beside, Config, Cut, Pretrained, Reading};
use crate::objectives::classify::rows;
use crate::objectives::criterion::{Scorer, Setup};
use crate::objectives::labels::shown;
use crate::objectives::{Classify, Objective, Problem};
use crate::text::{Documents, Example, Keep};

/// A model that classifies texts, or predicts numbers from them.
pub struct Classifier {
    loaded: Loaded,
    scorer: Scorer,
    labels: Vec<String>,
    problem: Problem,
}

/// Texts classified at a time.
const BATCH: usize = 32;
/// Longest text that is read whole by a model that does not say how long its texts were.
const MAX_LEN: usize = 512;

impl Classifier {
    /// Opens the folder of a classifier, or an adapter's.
    ///
    /// # Errors
    /// [`Error::Folder`] for another model; those of reading.
    pub fn open(gpu: Gpu, folder: &Path, beside: Beside<'_>) -> Result<Classifier> {
        let wanted = |source: &Pretrained| match source.architecture.map(|class| class.head()) {
            Some(Head::Sequence) => Ok(Head::Sequence),
            _ => {
                let how = "fine-tune it first (`melos train --preset finetune`)";
                Err(Error::folder(folder, format!("is no classifier; {how}")))
            }
        };
        let loaded = Loaded::open(gpu, folder, beside, wanted)?;
        Ok(Classifier {
            labels: loaded.config.labels().names(),
            problem: loaded.config.labels().problem().into(),
            loaded,
            scorer: Scorer::default(),
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
    /// [`Error::ConfigValue`] for pairs where the model reads single texts, and single texts where it reads
    /// pairs; those of the tokeniser and of the device.
    pub fn predict(&mut self, texts: &[Example]) -> Result<Vec<Vec<f32>>> {
        let loaded = &self.loaded;
        let single = loaded.config.reading() != Reading::Rows;
        if single && texts.iter().any(|text| text.pair.is_some()) {
            let one = loaded.config.family().one();
            let message = format!("is for models that read two texts at once; {one} reads one");
            return Err(Error::value("pair_column", message));
        }
        for text in texts {
            loaded.config.labels().check_pairs(text.pair.is_some())?;
        }
        let examples = texts.iter().cloned();
        let documents = Arc::new(Documents::from_examples(examples, &loaded.tokenizer)?);
        let docs = documents.filter(|_| true);
        let cut = cut(&*loaded.config);
        let classify = Classify {
            max_len: cut.length,
            kept_end: cut.kept_end,
            problem: self.problem,
            ..Classify::default()
        };
        let criterion = classify.criterion(Setup {
            documents,
            tagged: None,
            chats: None,
            pictures: None,
            tokenizer: loaded.tokenizer.clone(),
            config: loaded.config.clone(),
            labels: None,
            batch: texts.len().clamp(1, BATCH),
            seed: 0,
        })?;
        // A few texts do not wait for a whole batch.
        let mut small = (texts.len() < BATCH).then(Scorer::default);
        let scorer = small.as_mut().unwrap_or(&mut self.scorer);
        let mut all = Vec::with_capacity(texts.len());
        let mut add = |batch: &_, outputs: &[_]| {
            all.extend(rows(batch, outputs)?);
            Ok(())
        };
        scorer.run(&loaded.gpu, &*loaded.network, &*criterion, &docs, &mut add)?;
        all.sort_by_key(|(doc, _)| *doc);
        let problem = self.problem;
        Ok(all.iter().map(|(_, row)| shown(problem, row)).collect())
    }
}

/// How a model's texts are cut off: as it says, or at its positions.
pub(super) fn cut(config: &dyn Config) -> Cut {
    config.cut().unwrap_or(Cut {
        length: config.positions().min(MAX_LEN),
        kept_end: Keep::Head,
    })
}
