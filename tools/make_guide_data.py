#!/usr/bin/env python3
"""Makes the small files that docs/guides were measured with, from published sets.

    tools/make_guide_data.py DATA OUT

DATA is a folder with `rt-polaritydata`, `aclImdb_text.tar.gz`, `amazon_reviews.tsv.gz`, `e2e-dataset` and
`wikitext-2`. Written are

    reviews.csv   text,label               3,000 sentences of Rotten Tomatoes
    pairs.csv     sentence1,sentence2,label  2,000 of E2E's descriptions, each with what it was written for or
                                           with what another one was
    words.conll   word TAB label           2,000 of E2E's sentences, what they name marked with B- and I-
    stars.csv     text,score               1,000 ends of IMDB's reviews, and the stars given
    topics.jsonl  text,labels              1,500 of Amazon's reviews: what kind of thing, and whether it was liked
    book.txt      one long text            WikiText-2's validation part, 1.1 MB
"""

import csv
import gzip
import json
import random
import re
import sys
import tarfile
from pathlib import Path

SLOT = re.compile(r"(\w[\w ]*)\[([^\]]*)\]")
WORD = re.compile(r"£?\w[\w'£-]*|[^\w\s]")


def main():
    data, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    reviews(data, out / "reviews.csv")
    with open(data / "e2e-dataset/devset.csv", encoding="utf-8", newline="") as file:
        restaurants = [(row["mr"], row["ref"]) for row in csv.DictReader(file)]
    random.Random(1).shuffle(restaurants)
    pairs(restaurants, out / "pairs.csv")
    words(restaurants, out / "words.conll")
    stars(data, out / "stars.csv")
    topics(data, out / "topics.jsonl")
    (out / "book.txt").write_bytes((data / "wikitext-2/wiki.valid.tokens").read_bytes())


def table(path, header, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def reviews(data, path):
    rows = []
    for name, label in (("pos", "positive"), ("neg", "negative")):
        lines = (data / f"rt-polaritydata/rt-polarity.{name}").read_text(encoding="utf-8").splitlines()
        rows += [(line.strip(), label) for line in random.Random(1).sample(lines, 1500)]
    random.Random(2).shuffle(rows)
    table(path, ["text", "label"], rows)


def pairs(restaurants, path):
    rows = []
    for place, (mr, ref) in enumerate(restaurants[:2000]):
        other = restaurants[(place + 1) % len(restaurants)][0]
        says = "yes" if place % 2 == 0 or other == mr else "no"
        told = mr if says == "yes" else other
        rows.append((", ".join(f"{key}: {value}" for key, value in SLOT.findall(told)), ref, says))
    table(path, ["sentence1", "sentence2", "label"], rows)


def words(restaurants, path):
    sentences = []
    for mr, ref in restaurants[2000:4000]:
        found = WORD.findall(ref)
        labels, lower = ["O"] * len(found), [word.lower() for word in found]
        for key, value in SLOT.findall(mr):
            named = [word.lower() for word in WORD.findall(value)]
            for start in range(len(found) - len(named) + 1):
                if lower[start : start + len(named)] == named and named:
                    kind = key.replace(" ", "")
                    labels[start : start + len(named)] = [f"B-{kind}"] + [f"I-{kind}"] * (len(named) - 1)
        sentences.append("".join(f"{word}\t{label}\n" for word, label in zip(found, labels)))
    path.write_text("\n".join(sentences), encoding="utf-8")


def stars(data, path):
    rows = []
    with tarfile.open(data / "aclImdb_text.tar.gz") as tar:
        for member in tar:
            if re.search(r"/train/(pos|neg)/\d+_\d+\.txt$", member.name):
                text = tar.extractfile(member).read().decode("utf-8").replace("<br />", " ")
                rows.append((" ".join(text.split()[-60:]), int(member.name[:-4].rsplit("_", 1)[1])))
    table(path, ["text", "score"], random.Random(1).sample(rows, 1000))


def topics(data, path):
    rows = []
    with gzip.open(data / "amazon_reviews.tsv.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            label, category, form, text = line.rstrip("\n").split("\t")
            if form == "raw" and label != "-1":
                liked = ["liked"] if label == "1" else []
                rows.append({"text": " ".join(text.split()[:60]), "labels": [category, *liked]})
    chosen = random.Random(1).sample(rows, 1500)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen), encoding="utf-8")


if __name__ == "__main__":
    main()
