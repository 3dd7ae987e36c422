#!/usr/bin/env python3
"""Writes tests/fixtures/tokenizers/: small tokenisers and what transformers makes of some texts.

    python3 -m venv VENV && VENV/bin/pip install -r tools/requirements.txt
    apt-get install mecab-ipadic && VENV/bin/python tools/make_tokenizer_fixtures.py

Needed only to remake the fixtures; the files are committed. The same versions give the same bytes.

    wordpiece/   vocab.txt, tokenizer_config.json: BERT, lower-cased
    cased/       tokenizer.json as transformers writes it, with truncation and padding left in
    bpe/         vocab.json, merges.txt, tokenizer_config.json: GPT-2
    roberta/     the same: RoBERTa; roberta-silent/  its tokenizer.json alone, as the first models have it
    xlm-roberta/ tokenizer.json, tokenizer_config.json: XLM-R, Unigram
    japanese/, characters/  vocab.txt, tokenizer_config.json: BertJapaneseTokenizer
    gaps/, japanese-gaps/, characters-gaps/  vocab.txt with blank lines and lines that come again
    ipadic/      an excerpt of mecab-ipadic's sources: the morphemes of SENTENCES, and those among
                 their competitors that need no further row of the matrix; see COPYING.md there
    expected.json  for each folder texts with ids, token types, offsets and the decoded text
"""

import csv
import glob
import io
import json
import math
import shutil
from collections import Counter
from pathlib import Path

import fugashi
import ipadic
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer, BertJapaneseTokenizer, BertTokenizer, GPT2Tokenizer, PreTrainedTokenizerFast,
    RobertaTokenizer, XLMRobertaTokenizer,
)

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/fixtures/tokenizers"
IPADIC = Path("/usr/share/mecab/dic/ipadic")
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = [
    "",
    "A film that is moving, funny and true.",
    "It wasn't the worst film I've seen -- far from it!",
    "  Naïve café   ÜBER\talles\u00a0(1999) 日本 [MASK] x",
    "unaffable " + "w" * 101,
    "don't say <|endoftext|> it's 3.14 🙂",
]
FRAMED = TEXTS + ["A <mask> film</s>  that is<pad> moving <mask>."]
SENTENCES = [
    "メロスは激怒した。",
    "必ず、かの邪智暴虐の王を除かなければならぬと決意した。",
    "メロスには政治がわからぬ。",
    "ﾒﾛｽは　ＡＢＣと [MASK] した。",
]


def training_text():
    with open(ROOT / "tests/data/reviews.csv") as file:
        return [row[0] + " " + row[-1] for row in csv.reader(file)]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def dump(path, value):
    write(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def vocabulary(lowercase):
    """Letters, frequent words and endings; the library's trainer depends on the order of a hash map."""
    cut = normalizers.BertNormalizer(lowercase=lowercase), pre_tokenizers.BertPreTokenizer()
    words = Counter(
        word for text in training_text()
        for word, _ in cut[1].pre_tokenize_str(cut[0].normalize_str(text))
    )
    letters = sorted({letter for word in words for letter in word})
    ends = Counter()
    for word, count in words.items():
        for n in (2, 3):
            if len(word) > n + 1:
                ends["##" + word[-n:]] += count
    frequent = sorted(words, key=lambda w: (-words[w], w))[:110]
    endings = sorted(ends, key=lambda w: (-ends[w], w))[:60]
    tokens = SPECIALS + letters + ["##" + letter for letter in letters] + frequent + endings
    return {token: id for id, token in enumerate(dict.fromkeys(tokens))}


def wordpiece():
    vocab = sorted(vocabulary(True).items(), key=lambda kv: kv[1])
    write(OUT / "wordpiece/vocab.txt", "".join(token + "\n" for token, _ in vocab))
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    dump(OUT / "wordpiece/tokenizer_config.json", config)


def cased():
    tokenizer = BertTokenizer(vocab=vocabulary(False), do_lower_case=False)
    tokenizer.backend_tokenizer.enable_truncation(8)
    tokenizer.backend_tokenizer.enable_padding(length=8)
    write(OUT / "cased/tokenizer.json", tokenizer.backend_tokenizer.to_str(pretty=False))
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    for role, token in tokenizer.special_tokens_map.items():
        config[role] = {"__type": "AddedToken", "content": token, "special": True, **flags}
    dump(OUT / "cased/tokenizer_config.json", config)


def byte_pairs(folder, kind, specials, size):
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    inner.train_from_iterator(training_text(), trainer)
    (OUT / folder).mkdir(parents=True, exist_ok=True)
    inner.model.save(str(OUT / folder))
    dump(OUT / folder / "tokenizer_config.json", {"tokenizer_class": kind})


def bpe():
    byte_pairs("bpe", "GPT2Tokenizer", ["<|endoftext|>"], 400)


def roberta():
    byte_pairs("roberta", "RobertaTokenizer", ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], 330)
    tokenizer = AutoTokenizer.from_pretrained(OUT / "roberta")
    inner = json.loads(tokenizer.backend_tokenizer.to_str())
    # The mask stands for a word with the space before it.
    next(t for t in inner["added_tokens"] if t["content"] == "<mask>")["lstrip"] = True
    write(OUT / "roberta-silent/tokenizer.json", json.dumps(inner, ensure_ascii=False))
    dump(OUT / "roberta-silent/tokenizer_config.json", {"model_max_length": 512})


def xlm_roberta():
    """Frequent words, endings and letters; what occurs more often is likelier."""
    words = Counter(word for text in training_text() for word in text.split())
    pieces = Counter({"▁": 1})
    for word, count in words.items():
        for piece in ["▁" + word, word[-2:], word[-3:], *word]:
            pieces[piece] += count
    likely = sorted(pieces, key=lambda p: (-pieces[p] * len(p), p))[:220]
    letters = sorted({letter for word in words for letter in word})
    total = sum(pieces.values())
    vocab = [(token, 0.0) for token in ["<s>", "<pad>", "</s>", "<unk>"]]
    for piece in dict.fromkeys(["▁", *letters, *likely]):
        vocab.append((piece, round(math.log(pieces[piece] / total), 3)))
    vocab.append(("<mask>", 0.0))
    tokenizer = XLMRobertaTokenizer(vocab=vocab)
    write(OUT / "xlm-roberta/tokenizer.json", tokenizer.backend_tokenizer.to_str())
    config = {"tokenizer_class": "XLMRobertaTokenizer"} | tokenizer.special_tokens_map
    dump(OUT / "xlm-roberta/tokenizer_config.json", config)


def lexicon():
    rows = []
    for file in sorted(glob.glob(str(IPADIC / "*.csv"))):
        text = Path(file).read_bytes().decode("euc-jp")
        rows += list(csv.reader(io.StringIO(text)))
    return rows


def dictionary():
    tagger = fugashi.GenericTagger(ipadic.MECAB_ARGS)
    rows = lexicon()
    by_entry = {}
    for row in rows:
        by_entry.setdefault((row[0], ",".join(row[4:])), row)
    chosen, text = {}, "".join(SENTENCES)
    for sentence in SENTENCES:
        for node in tagger(sentence):
            row = by_entry.get((node.surface, ",".join(node.feature)))
            if row:
                chosen[tuple(row)] = None
    unknown = [line.split(",") for line in
               (IPADIC / "unk.def").read_bytes().decode("euc-jp").splitlines() if line]
    # One unknown word a category is enough.
    unknown = list({row[0]: row for row in unknown}.values())
    lefts = sorted({0} | {int(row[1]) for row in [*chosen, *unknown]})
    rights = sorted({0} | {int(row[2]) for row in [*chosen, *unknown]})
    for row in rows:
        if row[0] in text and int(row[1]) in lefts and int(row[2]) in rights:
            chosen[tuple(row)] = None
    left = {old: new for new, old in enumerate(lefts)}
    right = {old: new for new, old in enumerate(rights)}

    def renumber(row):
        return f"{row[0]},{left[int(row[1])]},{right[int(row[2])]},{row[3]},{row[4]}\n"

    # In two files and two encodings, as a reader may meet them.
    entries = [renumber(row) for row in sorted(chosen)]
    write(OUT / "ipadic/a.csv", "".join(entries[::2]).encode("euc-jp"))
    write(OUT / "ipadic/b.csv", "".join(entries[1::2]).encode("utf-8"))
    write(OUT / "ipadic/unk.def", "".join(map(renumber, unknown)).encode("euc-jp"))
    characters = (IPADIC / "char.def").read_bytes().decode("euc-jp").splitlines()
    lines = [" ".join(line.split("#")[0].split()) for line in characters]
    write(OUT / "ipadic/char.def", "".join(line + "\n" for line in lines if line))
    matrix = [f"{len(rights)} {len(lefts)}\n"]
    with open(IPADIC / "matrix.def") as file:
        next(file)
        for line in file:
            r, l, cost = map(int, line.split())
            if r in right and l in left:
                matrix.append(f"{right[r]} {left[l]} {cost}\n")
    write(OUT / "ipadic/matrix.def", "".join(matrix))
    write(OUT / "ipadic/COPYING.md", (
        "An excerpt of the sources of mecab-ipadic 2.7.0-20070801, for tests.\n"
        "Copyright 2000, 2001, 2002, 2003 Nara Institute of Science and Technology. All Rights\n"
        "Reserved. Use, reproduction, and distribution of this software is permitted; see the\n"
        "full terms in the package's COPYING. Any copy of this software must contain this notice.\n"
    ))


def japanese():
    words = ["メロス", "は", "激怒", "し", "た", "。", "、", "必ず", "の", "王", "を", "決意", "に",
             "##なければ", "なけれ", "ば", "##ぬ", "ぬ", "なら", "政治", "が", "わか", "##ら", "と",
             "邪", "##智", "ABC", "除", "##か"]
    for folder, subword, tokens in [
        ("japanese", "wordpiece", words),
        ("characters", "character", sorted({c for s in SENTENCES[:3] for c in s} - {"虐"})),
    ]:
        write(OUT / folder / "vocab.txt", "".join(t + "\n" for t in SPECIALS + tokens))
        dump(OUT / folder / "tokenizer_config.json", {
            "tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab",
            "subword_tokenizer_type": subword, "mecab_kwargs": {"mecab_dic": "ipadic"},
        })


def gaps():
    """Ids are the numbers of lines, whatever the lines are: of equal ones the last counts."""
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    tokens = SPECIALS + ["a", "film", "", "that", "is", "a", "", "true", "[MASK]", "[UNK]", "##s",
                         "true ", "and", " and", "\u3000", "funny\t", "of\u2028", "."]
    write(OUT / "gaps/vocab.txt", "".join(t + "\r\n" for t in tokens) + "\r\n\r\n")
    dump(OUT / "gaps/tokenizer_config.json", config)
    new = {"content": "[NEW]", "special": False, "lstrip": False, "rstrip": False,
           "normalized": False, "single_word": False}
    for folder in ("japanese", "characters"):
        config = json.loads((OUT / folder / "tokenizer_config.json").read_text())
        lines = (OUT / folder / "vocab.txt").read_text().split("\n")[:-1]
        # The third in front of the last special token, the others behind.
        lines[4:4] = ["", "は", "[CLS]"]
        lines[12:12] = ["", "た", "。 ", "[SEP]", "し"]
        text = "\n".join(lines[:20]) + "\r" + "\r\n".join(lines[20:]) + "\n\n"
        config["added_tokens_decoder"] = {str(len(lines) + 1): new}
        write(OUT / f"{folder}-gaps/vocab.txt", text)
        dump(OUT / f"{folder}-gaps/tokenizer_config.json", config)


def expected():
    cases = []
    for folder, texts in [
        ("wordpiece", TEXTS), ("cased", TEXTS), ("bpe", TEXTS),
        ("japanese", SENTENCES), ("characters", SENTENCES),
        ("roberta", FRAMED), ("roberta-silent", FRAMED), ("xlm-roberta", FRAMED),
        ("gaps", TEXTS + ["A film that is true of films and funny [UNK]"]),
        ("japanese-gaps", SENTENCES + ["[NEW]は[SEP]た。"]), ("characters-gaps", SENTENCES),
    ]:
        # Its class is told by the model's configuration, which is not here.
        load = PreTrainedTokenizerFast if folder == "roberta-silent" else AutoTokenizer
        tokenizer = load.from_pretrained(OUT / folder)
        kind = {"bpe": GPT2Tokenizer, "roberta": RobertaTokenizer, "roberta-silent": load,
                "xlm-roberta": XLMRobertaTokenizer}
        kind |= dict.fromkeys(["wordpiece", "cased", "gaps"], BertTokenizer)
        assert type(tokenizer) is kind.get(folder, BertJapaneseTokenizer), type(tokenizer)
        pairs = [(text, None) for text in texts] + [(texts[1], texts[2])]
        for text, pair in pairs:
            got = tokenizer(text, pair, return_offsets_mapping=tokenizer.is_fast)
            cases.append({
                "folder": folder, "text": text, "pair": pair, "ids": got["input_ids"],
                "types": got.get("token_type_ids"), "offsets": got.get("offset_mapping"),
                "decoded": tokenizer.decode(got["input_ids"], skip_special_tokens=True),
            })
    lines = [json.dumps(case, ensure_ascii=False) for case in cases]
    write(OUT / "expected.json", "[\n" + ",\n".join(lines) + "\n]\n")


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    for step in (wordpiece, cased, bpe, roberta, xlm_roberta, dictionary, japanese, gaps, expected):
        step()
    total = sum(file.stat().st_size for file in OUT.rglob("*") if file.is_file())
    print(f"{total} bytes in {OUT}")


if __name__ == "__main__":
    main()
