#!/usr/bin/env python3
"""Checks with the real libraries that melos's files are those of transformers and PEFT.

    VENV/bin/pip install -r tools/requirements.txt
    cargo build --release --bin melos --example rewrite_adapter
    VENV/bin/python tools/check_interchange.py            # everything below, on random models
    VENV/bin/python tools/check_interchange.py DIR        # a folder that melos wrote: it must load
                                                          # without missing or unexpected keys
    VENV/bin/python tools/check_interchange.py DIR --like OTHER [--tolerance X]
                                                          # and give the logits that OTHER gives
    VENV/bin/python tools/check_interchange.py DIR --adapter DIR   # the base with PEFT's adapter on it
    VENV/bin/python tools/check_interchange.py --write DIR         # only write the random models

The whole check writes every class that melos has with transformers, in every spelling it reads, and
every form of adapter it takes with PEFT; has `melos convert` and `melos merge` rewrite them; loads
the results again and compares logits, and PEFT's count of parameters with `melos inspect`. PEFT
loads what examples/rewrite_adapter.rs made of each adapter, too.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TQDM_DISABLE"] = "1"

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)

ROOT = pathlib.Path(__file__).resolve().parent.parent
V, P, LABELS = 61, 24, 3
ADAPTER = "adapter_model.safetensors"
BERT = ["BertModel", "BertForMaskedLM", "BertForPreTraining", "BertForSequenceClassification",
        "BertForTokenClassification"]
GPT2 = ["GPT2Model", "GPT2LMHeadModel", "GPT2ForSequenceClassification"]
HEADS = ["Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"]
DISTILBERT = ["DistilBert" + head for head in HEADS]
ROBERTA = [kind + head for kind in ["Roberta", "XLMRoberta"] for head in HEADS]
CLASSES = BERT + DISTILBERT + ROBERTA + GPT2


def fail(message):
    sys.exit(f"check_interchange: {message}")


def random_model(name):
    torch.manual_seed(len(name))
    labels = {} if "Classification" not in name else {"num_labels": LABELS}
    if name in BERT + ROBERTA:
        kind = next(k for k in ["Bert", "Roberta", "XLMRoberta"] if name.startswith(k))
        config = getattr(transformers, kind + "Config")(
            vocab_size=V, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=64, max_position_embeddings=P, initializer_range=0.3, **labels)
    elif name in DISTILBERT:
        config = transformers.DistilBertConfig(
            vocab_size=V, dim=32, n_layers=2, n_heads=4, hidden_dim=64,
            max_position_embeddings=P, initializer_range=0.3, **labels)
    else:
        config = transformers.GPT2Config(
            vocab_size=V, n_embd=32, n_layer=2, n_head=4, n_positions=P, initializer_range=0.3,
            bos_token_id=1, eos_token_id=2, pad_token_id=0, **labels)
    return getattr(transformers, name)(config).eval()


def load(folder, adapter=None):
    """The folder's own class; nothing may be missing or left over."""
    name = json.loads((pathlib.Path(folder) / "config.json").read_text())["architectures"][0]
    kind = getattr(transformers, name)
    model, info = kind.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    for key in ["missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"]:
        if info.get(key):
            fail(f"{folder}: {key}: {info[key]}")
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    return model.eval()


@torch.no_grad()
def logits(model):
    """All outputs on the same few rows, padded on the right."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, min(V, model.config.vocab_size), (3, 12), generator=generator)
    lens = torch.tensor([7, 12, 3])
    mask = (torch.arange(12)[None] < lens[:, None]).long()
    ids[mask == 0] = 0
    out = model(input_ids=ids, attention_mask=mask)
    values = [v for k, v in out.items() if isinstance(v, torch.Tensor)]
    keep = mask[..., None].bool()
    return [v * keep if v.dim() == 3 else v for v in values]


def compare(what, ours, theirs, tolerance=0.0):
    if len(ours) != len(theirs) or any(a.shape != b.shape for a, b in zip(ours, theirs)):
        fail(f"{what}: outputs differ: {[tuple(a.shape) for a in ours]}, "
             f"{[tuple(b.shape) for b in theirs]}")
    difference = max((a - b).abs().max().item() for a, b in zip(ours, theirs))
    if not difference <= tolerance:
        fail(f"{what}: outputs differ by {difference:g}, more than {tolerance:g}")
    print(f"ok  {what}: difference {difference:.1e}")


PROGRAMS = pathlib.Path(os.environ.get("MELOS_TARGET", ROOT / "target" / "release"))


def melos(*arguments, program="melos"):
    done = subprocess.run(
        [PROGRAMS / program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        fail(f"{program} {' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout


def names(folder):
    return set(load_file(folder / "model.safetensors"))


# --- models -----------------------------------------------------------------------------------


def rewrite(folder, out, rename, extra=()):
    """A copy of a folder with other names and more tensors, as older versions had them."""
    out.mkdir()
    tensors = load_file(folder / "model.safetensors")
    tensors = {rename(k): v for k, v in tensors.items()} | dict(extra(tensors) if extra else {})
    save_file({k: v.clone() for k, v in tensors.items()}, out / "model.safetensors")
    (out / "config.json").write_text((folder / "config.json").read_text())


def legacy(name):
    for new, old in [("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")]:
        name = name.replace(new, old)
    return name


def bare(name):
    for prefix in ["bert.", "distilbert.", "roberta."]:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return re.sub(r"^transformer\.(?!layer)", "", name)


def leftovers(tensors):
    """Copies of tied tensors and buffers."""
    if any(k.startswith("cls.predictions") for k in tensors):
        yield "cls.predictions.decoder.weight", tensors["bert.embeddings.word_embeddings.weight"]
        yield "cls.predictions.decoder.bias", tensors["cls.predictions.bias"]
    if "transformer.wte.weight" in tensors and "score.weight" not in tensors:
        yield "lm_head.weight", tensors["transformer.wte.weight"]
        for n in range(2):
            yield f"transformer.h.{n}.attn.bias", torch.ones(1, 1, P, P).tril().bool()
            yield f"transformer.h.{n}.attn.masked_bias", torch.tensor(-1e4)
    if "vocab_projector.bias" in tensors:
        yield "vocab_projector.weight", tensors["distilbert.embeddings.word_embeddings.weight"]
    if "lm_head.bias" in tensors:
        yield "lm_head.decoder.weight", tensors["roberta.embeddings.word_embeddings.weight"]
        yield "lm_head.decoder.bias", tensors["lm_head.bias"]
    for family in ["bert", "distilbert", "roberta"]:
        if any(k.startswith(family + ".") for k in tensors):
            yield family + ".embeddings.position_ids", torch.arange(P)[None]


def write_models(at):
    at.mkdir(parents=True, exist_ok=True)
    for name in CLASSES:
        random_model(name).save_pretrained(at / name)
    for name in CLASSES:
        rewrite(at / name, at / f"{name}-old", lambda k: bare(legacy(k)), leftovers)
    for name in ["BertForPreTraining", "GPT2LMHeadModel"]:
        load(at / name).save_pretrained(at / f"{name}-shards", max_shard_size="30KB")


def check_models(at):
    for name in CLASSES:
        expected = logits(load(at / name))
        for source in [name, f"{name}-old", f"{name}-shards"]:
            if not (at / source).is_dir():
                continue
            out = at / "melos" / source
            melos("convert", at / source, out)
            compare(f"{source} → melos", logits(load(out)), expected)
            if names(out) != names(at / name):
                fail(f"{source}: names differ: {names(out) ^ names(at / name)}")
        variants = {
            "split": ["--max-shard-size", "20KB"], "legacy": ["--legacy-names"],
            "add": ["--prefix", "add"], "drop": ["--prefix", "drop"],
        }
        for variant, options in variants.items():
            out = at / "melos" / f"{name}-{variant}"
            melos("convert", at / name, out, *options)
            compare(f"{name} → melos {' '.join(options)}", logits(load(out)), expected)
        for dtype in ["f16", "bf16"]:
            out = at / "melos" / f"{name}-{dtype}"
            melos("convert", at / name, out, "--dtype", dtype)
            model = load(at / name)
            model.to(torch.float16 if dtype == "f16" else torch.bfloat16).float()
            compare(f"{name} → melos {dtype}", logits(load(out)), logits(model))
    for whole, part in [("BertForPreTraining", "BertModel"), ("GPT2LMHeadModel", "GPT2Model")]:
        out = at / "melos" / f"{whole}-as-{part}"
        melos("convert", at / whole, out, "--as", part)
        theirs = getattr(transformers, part).from_pretrained(at / whole).eval()
        compare(f"{whole} as {part}", logits(load(out)), logits(theirs))


# --- adapters ---------------------------------------------------------------------------------

ADAPTERS = {
    "plain": ("BertForSequenceClassification", dict(task_type="SEQ_CLS", target_modules=["query", "value"])),
    "defaults": ("BertForSequenceClassification", dict(task_type="SEQ_CLS")),
    "from-pretraining": ("BertForPreTraining", dict(task_type="SEQ_CLS", target_modules="all-linear"),
                         "BertForSequenceClassification"),
    "tokens": ("BertForTokenClassification", dict(task_type="TOKEN_CLS", bias="lora_only",
                                                  target_modules=["query", "key", "value", "dense"])),
    "masked-lm": ("BertForMaskedLM", dict(target_modules=r".*layer\.[01]\.(attention\.self|intermediate).*(query|dense)",
                                          bias="all")),
    "encoder": ("BertModel", dict(task_type="FEATURE_EXTRACTION",
                                  target_modules=r"encoder\.layer\.\d+\.attention\.self\.(?!key|dropout).*")),
    "patterns": ("BertForMaskedLM", dict(target_modules=["query", "value", "output.dense"], use_rslora=True,
                                         rank_pattern={r"layer\.1\..*query": 4, "0.attention.self.value": 1},
                                         alpha_pattern={"output.dense": 32}, exclude_modules=["1.output.dense"])),
    "layers": ("BertForMaskedLM", dict(target_modules=["query"], layers_to_transform=[1], layers_pattern="layer")),
    "distilbert": ("DistilBertForSequenceClassification", dict(task_type="SEQ_CLS", target_modules=["q_lin", "v_lin"])),
    "distilbert-tokens": ("DistilBertForTokenClassification", dict(task_type="TOKEN_CLS", target_modules=r".*(lin|lin\d)")),
    "distilbert-lm": ("DistilBertForMaskedLM", dict(target_modules=["lin1", "vocab_transform"])),
    "roberta": ("RobertaForSequenceClassification", dict(task_type="SEQ_CLS")),
    "roberta-all": ("RobertaForSequenceClassification", dict(task_type="SEQ_CLS", target_modules=["query", "output.dense"])),
    "roberta-lm": ("RobertaForMaskedLM", dict(target_modules=["query", "dense"])),
    "xlm-roberta": ("XLMRobertaForTokenClassification", dict(task_type="TOKEN_CLS")),
    "gpt2": ("GPT2LMHeadModel", dict(task_type="CAUSAL_LM", target_modules=["c_attn"], bias="lora_only")),
    "gpt2-all": ("GPT2LMHeadModel", dict(task_type="CAUSAL_LM", target_modules="all-linear", use_rslora=True,
                                         modules_to_save=["ln_f"])),
    "gpt2-class": ("GPT2ForSequenceClassification", dict(task_type="SEQ_CLS", target_modules=["c_attn", "mlp.c_proj"])),
}


def check_adapters(at):
    for name, (base, options, *kind) in ADAPTERS.items():
        kind = getattr(transformers, kind[0] if kind else base)
        torch.manual_seed(3)
        more = {} if kind.__name__ == base else {"num_labels": LABELS}
        model = get_peft_model(
            kind.from_pretrained(at / base, **more), LoraConfig(r=3, lora_alpha=5, **options))
        if base != kind.__name__:
            # The pooler that this base has not: transformers drew it at random.
            assert hasattr(model.base_model.model, "bert")
        for n, p in model.named_parameters():
            if p.requires_grad:
                p.data.normal_(std=0.3)
        model.peft_config["default"].base_model_name_or_path = str(at / base)
        folder = at / f"adapter-{name}"
        model.save_pretrained(folder)
        out = at / "melos" / f"adapter-{name}"
        melos("merge", at / base, folder, out)
        # Sums in another order, two layers of them: a few times f32's 1e-7 of outputs about 10.
        compare(f"adapter {name}: merged", logits(load(out)), logits(model.eval()), 2e-4)
        merged = model.merge_and_unload().state_dict()
        ours = load(out).state_dict()
        compare(f"adapter {name}: weights", [ours[k] for k in merged], list(merged.values()), 1e-5)

        # What melos writes, loaded by PEFT, whole and without a warning of missing keys.
        again = at / "melos" / f"adapter-{name}-again"
        melos(at / base, folder, again, program="examples/rewrite_adapter")
        if set(load_file(again / ADAPTER)) != set(load_file(folder / ADAPTER)):
            fail(f"adapter {name}: names differ")
        torch.manual_seed(3)
        theirs = kind.from_pretrained(at / base, **more)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*missing.*|.*unexpected.*")
            doubled = PeftModel.from_pretrained(theirs, again).eval()
        torch.manual_seed(3)
        theirs = PeftModel.from_pretrained(kind.from_pretrained(at / base, **more), folder).eval()
        for n, p in theirs.named_parameters():
            if "lora_B" in n:
                p.data.mul_(2)
        compare(f"adapter {name}: doubled by melos", logits(doubled), logits(theirs))

        trainable, every = get_peft_model(
            kind.from_pretrained(at / base, **more), LoraConfig(r=3, lora_alpha=5, **options)
        ).get_nb_trainable_parameters()
        figures = json.loads(melos("inspect", folder, "--base", at / base, "--json"))["adapter"]
        if (figures["trainable"], figures["all"]) != (trainable, every):
            fail(f"adapter {name}: {figures}, PEFT counts {trainable} of {every}")
        print(f"ok  adapter {name}: {trainable:,} of {every:,} parameters")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--adapter")
    parser.add_argument("--like")
    parser.add_argument("--tolerance", type=float, default=0.0)
    parser.add_argument("--write", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.write:
        write_models(arguments.write)
    elif arguments.folder:
        ours = logits(load(arguments.folder, arguments.adapter))
        print(f"ok  {arguments.folder}: loads; outputs {[tuple(v.shape) for v in ours]}")
        if arguments.like:
            theirs = logits(load(arguments.like))
            compare(f"{arguments.folder} and {arguments.like}", ours, theirs, arguments.tolerance)
    else:
        with tempfile.TemporaryDirectory() as folder:
            at = pathlib.Path(folder)
            (at / "melos").mkdir()
            write_models(at)
            check_models(at)
            check_adapters(at)
        print("all agree")


if __name__ == "__main__":
    main()
