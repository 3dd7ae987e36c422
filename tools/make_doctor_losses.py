#!/usr/bin/env python3
"""Prints the losses that `melos doctor` expects of its tiny models (src/doctor/steps/tiny.rs).

    python3 -m venv VENV && VENV/bin/pip install -r tools/requirements.txt
    VENV/bin/python tools/make_doctor_losses.py

The models, their first parameters and their texts are made here a second time, from the same numbers;
PyTorch and transformers train them in float64: Adam(lr=1e-3) after clip_grad_norm_(5.0), no dropout.
"""

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import nn

V, B, T = 37, 3, 11
torch.set_default_dtype(torch.float64)


class SplitMix:
    """src/reference/data.rs"""

    def __init__(self, seed):
        self.state = seed

    def unit(self):
        mask = (1 << 64) - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return ((z ^ (z >> 31)) >> 11) / (1 << 53)


def start(model, names=lambda name: name):
    for name, p in model.named_parameters():
        name = names(name)
        seed = 0xCBF29CE484222325
        for byte in name.encode():
            seed = (seed ^ byte) * 0x100000001B3 & ((1 << 64) - 1)
        norm = name.endswith("LayerNorm.weight") or "ln_" in name
        centre = 1.0 if norm and name.endswith("weight") else 0.0
        low, high, data = centre - 0.25, centre + 0.25, SplitMix(seed)
        values = np.array([low + (high - low) * data.unit() for _ in range(p.numel())], np.float32)
        p.data.copy_(torch.tensor(values.astype(np.float64)).reshape(p.shape))


def tokens(vocab, count):
    """src/doctor/steps/tokens.rs"""
    state, out = 12345, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) & ((1 << 64) - 1)
        out.append(int(vocab ** ((state >> 33) / (1 << 31)) - 1.0))
    return torch.tensor(out)


def train(name, model, loss):
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        losses.append(value.item())
    print(f"const {name}: [f64; 10] = [")
    for value in losses:
        print(f"    {value:.9f},")
    print("];")


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(V, 8)
        self.lstm = nn.LSTM(8, 16, num_layers=2)
        self.decoder = nn.Linear(16, V)

    def forward(self, ids):
        return self.decoder(self.lstm(self.embedding(ids))[0])


def lstm():
    model = Lstm()
    start(model)
    text = tokens(V, B * T + B)
    ids, targets = text[: B * T].reshape(T, B), text[B:]
    train("LSTM", model, lambda: F.cross_entropy(model(ids).reshape(-1, V), targets))


def bert():
    model = transformers.BertForMaskedLM(transformers.BertConfig(
        vocab_size=V, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=36,
        max_position_embeddings=T, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        pad_token_id=None, attn_implementation="eager"))
    start(model)
    ids, lens = tokens(V, B * T).reshape(B, T), torch.tensor([T, 7, 4])
    mask = torch.arange(T)[None] < lens[:, None]
    rows = [at for at in range(0, B * T, 3) if mask.reshape(-1)[at]]

    def loss():
        logits = model(input_ids=ids, attention_mask=mask.long()).logits.reshape(-1, V)
        return F.cross_entropy(logits[rows], ids.reshape(-1)[rows])

    train("BERT", model, loss)


def gpt2():
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=V, n_positions=T, n_embd=16, n_layer=2, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, attn_implementation="eager"))
    start(model)
    ids = tokens(V, B * T).reshape(B, T)
    train("GPT2", model, lambda: F.cross_entropy(
        model(input_ids=ids).logits[:, :-1].reshape(-1, V), ids[:, 1:].reshape(-1)))


lstm()
bert()
gpt2()
