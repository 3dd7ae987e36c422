//! What a shader itself says: the half of the contract that can be checked.

use crate::kernels::contract::Access;
use crate::kernels::{KernelError, Result};
use naga::{AddressSpace, ArraySize, Handle, StorageAccess, Type, TypeInner};

/// Declarations of one compiled shader.
#[derive(Debug, Clone, PartialEq)]
pub struct Reflection {
    /// Workgroup size; overrides at their defaults.
    pub workgroup_size: [u32; 3],
    /// Bytes of workgroup memory, each variable rounded up to 16.
    pub workgroup_bytes: u32,
    /// Bindings of group 0, by number.
    pub bindings: Vec<ReflectedBinding>,
    /// Fields of the uniform struct, in order.
    pub params: Vec<ReflectedField>,
    /// Size of the uniform struct in bytes.
    pub params_size: u32,
    /// (name, type) of each override.
    pub overrides: Vec<(String, String)>,
}

/// A resource variable.
#[derive(Debug, Clone, PartialEq)]
pub struct ReflectedBinding {
    /// `@binding(index)`.
    pub index: u32,
    /// Variable name.
    pub name: String,
    /// How it is declared.
    pub kind: Access,
    /// Element type of an array, else the type itself.
    pub dtype: String,
}

/// A field of the uniform struct.
#[derive(Debug, Clone, PartialEq)]
pub struct ReflectedField {
    /// Field name.
    pub name: String,
    /// WGSL type.
    pub ty: String,
    /// Byte offset.
    pub offset: u32,
}

impl Reflection {
    /// `declared` is the module as written, `resolved` the same without overrides.
    pub(crate) fn of(name: &str, declared: &naga::Module, resolved: &naga::Module) -> Result<Self> {
        let fail = |message| KernelError::Translate {
            kernel: name.to_string(),
            stage: "reflect",
            message,
        };
        let entry = match resolved.entry_points.as_slice() {
            [entry] if entry.name == name => entry,
            found => {
                let names: Vec<_> = found.iter().map(|e| e.name.as_str()).collect();
                return Err(fail(format!(
                    "expected one entry point '{name}', found {names:?}"
                )));
            }
        };
        let workgroup = resolved
            .global_variables
            .iter()
            .filter(|(_, v)| v.space == AddressSpace::WorkGroup);
        let size = |ty: Handle<Type>| resolved.types[ty].inner.size(resolved.to_ctx());
        let mut out = Reflection {
            workgroup_size: entry.workgroup_size,
            workgroup_bytes: workgroup
                .map(|(_, v)| size(v.ty).next_multiple_of(16))
                .sum(),
            bindings: Vec::new(),
            params: Vec::new(),
            params_size: 0,
            overrides: Vec::new(),
        };
        for (_, v) in declared.global_variables.iter() {
            let Some(at) = &v.binding else { continue };
            let var = v.name.clone().unwrap_or_default();
            if at.group != 0 {
                return Err(fail(format!(
                    "'{var}' is in group {}; all bindings belong in group 0",
                    at.group
                )));
            }
            let kind = match v.space {
                AddressSpace::Uniform => Access::Uniform,
                AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => {
                    Access::ReadWrite
                }
                AddressSpace::Storage { .. } => Access::Read,
                AddressSpace::Handle => Access::Image,
                space => return Err(fail(format!("'{var}' is in address space {space:?}"))),
            };
            let element = match declared.types[v.ty].inner {
                TypeInner::Array { base, .. } => base,
                _ => v.ty,
            };
            if kind == Access::Uniform {
                (out.params, out.params_size) = fields(declared, v.ty);
            }
            out.bindings.push(ReflectedBinding {
                index: at.binding,
                name: var,
                kind,
                dtype: type_name(declared, element),
            });
        }
        out.bindings.sort_by_key(|b| b.index);
        for (_, o) in declared.overrides.iter() {
            out.overrides.push((
                o.name.clone().unwrap_or_default(),
                type_name(declared, o.ty),
            ));
        }
        Ok(out)
    }
}

/// Fields and size of a struct; none for anything else.
fn fields(module: &naga::Module, ty: Handle<Type>) -> (Vec<ReflectedField>, u32) {
    let TypeInner::Struct { members, span } = &module.types[ty].inner else {
        return (Vec::new(), 0);
    };
    let field = |m: &naga::StructMember| ReflectedField {
        name: m.name.clone().unwrap_or_default(),
        ty: type_name(module, m.ty),
        offset: m.offset,
    };
    (members.iter().map(field).collect(), *span)
}

/// The type as WGSL writes it.
fn type_name(module: &naga::Module, ty: Handle<Type>) -> String {
    let ty = &module.types[ty];
    let scalar = |s: naga::Scalar| match s.kind {
        naga::ScalarKind::Bool => "bool".to_string(),
        naga::ScalarKind::Sint => format!("i{}", u32::from(s.width) * 8),
        naga::ScalarKind::Uint => format!("u{}", u32::from(s.width) * 8),
        _ => format!("f{}", u32::from(s.width) * 8),
    };
    match &ty.inner {
        TypeInner::Image {
            class: naga::ImageClass::Storage { format, access },
            dim: naga::ImageDimension::D2,
            arrayed: true,
        } if *access == StorageAccess::LOAD => format!("{format:?}").to_lowercase(),
        TypeInner::Scalar(s) => scalar(*s),
        TypeInner::Atomic(s) => format!("atomic<{}>", scalar(*s)),
        TypeInner::Vector { size, scalar: s } => format!("vec{}<{}>", *size as u8, scalar(*s)),
        TypeInner::Array {
            base,
            size: ArraySize::Constant(n),
            ..
        } => {
            format!("array<{}, {n}>", type_name(module, *base))
        }
        TypeInner::Array { base, .. } => format!("array<{}>", type_name(module, *base)),
        inner => ty.name.clone().unwrap_or_else(|| format!("{inner:?}")),
    }
}
