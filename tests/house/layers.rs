//! What arrows must hold, and made-up sources on which that is tried.

use std::collections::BTreeSet;

type Arrows = BTreeSet<(String, String)>;

/// The folder of `src` that a file is in, or its own name where it stands alone.
fn folder(file: &str) -> &str {
    file.split('/')
        .next()
        .unwrap_or(file)
        .trim_end_matches(".rs")
}

/// Whether a file holds the crate together, and so names everything.
fn is_root(file: &str) -> bool {
    matches!(file, "lib.rs" | "main.rs")
}

/// Arrows between folders.
pub fn between_folders(arrows: &Arrows) -> Arrows {
    let inner = arrows
        .iter()
        .filter(|(from, to)| !is_root(from) && !is_root(to));
    inner
        .map(|(from, to)| (folder(from).to_string(), folder(to).to_string()))
        .filter(|(from, to)| from != to)
        .collect()
}

/// Arrows between the files of one folder. A `mod.rs` that re-exports its files is not used by them.
pub fn within(arrows: &Arrows, name: &str) -> Arrows {
    let inside = |file: &str| file.contains('/') && folder(file) == name;
    let inner = arrows
        .iter()
        .filter(|(from, to)| inside(from) && inside(to));
    inner.cloned().collect()
}

/// A circle of arrows, its first place again at its end; empty where there is none.
pub fn circle(arrows: &Arrows) -> Vec<String> {
    fn visit<'a>(
        at: &'a str,
        arrows: &'a Arrows,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> bool {
        if let Some(first) = path.iter().position(|p| *p == at) {
            path.drain(..first);
            path.push(at);
            return true;
        }
        if !done.insert(at) {
            return false;
        }
        path.push(at);
        let mut next = arrows.iter().filter(|(from, _)| from == at);
        if next.any(|(_, to)| visit(to, arrows, path, done)) {
            return true;
        }
        path.pop();
        false
    }
    let (mut path, mut done) = (Vec::new(), BTreeSet::new());
    for (from, _) in arrows {
        if visit(from, arrows, &mut path, &mut done) {
            return path.into_iter().map(String::from).collect();
        }
    }
    Vec::new()
}

/// One line for each arrow that goes up or sideways, for each folder without a row, for each row's name
/// without a folder, and for each exception that nothing needs.
pub fn upward(
    arrows: &Arrows,
    layers: &[&[&str]],
    exceptions: &[(&str, &str, &str)],
) -> Vec<String> {
    let row = |name: &str| layers.iter().position(|row| row.contains(&name));
    let mut found = BTreeSet::new();
    let mut needed = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for (from, to) in arrows
        .iter()
        .filter(|(from, to)| !is_root(from) && !is_root(to))
    {
        let (a, b) = (folder(from), folder(to));
        seen.extend([a, b]);
        if a == b || row(b) < row(a) && row(b).is_some() {
            continue;
        }
        match exceptions.iter().find(|e| (e.0, e.1) == (a, b)) {
            Some(exception) => {
                needed.insert(*exception);
            }
            None => {
                found.insert(format!("{from} uses {to}: {a} does not stand above {b}"));
            }
        }
    }
    let missing = seen.iter().filter(|name| row(name).is_none());
    found.extend(missing.map(|name| format!("{name} stands in no row")));
    let gone = layers
        .iter()
        .copied()
        .flatten()
        .filter(|name| !seen.contains(*name));
    found.extend(
        gone.map(|name| format!("{name} has a row, but nothing uses it and it uses nothing")),
    );
    let idle = exceptions.iter().filter(|e| !needed.contains(*e));
    found.extend(
        idle.map(|(from, to, _)| format!("{from} no longer uses {to}: take the exception out")),
    );
    found.into_iter().collect()
}

mod tests {
    use super::*;
    use crate::sources::{Sources, arrows};

    fn made_up(files: &[(&str, &str)]) -> Arrows {
        let files = files
            .iter()
            .map(|(file, text)| (file.to_string(), text.to_string()));
        arrows(&files.collect::<Sources>())
    }

    fn pairs(arrows: &Arrows) -> Vec<(&str, &str)> {
        arrows
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect()
    }

    #[test]
    fn use_trees_and_paths_in_code_are_arrows() {
        let found = made_up(&[
            (
                "low/mod.rs",
                "mod deep; pub use deep::{Deep, other as renamed}; pub struct Low;",
            ),
            (
                "low/deep.rs",
                "pub struct Deep; pub fn other() {} fn own() { std::mem::drop(1) }",
            ),
            ("a.rs", "use crate::low::{self, Deep};"),
            (
                "b.rs",
                "fn f() { crate::low::renamed(); let _: crate::low::Low; }",
            ),
            ("c/mod.rs", "mod d;\nmod e; fn f() { d::g() }"),
            ("c/d.rs", "use super::e::E; pub(super) fn g() {}"),
            (
                "c/e.rs",
                "pub struct E; use super::super::low as l; fn f() { l::deep::other() }",
            ),
        ]);
        assert_eq!(
            pairs(&found),
            [
                ("a.rs", "low/deep.rs"),
                ("a.rs", "low/mod.rs"),
                ("b.rs", "low/deep.rs"),
                ("b.rs", "low/mod.rs"),
                ("c/d.rs", "c/e.rs"),
                ("c/e.rs", "low/deep.rs"),
                ("c/e.rs", "low/mod.rs"),
                ("c/mod.rs", "c/d.rs"),
                ("low/mod.rs", "low/deep.rs"),
            ]
        );
    }

    #[test]
    fn comments_texts_and_test_modules_are_none() {
        let quiet = r##"
            // use crate::b::X;
            /* crate::b::f() */
            /// [`crate::b::X`]
            fn f<'a>(x: &'a str) -> char { let _ = "crate::b::f \" "; let _ = r#"crate::b::"f"#; '"' }
            #[cfg(test)]
            mod tests { use crate::b::X; fn f() { { crate::b::f() } } }
        "##;
        assert!(made_up(&[("a.rs", quiet), ("b.rs", "")]).is_empty());
        let loud = format!("{quiet} fn g() {{ crate::b::f() }}");
        assert_eq!(
            pairs(&made_up(&[("a.rs", &loud), ("b.rs", "")])),
            [("a.rs", "b.rs")]
        );
    }

    #[test]
    fn circles_are_found_beyond_re_exports() {
        let found = made_up(&[
            (
                "x/mod.rs",
                "mod a; mod b; mod c; pub use a::A; pub use c::C;",
            ),
            ("x/a.rs", "use super::b::B; pub struct A;"),
            ("x/b.rs", "pub struct B; fn f() { super::C::new() }"),
            ("x/c.rs", "use super::A; pub struct C;"),
        ]);
        assert_eq!(
            circle(&within(&found, "x")),
            ["x/a.rs", "x/b.rs", "x/c.rs", "x/a.rs"]
        );
        let straight = made_up(&[
            ("x/mod.rs", "mod a; mod b; pub use a::A;"),
            ("x/a.rs", "use super::b::B; pub struct A;"),
            ("x/b.rs", "pub struct B;"),
        ]);
        assert!(circle(&within(&straight, "x")).is_empty());
        // An item of the folder's own file.
        let helper = made_up(&[
            ("x/mod.rs", "mod a; pub use a::A; fn helper() {}"),
            ("x/a.rs", "pub struct A; fn f() { super::helper() }"),
        ]);
        assert_eq!(circle(&within(&helper, "x")).len(), 3);
    }

    #[test]
    fn circles_between_folders_are_found() {
        let found = made_up(&[
            ("x/mod.rs", "pub mod a; pub mod b;"),
            ("x/a.rs", "use crate::y::Y;"),
            ("x/b.rs", "pub struct B;"),
            ("y/mod.rs", "pub struct Y; fn f() { crate::x::b::B }"),
        ]);
        assert_eq!(circle(&between_folders(&found)), ["x", "y", "x"]);
    }

    #[test]
    fn arrows_up_and_sideways_are_found_and_exceptions_must_be_needed() {
        let found = made_up(&[
            ("lib.rs", "mod high; mod low; mod side; pub use low::Low;"),
            ("high/mod.rs", "use crate::low::Low; pub struct High;"),
            ("low/mod.rs", "mod inner; pub struct Low;"),
            ("low/inner.rs", "fn f() { crate::high::High }"),
            ("side.rs", "use crate::Low;"),
        ]);
        let layers: &[&[&str]] = &[&["low", "side"], &["high"]];
        let up = "low/inner.rs uses high/mod.rs: low does not stand above high";
        let aside = "side.rs uses low/mod.rs: side does not stand above low";
        assert_eq!(upward(&found, layers, &[]), [up, aside]);
        let exception = ("low", "high", "");
        assert_eq!(upward(&found, layers, &[exception]), [aside]);
        let idle = upward(&found, layers, &[exception, ("high", "side", "")]);
        assert_eq!(
            idle,
            ["high no longer uses side: take the exception out", aside]
        );
        let absent = upward(&found, &[&["low"], &["high"]], &[exception]);
        assert!(
            absent.contains(&"side stands in no row".to_string()),
            "{absent:?}"
        );
        let extra = upward(&found, &[&["low"], &["side", "high", "gone"]], &[exception]);
        assert!(
            extra.len() == 1 && extra[0].starts_with("gone has a row"),
            "{extra:?}"
        );
    }
}
