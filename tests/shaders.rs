//! Every shader × listed variant, without a GPU: it compiles for every back end, its contract
//! says what naga reflects, and the house rules for WGSL files hold.
#![cfg(feature = "translate")]

use melos::kernels::contract::{Access, Feature};
use melos::kernels::{Contract, KernelSource, Target, Variant, catalogue};
use melos::translate::{self, ManifestEntry, Reflection};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Runs `check` on every kernel and fails with all complaints at once.
fn for_each_kernel(check: impl Fn(&KernelSource, &Contract, &mut Vec<String>)) {
    let mut complaints = Vec::new();
    for kernel in catalogue::iter() {
        match kernel.contract() {
            Ok(contract) => {
                let mut own = Vec::new();
                check(kernel, contract, &mut own);
                complaints.extend(own.iter().map(|c| format!("{}: {c}", kernel.name)));
            }
            Err(e) => complaints.push(e.to_string()),
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn expect<T: PartialEq + std::fmt::Debug>(out: &mut Vec<String>, what: &str, contract: T, wgsl: T) {
    if contract != wgsl {
        out.push(format!("{what}: contract {contract:?}, shader {wgsl:?}"));
    }
}

#[test]
fn every_variant_compiles_and_matches_its_contract() {
    for_each_kernel(|kernel, contract, out| {
        let mut most = (0, 0, 0, 0);
        for variant in contract.variants() {
            let own = &mut Vec::new();
            match translate::module(kernel, &variant) {
                Ok(module) => {
                    own.extend(translate::spirv(&module).err().map(|e| e.to_string()));
                    own.extend(translate::msl(&module).err().map(|e| e.to_string()));
                    if !contract.features.contains(&Feature::CooperativeMatrix) {
                        own.extend(translate::hlsl(&module).err().map(|e| e.to_string()));
                    }
                    let r = &module.reflection;
                    compare(contract, &variant, r, own);
                    let bound = |kinds: &[Access]| {
                        let those = r.bindings.iter().filter(|b| kinds.contains(&b.kind));
                        those.count() as u32
                    };
                    most.0 = most.0.max(bound(&[Access::Read, Access::ReadWrite]));
                    most.1 = most.1.max(r.workgroup_bytes);
                    most.2 = most.2.max(r.workgroup_size.iter().product());
                    most.3 = most.3.max(bound(&[Access::Image]));
                }
                Err(e) => own.push(e.to_string()),
            }
            out.extend(own.iter().map(|c| format!("[{}] {c}", variant.key())));
        }
        let limits = &contract.limits;
        let stated = (
            limits.storage_buffers,
            limits.workgroup_bytes,
            limits.invocations,
            limits.storage_textures,
        );
        expect(
            out,
            "limits (storage buffers, workgroup bytes, invocations, storage textures)",
            stated,
            most,
        );
        if contract.features.is_empty() && (most.0 > 8 || most.1 > 16 << 10 || most.2 > 256) {
            out.push(format!(
                "beyond the baseline limits (8, 16384, 256): {most:?}"
            ));
        }
    });
}

fn compare(contract: &Contract, variant: &Variant, shader: &Reflection, out: &mut Vec<String>) {
    match contract.workgroup(variant) {
        Ok(size) => expect(out, "workgroup size", size, shader.workgroup_size),
        Err(e) => out.push(e.to_string()),
    }
    let stated = contract
        .bindings(variant)
        .expect("the variant was completed before");
    let stated: Vec<_> = stated
        .iter()
        .map(|b| (b.index, &*b.name, b.kind, &*b.dtype))
        .collect();
    let found: Vec<_> = shader
        .bindings
        .iter()
        .map(|b| (b.index, &*b.name, b.kind, &*b.dtype))
        .collect();
    expect(out, "bindings", stated, found);

    let offsets = contract.param_offsets();
    let stated: Vec<_> = contract
        .params
        .iter()
        .zip(offsets)
        .map(|(p, o)| (&*p.name, &*p.ty, o))
        .collect();
    let found: Vec<_> = shader
        .params
        .iter()
        .map(|f| (&*f.name, &*f.ty, f.offset))
        .collect();
    expect(out, "params", stated, found);
    expect(
        out,
        "params size",
        contract.params_size(),
        shader.params_size,
    );

    // Contracts do not know `override`: what a kernel is specialised by is in its variant.
    expect(out, "overrides", &[][..], &shader.overrides);
}

#[test]
fn contracts_are_complete() {
    for_each_kernel(|_, contract, out| {
        for (what, text) in [
            ("summary", &contract.summary),
            ("formula", &contract.formula),
            ("source", &contract.source),
            ("saved", &contract.saved),
            ("dispatch.text", &contract.dispatch.text),
        ] {
            if text.trim().is_empty() {
                out.push(format!("{what} is empty"));
            }
        }
        for flag in contract
            .flags
            .iter()
            .filter(|f| f.meaning.trim().is_empty())
        {
            out.push(format!("flag '{}' has no meaning", flag.name));
        }
        for (i, b) in contract.bindings.iter().enumerate() {
            let is_params = b.name == "p" && b.kind == Access::Uniform;
            if (b.index == 0) != is_params {
                out.push(format!(
                    "binding {}: 0 must be the uniform 'p', and only 0",
                    b.index
                ));
            }
            let says = !b.shape.is_empty() && !b.meaning.is_empty();
            if b.kind != Access::Uniform && !says {
                out.push(format!("binding '{}' has no shape or no meaning", b.name));
            }
            if i > 0 && contract.bindings[i - 1].index > b.index {
                out.push(format!("binding '{}' is out of order", b.name));
            }
        }
        let covered: BTreeSet<_> = contract.variants().iter().map(|v| v.key()).collect();
        if covered.len() != contract.variants().len() {
            out.push("a variant is listed twice".into());
        }
    });
}

#[test]
fn files_follow_the_house_rules() {
    for_each_kernel(|kernel, _, out| {
        let text = kernel.wgsl;
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > 250 {
            out.push(format!("{} lines, at most 250", lines.len()));
        }
        let header = lines.iter().take_while(|l| l.starts_with("//")).count();
        if header < 4 {
            out.push("no header block (what, formula, source, dispatch, numerics, limits)".into());
        }
        let head = lines[..header].join("\n").to_lowercase();
        if !head.contains("numerics:") {
            out.push("the header says nothing under 'Numerics:'".into());
        }
        for word in ["\nenable ", "atomicAdd"] {
            if text.contains(word) {
                out.push(format!(
                    "'{}' does not belong in a shader file",
                    word.trim()
                ));
            }
        }
    });
}

/// Variables of functions that are declared without a value, in the words of the text. WGSL makes
/// them zero wherever the declaration is passed, but compilers differ about loops.
fn variables_without_value(wgsl: &str) -> Vec<String> {
    let code: String = wgsl
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .map(|line| line.split("//").next().unwrap_or("").to_string() + "\n")
        .collect();
    let statements = code.split([';', '{', '}']);
    let declares = |s: &&str| {
        let mut words = s.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        // Resources and `var<workgroup>` and the like belong to the module and take no value.
        let of_module =
            s.contains("@binding") || (s.contains("var<") && !s.contains("var<function"));
        words.any(|word| word == "var") && !of_module
    };
    let without = statements.filter(declares).filter(|s| !s.contains('='));
    without.map(|s| s.trim().to_string()).collect()
}

#[test]
fn variables_of_functions_have_a_value() {
    let files = catalogue::iter()
        .map(|k| (k.name, k.wgsl))
        .chain(catalogue::includes().filter_map(|name| Some((name, catalogue::include(name)?))));
    let mut seen = 0;
    for (name, wgsl) in files {
        seen += wgsl.matches("var ").count();
        let found = variables_without_value(wgsl);
        assert!(
            found.is_empty(),
            "{name}: write `= T()` where a zero is meant: {found:?}"
        );
    }
    assert!(seen > 100, "only {seen} variables read");

    let good = "var<workgroup> tile: array<f32, 64>;
        @group(0) @binding(1) var a: Image;
        fn f() { var x = array<f32, 4>(); // var y: f32;
            for (var i = 0u; i < 4u; i++) { var z: f32 = x[i]; } }";
    assert_eq!(variables_without_value(good), [""; 0]);
    let bad = "var<private> t: u32;
        fn f() { for (var i = 0u; i < 4u; i++) { var x: array<vec4<f32>, 4>; // zero
        #if A
            var<function> y: f32;
        #endif
            let variance = 1.0; var z
                : u32; } }";
    let found = variables_without_value(bad);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("var x:"), "{found:?}");
}

/// The embedded list against the folders, both ways.
#[test]
fn the_catalogue_lists_every_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = |folder: &str, ext: &str| -> BTreeSet<PathBuf> {
        catalogue::iter()
            .map(|k| {
                Path::new(folder)
                    .join(k.family)
                    .join(format!("{}.{ext}", k.name))
            })
            .collect()
    };
    let includes = catalogue::includes().map(|name| Path::new("shaders/include").join(name));
    let mut shaders = listed("shaders", "wgsl");
    shaders.extend(includes);
    for (listed, folder) in [(shaders, "shaders"), (listed("kernels", "toml"), "kernels")] {
        let found = files(root, folder);
        let unlisted: Vec<_> = found.difference(&listed).collect();
        assert!(unlisted.is_empty(), "not in the catalogue: {unlisted:?}");
        assert_eq!(listed, found);
    }
    let names: BTreeSet<_> = catalogue::iter().map(|k| k.name).collect();
    assert_eq!(
        names.len(),
        catalogue::iter().count(),
        "two kernels share a name"
    );
}

fn files(root: &Path, folder: &str) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![root.join(folder)];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).expect("the folder of the sources") {
            let path = entry.expect("a folder entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(root).expect("below root").to_path_buf());
            }
        }
    }
    found
}

#[test]
fn every_include_is_used() {
    let expanded: String = catalogue::iter()
        .map(|k| k.wgsl)
        .chain(catalogue::includes().filter_map(catalogue::include))
        .collect();
    for name in catalogue::includes() {
        assert!(
            expanded.contains(&format!("#include \"{name}\"")),
            "nothing includes {name}"
        );
    }
}

#[test]
fn compile_errors_name_kernel_and_place() {
    let error = |wgsl: &str| {
        translate::compile("k", wgsl, &[])
            .expect_err("must fail")
            .to_string()
    };
    let parse = error("fn k( {}");
    assert!(
        parse.contains("'k' (parse)") && parse.contains("wgsl:1:"),
        "{parse}"
    );
    let invalid = error("@compute @workgroup_size(1) fn k() { let x: u32 = 1.5f; }");
    assert!(invalid.contains("'k'"), "{invalid}");
    let entry = error("@compute @workgroup_size(1) fn other() {}");
    assert!(
        entry.contains("one entry point 'k'") && entry.contains("other"),
        "{entry}"
    );
    let group = error(
        "@group(1) @binding(0) var<storage, read> x: array<f32>;
         @compute @workgroup_size(1) fn k() { let y = x[0]; }",
    );
    assert!(group.contains("group 1"), "{group}");
    let feature = error("@compute @workgroup_size(64) fn k() { let s = subgroupAdd(1.0f); }");
    assert!(
        feature.contains("'k'"),
        "subgroups without the feature: {feature}"
    );
}

/// The capabilities that a SPIR-V module declares; its instructions must fill it.
fn capabilities(spirv: &[u8]) -> Vec<u32> {
    let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    let words: Vec<u32> = spirv.chunks_exact(4).map(word).collect();
    assert_eq!(words[0], 0x0723_0203, "SPIR-V magic");
    let (mut at, mut found) = (5, Vec::new());
    while at < words.len() {
        let (length, instruction) = (words[at] as usize >> 16, words[at] & 0xffff);
        assert!(length > 0 && at + length <= words.len(), "word {at}");
        if instruction == 17 {
            found.push(words[at + 1]);
        }
        at += length;
    }
    found
}

#[test]
fn export_writes_what_the_manifest_says() {
    for target in [Target::Web, Target::Naga] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let manifest = translate::export(dir.path(), target).expect("export");
        let variants: usize = catalogue::iter()
            .map(|k| k.contract().expect("a contract").variants().len())
            .sum();
        assert_eq!(manifest.kernels.len(), variants);
        let mut named = BTreeSet::from([PathBuf::from("manifest.toml")]);
        for k in &manifest.kernels {
            let paths = [&k.contract, &k.spirv, &k.metal].into_iter();
            named.extend(paths.chain(&k.wgsl).chain(&k.hlsl).map(PathBuf::from));
            export_is_whole(dir.path(), target, k);
        }
        assert_eq!(named, files(dir.path(), "."), "files written = files named");
        let text = std::fs::read_to_string(dir.path().join("manifest.toml")).expect("a manifest");
        let written: toml::Table = text.parse().expect("TOML");
        let name = ["naga", "web"][usize::from(target == Target::Web)];
        assert_eq!(written["target"].as_str(), Some(name));
    }
}

fn export_is_whole(dir: &Path, target: Target, k: &ManifestEntry) {
    let text = |path: &String| std::fs::read_to_string(dir.join(path)).expect(path);
    let contract: Contract = toml::from_str(&text(&k.contract)).expect("the contract's own format");
    let known = catalogue::contract(&k.name).expect("a contract");
    assert_eq!(&contract, known, "{}: the contract written", k.name);

    let has = |feature| k.features.contains(&feature);
    // Never needed, and missing in drivers.
    const STORAGE_INPUT_OUTPUT_16: u32 = 4436;
    const FLOAT_16: u32 = 9;
    let found = capabilities(&std::fs::read(dir.join(&k.spirv)).expect("SPIR-V"));
    assert!(!found.contains(&STORAGE_INPUT_OUTPUT_16), "{}", k.spirv);
    assert!(
        !has(Feature::F16) || found.contains(&FLOAT_16),
        "{}",
        k.spirv
    );

    let matrices = has(Feature::CooperativeMatrix);
    let lanes = match k.name.as_str() {
        "matmul_coop" => (k.subgroup_max, k.subgroup_max.is_some()),
        _ if has(Feature::Subgroup) => (Some(8), false),
        _ => (None, false),
    };
    assert_eq!(
        (k.subgroup_min, k.subgroup_max.is_some()),
        lanes,
        "{}",
        k.name
    );
    assert_eq!(
        k.wgsl.is_none(),
        matrices && target == Target::Web,
        "{}",
        k.name
    );
    if let Some(wgsl) = k.wgsl.as_ref().map(text) {
        assert!(
            !wgsl.lines().any(|l| l.starts_with('#')),
            "{}: directives left",
            k.name
        );
        let enables = |what: &str| wgsl.contains(&format!("enable {what};"));
        assert_eq!(enables("f16"), has(Feature::F16), "{}", k.name);
        let subgroups = has(Feature::Subgroup) && target == Target::Web;
        assert_eq!(enables("subgroups"), subgroups, "{}", k.name);
        assert_eq!(enables("wgpu_cooperative_matrix"), matrices, "{}", k.name);
    }
    let kernel = format!("kernel void {}(", k.metal_entry);
    assert!(text(&k.metal).contains(&kernel), "{}", k.name);
    assert_eq!(k.metal_entry, k.name, "Metal entry point");
    if let Some(entry) = &k.hlsl_entry {
        assert_eq!(*entry, k.name, "HLSL entry point");
    }
}

#[test]
fn matrices_have_no_text_for_browsers() {
    let source = |target| catalogue::source("matmul_coop", &Variant::new(), target);
    let error = source(Target::Web).expect_err("no such WGSL").to_string();
    assert!(
        error.contains("'matmul_coop'") && error.contains("Target::Naga"),
        "{error}"
    );
    assert!(source(Target::Naga).is_ok_and(|text| text.contains("coop_mat8x8")));
}

/// tests/subgroups.rs runs those that need no other feature; all are to be made alike.
#[test]
fn kernels_by_broadcast_look_at_the_size_of_their_subgroups() {
    for_each_kernel(|kernel, contract, out| {
        if !contract.features.contains(&Feature::Subgroup) {
            return;
        }
        for variant in contract.variants() {
            let text = kernel.source(&variant, Target::Web).expect("a text");
            for part in ["@builtin(subgroup_size) lanes: u32", "soundness(lanes)"] {
                if !text.contains(part) {
                    out.push(format!("[{}] no '{part}'", variant.key()));
                }
            }
        }
    });
}

#[test]
fn export_into_a_file_is_a_clear_error() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let error = translate::export(file.path(), Target::Web)
        .expect_err("a file is no folder")
        .to_string();
    assert!(
        error.contains("cannot write") && error.contains(".toml"),
        "{error}"
    );
}
