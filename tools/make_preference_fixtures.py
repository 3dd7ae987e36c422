#!/usr/bin/env python3
"""Makes tests/fixtures/chat/preferences.json and the two folders beside it: what TRL makes of preferences.

"formulas": losses, rewards and gradients of given log-probabilities, by the text of TRL's own trainers.
"runs": TRL's own trainers on the random Llama of make_chat_fixtures.py with an adapter that is not new, all rows in
a batch, plain gradient descent: the loss of each step, the rewards before the last, some weights after it.

    pip install transformers==5.23.0 torch peft==0.21.2 trl==1.16.0
    python3 tools/make_preference_fixtures.py
"""

import json
import pathlib
import tempfile

import torch
import torch.nn.functional as F
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.experimental.orpo.orpo_trainer import log1mexp

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/chat"
STEPS = 3
RATE = 0.1

PAIRS = [
    {"prompt": "What is 3?", "chosen": " A number.", "rejected": " I do not know."},
    {"prompt": "Name a colour.", "chosen": " Green, as grass is.", "rejected": " No."},
    {"prompt": "Say: ä", "chosen": " ä", "rejected": " oh, what was it?"},
]
TALKS = [
    {
        "prompt": [{"role": "user", "content": pair["prompt"]}],
        "chosen": [{"role": "assistant", "content": pair["chosen"].strip()}],
        "rejected": [{"role": "assistant", "content": pair["rejected"].strip()}],
    }
    for pair in PAIRS
]
JUDGED = [
    {"prompt": "What is 3?", "completion": " A number.", "label": True},
    {"prompt": "Name a colour.", "completion": " No.", "label": False},
    {"prompt": "Say: ä", "completion": " ä", "label": True},
    {"prompt": "Where is up?", "completion": " Down there!", "label": False},
    {"prompt": "Why?", "completion": " Because.", "label": True},
]


def tokenizer(name="qwen2.5"):
    template = json.loads((OUT / "templates.json").read_text())["templates"][name]
    own = PreTrainedTokenizerFast(
        tokenizer_file=str(OUT / "tokenizer.json"), bos_token=template["bos"], eos_token=template["eos"]
    )
    own.chat_template = template["text"]
    own.pad_token = own.eos_token
    return own


def make_models():
    """An adapter with something in it, and a reward model whose head is not new."""
    torch.manual_seed(5)
    base = AutoModelForCausalLM.from_pretrained(OUT / "model")
    config = LoraConfig(r=2, lora_alpha=3, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(base, config)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    adapted.save_pretrained(OUT / "adapter")
    (OUT / "adapter/README.md").unlink()
    settings = json.loads((OUT / "adapter/adapter_config.json").read_text())
    settings["base_model_name_or_path"] = "model"
    settings["target_modules"].sort()
    (OUT / "adapter/adapter_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    reward = AutoModelForSequenceClassification.from_pretrained(OUT / "model", num_labels=1)
    torch.nn.init.normal_(reward.score.weight, std=0.5)
    reward.config.pad_token_id = tokenizer().eos_token_id
    reward.save_pretrained(OUT / "reward")


def adapted():
    base = AutoModelForCausalLM.from_pretrained(OUT / "model")
    return PeftModel.from_pretrained(base, OUT / "adapter", is_trainable=True)


def options(kind, folder, rows, **more):
    return kind(
        output_dir=folder,
        per_device_train_batch_size=rows,
        per_device_eval_batch_size=rows,
        max_steps=STEPS,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        optim="sgd",
        max_grad_norm=1e9,
        weight_decay=0.0,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        seed=1,
        max_length=128,
        **more,
    )


def run(trainer_of, kind, model, data, template="qwen2.5", **more):
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(
            model=model,
            args=options(kind, folder, len(data), **more),
            train_dataset=Dataset.from_list(data),
            eval_dataset=Dataset.from_list(data),
            processing_class=tokenizer(template),
        )
        trainer.train()
        losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
        after = trainer.evaluate()
        keys = {
            "loss": "eval_loss",
            "reward_accuracy": "eval_rewards/accuracies",
            "reward_margin": "eval_rewards/margins",
            "reward_chosen": "eval_rewards/chosen",
            "reward_rejected": "eval_rewards/rejected",
        }
        if kind is RewardConfig:
            keys = {"loss": "eval_loss", "reward_accuracy": "eval_accuracy", "reward_margin": "eval_margin"}
        scores = {name: after[key] for name, key in keys.items() if key in after}
        weights = {}
        for name, parameter in trainer.model.named_parameters():
            wanted = "lora_" in name and ".default" in name or "score" in name or "layernorm" in name
            if parameter.requires_grad and wanted:
                weights[name.replace(".default", "")] = parameter.detach().flatten().tolist()
        return {"losses": losses, "after": scores, "weights": weights}


def runs():
    plain = {"data": PAIRS}
    # Ends an answer with its last token; after others' TRL counts a line break as part of the answer.
    talks = {"data": TALKS, "template": "llama3"}
    all_runs = [
        ("dpo", plain, DPOTrainer, DPOConfig, {"beta": 0.5}),
        ("dpo", talks, DPOTrainer, DPOConfig, {"beta": 0.5}),
        ("dpo", plain, DPOTrainer, DPOConfig, {"beta": 0.5, "loss_type": ["ipo"]}),
        ("orpo", plain, ORPOTrainer, ORPOConfig, {"beta": 0.5}),
        ("kto", {"data": JUDGED}, KTOTrainer, KTOConfig, {"beta": 0.5, "undesirable_weight": 1.5}),
        ("reward", talks, RewardTrainer, RewardConfig, {}),
    ]
    found = []
    for objective, data, trainer, config, more in all_runs:
        if objective == "reward":
            model = AutoModelForSequenceClassification.from_pretrained(OUT / "reward")
        else:
            model = adapted()
        found.append({"objective": objective, "options": more, **data, **run(trainer, config, model, **data, **more)})
    # What TRL calls "sigmoid" knows no smoothing; of a single pair its "aot_unpaired" is conservative DPO.
    more = {"beta": 0.5, "label_smoothing": 0.25}
    result = run(DPOTrainer, DPOConfig, adapted(), PAIRS[:1], loss_type=["aot_unpaired"], **more)
    found.append({"objective": "dpo", "options": more, "data": PAIRS[:1], **result})
    return found


def formulas():
    """Of log-probabilities summed over answers of some tokens; those of TRL's trainers, in double precision."""
    torch.manual_seed(3)
    kind = {"dtype": torch.float64, "requires_grad": True}
    lengths = torch.tensor([[2, 4], [6, 3], [3, 3], [2, 7]])
    start = -(torch.rand(4, 2, dtype=torch.float64) + 0.3) * lengths
    before = (start + torch.randn(4, 2, dtype=torch.float64) * 2).clamp(max=-0.1)
    cases = []

    def case(objective, options, judge):
        now = start.clone().requires_grad_()
        loss, rewards = judge(now)
        loss.backward()
        cases.append(
            {
                "objective": objective,
                "options": options,
                "loss": loss.item(),
                "rewards": rewards.detach().flatten().tolist(),
                "gradients": now.grad.tolist(),
            }
        )

    def dpo(beta, smoothing=0.0):
        def judge(now):
            moved = now - before
            delta = moved[:, 0] - moved[:, 1]
            loss = -F.logsigmoid(beta * delta) * (1 - smoothing) - F.logsigmoid(-beta * delta) * smoothing
            return loss.mean(), beta * moved

        return judge

    def ipo(beta):
        def judge(now):
            moved = now - before
            mean = moved / lengths
            return ((mean[:, 0] - mean[:, 1] - 1 / (2 * beta)) ** 2).mean(), beta * moved

        return judge

    def orpo(beta):
        def judge(now):
            better, worse = (now / lengths).unbind(1)
            odds = (better - worse) - (log1mexp(better) - log1mexp(worse))
            text = -now[:, 0].sum() / lengths[:, 0].sum()
            return text - (beta * F.logsigmoid(odds)).mean(), beta * torch.stack([better, worse], 1)

        return judge

    def kto(beta, good, bad):
        """Even rows are good; the second column is what others' answers come to in their place."""

        def judge(now):
            moved = now - before
            gain, kl = moved[:, 0], moved[:, 1].mean().clamp(min=0).detach()
            losses = torch.cat(
                [
                    good * (1 - torch.sigmoid(beta * (gain[0::2] - kl))),
                    bad * (1 - torch.sigmoid(beta * (kl - gain[1::2]))),
                ]
            )
            return losses.mean(), beta * gain

        return judge

    case("dpo", {"beta": 0.3}, dpo(0.3))
    case("dpo", {"beta": 0.3, "label_smoothing": 0.2}, dpo(0.3, 0.2))
    case("dpo", {"beta": 0.3, "loss": "ipo"}, ipo(0.3))
    case("orpo", {"beta": 0.3}, orpo(0.3))
    case("kto", {"beta": 0.3, "desirable_weight": 0.8, "undesirable_weight": 1.7}, kto(0.3, 0.8, 1.7))
    return {"lengths": lengths.tolist(), "now": start.tolist(), "before": before.tolist(), "cases": cases}


def rounded(value):
    """Nine digits, more than an f32 has."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    make_models()
    everything = {"rate": RATE, "steps": STEPS, "formulas": formulas(), "runs": runs()}
    text = json.dumps(rounded(everything), ensure_ascii=False)
    (OUT / "preferences.json").write_text(text + "\n")
