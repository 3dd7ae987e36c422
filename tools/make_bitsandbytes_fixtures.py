#!/usr/bin/env python3
"""Writes tests/fixtures/bitsandbytes/: what bitsandbytes makes of numbers, and a model that it has quantised.

    VENV/bin/pip install -r tools/requirements.txt
    VENV/bin/python tools/make_bitsandbytes_fixtures.py

Needed only to remake the fixtures; the files are committed.

    blocks.safetensors  of the numbers that `numbers` makes: every third byte of their steps in NF4, every 67th of what they come
                        back as, with and without double quantisation, and what that adds
    model/              a Llama of random numbers, a layer of which is quantised in every way there is
    logits.safetensors  `ids` and their `logits` by transformers, from the numbers that bitsandbytes makes plain; of those,
                        `plain.LAYER`
"""

import json
import pathlib

import bitsandbytes.functional as F
import numpy as np
import torch
import transformers
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/bitsandbytes"


def numbers(count):
    """Numbers that need no file: of a generator of 32 bits, larger and smaller by blocks of 64."""
    state, out = 12345, np.empty(count, np.float32)
    for i in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        out[i] = (state >> 8) / 2**24 - 0.5
    scales = (1 + np.arange(count // 64) % 7) / np.float32(8)
    return torch.from_numpy(out * np.repeat(scales, 64).astype(np.float32))


def blocks():
    x = numbers(64 * 272).reshape(272, 64)
    steps, single = F.quantize_4bit(x, blocksize=64, quant_type="nf4")
    same, double = F.quantize_4bit(x, blocksize=64, quant_type="nf4", compress_statistics=True)
    assert torch.equal(steps, same)
    save_file({
        "steps": steps.flatten()[::3].contiguous(),
        "single.values": F.dequantize_4bit(steps, single).flatten()[::67].contiguous(),
        "double.values": F.dequantize_4bit(steps, double).flatten()[::67].contiguous(),
        "double.scales": double.absmax,
        "double.largest": double.state2.absmax,
        "double.mean": double.offset.reshape(1),
        "dynamic": double.state2.code,
    }, OUT / "blocks.safetensors")


def model():
    torch.manual_seed(4)
    config = transformers.LlamaConfig(
        vocab_size=16, hidden_size=64, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
        tie_word_embeddings=True)
    model = transformers.LlamaForCausalLM(config).eval()
    words = model.model.embed_tokens.weight
    words.data = words.data.half().float()
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    tensors["model.embed_tokens.weight"] = words.data.half()
    layer = "model.layers.0."
    four = {
        "self_attn.q_proj": dict(quant_type="nf4", blocksize=64, compress_statistics=True),
        "self_attn.k_proj": dict(quant_type="nf4", blocksize=64),
        "self_attn.v_proj": dict(quant_type="fp4", blocksize=64),
        "self_attn.o_proj": dict(quant_type="nf4", blocksize=64),
        "mlp.up_proj": dict(quant_type="fp4", blocksize=128, compress_statistics=True),
        "mlp.down_proj": dict(quant_type="nf4", blocksize=256, compress_statistics=True),
    }
    for name, how in four.items():
        weight = layer + name + ".weight"
        steps, state = F.quantize_4bit(tensors[weight] * 8, **how)
        # Rows shorter than a block go wrong in bitsandbytes' kernel for CPUs, not in those for GPUs.
        shape, state.shape = state.shape, (tensors[weight].numel() // how["blocksize"], how["blocksize"])
        model.get_submodule(layer + name).weight.data = F.dequantize_4bit(steps, state).reshape(shape)
        state.shape = shape
        tensors[weight] = steps
        tensors |= {f"{weight}.{part}": value.contiguous() for part, value in state.as_dict(packed=True).items()}
    weight = layer + "mlp.gate_proj.weight"
    steps, scales, _ = F.int8_vectorwise_quant(tensors[weight].half() * 8)
    state = {"weight": steps, "SCB": scales, "weight_format": torch.tensor(0, dtype=torch.uint8)}
    module = model.get_submodule(layer + "mlp.gate_proj")
    module.weight.data = F.int8_vectorwise_dequant(state["weight"], state["SCB"])
    tensors |= {layer + "mlp.gate_proj." + part: value.contiguous() for part, value in state.items()}
    (OUT / "model").mkdir(parents=True, exist_ok=True)
    save_file(tensors, OUT / "model/model.safetensors", {"format": "pt"})
    settings = json.loads(config.to_json_string(use_diff=True))
    settings["architectures"] = ["LlamaForCausalLM"]
    settings["quantization_config"] = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True).to_dict()
    (OUT / "model/config.json").write_text(json.dumps(settings, indent=2, default=str) + "\n")
    ids = torch.randint(0, 16, (1, 9))
    with torch.no_grad():
        logits = model(ids).logits
    # Every 37th number of each matrix.
    plain = {f"plain.{part}": model.get_submodule(layer + part).weight.data.flatten()[::37].contiguous()
             for part in [*four, "mlp.gate_proj"]}
    save_file({"ids": ids.int().flatten(), "logits": logits[0, -4:].contiguous()} | plain, OUT / "logits.safetensors")


OUT.mkdir(parents=True, exist_ok=True)
blocks()
model()
