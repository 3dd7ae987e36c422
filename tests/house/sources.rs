//! Which file uses which, read from the sources: `use` lines and paths within the code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Files by their path below `src`, as `ops/matmul/mod.rs`, with their text.
pub type Sources = BTreeMap<String, String>;

/// Reads all Rust files below a folder.
pub fn read(root: &Path) -> Sources {
    let mut sources = Sources::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                let name = name.replace('\\', "/");
                sources.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    sources
}

/// The module that a file is: `ops/matmul/mod.rs` is `["ops", "matmul"]`.
fn module(file: &str) -> Vec<String> {
    let mut parts: Vec<String> = file
        .trim_end_matches(".rs")
        .split('/')
        .map(String::from)
        .collect();
    if matches!(
        parts.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        parts.pop();
    }
    parts
}

/// Words, `::` and other signs of a source, without comments, literals and test modules.
pub fn tokens(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut out, mut i) = (Vec::<String>::new(), 0);
    while i < chars.len() {
        let hashes = (i + 1..).take_while(|&j| at(j) == '#').count();
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                while i < chars.len() && !(at(i) == '*' && at(i + 1) == '/') {
                    i += 1;
                }
                i += 2;
            }
            // Raw strings end with as many hashes as they begin with.
            'r' if at(i + 1 + hashes) == '"'
                && (i == 0 || !word(at(i - 1)) || at(i - 1) == 'b') =>
            {
                let end: Vec<char> = format!("\"{}", "#".repeat(hashes)).chars().collect();
                i += hashes + 2;
                while i < chars.len() && !chars[i..].starts_with(&end) {
                    i += 1;
                }
                i += end.len();
            }
            quote @ ('"' | '\'') => {
                // 'a is a lifetime where no quote follows.
                let literal = quote == '"' || at(i + 1) == '\\' || at(i + 2) == '\'';
                i += 1;
                while literal && i < chars.len() && at(i) != quote {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += usize::from(literal);
            }
            ':' if at(i + 1) == ':' => {
                out.push("::".into());
                i += 2;
            }
            c if word(c) => {
                let end = (i..).find(|&j| !word(at(j))).unwrap_or(chars.len());
                out.push(chars[i..end].iter().collect());
                i = end;
            }
            c => {
                if !c.is_whitespace() {
                    out.push(c.into());
                }
                i += 1;
            }
        }
    }
    without_tests(out)
}

/// Leaves out what follows `#[cfg(test)]` in braces.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut out, mut rest) = (Vec::new(), &tokens[..]);
    while let Some((first, after)) = rest.split_first() {
        if !(rest.len() >= TEST.len() && rest.iter().zip(TEST).all(|(a, b)| a == b)) {
            out.push(first.clone());
            rest = after;
            continue;
        }
        let mut depth = 0;
        let end = rest.iter().position(|token| {
            depth += i32::from(token == "{") - i32::from(token == "}");
            depth == 0 && (token == "}" || token == ";")
        });
        rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
    }
    out
}

/// What one `use` line or path names: segments, and the name it goes by here.
struct Named {
    path: Vec<String>,
    alias: Option<String>,
}

/// The paths of a `use` tree, without `use` and `;`.
fn tree(tokens: &[String], before: &[String], out: &mut Vec<Named>) {
    let mut path = before.to_vec();
    let mut alias = None;
    let mut i = 0;
    while i < tokens.len() {
        match tokens[i].as_str() {
            "{" => {
                let (mut depth, mut first) = (0, i + 1);
                for (j, token) in tokens.iter().enumerate().skip(i) {
                    depth += i32::from(token == "{") - i32::from(token == "}");
                    if depth == 0 || (depth == 1 && token == ",") {
                        tree(&tokens[first..j], &path, out);
                        first = j + 1;
                    }
                }
                return;
            }
            "as" => {
                alias = tokens.get(i + 1).cloned();
                break;
            }
            "::" => {}
            "self" if !path.is_empty() => {}
            segment => path.push(segment.into()),
        }
        i += 1;
    }
    if path.len() > before.len() || (i > 0 && !path.is_empty()) {
        let alias = alias.or_else(|| path.last().cloned());
        out.push(Named { path, alias });
    }
}

/// All that a source names: its `use` trees, then paths of several segments elsewhere.
fn named(source: &str) -> (Vec<Named>, Vec<Named>) {
    let tokens = tokens(source);
    let (mut uses, mut paths, mut i) = (Vec::new(), Vec::new(), 0);
    while i < tokens.len() {
        if tokens[i] == "use" {
            let end = (i..tokens.len()).find(|&j| tokens[j] == ";");
            let end = end.unwrap_or(tokens.len());
            tree(&tokens[i + 1..end], &[], &mut uses);
            i = end;
        } else if tokens.get(i + 1).is_some_and(|t| t == "::") {
            let mut path = vec![tokens[i].clone()];
            while tokens.get(i + 1).is_some_and(|t| t == "::") {
                path.extend(tokens.get(i + 2).cloned());
                i += 2;
            }
            let alias = None;
            paths.push(Named { path, alias });
        }
        i += 1;
    }
    (uses, paths)
}

/// Files by module, and what each calls by names of its own.
struct Modules {
    files: BTreeMap<Vec<String>, String>,
    /// Absolute paths by module and name.
    imports: BTreeMap<Vec<String>, BTreeMap<String, Vec<String>>>,
}

impl Modules {
    /// A path as seen from the crate's root; `None` for another crate's or a name of its own.
    fn absolute(&self, from: &[String], path: &[String]) -> Option<Vec<String>> {
        let ups = path.iter().take_while(|p| *p == "super").count();
        let (base, rest) = match path.first()?.as_str() {
            "crate" => (vec![], &path[1..]),
            "self" => (from.to_vec(), &path[1..]),
            "super" => (
                from.get(..from.len().checked_sub(ups)?)?.to_vec(),
                &path[ups..],
            ),
            first => match self.imports.get(from).and_then(|own| own.get(first)) {
                Some(import) => (import.clone(), &path[1..]),
                None => {
                    let child = [from, &path[..1]].concat();
                    self.files.get(&child)?;
                    (from.to_vec(), path)
                }
            },
        };
        Some([&base[..], rest].concat())
    }

    /// The file in which what a path names stands, beyond re-exports.
    fn file(&self, path: &[String], depth: usize) -> Option<&str> {
        let known = (0..=path.len()).rev();
        let cut = known
            .into_iter()
            .find(|&n| self.files.contains_key(&path[..n]))?;
        let (module, rest) = path.split_at(cut);
        // A name may be a module's and an item's: at the end of a path it is the item's.
        let places = [(module, rest)]
            .into_iter()
            .chain((rest.is_empty() && cut > 0).then(|| (&path[..cut - 1], &path[cut - 1..])));
        for (module, rest) in places {
            let target = rest
                .first()
                .and_then(|name| self.imports.get(module)?.get(name));
            if let Some(target) = target.filter(|target| depth < 8 && target[..] != *path) {
                return self.file(&[&target[..], &rest[1..]].concat(), depth + 1);
            }
        }
        self.files.get(module).map(String::as_str)
    }
}

/// Who uses whom, file by file.
pub fn arrows(sources: &Sources) -> BTreeSet<(String, String)> {
    let mut modules = Modules {
        files: sources.keys().map(|f| (module(f), f.clone())).collect(),
        imports: BTreeMap::new(),
    };
    let all: Vec<_> = sources
        .iter()
        .map(|(f, s)| (f, module(f), named(s)))
        .collect();
    for (_, from, (uses, _)) in &all {
        let imports = uses
            .iter()
            .filter_map(|u| Some((u.alias.clone()?, modules.absolute(from, &u.path)?)));
        let imports: BTreeMap<_, _> = imports.collect();
        modules.imports.insert(from.clone(), imports);
    }
    let mut arrows = BTreeSet::new();
    for (file, from, (uses, paths)) in &all {
        for named in uses.iter().chain(paths) {
            let path = modules.absolute(from, &named.path);
            let target = path.and_then(|path| modules.file(&path, 0).map(String::from));
            arrows.extend(target.filter(|t| t != *file).map(|t| (file.to_string(), t)));
        }
    }
    arrows
}
