//! One [`Task`] for all objectives: an objective says what a batch is, what its loss and its scores, the
//! task does the rest.

use std::path::PathBuf;

use serde_json::Value;

use super::adapter::Adapter;
use super::ahead::Ahead;
use super::data::Parts;
use super::engine::Engine;
use super::lesson::Lesson;
use super::said::Said;
use super::start::Started;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::adapter::{AdapterLabels, LABELS};
use crate::hub::{self, Array, Layout};
use crate::models::{Config, Cut, Network};
use crate::objectives::Labelled;
use crate::objectives::criterion::{Criterion, Scorer};
use crate::objectives::feed::{Carried, Feed, Passes};
use crate::objectives::metrics::Metric;
use crate::objectives::scores::Scores;
use crate::train::estimate::Estimate;
use crate::train::state::TensorMap;
use crate::train::task::total_steps;
use crate::train::task::{ModelFiles, Split, StepContext, StepInfo, Task, TaskInfo, TaskRequest};

/// An objective in training.
pub(super) struct ObjectiveTask {
    engine: Engine,
    config: Box<dyn Config>,
    network: Box<dyn Network>,
    criterion: Box<dyn Criterion>,
    stream: Ahead,
    /// What lives from batch to batch.
    carried: Carried,
    parts: Parts,
    /// What was known of it at the start.
    info: TaskInfo,
    passes: Passes,
    said: Said,
    scorer: Scorer,
    /// By what scores are judged, where the stage says.
    metric: Option<&'static Metric>,
    files: Files,
}

/// What becomes of the model besides its parameters.
struct Files {
    /// Its tensors as files have them, an adapter's left out.
    layout: Layout,
    adapter: Option<Adapter>,
    /// Where the base of an adapter stands.
    base: Option<PathBuf>,
    /// What goes into the model's folder beside its tensors.
    companions: Vec<(String, Vec<u8>)>,
}

impl ObjectiveTask {
    /// The same, for which text was read in so many seconds.
    pub fn read_in(mut self, seconds: f64) -> ObjectiveTask {
        self.info.reading = seconds;
        self
    }

    /// The task of a model that has been started; `companions` are the tokeniser's files.
    pub fn new(
        started: Started,
        lesson: Lesson,
        companions: Vec<(String, Vec<u8>)>,
        request: &TaskRequest<'_>,
        size: Estimate,
    ) -> Result<ObjectiveTask> {
        let (stage, unit) = (request.stage, request.unit);
        let Lesson {
            criterion,
            stream,
            parts,
        } = lesson;
        let Started {
            engine,
            mut config,
            network,
            ..
        } = started;
        let (all, trained) = engine.store.counts();
        let (objective, accumulate) = (&stage.objective, stage.accumulate);
        let (train, test) = (parts.train.len(), parts.test.len());
        let texts = if objective.is_supervised() {
            let what = match objective.labels() {
                Labelled::OfPictures => "pictures",
                _ => "texts",
            };
            format!("{train} {what} to learn from, {test} to test on")
        } else {
            format!("{train} texts, vocabulary {}", config.vocab_size())
        };
        let mut notes = started.notes;
        notes.push(size.sentence());
        let info = TaskInfo {
            summary: format!("{}, {texts}, on {}", criterion.title(), engine.gpu.caps()),
            unit: objective.unit(),
            parameters: all as u64,
            trainable: trained as u64,
            // An epoch is made of whole steps; what is left begins the next one.
            steps_per_epoch: stream.per_epoch().div_ceil(accumulate as u64),
            work_per_epoch: stream.work_per_epoch(),
            notes,
            coverage: criterion.coverage(&parts.train)?,
            size: Some(size),
            reading: 0.0,
        };
        let steps = total_steps(stage.budget, &info, &unit.name);
        let batches = steps.map_or(u64::MAX, |steps| steps.saturating_mul(accumulate as u64));
        let to_come = parts.to_come(unit.seed, batches);
        let folder = request.folder.join(&unit.name);
        criterion.begin(&engine.gpu, &*network, &to_come, &folder)?;
        let cut = Cut {
            length: objective.length(),
            kept_end: objective.kept_end(),
        };
        config.set_trained(started.layout.architecture.head(), cut);
        Ok(ObjectiveTask {
            carried: criterion.carried(&engine.gpu, &*network)?,
            engine,
            config,
            network,
            criterion,
            stream: Ahead::new(stream, accumulate)?,
            parts,
            info,
            passes: Passes::default(),
            said: Said::default(),
            scorer: Scorer::default(),
            metric: stage.metric,
            files: Files {
                layout: started.layout,
                adapter: started.adapter,
                base: started.base,
                companions,
            },
        })
    }
}

impl Task for ObjectiveTask {
    fn describe(&self) -> TaskInfo {
        self.info.clone()
    }

    fn train_step(&mut self, cx: &StepContext) -> Result<StepInfo> {
        if self.engine.reach(cx.step)? {
            self.passes.clear();
        }
        let batches = self.stream.step(cx.step, cx.total);
        let (criterion, network) = (&self.criterion, &*self.network);
        let mut recorded = false;
        for (micro, batch) in batches.iter().enumerate() {
            let pass = self.passes.of(batch.length, || {
                recorded = true;
                let feed = Feed::new(&self.engine.gpu, batch, self.carried.clone())?;
                self.engine
                    .record(feed, |tape, feed| criterion.learn(tape, network, feed))
            })?;
            pass.feed.write(batch, &batches)?;
            self.engine.train(cx, micro, &pass.recording)?;
            self.said.ask(cx.step, &batch.docs, &pass.results)?;
        }
        self.engine.update(cx)?;
        Ok(StepInfo {
            work: batches.iter().map(|batch| batch.work).sum(),
            recorded,
        })
    }

    fn poll_losses(&mut self) -> Result<Vec<(u64, f32)>> {
        let losses = self.engine.poll()?;
        self.said.take_in(&losses, &*self.criterion)?;
        Ok(losses)
    }

    fn drain(&mut self) -> Result<Vec<(u64, f32)>> {
        let losses = self.engine.drain()?;
        self.said.take_in(&losses, &*self.criterion)?;
        Ok(losses)
    }

    fn told(&mut self) -> Vec<(u64, Scores)> {
        self.said.arrived()
    }

    fn loss_scales(&mut self) -> Vec<(u64, f32)> {
        self.engine.loss_scales()
    }

    fn evaluate(&mut self, split: Split) -> Result<Option<Scores>> {
        let Some(docs) = self.parts.held_out(split) else {
            return Ok(None);
        };
        let (network, criterion, scorer) = (&*self.network, &*self.criterion, &mut self.scorer);
        let scores =
            (self.engine).judged(|engine| scorer.scores(&engine.gpu, network, criterion, docs))?;
        Ok(Some(scores.by(self.metric)))
    }

    fn save(&mut self) -> Result<TensorMap> {
        let mut tensors = self.engine.save()?;
        for (name, tensor) in &self.carried {
            let array = Array::whole(tensor.dims(), tensor.to_vec()?);
            tensors.insert(name.clone(), array);
        }
        Ok(tensors)
    }

    fn load(&mut self, tensors: &TensorMap) -> Result<()> {
        self.engine.load(tensors, &self.carried)
    }

    fn position(&self) -> Value {
        // Three whole numbers: this cannot fail.
        serde_json::to_value(self.stream.position()).unwrap_or_default()
    }

    fn seek(&mut self, position: &Value) -> Result<()> {
        let position = serde_json::from_value(position.clone()).map_err(|e| Error::Folder {
            path: "trainer.json".into(),
            problem: format!("its data position is damaged ({e}); resume from an older checkpoint"),
        })?;
        self.stream.seek(position);
        Ok(())
    }

    fn export(&mut self) -> Result<ModelFiles> {
        let files = &self.files;
        let mut companions = files.companions.clone();
        let mut tensors = self.engine.parameters()?;
        let mut architecture = files.layout.architecture;
        let Some(adapter) = &files.adapter else {
            let config = self.config.to_json();
            let saved = architecture.head().saved();
            if saved != architecture.head() {
                architecture = architecture.format.class(saved).unwrap_or(architecture);
                let layout = architecture.layout(&config, "config.json".as_ref())?;
                tensors.retain(|name, _| layout.shape(name).is_some());
            }
            return Ok(ModelFiles::Model(hub::Model {
                architecture,
                config,
                tensors,
                companions,
            }));
        };
        if architecture.head().has_labels() {
            let labels = AdapterLabels {
                labels: self.config.labels().names(),
                text_pairs: self.config.labels().text_pairs,
            };
            companions.push((LABELS.into(), labels.to_json()));
        }
        Ok(ModelFiles::Adapter {
            config: Box::new(adapter.config(files.base.as_deref())),
            weights: adapter.weights(&files.layout, &tensors)?,
            layout: files.layout.clone(),
            companions,
        })
    }

    fn gpu(&self) -> Option<&Gpu> {
        Some(&self.engine.gpu)
    }

    fn peak_memory(&self) -> Option<u64> {
        Some(self.engine.gpu.memory().peak)
    }
}
