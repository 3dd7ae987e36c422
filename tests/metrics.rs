//! Metrics against scikit-learn, scipy and seqeval (tools/make_metric_fixtures.py).

#[path = "common/fixture.rs"]
mod fixture;

use melos::objectives::evidence::Evidence;
use melos::objectives::metrics::METRICS;
use melos::objectives::scores::{ClassScores, Scores};
use serde_json::Value;

fn cases(kind: &str) -> Vec<Value> {
    let path = fixture::fixtures().join("metrics.json");
    let all: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let cases = all[kind].as_array().unwrap().clone();
    assert!(cases.len() >= 3);
    cases
}

fn list<T>(value: &Value, of: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().unwrap().iter().map(of).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn whole(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn near(found: f64, expected: f64, what: &str) {
    let most = 1e-12 * expected.abs().max(1.0);
    assert!(
        (found - expected).abs() <= most,
        "{what}: {found}, expected {expected}"
    );
}

/// Every expected metric, and none but these and the loss.
fn holds(case: &Value, evidence: &Evidence, passed_over: &[&str]) {
    let expected = case["expected"].as_object().unwrap();
    for metric in METRICS {
        let found = (metric.of)(evidence);
        match expected.get(metric.name) {
            Some(Value::Null) => assert_eq!(found, None, "{}: {case}", metric.name),
            Some(value) => near(
                found.unwrap_or(f64::NAN),
                number(value),
                &format!("{} of {case}", metric.name),
            ),
            None => assert!(
                found.is_none() || passed_over.contains(&metric.name),
                "{} is not in {case}",
                metric.name
            ),
        }
    }
}

fn same_classes(found: &ClassScores, expected: [&Value; 4]) {
    let [precision, recall, f1, support] = expected;
    for (found, expected) in [
        (&found.precision, precision),
        (&found.recall, recall),
        (&found.f1, f1),
    ] {
        let expected = list(expected, number);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            near(*found, expected, "a class");
        }
    }
    let support = list(support, |n| number(n) as u64);
    assert_eq!(found.support, support);
}

#[test]
fn one_label_each_is_scored_as_scikit_learn_does() {
    for case in cases("label") {
        let (truth, said) = (list(&case["truth"], whole), list(&case["said"], whole));
        let evidence = Evidence::of_labels(&truth, &said, whole(&case["classes"])).unwrap();
        holds(&case, &evidence, &["loss", "perplexity"]);
        let scores = Scores::of(evidence, &[]).unwrap();
        let classes = scores.classes.as_ref().unwrap();
        let each = ["precision", "recall", "f1", "support"].map(|key| &case[key]);
        same_classes(classes, each);
        let confusion = list(&case["confusion"], |row| list(row, |n| whole(n) as u64));
        assert_eq!(classes.confusion, confusion);
    }
}

#[test]
fn several_labels_each_are_scored_as_scikit_learn_does() {
    for case in cases("labels") {
        let rows = |key: &str| list(&case[key], |row| list(row, |n| whole(n) == 1));
        let (truth, said) = (rows("truth"), rows("said"));
        let classes = truth[0].len();
        let texts = truth
            .into_iter()
            .zip(said)
            .map(|(t, s)| t.into_iter().zip(s).collect());
        let evidence = Evidence::labels(0.0, classes, texts);
        let others = ["loss", "perplexity", "f1", "balanced_accuracy"];
        holds(&case, &evidence, &others);
    }
}

#[test]
fn numbers_are_scored_as_scipy_and_scikit_learn_do() {
    for case in cases("numbers") {
        let (truth, said) = (list(&case["truth"], number), list(&case["said"], number));
        let evidence = Evidence::numbers(truth.into_iter().zip(said).collect());
        holds(&case, &evidence, &["loss", "perplexity"]);
    }
}

fn words(text: &[String]) -> Vec<&str> {
    text.iter().map(String::as_str).collect()
}

#[test]
fn entities_are_scored_as_seqeval_does() {
    for case in cases("entities") {
        let word = |word: &Value| word.as_str().unwrap().to_string();
        let texts = |key: &str| list(&case[key], |text| list(text, word));
        let (truth, said) = (texts("truth"), texts("said"));
        let pairs: Vec<_> = truth
            .iter()
            .zip(&said)
            .map(|(t, s)| (words(t), words(s)))
            .collect();
        let evidence = Evidence::of_entities(&pairs);
        holds(&case, &evidence, &["loss", "perplexity"]);
        let scores = Scores::of(evidence, &[]).unwrap();
        let (found, kinds) = (scores.entities.unwrap(), case["kinds"].as_object().unwrap());
        let names: Vec<&String> = kinds.keys().collect();
        assert_eq!(found.names.iter().collect::<Vec<_>>(), names);
        let column = |at: usize| Value::from_iter(kinds.values().map(|row| row[at].clone()));
        let columns = [0, 1, 2, 3].map(column);
        same_classes(&found, columns.each_ref());
    }
}
