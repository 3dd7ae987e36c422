#!/usr/bin/env python3
"""Writes tests/fixtures/hf/: tiny models as transformers and PEFT write them, and what they compute.

    python3 -m venv VENV && VENV/bin/pip install -r tools/requirements.txt
    VENV/bin/python tools/make_hf_fixtures.py

Needed only to remake the fixtures; the files are committed. The same versions give the same bytes.

    hf/NAME/                config.json and model.safetensors by save_pretrained; an adapter's folder
                            likewise by PEFT
    hf/NAME.safetensors     inputs and everything computed from them; its metadata names the folder

Every parameter is a float32 number; everything expected is computed in float64 from them and
rounded once, when it is written. No dropout. Rows are padded on the right.

Names inside a file:
    input.ids, input.token_types (B, T); input.lens (B), the tokens that count of each row
    input.labels            what the loss wants; -1: not counted (transformers has -100 there)
    act.hidden.N            hidden_states[N] of transformers: the embeddings, then each layer's
                            output; GPT-2's last one is after ln_f. Rows of padding are 0 here
    act.pooled, act.logits, act.nsp_logits    the same for these
    loss                    of the first step; its gradients are grad.* (before clipping), a tied
                            tensor once, by its name in the folder
    losses                  the loss of each of STEPS training steps, before that step's update
    grad_norms              the global gradient norm of each step, before clipping
Training is AdamW(lr=1e-3, weight_decay=0.01 on every parameter, PyTorch's defaults otherwise) after
clip_grad_norm_(max_norm=1.0). Adapters train lora_A, lora_B, with DoRA lora_magnitude_vector, and modules_to_save only; merged.* are
the weights of merge_and_unload (in float32) that differ from the base model's.
"""

import json
import shutil

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from torch.nn.utils import clip_grad_norm_

from make_fixtures import LR, MAX_NORM, OUT, STEPS, i32, normal, save, u32

torch.set_default_dtype(torch.float32)
transformers.logging.set_verbosity_error()

HF = OUT / "hf"
V, P, B, T = 37, 14, 3, 11
LENS = [7, 11, 4]
PAD, CLS, SEP, MASK = 0, 1, 2, 3
FRAMED = {"roberta", "xlm-roberta"}  # model types whose own ids are CLS 0, PAD 1
NO_DROPOUT_BERT = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
NO_DROPOUT_GPT2 = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
NO_DROPOUT_DISTILBERT = dict(dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0)


def bert_config(**more):
    return transformers.BertConfig(
        vocab_size=V, hidden_size=16, num_attention_heads=2, intermediate_size=20,
        max_position_embeddings=P, pad_token_id=PAD, attn_implementation="eager",
        **{"num_hidden_layers": 2} | NO_DROPOUT_BERT | more,
    )


def gpt2_config(**more):
    return transformers.GPT2Config(
        vocab_size=V, n_embd=16, n_head=4, n_inner=20, n_positions=P, pad_token_id=PAD,
        bos_token_id=CLS, eos_token_id=SEP, attn_implementation="eager",
        **{"n_layer": 2} | NO_DROPOUT_GPT2 | more,
    )


def distilbert_config(**more):
    return transformers.DistilBertConfig(
        vocab_size=V, dim=16, n_heads=2, hidden_dim=20, max_position_embeddings=P,
        pad_token_id=PAD, attn_implementation="eager",
        **{"n_layers": 2} | NO_DROPOUT_DISTILBERT | more,
    )


def roberta_config(kind=transformers.RobertaConfig, **more):
    # Positions begin behind that of the padding token.
    return kind(
        vocab_size=V, hidden_size=16, num_attention_heads=2, intermediate_size=20,
        max_position_embeddings=P + 2, type_vocab_size=1, layer_norm_eps=1e-5,
        attn_implementation="eager", **{"num_hidden_layers": 2} | NO_DROPOUT_BERT | more,
    )


def kin_config(kind, **more):
    """Llama and its kin."""
    sizes = dict(vocab_size=V, hidden_size=16, num_attention_heads=4, num_key_value_heads=2, intermediate_size=12,
                 num_hidden_layers=1, tie_word_embeddings=True, max_position_embeddings=P, pad_token_id=PAD, bos_token_id=CLS,
                 eos_token_id=SEP, attention_dropout=0.0, attn_implementation="eager")
    return kind(**sizes | more)


# --- data -------------------------------------------------------------------------------------


def randomise(model, rng):
    """Parameters at scales at which attention is not uniform and gradients are not small."""
    for name, parameter in model.named_parameters():
        norm = "LayerNorm" in name or "norm" in name or ".ln_" in name
        if name.endswith("weight") and norm:
            values = 1 + normal(rng, *parameter.shape, scale=0.2)
        else:
            values = normal(rng, *parameter.shape, scale=0.1 if parameter.dim() == 1 else 0.4)
        parameter.data.copy_(values)


def ids_of(rng, model_type):
    pad, cls = (CLS, PAD) if model_type in FRAMED else (PAD, CLS)
    ids = rng.randint(4, V, size=(B, T))
    ids[:, 1] = ids[0, 1]  # one id repeats, so that its gradient adds up
    ids[:, 0] = cls
    for row, n in enumerate(LENS):
        ids[row, n - 1] = SEP
        ids[row, n:] = pad
    return ids


def token_types(ids):
    types = np.zeros_like(ids)
    for row, n in enumerate(LENS):
        types[row, n // 2 : n] = 1
    return types


def inside():
    return torch.arange(T)[None] < torch.tensor(LENS)[:, None]


def inputs_of(rng, model, types=True):
    ids = ids_of(rng, model.config.model_type)
    call = dict(input_ids=torch.tensor(ids), attention_mask=inside().long())
    tensors = {"input.ids": u32(ids), "input.lens": u32(LENS)}
    if types:
        types = token_types(ids)
        call["token_type_ids"] = torch.tensor(types)
        tensors["input.token_types"] = u32(types)
    return call, tensors


def masked(rng, call, tensors):
    """Some tokens replaced by MASK, some kept: labels there, -1 elsewhere."""
    ids = call["input_ids"].numpy().copy()
    labels = np.full_like(ids, -1)
    for row, n in enumerate(LENS):
        for at in rng.choice(np.arange(1, n - 1), size=max(1, n // 3), replace=False):
            labels[row, at] = ids[row, at]
            if at % 3:
                ids[row, at] = MASK
    call["input_ids"] = torch.tensor(ids)
    tensors |= {"input.ids": u32(ids), "input.labels": i32(labels)}
    return torch.tensor(labels)


# --- what is computed ---------------------------------------------------------------------------


def token_loss(logits, labels):
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=-1)


def for_transformers(labels):
    """Its own labels, to check our loss against its."""
    return torch.where(labels == -1, -100, labels) if labels.dtype == torch.int64 else labels


def train(model, call, labels, loss_of, file_name, **more_labels):
    """The first step's gradients, then STEPS of AdamW with clipping, in float64."""
    model = model.double().train()
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(parameters.values(), lr=LR, weight_decay=0.01)
    result, losses, norms = {}, [], []
    for step in range(STEPS):
        optimiser.zero_grad()
        out = model(**call, output_hidden_states=True)
        loss = loss_of(out)
        if step == 0:
            theirs = model(**call, labels=for_transformers(labels), **more_labels).loss
            assert torch.isclose(theirs.double(), loss, rtol=1e-6), (theirs, loss)
        loss.backward()
        if step == 0:
            result["loss"] = loss
            result |= {f"grad.{file_name(n)}": p.grad.clone() for n, p in parameters.items()}
            keep = inside()[..., None]
            for n, hidden in enumerate(out.hidden_states):
                result[f"act.hidden.{n}"] = hidden * keep
            logits = out.get("logits", out.get("prediction_logits"))
            result["act.logits"] = logits * keep if logits.dim() == 3 else logits
            if "seq_relationship_logits" in out:
                result["act.nsp_logits"] = out.seq_relationship_logits
            for n, pooler in model.named_modules():
                if n == model.base_model_prefix + ".pooler":
                    result["act.pooled"] = pooler(out.hidden_states[-1])
        norms.append(float(clip_grad_norm_(parameters.values(), MAX_NORM)))
        losses.append(loss.item())
        optimiser.step()
    print(f"    {losses[0]:.4f} -> {losses[-1]:.4f}")
    assert losses[-1] < losses[0] and max(norms) > MAX_NORM, (losses, norms)
    return result | {"losses": np.array(losses), "grad_norms": np.array(norms)}


def write(name, about, folder, tensors):
    save(f"hf/{name}", about, tensors, script="tools/make_hf_fixtures.py", folder=folder,
         transformers=transformers.__version__)


def folder(model, name):
    """save_pretrained into hf/NAME."""
    shutil.rmtree(HF / name, ignore_errors=True)
    model.float().save_pretrained(HF / name)
    return name


def same_name(name):
    return name


# --- models -----------------------------------------------------------------------------------


def mlm(name, seed, model, types):
    rng = np.random.RandomState(seed)
    randomise(model, rng)
    folder(model, name)
    call, tensors = inputs_of(rng, model, types)
    labels = masked(rng, call, tensors)
    original = lambda n: model._tied_weights_keys.get(n, n)
    tensors |= train(model, call, labels, lambda out: token_loss(out.logits, labels), original)
    write(name, f"{type(model).__name__}, one layer; loss: mean over the tokens with a label", name,
          tensors)


def bert_pretraining(name, seed):
    rng = np.random.RandomState(seed)
    model = transformers.BertForPreTraining(bert_config())
    randomise(model, rng)
    folder(model, name)
    call, tensors = inputs_of(rng, model)
    labels = masked(rng, call, tensors)
    nsp = torch.tensor([1, 0, 0])

    def loss_of(out):
        mlm = token_loss(out.prediction_logits, labels)
        return mlm + F.cross_entropy(out.seq_relationship_logits, nsp)

    tensors |= train(model, call, labels, loss_of, same_name, next_sentence_label=nsp)
    tensors["input.next_sentence_label"] = u32(nsp.numpy())
    write(name, "BertForPreTraining; loss: masked LM + next sentence (0: it follows)", name, tensors)


def bert_classifier(name, seed, head_of, problem, outputs, labels, about, keep=None):
    """BertForSequenceClassification on the encoder of `head_of`; `keep`: the gradients that are
    written, where the rest would repeat another fixture's."""
    config = bert_config(num_labels=outputs, problem_type=problem)
    model = transformers.BertForSequenceClassification(config)
    classifier(name, seed, model, True, labels, about, head_of, keep)


def classifier(name, seed, model, types, labels, about, head_of=None, keep=None):
    rng = np.random.RandomState(seed)
    problem = model.config.problem_type
    randomise(model, rng)
    call, tensors = inputs_of(rng, model, types)
    if head_of is None:
        folder(model, name)
    else:
        theirs = transformers.BertModel.from_pretrained(HF / head_of)
        model.bert.load_state_dict(theirs.state_dict())
        for n in ["weight", "bias"]:
            tensors[f"param.classifier.{n}"] = getattr(model.classifier, n).detach().clone()
    labels = torch.tensor(labels)

    def loss_of(out):
        if problem == "single_label_classification":
            return F.cross_entropy(out.logits, labels)
        if problem == "multi_label_classification":
            return F.binary_cross_entropy_with_logits(out.logits, labels.double())
        return F.mse_loss(out.logits.squeeze(), labels.double())

    integers = labels.dtype == torch.int64
    tensors |= train(model, call, labels if integers else labels.double(), loss_of, same_name)
    if keep:
        tensors = {n: t for n, t in tensors.items() if not n.startswith("grad.") or keep(n)}
    tensors["input.labels"] = i32(labels) if integers else labels
    write(name, about, head_of or name, tensors)


def token_classifier(name, seed, model, types):
    rng = np.random.RandomState(seed)
    randomise(model, rng)
    folder(model, name)
    call, tensors = inputs_of(rng, model, types)
    labels = rng.randint(0, 5, size=(B, T))
    labels[:, 0] = -1
    for row, n in enumerate(LENS):
        labels[row, n - 1 :] = -1
    tensors["input.labels"] = i32(labels)
    labels = torch.tensor(labels)
    tensors |= train(model, call, labels, lambda out: token_loss(out.logits, labels), same_name)
    write(name, f"{type(model).__name__}, one layer; loss: mean over the tokens with a label", name,
          tensors)


def pooled(name, seed, model):
    """The bare class: what its pooler gives, no training."""
    rng = np.random.RandomState(seed)
    randomise(model, rng)
    folder(model, name)
    call, tensors = inputs_of(rng, model, types=False)
    tensors["act.pooled"] = model.double()(**call).pooler_output
    write(name, f"{type(model).__name__}, one layer, its pooler's output", name, tensors)


def causal_loss(labels):
    return lambda out: token_loss(out.logits[:, :-1], labels[:, 1:])


def causal_labels(call, tensors):
    labels = torch.where(inside(), call["input_ids"], -1)
    tensors["input.labels"] = i32(labels)
    return labels


def causal_lm(name, seed, model):
    rng = np.random.RandomState(seed)
    randomise(model, rng)
    folder(model, name)
    call, tensors = inputs_of(rng, model, types=False)
    if "GPT2" not in type(model).__name__:
        del call["attention_mask"]  # a window of nothing but padding would be NaN there
    labels = causal_labels(call, tensors)
    tensors |= train(model, call, labels, causal_loss(labels), same_name)
    write(name, f"{type(model).__name__}; the logits at t predict the label at t + 1; mean over these", name,
          tensors)


def last_classifier(name, seed, model):
    rng = np.random.RandomState(seed)
    randomise(model, rng)
    folder(model, name)
    call, tensors = inputs_of(rng, model, types=False)
    labels = torch.tensor([2, 0, 1])
    tensors["input.labels"] = i32(labels)
    loss_of = lambda out: F.cross_entropy(out.logits, labels)
    tensors |= train(model, call, labels, loss_of, same_name)
    write(name, f"{type(model).__name__}, one layer; logits of each row's last token", name, tensors)


# --- adapters ---------------------------------------------------------------------------------


def adapter(name, seed, kind, types, base, config, labels_of, loss_of, about):
    rng = np.random.RandomState(seed)
    before = kind.from_pretrained(HF / base, attn_implementation="eager")
    model = get_peft_model(kind.from_pretrained(HF / base, attn_implementation="eager"), config)
    for n, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = 1.0 if "lora_magnitude_vector" in n else 0.3
            parameter.data.copy_(normal(rng, *parameter.shape, scale=scale))
    shutil.rmtree(HF / name, ignore_errors=True)
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(HF / name)
    (HF / name / "README.md").unlink()  # a model card, which nothing reads
    # PEFT writes a set in whatever order it has.
    path = HF / name / "adapter_config.json"
    written = json.loads(path.read_text())
    written["target_modules"].sort()
    path.write_text(json.dumps(written, indent=2, sort_keys=True))

    def file_name(n):
        n = n.replace("_vector.default.weight", "_vector")
        return n.replace(".modules_to_save.default", "").replace(".default", "")

    written = {f"grad.{n}" for n in get_peft_model_state_dict(model)}
    call, tensors = inputs_of(rng, model, types)
    labels = labels_of(call, tensors)
    tensors |= train(model, call, labels, lambda out: loss_of(out, labels), file_name)
    assert written == {n for n in tensors if n.startswith("grad.")}, written

    model = get_peft_model(kind.from_pretrained(HF / base), config)
    model.load_adapter(HF / name, "default")
    old = dict(before.named_parameters())
    for n, parameter in model.merge_and_unload().named_parameters():
        if not torch.equal(parameter, old[n]):
            tensors[f"merged.{n}"] = parameter
    write(name, about, f"{base}, {name}", tensors)


def class_labels(call, tensors):
    labels = torch.tensor([2, 0, 1])
    tensors["input.labels"] = i32(labels)
    return labels


def class_loss(out, labels):
    return F.cross_entropy(out.logits, labels)


def distilbert():
    model = transformers.DistilBertForMaskedLM(distilbert_config(n_layers=1))
    mlm("distilbert_mlm", 41, model, types=False)
    config = distilbert_config(num_labels=3, problem_type="single_label_classification")
    classifier("distilbert_classifier", 42, transformers.DistilBertForSequenceClassification(config),
               False, [2, 0, 1], "DistilBertForSequenceClassification; loss: mean over the rows")
    config = distilbert_config(n_layers=1, num_labels=5)
    token_classifier("distilbert_token_classifier", 43,
                     transformers.DistilBertForTokenClassification(config), types=False)
    adapter("distilbert_lora", 44, transformers.DistilBertForSequenceClassification, False,
            "distilbert_classifier",
            LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=6, lora_dropout=0.0,
                       target_modules=["q_lin", "v_lin"]),
            class_labels, class_loss,
            "LoRA on q_lin and v_lin, both layers of the head in modules_to_save")


def roberta():
    model = transformers.RobertaForMaskedLM(roberta_config(num_hidden_layers=1))
    mlm("roberta_mlm", 51, model, types=False)
    model = transformers.RobertaModel(roberta_config(num_hidden_layers=1))
    pooled("roberta_model", 52, model)
    config = roberta_config(num_labels=3, problem_type="single_label_classification")
    classifier("roberta_classifier", 53, transformers.RobertaForSequenceClassification(config),
               False, [2, 0, 1], "RobertaForSequenceClassification; loss: mean over the rows")
    config = roberta_config(num_hidden_layers=1, num_labels=5)
    token_classifier("roberta_token_classifier", 54,
                     transformers.RobertaForTokenClassification(config), types=False)
    adapter("roberta_lora", 57, transformers.RobertaForSequenceClassification, False,
            "roberta_classifier",
            LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=6, lora_dropout=0.0),
            class_labels, class_loss,
            "LoRA where PEFT puts it by itself (query, value), the head in modules_to_save")
    config = roberta_config(transformers.XLMRobertaConfig, num_hidden_layers=1)
    mlm("xlm_roberta_mlm", 56, transformers.XLMRobertaForMaskedLM(config), types=False)


def llama():
    t = transformers
    llama3 = dict(rope_type="llama3", rope_theta=100.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=8)
    # Windows and caps so small that they matter to so short texts.
    for seed, name, model, kind, more in (
        (61, "llama_lm", t.LlamaForCausalLM, t.LlamaConfig,
         dict(rope_parameters=llama3, attention_bias=True, mlp_bias=True, tie_word_embeddings=False)),
        (62, "mistral_lm", t.MistralForCausalLM, t.MistralConfig, dict(sliding_window=3)),
        (63, "qwen2_lm", t.Qwen2ForCausalLM, t.Qwen2Config,
         dict(use_sliding_window=True, sliding_window=4, max_window_layers=0,
              rope_parameters=dict(rope_type="yarn", rope_theta=50.0, factor=2.0,
                                   original_max_position_embeddings=7))),
        (64, "qwen3_lm", t.Qwen3ForCausalLM, t.Qwen3Config,
         dict(head_dim=6, rope_parameters=dict(rope_type="linear", rope_theta=100.0, factor=2.0))),
        (65, "gemma_lm", t.GemmaForCausalLM, t.GemmaConfig, dict(head_dim=6)),
        (66, "gemma2_lm", t.Gemma2ForCausalLM, t.Gemma2Config,
         dict(num_hidden_layers=2, head_dim=4, sliding_window=3, query_pre_attn_scalar=5, attn_logit_softcapping=2.0,
              final_logit_softcapping=3.0)),
        (67, "gemma3_lm", t.Gemma3ForCausalLM, t.Gemma3TextConfig,
         dict(num_hidden_layers=2, head_dim=4, sliding_window=3, query_pre_attn_scalar=5,
              layer_types=["sliding_attention", "full_attention"])),
        (68, "phi3_lm", t.Phi3ForCausalLM, t.Phi3Config,
         dict(num_attention_heads=2, num_key_value_heads=1, original_max_position_embeddings=8,
              rope_parameters=dict(rope_type="longrope", rope_theta=100.0, partial_rotary_factor=0.5,
                                   short_factor=[1.0, 1.5], long_factor=[2.0, 3.0]))),
    ):
        causal_lm(name, seed, model(kin_config(kind, **more)))
    config = kin_config(t.LlamaConfig, num_labels=3)
    last_classifier("llama_classifier", 71, t.LlamaForSequenceClassification(config))
    config = kin_config(t.LlamaConfig, num_labels=5, classifier_dropout=0.0)
    token_classifier("llama_token_classifier", 72, t.LlamaForTokenClassification(config), types=False)
    adapter("llama_lora", 73, t.LlamaForCausalLM, False, "llama_lm",
            LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=6, lora_dropout=0.0, target_modules="all-linear"),
            causal_labels, lambda out, labels: causal_loss(labels)(out), "LoRA on all linear layers but the last")
    adapter("llama_dora", 75, t.LlamaForCausalLM, False, "llama_lm",
            LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=6, lora_dropout=0.0, use_dora=True,
                       target_modules=["q_proj", "down_proj"]),
            causal_labels, lambda out, labels: causal_loss(labels)(out), "DoRA on q_proj and down_proj")
    rope()


def rope():
    """The angles of real models' settings, and of each kind of scaling."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    cases = []
    for length, theta, width, positions, scaling in (
        (10, 500000.0, 64, 131072, dict(rope_type="llama3", factor=32.0, low_freq_factor=1.0,
                                        high_freq_factor=4.0, original_max_position_embeddings=8192)),
        (10, 10000.0, 64, 2048, dict(rope_type="linear", factor=4.0)),
        (3000, 10000.0, 64, 2048, dict(rope_type="dynamic", factor=2.0)),
        (10, 10000.0, 64, 2048, dict(rope_type="dynamic", factor=2.0)),
        (10, 1000000.0, 64, 131072, dict(rope_type="yarn", factor=4.0,
                                          original_max_position_embeddings=32768)),
        (10, 10000.0, 64, 16384, dict(rope_type="yarn", factor=4.0, beta_fast=20.0, beta_slow=2.0, mscale=0.7,
                                       mscale_all_dim=1.2, original_max_position_embeddings=4096,
                                       truncate=False)),
        (4096, 10000.0, 32, 131072, dict(rope_type="longrope", original_max_position_embeddings=4096,
                                         short_factor=[1 + i / 100 for i in range(16)],
                                         long_factor=[1 + i / 3 for i in range(16)])),
        (4097, 10000.0, 32, 131072, dict(rope_type="longrope", original_max_position_embeddings=4096,
                                         short_factor=[1 + i / 100 for i in range(16)],
                                         long_factor=[1 + i / 3 for i in range(16)])),
    ):
        # Rounded to what the file holds.
        config = transformers.LlamaConfig(hidden_size=2 * width, num_attention_heads=2,
                                          max_position_embeddings=positions,
                                          rope_parameters=dict(rope_theta=theta, **scaling))
        make = ROPE_INIT_FUNCTIONS[scaling["rope_type"]]
        frequencies, scale = make(config, "cpu", seq_len=length)
        cases.append(dict(length=length, config=json.loads(config.to_json_string(use_diff=True)), scale=scale,
                          frequencies=[float(f"{f:.9g}") for f in frequencies.tolist()]))
    (OUT / "rope.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


def main():
    shutil.rmtree(HF, ignore_errors=True)
    HF.mkdir(parents=True)
    mlm("bert_mlm", 31, transformers.BertForMaskedLM(bert_config(num_hidden_layers=1)), types=True)
    bert_pretraining("bert_pretraining", 32)
    bert_classifier("bert_classifier", 33, None, "single_label_classification", 3, [2, 0, 1],
               "BertForSequenceClassification; loss: mean over the rows")
    last = lambda n: "classifier" in n or "pooler" in n or "word_embeddings" in n
    bert_classifier("bert_multi_label", 34, "bert_classifier", "multi_label_classification", 3,
               [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]],
               "several labels per row, mean over rows and labels; the encoder of bert_classifier, "
               "head in param.*; gradients of head, pooler and word embeddings only", keep=last)
    bert_classifier("bert_regression", 35, "bert_classifier", "regression", 1, [0.5, -1.25, 2.0],
               "squared error, mean over the rows; the encoder of bert_classifier, head in param.*; "
               "gradients of head, pooler and word embeddings only", keep=last)
    config = bert_config(num_hidden_layers=1, num_labels=5)
    token_classifier("bert_token_classifier", 36, transformers.BertForTokenClassification(config),
                     types=True)
    causal_lm("gpt2_lm", 37, transformers.GPT2LMHeadModel(gpt2_config()))
    model = transformers.GPT2ForSequenceClassification(gpt2_config(n_layer=1, num_labels=3))
    last_classifier("gpt2_classifier", 38, model)
    adapter("bert_lora", 39, transformers.BertForSequenceClassification, True, "bert_classifier",
            LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=6, lora_dropout=0.0,
                       target_modules=["query", "value"]),
            class_labels, class_loss,
            "LoRA on query and value, the classifier in modules_to_save")
    adapter("gpt2_lora", 40, transformers.GPT2LMHeadModel, False, "gpt2_lm",
            LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=6, lora_dropout=0.0,
                       target_modules=["c_attn"], fan_in_fan_out=True, use_rslora=True,
                       rank_pattern={"h.1.attn.c_attn": 4}, alpha_pattern={"h.0.attn.c_attn": 5}),
            causal_labels, lambda out, labels: causal_loss(labels)(out),
            "rank-stabilised LoRA on c_attn: layer 0 has r 3, alpha 5; layer 1 r 4, alpha 6")
    distilbert()
    roberta()
    llama()
    total = sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file())
    print(f"tests/fixtures: {total:,} bytes")
    assert total < 2 << 20


if __name__ == "__main__":
    main()
