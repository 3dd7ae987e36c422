#!/usr/bin/env python3
"""Writes tests/fixtures/parquet/: small tables as pyarrow and pandas write them.

    python3 -m venv VENV && VENV/bin/pip install pyarrow==26.0.1
    VENV/bin/python tools/make_parquet_fixtures.py

Needed only to remake the fixtures; the files are committed.

    snappy, gzip, none, zstd   the same rows in two groups: strings (one of them null), integers, floats,
                               a boolean, lists of labels
    words                      lists of words and of numbers for them, as Hugging Face's conll2003 has
    chat                       conversations in lists of structs, beside a system message
    preferences                two answers of messages to a prompt of messages
    judged                     answers to a prompt that are good or bad
    binary                     text that is not said to be text, in dictionary pages of version 2
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

OUT = Path(__file__).parent.parent / "tests/fixtures/parquet"

ROWS = pa.table(
    {
        "idx": pa.array([0, 1, 2], pa.int32()),
        "sentence1": ["It is late.", "Größe 走れ", 'She said "so'],
        "sentence2": ["It is not early.", "a\nb", "He, too"],
        "label": pa.array([1, 0, None], pa.int64()),
        "score": pa.array([0.5, -1.25, 3.0], pa.float32()),
        "checked": [True, False, True],
        "tags": [["sad", "long"], [], ["sad"]],
        "note": ["x", None, "y"],
    }
)


def preferences():
    said = lambda role, text: [{"role": role, "content": text}]
    pairs = [("q", "good one", "bad"), ("走れ", "yes", "no, never")]
    columns = zip(*[(said("user", q), said("assistant", y), said("assistant", n)) for q, y, n in pairs])
    names = ["prompt", "chosen", "rejected"]
    pq.write_table(pa.table(dict(zip(names, map(list, columns)))), OUT / "preferences.parquet")


def judged():
    table = pa.table({"prompt": ["q", "r"], "completion": [" yes", " no"], "label": [True, False]})
    pq.write_table(table, OUT / "judged.parquet")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for name in ["snappy", "gzip", "none", "zstd"]:
        pq.write_table(ROWS, OUT / f"{name}.parquet", compression=name, row_group_size=2)
    words = pa.table(
        {
            "id": ["0", "1"],
            "tokens": [["EU", "rejects", "it"], ["Peter"]],
            "ner_tags": pa.array([[3, 0, 0], [1]], pa.list_(pa.int64())),
        }
    )
    pq.write_table(words, OUT / "words.parquet")
    turns = [[("human", "a"), ("gpt", "b")], [("human", "c"), ("gpt", "d")]]
    turns = [[{"from": role, "value": text} for role, text in talk] for talk in turns]
    pq.write_table(pa.table({"conversations": turns, "system": [None, "S"]}), OUT / "chat.parquet")
    preferences(), judged()
    binary = pa.table({"text": [b"so it goes", b"and so on"], "label": ["a", "b"]})
    pq.write_table(binary, OUT / "binary.parquet", data_page_version="2.0")


if __name__ == "__main__":
    main()
