"""The texts that tools/same-bits trains on: made from a seed, the same on every machine."""

import gzip
import io
import json
import random
import shutil
import tarfile
from pathlib import Path

GOOD = "wonderful moving clever funny charming tender brilliant honest fresh gripping".split()
BAD = "dull shallow lazy boring clumsy noisy empty stale cold pointless".split()
THINGS = "film plot cast story scene ending drama comedy script music camera hero".split()
FILLERS = "rather quite never often slowly almost truly hardly".split()
NAMES = {"Melos": "B-PER", "Dionys": "B-PER", "Selinuntius": "B-PER", "Syrakus": "B-LOC", "Rome": "B-LOC"}
KANA = "メロスは激怒した走れ王をのがにと村友人信じる笛羊妹城道川山日"


class Texts:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def below(self, n):
        return int(self.random.random() * n)

    def of(self, words):
        return words[self.below(len(words))]

    def sentence(self, words):
        """Some of the words, and what they are said of; now and then a word of its own."""
        parts = ["the", self.of(THINGS), "was", self.of(FILLERS), self.of(words), "and", self.of(words)]
        for _ in range(self.below(6)):
            parts += [self.of([",", "with", "in"]), self.of(["a", "the", "its"]), self.of(THINGS)]
        if self.below(4) == 0:
            parts.append("".join(self.of("bcdfgklmnprst") + self.of("aeiou") for _ in range(3)))
        return " ".join(parts)

    def review(self, sentences=2):
        """A text and its label."""
        good = self.below(2) == 1
        return " . ".join(self.sentence(GOOD if good else BAD) for _ in range(sentences)) + " .", good


def table(path, header, rows):
    quoted = [",".join('"' + cell + '"' for cell in row) for row in [header, *rows]]
    path.write_text("\n".join(quoted) + "\n", encoding="utf-8")


def archive(path, files):
    """A tar.gz of (name, text) without times."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in files:
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    path.write_bytes(gzip.compress(packed.getvalue(), mtime=0))


def make(folder, repository):
    """Writes everything into a folder."""
    texts, name = Texts(1), ["negative", "positive"]
    reviews = lambda n, sentences=2: [texts.review(sentences) for _ in range(n)]
    lines = lambda found: "".join(text + "\n" for text, _ in found)

    (folder / "texts.txt").write_text(lines(reviews(240, 1)))
    (folder / "documents").mkdir()
    for i in range(30):
        document = "\n".join(texts.review(1)[0] for _ in range(8))
        (folder / f"documents/{i}.txt").write_text(document + "\n")
    for file, n in [("reviews.csv", 96), ("test.csv", 32)]:
        table(folder / file, ["text", "label"], [[text, name[good]] for text, good in reviews(n)])
    rows = [[a, b, ["differ", "agree"][x == y]] for (a, x), (b, y) in zip(reviews(80, 1), reviews(80, 1))]
    table(folder / "pairs.csv", ["text", "second", "label"], rows)
    found = [texts.review(1)[0] for _ in range(80)]
    tags = lambda text: ",".join(t for t in ["film", "plot", "music", "hero"] if t in text.split())
    table(folder / "tags.csv", ["text", "tags"], [[text, tags(text)] for text in found])
    stars = lambda text: f"{sum(w in GOOD for w in text.split()) - 0.5 * text.count(','):.1f}"
    table(folder / "stars.csv", ["text", "stars"], [[text, stars(text)] for text in found])
    words = []
    for _ in range(80):
        some = [texts.of([*NAMES, "ran", "spoke", "in", "to", "waited"]) for _ in range(3 + texts.below(5))]
        words.append([(word, NAMES.get(word, "O")) for word in some])
    conll = "\n".join("".join(f"{word} {tag}\n" for word, tag in text) for text in words)
    (folder / "words.conll").write_text(conll)
    pairs = [{"tokens": [w for w, _ in text], "tags": [t for _, t in text]} for text in words]
    (folder / "words.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs))

    vectors = ["".join(f" {texts.random.random() - 0.5:.4f}" for _ in range(8)) for _ in GOOD + BAD]
    (folder / "vectors.txt").write_text("".join(f"{w}{v}\n" for w, v in zip(GOOD + BAD, vectors)))
    (folder / "rt").mkdir()
    for good, sign in enumerate(["neg", "pos"]):
        words = [BAD, GOOD][good]
        (folder / f"rt/rt-polarity.{sign}").write_text("".join(texts.sentence(words) + "\n" for _ in range(60)))
    imdb = [(f"aclImdb/{part}/{['neg', 'pos'][good]}/{i}_{1 + 8 * good}.txt", text)
            for part, n in [("train", 64), ("test", 32)] for i, (text, good) in enumerate(reviews(n, 3))]
    imdb += [(f"aclImdb/train/unsup/{i}_0.txt", text) for i, (text, _) in enumerate(reviews(64, 3))]
    archive(folder / "imdb.tar.gz", imdb)
    novel = lambda: "".join("".join(texts.of(KANA) for _ in range(6 + texts.below(14))) + "。" for _ in range(60))
    (folder / "novel.txt").write_text(novel(), encoding="utf-8")
    archive(folder / "novels.tar.gz", [(f"novels/{i}.txt", novel()) for i in range(3)])
    for theirs in ["tokenizers/ipadic", "hf"]:
        shutil.copytree(repository / "tests/fixtures" / theirs, folder / Path(theirs).name)
