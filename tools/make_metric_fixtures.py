#!/usr/bin/env python3
"""Writes tests/fixtures/metrics.json: answers, and what scikit-learn, scipy and seqeval make of them.

    python3 -m venv VENV && VENV/bin/pip install -r tools/requirements.txt
    VENV/bin/python tools/make_metric_fixtures.py

Needed only to remake the fixture; the file is committed. The same versions give the same bytes. A metric
that is not defined, as a correlation of what does not vary, is null.
"""

import json
import math
import random
import warnings
from pathlib import Path

import numpy
from scipy import stats
from seqeval import metrics as entities
from sklearn import metrics

OUT = Path(__file__).resolve().parent.parent / "tests/fixtures/metrics.json"
RNG = random.Random(7)


def of_label(truth, said, classes):
    labels, zero = list(range(classes)), dict(zero_division=0)
    f1 = lambda average: metrics.f1_score(truth, said, labels=labels, average=average, **zero)
    precision, recall, each, support = metrics.precision_recall_fscore_support(
        truth, said, labels=labels, **zero)
    expected = {
        "accuracy": metrics.accuracy_score(truth, said),
        "error": metrics.zero_one_loss(truth, said),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, said),
        "macro_f1": f1("macro"), "micro_f1": f1("micro"), "weighted_f1": f1("weighted"),
        "mcc": metrics.matthews_corrcoef(truth, said),
    }
    if classes == 2:
        expected["f1"] = metrics.f1_score(truth, said, **zero)
    return {"truth": truth, "said": said, "classes": classes, "expected": expected,
            "confusion": metrics.confusion_matrix(truth, said, labels=labels).tolist(),
            "precision": precision.tolist(), "recall": recall.tolist(), "f1": each.tolist(),
            "support": support.tolist()}


def of_labels(truth, said):
    t, s = numpy.array(truth), numpy.array(said)
    f1 = lambda average: metrics.f1_score(t, s, average=average, zero_division=0)
    return {"truth": truth, "said": said, "expected": {
        "accuracy": metrics.accuracy_score(t, s), "error": metrics.zero_one_loss(t, s),
        "micro_f1": f1("micro"), "macro_f1": f1("macro"), "weighted_f1": f1("weighted")}}


def of_numbers(truth, said):
    return {"truth": truth, "said": said, "expected": {
        "pearson": stats.pearsonr(truth, said).statistic,
        "spearman": stats.spearmanr(truth, said).statistic,
        "mse": metrics.mean_squared_error(truth, said),
        "mae": metrics.mean_absolute_error(truth, said),
        "r2": metrics.r2_score(truth, said)}}


def of_entities(truth, said):
    args = dict(zero_division=0)
    report = entities.classification_report(truth, said, output_dict=True, **args)
    kinds = {kind: [row["precision"], row["recall"], row["f1-score"], int(row["support"])]
             for kind, row in report.items() if not kind.endswith(" avg")}
    return {"truth": truth, "said": said, "kinds": kinds, "expected": {
        "entity_f1": entities.f1_score(truth, said, **args),
        "entity_precision": entities.precision_score(truth, said, **args),
        "entity_recall": entities.recall_score(truth, said, **args)}}


def some(count, classes):
    return [RNG.randrange(classes) for _ in range(count)]


def noisy(truth, classes, share):
    return [RNG.randrange(classes) if RNG.random() < share else t for t in truth]


def tags(marks, length):
    kinds = ["PER", "LOC", "ORG"]
    one = lambda: "O" if RNG.random() < 0.3 else RNG.choice(marks) + "-" + RNG.choice(kinds)
    return [one() for _ in range(length)]


def main():
    warnings.simplefilter("ignore")
    label = []
    for classes in (2, 3, 7):
        truth = some(40, classes)
        label.append(of_label(truth, noisy(truth, classes, 0.5), classes))
    label += [
        of_label([0, 0, 1, 1, 1], [1, 1, 1, 1, 1], 2),           # one class for all
        of_label([0, 0, 0], [0, 0, 0], 2),                       # a class neither there nor said
        of_label([1, 1, 1], [1, 0, 1], 2),
        of_label([0, 2, 2, 0, 2], [2, 0, 1, 0, 2], 4),           # said but not there, and neither
        of_label([0, 1], [1, 0], 2),
    ]
    labels = [
        of_labels([[RNG.randrange(2) for _ in range(5)] for _ in range(30)],
                  [[RNG.randrange(2) for _ in range(5)] for _ in range(30)]),
        of_labels([[0, 0, 1], [0, 0, 0], [1, 0, 1]], [[0, 0, 1], [0, 0, 0], [0, 0, 0]]),
        of_labels([[0, 0], [0, 0]], [[0, 0], [0, 0]]),           # nothing there, nothing said
    ]
    smooth = [RNG.gauss(0, 3) for _ in range(50)]
    numbers = [
        of_numbers(smooth, [x + RNG.gauss(0, 1) for x in smooth]),
        of_numbers([RNG.randrange(6) / 2 for _ in range(60)],    # ties on both sides
                   [RNG.randrange(4) / 4 for _ in range(60)]),
        of_numbers([1.0, 2.0, 3.0, 4.0], [9.0, 7.0, 5.0, 3.0]),
        of_numbers([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]),            # no correlation
        of_numbers([2.0, 2.0, 2.0], [1.0, 2.0, 4.0]),
        of_numbers([2.0, 2.0], [2.0, 2.0]),
        of_numbers([1e8 + x for x in range(9)], [1e-8 * x * x for x in range(9)]),
    ]
    words = []
    for marks in (["B", "I"], ["I"], ["B", "I", "E", "S"]):      # IOB2, IOB1, BIOES, all of them broken too
        truth = [tags(marks, RNG.randrange(1, 14)) for _ in range(40)]
        said = [[t if RNG.random() < 0.7 else RNG.choice(tags(marks, 1)) for t in text] for text in truth]
        words.append(of_entities(truth, said))
    words += [
        of_entities([["B-PER", "I-PER", "O", "B-LOC"]], [["B-PER", "I-PER", "O", "B-LOC"]]),
        of_entities([["I-PER", "I-PER", "B-PER", "I-LOC"]], [["B-PER", "I-PER", "I-PER", "I-LOC"]]),
        of_entities([["O", "O"], ["O"]], [["O", "B-PER"], ["O"]]),           # none there
        of_entities([["O", "B-PER"]], [["O", "O"]]),                         # none said
        of_entities([["B-PER"], ["I-PER"]], [["B-PER"], ["B-PER"]]),         # none across texts
        of_entities([["B-A-B", "I-A-B", "O"]], [["B-A-B", "I-A-C", "O"]]),   # a hyphen in a kind
    ]
    clean = lambda x: None if isinstance(x, float) and not math.isfinite(x) else x
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return clean(value.item() if isinstance(value, numpy.generic) else value)
    cases = {"label": label, "labels": labels, "numbers": numbers, "entities": words}
    lines = ",\n".join(f'"{name}": [\n' + ",\n".join(json.dumps(plain(c)) for c in some_) + "\n]"
                       for name, some_ in cases.items())
    OUT.write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
