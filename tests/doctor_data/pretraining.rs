//! Data to pretrain on.

use super::support::{PIECES, SIZES, SMALL, Workplace, classes, files, numbers, says, text};

/// Texts of 5 tokens, 6 of 40; 5 copies.
fn lines(w: &Workplace) {
    let mut all: Vec<String> = (0..50).map(|n| text(n, 4)).collect();
    all.extend((50..56).map(|n| text(n, 39)));
    all.extend((0..5).map(|n| text(n, 4)));
    w.write("a.txt", all.join("\n"));
}

#[test]
fn texts_to_pretrain_on() {
    let w = Workplace::new();
    lines(&w);
    let data = files("path = \"a.txt\"\none_text = false\nvalidation = 0\ntest_share = 0");
    let model = |kind: &str| format!("[model]\nkind = \"{kind}\"\n{SIZES}");
    let bert = format!("{PIECES}{}", model("bert"));
    let gpt = format!(
        "[tokenizer]\nkind = \"bpe\"\nvocabulary = 400\n{}",
        model("gpt2")
    );
    let tokens = 55 * 5 + 6 * 40;
    // Tokens in all, texts that are cut, tokens that are never read, answers that are lost.
    for (head, objective, length, expected) in [
        (SMALL, "lm", "bptt = 16", Some((0, 0, None))),
        (SMALL, "sa", "max_len = 16", Some((6, 6 * 25, Some(6 * 25)))),
        (&bert, "mlm", "max_len = 16", Some((0, 0, None))),
        (
            &bert,
            "mlm",
            "max_len = 16\npacking = true",
            Some((0, 0, None)),
        ),
        (&bert, "mlm_nsp", "max_len = 16", None),
        (
            &gpt,
            "clm",
            "max_len = 16\npacking = true",
            Some((0, 0, None)),
        ),
        (&gpt, "clm", "max_len = 16", None),
    ] {
        let stage =
            format!("kind = \"pretrain\"\nobjective = \"{objective}\"\n{length}\nbatch = 4");
        let survey = w.survey(&format!("{head}{data}"), &stage);
        let rows = numbers(&survey["rows"], ["rows", "empty", "repeated"]);
        assert_eq!(rows, [61, 0, 5], "{objective}");
        let s = &survey["stages"][0];
        assert_eq!(s["objective"], objective);
        assert!(s["refused"].is_null(), "{s}");
        assert_eq!(s["train"]["texts"], 61, "{objective}");
        let coverage = &s["coverage"];
        let [cut, unread, all] = numbers(coverage, ["cut", "unread", "tokens"]);
        assert_eq!(all, s["train"]["tokens"].as_u64().unwrap());
        if let Some((cuts, never, lost)) = expected {
            if head == SMALL {
                assert_eq!(all, tokens);
            }
            assert_eq!((cut, unread), (cuts, never), "{objective}");
            assert_eq!(coverage["answers"]["lost"].as_u64(), lost, "{objective}");
        }
        let batch = &s["batch"];
        assert_eq!(batch["rows"], 4, "{objective}");
        assert!(batch["length"].as_u64().unwrap() <= 16, "{objective}");
        assert!(
            (0.0..1.0).contains(&batch["padding"].as_f64().unwrap()),
            "{objective}"
        );
        assert!(
            !batch["texts"].as_array().unwrap().is_empty(),
            "{objective}"
        );
        if objective.starts_with("mlm") {
            assert!(batch["texts"].to_string().contains("[MASK]"), "{batch}");
        }
    }
}

#[test]
fn tokens_that_a_causal_model_never_says() {
    let w = Workplace::new();
    // Bytes are tokens of their own: 256, and <|endoftext|>.
    let rows = [
        "aaaa",
        "bbbbbbbbbbbbbbbbbbbb",
        "cccccccccccccc",
        "ddddddddddddd",
    ];
    w.write("a.txt", rows.join("\n"));
    let head =
        format!("[tokenizer]\nkind = \"bpe\"\nvocabulary = 257\n[model]\nkind = \"gpt2\"\n{SIZES}");
    let data = files("path = \"a.txt\"\nvalidation = 0.25\ntest_share = 0");
    let stage = "kind = \"pretrain\"\nobjective = \"clm\"\nmax_len = 14\nbatch = 2";
    let survey = w.survey(&format!("{head}{data}"), stage);
    let coverage = &survey["stages"][0]["coverage"];
    let train = numbers(&survey["stages"][0]["train"], ["texts", "tokens"]);
    let answers = numbers(&coverage["answers"], ["all", "lost"]);
    assert_eq!(
        answers[0],
        train[0] + train[1],
        "each text has its tokens and an <eos> to say"
    );
    // Of 14 places a text of 13 fills all with its <eos>, one of 14 loses the <eos>, one of 20 six tokens more.
    let held = 51 - train[1];
    let lost = match held {
        4 => 7 + 1,
        20 => 1,
        14 => 7,
        13 => 7 + 1,
        other => panic!("{other}"),
    };
    assert_eq!(answers[1], lost, "without the text of {held}");
    // Of a pair the answer is said: prompts go first, then the answer's end.
    let pairs = [
        ("aaaa", "bbbb"),
        ("aaaaaaaaaaaaaaaaaaaa", "bbbb"),
        ("a", "bbbbbbbbbbbbbbbbbbbb"),
        ("aa", "b"),
    ];
    let rows: String = pairs
        .iter()
        .map(|(a, b)| format!("{{\"text\":\"{a}\",\"answer\":\"{b}\"}}\n"))
        .collect();
    w.write(
        "b.jsonl",
        format!("{rows}{{\"text\":\"z\",\"answer\":\"zz\"}}\n"),
    );
    let data =
        files("path = \"b.jsonl\"\npair_column = \"answer\"\nvalidation = 0\ntest_share = 0");
    let survey = w.survey(&format!("{head}{data}"), stage);
    let coverage = &survey["stages"][0]["coverage"];
    assert_eq!(numbers(coverage, ["texts", "cut", "second_cut"]), [5, 2, 1]);
    // 20 b and an <eos> to say, of which 14 have a place.
    let answers = numbers(&coverage["answers"], ["all", "lost", "texts", "emptied"]);
    assert_eq!(answers, [5 + 5 + 21 + 2 + 3, 21 - 14, 1, 0]);
    // What is read of the second: 13 of 24 tokens and two <eos>; of the third the answer alone.
    assert_eq!(coverage["unread"], 24 - 13 + 21 - 14);
}

#[test]
fn what_one_stage_read_before_another_is_tested_on_it() {
    let w = Workplace::new();
    classes(&w);
    let more: String = (0..40).chain(200..205).map(|n| text(n, 4) + "\n").collect();
    w.write("more.txt", more);
    let data = files(
        "path = \"train.csv\"\ntest = \"test.csv\"\nunlabelled = [\"more.txt\"]\nvalidation = 0",
    );
    let stages = "kind = \"pretrain\"\nobjective = \"lm\"\n[[stage]]\nname = \"t\"\nkind = \"finetune\"\n\
                  objective = \"classify\"\ninit = \"s\"";
    let survey = w.survey(&format!("{SMALL}{data}"), stages);
    let s = &survey["stages"][1];
    // The texts 200 to 204 and 0 to 6.
    assert_eq!(numbers(&s["leaks"], ["test", "pretrained"]), [7, 12]);
    says(&survey, "data.unlabelled", &["12 of 20 texts"]);
}
