//! What families of networks that classify pictures have in common: all but the network.

use std::fmt::Debug;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::config::{declared, no_head, written};
use super::family::{Config, Dropouts, Extent, Family, PictureModel, PictureShape, Reading};
use super::{Labels, Network};
use crate::error::Result;
use crate::hub::{Format, Head};
use crate::nn::Vars;

/// The configuration of a network that classifies pictures.
pub(super) trait PictureConfig: Clone + Debug + Send + Sync + Serialize + 'static {
    /// `[model]` of a run file.
    type Model: DeserializeOwned + Default + Into<Self>;
    /// Its family.
    const FAMILY: &'static PictureFamily<Self>;

    /// The configuration in a `config.json`.
    fn read(json: &Value) -> Result<Self>;

    /// Its sizes.
    fn extent(&self) -> Extent;

    /// The pictures that it reads.
    fn shape(&self) -> PictureShape;

    /// Makes it read these.
    fn reshape(&mut self, shape: PictureShape) -> Result<()>;

    /// What its outputs are called.
    fn outputs(&self) -> &Labels;

    /// The same, to be changed.
    fn outputs_mut(&mut self) -> &mut Labels;

    /// The probability of dropping hidden units, where it drops any.
    fn dropout(&mut self) -> Option<&mut f32>;

    /// Declares the network.
    fn declare(&self, v: &Vars) -> Result<Box<dyn Network>>;
}

/// A family of them.
pub struct PictureFamily<C> {
    /// `kind` of `[model]` in a run file.
    kind: &'static str,
    title: &'static str,
    format: Format,
    config: PhantomData<fn() -> C>,
}

/// How they lie in files, beside what each family says itself.
pub(super) const FORMAT: Format = Format {
    model_type: "",
    module: "",
    classes: &[],
    prefix: "",
    roots: &[],
    legacy: &[],
    buffers: &[],
    tied: &[],
    vocabulary: &[],
    positions: &[],
    label_layers: &[],
    optional: &[],
    targets: &[],
    gguf: None,
    told: |_| Some(Head::Picture),
    shaped: None,
    defaults: || json!({}),
    declare: |_, _| Ok(Vars::new()),
};

#[expect(
    private_bounds,
    reason = "families are made in their own folders alone"
)]
impl<C: PictureConfig> PictureFamily<C> {
    pub(super) const fn new(
        kind: &'static str,
        title: &'static str,
        format: Format,
    ) -> PictureFamily<C> {
        PictureFamily {
            kind,
            title,
            format: Format {
                declare: |json, head| declared(&C::read(json)?, head),
                ..format
            },
            config: PhantomData,
        }
    }
}

impl<C: PictureConfig> Family for PictureFamily<C> {
    fn title(&self) -> &'static str {
        self.title
    }

    fn format(&self) -> &'static Format {
        &C::FAMILY.format
    }

    fn read(&self, json: &Value) -> Result<Box<dyn Config>> {
        Ok(Box::new(C::read(json)?))
    }

    fn pictures(&self) -> Option<PictureModel> {
        Some(PictureModel::of::<C::Model, C>(self.kind))
    }
}

impl<C: PictureConfig> Config for C {
    fn family(&self) -> &'static dyn Family {
        C::FAMILY
    }

    fn to_json(&self) -> Value {
        written(C::FAMILY.format.model_type, self)
    }

    fn extent(&self) -> Extent {
        PictureConfig::extent(self)
    }

    fn reading(&self) -> Reading {
        Reading::Pictures(self.shape())
    }

    fn labels(&self) -> &Labels {
        self.outputs()
    }

    fn set_labels(&mut self, labels: Labels) {
        *self.outputs_mut() = labels;
    }

    fn set_pictures(&mut self, shape: PictureShape) -> Result<()> {
        self.reshape(shape)
    }

    fn set_dropouts(&mut self, dropouts: &Dropouts) {
        if let (Some(own), Some(p)) = (self.dropout(), dropouts.hidden) {
            *own = p;
        }
    }

    fn build(&self, v: &Vars, head: Head) -> Result<Box<dyn Network>> {
        match head {
            Head::Picture => self.declare(v),
            _ => Err(no_head(C::FAMILY)),
        }
    }
}
