//! Classes of pictures.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::Loaded;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::Head;
use crate::images::{self, Broken, ImageSource, Kept, OnBroken, Picture, Pictures, Preprocessing};
use crate::models::{Beside, Pretrained, Reading};
use crate::objectives::classify::rows;
use crate::objectives::criterion::{PictureData, Scorer, Setup};
use crate::objectives::labels::shown;
use crate::objectives::scores::argmax;
use crate::objectives::{ImageClassification, Objective, Problem};
use crate::text::{Documents, Example};
use crate::train::config::{DataConfig, RunConfig, Source};
use crate::train::tasks::PicturePlan;

/// Pictures classified at a time.
const BATCH: usize = 32;

/// A picture with its class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PicturePrediction {
    /// Its path, or its place in its file.
    pub picture: String,
    /// The most probable class.
    pub label: String,
    /// All classes with their probabilities, in the model's order.
    pub probabilities: Vec<(String, f32)>,
}

/// A model that classifies pictures.
pub struct ImageClassifier {
    loaded: Loaded,
    labels: Vec<String>,
    way: Preprocessing,
    scorer: Scorer,
}

/// Whether a folder's model classifies pictures.
///
/// # Errors
/// Those of reading.
pub fn is_image_classifier(folder: &Path, beside: Beside<'_>) -> Result<bool> {
    let reading = Pretrained::open_beside(folder, beside)?.config.reading();
    Ok(matches!(reading, Reading::Pictures(_)))
}

impl ImageClassifier {
    /// Opens the folder of a picture classifier, or an adapter's.
    ///
    /// # Errors
    /// [`Error::Folder`] for another model; those of reading.
    pub fn open(gpu: Gpu, folder: &Path, beside: Beside<'_>) -> Result<ImageClassifier> {
        let loaded = Loaded::open(gpu, folder, beside, |_| Ok(Head::Picture))?;
        let Reading::Pictures(shape) = loaded.config.reading() else {
            let problem = "reads texts; take a model that classifies pictures";
            return Err(Error::folder(folder, problem));
        };
        let run = RunConfig::pretrained("predict", DataConfig::new(Source::Images));
        let plan = PicturePlan::new(&run, shape, Some(folder))?;
        Ok(ImageClassifier {
            labels: loaded.config.labels().names(),
            way: plan.way_without_data(),
            loaded,
            scorer: Scorer::default(),
        })
    }

    /// Names of the classes.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The classes of the pictures of files, folders and archives, in portions handed to `each`; those that
    /// cannot be read come back.
    ///
    /// # Errors
    /// Those of reading, of the device and of `each`.
    pub fn predict(
        &mut self,
        paths: &[impl AsRef<Path>],
        each: &mut dyn FnMut(Vec<PicturePrediction>) -> Result<()>,
    ) -> Result<Vec<Broken>> {
        let sources: Vec<ImageSource> = paths
            .iter()
            .map(|p| ImageSource::asked(p.as_ref()))
            .collect();
        let kept = Kept {
            resize: Some(self.way.resize),
            channels: self.way.channels(),
            on_broken: OnBroken::Skip,
        };
        let mut waiting = Vec::new();
        let broken = images::read(&sources, kept, &mut |read| {
            let middle = self.way.middle(read.picture.view());
            waiting.push((read.name, middle));
            match waiting.len() {
                BATCH => each(self.ask(std::mem::take(&mut waiting))?),
                _ => Ok(()),
            }
        })?;
        if !waiting.is_empty() {
            each(self.ask(waiting)?)?;
        }
        Ok(broken)
    }

    fn ask(&mut self, named: Vec<(String, Picture)>) -> Result<Vec<PicturePrediction>> {
        let names: Vec<String> = named.iter().map(|(name, _)| name.clone()).collect();
        let loaded = &self.loaded;
        let empty = named.iter().map(|_| Example::default());
        let documents = Arc::new(Documents::from_examples(empty, &loaded.tokenizer)?);
        let docs = documents.filter(|_| true);
        let criterion = ImageClassification::default().criterion(Setup {
            documents,
            tagged: None,
            chats: None,
            pictures: Some(PictureData {
                pictures: Pictures::of(named, self.way.channels()).into(),
                way: self.way.clone(),
            }),
            tokenizer: loaded.tokenizer.clone(),
            config: loaded.config.clone(),
            labels: None,
            batch: BATCH,
            seed: 0,
        })?;
        let mut all = Vec::with_capacity(docs.len());
        let mut add = |batch: &_, outputs: &[_]| {
            all.extend(rows(batch, outputs)?);
            Ok(())
        };
        (self.scorer).run(&loaded.gpu, &*loaded.network, &*criterion, &docs, &mut add)?;
        all.sort_by_key(|(doc, _)| *doc);
        let answer = |(doc, row): &(u32, Vec<f32>)| {
            let row = shown(Problem::SingleLabel, row);
            let best = self.labels.get(argmax(&row));
            PicturePrediction {
                picture: names.get(*doc as usize).cloned().unwrap_or_default(),
                label: best.cloned().unwrap_or_default(),
                probabilities: self.labels.iter().cloned().zip(row).collect(),
            }
        };
        Ok(all.iter().map(answer).collect())
    }
}
