//! report.html: what it says is what the run's files and the models say, and a browser shows it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::support::{Workplace, files, stage};

/// Labels and a text that would do harm where they were not escaped.
const LABELS: [&str; 2] = ["<i>bad</i>", "good & \"fine\""];
const HARM: &str = "</script><script>throw 1</script><img src=x>";

fn read(w: &Workplace, file: &str) -> Value {
    serde_json::from_slice(&w.read(file)).unwrap()
}

fn page(w: &Workplace) -> String {
    String::from_utf8(w.read("run/report.html")).unwrap()
}

/// Texts whose words are single letters, eight of them and more: of each label 30. Which label a text
/// has cannot be known from its words, so that some answers are wrong.
fn table() -> String {
    let row = |n: usize| {
        let words = ["a", "b", "c", "d"][n / 2 % 4];
        let text = vec![words; 8 + n % 3].join(" ");
        let label = LABELS[n % 2].replace('"', "\"\"");
        format!("{HARM} {text},\"{label}\"\n")
    };
    "text,label\n".to_string() + &(0..60).map(row).collect::<String>()
}

fn workplace() -> Workplace {
    let head = r#"
name = "tiny"
description = "<b>tiny</b>"
[tokenizer]
vocabulary = 300
min_frequency = 1
[model]
embedding = 8
hidden = 16
[data]
source = "files"
path = "table.csv"
test_share = 0.3
validation = 0.2
[defaults.finetune]
objective = "classify"
max_len = 12
batch = 8
budget = { steps = 12 }
eval_every = 4
"#;
    let stages = [
        stage("one", "finetune", ""),
        stage("several", "finetune", "seeds = [1, 2]"),
    ];
    let w = Workplace::with(head, &stages);
    w.write("table.csv", table());
    w.good(&["train", "run.toml", "--out", "run", "--quiet"]);
    w
}

/// Each row of a table of the page, its cells as text.
fn rows(page: &str) -> Vec<Vec<String>> {
    let text = |cell: &str| {
        let (mut text, mut inside) = (String::new(), false);
        for c in cell.chars() {
            match c {
                '<' => inside = true,
                '>' => inside = false,
                c if !inside => text.push(c),
                _ => {}
            }
        }
        text
    };
    let cells = |row: &str| {
        let row = row.split("</tr").next().unwrap_or_default();
        let cells = row
            .split("<t")
            .skip(1)
            .filter(|c| c.starts_with(['d', 'h']));
        cells.map(|cell| text(&format!("<t{cell}"))).collect()
    };
    page.split("<tr").skip(1).map(cells).collect()
}

#[test]
fn the_report_says_what_files_and_models_say() {
    let w = workplace();
    let first = page(&w);
    // One file: it asks for nothing else, and what users wrote stays text.
    for never in [
        "http:",
        "https:",
        "src=\"",
        "@import",
        "<script>throw",
        "<i>bad",
        "<b>tiny",
    ] {
        assert!(!first.contains(never), "{never}");
    }
    assert!(first.contains("&lt;b&gt;tiny&lt;/b&gt;") && first.contains("&lt;i&gt;bad&lt;/i&gt;"));
    let rows = rows(&first);
    let row = |wanted: &[&str]| {
        let found = rows
            .iter()
            .any(|row| row.iter().take(wanted.len()).eq(wanted));
        assert!(found, "no row {wanted:?} in {rows:#?}");
    };

    // The confusion matrix of each stage, with the classes' names.
    let confusion = &read(&w, "run/one/done.json")["test"]["classes"]["confusion"];
    let names = ["&lt;i&gt;bad&lt;/i&gt;", "good &amp; &quot;fine&quot;"];
    for (name, counts) in names.iter().zip(confusion.as_array().unwrap()) {
        row(&[name, &counts[0].to_string(), &counts[1].to_string()]);
    }

    // The worst answers are what the model says of these texts, and wrong.
    let analysis = read(&w, "run/one/analysis.json");
    let worst = analysis["answers"]["worst"].as_array().unwrap();
    let wrong = confusion[0][1].as_u64().unwrap() + confusion[1][0].as_u64().unwrap();
    assert!(
        wrong > 0 && worst.len() as u64 == wrong.min(20),
        "{analysis:#}"
    );
    let mut before = 1.0;
    for answer in worst {
        let asked = [
            "predict",
            "run/one",
            answer["text"].as_str().unwrap(),
            "--json",
        ];
        let said: Value = serde_json::from_str(&w.good(&asked)).unwrap();
        assert_eq!(said["label"], answer["said"], "{said}");
        assert_ne!(answer["said"], answer["truth"]);
        let off = answer["off"].as_f64().unwrap();
        let chances = said["probabilities"].as_array().unwrap();
        let chance = chances.iter().find(|pair| pair[0] == answer["truth"]);
        let chance = chance.unwrap()[1].as_f64().unwrap();
        assert!((1.0 - chance - off).abs() < 1e-5, "{said} {answer}");
        assert!(off <= before, "worst first");
        before = off;
    }
    let remade = w.good(&["report", "run"]);
    assert_eq!(remade.trim(), "run/report.html");
    assert_eq!(page(&w), first);
    w.refused(&["report", "."], 5);

    // Of a run that is not finished it says so.
    std::fs::remove_file(w.path("run/several.2/done.json")).unwrap();
    w.good(&["report", "run"]);
    let unfinished = page(&w);
    assert!(unfinished.contains("2 of 3") && unfinished.contains("melos train --resume run<"));
    assert!(!first.contains("not finished") && !first.contains("--resume"));

    in_a_browser(&w.path("run/report.html"), &w.path(""));
}

/// Bytes of the files in the folders of checkpoints below `folder`.
fn checkpoints(folder: &Path) -> u64 {
    let all = files(folder).into_iter();
    let own = all.filter(|path| path.to_string_lossy().contains("/checkpoint-"));
    own.map(|path| std::fs::metadata(path).unwrap().len()).sum()
}

#[test]
fn runs_are_listed_and_cleaned_and_their_models_have_cards() {
    let w = workplace();
    let run = w.path("run");
    let done = read(&w, "run/one/done.json");
    let listed: Value = serde_json::from_str(&w.good(&["runs", ".", "--json"])).unwrap();
    assert_eq!((&listed["done"], &listed["units"]), (&3.into(), &3.into()));
    assert_eq!(
        (&listed["running"], &listed["name"]),
        (&false.into(), &"tiny".into())
    );
    assert!(checkpoints(&run) > 0);
    assert_eq!(listed["spare"], checkpoints(&run));
    let model = read(&w, "run/results.json")["model"].clone();
    let best = read(
        &w,
        &format!(
            "run/{}",
            model.as_str().unwrap().replace("model", "done.json")
        ),
    );
    let error = best["test"]["error"].as_f64().unwrap();
    assert_eq!(listed["best"]["name"], "error %");
    assert!(
        (listed["best"]["value"].as_f64().unwrap() - 100.0 * error).abs() < 1e-9,
        "{listed}"
    );
    let table = w.good(&["runs", "run"]);
    assert!(
        table.contains("| run ")
            && table.contains(" done ")
            && table.contains(&format!("{:.2}", 100.0 * error)),
        "{table}"
    );

    // The card's numbers are those of results.json; the first lines are what the Hub reads.
    let card = String::from_utf8(w.read("run/one/model/README.md")).unwrap();
    let front = card
        .strip_prefix("---\n")
        .and_then(|c| c.split_once("---\n"))
        .unwrap()
        .0;
    let key = |key: &str| -> Value {
        let line = front
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{key}: ")));
        serde_json::from_str(line.unwrap()).unwrap()
    };
    assert_eq!(key("library_name"), "melos");
    assert_eq!(key("pipeline_tag"), "text-classification");
    let result = &key("model-index")[0]["results"][0];
    assert_eq!(result["dataset"]["name"], "table.csv");
    assert_eq!(result["metrics"][0]["type"], "accuracy");
    assert_eq!(result["metrics"][0]["value"], done["test"]["accuracy"]);
    assert!(!front.contains("base_model") && !front.contains("language"));

    // Where the time went is measured in parts, which add up to the whole and a few are not nothing.
    let spent = &done["spent"];
    let part = |name: &str| {
        spent[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name}: {done}"))
    };
    let after = ["first_steps", "steps", "evaluation", "files"].map(part);
    assert!(
        after.iter().all(|s| *s > 0.0) && part("reading") > 0.0 && part("model") > 0.0,
        "{spent}"
    );
    let seconds = done["seconds"].as_f64().unwrap();
    let sum: f64 = after.iter().sum();
    assert!(
        sum <= seconds && sum > 0.5 * seconds,
        "{sum} of {seconds}: {spent}"
    );
    assert_eq!(read(&w, "run/several.2/done.json")["spent"]["reading"], 0.0);
    for name in [
        "reading text",
        "first steps",
        "evaluation",
        "checkpoints and models",
    ] {
        assert!(page(&w).contains(name), "{name}");
    }

    // Nothing goes without a yes; of what is not done, nothing at all.
    let last = "run/several.2/done.json";
    let kept = w.read(last);
    std::fs::remove_file(w.path(last)).unwrap();
    assert!(w.refused(&["runs", "clean", "."], 2).contains("--yes"));
    let before: Vec<_> = files(&run)
        .into_iter()
        .map(|p| (p.clone(), std::fs::read(p).unwrap()))
        .collect();
    let said = w.good(&["runs", "clean", ".", "--yes"]);
    assert!(said.ends_with(" MB freed\n"), "{said}");
    for (path, content) in before {
        let name = path
            .strip_prefix(&run)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let spare = name.contains("/checkpoint-") && !name.starts_with("several.2/");
        assert_eq!(path.exists(), !spare, "{name}");
        assert!(
            spare || name == ".lock" || std::fs::read(&path).unwrap() == content,
            "{name}"
        );
    }
    assert!(checkpoints(&w.path("run/several.2")) > 0);
    w.write("run/one/model/README.md", "mine");
    w.good(&["train", "--resume", "run", "--quiet"]);
    let (kept, again): (Value, Value) = (serde_json::from_slice(&kept).unwrap(), read(&w, last));
    assert_eq!(kept["test"], again["test"]);
    assert_eq!(w.read("run/one/model/README.md"), b"mine");
    w.good(&["predict", "run", "a"]);
    w.refused(&["runs", "nowhere"], 5);
}

/// What `melos runs clean run` says at a terminal of its own, where this is typed.
fn at_a_terminal(w: &Workplace, typed: &str) -> String {
    let melos = env!("CARGO_BIN_EXE_melos");
    let mut script = Command::new("script")
        .args(["-qec", &format!("'{melos}' runs clean run"), "/dev/null"])
        .current_dir(w.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Held open until the end: at its end `script` would type an end of file.
    let mut keys = script.stdin.take().unwrap();
    keys.write_all(typed.as_bytes()).unwrap();
    let mut said = String::new();
    script
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    drop(keys);
    assert!(script.wait().unwrap().success(), "{said}");
    said
}

#[test]
fn checkpoints_go_after_a_yes_at_the_terminal() {
    let version = Command::new("script").arg("--version").output();
    if !version.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("util-linux")) {
        eprintln!("SKIPPED: there is no `script` of util-linux, which makes a terminal");
        return;
    }
    let w = workplace();
    let run = w.path("run");
    let spare = checkpoints(&run);
    assert!(spare > 0);
    for no in ["n\n", "\n", "never\n", "\u{4}"] {
        let said = at_a_terminal(&w, no);
        assert!(
            said.contains("checkpoints of") && said.contains("Remove them?"),
            "{said}"
        );
        assert!(said.contains("nothing removed"), "{no:?}: {said}");
        assert_eq!(checkpoints(&run), spare, "{no:?}");
    }
    let said = at_a_terminal(&w, "y\n");
    assert!(said.contains("MB freed"), "{said}");
    assert_eq!(checkpoints(&run), 0);
    w.good(&["predict", "run", "a"]);
}

#[test]
fn what_is_cut_is_counted() {
    let head = super::support::head();
    let w = Workplace::with(
        &head,
        &[stage(
            "one",
            "finetune",
            "max_len = 8\nbudget = { steps = 1 }",
        )],
    );
    // Of 20 texts half have seven words, which fit with the <eos>, and half ten.
    let row = |n: usize| format!("{},{}\n", vec!["word"; 7 + n % 2 * 3].join(" "), n / 2 % 2);
    let text = "text,label\n".to_string() + &(0..20).map(row).collect::<String>();
    w.write("table.csv", &text);
    w.good(&[
        "train",
        "run.toml",
        "--out",
        "run",
        "--quiet",
        "--set",
        "data.path=\"table.csv\"",
        "--set",
        "data.test=\"table.csv\"",
        "--set",
        "data.validation=0.0",
    ]);
    let coverage = &read(&w, "run/one/analysis.json")["coverage"];
    let number = |key: &str| coverage[key].as_u64().unwrap();
    assert_eq!((number("texts"), number("cut")), (20, 10));
    assert_eq!((number("tokens"), number("unread")), (170, 30));
    let rows = rows(&page(&w));
    let row = ["one", "max_len = 8", "20", "50.00 %", "170", "17.65 %"];
    assert!(rows.contains(&row.map(String::from).to_vec()), "{rows:#?}");
}

/// The browser that is there, if one is.
fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let folders = std::env::var_os("PATH")?;
    let all =
        std::env::split_paths(&folders).flat_map(|folder| names.map(|name| folder.join(name)));
    all.into_iter().find(|path| path.is_file())
}

/// A picture of a page, and what its console says.
fn shot(browser: &Path, page: &Path, picture: &Path) -> Vec<String> {
    let mut command = Command::new(browser);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
    ]);
    command.args(["--enable-logging=stderr", "--window-size=1000,3000"]);
    command.arg(format!(
        "--user-data-dir={}",
        picture.with_extension("profile").display()
    ));
    command.arg(format!("--screenshot={}", picture.display()));
    let out = command
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(picture.is_file(), "no picture: {said}");
    said.lines()
        .filter(|line| line.contains("CONSOLE"))
        .map(String::from)
        .collect()
}

/// A page is shown without a complaint in the console, and shows something.
fn in_a_browser(page: &Path, folder: &Path) {
    let Some(browser) = browser() else {
        eprintln!("SKIPPED: no chromium in PATH, so that nobody has looked at the report");
        return;
    };
    let (bad, blank) = (folder.join("bad.html"), folder.join("blank.html"));
    std::fs::write(&bad, "<script>throw new Error('on purpose')</script>").unwrap();
    std::fs::write(&blank, "").unwrap();
    let complaints = shot(&browser, &bad, &folder.join("bad.png"));
    assert!(
        complaints.iter().any(|line| line.contains("on purpose")),
        "{complaints:?}"
    );
    assert_eq!(shot(&browser, &blank, &folder.join("blank.png")), [""; 0]);
    let picture = folder.join("report.png");
    assert_eq!(shot(&browser, page, &picture), [""; 0]);
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(
        size(&picture) > 10 * size(&folder.join("blank.png")),
        "an empty picture"
    );
}
