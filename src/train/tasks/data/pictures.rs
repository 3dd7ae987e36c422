//! The pictures that a run file names, and what is done to them before a model reads them.

use std::path::{Path, PathBuf};

use super::read;
use crate::error::{Error, Result};
use crate::hub;
use crate::images::{
    self, IMAGENET, ImageSource, Kept, Normalise, Pictures, Preprocessing, Resize, Stated,
};
use crate::models::{Config, ImageSize, PictureShape, Pretrained, Reading};
use crate::objectives::Labelled;
use crate::objectives::criterion::PictureData;
use crate::text::{Documents, Example, Split, Tokenizer};
use crate::train::config::{ModelConfig, RunConfig, Source, StageConfig};
use crate::train::tasks::first_init;

/// The file that says how a model's pictures are preprocessed.
pub(super) const PREPROCESSOR: &str = "preprocessor_config.json";

/// Side of the pictures of a model that reads any, where nothing says otherwise.
const SIDE: usize = 224;

/// Whether a stage reads pictures.
pub(super) fn reads(stage: &StageConfig) -> bool {
    stage.objective.labels() == Labelled::OfPictures
}

/// Refuses pictures for a stage that reads texts, and the other way round.
pub(super) fn check(config: &RunConfig) -> Result<()> {
    let pictures = config.data.source == Source::Images;
    let other = config.stages.iter().find(|stage| reads(stage) != pictures);
    let Some(stage) = other else {
        return Ok(());
    };
    let (name, objective) = (&stage.name, stage.objective.name());
    Err(Error::value(
        "data.source",
        match pictures {
            true => format!(
                "says that the data are pictures, and stage '{name}' learns \"{objective}\", which is of texts; take \
                 --preset mlp or image-transfer"
            ),
            false => format!(
                "says that the data are texts, and stage '{name}' learns \"{objective}\"; set data.source = \"images\""
            ),
        },
    ))
}

/// The pictures of a run's files.
pub(super) fn sources(config: &RunConfig) -> Vec<ImageSource> {
    let data = &config.data;
    let split = data.test.as_ref().map(|_| Split::Train);
    let own = data.path.iter().map(|path| (path, split));
    let test = data.test.iter().map(|path| (path, Some(Split::Test)));
    let source = |(path, split): (&PathBuf, Option<Split>)| ImageSource {
        image: data.image_column.clone(),
        label: data.label_column.clone(),
        split,
        ..ImageSource::new(path)
    };
    own.chain(test).map(source).collect()
}

/// What is done to pictures, as far as it does not follow from them.
pub(crate) struct Plan {
    resize: Resize,
    size: [usize; 2],
    channels: usize,
    /// Means and standard deviations of the channels; `None`: those of the data.
    scale: Option<[Vec<f32>; 2]>,
}

/// What the folder of a model says of its preprocessing.
///
/// # Errors
/// A file that is no JSON.
fn stated(folder: &Path) -> Result<Stated> {
    let folder = match folder.is_dir() {
        true => folder,
        false => folder.parent().unwrap_or(Path::new("")),
    };
    let path = folder.join(PREPROCESSOR);
    match path.exists() {
        true => Ok(Stated::of(&hub::read_json(&path)?)),
        false => Ok(Stated::default()),
    }
}

impl Plan {
    /// That of a run whose model reads pictures of this shape; of one from a folder, as it says.
    ///
    /// # Errors
    /// [`Error::ConfigValue`] for what the model cannot read.
    pub fn new(config: &RunConfig, model: PictureShape, folder: Option<&Path>) -> Result<Plan> {
        let own = &config.images;
        let stated = folder.map(stated).transpose()?.unwrap_or_default();
        let wrong = |key: &str, message: String| Error::value(format!("images.{key}"), message);
        let channels = own.channels.unwrap_or(model.channels);
        if folder.is_some() && channels != model.channels {
            let message = format!(
                "is {channels}, and the model reads pictures of {}; leave it out, or take a model for {channels}",
                model.channels
            );
            return Err(wrong("channels", message));
        }
        if ![1, 3].contains(&channels) {
            let message =
                format!("is {channels}; pictures are read as 1 (grey) or 3 (red, green, blue)");
            return Err(wrong("channels", message));
        }
        let fixed = model
            .size
            .map(|ImageSize { height, width }| [height, width]);
        let asked = own.size.map(|ImageSize { height, width }| [height, width]);
        if let (true, Some(fixed), Some(asked)) = (folder.is_some(), fixed, asked)
            && fixed != asked
        {
            let message = format!(
                "is {} × {}, and the model reads pictures of {} × {}; leave it out",
                asked[0], asked[1], fixed[0], fixed[1]
            );
            return Err(wrong("size", message));
        }
        let size = match folder {
            Some(_) => asked.or(fixed).or(stated.size),
            None => asked.or(fixed),
        };
        let size = size.unwrap_or([SIDE; 2]);
        let stated_resize = stated
            .resize
            .filter(|_| asked.is_none() || asked == stated.size);
        let standard = match size[0] == size[1] {
            true => Resize::Shorter(size[0]),
            false => Resize::Exact(size),
        };
        let resize = own.resize.map(Resize::Shorter).or(stated_resize);
        let resize = resize.unwrap_or(standard);
        let scale = |mean: f32, std: f32| Some([vec![mean; channels], vec![std; channels]]);
        let scale = match own.normalise {
            Normalise::Weights => stated.scale,
            Normalise::Data => None,
            Normalise::Imagenet if channels == 3 => Some(IMAGENET.map(|of| of.to_vec())),
            Normalise::Imagenet => {
                let message =
                    "\"imagenet\" is of 3 channels, and these have 1; take \"data\" or \"half\"";
                return Err(wrong("normalise", message.into()));
            }
            Normalise::Half => scale(0.5, 0.5),
            Normalise::None => scale(0.0, 1.0),
        };
        if let Some([mean, _]) = &scale
            && mean.len() != channels
        {
            let message = format!(
                "is that of the weights, whose {PREPROCESSOR} is for {} channels, and the model reads {channels}; take \
                 \"data\"",
                mean.len()
            );
            return Err(wrong("normalise", message));
        }
        Ok(Plan {
            resize,
            size,
            channels,
            scale,
        })
    }

    /// What pictures a model has to read.
    pub fn shape(&self) -> PictureShape {
        let [height, width] = self.size;
        PictureShape {
            size: Some(ImageSize { height, width }),
            channels: self.channels,
        }
    }

    /// What is done to these pictures.
    fn way(&self, pictures: &Pictures) -> Preprocessing {
        let scale = pictures.scale();
        self.scaled([scale.mean.clone(), scale.std.clone()])
    }

    /// What is done to pictures that a model is asked about; where nothing says how it was trained, as of
    /// ImageNet.
    pub fn way_without_data(&self) -> Preprocessing {
        if self.scale.is_none() {
            log::warn!(
                "the model has no {PREPROCESSOR}; its pictures are normalised as those of ImageNet are, or to -1 to 1 where \
                 they are grey"
            );
        }
        self.scaled(match self.channels {
            3 => IMAGENET.map(|of| of.to_vec()),
            channels => [vec![0.5; channels], vec![0.5; channels]],
        })
    }

    /// With the means and standard deviations that are known, or else these.
    fn scaled(&self, otherwise: [Vec<f32>; 2]) -> Preprocessing {
        let [mean, std] = self.scale.clone().unwrap_or(otherwise);
        Preprocessing {
            resize: self.resize,
            size: self.size,
            mean,
            std,
        }
    }
}

/// The plan of a run, by the model that its first stage starts with.
fn plan(config: &RunConfig) -> Result<Plan> {
    let Some(stage) = config.stages.first() else {
        return Err(Error::value("stage", "there is none"));
    };
    let folder = first_init(config, stage)?;
    let model: Option<Box<dyn Config>> = match (&folder, &config.model) {
        (Some(folder), _) => Some(Pretrained::open(folder, None)?.config),
        (None, ModelConfig::Picture(net)) => net.sized(),
        _ => None,
    };
    match model.map(|model| model.reading()) {
        Some(Reading::Pictures(shape)) => Plan::new(config, shape, folder.as_deref()),
        Some(_) => {
            let message = "is of a model that reads texts, and the data are pictures; take one that reads pictures";
            Err(Error::value(format!("stage.{}.init", stage.name), message))
        }
        None => {
            let message = "is not set; say which model to start from with --init DIR";
            Err(Error::value(format!("stage.{}.init", stage.name), message))
        }
    }
}

/// The pictures of a run, and documents without text that have their labels.
pub(super) fn open(
    config: &RunConfig,
    sources: &[ImageSource],
    folder: &Path,
) -> Result<(PictureData, Documents, Tokenizer)> {
    let plan = plan(config)?;
    let kept = Kept {
        resize: Some(plan.resize),
        channels: plan.channels,
        on_broken: config.images.on_broken,
    };
    let pictures = images::open(sources, kept, Some(&read::cache(folder)))?;
    for broken in pictures.broken() {
        log::warn!("passed over: '{}' {}", broken.name, broken.problem);
    }
    let tokenizer = Tokenizer::of_no_text()?;
    let examples = pictures.labels().map(|(label, split)| Example {
        label: label.map(String::from),
        split,
        ..Example::default()
    });
    let documents = Documents::from_examples(examples, &tokenizer)?;
    let data = PictureData {
        way: plan.way(&pictures),
        pictures: pictures.into(),
    };
    Ok((data, documents, tokenizer))
}
