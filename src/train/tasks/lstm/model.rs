//! Trained models as folders: written at the end of a stage, opened by `melos eval` and
//! `melos predict`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{kept_end, transfer};
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::models::lstm::{LstmClassifier, LstmConfig, LstmLanguageModel, SequenceAutoencoder};
use crate::nn::Vars;
use crate::ops::TokenIds;
use crate::tensor::{DType, Tape, Tensor};
use crate::text::batch::NO_DOC;
use crate::text::{
    BucketBatches, BucketOptions, Documents, Example, Keep, LmBatches, LmOptions, Split, Tokenizer,
    classes, tokenise,
};
use crate::train::config::{DataConfig, KeptEnd};
use crate::train::metrics::{Scores, argmax, softmax};
use crate::train::run::Model;
use crate::train::task::ModelFiles;
use crate::train::tasks::data::{Data, sources};
use crate::train::tasks::engine::{Engine, Step, Steps};
use crate::train::tasks::objective::{as_targets, count, mean_weights};

/// What a model folder holds, with what is needed to read text as in training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "objective", rename_all = "snake_case")]
pub(super) enum Architecture {
    LanguageModel {
        bptt: usize,
    },
    Autoencoder {
        max_len: usize,
        kept_end: KeptEnd,
    },
    Classifier {
        labels: Vec<String>,
        max_len: usize,
        kept_end: KeptEnd,
    },
}

/// A model folder's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Description {
    model_type: String,
    #[serde(flatten)]
    architecture: Architecture,
    lstm: LstmConfig,
}

/// `model_type` in config.json.
pub(in crate::train::tasks) const MODEL_TYPE: &str = "melos-lstm";

impl Description {
    pub fn new(architecture: Architecture, lstm: &LstmConfig) -> Description {
        Description {
            model_type: MODEL_TYPE.into(),
            architecture,
            lstm: lstm.clone(),
        }
    }

    /// The model folder's files.
    pub fn files(&self, engine: &Engine, data: &Data) -> Result<ModelFiles> {
        Ok(ModelFiles::Melos {
            tensors: engine.parameters()?,
            // Strings and numbers: this cannot fail.
            config: serde_json::to_value(self).unwrap_or_default(),
            tokenizer: data.tokenizer.to_json()?,
        })
    }

    fn read(folder: &Path) -> Result<Description> {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|e| Error::read(&path, e))?;
        let bad = |problem: String| Error::Folder {
            path: path.clone(),
            problem,
        };
        let description: Description = serde_json::from_str(&text)
            .map_err(|e| bad(format!("is not the config.json of a melos model: {e}")))?;
        if description.model_type != MODEL_TYPE {
            return Err(bad(format!(
                "model_type is '{}', expected '{MODEL_TYPE}'",
                description.model_type
            )));
        }
        Ok(description)
    }
}

/// Sequences to classify, on the device.
struct Unlabelled {
    ids: TokenIds,
    lens: Tensor,
}

/// Classifies documents; keeps its recorded passes, one for each length.
pub(super) struct Scorer {
    options: BucketOptions,
    classes: usize,
    passes: Steps<Unlabelled>,
}

impl Scorer {
    pub fn new(batch: usize, max_len: usize, keep: Keep, classes: usize) -> Scorer {
        let options = BucketOptions {
            batch,
            max_len,
            keep,
            shuffle: false,
            word_dropout: 0.0,
            autoencode: false,
        };
        Scorer {
            options,
            classes,
            passes: Steps::new(),
        }
    }

    /// Probabilities of the classes for each document, in no particular order.
    fn probabilities(
        &mut self,
        gpu: &Gpu,
        model: &LstmClassifier,
        documents: &Arc<Documents>,
        docs: &[u32],
    ) -> Result<Vec<(u32, Vec<f32>)>> {
        let mut batches = BucketBatches::new(documents.clone(), docs, self.options.clone(), 0)?;
        let mut all = Vec::with_capacity(docs.len());
        for _ in 0..batches.batches_per_epoch() {
            let batch = batches.next_batch();
            let pass = self.passes.of(batch.time, || {
                let inputs = Unlabelled {
                    ids: TokenIds::empty(gpu, batch.time, batch.batch)?,
                    lens: Tensor::empty(gpu, [batch.batch], DType::U32)?,
                };
                Step::inference(gpu, inputs, |tape, b| {
                    Ok(vec![model.logits(tape, &b.ids, &b.lens)?])
                })
            })?;
            pass.inputs.ids.write(&batch.ids, &batch.index)?;
            pass.inputs.lens.write(&batch.lens)?;
            let [logits] = pass.run(gpu)? else { continue };
            let logits = logits.to_vec::<f32>()?;
            for (row, &doc) in logits.chunks(self.classes).zip(&batch.docs) {
                if doc != NO_DOC {
                    all.push((doc, softmax(row)));
                }
            }
        }
        Ok(all)
    }

    /// Scores the model on labelled documents; `outputs` are those that their classes are.
    pub fn scores(
        &mut self,
        gpu: &Gpu,
        model: &LstmClassifier,
        documents: &Arc<Documents>,
        docs: &[u32],
        outputs: &[usize],
    ) -> Result<Scores> {
        let mut confusion = vec![vec![0u64; self.classes]; self.classes];
        let mut loss = 0.0;
        for (doc, row) in self.probabilities(gpu, model, documents, docs)? {
            let Some(class) = documents.label(doc) else {
                continue;
            };
            let label = outputs[class as usize];
            confusion[label][argmax(&row)] += 1;
            loss -= f64::from(row[label].max(f32::MIN_POSITIVE)).ln();
        }
        Scores::classifier(loss, confusion)
    }
}

/// Which of a model's outputs, named `labels`, each class of `documents` is.
pub(super) fn outputs_of(documents: &Documents, labels: &[String]) -> Result<Vec<usize>> {
    let classes: Vec<&str> = documents.label_names().iter().map(String::as_str).collect();
    classes::places(labels, &classes).map_err(|class| Error::UnseenLabel {
        label: class.into(),
        place: "the data".into(),
        known: labels.join(", "),
    })
}

/// The names of the outputs of a folder's classifier.
pub(super) fn labels_in(folder: &Path) -> Result<Option<Vec<String>>> {
    Ok(match Description::read(folder)?.architecture {
        Architecture::Classifier { labels, .. } => Some(labels),
        _ => None,
    })
}

/// A model folder, opened.
pub(in crate::train::tasks) struct SavedModel {
    gpu: Gpu,
    folder: PathBuf,
    description: Description,
    tokenizer: Tokenizer,
    network: Saved,
    labels: Vec<String>,
}

/// A saved model on the device.
enum Saved {
    LanguageModel(LstmLanguageModel),
    /// It has no use of its own.
    Autoencoder,
    Classifier(LstmClassifier),
}

/// Texts classified at a time.
const PREDICT_BATCH: usize = 32;

impl SavedModel {
    pub fn open(folder: &Path, gpu: Gpu) -> Result<SavedModel> {
        let description = Description::read(folder)?;
        let tokenizer = Tokenizer::load(folder)?;
        let labels = match &description.architecture {
            Architecture::Classifier { labels, .. } => labels.clone(),
            _ => Vec::new(),
        };
        let (v, sizes) = (Vars::new(), &description.lstm);
        let network = match &description.architecture {
            Architecture::LanguageModel { .. } => {
                Saved::LanguageModel(LstmLanguageModel::new(&v, sizes)?)
            }
            Architecture::Autoencoder { .. } => {
                SequenceAutoencoder::new(&v, sizes)?;
                Saved::Autoencoder
            }
            Architecture::Classifier { labels, .. } => {
                Saved::Classifier(LstmClassifier::new(&v, sizes, labels.len())?)
            }
        };
        // Nothing is trained: no gradients.
        let store = v.store(&gpu, 0, |_| 0.0)?;
        transfer(&store, folder, None, &tokenizer)?;
        Ok(SavedModel {
            gpu,
            folder: folder.to_path_buf(),
            description,
            tokenizer,
            network,
            labels,
        })
    }

    fn classifier(&self) -> Result<(&LstmClassifier, Scorer)> {
        let (
            Architecture::Classifier {
                max_len,
                kept_end: end,
                ..
            },
            Saved::Classifier(model),
        ) = (&self.description.architecture, &self.network)
        else {
            return Err(Error::Folder {
                path: self.folder.clone(),
                problem: "is no classifier; fine-tune it first (`melos train`)".into(),
            });
        };
        let scorer = Scorer::new(PREDICT_BATCH, *max_len, kept_end(*end), self.labels.len());
        Ok((model, scorer))
    }

    fn perplexity(
        &self,
        model: &LstmLanguageModel,
        documents: Documents,
        bptt: usize,
    ) -> Result<Scores> {
        let gpu = &self.gpu;
        let documents = Arc::new(documents);
        let which = documents.filter(|_| true);
        let options = LmOptions {
            batch: 8,
            window: bptt,
            shuffle: false,
            word_dropout: 0.0,
        };
        let mut batches = LmBatches::new(documents, &which, options, 0)?;
        let mut state: Option<Vec<(Tensor, Tensor)>> = None;
        let (mut loss, mut tokens) = (0.0, 0u64);
        for _ in 0..batches.batches_per_epoch() {
            let batch = batches.next_batch();
            let ids = TokenIds::from_host(gpu, batch.time, batch.batch, &batch.ids)?;
            let lens = Tensor::from_slice(gpu, [batch.batch], &batch.lens)?;
            let weights = mean_weights(&batch.targets, [&batch.targets[..]].into_iter());
            let targets = as_targets(&batch.targets);
            let targets = Tensor::from_slice(gpu, [targets.len()], &targets)?;
            let weights = Tensor::from_slice(gpu, [weights.len()], &weights)?;
            let tape = Tape::inference(gpu);
            let (mean, finals) =
                model.loss(&tape, &ids, &lens, state.as_deref(), &targets, &weights)?;
            let count = count(&batch.targets) as u64;
            loss += f64::from(mean.to_vec::<f32>()?[0]) * count as f64;
            tokens += count;
            state = Some(finals);
        }
        Scores::language(loss, tokens)
    }
}

impl Model for SavedModel {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn predict(&mut self, texts: &[Example]) -> Result<Vec<Vec<f32>>> {
        let (model, mut scorer) = self.classifier()?;
        if texts.iter().any(|text| text.pair.is_some()) {
            return Err(Error::Folder {
                path: self.folder.clone(),
                problem: "is an LSTM, which reads one text at a time; give it no pairs".into(),
            });
        }
        let examples = texts.iter().cloned();
        let documents = Arc::new(Documents::from_examples(examples, &self.tokenizer)?);
        let docs = documents.filter(|_| true);
        let mut rows = scorer.probabilities(&self.gpu, model, &documents, &docs)?;
        rows.sort_by_key(|(doc, _)| *doc);
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }

    fn evaluate(&mut self, data: &DataConfig) -> Result<Scores> {
        let classifies = matches!(
            self.description.architecture,
            Architecture::Classifier { .. }
        );
        let documents = tokenise(&sources(data, classifies)?, &self.tokenizer, None)?;
        match (&self.description.architecture, &self.network) {
            (Architecture::LanguageModel { bptt }, Saved::LanguageModel(model)) => {
                return self.perplexity(model, documents, *bptt);
            }
            (_, Saved::Autoencoder) => {
                return Err(Error::Folder {
                    path: self.folder.clone(),
                    problem: "is an autoencoder, which has no score of its own; fine-tune it"
                        .into(),
                });
            }
            _ => {}
        }
        let (model, mut scorer) = self.classifier()?;
        let outputs = outputs_of(&documents, &self.labels)?;
        // Where the data name a test part, that is what a model is judged by.
        let test = documents.labelled_in(Split::Test);
        let docs = if test.is_empty() {
            documents.labelled()
        } else {
            test
        };
        if docs.is_empty() {
            return Err(Error::NoLabels {
                what: "scoring a classifier".into(),
                found: "none".into(),
            });
        }
        let documents = Arc::new(documents);
        scorer.scores(&self.gpu, model, &documents, &docs, &outputs)
    }
}
