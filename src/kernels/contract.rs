//! The contract of a kernel: all that another engine needs beside the WGSL. Its shader says most
//! of it (see the comments there), `kernels/<family>/<stem>.toml` the rest. A test holds it
//! equal to what naga reflects from the shader.

use super::work::Work;
use super::{KernelError, Result, Value, Variant};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// One kernel's contract. Exports hold it as TOML.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// Kernel name = file stem = entry point = pipeline label.
    pub name: String,
    /// Folder under `shaders/` and `kernels/`.
    pub family: String,
    /// One sentence: what it computes.
    pub summary: String,
    /// The formula, in one line or several.
    pub formula: String,
    /// Paper and equation, or the definition followed.
    pub source: String,
    /// What the backward needs of the forward (or "nothing").
    pub saved: String,
    /// Optional device features; none for the baseline.
    #[serde(default)]
    pub features: Vec<Feature>,
    /// Lanes that a subgroup must have, or the name of the u32 constant that says it: so many or
    /// more, with cooperative matrices exactly so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<Extent>,
    /// Invocations per workgroup on each axis: numbers, or names of u32 constants.
    pub workgroup_size: [Extent; 3],
    /// How many workgroups to dispatch.
    pub dispatch: Dispatch,
    /// What it needs of the device, at most, over the variants listed.
    pub limits: Limits,
    /// How far it may stray from the f64 reference.
    pub tolerance: Tolerance,
    /// What a dispatch computes and moves, where that can be told from its sizes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
    /// Fields of the uniform struct `Params`, in order.
    #[serde(default)]
    pub params: Vec<Param>,
    /// Bindings of group 0, in order.
    pub bindings: Vec<Binding>,
    /// `#const` values.
    #[serde(default)]
    pub consts: Vec<Setting>,
    /// `#if` flags; each is false unless the variant sets it.
    #[serde(default)]
    pub flags: Vec<Flag>,
    /// Variants that the tests compile and that `export` writes; the first is the default.
    #[serde(default)]
    pub variants: Vec<BTreeMap<String, Scalar>>,
}

/// Optional device features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Subgroup operations.
    Subgroup,
    /// 16-bit floats in shaders.
    F16,
    /// Cooperative matrix products.
    CooperativeMatrix,
}

/// A workgroup extent, or the lanes of a subgroup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Extent {
    /// A number.
    Fixed(u32),
    /// The value of a u32 `#const`.
    Named(String),
}

/// How many lanes a subgroup must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lanes {
    /// So many.
    pub least: u32,
    /// And no more.
    pub exact: bool,
}

impl Lanes {
    /// Whether all subgroups are of such a size on an adapter whose smallest and largest are these.
    pub fn fit(self, smallest: u32, largest: u32) -> bool {
        smallest >= self.least && !(self.exact && largest > self.least)
    }
}

/// Dispatch geometry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dispatch {
    /// Workgroups on each axis, as a formula over Params and shapes.
    pub groups: [String; 3],
    /// What one workgroup does.
    pub text: String,
    /// Whether `groups[0]` is a linear count to be folded into x and y (see [`super::grid::fold`]).
    pub folded: bool,
}

/// Device limits, at most over the variants listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Storage buffers bound.
    pub storage_buffers: u32,
    /// Storage textures bound.
    #[serde(default)]
    pub storage_textures: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Invocations per workgroup.
    pub invocations: u32,
}

/// Pass when |got − f64| ≤ factor × |naive f32 − f64| + atol.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// Absolute part.
    pub atol: f64,
    /// Multiple of the naive f32 form's own error.
    pub factor: f64,
}

/// A field of `Params`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Param {
    /// Field name.
    pub name: String,
    /// u32, i32, f32, or vec2/vec3/vec4 of them.
    #[serde(rename = "type")]
    pub ty: String,
    /// Meaning, with the range where it matters.
    pub meaning: String,
}

impl Param {
    /// (size, alignment) in the uniform address space; `None` for a type that is not allowed.
    pub(super) fn layout(&self) -> Option<(u32, u32)> {
        if self.is_scalar() {
            return Some((4, 4));
        }
        let (vector, inner) = self.ty.strip_suffix('>')?.split_once('<')?;
        let layout = match vector {
            "vec2" => (8, 8),
            "vec3" => (12, 16),
            "vec4" => (16, 16),
            _ => return None,
        };
        is_scalar(inner).then_some(layout)
    }

    /// Whether it is one number.
    pub(super) fn is_scalar(&self) -> bool {
        is_scalar(&self.ty)
    }
}

fn is_scalar(ty: &str) -> bool {
    matches!(ty, "u32" | "i32" | "f32")
}

/// A binding of group 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// `@binding(index)`.
    pub index: u32,
    /// Variable name.
    pub name: String,
    /// Uniform, read, read_write or image.
    pub kind: Access,
    /// Element type as WGSL writes it (`f32`, `vec4<f32>`), a struct's name, or an image's format.
    pub dtype: String,
    /// Shape, row-major unless it says otherwise, such as "(T, B, C)" or "(28 bytes)"; empty for the parameters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub shape: String,
    /// What it holds.
    pub meaning: String,
    /// `FLAG` or `!FLAG`, or several joined by ` & `: declared so only then. Its number never moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

impl Binding {
    /// Flags and the values that declare it.
    fn conditions(&self) -> impl Iterator<Item = (&str, bool)> {
        let all = self.when.iter().flat_map(|when| when.split(" & "));
        all.map(|one| match one.strip_prefix('!') {
            Some(flag) => (flag, false),
            None => (one, true),
        })
    }

    /// Bytes of one scalar of its elements; `None` for structs.
    pub fn scalar_bytes(&self) -> Option<u64> {
        let inner = (self.dtype.split_once('<')).map_or(&self.dtype[..], |(_, inner)| inner);
        match inner.trim_end_matches('>') {
            "f32" | "u32" | "i32" | "rgba32float" => Some(4),
            "f16" | "rgba16float" => Some(2),
            _ => None,
        }
    }
}

/// How a binding is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// `var<uniform>`.
    Uniform,
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
    /// An array of two-dimensional storage textures that are only read.
    Image,
}

/// A `#const`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Name.
    pub name: String,
    /// u32, f32 or bool.
    #[serde(rename = "type")]
    pub ty: String,
    /// Value when the variant has none.
    pub default: Scalar,
    /// Meaning and allowed values.
    pub meaning: String,
}

/// An `#if` flag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flag {
    /// Name.
    pub name: String,
    /// What it switches on.
    pub meaning: String,
    /// A device feature that the kernel needs with it, beside those it always needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<Feature>,
}

/// A TOML value of a constant: whole numbers are u32, numbers with a point f32.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// true or false.
    Bool(bool),
    /// u32.
    U32(u32),
    /// f32.
    F32(f32),
}

impl From<Scalar> for Value {
    fn from(s: Scalar) -> Value {
        match s {
            Scalar::Bool(v) => Value::Bool(v),
            Scalar::U32(v) => Value::U32(v),
            Scalar::F32(v) => Value::F32(v),
        }
    }
}

impl fmt::Display for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.exact { "" } else { " or more" };
        write!(f, "{} lanes{more}", self.least)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Uniform => "uniform",
            Access::Read => "read",
            Access::ReadWrite => "read_write",
            Access::Image => "image",
        })
    }
}

impl Contract {
    fn fail(&self, message: String) -> KernelError {
        KernelError::Contract {
            kernel: self.name.clone(),
            message,
        }
    }

    /// The variants listed, or the default one.
    pub fn variants(&self) -> Vec<Variant> {
        if self.variants.is_empty() {
            return vec![Variant::new()];
        }
        let build = |m: &BTreeMap<String, Scalar>| {
            m.iter().fold(Variant::new(), |v, (name, value)| {
                v.with(name, Value::from(*value))
            })
        };
        self.variants.iter().map(build).collect()
    }

    /// `variant` with the defaults of what it leaves open. A key the kernel does not know is
    /// an error.
    pub fn complete(&self, variant: &Variant) -> Result<Variant> {
        let names = || {
            let consts = self.consts.iter().map(|c| c.name.as_str());
            consts.chain(self.flags.iter().map(|f| f.name.as_str()))
        };
        if let Some((key, _)) = variant.iter().find(|(key, _)| !names().any(|n| n == *key)) {
            return Err(KernelError::UnknownKey {
                kernel: self.name.clone(),
                key: key.to_string(),
                known: names().collect::<Vec<_>>().join(", "),
            });
        }
        let mut full = Variant::new();
        for c in &self.consts {
            full = full.with(&c.name, c.default);
        }
        for f in &self.flags {
            full = full.with(&f.name, false);
        }
        Ok(variant
            .iter()
            .fold(full, |full, (name, value)| full.with(name, value)))
    }

    /// The bindings declared under a variant.
    pub fn bindings(&self, variant: &Variant) -> Result<Vec<Binding>> {
        let full = self.complete(variant)?;
        let on = |flag: &str| full.get(flag) == Some(Value::Bool(true));
        let declared = |b: &&Binding| b.conditions().all(|(flag, wanted)| on(flag) == wanted);
        Ok(self.bindings.iter().filter(declared).cloned().collect())
    }

    /// The device features that a variant needs.
    pub fn features(&self, variant: &Variant) -> Result<Vec<Feature>> {
        let full = self.complete(variant)?;
        let mut features = self.features.clone();
        for flag in &self.flags {
            let set = full.get(&flag.name) == Some(Value::Bool(true));
            if let Some(feature) = flag.feature
                && set
                && !features.contains(&feature)
            {
                features.push(feature);
            }
        }
        Ok(features)
    }

    /// The workgroup size under a variant.
    pub fn workgroup(&self, variant: &Variant) -> Result<[u32; 3]> {
        let full = self.complete(variant)?;
        let mut size = [1; 3];
        for (axis, extent) in size.iter_mut().zip(&self.workgroup_size) {
            *axis = self.extent(extent, &full)?;
        }
        Ok(size)
    }

    /// The lanes of a subgroup that a variant needs; `None` where it has no subgroups.
    pub fn lanes(&self, variant: &Variant) -> Result<Option<Lanes>> {
        let Some(extent) = &self.lanes else {
            return Ok(None);
        };
        let least = self.extent(extent, &self.complete(variant)?)?;
        let exact = self.features.contains(&Feature::CooperativeMatrix);
        Ok(Some(Lanes { least, exact }))
    }

    fn extent(&self, extent: &Extent, full: &Variant) -> Result<u32> {
        match extent {
            Extent::Fixed(n) => Ok(*n),
            Extent::Named(name) => match full.get(name) {
                Some(Value::U32(n)) => Ok(n),
                _ => Err(self.fail(format!("the size '{name}' is no u32 constant"))),
            },
        }
    }

    /// Byte offset of each field of `Params`, by the uniform layout rules of WGSL.
    pub fn param_offsets(&self) -> Vec<u32> {
        let mut end = 0u32;
        let place = |p: &Param| {
            let (size, align) = p.layout().unwrap_or((4, 4));
            let offset = end.next_multiple_of(align);
            end = offset + size;
            offset
        };
        self.params.iter().map(place).collect()
    }

    /// Size of `Params` in bytes, with its tail padding: what the host struct must have.
    pub fn params_size(&self) -> u32 {
        let layouts = self.params.iter().filter_map(Param::layout);
        let align = layouts.map(|(_, align)| align).max().unwrap_or(4);
        match (
            self.param_offsets().last(),
            self.params.last().and_then(Param::layout),
        ) {
            (Some(offset), Some((size, _))) => (offset + size).next_multiple_of(align),
            _ => 0,
        }
    }
}
