//! What a dispatch computes and moves: the formulas of its kernel's contract, worked out.

use std::collections::HashMap;

use super::binding::Bound;
use crate::kernels::work::Work;
use crate::kernels::{Contract, Result, Value, Variant};

/// Operations that take as long as a byte read or written, within a factor of two or so from
/// llvmpipe to a data centre's GPU.
const PER_BYTE: f64 = 16.0;

/// The work of commands, where it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counts {
    /// Floating-point operations.
    pub flops: Option<f64>,
    /// Bytes read and written.
    pub bytes: Option<f64>,
}

impl Counts {
    /// Of both together: known where both are.
    pub fn plus(self, other: Counts) -> Counts {
        let both = |a: Option<f64>, b: Option<f64>| Some(a? + b?);
        Counts {
            flops: both(self.flops, other.flops),
            bytes: both(self.bytes, other.bytes),
        }
    }

    /// One number for work of both kinds. What is not known counts as nothing: kernels without a
    /// count are the small ones.
    pub(super) fn total(self) -> f64 {
        self.flops.unwrap_or(0.0) + PER_BYTE * self.bytes.unwrap_or(0.0)
    }
}

/// Where a formula's name finds its value.
enum Quantity {
    /// A constant or flag of the variant.
    Fixed(f64),
    /// A field of `Params`: u32, i32 or f32 at this byte.
    U32(usize),
    I32(usize),
    F32(usize),
    /// Workgroups on an axis.
    Groups(usize),
    /// Units of so many bytes in a binding, which is counted from 0 without the uniform.
    Bound(usize, u64),
}

/// Counts the work of one kernel's dispatches.
pub(super) struct Counter {
    work: Work,
    quantities: HashMap<String, Quantity>,
}

impl Counter {
    /// For a kernel in a variant; `None` where its contract has no formulas.
    pub(super) fn new(contract: &Contract, variant: &Variant) -> Result<Option<Counter>> {
        let Some(work) = &contract.work else {
            return Ok(None);
        };
        let settings = contract.complete(variant)?;
        let bound = contract.bindings(variant)?;
        let find = |name: &str| match name.split_once('.') {
            Some(("groups", axis)) => ["x", "y", "z"]
                .iter()
                .position(|a| *a == axis)
                .map(Quantity::Groups),
            Some((binding, of)) => Some(match bound.iter().position(|b| b.name == binding) {
                Some(index) => {
                    let scalar = bound[index].scalar_bytes()?;
                    Quantity::Bound(index.checked_sub(1)?, if of == "len" { scalar } else { 1 })
                }
                None => Quantity::Fixed(0.0),
            }),
            None => match settings.get(name) {
                Some(Value::U32(value)) => Some(Quantity::Fixed(value.into())),
                Some(Value::F32(value)) => Some(Quantity::Fixed(value.into())),
                Some(Value::Bool(value)) => Some(Quantity::Fixed(f64::from(u8::from(value)))),
                None => {
                    let index = contract.params.iter().position(|p| p.name == name)?;
                    let offset = contract.param_offsets()[index] as usize;
                    Some(match contract.params[index].ty.as_str() {
                        "u32" => Quantity::U32(offset),
                        "i32" => Quantity::I32(offset),
                        _ => Quantity::F32(offset),
                    })
                }
            },
        };
        // The contract was checked: every name is one of these.
        let names = work.formulas().flat_map(|formula| formula.names());
        let quantities = names.filter_map(|name| Some((name.to_string(), find(name)?)));
        Ok(Some(Counter {
            quantities: quantities.collect(),
            work: work.clone(),
        }))
    }

    /// The work of a dispatch.
    pub(super) fn count(&self, params: &[u8], bindings: &[Bound<'_>], groups: [u32; 3]) -> Counts {
        let field = |at: usize| params.get(at..at + 4)?.try_into().ok();
        let value = |name: &str| {
            Some(match *self.quantities.get(name)? {
                Quantity::Fixed(value) => value,
                Quantity::U32(at) => u32::from_ne_bytes(field(at)?).into(),
                Quantity::I32(at) => i32::from_ne_bytes(field(at)?).into(),
                Quantity::F32(at) => f32::from_ne_bytes(field(at)?).into(),
                Quantity::Groups(axis) => groups[axis].into(),
                Quantity::Bound(index, unit) => (bindings.get(index)?.size / unit) as f64,
            })
        };
        Counts {
            flops: self.work.flops.as_ref().and_then(|f| f.value(&value)),
            bytes: self.work.bytes.as_ref().and_then(|f| f.value(&value)),
        }
    }
}
