#!/usr/bin/env python3
"""Writes tests/fixtures/gguf/: tiny models as llama.cpp's converter writes them, and what others make of them.

    python3 -m venv VENV && VENV/bin/pip install -r tools/requirements.txt
    VENV/bin/python tools/make_gguf_fixtures.py SOURCE BUILD

Needed only to remake the fixtures; the files are committed. SOURCE is llama.cpp (vendor/llama.cpp of the source
distribution of llama-cpp-python on PyPI), BUILD where it was built: tools/check_gguf/check.py says how, and has
made BUILD/ask.

    blocks.safetensors  of each type of blocks TYPE.blocks (bytes, at random) and TYPE.values, their numbers by
                        the gguf package; `source` (numbers of many kinds) and TYPE.packed, its blocks by the
                        gguf package or, where that does not pack them, by llama.cpp
    NAME.gguf           a model of random numbers, written by convert_hf_to_gguf.py; gpt2 and llama have a
                        tokeniser, of byte pairs and of SentencePiece's kind
    llama_lora.gguf     the adapter of tests/fixtures/hf/llama_lora, written by convert_lora_to_gguf.py
    logits.safetensors  NAME.ids (T) and NAME.logits (4, V) of the last four by transformers, from the file's weights and the
                        configuration that it was made from
    tokens.json         texts, and their ids by llama.cpp: `llama`, and byte pairs by the names of their ways to
                        cut words. `transformers` reads llama.gguf otherwise where a text begins with a space, and
                        behind special tokens: SentencePiece puts a space there, and so do the models' own files
    converted.json      what convert_hf_to_gguf.py says of models of tests/fixtures/hf in f32: keys, and of each
                        tensor its sides and the SHA-256 of its bytes
    names.json          of each architecture the names of transformers' tensors and those of the gguf package
"""

import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from transformers.convert_slow_tokenizer import bytes_to_unicode

SOURCE, BUILD = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
# Its converter wants the gguf package beside it, which packs as the one of PyPI does.
sys.path[:0] = [str(SOURCE / "gguf-py"), str(SOURCE)]
import conversion  # noqa: E402
import gguf  # noqa: E402
from gguf import GGMLQuantizationType as Type  # noqa: E402

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/gguf"
transformers.logging.set_verbosity_error()
V, T, LAST = 40, 12, 4

TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
# Where a block has f16 numbers, which are not at random: most patterns of 16 bits are absurd.
HALVES = dict(Q8_0=[0], Q4_0=[0], Q4_1=[0, 2], Q5_0=[0], Q5_1=[0, 2], Q2_K=[80, 82], Q3_K=[108], Q4_K=[0, 2],
              Q5_K=[0, 2], Q6_K=[208])


def blocks():
    rng = np.random.RandomState(7)
    out = {}
    for name in TYPES:
        kind = Type[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        raw = rng.randint(0, 256, size=(256 // elements, size), dtype=np.uint8)
        if elements == 1:
            numbers = rng.standard_normal(256).astype(np.float32)
            raw = gguf.quants.quantize(numbers, kind).view(np.uint8)
        for at in HALVES.get(name, []):
            half = (rng.standard_normal(len(raw)) * 0.1).astype(np.float16)
            raw[:, at:at + 2] = half.view(np.uint8).reshape(-1, 2)
        out[f"{name}.blocks"] = raw.reshape(-1)
        out[f"{name}.values"] = gguf.quants.dequantize(raw.reshape(1, -1), kind).astype(np.float32).reshape(-1)
    rows = [rng.standard_normal(256) * scale for scale in [1.0, 0.02, 300.0]]
    rows += [np.zeros(256), -np.abs(rng.standard_normal(256)), rng.uniform(3, 4, 256)]
    rows += [rng.standard_normal(256) * (rng.rand(256) < 0.05), rng.standard_cauchy(256).clip(-200, 200)]
    # Which of two zeros is the smaller one nobody says.
    source = np.stack(rows).astype(np.float32) + np.float32(0.0)
    out["source"] = source
    for name in TYPES:
        if name in ("F32", "Q2_K", "Q3_K"):
            continue
        if name in ("Q4_K", "Q5_K", "Q6_K"):
            command = [BUILD / "ask", "quantise", str(Type[name].value), "256"]
            done = subprocess.run(command, input=source.tobytes(), capture_output=True, check=True)
            packed = np.frombuffer(done.stdout, np.uint8)
        else:
            packed = np.ascontiguousarray(gguf.quants.quantize(source, Type[name])).view(np.uint8)
        out[f"{name}.packed"] = packed.reshape(-1)
    save_file(out, OUT / "blocks.safetensors")


# --- tokenisers -------------------------------------------------------------------------------


def byte_pairs():
    """Bytes, pairs that texts have, special tokens."""
    letters = list(bytes_to_unicode().values())
    merges = ["Ġ t", "h e", "i n", "e r", "Ġt he", "in g", "1 2", "12 3", "Ġ 1", "Ġ Ġ", "ĠĠ ĠĠ", "! !", "l l", "' s",
              "' ll", "Ċ Ċ", "è µ", "a b", "Ġ a", "D o", "Do n", "' t", "= =", "( )", "Ġ ("]
    tokens = letters + [merge.replace(" ", "") for merge in merges] + ["<|end|>", "<|user|>", "<think>"]
    kinds = [1] * (len(letters) + len(merges)) + [3, 3, 4]
    return tokens, kinds, merges


def pieces():
    """Pieces of SentencePiece's kind, with scores and bytes."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    scores, kinds = [0.0] * len(tokens), [2, 3, 3] + [6] * 256
    merged = ["▁t", "he", "in", "er", "▁the", "ing", "▁a", "en", "on", "▁th", "▁▁", "▁▁▁▁", "re", "▁w", "at", "or",
              "▁in", "an", "nd", "▁and", "▁走", "メロ", "メロス"]
    letters = sorted({letter for token in merged for letter in token} | set("abcdefghijklmnopqrstuvwxyz.,T"))
    tokens += merged + letters + ["<|user|>", "<think>"]
    scores += [-float(i) for i in range(len(merged))] + [-1000.0 - i for i in range(len(letters))] + [0.0, 0.0]
    kinds += [1] * (len(merged) + len(letters)) + [3, 4]
    return tokens, scores, kinds


TEMPLATE = "{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}"


def set_byte_pairs(writer, pre="gpt-2", rows=None):
    tokens, kinds, merges = byte_pairs()
    for row in range(len(tokens), rows or 0):
        tokens.append(f"[PAD{row}]")
        kinds.append(5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    end = tokens.index("<|end|>")
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def set_pieces(writer):
    tokens, scores, kinds = pieces()
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)


TEXTS = [
    "the thing", " the  other", "Don't do 123 12 1 things!!", "1234567 ١٢٣", "a  b   c    d", "走れメロス 🏃", "x\n\n\ny\r\n z ",
    "<|user|>the<|end|> <think> in", "I'LL 's 'S", "f(x) == (1)", "naïve e\u0301", "", "Tab\tand\u00a0nbsp", "ab ab  ab\n",
]
PRES = ["gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2", "qwen35", "tekken", "gpt-4o", "default", "falcon"]


def ask_tokens(file):
    feed = b"".join(b"%d\n%s" % (len(t.encode()), t.encode()) for t in TEXTS)
    done = subprocess.run([BUILD / "ask", "special", file], input=feed, capture_output=True, check=True)
    return [[int(i) for i in line.split()] for line in done.stdout.decode().split("\n")[: len(TEXTS)]]


def tokens():
    out = {"texts": TEXTS, "pre": {}}
    with tempfile.TemporaryDirectory() as folder:
        for pre in PRES:
            file = pathlib.Path(folder) / "a.gguf"
            writer = gguf.GGUFWriter(file, "gpt2")
            set_byte_pairs(writer, pre)
            # What llama.cpp asks for of a vocabulary alone.
            writer.add_context_length(8)
            writer.add_embedding_length(8)
            writer.add_block_count(1)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.close()
            out["pre"][pre] = ask_tokens(file)
    llama = OUT / "llama.gguf"
    tokenizer = transformers.AutoTokenizer.from_pretrained(OUT, gguf_file=llama.name)
    out["llama"] = ask_tokens(llama)
    out["transformers"] = [tokenizer(text, add_special_tokens=False).input_ids for text in TEXTS]
    (OUT / "tokens.json").write_text(json.dumps(out, ensure_ascii=False) + "\n")


# --- models -----------------------------------------------------------------------------------


COMMON = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=64, vocab_size=V, tie_word_embeddings=False)
LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=8192)
GEMMA = COMMON | dict(head_dim=16, tie_word_embeddings=True, sliding_window=5)
MODELS = {
    "gpt2": (transformers.GPT2Config(vocab_size=288, n_embd=32, n_head=4, n_layer=1, n_positions=24, n_ctx=24), "q8_0"),
    "llama": (transformers.LlamaConfig(**COMMON | dict(vocab_size=len(pieces()[0]), tie_word_embeddings=True)), "q8_0"),
    "llama3": (transformers.LlamaConfig(**COMMON, rope_parameters=LLAMA3), "q8_0"),
    "qwen2": (transformers.Qwen2Config(**COMMON), "q8_0"),
    "qwen3": (transformers.Qwen3Config(**COMMON | dict(head_dim=16)), "q8_0"),
    "gemma2": (transformers.Gemma2Config(**GEMMA, query_pre_attn_scalar=16), "q8_0"),
    "gemma3": (transformers.Gemma3TextConfig(**GEMMA, query_pre_attn_scalar=16), "q8_0"),
    "phi3": (transformers.Phi3Config(**COMMON | dict(pad_token_id=0, sliding_window=None)), "q8_0"),
}


def convert(folder, out, kind, vocabulary):
    """convert_hf_to_gguf.py with a vocabulary of our own, of which it knows the size."""
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    empty = {"model": {"vocab": {str(i): i for i in range(size)}}, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(empty))
    hparams = conversion.base.ModelBase.load_hparams(folder, False)
    name = hparams["architectures"][0]
    cls = conversion.get_model_class(name)
    own = {"set_vocab": lambda self: vocabulary(self.gguf_writer), "model_arch": cls.model_arch}
    patched = type(cls.__name__, (cls,), own)
    types = {"f32": gguf.LlamaFileType.ALL_F32, "f16": gguf.LlamaFileType.MOSTLY_F16,
             "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}
    with torch.inference_mode():
        patched(folder, types[kind], out, hparams=hparams, eager=True).write()


def models():
    logits = {}
    for at, (name, (config, kind)) in enumerate(MODELS.items()):
        torch.manual_seed(at)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        for key, parameter in model.named_parameters():
            norm = "norm" in key or ".ln_" in key
            one = 1.0 if norm and "gemma" not in name else 0.0
            scale = 0.2 if norm or parameter.dim() == 1 else 0.15
            torch.nn.init.normal_(parameter, one, scale)
        out = OUT / f"{name}.gguf"
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            vocabulary = {
                "gpt2": lambda writer: set_byte_pairs(writer, rows=288), "llama": set_pieces,
            }.get(name, lambda writer: None)
            convert(pathlib.Path(folder), out, kind, vocabulary)
        again = transformers.AutoModelForCausalLM.from_pretrained(
            OUT, gguf_file=out.name, config=config, dtype=torch.float32).eval().double()
        ids = torch.randint(3, config.vocab_size, (1, T))
        with torch.no_grad():
            logits[f"{name}.logits"] = again(ids).logits[0, -LAST:].float().numpy()
        logits[f"{name}.ids"] = ids[0].numpy().astype(np.uint32)
    save_file(logits, OUT / "logits.safetensors")


def converted():
    out = {}
    for name in ("gemma_lm", "phi3_lm"):
        with tempfile.TemporaryDirectory() as own:
            folder = shutil.copytree(OUT.parent / "hf" / name, pathlib.Path(own) / name)
            file = pathlib.Path(own) / "model.gguf"
            convert(folder, file, "f32", lambda writer: None)
            read = gguf.GGUFReader(file)
            out[name] = {
                "keys": {k: v.contents() for k, v in read.fields.items() if not k.startswith("GGUF.")},
                "tensors": {
                    t.name: [[int(n) for n in t.shape], hashlib.sha256(t.data.tobytes()).hexdigest()]
                    for t in read.tensors
                },
            }
    (OUT / "converted.json").write_text(json.dumps(out) + "\n")


def adapters():
    hf = OUT.parent / "hf"
    command = [sys.executable, SOURCE / "convert_lora_to_gguf.py", "--base", hf / "llama_lm", "--outtype", "f32"]
    command += ["--outfile", OUT / "llama_lora.gguf", hf / "llama_lora"]
    subprocess.run(command, check=True, cwd=SOURCE)


def names():
    out = {}
    for name, (config, _) in MODELS.items():
        arch = {"llama3": "llama"}.get(name, name)
        arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == arch)
        mapping = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
        model = transformers.AutoModelForCausalLM.from_config(config)
        out[name] = {}
        for key in model.state_dict():
            stem, _, end = key.rpartition(".")
            out[name][key] = f"{mapping.get_name(stem)}.{end}"
    (OUT / "names.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    blocks()
    models()
    converted()
    tokens()
    names()
    adapters()
