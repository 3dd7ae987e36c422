//! The preprocessor: what it writes, and every error it can give.

use melos::kernels::preprocess::expand;
use melos::kernels::{Contract, KernelError, Target, Variant, catalogue};

const INCLUDES: &[(&str, &str)] = &[
    ("one.wgsl", "fn one() {}\n"),
    ("two.wgsl", "#include \"one.wgsl\"\nfn two() {}\n"),
    ("loop.wgsl", "\n#include \"pool.wgsl\"\n"),
    ("pool.wgsl", "#include \"loop.wgsl\"\n"),
    ("open.wgsl", "\n\n#if A\n"),
];

fn run(text: &str, variant: Variant) -> Result<String, KernelError> {
    let include = |name: &str| INCLUDES.iter().find(|(n, _)| *n == name).map(|(_, t)| *t);
    expand("k.wgsl", text, &variant, &include)
}

fn fails(text: &str, variant: Variant, file: &str, line: u32, part: &str) {
    match run(text, variant) {
        Err(KernelError::Preprocess {
            file: f,
            line: l,
            message,
        }) => {
            assert_eq!((f.as_str(), l), (file, line), "{message}");
            assert!(message.contains(part), "'{message}' does not say '{part}'");
        }
        other => panic!("expected a preprocessor error, got {other:?}"),
    }
}

#[test]
fn constants_take_the_variants_values() {
    let v = Variant::new()
        .with("N", 8u32)
        .with("S", -0.5f32)
        .with("T", 1e-7f32)
        .with("F", true);
    let text = "#const N: u32\n#const S: f32 // scale\n#const T: f32\n#const F: bool\nbody\n";
    let want = "const N: u32 = 8u;\nconst S: f32 = -0.5;\nconst T: f32 = 1e-7;\n\
                const F: bool = true;\nbody\n";
    assert_eq!(run(text, v).expect("expands"), want);
}

#[test]
fn branches_nest() {
    let text =
        "#if A\na\n#if B\nab\n#else\na!b\n#endif\n#else\n!a\n  #if B\n!ab\n  #endif\n#endif\nend\n";
    let with =
        |a: bool, b: bool| run(text, Variant::new().with("A", a).with("B", b)).expect("expands");
    assert_eq!(with(true, true), "a\nab\nend\n");
    assert_eq!(with(true, false), "a\na!b\nend\n");
    assert_eq!(with(false, true), "!a\n!ab\nend\n");
    assert_eq!(with(false, false), "!a\nend\n");
}

#[test]
fn includes_come_in_once() {
    let text = "#include \"two.wgsl\"\n#include \"one.wgsl\"\n#include \"two.wgsl\"\nx\n";
    assert_eq!(
        run(text, Variant::new()).expect("expands"),
        "fn one() {}\nfn two() {}\nx\n"
    );
    let inactive = "#if A\n#include \"one.wgsl\"\n#else\n#include \"two.wgsl\"\n#endif\n#include \"one.wgsl\"\n";
    let out = run(inactive, Variant::new().with("A", false)).expect("expands");
    assert_eq!(out, "fn one() {}\nfn two() {}\n");
}

#[test]
fn bad_directives() {
    let none = Variant::new;
    fails(
        "a\n#define X\n",
        none(),
        "k.wgsl",
        2,
        "unknown directive '#define X'",
    );
    fails(
        "#const N u32\n",
        none().with("N", 1u32),
        "k.wgsl",
        1,
        "expected #const",
    );
    fails(
        "#const N: i64\n",
        none().with("N", 1u32),
        "k.wgsl",
        1,
        "expected #const",
    );
    fails(
        "#include one.wgsl\n",
        none(),
        "k.wgsl",
        1,
        "expected #include",
    );
    fails("#if\n#endif\n", none(), "k.wgsl", 1, "expected #if FLAG");
    fails(
        "#if A || B\n#endif\n",
        none(),
        "k.wgsl",
        1,
        "expected #if FLAG",
    );
}

#[test]
fn unbalanced_branches() {
    let a = || Variant::new().with("A", true);
    fails("#if A\nx\n", a(), "k.wgsl", 1, "#if without #endif");
    fails(
        "x\n#endif\n",
        Variant::new(),
        "k.wgsl",
        2,
        "#endif without #if",
    );
    fails("#else\n", Variant::new(), "k.wgsl", 1, "#else without #if");
    fails(
        "#if A\n#else\n#else\n#endif\n",
        a(),
        "k.wgsl",
        3,
        "second #else",
    );
    fails(
        "#include \"open.wgsl\"\n#endif\n",
        a(),
        "open.wgsl",
        3,
        "#if without #endif",
    );
}

#[test]
fn bad_includes() {
    fails(
        "\n#include \"none.wgsl\"\n",
        Variant::new(),
        "k.wgsl",
        2,
        "no include 'none.wgsl'",
    );
    let cycle = "k.wgsl -> loop.wgsl -> pool.wgsl -> loop.wgsl";
    fails(
        "#include \"loop.wgsl\"\n",
        Variant::new(),
        "pool.wgsl",
        1,
        cycle,
    );
}

#[test]
fn bad_values() {
    let none = Variant::new;
    fails("#const N: u32\n", none(), "k.wgsl", 1, "N has no value");
    fails(
        "#const N: u32\n",
        none().with("N", 1.0f32),
        "k.wgsl",
        1,
        "N is u32, the variant gives f32",
    );
    fails(
        "#const S: f32\n",
        none().with("S", f32::NAN),
        "k.wgsl",
        1,
        "not finite",
    );
    fails(
        "#const N: u32\n#const N: u32\n",
        none().with("N", 1u32),
        "k.wgsl",
        2,
        "declared twice",
    );
    fails("#if A\n#endif\n", none(), "k.wgsl", 1, "A has no value");
    fails(
        "#if A\n#endif\n",
        none().with("A", 1u32),
        "k.wgsl",
        1,
        "A is bool",
    );
}

#[test]
fn a_key_the_text_never_names_is_refused() {
    let error = run(
        "#const N: u32\n",
        Variant::new().with("N", 1u32).with("M", 2u32),
    );
    let want = KernelError::UnknownKey {
        kernel: "k.wgsl".into(),
        key: "M".into(),
        known: "N".into(),
    };
    assert_eq!(error, Err(want));
    // Names in branches that are off count as known.
    let v = Variant::new().with("A", false).with("N", 1u32);
    assert_eq!(run("#if A\n#const N: u32\n#endif\n", v).as_deref(), Ok(""));
}

#[test]
fn keys_are_stable() {
    let v = Variant::new()
        .with("B", 2u32)
        .with("A", true)
        .with("S", 0.5f32);
    assert_eq!(v.key(), "A=true,B=2u,S=0.5");
    assert_eq!(Variant::new().key(), "");
}

#[test]
fn catalogue_errors() {
    let unknown =
        catalogue::source("nope", &Variant::new(), Target::Naga).expect_err("no such kernel");
    assert!(
        unknown.to_string().contains("no kernel named 'nope'"),
        "{unknown}"
    );
    let key = catalogue::source("fill", &Variant::new().with("X", 1u32), Target::Naga);
    assert!(
        matches!(key, Err(KernelError::UnknownKey { ref key, .. }) if key == "X"),
        "{key:?}"
    );
}

#[test]
fn contract_errors() {
    let fill = catalogue::get("fill")
        .expect("fill is in the catalogue")
        .contract_toml;
    let broken = |from: &str, to: &str| {
        assert!(fill.contains(from), "{from}");
        Contract::parse("fill", &fill.replacen(from, to, 1))
            .expect_err("must fail")
            .to_string()
    };
    assert!(broken("saved =", "sved =").contains("unknown field `sved`"));
    assert!(broken("summary =", "#").contains("missing field `summary`"));
    assert!(broken("type = \"u32\"", "type = \"u64\"").contains("param n: type u64"));
    assert!(broken("index = 1", "index = 1\nwhen = \"!X\"").contains("no flag 'X'"));
    let consts =
        "[[consts]]\nname = \"N\"\ntype = \"u32\"\ndefault = 1.5\nmeaning = \"m\"\n[[params]]";
    assert!(broken("[[params]]", consts).contains("default of N is f32, its type u32"));
    let variants = "[[variants]]\nX = 1\n[[params]]";
    assert!(broken("[[params]]", variants).contains("no constant or flag 'X'"));
}
