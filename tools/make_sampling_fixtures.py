#!/usr/bin/env python3
"""Writes tests/fixtures/chat/sampling.json: which tokens transformers' processors leave to choose among.

    VENV/bin/pip install -r tools/requirements.txt
    VENV/bin/python tools/make_sampling_fixtures.py

Needed only to remake the fixture; it is committed. Each case has its settings, and of each token that is left its
probability.
"""

import json
import pathlib

import torch
from transformers import generation

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/chat/sampling.json"
CASES = [
    dict(temperature=1.0), dict(temperature=0.7), dict(temperature=2.5, top_k=5), dict(top_p=0.6), dict(top_p=0.05),
    dict(min_p=0.2), dict(temperature=1.5, min_p=0.5), dict(repetition_penalty=1.7),
    dict(repetition_penalty=0.5, temperature=0.8, top_k=9, top_p=0.9, min_p=0.1),
]


def main():
    torch.manual_seed(5)
    logits = (torch.randn(16) * 2).round(decimals=4)
    before = [3, 7, 7, 0, 12]
    cases = []
    for case in CASES:
        processors = generation.LogitsProcessorList()
        if "repetition_penalty" in case:
            processors.append(generation.RepetitionPenaltyLogitsProcessor(case["repetition_penalty"]))
        if "temperature" in case:
            processors.append(generation.TemperatureLogitsWarper(case["temperature"]))
        if "top_k" in case:
            processors.append(generation.TopKLogitsWarper(case["top_k"]))
        if "top_p" in case:
            processors.append(generation.TopPLogitsWarper(case["top_p"]))
        if "min_p" in case:
            processors.append(generation.MinPLogitsWarper(case["min_p"]))
        left = processors(torch.tensor([before]), logits[None].clone()).softmax(-1)[0]
        kept = {str(i): round(p, 7) for i, p in enumerate(left.tolist()) if p > 0}
        cases.append(case | {"left": kept})
    OUT.write_text(json.dumps({"logits": logits.tolist(), "before": before, "cases": cases}) + "\n")


main()
