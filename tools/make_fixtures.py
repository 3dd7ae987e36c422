#!/usr/bin/env python3
"""Writes tests/fixtures/*.safetensors: what PyTorch computes for the LSTM models, so that the
tests have a judge that shares no code and no author with melos.

    python3 -m venv VENV && VENV/bin/pip install -r tools/requirements.txt
    VENV/bin/python tools/make_fixtures.py

Needed only to remake the fixtures; the files are committed. The same versions give the same bytes.

Every input and parameter is a float32 number; everything expected is computed by PyTorch in
float64 from them and rounded once, to float32, when it is written. Sequences are time-major,
(T, B, C); gate order i, f, g, o and parameter names are PyTorch's. Lengths are handled with
pack_padded_sequence: outputs past a row's end are 0, h_n and c_n are taken at its end, the reverse
direction starts there.

Names inside a file:
    input.*     what goes in: ids (T, B), lengths (B), labels (B), …
    param.*     parameters before training, by their PyTorch names
    act.*       the output of each layer
    loss        of the first step; its gradients are grad.* (before clipping)
    losses      the loss of each of STEPS training steps, before that step's update
    grad_norms  the global gradient norm of each step, before clipping
    final.*     parameters after the last step
Training is Adam(lr=1e-3, PyTorch defaults) after clip_grad_norm_(max_norm=1.0). The convergence_*
files hold longer runs on the texts in tests/data: inputs, param.* and CURVE_STEPS losses only, at
CURVE_LR.
"""

import csv
import json
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parent / "tests" / "fixtures"
DATA = HERE.parent / "tests" / "data"

V, E, H, B, T = 37, 8, 12, 5, 11
CLASSES = 3
STEPS = 10
LR, MAX_NORM = 1e-3, 1.0
CURVE_STEPS, CURVE_LR, CURVE_BATCH = 100, 1e-2, 8
PAD, BOS, EOS = 0, 1, 2
LENGTHS = [7, 11, 1, 4, 9]  # unsorted, one full row, one of a single token

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
torch.use_deterministic_algorithms(True)


# --- files ------------------------------------------------------------------------------------


def save(name, about, tensors, script="tools/make_fixtures.py", **metadata):
    """Writes safetensors by hand: the library does not promise an order for metadata, and remaking
    a fixture must give the same bytes."""
    numpy_of = {}
    for key, value in tensors.items():
        array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
            assert np.isfinite(array).all(), key
        assert array.dtype in (np.float32, np.uint32, np.int32), (key, array.dtype)
        numpy_of[key] = np.ascontiguousarray(array)

    header = {
        "__metadata__": {
            "about": about,
            "script": script,
            "torch": torch.__version__.split("+")[0],
            **metadata,
        }
    }
    kind = {"float32": "F32", "uint32": "U32", "int32": "I32"}
    at = 0
    for key in sorted(numpy_of):
        array = numpy_of[key]
        header[key] = {
            "dtype": kind[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    body = b"".join(numpy_of[key].tobytes() for key in sorted(numpy_of))
    path = OUT / f"{name}.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    print(f"{path.name:40} {path.stat().st_size:8,} bytes")


def u32(values):
    return np.asarray(values, dtype=np.uint32)


def i32(values):
    return np.asarray(values, dtype=np.int32)


# --- data -------------------------------------------------------------------------------------
# RandomState, because its streams are frozen; numpy's newer generators may change between versions.


def normal(rng, *shape, scale=1.0):
    """float32 numbers, held in float64."""
    return torch.tensor((rng.standard_normal(shape) * scale).astype(np.float32).astype(np.float64))


def randomise(module, rng):
    """Parameters at scales at which gates move, gradients are not small and some steps clip."""
    for name, parameter in module.named_parameters():
        scale = 0.1 if "bias" in name else 0.35
        if name == "embedding.weight":
            scale = 1.0
        elif name == "linear.weight":
            scale = 2.0
        parameter.data.copy_(normal(rng, *parameter.shape, scale=scale))


def padded_ids(rng, lengths, first=3):
    """(T, B) ids, PAD past the end of each row; one id repeats, so that its gradient adds up."""
    ids = rng.randint(first, V, size=(max(lengths), len(lengths)))
    ids[0, :] = ids[0, 0]
    for row, length in enumerate(lengths):
        ids[length:, row] = PAD
    return ids


# --- models -----------------------------------------------------------------------------------


def run_lstm(lstm, x, lengths, state=None):
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    out, (h_n, c_n) = lstm(packed, state)
    out, _ = pad_packed_sequence(out, total_length=x.shape[0])
    return out, h_n, c_n


class CellClipLstm(nn.Module):
    """One layer of the textbook LSTM, its cell clamped to ±clip after each update (PyTorch's own has
    no such option):
        i, f, g, o = σ, σ, tanh, σ of (W_ih x_t + b_ih + W_hh h + b_hh)
        c = clamp(f∘c + i∘g, -clip, clip);  h = o∘tanh(c)
    No gradient passes where the clamp bites."""

    def __init__(self, inputs, hidden, clip):
        super().__init__()
        self.clip = clip
        self.weight_ih_l0 = nn.Parameter(torch.zeros(4 * hidden, inputs))
        self.weight_hh_l0 = nn.Parameter(torch.zeros(4 * hidden, hidden))
        self.bias_ih_l0 = nn.Parameter(torch.zeros(4 * hidden))
        self.bias_hh_l0 = nn.Parameter(torch.zeros(4 * hidden))

    def run(self, x, lengths):
        hidden = self.weight_hh_l0.shape[1]
        h = torch.zeros(x.shape[1], hidden)
        c = torch.zeros(x.shape[1], hidden)
        outputs = []
        self.clipped = 0
        for t in range(x.shape[0]):
            gates = (
                x[t] @ self.weight_ih_l0.T
                + self.bias_ih_l0
                + h @ self.weight_hh_l0.T
                + self.bias_hh_l0
            )
            i, f, g, o = gates.chunk(4, dim=1)
            raw = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            inside = torch.tensor([[t < n] for n in lengths])
            self.clipped += int(((raw.abs() > self.clip) & inside).sum())
            c_new = raw.clamp(-self.clip, self.clip)
            h_new = torch.sigmoid(o) * torch.tanh(c_new)
            h = torch.where(inside, h_new, h)
            c = torch.where(inside, c_new, c)
            outputs.append(torch.where(inside, h_new, torch.zeros(())))
        return torch.stack(outputs), h[None], c[None]


class Model(nn.Module):
    """embedding → LSTM → linear; the head reads whatever each objective gives it."""

    def __init__(
        self, outputs, hidden=H, layers=1, bidirectional=False, cell_clip=None, vocabulary=V, embedding=E
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        if cell_clip is None:
            self.lstm = nn.LSTM(embedding, hidden, layers, bidirectional=bidirectional)
        else:
            self.lstm = CellClipLstm(embedding, hidden, cell_clip)
        self.directions = 2 if bidirectional else 1
        self.linear = nn.Linear(hidden * self.directions, outputs)

    def encode(self, ids, lengths, state=None):
        x = self.embedding(ids)
        if isinstance(self.lstm, CellClipLstm):
            return x, *self.lstm.run(x, lengths)
        return x, *run_lstm(self.lstm, x, lengths, state)


def train(model, loss_of):
    """The first step's gradients, then STEPS of Adam with clipping. `loss_of(step)` returns the loss
    and the layers' outputs."""
    result = {f"param.{n}": p.detach().clone() for n, p in model.named_parameters()}
    optimiser = torch.optim.Adam(model.parameters(), lr=LR)
    losses, norms = [], []
    for step in range(STEPS):
        optimiser.zero_grad()
        loss, acts = loss_of(step)
        loss.backward()
        if step == 0:
            result["loss"] = loss.detach().clone()
            result |= {f"act.{n}": a.detach().clone() for n, a in acts.items()}
            result |= {f"grad.{n}": p.grad.clone() for n, p in model.named_parameters()}
        norms.append(float(clip_grad_norm_(model.parameters(), MAX_NORM)))
        losses.append(loss.item())
        optimiser.step()
    result["losses"] = np.array(losses)
    result["grad_norms"] = np.array(norms)
    result |= {f"final.{n}": p.detach().clone() for n, p in model.named_parameters()}
    assert max(norms) > MAX_NORM, f"clipping never acted: {norms}"
    return result


# --- fixtures ---------------------------------------------------------------------------------


def raw_lstm(name, seed, inputs, hidden, layers, bidirectional):
    """loss = Σ output·coef.output + Σ h_n·coef.h_n + Σ c_n·coef.c_n"""
    rng = np.random.RandomState(seed)
    lstm = nn.LSTM(inputs, hidden, layers, bidirectional=bidirectional)
    randomise(lstm, rng)
    stacked = layers * (2 if bidirectional else 1)
    x = normal(rng, T, B, inputs).requires_grad_()
    h0 = normal(rng, stacked, B, hidden, scale=0.5).requires_grad_()
    c0 = normal(rng, stacked, B, hidden, scale=0.5).requires_grad_()
    output, h_n, c_n = run_lstm(lstm, x, LENGTHS, (h0, c0))
    coef = {k: normal(rng, *v.shape) for k, v in [("output", output), ("h_n", h_n), ("c_n", c_n)]}
    loss = (output * coef["output"]).sum() + (h_n * coef["h_n"]).sum() + (c_n * coef["c_n"]).sum()
    loss.backward()
    tensors = {"input.x": x, "input.h0": h0, "input.c0": c0, "input.lengths": u32(LENGTHS)}
    tensors |= {f"coef.{k}": v for k, v in coef.items()}
    tensors |= {"act.output": output, "act.h_n": h_n, "act.c_n": c_n, "loss": loss}
    tensors |= {"grad.x": x.grad, "grad.h0": h0.grad, "grad.c0": c0.grad}
    for n, p in lstm.named_parameters():
        tensors |= {f"param.{n}": p, f"grad.{n}": p.grad}
    save(name, f"nn.LSTM({inputs}, {hidden}, {layers}, bidirectional={bidirectional}); "
         + raw_lstm.__doc__, tensors)


def classifier(name, seed, labels, **shape):
    """The last hidden state of each row (bidirectional: the top layer's two last states, forward
    first) → linear → cross entropy, mean over the rows whose label is not -1."""
    rng = np.random.RandomState(seed)
    model = Model(CLASSES, **shape)
    randomise(model, rng)
    ids = padded_ids(rng, LENGTHS)
    target = torch.tensor(labels)

    def loss_of(_):
        x, output, h_n, c_n = model.encode(torch.tensor(ids), LENGTHS)
        last = torch.cat(list(h_n[-model.directions:]), dim=1)
        logits = model.linear(last)
        loss = F.cross_entropy(logits, target, ignore_index=-1)
        acts = dict(embedding=x, lstm=output, h_n=h_n, c_n=c_n, last=last, logits=logits)
        return loss, acts

    tensors = train(model, loss_of)
    about = f"{shape or 'one layer'}; " + " ".join(classifier.__doc__.split())
    if "cell_clip" in shape:
        assert model.lstm.clipped > 50, model.lstm.clipped
        tensors["input.cell_clip"] = np.array(shape["cell_clip"])
    tensors |= {"input.ids": u32(ids), "input.lengths": u32(LENGTHS), "input.labels": i32(labels)}
    save(name, about, tensors)


def classifier_linear_gain(name, seed):
    """The classifier predicts after every word. The weight of time t (counted from 1) in a row of
    n words is w_t = t / n: it rises linearly from 0 just before the first word to 1 at the last.
    A row's loss is Σ_t w_t CE_t / Σ_t w_t, the loss is the mean over the rows."""
    rng = np.random.RandomState(seed)
    model = Model(CLASSES)
    randomise(model, rng)
    ids = padded_ids(rng, LENGTHS)
    labels = [2, 0, 1, 1, 0]
    weights = torch.zeros(T, B)
    for row, n in enumerate(LENGTHS):
        w = torch.arange(1, n + 1) / n
        weights[:n, row] = w / w.sum() / B

    def loss_of(_):
        x, output, h_n, _c = model.encode(torch.tensor(ids), LENGTHS)
        logits = model.linear(output)
        target = torch.tensor(labels).expand(T, B)
        ce = F.cross_entropy(logits.reshape(T * B, -1), target.reshape(-1), reduction="none")
        loss = (weights.reshape(-1) * ce).sum()
        return loss, dict(embedding=x, lstm=output, h_n=h_n, logits=logits)

    tensors = train(model, loss_of)
    tensors |= {"input.ids": u32(ids), "input.lengths": u32(LENGTHS), "input.labels": i32(labels)}
    tensors["input.row_weights"] = weights
    save(name, " ".join(classifier_linear_gain.__doc__.split()), tensors)


def language_model(name, seed):
    """input.ids (STEPS·8 + 1, B) is a stream, input.window its BPTT length W = 8. Window k reads
    ids[kW .. (k+1)W] and predicts the ids one later; loss = mean over its W·B tokens. The state
    starts at 0 and is carried, detached, from each window to the next. window0.* and window1.* are
    both at the initial parameters; training step k then takes window k, its state as the parameters
    of step k-1 left it."""
    rng = np.random.RandomState(seed)
    window = 8
    model = Model(V)
    randomise(model, rng)
    ids = rng.randint(1, V, size=(STEPS * window + 1, B))
    full = [window] * B

    def loss_at(k, state):
        at = slice(k * window, (k + 1) * window)
        x, output, h_n, c_n = model.encode(torch.tensor(ids[at]), full, state)
        logits = model.linear(output)
        target = torch.tensor(ids[k * window + 1 : (k + 1) * window + 1])
        loss = F.cross_entropy(logits.reshape(-1, V), target.reshape(-1))
        acts = dict(embedding=x, lstm=output, h_n=h_n, c_n=c_n, logits=logits)
        return loss, acts, (h_n.detach(), c_n.detach())

    tensors, state = {}, None
    for k in range(2):
        model.zero_grad()
        loss, acts, state = loss_at(k, state)
        loss.backward()
        tensors[f"window{k}.loss"] = loss
        tensors |= {f"window{k}.act.{n}": a for n, a in acts.items() if n != "embedding"}
        tensors |= {f"window{k}.grad.{n}": p.grad.clone() for n, p in model.named_parameters()}

    carried = [None]

    def loss_of(step):
        loss, _, carried[0] = loss_at(step, carried[0])
        return loss, {}

    trained = train(model, loss_of)
    tensors |= {k: v for k, v in trained.items() if not k.startswith("grad.") and k != "loss"}
    tensors |= {"input.ids": u32(ids), "input.window": u32([window])}
    save(name, " ".join(language_model.__doc__.split()), tensors)


def sequence_autoencoder(name, seed):
    """One LSTM, one embedding. The encoder reads x_1 … x_n from a zero state; its last state (h and
    c) starts the decoder, which has the same weights, reads <bos>, x_1 … x_n and predicts x_1 … x_n,
    <eos> (Dai & Le 2015, figure 1). loss = mean over the Σ(n + 1) predictions. Past the end of a
    row input.decoder_targets is -1."""
    rng = np.random.RandomState(seed)
    model = Model(V)
    randomise(model, rng)
    ids = padded_ids(rng, LENGTHS)
    decoder_lengths = [n + 1 for n in LENGTHS]
    decoder_ids = np.full((T + 1, B), PAD)
    targets = np.full((T + 1, B), -1)
    decoder_ids[0, :] = BOS
    for row, n in enumerate(LENGTHS):
        decoder_ids[1 : n + 1, row] = ids[:n, row]
        targets[:n, row] = ids[:n, row]
        targets[n, row] = EOS

    def loss_of(_):
        _, encoded, h_n, c_n = model.encode(torch.tensor(ids), LENGTHS)
        _, decoded, _, _ = model.encode(torch.tensor(decoder_ids), decoder_lengths, (h_n, c_n))
        logits = model.linear(decoded)
        loss = F.cross_entropy(
            logits.reshape(-1, V), torch.tensor(targets).reshape(-1), ignore_index=-1
        )
        return loss, dict(encoder=encoded, h_n=h_n, c_n=c_n, decoder=decoded, logits=logits)

    tensors = train(model, loss_of)
    tensors |= {"input.ids": u32(ids), "input.lengths": u32(LENGTHS)}
    tensors |= {"input.decoder_ids": u32(decoder_ids), "input.decoder_targets": i32(targets)}
    tensors["input.decoder_lengths"] = u32(decoder_lengths)
    save(name, " ".join(sequence_autoencoder.__doc__.split()), tensors)


OPTIMIZERS = {
    "sgd": (torch.optim.SGD, dict(lr=0.1)),
    "sgd_weight_decay": (torch.optim.SGD, dict(lr=0.1, weight_decay=0.05)),
    "momentum": (torch.optim.SGD, dict(lr=0.1, momentum=0.9)),
    "nesterov": (torch.optim.SGD, dict(lr=0.1, momentum=0.9, nesterov=True)),
    "adagrad": (torch.optim.Adagrad, dict(lr=0.1, eps=1e-10)),
    "rmsprop": (torch.optim.RMSprop, dict(lr=0.01, alpha=0.99, eps=1e-8)),
    "rmsprop_centered": (torch.optim.RMSprop, dict(lr=0.01, alpha=0.99, eps=1e-8, centered=True)),
    "rmsprop_momentum": (torch.optim.RMSprop, dict(lr=0.01, alpha=0.99, eps=1e-8, momentum=0.9)),
    "adam": (torch.optim.Adam, dict(lr=0.01, betas=(0.9, 0.999), eps=1e-8)),
    "adam_weight_decay": (torch.optim.Adam, dict(lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05)),
    "adamw": (torch.optim.AdamW, dict(lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05)),
}


def optimizers(name, seed):
    """expected.<optimizer> (5, 33): the parameters after each of five steps from input.parameters
    (33) with the gradients input.gradients (5, 33)."""
    rng = np.random.RandomState(seed)
    start = normal(rng, 33)
    gradients = normal(rng, 5, 33) * torch.logspace(-3, 1, 33)  # four decades of magnitude
    gradients[:, 0] = 0.0  # a parameter that never gets a gradient
    gradients[2] = 0.0  # a step without any
    gradients = gradients.to(torch.float32).to(torch.float64)
    tensors = {"input.parameters": start, "input.gradients": gradients}
    for key, (kind, options) in OPTIMIZERS.items():
        parameter = nn.Parameter(start.clone())
        optimiser = kind([parameter], foreach=False, **options)
        after = []
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimiser.step()
            after.append(parameter.detach().clone())
        tensors[f"expected.{key}"] = torch.stack(after)
    settings = "; ".join(f"{k}: {o[1]}" for k, o in OPTIMIZERS.items())
    save(name, " ".join(optimizers.__doc__.split()) + " " + settings, tensors)


def gradient_clipping(name, seed):
    """clip_grad_norm_ over three gradients of different shapes: <case>.input.N, <case>.max_norm →
    <case>.norm (before), <case>.expected.N."""
    rng = np.random.RandomState(seed)
    tensors = {}
    for case, scale, max_norm in [("clipped", 3.0, 1.0), ("unclipped", 0.01, 5.0), ("zero", 0.0, 1.0)]:
        parameters = []
        for n, shape in enumerate([(7, 5), (33,), (1,)]):
            parameter = nn.Parameter(torch.zeros(shape))
            parameter.grad = normal(rng, *shape, scale=scale)
            tensors[f"{case}.input.{n}"] = parameter.grad.clone()
            parameters.append(parameter)
        tensors[f"{case}.max_norm"] = np.array(max_norm)
        tensors[f"{case}.norm"] = clip_grad_norm_(parameters, max_norm)
        tensors |= {f"{case}.expected.{n}": p.grad for n, p in enumerate(parameters)}
    save(name, " ".join(gradient_clipping.__doc__.split()), tensors)


# --- convergence --------------------------------------------------------------------------------


def texts():
    """Words of the unlabelled texts, of the labelled ones, and the labels; ids from 3 in the order of
    the sorted words."""
    unlabelled = [line.split() for line in (DATA / "unlabelled.txt").read_text().splitlines()]
    with open(DATA / "reviews.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    labelled = [row["text"].split() for row in rows]
    words = sorted({word for text in unlabelled + labelled for word in text})
    number = {word: i + 3 for i, word in enumerate(words)}
    ids = [[[number[word] for word in text] for text in part] for part in (unlabelled, labelled)]
    return *ids, [int(row["label"] == "positive") for row in rows], len(words) + 3


def curve(name, about, outputs, vocabulary, seed, inputs, loss_of):
    """Trains CURVE_STEPS steps and keeps the losses."""
    rng = np.random.RandomState(seed)
    model = Model(outputs, hidden=20, vocabulary=vocabulary, embedding=12)
    for parameter in model.parameters():
        parameter.data.copy_(normal(rng, *parameter.shape, scale=0.2))
    tensors = {f"param.{n}": p.detach().clone() for n, p in model.named_parameters()}
    optimiser = torch.optim.Adam(model.parameters(), lr=CURVE_LR)
    losses = []
    for step in range(CURVE_STEPS):
        optimiser.zero_grad()
        loss = loss_of(model, step)
        loss.backward()
        clip_grad_norm_(model.parameters(), MAX_NORM)
        losses.append(loss.item())
        optimiser.step()
    print(f"    {losses[0]:.4f} -> {losses[-1]:.4f}")
    save(name, " ".join(about.split()), tensors | inputs | {"losses": np.array(losses)})


def batches(documents):
    """ids (K, T, B) and lengths (K, B) of consecutive documents."""
    count = len(documents) // CURVE_BATCH
    longest = max(len(document) for document in documents)
    ids = np.full((count, longest, CURVE_BATCH), PAD)
    lengths = np.zeros((count, CURVE_BATCH), dtype=int)
    for i, document in enumerate(documents[: count * CURVE_BATCH]):
        k, row = divmod(i, CURVE_BATCH)
        ids[k, : len(document), row] = document
        lengths[k, row] = len(document)
    return ids, lengths


def convergence():
    unlabelled, labelled, labels, vocabulary = texts()

    stream = [i for document in unlabelled for i in document + [EOS]]
    window = 8
    rows = len(stream) // CURVE_BATCH
    ids = np.array(stream[: rows * CURVE_BATCH]).reshape(CURVE_BATCH, rows).T
    ids = np.tile(ids, (CURVE_STEPS * window // rows + 1, 1))[: CURVE_STEPS * window + 1]
    state = [None]

    def lm_loss(model, step):
        at = slice(step * window, (step + 1) * window)
        _, output, h, c = model.encode(torch.tensor(ids[at]), [window] * CURVE_BATCH, state[0])
        state[0] = (h.detach(), c.detach())
        target = torch.tensor(ids[step * window + 1 : (step + 1) * window + 1])
        return F.cross_entropy(model.linear(output).reshape(-1, vocabulary), target.reshape(-1))

    about = """As language_model: window k of input.ids at step k, the state carried, over the
        unlabelled texts joined by <eos> and repeated."""
    curve("convergence_lm", about, vocabulary, vocabulary, 21,
          {"input.ids": u32(ids), "input.window": u32([window])}, lm_loss)

    sa_ids, sa_lengths = batches(unlabelled[:40])

    def sa_loss(model, step):
        x, n = sa_ids[step % len(sa_ids)], sa_lengths[step % len(sa_ids)]
        longest = x.shape[0]
        shifted = np.vstack([np.full((1, CURVE_BATCH), BOS), x])
        target = np.full((longest + 1, CURVE_BATCH), -1)
        for row, length in enumerate(n):
            target[:length, row] = x[:length, row]
            target[length, row] = EOS
        _, _, h, c = model.encode(torch.tensor(x), n)
        _, decoded, _, _ = model.encode(torch.tensor(shifted), n + 1, (h, c))
        logits = model.linear(decoded).reshape(-1, vocabulary)
        return F.cross_entropy(logits, torch.tensor(target).reshape(-1), ignore_index=-1)

    about = """As sequence_autoencoder, on 40 unlabelled texts: input.ids (K, T, B) and input.lengths
        (K, B); step k takes batch k mod K. The decoder reads <bos> x and predicts x <eos>."""
    curve("convergence_sa", about, vocabulary, vocabulary, 22,
          {"input.ids": u32(sa_ids), "input.lengths": u32(sa_lengths)}, sa_loss)

    c_ids, c_lengths = batches(labelled)
    c_labels = np.array(labels).reshape(-1, CURVE_BATCH)

    def classifier_loss(model, step):
        k = step % len(c_ids)
        _, _, h, _ = model.encode(torch.tensor(c_ids[k]), c_lengths[k])
        return F.cross_entropy(model.linear(h[-1]), torch.tensor(c_labels[k]))

    about = """As classifier, on the labelled texts: input.ids (K, T, B), input.lengths and
        input.labels (K, B); step k takes batch k mod K."""
    curve("convergence_classifier", about, 2, vocabulary, 23,
          {"input.ids": u32(c_ids), "input.lengths": u32(c_lengths), "input.labels": u32(c_labels)},
          classifier_loss)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    raw_lstm("lstm_1layer", 1, inputs=7, hidden=9, layers=1, bidirectional=False)
    raw_lstm("lstm_2layer_bidirectional", 2, inputs=7, hidden=9, layers=2, bidirectional=True)
    classifier("classifier", 3, labels=[2, 0, 1, 1, 0])
    classifier("classifier_ignored_label", 4, labels=[2, -1, 1, -1, 0])
    classifier("classifier_2layer_bidirectional", 5, [2, 0, 1, 1, 0], hidden=10, layers=2, bidirectional=True)
    classifier("classifier_cell_clip", 6, [2, 0, 1, 1, 0], cell_clip=0.25)
    classifier_linear_gain("classifier_linear_gain", 7)
    language_model("language_model", 8)
    sequence_autoencoder("sequence_autoencoder", 9)
    optimizers("optimizers", 10)
    gradient_clipping("gradient_clipping", 11)
    convergence()


if __name__ == "__main__":
    main()
