"""One training step in PyTorch, timed: step.py T1|T2|T3|T4|T5|T6 STEPS cpu|cpu-compiled|cuda|cuda-compiled

Prints one line of JSON, as the other programs here do. T2, T3, T5 and T6 need transformers, the last three
also peft.
"""

import json
import os
import resource
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn.functional import cross_entropy

WARM_UP = 3
# Norm to which gradients are clipped.
CLIP = 5.0


def tokens(vocab, count):
    """The batch of src/doctor/steps/tokens.rs."""
    state, ids = 12345, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        ids.append(int(vocab ** ((state >> 33) / 2**31) - 1))
    return torch.tensor(ids)


class Lstm(nn.Module):
    """Embedding 256, LSTM 512, output layer."""

    def __init__(self, outputs):
        super().__init__()
        self.embedding = nn.Embedding(10_000, 256)
        self.lstm = nn.LSTM(256, 512)
        self.output = nn.Linear(512, outputs)
        # The rest begins in the same range in all programs as it is.
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)


class LanguageModel(Lstm):
    def forward(self, ids, targets):
        hidden, _ = self.lstm(self.embedding(ids))
        return cross_entropy(self.output(hidden.flatten(0, 1)), targets)


class Classifier(Lstm):
    def forward(self, ids, targets):
        _, (final, _) = self.lstm(self.embedding(ids))
        return cross_entropy(self.output(final[0]), targets)


class MaskedLm(nn.Module):
    def __init__(self, config):
        super().__init__()
        from transformers import BertForMaskedLM

        self.model = BertForMaskedLM(config)

    def forward(self, ids, rows, targets):
        hidden = self.model.bert(ids).last_hidden_state
        return cross_entropy(self.model.cls(hidden.flatten(0, 1)[rows]), targets)


class LoraClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        from peft import LoraConfig, get_peft_model
        from transformers import BertConfig, BertForSequenceClassification

        lora = LoraConfig(
            task_type="SEQ_CLS",
            r=8,
            lora_alpha=16,
            lora_dropout=0.1,
            target_modules=["query", "value"],
        )
        self.model = get_peft_model(BertForSequenceClassification(BertConfig()), lora)

    def forward(self, ids, targets):
        return cross_entropy(self.model(ids).logits, targets)


class LoraDecoder(nn.Module):
    """SmolLM2-135M's sizes. transformers multiplies with no block of GGUF's: T6 is T5."""

    def __init__(self):
        super().__init__()
        from peft import LoraConfig, get_peft_model
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            vocab_size=49_152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            max_position_embeddings=8192,
            rope_theta=100_000.0,
            tie_word_embeddings=True,
            use_cache=False,
        )
        lora = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear")
        self.model = get_peft_model(LlamaForCausalLM(config), lora)

    def forward(self, ids, targets):
        return cross_entropy(self.model(ids).logits.flatten(0, 1), targets)


def build(step):
    """Model, its inputs, the number of tokens, weight decay (None: Adam)."""
    if step == "T1":
        text = tokens(10_000, 65 * 32)
        return LanguageModel(10_000), (text[:-32].view(64, 32), text[32:]), 64 * 32, None
    if step == "T2":
        from transformers import BertConfig

        config = BertConfig(
            vocab_size=8192,
            hidden_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=1024,
        )
        rows = torch.arange(0, 16 * 128, 6)[:307]
        inputs = (tokens(8192, 16 * 128).view(16, 128), rows, tokens(8192, 307))
        return MaskedLm(config), inputs, 16 * 128, 0.01
    if step == "T3":
        ids = tokens(30_522, 8 * 128).view(8, 128)
        return LoraClassifier(), (ids, torch.arange(8) % 2), 8 * 128, 0.01
    if step == "T4":
        ids = tokens(10_000, 256 * 32).view(256, 32)
        return Classifier(2), (ids, torch.arange(32) % 2), 256 * 32, None
    if step in ("T5", "T6"):
        text = tokens(49_152, 2 * 512 + 1)
        return LoraDecoder(), (text[:-1].view(2, 512), text[1:]), 2 * 512, 0.01
    sys.exit(f"no step {step}")


def main():
    step, count, backend = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    device, _, mode = backend.partition("-")
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("no CUDA device")
    torch.manual_seed(1)
    # Gradients fade along T4's 256 steps; the CPU would count with denormal numbers 17 times as long.
    torch.set_flush_denormal(True)
    if device == "cpu":
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    model, inputs, size, decay = build(step)
    model.to(device).train()
    inputs = [x.to(device) for x in inputs]
    trained = [p for p in model.parameters() if p.requires_grad]
    if decay is None:
        optimizer = torch.optim.Adam(trained, lr=1e-3, fused=True)
    else:
        optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=decay, fused=True)
    forward = torch.compile(model) if mode == "compiled" else model

    losses, seconds = [], []
    for number in range(WARM_UP + count):
        if number == WARM_UP:
            cpu = time.process_time()
        began = time.perf_counter()
        optimizer.zero_grad()
        loss = forward(*inputs)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        losses.append(loss.item())
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)

    cpu = (time.process_time() - cpu) / count
    result = {
        "framework": "PyTorch",
        "version": torch.__version__,
        "backend": backend,
        "adapter": torch.cuda.get_device_name() if device == "cuda" else None,
        "step": step,
        "tokens": size,
        "seconds": statistics.median(seconds[WARM_UP:]),
        "cpu_seconds": cpu,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "device_mib": torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None,
    }
    print(json.dumps(result))


main()
