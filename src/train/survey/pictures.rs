//! What pictures there are, and what is done to them.

use serde::Serialize;

use crate::images::{Broken, Resize};
use crate::objectives::criterion::PictureData;
use crate::train::progress::thousands;

/// Pictures of a run.
#[derive(Debug, Clone, Serialize)]
pub struct PictureSurvey {
    /// How many there are.
    pub pictures: u64,
    /// Least height and width as they lie on disk.
    pub smallest: [usize; 2],
    /// Greatest height and width.
    pub largest: [usize; 2],
    /// What the model is given: height, width, channels.
    pub read: [usize; 3],
    /// The shorter side that they are resized to before, or the height and width.
    pub resize: Resize,
    /// Taken off each channel, of values from 0 to 1.
    pub mean: Vec<f32>,
    /// What each channel is divided by then.
    pub std: Vec<f32>,
    /// Those that cannot be read and are passed over.
    pub broken: Vec<Broken>,
}

/// Broken pictures that are named.
const NAMED: usize = 5;

impl PictureSurvey {
    /// Of a run's pictures.
    pub(super) fn of(data: &PictureData) -> PictureSurvey {
        let (pictures, way) = (&data.pictures, &data.way);
        let [smallest, largest] = pictures.sizes();
        PictureSurvey {
            pictures: pictures.len() as u64,
            smallest,
            largest,
            read: [way.size[0], way.size[1], way.channels()],
            resize: way.resize,
            mean: way.mean.clone(),
            std: way.std.clone(),
            broken: pictures.broken().to_vec(),
        }
    }

    /// All of it as text.
    pub(super) fn text(&self, repeated: u64) -> String {
        let by = |[height, width]: [usize; 2]| format!("{width} × {height}");
        let sizes = match self.smallest == self.largest {
            true => by(self.smallest),
            false => format!("{} to {}", by(self.smallest), by(self.largest)),
        };
        let resize = match self.resize {
            Resize::Shorter(side) => format!("the shorter side to {side}"),
            Resize::Exact(size) => format!("to {}", by(size)),
        };
        let list = |numbers: &[f32]| {
            let each: Vec<String> = numbers.iter().map(|x| format!("{x:.4}")).collect();
            each.join(", ")
        };
        let [height, width, channels] = self.read;
        let mut text = format!(
            "{} pictures of {sizes} pixels, {repeated} repeated, {} broken\n\
             resized ({resize}), read as {} in {channels} channels; mean {}, standard deviation {}\n",
            thousands(self.pictures as f64),
            self.broken.len(),
            by([height, width]),
            list(&self.mean),
            list(&self.std),
        );
        for broken in self.broken.iter().take(NAMED) {
            text += &format!("passed over: '{}' {}\n", broken.name, broken.problem);
        }
        match self.broken.len().saturating_sub(NAMED) {
            0 => text,
            more => text + &format!("and {more} more\n"),
        }
    }
}
