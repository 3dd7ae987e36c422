"""Attention in PyTorch beside melos: forward, and forward with backward, of scaled_dot_product_attention.

    cargo bench --bench attention -- T512      # or T2048, T8192, all
    attention.py [T …] [--device cpu|cuda]

Each length of `benches/attention.rs` that melos was timed with (or those named) runs with its input: queries,
keys and values of 4 heads of 64 side by side in one row, f32, the gradient of a sum. Prints milliseconds, the
median of ten, and processor time, melos' from target/criterion/melos-attention.csv, and theirs over ours.
"""

import argparse
import csv
import os
import pathlib
import statistics
import time

import torch
from torch.nn.functional import scaled_dot_product_attention

HEADS, WIDTH, RUNS = 4, 64, 10
BATCH = {128: 16, 512: 4, 2048: 1, 8192: 1}
TABLE = pathlib.Path(__file__).resolve().parents[3] / "target/criterion/melos-attention.csv"


def run(qkv, causal, backward):
    rows = qkv.unflatten(-1, (3, HEADS, WIDTH)).permute(2, 0, 3, 1, 4)
    out = scaled_dot_product_attention(*rows, is_causal=causal).transpose(1, 2).flatten(2)
    if backward:
        out.sum().backward()


def measure(tokens, causal, backward, device):
    """Seconds of a run, and of all processors together."""
    qkv = torch.rand(BATCH[tokens], tokens, 3 * HEADS * WIDTH, device=device) * 2 - 1
    qkv.requires_grad_()
    times = []
    for number in range(RUNS + 1):
        if number == 1:
            cpu = time.process_time()
        began = time.perf_counter()
        run(qkv, causal, backward)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    # The first warms up.
    return statistics.median(times[1:]), (time.process_time() - cpu) / RUNS


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("tokens", nargs="*", type=int, metavar="T", help=f"of {', '.join(map(str, BATCH))}")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    if unknown := set(options.tokens) - set(BATCH):
        parser.error(f"no length {sorted(unknown)}")
    ours = {}
    if TABLE.exists():
        with open(TABLE, newline="", encoding="utf-8") as table:
            rows = [row for row in csv.DictReader(table) if row["seconds"]]
        ours = {row["case"]: [float(row[k] or "nan") for k in ("seconds", "cpu_seconds")] for row in rows}
    if options.device == "cpu":
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    print(f"PyTorch {torch.__version__}, {options.device}\n")
    print("| | PyTorch ms | of processors | melos ms | of processors | theirs / ours | of processors |")
    print("| --- | --: | --: | --: | --: | --: | --: |")
    for tokens in options.tokens or BATCH:
        for causal in (False, True):
            for backward in (False, True):
                case = f"B{BATCH[tokens]}_T{tokens}{'_causal' * causal}_fwd{'_bwd' * backward}"
                if case not in ours and not options.tokens:
                    continue
                theirs = measure(tokens, causal, backward, options.device)
                cells = [f"{1e3 * s:.1f}" for s in (*theirs, *ours.get(case, []))]
                cells += [f"{a / b:.2f}" for a, b in zip(theirs, ours.get(case, []))]
                cells += ["–"] * (6 - len(cells))
                print(f"| {case} | {' | '.join(cells)} |", flush=True)


main()
