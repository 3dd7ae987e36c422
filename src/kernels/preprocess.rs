//! The shader preprocessor: a few directives, no expressions, no side effects.
//!
//! ```wgsl
//! #include "philox.wgsl"     // from shaders/include/; each file comes in once
//! #const TILE: u32           // becomes `const TILE: u32 = 8u;`, from the variant; what it is stands here
//! #if BIAS                   // a Bool of the variant; nests; #else, #endif
//! ```
//!
//! Every key of the variant must be named by the text and every name of the text must have a
//! value, in active and inactive branches alike: a typing error never selects silently.

use super::{KernelError, Result, Value, Variant};
use std::collections::BTreeSet;

/// Expands `text` (named `file` in errors). `include` gives the text of an include by name.
pub fn expand<'a>(
    file: &str,
    text: &'a str,
    variant: &Variant,
    include: &dyn Fn(&str) -> Option<&'a str>,
) -> Result<String> {
    let mut e = Expander {
        variant,
        include,
        out: String::with_capacity(text.len()),
        named: BTreeSet::new(),
        consts: BTreeSet::new(),
        included: BTreeSet::new(),
        open: Vec::new(),
    };
    e.file(file, text, true)?;
    match variant.iter().find(|(name, _)| !e.named.contains(*name)) {
        None => Ok(e.out),
        Some((key, _)) => Err(KernelError::UnknownKey {
            kernel: file.to_string(),
            key: key.to_string(),
            known: Vec::from_iter(e.named).join(", "),
        }),
    }
}

/// A line that begins with `#`.
pub(super) enum Directive<'a> {
    /// `#include "name"`.
    Include(&'a str),
    /// `#const name: type // comment`.
    Const {
        /// Its name.
        name: &'a str,
        /// u32, f32 or bool.
        ty: &'a str,
        /// What it is and may be.
        comment: &'a str,
    },
    /// `#if flag`.
    If(&'a str),
    /// `#else`.
    Else,
    /// `#endif`.
    Endif,
}

impl<'a> Directive<'a> {
    /// The directive of a line; `None` for WGSL.
    ///
    /// # Errors
    /// What is expected in its place.
    pub(super) fn read(line: &'a str) -> Option<Result<Self, String>> {
        let text = line.trim_start().strip_prefix('#')?;
        let (code, comment) = text.split_once("//").unwrap_or((text, ""));
        let (word, rest) = code.trim().split_once(' ').unwrap_or((code.trim(), ""));
        Some(Self::parse(word, rest.trim(), comment.trim()))
    }

    fn parse(word: &str, rest: &'a str, comment: &'a str) -> Result<Self, String> {
        match word {
            "include" => rest
                .strip_prefix('"')
                .and_then(|r| r.strip_suffix('"'))
                .map(Directive::Include)
                .ok_or_else(|| format!("expected #include \"file.wgsl\", found '{rest}'")),
            "const" => rest
                .split_once(':')
                .map(|(name, ty)| (name.trim(), ty.trim()))
                .filter(|(name, ty)| !name.is_empty() && ["u32", "f32", "bool"].contains(ty))
                .map(|(name, ty)| Directive::Const { name, ty, comment })
                .ok_or_else(|| format!("expected #const NAME: u32|f32|bool, found '{rest}'")),
            "if" if is_name(rest) => Ok(Directive::If(rest)),
            "if" => Err(format!("expected #if FLAG, found '#if {rest}'")),
            "else" if rest.is_empty() => Ok(Directive::Else),
            "endif" if rest.is_empty() => Ok(Directive::Endif),
            _ => Err(format!(
                "unknown directive '#{}'; there are #include \"file\", #const NAME: type, \
                 #if FLAG, #else, #endif",
                format!("{word} {rest}").trim()
            )),
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_word)
}

/// Whether a name may hold it.
pub(super) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// One `#if` that is not closed yet.
struct Branch {
    line: u32,
    active: bool,
    outer: bool,
    seen_else: bool,
}

struct Expander<'a, 'v> {
    variant: &'v Variant,
    include: &'v dyn Fn(&str) -> Option<&'a str>,
    out: String,
    /// Keys the text names.
    named: BTreeSet<String>,
    /// Constants written so far.
    consts: BTreeSet<String>,
    /// Includes written so far.
    included: BTreeSet<String>,
    /// Files being expanded, outermost first.
    open: Vec<String>,
}

impl<'a> Expander<'a, '_> {
    fn file(&mut self, file: &str, text: &'a str, active: bool) -> Result<()> {
        self.open.push(file.to_string());
        let mut branches: Vec<Branch> = Vec::new();
        for (number, line) in (1u32..).zip(text.lines()) {
            let active = branches.last().map_or(active, |b| b.active);
            let fail = |message: String| KernelError::Preprocess {
                file: file.to_string(),
                line: number,
                message,
            };
            let Some(directive) = Directive::read(line) else {
                if active {
                    self.out.push_str(line);
                    self.out.push('\n');
                }
                continue;
            };
            match directive.map_err(fail)? {
                Directive::Include(name) => self.include_file(name, active, &fail)?,
                Directive::Const { name, ty, .. } => {
                    self.constant(name, ty, active).map_err(fail)?;
                }
                Directive::If(name) => {
                    let value = self.flag(name).map_err(fail)?;
                    branches.push(Branch {
                        line: number,
                        active: active && value,
                        outer: active,
                        seen_else: false,
                    });
                }
                Directive::Else => match branches.last_mut() {
                    Some(b) if !b.seen_else => {
                        b.seen_else = true;
                        b.active = b.outer && !b.active;
                    }
                    Some(b) => return Err(fail(format!("second #else, #if at line {}", b.line))),
                    None => return Err(fail("#else without #if".into())),
                },
                Directive::Endif => {
                    let open = branches.pop();
                    open.ok_or_else(|| fail("#endif without #if".into()))?;
                }
            }
        }
        if let Some(b) = branches.last() {
            return Err(KernelError::Preprocess {
                file: file.to_string(),
                line: b.line,
                message: "#if without #endif".into(),
            });
        }
        self.open.pop();
        Ok(())
    }

    /// The include's text, unless it is in already.
    fn include_file(
        &mut self,
        name: &str,
        active: bool,
        fail: &dyn Fn(String) -> KernelError,
    ) -> Result<()> {
        if self.open.iter().any(|f| f == name) {
            let chain = self.open.join(" -> ");
            return Err(fail(format!("include cycle: {chain} -> {name}")));
        }
        if self.included.contains(name) {
            return Ok(());
        }
        if active {
            self.included.insert(name.to_string());
        }
        let text = (self.include)(name)
            .ok_or_else(|| fail(format!("no include '{name}' in shaders/include/")))?;
        // An inactive include is walked too, for the names it makes known.
        self.file(name, text, active)
    }

    /// Writes a constant.
    fn constant(&mut self, name: &str, ty: &str, active: bool) -> Result<(), String> {
        self.named.insert(name.to_string());
        let value = match self.variant.get(name) {
            None => return Err(format!("constant {name} has no value in the variant")),
            Some(v) if v.type_name() != ty => {
                let found = v.type_name();
                return Err(format!(
                    "constant {name} is {ty}, the variant gives {found}"
                ));
            }
            Some(Value::F32(v)) if !v.is_finite() => {
                return Err(format!("constant {name} = {v} is not finite"));
            }
            Some(v) => v,
        };
        if active && !self.consts.insert(name.to_string()) {
            return Err(format!("constant {name} is declared twice"));
        }
        if active {
            self.out += &format!("const {name}: {ty} = {value};\n");
        }
        Ok(())
    }

    /// The value of an `#if`'s flag.
    fn flag(&mut self, name: &str) -> Result<bool, String> {
        self.named.insert(name.to_string());
        match self.variant.get(name) {
            Some(Value::Bool(value)) => Ok(value),
            Some(v) => Err(format!(
                "flag {name} is bool, the variant gives {}",
                v.type_name()
            )),
            None => Err(format!("flag {name} has no value in the variant")),
        }
    }
}
