#!/usr/bin/env python3
"""How many answers of a model are exactly those of a set.

    tools/exact_match.py wikisql_test.jsonl model.gguf runs/sft-001 …

Each line of the set is {"text": …} with a question up to the last "A:" and its answer after it. The model writes on
greedily to the end of the line; spaces at the ends do not count.
"""

import argparse
import json
import pathlib
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("set", type=pathlib.Path)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--program", default=str(ROOT / "target/release/melos"))
    parser.add_argument("--max-tokens", type=int, default=64)
    options = parser.parse_args()
    rows = [json.loads(line)["text"] for line in options.set.read_text().splitlines() if line]
    for model in options.models:
        right, began = 0, time.monotonic()
        questions, answers = zip(*(text.rsplit("A:", 1) for text in rows))
        prompts = [question + "A:" for question in questions]
        command = [options.program, "generate", model, *prompts, "--temperature", "0", "--json"]
        command += ["--max-tokens", str(options.max_tokens), "--stop", "\n"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        for line, prompt, answer in zip(done.stdout.splitlines(), prompts, answers, strict=True):
            written = json.loads(line)["text"].removeprefix(prompt)
            right += written.strip() == answer.strip()
        seconds = time.monotonic() - began
        print(f"{model}: {right} of {len(rows)} right, {seconds:.0f} s", flush=True)


main()
