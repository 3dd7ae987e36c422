//! Data sets as they are published: their columns are known by their names, their quotation marks do not
//! pair, some have no header.

use std::fs;

use melos::text::corpus::{Example, Format, Source, describe, read};
use melos::text::{Column, LabelKind};
use melos::{Error, Result};

use super::{folder, write};

type Row = (String, Option<String>, Option<String>);

fn rows(source: &Source) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    read(source, &mut |example: Example| {
        rows.push((example.text, example.pair, example.label));
        Ok(())
    })?;
    Ok(rows)
}

fn pair(first: &str, second: &str, label: &str) -> Row {
    let label = Some(label.to_string()).filter(|label| !label.is_empty());
    (first.into(), Some(second.into()), label)
}

fn single(text: &str, label: &str) -> Row {
    (text.into(), None, Some(label.into()))
}

#[test]
fn pairs_and_labels_are_known_by_their_names() {
    let root = folder();
    // MNLI's columns, with the parses between which the sentences stand.
    let mnli = "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t\
                sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n\
                0\t3\t3n\tfiction\t( ( He \" ) )\t( no )\t(ROOT (S He))\t(ROOT no)\tHe said \"go\tNobody spoke\t\
                contradiction\tcontradiction\n1\t4\t4n\ttravel\t( x )\t( y )\t(ROOT x)\t(ROOT y)\tIt is \"far\tIt is near\t\
                neutral\t-\n";
    let snli_line = |label: &str, a: &str, b: &str| {
        format!(
            "{{\"annotator_labels\":[\"{label}\"],\"captionID\":\"1.jpg#4\",\"gold_label\":\"{label}\",\"pairID\":\"1\",\
             \"sentence1\":\"{a}\",\"sentence1_parse\":\"(ROOT {a})\",\"sentence2\":\"{b}\",\"sentence2_parse\":\"(ROOT {b})\"}}\n"
        )
    };
    let snli = snli_line("entailment", "A dog runs", "An animal moves")
        + &snli_line("-", "A cat", "A pet");
    for (name, text, expected) in [
        (
            "qqp.tsv",
            "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n7\t1\t2\tWhy \"so?\tWhy?\t1\n8\t3\t4\tHow?\tWho?\t0\n"
                .to_string(),
            vec![pair("Why \"so?", "Why?", "1"), pair("How?", "Who?", "0")],
        ),
        (
            "qnli.tsv",
            "index\tquestion\tsentence\tlabel\n0\tWho won?\tThe \"Reds won.\tentailment\n1\tWhen?\tIt rained.\tnot_entailment\n"
                .into(),
            vec![
                pair("Who won?", "The \"Reds won.", "entailment"),
                pair("When?", "It rained.", "not_entailment"),
            ],
        ),
        (
            "rte.tsv",
            "index\tsentence1\tsentence2\tlabel\n0\tIt is late.\tIt is not early.\tentailment\n".into(),
            vec![pair("It is late.", "It is not early.", "entailment")],
        ),
        (
            "mnli.tsv",
            mnli.into(),
            vec![
                pair("He said \"go", "Nobody spoke", "contradiction"),
                pair("It is \"far", "It is near", ""),
            ],
        ),
        (
            "snli_1.0_dev.jsonl",
            snli,
            vec![
                pair("A dog runs", "An animal moves", "entailment"),
                pair("A cat", "A pet", ""),
            ],
        ),
        (
            "snli_1.0_dev.txt",
            "gold_label\tsentence1_parse\tsentence1\tsentence2\tlabel1\nneutral\t(ROOT a)\tA man\tA \"boy\tneutral\n".into(),
            vec![pair("A man", "A \"boy", "neutral")],
        ),
        (
            "nli.csv",
            "Premise,Hypothesis,Label\n\"So, it is\",It was,2\n".into(),
            vec![pair("So, it is", "It was", "2")],
        ),
        (
            "own.csv",
            "id,text_a,text_b,Score\n1,good,better,0.5\n".into(),
            vec![pair("good", "better", "0.5")],
        ),
        // The only column that is left.
        (
            "left.csv",
            "premise,hypothesis,verdict\none,two,yes\nthree,four,no\n".into(),
            vec![pair("one", "two", "yes"), pair("three", "four", "no")],
        ),
    ] {
        let path = write(&root, name, text);
        assert_eq!(rows(&Source::new(&path)).unwrap(), expected, "{name}");
    }
}

#[test]
fn glues_mrpc_and_sts_b_are_read_as_they_are() {
    let root = folder();
    // A byte order mark, lines of Windows, numbers in the names, quotation marks that do not pair.
    let mrpc = "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n\
                1\t702876\t702977\tAmrozi called him \"the witness.\t\"The witness, he said.\r\n\
                0\t2108705\t2108831\tYucaipa owned it.\tYucaipa sold it.\r\n";
    let expected = [
        pair(
            "Amrozi called him \"the witness.",
            "\"The witness, he said.",
            "1",
        ),
        pair("Yucaipa owned it.", "Yucaipa sold it.", "0"),
    ];
    for name in ["train.tsv", "msr_paraphrase_train.txt"] {
        let path = write(&root, name, mrpc);
        assert_eq!(rows(&Source::new(&path)).unwrap(), expected, "{name}");
    }
    let sts = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n\
               0\tmain-captions\tMSRvid\t2012test\t0001\tnone\tnone\tA plane is \"off.\tA plane flies.\t5.000\n\
               1\tmain-captions\tMSRvid\t2012test\t0004\tnone\tnone\tA man plays.\tA man eats.\t0.500\n";
    let source = Source {
        label_kind: LabelKind::Number,
        ..Source::new(write(&root, "sts.tsv", sts))
    };
    let expected = [
        pair("A plane is \"off.", "A plane flies.", "5.000"),
        pair("A man plays.", "A man eats.", "0.500"),
    ];
    assert_eq!(rows(&source).unwrap(), expected);
}

#[test]
fn a_table_without_header_needs_the_number_of_its_label() {
    let root = folder();
    let cola = "gj04\t1\t\tOur friends won't buy this analysis.\ngj04\t0\t*\tThey drank the \"pub.\n\
                bc01\t1\t\tThe more we study, the crazier they get.\n";
    let path = write(&root, "train.tsv", cola);
    let by_number = Source {
        label: Some(Column::Index(1)),
        ..Source::new(&path)
    };
    let expected = [
        single("Our friends won't buy this analysis.", "1"),
        single("They drank the \"pub.", "0"),
        single("The more we study, the crazier they get.", "1"),
    ];
    assert_eq!(rows(&by_number).unwrap(), expected);
    let described = describe(&by_number, false).unwrap();
    assert_eq!(described.text.as_deref(), Some("3"));
    assert_eq!(described.label.as_deref(), Some("1"));
    let both = Source {
        text: Some(Column::Index(0)),
        ..by_number
    };
    assert_eq!(rows(&both).unwrap()[2], single("bc01", "1"));
    let error = rows(&Source::new(&path)).unwrap_err();
    assert!(matches!(error, Error::ColumnMissing { role: "label", .. }));
    let error = error.to_string();
    for word in [
        "--label COLUMN",
        "data.label_column",
        "gj04, 1, ",
        "number (from 0)",
    ] {
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn what_may_be_several_columns_is_asked_for() {
    let root = folder();
    let says = |source: &Source, key: &str, words: &[&str]| {
        let error = rows(source).unwrap_err();
        assert!(matches!(error, Error::ConfigValue { .. }), "{error:?}");
        let error = error.to_string();
        assert!(error.starts_with(key), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let path = write(
        &root,
        "a.csv",
        "text,sentiment,category\nso it is,good,film\n",
    );
    says(
        &Source::new(&path),
        "data.label_column",
        &[
            "may be the label: sentiment, category",
            "text, sentiment, category",
            "first row: so it is | good | film",
            "--label COLUMN",
        ],
    );
    let named = |name: &str| Source {
        label: Some(name.into()),
        ..Source::new(&path)
    };
    assert_eq!(
        rows(&named("category")).unwrap(),
        [single("so it is", "film")]
    );
    // In other letters, as one types.
    assert_eq!(
        rows(&named("Sentiment")).unwrap(),
        [single("so it is", "good")]
    );
    let path = write(&root, "b.csv", "label,review,comment\n1,fine,no\n");
    says(
        &Source::new(&path),
        "data.text_column",
        &["may be the text: review, comment", "--text COLUMN"],
    );
    let path = write(
        &root,
        "c.csv",
        "sentence1,sentence2,question1,question2,label\na,b,c,d,1\n",
    );
    says(
        &Source::new(&path),
        "data.text_column",
        &["sentence1, sentence2, question1"],
    );
    let pair_of = |pair: &str| Source {
        pair: Some(pair.into()),
        ..Source::new(&path)
    };
    // The other one of the two follows.
    assert_eq!(rows(&pair_of("question2")).unwrap(), [pair("c", "d", "1")]);
    assert_eq!(rows(&pair_of("sentence1")).unwrap(), [pair("b", "a", "1")]);
    // A text that is named stands alone, and so does one that is only read.
    let alone = Source {
        text: Some("sentence2".into()),
        ..Source::new(&path)
    };
    assert_eq!(rows(&alone).unwrap(), [single("b", "1")]);
    let read_only = Source {
        label_optional: true,
        ..Source::new(write(
            &root,
            "d.csv",
            "premise,hypothesis\na long premise,so\n",
        ))
    };
    assert_eq!(rows(&read_only).unwrap()[0].1, None);
}

#[test]
fn a_few_rows_that_a_line_break_cuts_are_left_out() {
    let root = folder();
    let good: String = (0..2500)
        .map(|n| format!("{n}\tso {n}\tand {n}\t{}\n", n % 2))
        .collect();
    let head = "id\tquestion1\tquestion2\tis_duplicate\n";
    let cut = "x\tbegins here\nand ends\there\t1\n";
    let path = write(&root, "few.tsv", format!("{head}{cut}{good}"));
    let found = rows(&Source::new(&path)).unwrap();
    assert_eq!(found.len(), 2500);
    assert_eq!(found[0], pair("so 0", "and 0", "0"));
    // More of them are an error, with the place of the first.
    let path = write(&root, "many.tsv", format!("{head}{}{good}", cut.repeat(2)));
    let error = rows(&Source::new(&path)).unwrap_err();
    assert!(
        matches!(error, Error::MalformedRow { line: 2, .. }),
        "{error:?}"
    );
    // Where fields are quoted, none may be wrong.
    let path = write(
        &root,
        "one.csv",
        format!("{head}{cut}{good}").replace('\t', ","),
    );
    assert!(matches!(
        rows(&Source::new(&path)),
        Err(Error::MalformedRow { line: 2, .. })
    ));
}

#[test]
fn trecs_questions_have_coarse_classes_and_fine_ones() {
    let root = folder();
    // A letter of Windows-1252, as in the published file.
    let trec =
        b"DESC:manner How did serfdom develop ?\nENTY:cremat What films featured Popeye Doyle ?\n\
                 HUM:ind Who was Andr\xe9 ?\n";
    let path = write(&root, "train_5500.label", trec);
    let source = Source::new(&path);
    assert_eq!(source.resolve_format().unwrap(), Format::Trec);
    let expected = [
        single("How did serfdom develop ?", "DESC"),
        single("What films featured Popeye Doyle ?", "ENTY"),
        single("Who was André ?", "HUM"),
    ];
    assert_eq!(rows(&source).unwrap(), expected);
    let fine = Source {
        label: Some("fine".into()),
        ..source
    };
    assert_eq!(rows(&fine).unwrap()[1].2.as_deref(), Some("ENTY:cremat"));
    let path = write(
        &root,
        "TREC_10.label",
        "NUM:dist How far ?\nno class here\n",
    );
    let error = rows(&Source::new(&path)).unwrap_err();
    assert!(
        matches!(error, Error::MalformedRow { line: 2, .. }),
        "{error:?}"
    );
}

#[test]
fn the_subjectivity_data_are_two_files() {
    let root = folder();
    let quotes = write(
        &root,
        "quote.tok.gt9.5000",
        b"a smart , caf\xe9-dry film .\n",
    );
    let plots = write(
        &root,
        "plot.tok.gt9.5000",
        "he meets her . \nshe leaves .\n",
    );
    let expected = [
        single("he meets her .", "objective"),
        single("she leaves .", "objective"),
        single("a smart , café-dry film .", "subjective"),
    ];
    for path in [&quotes, &plots, &root.path().to_path_buf()] {
        let source = Source::new(path);
        assert_eq!(source.resolve_format().unwrap(), Format::Subjectivity);
        assert_eq!(rows(&source).unwrap(), expected);
    }
    let archive = root.path().join("rotten_imdb.tar.gz");
    let packed = std::process::Command::new("tar")
        .args([
            "-czf",
            "rotten_imdb.tar.gz",
            "plot.tok.gt9.5000",
            "quote.tok.gt9.5000",
        ])
        .current_dir(root.path())
        .status()
        .unwrap();
    assert!(packed.success());
    assert_eq!(rows(&Source::new(&archive)).unwrap(), expected);
    fs::remove_file(&plots).unwrap();
    assert!(matches!(
        rows(&Source::new(&quotes)),
        Err(Error::FileMissing { .. })
    ));
}
