//! Vocabularies with blank lines and lines that come again: every folder that is written gives a
//! token the id that it had.

use super::support::{Workplace, data, stage};
use super::transformers::{BERT, head};

/// The ids of a text.
fn ids(w: &Workplace, folder: &str, text: &str) -> Vec<u32> {
    let table = w.good(&["tokenizer", "encode", folder, text]);
    let first = |line: &str| line.split_once('\t')?.0.parse().ok();
    table.lines().filter_map(first).collect()
}

#[test]
fn ids_stay_through_training_adapters_conversion_and_merging() {
    let lines = [
        "[PAD]", "[UNK]", "", "[CLS]", "[SEP]", "[MASK]", "a", "", "film", "the", "a", "great",
        "[UNK]", "dull", "##s",
    ];
    let tokenizer = "kind = \"wordpiece\"\nvocabulary = 400\nmin_frequency = 1";
    let with_file = head("wordpiece", BERT).replace(tokenizer, "file = \"vocabulary\"");
    assert!(with_file.contains("file ="), "{with_file}");
    let lora = "lora = { rank = 2, alpha = 4, targets = [\"query\"] }";
    let w = Workplace::with(
        &with_file,
        &[
            stage("mlm", "pretrain", "objective = \"mlm\""),
            stage("whole", "finetune", "init = \"mlm\""),
            stage("lora", "finetune", &format!("init = \"mlm\"\n{lora}")),
        ],
    );
    std::fs::create_dir(w.path("vocabulary")).unwrap();
    w.write("vocabulary/vocab.txt", lines.join("\r\n") + "\r\n\r\n");
    let text = "A great film, the films [MASK] dull";
    let expected = [3, 10, 11, 8, 12, 9, 8, 14, 5, 13, 4];
    assert_eq!(ids(&w, "vocabulary", text), expected);
    w.good(&["train", "run.toml", "--out", "run"]);
    w.good(&["convert", "run/whole", "converted"]);
    w.good(&["merge", "run/mlm", "run/lora", "merged"]);
    let reviews = data("reviews.csv");
    let again = [
        "train",
        "--preset",
        "finetune",
        "--init",
        "converted",
        "--out",
        "again",
        "--data",
        reviews.to_str().unwrap(),
        "--set",
        "stage.*.max_len=16",
        "--set",
        "stage.*.budget={ steps = 1 }",
    ];
    w.good(&again);
    let written = [
        "run/mlm/model",
        "run/whole/model",
        "run/lora/model",
        "converted",
        "merged",
        "again/finetune/model",
    ];
    for folder in written {
        assert_eq!(ids(&w, folder, text), expected, "{folder}");
        // Older readers take vocab.txt.
        let file = format!("{folder}/vocab.txt");
        assert_eq!(ids(&w, &file, text), expected, "{file}");
    }
}
