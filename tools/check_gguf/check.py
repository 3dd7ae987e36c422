#!/usr/bin/env python3
"""Holds melos to other readers of a GGUF file: its tokens, what it writes on, its blocks.

    python3 -m venv VENV && VENV/bin/pip install -r tools/requirements.txt
    VENV/bin/python tools/check_gguf/check.py MELOS FILE.gguf [--texts FILE] [--lines N] [--llama SOURCE BUILD] \
        [--lora ADAPTER]

MELOS is the program. Compared are
    the ids of the first N lines of --texts and of some odd ones, with transformers' and llama.cpp's;
    the greedy text after a few prompts, with transformers' and, of a file of f32 numbers, with llama.cpp's: of
    others it rounds what goes into a product as well, which may lead to other words;
    with --lora the same with an adapter's folder beside it, which PEFT reads, and which llama.cpp is given as the
    GGUF file that melos writes of it.

llama.cpp: the source distribution of llama-cpp-python on PyPI has it whole in vendor/llama.cpp (SOURCE). With
cmake and ninja from PyPI, a C++ compiler and some minutes:

    pip download --no-binary llama-cpp-python --no-deps llama-cpp-python
    cmake -G Ninja -S SOURCE -B BUILD -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
    ninja -C BUILD llama
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ODD = [
    " ", "  two  spaces", "\ttab\tand\n\nlines\r\nof all kinds \n", "1 22 333 4444 55555", "a1b22c", "  12  3",
    "don't I'LL we've THEY'RE 's", "naïve café déjà vu Ünïcödé", "e\u0301 combining", "走れメロス。メロスは激怒した。",
    "吾輩は猫である。名前はまだ無い。", "안녕하세요 세계", "مرحبا بالعالم", "Привет, мир!", "🏃‍♀️🏃 👩‍👩‍👧‍👦 🇯🇵 ©®™",
    "fn main() {\n    let x: Vec<u8> = vec![0; 1 << 20];\n    println!(\"{x:?}\");\n}",
    "def f(x):\n\treturn {k: v for k, v in x.items() if v != 'a\\'b'}  # ok", "<html><p class=\"x\">&nbsp;</p></html>",
    "https://example.org/a?b=c&d=%20#e", "<|im_start|>user\nHi<|im_end|>\n", "a<|endoftext|>b", "<s>a</s>",
    "½ ² ³ Ⅷ ٣", "\u00a0\u2003\u3000spaces", "\u200b\ufeff", "ﬁ ﬂ", "A" * 300, "....----====!!!!", "x" + " " * 40 + "y",
]
PROMPTS = ["The capital of France is", "Once upon a time", "def fibonacci(n):", "Water boils at", "走れメロス"]


def melos_ids(melos, file, texts):
    """The ids of each text; those of one line together."""

    def ask(arguments, feed=None):
        command = [melos, "tokenizer", "encode", file, "--no-special", "--json", *arguments]
        done = subprocess.run(command, input=feed, capture_output=True, check=True)
        return [json.loads(line)["ids"] for line in done.stdout.decode().splitlines()]

    plain = [text for text in dict.fromkeys(texts) if not set(text) & set("\n\r") and text != "-"]
    found = dict(zip(plain, ask([], "".join(t + "\n" for t in plain).encode()), strict=True))
    for text in set(texts) - set(found):
        found[text] = ask(["--", text])[0]
    return [found[text] for text in texts]


def llama_ids(program, arguments, texts):
    feed = b"".join(b"%d\n%s" % (len(t.encode()), t.encode()) for t in texts)
    done = subprocess.run([program, *arguments], input=feed, capture_output=True, check=True)
    lines = done.stdout.decode().split("\n")[: len(texts)]
    return [[int(i) for i in line.split()] for line in lines]


def compare(what, ours, theirs, texts):
    wrong = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    print(f"{what}: {len(ours) - len(wrong)} of {len(ours)} equal")
    for i in wrong[:5]:
        print(f"  {texts[i]!r:.80}\n    melos {str(ours[i]):.200}\n    other {str(theirs[i]):.200}")
    return not wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("melos")
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--texts", type=pathlib.Path)
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--only-tokens", action="store_true")
    parser.add_argument("--lora", type=pathlib.Path)
    parser.add_argument("--llama", nargs=2, type=pathlib.Path, metavar=("SOURCE", "BUILD"))
    args = parser.parse_args()

    import transformers
    transformers.logging.set_verbosity_error()
    texts = list(ODD)
    if args.texts:
        lines = args.texts.read_text(encoding="utf-8").splitlines()
        texts += [line for line in lines if line.strip()][: args.lines]
    where = {"pretrained_model_name_or_path": str(args.file.parent), "gguf_file": args.file.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    ours = melos_ids(args.melos, str(args.file), texts)
    theirs = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    good = compare("tokens, transformers", ours, theirs, texts)
    if args.llama:
        source, build = args.llama
        program = build / "ask"
        libraries = build / "bin"
        subprocess.run(
            ["c++", "-O1", "-std=c++17", pathlib.Path(__file__).with_name("ask.cpp"), "-o", program,
             f"-I{source}/include", f"-I{source}/ggml/include", f"-L{libraries}", f"-Wl,-rpath,{libraries}",
             "-lllama", "-lggml", "-lggml-base"], check=True,
        )
        theirs = llama_ids(program, ["tokens", args.file], texts)
        good &= compare("tokens, llama.cpp", ours, theirs, texts)
    if args.only_tokens:
        sys.exit(not good)

    def written(prompt):
        beside = ["--lora", args.lora] if args.lora else []
        done = subprocess.run(
            [args.melos, "generate", args.file, prompt, "--greedy", "--max-tokens", str(args.tokens), "--json", *beside],
            capture_output=True, check=True,
        )
        return json.loads(done.stdout)["text"]

    import torch
    ours = [written(prompt) for prompt in PROMPTS]
    model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    what = "greedy text"
    if args.lora:
        import peft
        model, what = peft.PeftModel.from_pretrained(model, args.lora), "greedy text with the adapter"
    theirs = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        all_ids = model.generate(ids, max_new_tokens=args.tokens, do_sample=False)[0, ids.shape[1]:]
        theirs.append(tokenizer.decode(all_ids, skip_special_tokens=True))
    good &= compare(f"{what}, transformers", ours, theirs, PROMPTS)
    import gguf
    kind = gguf.GGUFReader(args.file).get_field("general.file_type")
    if args.llama and kind is not None and kind.contents() == gguf.LlamaFileType.ALL_F32:
        with tempfile.TemporaryDirectory() as own:
            question = ["greedy", args.file, str(args.tokens)]
            if args.lora:
                adapter = pathlib.Path(own) / "adapter.gguf"
                subprocess.run([args.melos, "convert", args.lora, adapter, "--base", args.file], check=True)
                question.append(adapter)
            found = llama_ids(program, question, PROMPTS)
        begun = llama_ids(program, ["tokens", args.file], PROMPTS)
        bos = tokenizer.bos_token_id
        theirs = []
        for ids, start in zip(found, begun, strict=True):
            ids = ids[1:] if ids[0] == bos != start[0] else ids
            theirs.append(tokenizer.decode(ids[len(start):], skip_special_tokens=True))
        good &= compare(f"{what}, llama.cpp", ours, theirs, PROMPTS)
    sys.exit(not good)


if __name__ == "__main__":
    main()
