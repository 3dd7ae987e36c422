//! `kernels/<family>/<stem>.toml`: what a kernel's WGSL cannot say. Together with what the text
//! itself declares it makes the kernel's contract.

use super::contract::{Access, Binding, Extent, Feature, Flag, Limits, Scalar, Setting, Tolerance};
use super::declared::{Declared, Include};
use super::work::Work;
use super::{Contract, KernelError, Result, Value};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The file; see the fields of [`Contract`] for what each is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Notes {
    saved: String,
    #[serde(default)]
    features: Vec<Feature>,
    #[serde(default)]
    workgroup_bytes: u32,
    tolerance: Tolerance,
    work: Option<Work>,
    /// Each `#const` and its value where a variant has none.
    #[serde(default)]
    consts: BTreeMap<String, Scalar>,
    /// Each flag of an `#if` and what it switches on.
    #[serde(default)]
    flags: BTreeMap<String, String>,
    /// The device feature that a flag needs.
    #[serde(default)]
    needs: BTreeMap<String, Feature>,
    #[serde(default)]
    variants: Vec<BTreeMap<String, Scalar>>,
}

impl Contract {
    /// Reads a kernel's WGSL and its notes, and checks that they say the same and say it all.
    pub fn parse<'a>(
        name: &str,
        family: &str,
        wgsl: &'a str,
        notes: &str,
        include: &Include<'a>,
    ) -> Result<Contract> {
        let fail = |message: String| KernelError::Contract {
            kernel: name.to_string(),
            message,
        };
        let notes: Notes = toml::from_str(notes).map_err(|e| fail(e.to_string()))?;
        let declared = Declared::read(wgsl, include).map_err(fail)?;
        let consts = declared.consts.iter().map(|c| {
            let default = notes.consts.get(&c.name);
            let default = *default.ok_or_else(|| format!("no default of {}", c.name))?;
            Ok(Setting {
                name: c.name.clone(),
                ty: c.ty.clone(),
                default,
                meaning: c.meaning.clone(),
            })
        });
        let flags = declared.flags.iter().map(|flag| {
            let meaning = notes.flags.get(flag);
            let meaning = meaning.ok_or_else(|| format!("nothing says what {flag} does"))?;
            Ok(Flag {
                name: flag.clone(),
                meaning: meaning.clone(),
                feature: notes.needs.get(flag).copied(),
            })
        });
        let consts = consts.collect::<Result<Vec<_>, String>>().map_err(fail)?;
        let flags = flags.collect::<Result<Vec<_>, String>>().map_err(fail)?;
        let noted = notes.flags.keys().chain(notes.needs.keys());
        let unknown = noted.filter(|name| !declared.flags.contains(*name));
        let known = |name: &String| consts.iter().any(|c| c.name == *name);
        let mut unknown = unknown.chain(notes.consts.keys().filter(|name| !known(name)));
        if let Some(name) = unknown.next() {
            return Err(fail(format!("the shader has no '{name}'")));
        }
        let named = consts.iter().find(|c| c.name == "SUBGROUP");
        let named = named.map(|c| Extent::Named(c.name.clone()));
        let mut contract = Contract {
            name: name.to_string(),
            family: family.to_string(),
            summary: declared.summary,
            formula: declared.formula,
            source: declared.source,
            saved: notes.saved,
            features: notes.features,
            lanes: declared.lanes.map(Extent::Fixed).or(named),
            workgroup_size: declared.workgroup_size,
            dispatch: declared.dispatch,
            limits: Limits {
                storage_buffers: 0,
                storage_textures: 0,
                workgroup_bytes: notes.workgroup_bytes,
                invocations: 0,
            },
            tolerance: notes.tolerance,
            work: notes.work,
            params: declared.params,
            bindings: declared.bindings,
            consts,
            flags,
            variants: notes.variants,
        };
        contract.check()?;
        contract.limits = contract.most()?;
        Ok(contract)
    }

    /// What the variants listed need at most.
    fn most(&self) -> Result<Limits> {
        let mut most = self.limits;
        for variant in self.variants() {
            let bindings = self.bindings(&variant)?;
            let count = |kinds: &[Access]| {
                let those = bindings.iter().filter(|b| kinds.contains(&b.kind));
                those.count() as u32
            };
            let buffers = count(&[Access::Read, Access::ReadWrite]);
            let invocations = self.workgroup(&variant)?.iter().product();
            most.storage_buffers = most.storage_buffers.max(buffers);
            most.storage_textures = most.storage_textures.max(count(&[Access::Image]));
            most.invocations = most.invocations.max(invocations);
        }
        Ok(most)
    }

    fn check(&self) -> Result<()> {
        let fail = |message: String| KernelError::Contract {
            kernel: self.name.clone(),
            message,
        };
        for c in &self.consts {
            let found = Value::from(c.default).type_name();
            if found != c.ty {
                return Err(fail(format!(
                    "default of {} is {found}, its type {}",
                    c.name, c.ty
                )));
            }
        }
        let params = self.params.iter().map(|p| ("param", &p.name, &p.meaning));
        let consts = (self.consts.iter()).map(|c| ("constant", &c.name, &c.meaning));
        for (what, name, meaning) in params.chain(consts) {
            if meaning.is_empty() {
                return Err(fail(format!("{what} {name}: no comment says what it is")));
            }
        }
        for p in &self.params {
            if p.layout().is_none() {
                return Err(fail(format!("param {}: type {}", p.name, p.ty)));
            }
        }
        for v in self.variants() {
            self.complete(&v)?;
        }
        let in_subgroups = [Feature::Subgroup, Feature::CooperativeMatrix];
        if self.lanes.is_some() != in_subgroups.iter().any(|f| self.features.contains(f)) {
            return Err(fail(
                "kernels of subgroups, and no others, say in SUBGROUP how many lanes those must have"
                    .into(),
            ));
        }
        let formulas = self.work.iter().flat_map(Work::formulas);
        for name in formulas.flat_map(|f| f.names()) {
            if !self.is_quantity(name) {
                return Err(fail(format!(
                    "work: '{name}' is no param, constant, flag, binding or grid"
                )));
            }
        }
        Ok(())
    }

    /// Whether a formula of [`work`](super::work) may use this name.
    fn is_quantity(&self, name: &str) -> bool {
        match name.split_once('.') {
            None => {
                let settings = self.consts.iter().map(|c| &c.name);
                let scalars = self.params.iter().filter(|p| p.is_scalar());
                let flags = self.flags.iter().map(|f| &f.name);
                (settings.chain(flags).chain(scalars.map(|p| &p.name))).any(|n| n == name)
            }
            Some(("groups", axis)) => matches!(axis, "x" | "y" | "z"),
            Some((binding, of)) => {
                let is = |b: &Binding| b.name == binding && b.scalar_bytes().is_some();
                matches!(of, "len" | "bytes") && self.bindings.iter().any(is)
            }
        }
    }
}
