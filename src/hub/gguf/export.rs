//! A model as one GGUF file.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use super::family::{Gguf, Number, Placed, Told, reordered, transposed};
use super::said;
use super::write::{Head as Tensor, Meta, write};
use crate::atomic::write_file_with;
use crate::blocks::BlockType;
use crate::error::{Error, Result};
use crate::hub::array::FloatType;
use crate::hub::checkpoint::Checkpoint;
use crate::hub::config;
use crate::hub::format::{Head, Layout};
use crate::hub::report::LoadReport;

/// How a whole model is packed: a type for most of its matrices, and for some a better one, as llama.cpp
/// mixes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quant(&'static Mix);

#[derive(Debug, PartialEq, Eq)]
struct Mix {
    name: &'static str,
    /// `general.file_type`.
    number: u32,
    base: BlockType,
    /// Better types for some tensors of some layers.
    better: Better,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Better {
    None,
    /// Q5_K for the first layers.
    Small,
    /// Q6_K for the first, the last and every third layer between, and this for joint projections.
    Medium(BlockType),
}

const fn mix(name: &'static str, number: u32, base: BlockType, better: Better) -> Mix {
    Mix {
        name,
        number,
        base,
        better,
    }
}

static MIXES: [Mix; 13] = [
    mix("f32", 0, BlockType::F32, Better::None),
    mix("f16", 1, BlockType::F16, Better::None),
    mix("bf16", 32, BlockType::Bf16, Better::None),
    mix("q8_0", 7, BlockType::Q8_0, Better::None),
    mix("q4_0", 2, BlockType::Q4_0, Better::None),
    mix("q4_1", 3, BlockType::Q4_1, Better::None),
    mix("q5_0", 8, BlockType::Q5_0, Better::None),
    mix("q5_1", 9, BlockType::Q5_1, Better::None),
    mix("q4_k_s", 14, BlockType::Q4K, Better::Small),
    mix("q4_k_m", 15, BlockType::Q4K, Better::Medium(BlockType::Q5K)),
    mix("q5_k_s", 16, BlockType::Q5K, Better::None),
    mix("q5_k_m", 17, BlockType::Q5K, Better::Medium(BlockType::Q6K)),
    mix("q6_k", 18, BlockType::Q6K, Better::None),
];

impl fmt::Display for Quant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl Quant {
    /// The names of all, as on the command line.
    pub fn names() -> impl Iterator<Item = &'static str> {
        MIXES.iter().map(|mix| mix.name)
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Quant> {
        let found = MIXES.iter().find(|m| m.name.eq_ignore_ascii_case(name));
        found.map(Quant)
    }

    /// The one whose matrices are of a float type.
    pub fn of(float: FloatType) -> Quant {
        let found = MIXES.iter().find(|m| m.base.float_type() == Some(float));
        Quant(found.unwrap_or(&MIXES[0]))
    }

    /// The type of a tensor; `output` is what makes logits, which in a tied model the word vectors do.
    fn kind(self, name: &str, shape: &[usize], layers: usize, output: bool) -> BlockType {
        let Mix { base, better, .. } = *self.0;
        if shape.len() < 2 || name == "position_embd.weight" {
            return BlockType::F32;
        }
        if base.float_type().is_some() {
            return base;
        }
        let row = shape.last().copied().unwrap_or(1);
        let parts: Vec<&str> = name.split('.').collect();
        let (layer, part) = match parts[..] {
            ["blk", layer, part, _] => (layer.parse().unwrap_or(0), part),
            _ => (0, ""),
        };
        let eighth = layers / 8;
        let more = layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
        let kind = match (better, part) {
            _ if output && !row.is_multiple_of(base.elements()) => BlockType::Q8_0,
            _ if output && base != BlockType::Q8_0 => BlockType::Q6K,
            (Better::Medium(_), "attn_v" | "ffn_down") if more => BlockType::Q6K,
            (Better::Medium(joint), "attn_qkv") => joint,
            (Better::Small, "attn_v") if layer < 4 => BlockType::Q5K,
            (Better::Small, "ffn_down") if layer < eighth => BlockType::Q5K,
            _ => base,
        };
        // Rows that are no whole blocks of 256, or of 32.
        let narrow = match kind {
            BlockType::Q4K => BlockType::Q5_0,
            BlockType::Q5K => BlockType::Q5_1,
            BlockType::Q6K => BlockType::Q8_0,
            kind => kind,
        };
        let fits = |kind: &BlockType| row.is_multiple_of(kind.elements());
        let all = [kind, narrow, BlockType::F16];
        all.into_iter().find(fits).unwrap_or(BlockType::F32)
    }
}

/// Writes a language model as a GGUF file at `out`, with its tokeniser and chat template. Tensors that its
/// class does not have are left out and reported as unexpected.
///
/// # Errors
/// [`Error::Folder`] where `out` is there; for a model that readers of such files do not have, or would load
/// wrongly; for a tokeniser that such a file cannot describe; what [`Checkpoint::report`] refuses.
pub fn export(input: &Checkpoint, out: &Path, quant: Quant) -> Result<LoadReport> {
    if out.exists() {
        return Err(Error::folder(out, "is there already; give a new name"));
    }
    let bad = |problem: String| {
        Error::folder(&input.path, format!("cannot be written as GGUF: {problem}"))
    };
    let Some(names) = input.format.gguf else {
        let kind = input.config["model_type"].as_str().unwrap_or("model");
        let problem =
            format!("llama.cpp has no {kind} that writes on; convert it to a folder instead");
        return Err(bad(problem));
    };
    let class = input.format.class(Head::CausalLm);
    let class = class.ok_or_else(|| bad("it does not write on".into()))?;
    if let Ok(own) = input.architecture()
        && !matches!(own.head(), Head::CausalLm | Head::Base)
    {
        let own = own.name();
        return Err(bad(format!("it is a {own}, whose head has no place there")));
    }
    let layout = input.layout(class)?;
    let report = input.report(&layout)?;
    report.require(&input.path, |_| false)?;
    let dtype = input.float_type();
    let config = config::complete(&input.config, class, dtype);
    let told = (names.write)(&config).map_err(bad)?;
    let rows = config["vocab_size"].as_u64().unwrap_or(0) as usize;
    let files = input.companions()?;
    let vocabulary = said::tokenizer(&files, rows).map_err(bad)?;
    let mut metadata = general(input, names, quant, &config, &told);
    metadata.extend(vocabulary);
    let plan = plan(names, &layout, &config, &told, quant).map_err(bad)?;
    refuse_infinities(input, &plan)?;
    let heads: Vec<Tensor> = plan.iter().map(|part| part.tensor.clone()).collect();
    let mut parts = plan.iter();
    write_file_with(out, |file| {
        write(file, &metadata, &heads, |tensor| {
            let part = parts.next().ok_or("out of order");
            let part = part.map_err(std::io::Error::other)?;
            let values = part.values(input).map_err(std::io::Error::other)?;
            let packed = tensor.kind.quantise(&values);
            packed.ok_or_else(|| std::io::Error::other("a type that is only read"))
        })
    })?;
    Ok(report)
}

/// What is told of every model.
fn general(
    input: &Checkpoint,
    names: &Gguf,
    quant: Quant,
    config: &Value,
    told: &Told,
) -> Vec<(String, Meta)> {
    let name = input.path.file_stem().unwrap_or_default().to_string_lossy();
    let mut metadata = vec![
        (
            "general.architecture".into(),
            Meta::Text(names.architecture.into()),
        ),
        ("general.type".into(), Meta::Text("model".into())),
        ("general.name".into(), Meta::Text(name.into_owned())),
        ("general.file_type".into(), Meta::Whole(quant.0.number)),
        ("general.quantization_version".into(), Meta::Whole(2)),
    ];
    let known = |key: &str| told.metadata.iter().any(|(name, _)| *name == key);
    for key in names
        .keys
        .iter()
        .copied()
        .flatten()
        .filter(|key| !known(key.gguf))
    {
        let value = &config[key.config];
        let value = match key.kind {
            Number::Whole => value.as_u64().map(|n| Meta::Whole(n as u32)),
            Number::Real => value.as_f64().map(|x| Meta::Real(x as f32)),
        };
        metadata.extend(value.map(|value| (names.key(key.gguf), value)));
    }
    let size = config["vocab_size"].as_u64().unwrap_or(0) as u32;
    metadata.push((names.key("vocab_size"), Meta::Whole(size)));
    let own = told.metadata.iter();
    metadata.extend(own.map(|(key, value)| (names.key(key), value.clone())));
    metadata
}

/// A tensor of the file, and where its numbers come from.
struct Part<'a> {
    tensor: Tensor,
    from: From<'a>,
}

enum From<'a> {
    /// A tensor of the model, and what is to be done to it.
    Model(&'a str, Placed, Option<Vec<usize>>),
    /// The configuration.
    Numbers(&'a [f32]),
}

impl Part<'_> {
    fn values(&self, input: &Checkpoint) -> Result<Vec<f32>> {
        let (name, placed, order) = match &self.from {
            From::Numbers(numbers) => return Ok(numbers.to_vec()),
            From::Model(name, placed, order) => (name, placed, order),
        };
        let array = input.array(name)?;
        let columns = array.shape().last().copied().unwrap_or(1);
        let mut values = array.into_values();
        match (placed, order) {
            (Placed::Transposed, _) => values = transposed(&values, columns),
            (Placed::PlusOne, _) => values.iter_mut().for_each(|x| *x += 1.0),
            (_, Some(order)) => values = reordered(&values, order),
            _ => {}
        }
        Ok(values)
    }
}

fn plan<'a>(
    names: &Gguf,
    layout: &'a Layout,
    config: &Value,
    told: &'a Told,
    quant: Quant,
) -> Result<Vec<Part<'a>>, String> {
    let stored: Option<Vec<_>> = (layout.tensors.iter())
        .map(|(name, shape)| Some((name, shape, names.stored(name)?)))
        .collect();
    let stored = stored.ok_or("it has a tensor that has no name there")?;
    let layers = stored
        .iter()
        .filter(|(.., (name, _))| name.ends_with(".attn_norm.weight"))
        .count();
    let own = stored.iter().any(|(.., (name, _))| name == "output.weight");
    let mut parts = Vec::new();
    for (name, shape, (theirs, placed)) in stored {
        let order = match placed {
            Placed::Paired(key) => {
                let rows = shape.first().copied().unwrap_or(1);
                Some(paired(names, config, told, key, placed, (rows, true))?)
            }
            _ => None,
        };
        let shape = placed.shape(shape);
        let output = theirs == "output.weight" || !own && theirs == "token_embd.weight";
        let kind = quant.kind(&theirs, &shape, layers, output);
        let tensor = Tensor {
            name: theirs,
            shape,
            kind,
        };
        let from = From::Model(name, placed, order);
        parts.push(Part { tensor, from });
    }
    for (name, numbers) in &told.tensors {
        let tensor = Tensor {
            name: (*name).to_string(),
            shape: vec![numbers.len()],
            kind: BlockType::F32,
        };
        let from = From::Numbers(numbers);
        parts.push(Part { tensor, from });
    }
    Ok(parts)
}

/// The order of a tensor's rows, into a file or out of it, which are so many heads as the metadata say.
pub(super) fn paired(
    names: &Gguf,
    config: &Value,
    told: &Told,
    key: &str,
    placed: Placed,
    (rows, into_file): (usize, bool),
) -> Result<Vec<usize>, String> {
    let own = told.metadata.iter().find(|(name, _)| *name == key);
    let heads = match own {
        Some((_, Meta::Whole(heads))) => json!(heads),
        _ => {
            let field = names.keys.iter().copied().flatten().find(|k| k.gguf == key);
            field.map_or(Value::Null, |field| config[field.config].clone())
        }
    };
    let heads = heads.as_u64().unwrap_or(0) as usize;
    let order = placed.rows(rows, heads, into_file);
    order.ok_or_else(|| format!("{rows} rows are no {heads} heads"))
}

/// Numbers that a file's type would make infinite, f16 above all: scales are held in it.
fn refuse_infinities(input: &Checkpoint, plan: &[Part]) -> Result<()> {
    for part in plan {
        let From::Model(name, ..) = &part.from else {
            continue;
        };
        let array = input.array(name)?;
        let wrong = array.first_not_finite();
        let kind = part.tensor.kind;
        let float = kind.float_type().unwrap_or(FloatType::F16);
        let lost = array.too_large_for(float);
        let problem = match wrong {
            Some(wrong) => format!("holds {wrong}, which no packed number can be"),
            None if lost > 0 => {
                format!("has {lost} numbers that are too large for {}", kind.name())
            }
            None => continue,
        };
        return Err(Error::TensorFile {
            file: input.path.clone(),
            tensor: Some((*name).to_string()),
            problem: format!("{problem}; choose another --quant (bf16 and f32 reach 3e38)"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_mixed_as_llama_cpp_mixes_them() {
        let kind = |mix: &str, name: &str, row: usize, output: bool| {
            let quant = Quant::named(mix).unwrap();
            quant.kind(name, &[64, row], 32, output).name()
        };
        // Of 32 layers more bits for 0 to 3, 28 to 31 and 6, 9, 12, …
        for (layer, expected) in [
            (0, "Q6_K"),
            (3, "Q6_K"),
            (4, "Q4_K"),
            (6, "Q6_K"),
            (7, "Q4_K"),
            (27, "Q6_K"),
            (28, "Q6_K"),
        ] {
            for part in ["attn_v", "ffn_down"] {
                let name = format!("blk.{layer}.{part}.weight");
                assert_eq!(kind("q4_k_m", &name, 512, false), expected, "{name}");
            }
            let name = format!("blk.{layer}.attn_q.weight");
            assert_eq!(kind("q4_k_m", &name, 512, false), "Q4_K");
        }
        assert_eq!(kind("q4_k_m", "blk.5.attn_qkv.weight", 512, false), "Q5_K");
        assert_eq!(kind("q5_k_m", "blk.5.attn_qkv.weight", 512, false), "Q6_K");
        assert_eq!(kind("q4_k_s", "blk.3.attn_v.weight", 512, false), "Q5_K");
        assert_eq!(kind("q4_k_s", "blk.4.attn_v.weight", 512, false), "Q4_K");
        assert_eq!(kind("q4_0", "output.weight", 512, true), "Q6_K");
        assert_eq!(kind("q4_0", "output.weight", 576, true), "Q8_0");
        assert_eq!(kind("q8_0", "output.weight", 512, true), "Q8_0");
        assert_eq!(kind("q4_k_m", "blk.5.attn_q.weight", 96, false), "Q5_0");
        assert_eq!(kind("q4_k_m", "blk.5.attn_q.weight", 20, false), "F16");
        assert_eq!(kind("f16", "blk.5.attn_q.weight", 20, false), "F16");
        let vector = Quant::named("q4_0")
            .unwrap()
            .kind("output_norm.weight", &[512], 32, false);
        assert_eq!(vector, BlockType::F32);
        assert_eq!(Quant::of(FloatType::Bf16).to_string(), "bf16");
        assert!(Quant::names().all(|name| Quant::named(name).is_some()));
        assert!(Quant::named("iq2_xs").is_none());
    }
}
