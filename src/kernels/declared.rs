//! What a kernel's WGSL says of itself, read from its text: no compiler is needed.
//!
//! ```wgsl
//! // One sentence: what it computes.
//! //
//! //   the formula, indented
//! //
//! // Source: paper and equation, or the definition followed.
//! // Dispatch: (x, y, z) workgroups of SIZE; what one of them does.
//! #const TILE: u32 // meaning and allowed values
//! const SUBGROUP: u32 = 8u; // of kernels with subgroups: the fewest lanes that those must have
//! struct Params {
//!     n: u32, // meaning, with the range where it matters
//! }
//! @group(0) @binding(1) var<storage, read> x: array<f32>; // (rows, columns): meaning
//! ```
//!
//! `Dispatch: count workgroups of SIZE, folded; …` is a linear count, to be folded into x and y. A line under
//! `#if` is read together with its conditions, so that one reading serves every variant. Tests
//! hold what is read here equal to what naga reflects.

use super::contract::{Access, Binding, Dispatch, Extent, Param};
use super::preprocess::{Directive, is_word};
use std::collections::{BTreeMap, BTreeSet};

/// The text of an include of `shaders/include/`, by name.
pub(super) type Include<'a> = dyn Fn(&str) -> Option<&'a str> + 'a;

/// Everything read; see [`Contract`](super::Contract) for what each is.
pub(super) struct Declared {
    pub summary: String,
    pub formula: String,
    pub source: String,
    pub dispatch: Dispatch,
    pub workgroup_size: [Extent; 3],
    /// The value of `const SUBGROUP`.
    pub lanes: Option<u32>,
    pub params: Vec<Param>,
    pub bindings: Vec<Binding>,
    pub consts: Vec<Const>,
    pub flags: BTreeSet<String>,
}

/// A `#const` line.
#[derive(Clone)]
pub(super) struct Const {
    pub name: String,
    pub ty: String,
    pub meaning: String,
}

/// Flags and the values under which a line is there.
type When = BTreeMap<String, bool>;

/// Both conditions at once; `None` where they exclude each other.
fn both(a: &When, b: &When) -> Option<When> {
    let excluded = b.iter().any(|(flag, value)| a.get(flag) == Some(&!value));
    (!excluded).then(|| a.iter().chain(b).map(|(f, v)| (f.clone(), *v)).collect())
}

/// Whether `b` holds wherever `a` does.
fn implies(a: &When, b: &When) -> bool {
    b.iter().all(|(flag, value)| a.get(flag) == Some(value))
}

impl Declared {
    /// Reads a kernel and its includes.
    ///
    /// # Errors
    /// What is missing or not in the form above.
    pub(super) fn read<'a>(wgsl: &'a str, include: &Include<'a>) -> Result<Declared, String> {
        let mut reader = Reader {
            include,
            branches: Vec::new(),
            included: Vec::new(),
            flags: BTreeSet::new(),
            consts: BTreeMap::new(),
            aliases: Vec::new(),
            variables: Vec::new(),
            params: Vec::new(),
            in_params: false,
            workgroup_size: None,
            lanes: None,
        };
        reader.file(wgsl)?;
        let header = Header::of(wgsl);
        Ok(Declared {
            summary: header.summary()?,
            formula: header.formula()?,
            source: header.labelled("Source:")?,
            dispatch: header.dispatch()?,
            bindings: reader.bindings()?,
            workgroup_size: reader.workgroup_size.ok_or("no @workgroup_size")?,
            lanes: reader.lanes,
            params: reader.params,
            consts: reader.consts.into_values().collect(),
            flags: reader.flags,
        })
    }
}

/// The comment at the top of a kernel.
struct Header<'a>(Vec<&'a str>);

impl<'a> Header<'a> {
    fn of(wgsl: &'a str) -> Self {
        let lines = wgsl.lines().map_while(|line| line.strip_prefix("//"));
        Header(lines.collect())
    }

    /// The first paragraph.
    fn summary(&self) -> Result<String, String> {
        let lines = self.0.iter().take_while(|line| !line.is_empty());
        let text = lines.map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        if text.is_empty() {
            return Err("the header does not begin with what the kernel computes".into());
        }
        Ok(text)
    }

    /// The second paragraph, whose lines are indented.
    fn formula(&self) -> Result<String, String> {
        let rest = self.0.iter().skip_while(|line| !line.is_empty()).skip(1);
        let lines = rest.map_while(|line| line.strip_prefix("   "));
        let text = lines.map(str::trim_end).collect::<Vec<_>>().join("\n");
        if text.is_empty() {
            return Err("the header has no indented formula after its first paragraph".into());
        }
        Ok(text)
    }

    /// From a label at the beginning of a line to the next label or empty line.
    fn labelled(&self, label: &str) -> Result<String, String> {
        let begins = |line: &&&str| line.trim_start().starts_with(label);
        let at = self.0.iter().position(|line| begins(&line));
        let at = at.ok_or_else(|| format!("the header has no line that begins with '{label}'"))?;
        let is_label = |line: &str| {
            let first = line.trim_start().split(' ').next().unwrap_or("");
            first.ends_with(':') && first.starts_with(|c: char| c.is_ascii_uppercase())
        };
        let more = self.0[at + 1..].iter();
        let more = more.take_while(|line| !line.trim().is_empty() && !is_label(line));
        let first = self.0[at].trim_start()[label.len()..].trim();
        let lines = std::iter::once(first).chain(more.map(|line| line.trim()));
        Ok(lines.collect::<Vec<_>>().join(" "))
    }

    /// `(x, y, z) workgroups of SIZE; text` or `count workgroups of SIZE, folded; text`.
    fn dispatch(&self) -> Result<Dispatch, String> {
        let all = self.labelled("Dispatch:")?;
        let (groups, text) = all
            .split_once(" workgroup")
            .map(|(groups, text)| (groups, text.strip_prefix('s').unwrap_or(text).trim()))
            .filter(|(_, text)| text.starts_with("of "))
            .ok_or_else(|| format!("expected 'Dispatch: … workgroups of …', found '{all}'"))?;
        let axes = match groups.strip_prefix('(').and_then(|g| g.strip_suffix(')')) {
            Some(inner) if outer_commas(inner).len() == 3 => outer_commas(inner),
            _ => vec![groups, "1", "1"],
        };
        let size = text.split(';').next().unwrap_or(text);
        Ok(Dispatch {
            groups: [0, 1, 2].map(|axis| axes[axis].trim().to_string()),
            folded: size.contains("folded"),
            text: text.to_string(),
        })
    }
}

/// The parts of a text between commas that stand in no brackets.
fn outer_commas(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let outer = |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    };
    text.split(outer).collect()
}

/// A type with another in the place of a name.
fn replace(ty: &str, name: &str, by: &str) -> String {
    let parts = ty.split_inclusive(|c| !is_word(c));
    let parts = parts.map(|part| match part.strip_prefix(name) {
        Some(rest) if !rest.starts_with(is_word) => format!("{by}{rest}"),
        _ => part.to_string(),
    });
    parts.collect()
}

/// A bound variable, its type as written.
struct Variable {
    when: When,
    index: u32,
    name: String,
    space: String,
    ty: String,
    comment: String,
}

struct Reader<'a, 'i> {
    include: &'i Include<'a>,
    /// The `#if`s around this line, outermost first.
    branches: Vec<(&'a str, bool)>,
    /// Includes read so far, with the conditions under which they came in.
    included: Vec<(&'a str, When)>,
    flags: BTreeSet<String>,
    consts: BTreeMap<String, Const>,
    /// Conditions, name and type.
    aliases: Vec<(When, String, String)>,
    variables: Vec<Variable>,
    params: Vec<Param>,
    in_params: bool,
    workgroup_size: Option<[Extent; 3]>,
    lanes: Option<u32>,
}

impl<'a> Reader<'a, '_> {
    /// The conditions of this line; `None` where it is never there.
    fn when(&self) -> Option<When> {
        self.branches
            .iter()
            .try_fold(When::new(), |all, (flag, value)| {
                both(&all, &When::from([(flag.to_string(), *value)]))
            })
    }

    fn file(&mut self, text: &'a str) -> Result<(), String> {
        for line in text.lines() {
            match Directive::read(line).transpose()? {
                None => self
                    .line(line)
                    .map_err(|e| format!("{e}: {}", line.trim()))?,
                Some(Directive::Include(name)) => self.include(name)?,
                Some(Directive::Const { name, ty, comment }) => {
                    let constant = Const {
                        name: name.to_string(),
                        ty: ty.to_string(),
                        meaning: comment.to_string(),
                    };
                    self.consts.insert(name.to_string(), constant);
                }
                Some(Directive::If(flag)) => {
                    self.flags.insert(flag.to_string());
                    self.branches.push((flag, true));
                }
                Some(Directive::Else) => {
                    let branch = self.branches.last_mut().ok_or("#else without #if")?;
                    branch.1 = !branch.1;
                }
                Some(Directive::Endif) => {
                    self.branches.pop().ok_or("#endif without #if")?;
                }
            }
        }
        Ok(())
    }

    fn include(&mut self, name: &'a str) -> Result<(), String> {
        let Some(when) = self.when() else {
            return Ok(());
        };
        // A file that is certainly in already adds nothing.
        let certainly = |(file, before): &(&str, When)| *file == name && implies(&when, before);
        if self.included.iter().any(certainly) {
            return Ok(());
        }
        self.included.push((name, when));
        let text = (self.include)(name).ok_or_else(|| format!("no include '{name}'"))?;
        self.file(text)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (code, comment) = line.split_once("//").unwrap_or((line, ""));
        let (code, comment) = (code.trim(), comment.trim());
        let Some(when) = self.when().filter(|_| !code.is_empty()) else {
            return Ok(());
        };
        if self.in_params {
            self.in_params = code != "}";
            if !when.is_empty() {
                return Err("a field of Params under #if".into());
            }
            if self.in_params {
                let field = code.trim_end_matches(',').split_once(':');
                let (name, ty) = field.ok_or("expected `name: type, // meaning`")?;
                self.params.push(Param {
                    name: name.trim().to_string(),
                    ty: ty.trim().to_string(),
                    meaning: comment.to_string(),
                });
            }
        } else if code == "struct Params {" {
            if !when.is_empty() {
                return Err("a struct Params under #if".into());
            }
            self.in_params = true;
        } else if let Some(rest) = code.strip_prefix("alias ") {
            let sides = rest.trim_end_matches(';').split_once(" = ");
            let (name, ty) = sides.ok_or("expected `alias Name = Type;`")?;
            self.aliases.push((when, name.to_string(), ty.to_string()));
        } else if let Some(rest) = code.strip_prefix("@group(0) @binding(") {
            let variable = Variable::read(when, rest, comment);
            self.variables
                .push(variable.ok_or("expected `@group(0) @binding(n) var<…> name: Type;`")?);
        } else if let Some(rest) = code.strip_prefix("const SUBGROUP: u32 = ") {
            let number = rest.trim_end_matches([';', 'u']).parse();
            self.lanes = Some(number.map_err(|_| "expected `const SUBGROUP: u32 = 8u;`")?);
        } else if let Some((_, rest)) = code.split_once("@workgroup_size(") {
            let (inner, _) = rest
                .split_once(')')
                .ok_or("expected `@workgroup_size(…)`")?;
            let mut size = [Extent::Fixed(1), Extent::Fixed(1), Extent::Fixed(1)];
            for (extent, text) in size.iter_mut().zip(inner.split(',')) {
                let text = text.trim();
                let number = text.trim_end_matches('u').parse();
                *extent = number.map_or_else(|_| Extent::Named(text.to_string()), Extent::Fixed);
            }
            self.workgroup_size = Some(size);
        }
        Ok(())
    }

    /// What a type is without aliases, under each set of conditions that matters. `depth` counts
    /// the aliases that were replaced already.
    fn resolve(&self, when: When, ty: &str, depth: usize) -> Result<Vec<(When, String)>, String> {
        let is_alias = |name: &&str| self.aliases.iter().any(|(_, n, _)| n == name);
        let mut names = ty.split(|c| !is_word(c));
        let Some(name) = names.find(is_alias) else {
            return Ok(vec![(when, ty.to_string())]);
        };
        if depth > self.aliases.len() {
            return Err(format!("alias {name} stands for itself"));
        }
        let mut found = Vec::new();
        for (condition, _, target) in self.aliases.iter().filter(|(_, n, _)| n == name) {
            if let Some(when) = both(&when, condition) {
                found.extend(self.resolve(when, &replace(ty, name, target), depth + 1)?);
            }
        }
        Ok(found)
    }

    /// The bindings by number, one entry for each type that a variable can have.
    fn bindings(&self) -> Result<Vec<Binding>, String> {
        let mut found: Vec<Binding> = Vec::new();
        for v in &self.variables {
            let types = self.resolve(v.when.clone(), &v.ty, 0)?;
            for (i, (when, ty)) in types.iter().enumerate() {
                // An include that came in under either of two flags says the same under both.
                let said = types.iter().enumerate().any(|(j, (other, same))| {
                    j != i && same == ty && implies(when, other) && (j < i || when != other)
                });
                if !said {
                    found.push(v.binding(when, ty)?);
                }
            }
        }
        found.sort_by_key(|b| b.index);
        Ok(found)
    }
}

impl Variable {
    /// From `n) var<…> name: Type;`.
    fn read(when: When, text: &str, comment: &str) -> Option<Variable> {
        let (index, rest) = text.split_once(')')?;
        let (var, ty) = rest.trim().strip_prefix("var")?.split_once(": ")?;
        let (space, name) = var.rsplit_once(' ')?;
        Some(Variable {
            when,
            index: index.parse().ok()?,
            name: name.to_string(),
            space: space.trim().to_string(),
            ty: ty.strip_suffix(';')?.to_string(),
            comment: comment.to_string(),
        })
    }

    /// The binding where its type is `ty`.
    fn binding(&self, when: &When, ty: &str) -> Result<Binding, String> {
        let kind = match self.space.as_str() {
            "<uniform>" => Access::Uniform,
            "<storage, read>" => Access::Read,
            "<storage, read_write>" => Access::ReadWrite,
            "" => Access::Image,
            space => return Err(format!("binding {}: var{space}", self.name)),
        };
        let inner = |prefix: &str, suffix: &str| ty.strip_prefix(prefix)?.strip_suffix(suffix);
        let element = inner("array<", ">").or(inner("texture_storage_2d_array<", ", read>"));
        let (shape, meaning) = if kind == Access::Uniform {
            ("", "parameters")
        } else {
            let parts = self.comment.split_once(": ");
            let parts = parts.filter(|(shape, _)| shape.starts_with('('));
            parts.ok_or_else(|| format!("binding {}: no `// (shape): meaning`", self.name))?
        };
        let condition = |(flag, value): (&String, &bool)| {
            if *value {
                flag.clone()
            } else {
                format!("!{flag}")
            }
        };
        let when: Vec<String> = when.iter().map(condition).collect();
        Ok(Binding {
            index: self.index,
            name: self.name.clone(),
            kind,
            dtype: element.unwrap_or(ty).to_string(),
            shape: shape.to_string(),
            meaning: meaning.to_string(),
            when: (!when.is_empty()).then(|| when.join(" & ")),
        })
    }
}
