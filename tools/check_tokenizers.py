#!/usr/bin/env python3
"""Do melos and transformers cut the same text in the same tokens?

    cargo build && melos tokenizer build-dictionary /usr/share/mecab/dic/ipadic
    tools/check_tokenizers.py --work DIR [--melos target/debug/melos] [--data ../shared/data]

Trains a tokeniser of every kind with melos, opens its folder with transformers' AutoTokenizer and
compares ids, tokens, token types and (where transformers has them) offsets line by line; does the
same with folders that transformers wrote anew, and with vocab.txt or vocab.json + merges.txt
alone. Japanese is compared with BertJapaneseTokenizer (fugashi, ipadic) on every sentence of
hashire_merosu.txt. Needs tools/requirements.txt with transformers, fugashi and ipadic.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from transformers import AutoTokenizer

ODD = [
    "",
    " ",
    "Hello, World! It's 3.14 o'clock…",
    "naïve café Ünïcödé ﬁne ½ № ①",
    "a  b\tc   d",
    "日本語 and English，全角ＡＢＣ　空白",
    "한국어 العربية עברית ไทย 🙂👩‍👩‍👧 x\u200by",
    "don't [MASK] stop [SEP] <|endoftext|> <unk> [UNK]x",
    "supercalifragilisticexpialidocious" * 4,
    "ｶﾞｷﾞｸﾞ ㍿ ゔ か\u3099 a\u0301 \u00a0nbsp",
]


def melos_encode(melos, folder, lines, special=True):
    lines = [line.replace("\n", " ").replace("\r", " ") for line in lines]
    out = subprocess.run(
        [melos, "tokenizer", "encode", "--json", folder] + ([] if special else ["--no-special"]),
        input="".join(line + "\n" for line in lines),
        capture_output=True, text=True, check=False,
    )
    if out.returncode:
        sys.exit(f"melos: {out.stderr}")
    return [json.loads(line) for line in out.stdout.splitlines()]


def compare(name, melos, folder, lines, theirs=None):
    theirs = theirs or AutoTokenizer.from_pretrained(folder)
    lines = [line.replace("\n", " ").replace("\r", " ") for line in lines]
    ours = melos_encode(melos, folder, lines)
    assert len(ours) == len(lines), (len(ours), len(lines))
    bad = tokens = 0
    for line, mine in zip(lines, ours):
        want = theirs(line, return_offsets_mapping=theirs.is_fast)
        pairs = [(mine["ids"], want["input_ids"])]
        if "token_type_ids" in want:
            pairs.append((mine["token_types"], want["token_type_ids"]))
        if theirs.is_fast:
            pairs.append(([tuple(o) for o in mine["offsets"]], want["offset_mapping"]))
        tokens += len(mine["ids"])
        if any(list(a) != list(b) for a, b in pairs):
            bad += 1
            if bad <= 3:
                print(f"  {line!r}\n    melos {mine['tokens']}\n    theirs "
                      f"{theirs.convert_ids_to_tokens(want['input_ids'])}")
                for a, b in pairs:
                    if list(a) != list(b):
                        print("   ", a, b)
    verdict = "equal" if not bad else f"{bad} DIFFER"
    print(f"{name}: {type(theirs).__name__}, {len(lines)} lines, {tokens} tokens: {verdict}")
    return bad


def compare_decoding(name, melos, folder, lines):
    theirs = AutoTokenizer.from_pretrained(folder)
    ids = [theirs(line)["input_ids"] for line in lines]
    out = subprocess.run(
        [melos, "tokenizer", "decode", "--json", folder],
        input="".join(" ".join(map(str, i)) + "\n" for i in ids),
        capture_output=True, text=True, check=True,
    )
    ours = [json.loads(line)["text"] for line in out.stdout.splitlines()]
    bad = 0
    for i, text in zip(ids, ours):
        want = theirs.decode(i, skip_special_tokens=True)
        if text != want:
            bad += 1
            if bad <= 3:
                print(f"  melos  {text!r}\n  theirs {want!r}")
    print(f"{name}, decoded: {'equal' if not bad else f'{bad} DIFFER'}")
    return bad


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--melos", default="target/debug/melos")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--also", action="append", default=[], help="another tokeniser's folder")
    args = parser.parse_args()
    work, data, melos = args.work, args.data, args.melos
    work.mkdir(parents=True, exist_ok=True)

    wiki = (data / "wikitext-2/wiki.test.tokens").read_text().splitlines()
    english = work / "english.txt"
    english.write_text("\n".join(wiki))
    novel = (data / "hashire_merosu.txt").read_text().replace("\r", "").replace("\n", "")
    sentences = [piece + "。" for piece in novel.split("。") if piece.strip()]
    japanese = data / "hashire_merosu.txt"
    mixed = ODD + wiki[:400] + sentences[:60]

    bad = 0

    def train(name, text, *options):
        folder = str(work / name)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(
            [melos, "tokenizer", "train", "--data", str(text), "--out", folder, *options],
            check=True, stdout=subprocess.DEVNULL,
        )
        return folder

    kinds = [
        ("wordpiece", english, ["--kind", "wordpiece", "--vocabulary", "3000"]),
        ("wordpiece-cased", english, ["--kind", "wordpiece", "--vocabulary", "3000", "--cased"]),
        ("bpe", english, ["--kind", "bpe", "--vocabulary", "2000"]),
        ("char", english, ["--kind", "char", "--vocabulary", "200"]),
        ("word", english, ["--kind", "word", "--vocabulary", "2000"]),
        ("word-bert", english, ["--kind", "word", "--vocabulary", "2000", "--family", "bert"]),
        ("morpheme", japanese, ["--kind", "morpheme", "--vocabulary", "1500"]),
        ("morpheme-character", japanese,
         ["--kind", "morpheme", "--subword", "character", "--vocabulary", "600"]),
    ]
    for name, text, options in kinds:
        folder = train(name, text, *options)
        lines = ODD + sentences if name.startswith("morpheme") else mixed
        bad += compare(name, melos, folder, lines)
        bad += compare_decoding(name, melos, folder, lines)
        anew = str(work / f"{name}-anew")
        shutil.rmtree(anew, ignore_errors=True)
        AutoTokenizer.from_pretrained(folder).save_pretrained(anew)
        bad += compare(f"{name}, written by transformers", melos, anew, lines)
        if name in ("wordpiece", "wordpiece-cased", "bpe"):
            # The old way: no tokenizer.json.
            (Path(anew) / "tokenizer.json").unlink()
            for file in ("vocab.txt", "vocab.json", "merges.txt"):
                if (Path(folder) / file).exists():
                    shutil.copy(Path(folder) / file, anew)
            bad += compare(f"{name}, vocabulary files alone", melos, anew, lines)
    for folder in args.also:
        bad += compare(folder, melos, folder, mixed)
        bad += compare_decoding(folder, melos, folder, mixed)
    print("everything is equal" if not bad else f"{bad} lines differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
