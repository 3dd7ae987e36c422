#!/usr/bin/env python3
"""Makes tests/fixtures/torch: tensors of every kind as torch.save writes them, today and before PyTorch 1.6, a
checkpoint of a training script, and their numbers. Needs PyTorch, which calls the storages of legacy.pth by their
addresses: its bytes are others each time.

    python tools/make_torch_fixtures.py
"""

import json
from collections import OrderedDict
from pathlib import Path

import torch

OUT = Path(__file__).resolve().parent.parent / "tests/fixtures/torch"


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) / 8
    tensors = OrderedDict(
        whole=base,
        transposed=base.permute(2, 0, 1),
        part=base[1, :, 1:3],
        every_other=base.reshape(-1)[1::2],
        half=torch.randn(3).half(),
        brain=torch.randn(2, 2).bfloat16(),
        double=torch.randn(3, dtype=torch.float64),
        parameter=torch.nn.Parameter(torch.randn(2)),
        scalar=torch.tensor(1.5),
        empty=torch.empty(0, 4),
        counter=torch.tensor(7),
        mask=torch.tensor([True, False]),
    )
    torch.save(tensors, OUT / "tensors.pth")
    torch.save(tensors, OUT / "legacy.pth", _use_new_zipfile_serialization=False)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    model(torch.randn(4, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    checkpoint = {
        "epoch": 3,
        "arch": "tiny",
        "best": 0.25,
        "state_dict": torch.nn.DataParallel(model).state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(checkpoint, OUT / "checkpoint.pth")
    numbers = lambda t: [list(t.shape), t.detach().double().flatten().tolist()]
    floats = lambda all: {n: numbers(t) for n, t in all.items() if t.is_floating_point()}
    expected = {"tensors": floats(tensors), "checkpoint": floats(model.state_dict())}
    (OUT / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
