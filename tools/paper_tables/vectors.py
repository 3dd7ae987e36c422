"""Word vectors as text, by gensim's word2vec, on the reviews that are not for testing."""

import re
import tarfile
from collections import Counter

# As melos' tokeniser of kind "word" cuts; Python's `re` has no \p{L}, and `[^\W\d_]` is near enough.
LETTER = r"[^\W\d_]"
WORD = re.compile(rf"{LETTER}+n['’]t\b|['’](?:s|re|ve|ll|d|m)\b|{LETTER}+|\d+|\.\.+|--+|[^\s]")
VOCABULARY = 10_000
SIZE = 128


def reviews(archive):
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and "/train/" in member.name and member.name.endswith(".txt"):
                yield WORD.findall(tar.extractfile(member).read().decode("utf-8").replace("<br />", " ").lower())


def train(archive):
    from gensim.models import Word2Vec

    texts = list(reviews(archive))
    frequent = {word for word, _ in Counter(w for text in texts for w in text).most_common(VOCABULARY)}
    texts = [[word for word in text if word in frequent] for text in texts]
    model = Word2Vec(texts, vector_size=SIZE, window=5, min_count=1, sg=1, negative=5, epochs=3, seed=1, workers=1)
    # At the spread that melos draws its own embeddings with, that neither dropout nor rates have to change.
    vectors = model.wv.vectors / model.wv.vectors.std() * 0.1
    lines = [f"{len(vectors)} {SIZE}"]
    lines += [f"{word} {' '.join(f'{x:.5f}' for x in row)}" for word, row in zip(model.wv.index_to_key, vectors)]
    return "\n".join(lines) + "\n"
