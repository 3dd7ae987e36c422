//! "image_classification": the class of a picture.

use serde::{Deserialize, Serialize};

use super::batch::{Batch, Batches, Named, Targets};
use super::classify::{Said, Sampling, check_smoothing};
use super::criterion::{Criterion, PictureData, Purpose, Setup, Tally, able};
use super::evidence::Asked;
use super::feed::Feed;
use super::labels;
use super::{AnyObjective, ClassWeights, Labelled, Objective, Problem, WrongOption, require};
use crate::error::{Error, Result};
use crate::hub::Head;
use crate::images::{Augment, Mix, PictureBatch, PictureBatches, PictureOptions};
use crate::models::{Answers, Cut, Network, classification_loss};
use crate::ops;
use crate::tensor::{Tape, Tensor};

/// Predicts the class of a picture.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageClassification {
    /// What is changed of pictures in training, otherwise each time.
    pub augment: Augment,
    /// α of the shares in which two pictures are laid over each other; 0: they are not.
    pub mixup: f64,
    /// α of the shares in which a part of one picture stands in another; 0: none does.
    pub cutmix: f64,
    /// Which pictures an epoch of training has.
    pub sampling: Sampling,
    /// Share of a target's probability that is spread evenly over all classes in training.
    pub label_smoothing: f32,
    /// How much the answers of each class count in training; absent: all the same.
    pub class_weights: Option<ClassWeights>,
    /// Whether batch norms stay as they are while the rest is trained.
    pub frozen_norms: bool,
}

impl ImageClassification {
    /// Its name in the run file.
    pub const NAME: &'static str = "image_classification";

    fn mix(&self) -> Mix {
        Mix {
            mixup: self.mixup,
            cutmix: self.cutmix,
        }
    }
}

impl Objective for ImageClassification {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "the class of a picture"
    }

    fn labels(&self) -> Labelled {
        Labelled::OfPictures
    }

    fn asked(&self) -> Asked {
        Asked::Label
    }

    fn unit(&self) -> &'static str {
        "pictures"
    }

    fn head(&self) -> Option<Head> {
        Some(Head::Picture)
    }

    /// A picture counts as one.
    fn length(&self) -> usize {
        1
    }

    fn class_weights(&self) -> Option<&ClassWeights> {
        self.class_weights.as_ref()
    }

    fn frozen_norms(&self) -> bool {
        self.frozen_norms
    }

    fn scoring(&self, _: Cut, _: Problem) -> Option<AnyObjective> {
        Some(ImageClassification::default().into())
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_smoothing(self.label_smoothing)?;
        (self.augment.check()).map_err(|(key, message)| WrongOption {
            key: format!("augment.{key}"),
            message: message.into(),
        })?;
        for (key, alpha) in [("mixup", self.mixup), ("cutmix", self.cutmix)] {
            require(
                (0.0..=100.0).contains(&alpha),
                key,
                "is the α of a Beta distribution: expected 0 to 100",
            )?;
            require(
                alpha == 0.0 || self.class_weights.is_none(),
                key,
                "is for pictures that all count the same; leave class_weights out",
            )?;
        }
        require(
            self.sampling != Sampling::Balanced
                || self.class_weights != Some(ClassWeights::Balanced),
            "sampling",
            "\"balanced\" and class_weights = \"balanced\" do the same; set one of them",
        )?;
        let weights = self.class_weights.as_ref();
        weights.map_or(Ok(()), ClassWeights::check)
    }

    fn criterion(&self, setup: Setup) -> Result<Box<dyn Criterion>> {
        let data = setup.pictures.clone().ok_or_else(|| {
            let message = "says that these are texts; set data.source = \"images\"";
            Error::value("data.source", message)
        })?;
        Ok(Box::new(PictureClassification {
            options: self.clone(),
            data,
            setup,
        }))
    }
}

/// Labelled pictures.
struct PictureClassification {
    options: ImageClassification,
    data: PictureData,
    setup: Setup,
}

impl PictureClassification {
    /// The loss of what a model says of a batch's pictures, beside the classes of that name.
    fn loss_of(
        &self,
        tape: &Tape,
        logits: &Tensor,
        feed: &Feed,
        name: &'static str,
    ) -> Result<Tensor> {
        let (targets, weights) = feed.targets(name)?;
        let answers = Answers {
            smoothing: self.options.label_smoothing,
            ..Answers::classes(targets, weights)
        };
        classification_loss(tape, logits, &answers)
    }
}

/// What a model says of a batch's pictures, (N, K).
fn logits(tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Tensor> {
    let model = able(network.as_picture_classifier(), ImageClassification::NAME)?;
    model.logits(tape, feed.pixels("pixels")?)
}

impl Criterion for PictureClassification {
    fn title(&self) -> String {
        let classes = self.setup.config.labels().count();
        format!("picture classifier of {classes} classes")
    }

    fn batches(&self, docs: &[u32], purpose: Purpose) -> Result<Box<dyn Batches>> {
        let (options, Setup { documents, .. }) = (&self.options, &self.setup);
        let trains = purpose != Purpose::Scoring;
        let picture = PictureOptions {
            batch: self.setup.batch,
            shuffle: purpose.shuffles(),
            augment: trains.then(|| options.augment.clone()),
            mix: if trains {
                options.mix()
            } else {
                Mix::default()
            },
        };
        let (pictures, way) = (self.data.pictures.clone(), self.data.way.clone());
        let stream = PictureBatches::pictures(pictures, docs, way, picture, purpose.seed())?;
        let labels = self.setup.labels.clone();
        let (stream, weights) = match &labels {
            Some(labels) if trains => {
                let class = |doc| labels.target(documents, doc).map(labels::class);
                let weights = options.class_weights.as_ref();
                let known = docs.iter().filter_map(|&doc| class(doc));
                let weights = weights.map(|weights| weights.of(&labels.names, known));
                let stream = match options.sampling {
                    Sampling::Balanced => stream.balanced(labels.names.len(), class),
                    Sampling::All => stream,
                };
                (stream, weights)
            }
            _ => (stream, None),
        };
        let documents = documents.clone();
        let labels = labels.filter(|_| trains);
        let targets = move |docs: &[u32]| {
            let labels = labels.as_ref()?;
            let target = |&doc: &u32| labels.target(&documents, doc);
            Some(labels.targets(&docs.iter().map(target).collect::<Vec<_>>()))
        };
        let named = move |b: PictureBatch| {
            let count = b.docs.len();
            let batch = Batch::new(count, count as u64).pixels("pixels", b.pixels, b.size);
            let share = |targets: Targets, share: f32| targets.shared(vec![share; count], count);
            let (own, others) = (targets(&b.docs), b.mixed);
            let batch = match (own, others, &weights) {
                (Some(own), Some(mixed), _) => match targets(&mixed.docs) {
                    Some(others) => batch
                        .targets(TARGETS, share(own, 1.0 - mixed.share))
                        .targets(OTHERS, share(others, mixed.share)),
                    None => batch.targets(TARGETS, own),
                },
                (Some(own), None, Some(weights)) => batch.targets(TARGETS, own.weighted(weights)),
                (Some(own), None, None) => batch.targets(TARGETS, own),
                (None, ..) => batch,
            };
            batch.of(b.docs)
        };
        Ok(Box::new(Named::new(stream, docs.len() as u64, named)))
    }

    fn loss(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Tensor> {
        let logits = logits(tape, network, feed)?;
        let own = self.loss_of(tape, &logits, feed, TARGETS)?;
        match feed.targets(OTHERS) {
            Ok(_) => ops::add(tape, &own, &self.loss_of(tape, &logits, feed, OTHERS)?),
            Err(_) => Ok(own),
        }
    }

    fn outputs(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Vec<Tensor>> {
        Ok(vec![logits(tape, network, feed)?])
    }

    fn tally(&self) -> Box<dyn Tally + '_> {
        Said::of(&self.setup)
    }
}

/// The classes of a batch's pictures, and of those that are mixed into them.
const TARGETS: &str = "targets";
const OTHERS: &str = "others";
