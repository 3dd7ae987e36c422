"""The rows: what each trains, and what the paper has."""

import json
from dataclasses import dataclass, field
from typing import Callable

IMDB = "IMDB, small scale"
ROTTEN_TOMATOES = "Rotten Tomatoes, small scale, 10 folds"
LABELS = "IMDB, small scale, by the number of labels"


@dataclass
class Row:
    """`paper` is its test error in %; `reads` names rows whose pretraining this one starts from."""

    name: str
    table: str
    title: str
    paper: str
    arguments: Callable
    reads: list = field(default_factory=list)

    def before(self, out):
        """The pretraining of other rows that this one rests on."""
        for name in self.reads:
            for done in (out / name).glob("pretrain*/done.json"):
                yield json.loads(done.read_text())["report"]


def preset(name, data, *settings):
    """A preset's small scale; `data` and settings may need places."""

    def arguments(places):
        given = [s(places) if callable(s) else s for s in settings]
        sets = [part for setting in given for part in ("--set", setting)]
        return ["--preset", name, "--scale", "small", "--data", data(places), *sets]

    return arguments


def with_text(arguments, text):
    return lambda places: [*arguments(places), "--unlabelled", text(places)]


def imdb(places):
    return places.imdb()


def rt(places):
    return places.rotten_tomatoes()


def amazon(places):
    return places.amazon()


def starts_from(row):
    """What another row was pretrained to."""
    return lambda places: f"stage.finetune.init={json.dumps(str(places.model(row, 'pretrain')))}"


def word_vectors(places):
    return f"model.word_vectors={json.dumps(str(places.word_vectors()))}"


GAIN = "model.linear_gain=true"
JOINT = ("stage.finetune.objective=joint", "stage.finetune.auxiliary=sa")


def few(labels, start=None):
    """So many labels: some three hundred steps, that the fewest are seen often enough."""
    settings = [f"stage.finetune.train_texts={labels}", "stage.finetune.eval_every=60"]
    settings += ["stage.finetune.budget.steps=300" if labels < 5000 else "stage.finetune.budget.epochs=4"]
    if start:
        settings.append(starts_from(start))
    return preset("lstm-imdb", imdb, *settings)


ROWS = [
    Row("imdb-lm", IMDB, "LM-LSTM", "7.64", preset("lm-lstm-imdb", imdb)),
    Row("imdb-scratch", IMDB, "LSTM from scratch", "13.50", preset("lstm-imdb", imdb)),
    Row("imdb-sa", IMDB, "SA-LSTM", "7.24", preset("sa-lstm-imdb", imdb)),
    Row("imdb-word2vec", IMDB, "LSTM with word2vec vectors", "10.00", preset("lstm-imdb", imdb, word_vectors)),
    Row(
        "imdb-sa-gain", IMDB, "SA-LSTM with linear gain", "9.17",
        preset("lstm-imdb", imdb, GAIN, starts_from("imdb-sa")), ["imdb-sa"],
    ),
    Row("imdb-joint", IMDB, "SA-LSTM, joint training", "14.70", preset("lstm-imdb", imdb, *JOINT)),
    *[
        Row(f"labels-{labels}-{name}", LABELS, f"{labels} labels, {title}", "–", few(labels, start), reads)
        for labels in (250, 1000, 5000)
        for name, title, start, reads in (
            ("scratch", "from scratch", None, []),
            ("lm", "LM-LSTM", "imdb-lm", ["imdb-lm"]),
        )
    ],
    Row("rt-scratch", ROTTEN_TOMATOES, "LSTM from scratch", "20.3", preset("lstm-rt", rt)),
    Row("rt-lm-imdb", ROTTEN_TOMATOES, "LM-LSTM on IMDB's text", "–", with_text(preset("lm-lstm-rt", rt), imdb)),
    Row("rt-sa-imdb", ROTTEN_TOMATOES, "SA-LSTM on IMDB's text", "18.6", with_text(preset("sa-lstm-rt", rt), imdb)),
    Row("rt-lm-amazon", ROTTEN_TOMATOES, "LM-LSTM on Amazon's text", "–", with_text(preset("lm-lstm-rt", rt), amazon)),
    Row("rt-sa-amazon", ROTTEN_TOMATOES, "SA-LSTM on Amazon's text", "16.7", with_text(preset("sa-lstm-rt", rt), amazon)),
    Row("rt-lm", ROTTEN_TOMATOES, "LM-LSTM on its own text", "–", preset("lm-lstm-rt", rt)),
    Row("rt-sa", ROTTEN_TOMATOES, "SA-LSTM on its own text", "20.3", preset("sa-lstm-rt", rt)),
]
