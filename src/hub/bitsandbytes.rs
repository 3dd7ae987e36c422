//! Weights that bitsandbytes has quantised, as transformers saves them beside plain ones: NF4 and FP4, each
//! with or without double quantisation, and LLM.int8.
//!
//! Of a matrix in four bits, NAME holds its steps, two a byte; NAME.absmax the scales of so many numbers each,
//! or bytes that say them by NAME.nested_quant_map and NAME.nested_absmax; NAME.quant_map the sixteen values;
//! NAME.quant_state.bitsandbytes__KIND its shape and sizes, as JSON. Of one in eight, LAYER.SCB holds the
//! largest number of each row. The parts may stand in different shards.
//!
//! NF4 stays in its blocks. The others become plain numbers, and so does what `dtype` says: numbers that
//! bitsandbytes would round to bf16 once they are made plain keep their digits.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use safetensors::Dtype;
use serde::Deserialize;

use super::array::Array;
use super::file::TensorFile;
use super::weights::ElementType;
use crate::blocks::{self, BlockType, DYNAMIC};
use crate::bounded;
use crate::error::{Error, Result};

/// What stands behind the name of a matrix in four bits, before its kind.
const STATE: &str = ".quant_state.bitsandbytes__";
/// The scales of a layer whose matrix is in eight bits, and how that lies: in rows, as all newer files have it.
const ROWS: &str = "SCB";
const ROWS_FORMAT: &str = "weight_format";
/// Numbers of a block of NF4, and scales that share one themselves, of which blocks are made as they are.
const SHARE: usize = 64;
const GROUP: usize = 256;

/// Files of a model of which some weights are quantised.
#[derive(Debug)]
pub(super) struct Quantised {
    files: Vec<TensorFile>,
    /// Where each tensor of a file stands.
    places: BTreeMap<String, usize>,
    tensors: BTreeMap<String, Held>,
}

#[derive(Debug)]
enum Held {
    Plain(Dtype, Vec<usize>),
    Four(Four),
    /// (O, I)
    Eight(Vec<usize>),
}

#[derive(Debug)]
struct Four {
    shape: Vec<usize>,
    /// Numbers that share a scale.
    share: usize,
    /// The values of the sixteen steps.
    values: Vec<f32>,
    scales: Scales,
    /// The blocks that it is held in on a device.
    kind: Option<BlockType>,
}

#[derive(Debug)]
enum Scales {
    Plain,
    Bytes {
        values: Vec<f32>,
        largest: Vec<f32>,
        /// Scales of each of these.
        group: usize,
        mean: f32,
    },
}

#[derive(Deserialize)]
struct State {
    quant_type: String,
    blocksize: usize,
    shape: Vec<usize>,
    #[serde(default)]
    nested_blocksize: Option<usize>,
    #[serde(default)]
    nested_offset: Option<f32>,
}

/// Whether bitsandbytes has quantised something in these files.
pub(super) fn is_quantised(files: &[TensorFile]) -> bool {
    let names = files.iter().flat_map(TensorFile::names);
    let rows = format!(".{ROWS}");
    names
        .into_iter()
        .any(|name| name.contains(STATE) || name.ends_with(&rows))
}

impl Quantised {
    /// # Errors
    /// [`Error::TensorFile`] for parts that are missing or do not fit each other.
    pub(super) fn new(files: Vec<TensorFile>) -> Result<Quantised> {
        let mut places = BTreeMap::new();
        for (at, file) in files.iter().enumerate() {
            places.extend(file.names().into_iter().map(|name| (name, at)));
        }
        let mut all = Quantised {
            files,
            places,
            tensors: BTreeMap::new(),
        };
        let mut parts: Vec<&str> = Vec::new();
        let mut tensors = BTreeMap::new();
        for name in all.places.keys() {
            if let Some((weight, _)) = name.split_once(STATE) {
                parts.push(name);
                tensors.insert(weight.to_string(), Held::Four(all.four(weight, name)?));
            } else if let Some(layer) = name.strip_suffix(ROWS).filter(|l| l.ends_with('.')) {
                parts.push(name);
                let weight = format!("{layer}weight");
                tensors.insert(weight.clone(), all.eight(&weight, name)?);
            }
        }
        let is_part = |name: &str| {
            let of_four = name.rsplit_once('.').is_some_and(|(weight, part)| {
                let part = part.trim_start_matches("nested_");
                matches!(part, "absmax" | "quant_map") && tensors.contains_key(weight)
            });
            of_four || parts.contains(&name) || name.ends_with(&format!(".{ROWS_FORMAT}"))
        };
        let plain = all.places.iter().filter(|(name, _)| !is_part(name));
        let plain: Vec<(String, Held)> = plain
            .filter(|(name, _)| !tensors.contains_key(*name))
            .filter_map(|(name, at)| {
                let (dtype, shape) = all.files[*at].info(name)?;
                Some((name.clone(), Held::Plain(dtype, shape.to_vec())))
            })
            .collect();
        tensors.extend(plain);
        all.tensors = tensors;
        Ok(all)
    }

    pub(super) fn path(&self) -> &Path {
        self.files.first().map_or(Path::new(""), TensorFile::path)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    pub(super) fn info(&self, name: &str) -> Option<(ElementType, &[usize])> {
        Some(match self.tensors.get(name)? {
            Held::Plain(dtype, shape) => (ElementType::Plain(*dtype), shape),
            Held::Eight(shape) => (ElementType::Plain(Dtype::F32), shape),
            Held::Four(four) => {
                let plain = ElementType::Plain(Dtype::F32);
                (four.kind.map_or(plain, ElementType::Packed), &four.shape)
            }
        })
    }

    /// A tensor's numbers.
    ///
    /// # Errors
    /// As [`TensorFile::array`].
    pub(super) fn array(&self, name: &str) -> Result<Array<'_>> {
        match self.tensors.get(name) {
            Some(Held::Four(four)) => {
                let count: usize = four.shape.iter().product();
                let scales = self.scales(name, four)?;
                let (_, _, steps) = self.stored(name)?;
                let value = |i: usize| {
                    let step = steps[i / 2] >> (4 * (1 - i % 2)) & 15;
                    four.values[usize::from(step)] * scales[i / four.share]
                };
                Ok(Array::whole(&four.shape, (0..count).map(value).collect()))
            }
            Some(Held::Eight(shape)) => {
                let scales = self.floats(&format!("{}{ROWS}", layer(name)), shape[0])?;
                let (_, _, steps) = self.stored(name)?;
                let rows = steps.chunks(shape[1].max(1)).zip(&scales);
                let values = rows.flat_map(|(row, scale)| {
                    // 1 / 127 as bitsandbytes has it.
                    let value = |step: &u8| f32::from(*step as i8) * *scale * 0.007_874_016;
                    row.iter().map(value).collect::<Vec<f32>>()
                });
                Ok(Array::whole(shape, values.collect()))
            }
            _ => self.file(name)?.array(name),
        }
    }

    /// A tensor's blocks, where it is held in some.
    ///
    /// # Errors
    /// [`Error::TensorFile`] for a damaged file.
    pub(super) fn blocks(&self, name: &str) -> Result<Option<(BlockType, Cow<'_, [u8]>)>> {
        let Some(Held::Four(four)) = self.tensors.get(name) else {
            return Ok(None);
        };
        let Some(kind) = four.kind else {
            return Ok(None);
        };
        let (_, _, steps) = self.stored(name)?;
        let bytes = match &four.scales {
            Scales::Bytes { largest, mean, .. } if kind == BlockType::Nf4Double => {
                let (_, _, codes) = self.stored(&format!("{name}.absmax"))?;
                blocks::joined(codes, largest, *mean, steps)
            }
            _ => {
                let scales = self.scales(name, four)?;
                let shares = steps.chunks(SHARE / 2).enumerate();
                let block = |(n, steps): (usize, &[u8])| {
                    let scale = scales[n * SHARE / four.share].to_le_bytes();
                    [&scale[..], steps].concat()
                };
                shares.flat_map(block).collect()
            }
        };
        Ok(Some((kind, bytes.into())))
    }

    /// What is known of a matrix in four bits.
    fn four(&self, name: &str, state: &str) -> Result<Four> {
        let file = self.file(state)?;
        let text = file.stored(state)?.2;
        let State {
            quant_type,
            blocksize: share,
            shape,
            nested_blocksize,
            nested_offset,
        } = bounded::json(text)
            .map_err(|e| file.bad(state, format!("is no state of a quantised tensor: {e}")))?;
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let count = count.filter(|n| *n > 0 && share > 0);
        let count = count.ok_or_else(|| file.bad(state, "says sizes that no tensor has"))?;
        let (_, _, steps) = self.stored(name)?;
        if steps.len() != count.div_ceil(2) {
            let problem = format!("has {} bytes, and {shape:?} in four bits", steps.len());
            return Err(self
                .file(name)?
                .bad(name, format!("{problem} needs {}", count.div_ceil(2))));
        }
        let values = self.floats(&format!("{name}.quant_map"), 16)?;
        let shares = count.div_ceil(share);
        let scales = match nested_blocksize.filter(|group| *group > 0) {
            None => Scales::Plain,
            Some(group) => Scales::Bytes {
                values: self.floats(&format!("{name}.nested_quant_map"), 256)?,
                largest: self.floats(&format!("{name}.nested_absmax"), shares.div_ceil(group))?,
                group,
                mean: nested_offset.unwrap_or(0.0),
            },
        };
        // Blocks of 64 run through the matrix, and larger ones are several of them.
        let nf4 = quant_type == "nf4"
            && values == blocks::nf4_values()
            && share.is_multiple_of(SHARE)
            && count.is_multiple_of(SHARE);
        let double = match &scales {
            Scales::Bytes { values, group, .. } => {
                share == SHARE && *group == GROUP && values[..] == DYNAMIC[..]
            }
            Scales::Plain => false,
        };
        let four = Four {
            shape,
            share,
            values,
            scales,
            kind: nf4.then_some(match double {
                true => BlockType::Nf4Double,
                false => BlockType::Nf4,
            }),
        };
        let found = self.scales(name, &four)?.len();
        if found != shares {
            let problem = format!("has {found} scales, and the tensor needs {shares}");
            return Err(file.bad(&format!("{name}.absmax"), problem));
        }
        Ok(four)
    }

    /// What is known of a matrix in eight bits.
    fn eight(&self, name: &str, scales: &str) -> Result<Held> {
        let file = self.file(name)?;
        let (dtype, shape, _) = file.stored(name)?;
        if dtype != Dtype::I8 || shape.len() != 2 {
            return Err(file.bad(
                name,
                format!("is {dtype:?} {shape:?}, and {scales} wants bytes of a matrix"),
            ));
        }
        let format = format!("{}{ROWS_FORMAT}", layer(name));
        if self.places.contains_key(&format) && self.stored(&format)?.2.iter().any(|b| *b != 0) {
            let problem = "says an order of bytes that melos does not have; save it with a newer bitsandbytes";
            return Err(self.file(&format)?.bad(&format, problem));
        }
        self.floats(scales, shape[0])?;
        Ok(Held::Eight(shape.to_vec()))
    }

    fn scales(&self, name: &str, four: &Four) -> Result<Vec<f32>> {
        let stored = format!("{name}.absmax");
        let Scales::Bytes {
            values,
            largest,
            group,
            mean,
        } = &four.scales
        else {
            return Ok(self.file(&stored)?.array(&stored)?.into_values());
        };
        let (dtype, _, codes) = self.stored(&stored)?;
        if dtype != Dtype::U8 || codes.len().div_ceil(*group) != largest.len() {
            let problem = "does not go with its nested_absmax; copy the model again";
            return Err(self.file(&stored)?.bad(&stored, problem));
        }
        let of = |(n, code): (usize, &u8)| values[usize::from(*code)] * largest[n / group] + mean;
        Ok(codes.iter().enumerate().map(of).collect())
    }

    fn file(&self, name: &str) -> Result<&TensorFile> {
        let found = self.places.get(name).and_then(|at| self.files.get(*at));
        found.ok_or_else(|| Error::TensorFile {
            file: self.path().to_path_buf(),
            tensor: Some(name.to_string()),
            problem: "is missing, and a quantised tensor needs it; copy the model again".into(),
        })
    }

    fn stored(&self, name: &str) -> Result<(Dtype, &[usize], &[u8])> {
        self.file(name)?.stored(name)
    }

    /// So many numbers.
    fn floats(&self, name: &str, count: usize) -> Result<Vec<f32>> {
        let file = self.file(name)?;
        let values = file.array(name)?.into_values();
        match values.len() == count {
            true => Ok(values),
            false => Err(file.bad(
                name,
                format!("has {} numbers, and {count} are needed", values.len()),
            )),
        }
    }
}

/// The name of the layer of a weight, with its dot.
fn layer(weight: &str) -> &str {
    weight.strip_suffix("weight").unwrap_or(weight)
}
