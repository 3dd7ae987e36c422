//! What is done to every picture before a model reads it: its size, its channels, its scale.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::pictures::{Picture, View};
use super::resize::{crop, resize};

/// What pictures are resized to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resize {
    /// The shorter side to so many pixels, the other in proportion.
    Shorter(usize),
    /// To this height and width.
    Exact([usize; 2]),
}

/// By what the channels are normalised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalise {
    /// As the weights' own preprocessor_config.json says; those of the data, where there is none.
    #[default]
    Weights,
    /// Mean and standard deviation of the data.
    Data,
    /// Those of ImageNet.
    Imagenet,
    /// 0.5 and 0.5: -1 to 1.
    Half,
    /// Not at all: 0 to 1.
    None,
}

/// Mean and standard deviation of ImageNet's red, green and blue.
pub const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

/// What is done to every picture: resized, its middle cut out, scaled to 0 to 1, normalised.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocessing {
    /// What pictures are resized to.
    pub resize: Resize,
    /// Height and width of what the model reads.
    pub size: [usize; 2],
    /// Taken off each channel.
    pub mean: Vec<f32>,
    /// What each channel is divided by then.
    pub std: Vec<f32>,
}

impl Preprocessing {
    /// Numbers of a pixel.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// Numbers of a picture that the model reads.
    pub fn numbers(&self) -> usize {
        self.size[0] * self.size[1] * self.channels()
    }

    /// The height and width that a picture of these is resized to.
    pub fn resized(resize: Resize, height: usize, width: usize) -> [usize; 2] {
        match resize {
            Resize::Exact(size) => size,
            // As torchvision has it: the longer side is cut off to whole pixels.
            Resize::Shorter(side) if height <= width => {
                [side, (side * width / height.max(1)).max(1)]
            }
            Resize::Shorter(side) => [(side * height / width.max(1)).max(1), side],
        }
    }

    /// A picture that has been resized, as it is asked about: its middle.
    pub fn middle(&self, picture: View<'_>) -> Picture {
        let corner = |whole: usize, part: usize| -> isize {
            match whole >= part {
                // As Python rounds: a half to the even number.
                true => ((whole - part) as f64 / 2.0).round_ties_even() as isize,
                false => -(((part - whole) / 2) as isize),
            }
        };
        let [height, width] = self.size;
        if [picture.height, picture.width] == self.size {
            return picture.to_picture();
        }
        let at = [corner(picture.height, height), corner(picture.width, width)];
        crop(picture, at, self.size)
    }

    /// A picture as it is given to the model: all of it resized, its middle cut out.
    pub fn whole(&self, picture: View<'_>) -> Picture {
        let [height, width] = Self::resized(self.resize, picture.height, picture.width);
        self.middle(resize(picture, height, width).view())
    }

    /// Writes a picture's numbers, normalised.
    pub fn normalise(&self, picture: View<'_>, into: &mut [f32]) {
        let channels = self.channels().max(1);
        let table = |c: usize| -> [f32; 256] {
            let (mean, std) = (self.mean[c], self.std[c]);
            std::array::from_fn(|n| (n as f32 / 255.0 - mean) / std)
        };
        let tables: Vec<[f32; 256]> = (0..self.channels()).map(table).collect();
        let pixels = picture.pixels.chunks_exact(channels);
        for (into, pixel) in into.chunks_exact_mut(channels).zip(pixels) {
            for ((into, &value), table) in into.iter_mut().zip(pixel).zip(&tables) {
                *into = table[usize::from(value)];
            }
        }
    }

    /// As `preprocessor_config.json`, which transformers reads.
    pub fn to_json(&self) -> Value {
        let [height, width] = self.size;
        let resize = match self.resize {
            Resize::Shorter(side) => json!({ "shortest_edge": side }),
            Resize::Exact([height, width]) => json!({ "height": height, "width": width }),
        };
        json!({
            "image_processor_type": "BitImageProcessor",
            "do_convert_rgb": self.channels() == 3,
            "do_resize": true,
            "size": resize,
            "resample": 2,
            "do_center_crop": true,
            "crop_size": { "height": height, "width": width },
            "do_rescale": true,
            "rescale_factor": 1.0 / 255.0,
            "do_normalize": true,
            "image_mean": numbers(&self.mean),
            "image_std": numbers(&self.std),
        })
    }
}

/// Writes 0.1, not 0.10000000149011612.
fn numbers(values: &[f32]) -> Value {
    let shortest = |value: &f32| value.to_string().parse().unwrap_or(f64::from(*value));
    values.iter().map(shortest).collect()
}

/// What a `preprocessor_config.json` says; `None` for what it leaves open.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stated {
    /// What pictures are resized to.
    pub resize: Option<Resize>,
    /// Height and width of the middle that is cut out.
    pub size: Option<[usize; 2]>,
    /// Means and standard deviations of the channels.
    pub scale: Option<[Vec<f32>; 2]>,
}

impl Stated {
    /// Reads a `preprocessor_config.json`, in the forms that transformers has written.
    pub fn of(json: &Value) -> Stated {
        let off = |key: &str| json[key] == Value::Bool(false);
        let number = |value: &Value| value.as_u64().map(|n| n as usize);
        let both = |value: &Value| match value {
            Value::Object(_) => Some([number(&value["height"])?, number(&value["width"])?]),
            value => number(value).map(|side| [side; 2]),
        };
        let size = &json["size"];
        let resize = match number(&size["shortest_edge"]) {
            Some(side) => Some(Resize::Shorter(side)),
            // Those of before: the shorter side, where a middle is cut out of it.
            None if size.is_number() && json["do_center_crop"] == Value::Bool(true) => {
                number(size).map(Resize::Shorter)
            }
            None => both(size).map(Resize::Exact),
        };
        let resize = resize.filter(|_| !off("do_resize"));
        let cut = both(&json["crop_size"]).filter(|_| !off("do_center_crop"));
        let exact = match resize {
            Some(Resize::Exact(size)) => Some(size),
            Some(Resize::Shorter(side)) => Some([side; 2]),
            None => None,
        };
        let list = |key: &str| -> Option<Vec<f32>> {
            let list = json[key].as_array()?.iter();
            list.map(|x| x.as_f64().map(|x| x as f32)).collect()
        };
        let scale = match (off("do_normalize"), list("image_mean"), list("image_std")) {
            (false, Some(mean), Some(std))
                if mean.len() == std.len()
                    && !mean.is_empty()
                    && std.iter().all(|s| *s > 0.0 && s.is_finite()) =>
            {
                Some([mean, std])
            }
            _ => None,
        };
        Stated {
            resize,
            size: cut.or(exact),
            scale,
        }
    }
}
