//! The preprocessor and the contracts: what they read and write, and every error they can give.

use melos::kernels::contract::{Access, Feature};
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

/// Contracts need no compiler: this test is built without naga too.
#[test]
fn every_kernel_has_a_contract() {
    for kernel in catalogue::iter() {
        let contract = kernel.contract().expect("a contract");
        assert!(contract.params_size() > 0, "{}", kernel.name);
        for variant in contract.variants() {
            let bindings = contract.bindings(&variant).expect("bindings");
            let numbers: Vec<u32> = bindings.iter().map(|b| b.index).collect();
            let rising = numbers.windows(2).all(|two| two[0] < two[1]);
            assert!(numbers.len() > 1 && rising, "{} {numbers:?}", kernel.name);
        }
    }
}

#[test]
fn contract_errors() {
    let fill = catalogue::get("fill").expect("fill is in the catalogue");
    let parse = |wgsl: &str, notes: &str| {
        let include = |name: &str| catalogue::include(name);
        Contract::parse("fill", "elementwise", wgsl, notes, &include)
    };
    assert_eq!(
        parse(fill.wgsl, fill.notes).as_ref(),
        Ok(fill.contract().expect("a contract"))
    );
    let change = |text: &str, from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let notes = |from: &str, to: &str| {
        let error = parse(fill.wgsl, &change(fill.notes, from, to)).expect_err("must fail");
        error.to_string()
    };
    let wgsl = |from: &str, to: &str| {
        let error = parse(&change(fill.wgsl, from, to), fill.notes).expect_err("must fail");
        error.to_string()
    };
    assert!(notes("saved =", "sved =").contains("unknown field `sved`"));
    assert!(notes("saved =", "#").contains("missing field `saved`"));
    assert!(
        notes("saved =", "variants = [{ X = 1 }]\nsaved =").contains("no constant or flag 'X'")
    );
    assert!(notes("saved =", "consts = { N = 1 }\nsaved =").contains("the shader has no 'N'"));
    assert!(notes("saved =", "flags = { X = \"x\" }\nsaved =").contains("the shader has no 'X'"));
    assert!(notes("4 * n", "z.bytes").contains("'z.bytes' is no param"));

    assert!(wgsl("n: u32", "n: u64").contains("param n: type u64"));
    assert!(wgsl(" // elements to write", "").contains("param n: no comment says what it is"));
    assert!(wgsl("// (offset + n): ", "// ").contains("binding y: no `// (shape): meaning`"));
    assert!(wgsl("// Source:", "// From:").contains("no line that begins with 'Source:'"));
    assert!(wgsl(" workgroups of 256", " groups").contains("expected 'Dispatch:"));
    assert!(wgsl("//   y[", "// y[").contains("no indented formula"));
    assert!(wgsl("@workgroup_size", "@size").contains("no @workgroup_size"));
    assert!(wgsl("struct Params {", "#if X\n#endif\nstruct Params {").contains("what X does"));
    assert!(wgsl("    n: u32", "#if X\n    n: u32").contains("field of Params under #if"));
    let circle = "alias Y = vec2<Y>;\nstruct Params {";
    let circle = change(fill.wgsl, "struct Params {", circle).replace("array<f32>", "array<Y, 2>");
    let error = parse(&circle, fill.notes)
        .expect_err("must fail")
        .to_string();
    assert!(error.contains("alias Y stands for itself"), "{error}");
    let constant = "#const N: u32 // size\nstruct Params {";
    assert!(wgsl("struct Params {", constant).contains("no default of N"));
    let default = parse(
        &change(fill.wgsl, "struct Params {", constant),
        &change(fill.notes, "saved =", "consts = { N = 1.5 }\nsaved ="),
    );
    let error = default.expect_err("must fail").to_string();
    assert!(
        error.contains("default of N is f32, its type u32"),
        "{error}"
    );
    assert!(wgsl("struct Params {", "#if X\nstruct Params {").contains("struct Params under #if"));
}

/// A binding whose type, place and shape hang on flags, one of them by way of an include.
#[test]
fn declarations_under_conditions() {
    let wgsl = "// Nothing.
//
//   y = x
//
// Source: none.
// Dispatch: (a(b, c), 2, 1) workgroups of N, for nothing; that
// is all.
// Numerics: none.
#const N: u32 // size
#if V
#include \"half.wgsl\"
#endif
#if A
#include \"half.wgsl\"
alias Stored = Half;
#else
#include \"real.wgsl\"
alias Stored = Real;
#endif
#if B
@group(0) @binding(2) var<storage, read_write> x: array<Stored>; // (n): values: all
#else
@group(0) @binding(2) var x: texture_storage_2d_array<rgba32float, read>; // (n, 1): an image
#endif
@group(0) @binding(1) var<storage, read> s: State; // (28 bytes): state
@compute @workgroup_size(N, 2)
";
    let include = |name: &str| match name {
        "real.wgsl" => Some("#if V\nalias Real = vec4<f32>;\n#else\nalias Real = f32;\n#endif"),
        "half.wgsl" => Some("#if V\nalias Half = vec4<f16>;\n#else\nalias Half = f16;\n#endif"),
        _ => None,
    };
    let notes = "saved = \"nothing\"
tolerance = { atol = 0.0, factor = 1.0 }
consts = { N = 8 }
flags = { A = \"a\", B = \"b\", V = \"v\" }
needs = { A = \"f16\" }";
    let contract = Contract::parse("k", "none", wgsl, notes, &include).expect("a contract");
    assert_eq!(contract.summary, "Nothing.");
    assert_eq!(contract.formula, "y = x");
    assert_eq!(contract.source, "none.");
    assert_eq!(contract.dispatch.groups, ["a(b, c)", "2", "1"]);
    assert_eq!(contract.dispatch.text, "of N, for nothing; that is all.");
    assert!(!contract.dispatch.folded);
    let variant = |a: bool, b: bool, v: bool| {
        Variant::new()
            .with("A", a)
            .with("B", b)
            .with("V", v)
            .with("N", 16u32)
    };
    let x = |a, b, v| {
        let bindings = contract.bindings(&variant(a, b, v)).expect("bindings");
        assert_eq!(bindings.len(), 2);
        assert_eq!((bindings[0].index, &*bindings[0].dtype), (1, "State"));
        let x = &bindings[1];
        (x.kind, x.dtype.clone(), x.shape.clone(), x.meaning.clone())
    };
    let buffer = |dtype: &str| {
        (
            Access::ReadWrite,
            dtype.to_string(),
            "(n)".to_string(),
            "values: all".to_string(),
        )
    };
    let image = (
        Access::Image,
        "rgba32float".into(),
        "(n, 1)".into(),
        "an image".into(),
    );
    assert_eq!(x(false, true, false), buffer("f32"));
    assert_eq!(x(false, true, true), buffer("vec4<f32>"));
    assert_eq!(x(true, true, false), buffer("f16"));
    assert_eq!(x(true, true, true), buffer("vec4<f16>"));
    assert_eq!(x(true, false, true), image);
    assert_eq!(
        contract.workgroup(&variant(true, true, true)),
        Ok([16, 2, 1])
    );
    assert_eq!(contract.limits.invocations, 16);
    assert_eq!(
        contract.features(&variant(true, true, true)),
        Ok(vec![Feature::F16])
    );
}
