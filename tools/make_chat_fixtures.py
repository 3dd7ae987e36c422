#!/usr/bin/env python3
"""Makes tests/fixtures/chat: chat templates in the formats of well-known models, conversations, and what
transformers makes of them: texts, errors, tokens, the mask of the assistant's tokens, and the loss of a random
Llama on these.

    pip install transformers==5.23.0 torch jinja2
    python3 tools/make_chat_fixtures.py
"""

import json
import pathlib

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/chat"

LLAMA3 = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", "parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

QWEN25 = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are a helpful assistant.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

QWEN3 = """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (loop.index0 % 2 == 0) %}
        {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
"""

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)

PHI3 = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)

# With the tags, blocks that are cut at both ends, loop controls, and what Python prints.
TAGGED = """{{ bos_token }}
{% for message in messages %}
    {% if message.role == 'tool' %}{% continue %}{% endif %}
    {% if message.role == 'assistant' %}
<|im_start|>assistant
        {% generation %}
  {{ message.content }}<|im_end|>
        {% endgeneration %}
    {% else %}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
    {% endif %}
{% endfor %}
{{ none }} {{ true }} {{ [1, 'a"b', "it's", none] }} {{ {'k': [1.5, false]} }} {{ 7 // 2 }} {{ '%s-%s' | format(1, 'x') }}
{{ {'é': '<&>', 'n': [1, {}]} | tojson }} {{ ['a b c'.split(' ')[1:], 'x'.upper(), {'q': 1}.get('z', 4)] | tojson }}
{%- for k, v in {'b': 1, 'a': 2}.items() %} {{ k }}={{ v }}{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}"""

# Name, tokens of the roles, text, and what ends an answer; None where answers cannot be told by prefixes.
TEMPLATES = {
    "llama3": ("<|begin_of_text|>", "<|eot_id|>", LLAMA3, lambda text: text.strip() + "<|eot_id|>"),
    "qwen2.5": (None, "<|im_end|>", QWEN25, lambda text: text + "<|im_end|>"),
    "qwen3": (None, "<|im_end|>", QWEN3, None),
    "mistral": ("<s>", "</s>", MISTRAL, lambda text: " " + text.strip() + "</s>"),
    "gemma": ("<bos>", "<eos>", GEMMA, lambda text: text.strip() + "<end_of_turn>"),
    "phi3": ("<s>", "<|endoftext|>", PHI3, lambda text: text + "<|end|>"),
    "tagged": ("<s>", "<|im_end|>", TAGGED, None),
}

SPECIAL = (
    "<|begin_of_text|> <|eot_id|> <|start_header_id|> <|end_header_id|> <|im_start|> <|im_end|> <s> </s> <bos> <eos> "
    "<start_of_turn> <end_of_turn> <|system|> <|user|> <|assistant|> <|end|> <|endoftext|>"
).split()

CALL = {"type": "function", "function": {"name": "weather", "arguments": {"place": "Zürich", "days": 2}}}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "It's <b>the</b> weather",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}


def says(*turns):
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [{"role": roles[role], "content": text} for role, text in turns]


CONVERSATIONS = [
    {"messages": says(("u", "Hello?"), ("a", "Hi, 走れ! 🦀 "))},
    {"messages": says(("s", "Be brief.\n"), ("u", "1+1"), ("a", "2"))},
    {"messages": says(("u", "a"), ("a", " b\n"), ("u", "c\n\n"), ("a", "d"))},
    {"messages": says(("s", "S"), ("u", "a"), ("a", "b"), ("u", "c"), ("a", "<think>\nhm\n</think>\n\nd"))},
    {"messages": says(("u", "a"), ("a", "<think>\nso\n</think>\n\nb"), ("u", "c"), ("a", "d"))},
    {
        "messages": [
            {"role": "user", "content": "And in Zürich?"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": "sun"},
            {"role": "assistant", "content": "Sunny."},
        ],
        "tools": [TOOL],
    },
]


def tokenizer(bos, eos, template):
    return PreTrainedTokenizerFast(
        tokenizer_file=str(OUT / "tokenizer.json"), bos_token=bos, eos_token=eos, chat_template=template
    )


def losses():
    """The loss of the first three conversations, cut at two lengths: the sum over the assistant's tokens, each
    predicted from those before it, divided by their number in the batch, as TRL's SFTTrainer has it."""
    name = "qwen2.5"
    bos, eos, text, learned = TEMPLATES[name]
    own = tokenizer(bos, eos, text)
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(own),
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        initializer_range=0.5,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=own.eos_token_id,
    )
    model = LlamaForCausalLM(config).float().eval()
    model.save_pretrained(OUT / "model")
    (OUT / "model/generation_config.json").unlink(missing_ok=True)
    found = {}
    for most in (128, 80):
        total, count = 0.0, 0
        for conversation in CONVERSATIONS[:3]:
            whole = own.apply_chat_template(conversation["messages"], tokenize=False)
            tokens = own(whole, add_special_tokens=False)
            labels, at = [-100] * len(tokens.input_ids), 0
            for message in conversation["messages"]:
                if message["role"] == "assistant":
                    turn = learned(message["content"])
                    at = whole.index(turn, at)
                    first, last = tokens.char_to_token(at), tokens.char_to_token(at + len(turn) - 1)
                    labels[first : last + 1] = tokens.input_ids[first : last + 1]
                    at += len(turn)
            ids, labels = torch.tensor([tokens.input_ids[:most]]), torch.tensor(labels[:most])
            with torch.no_grad():
                logits = model(ids).logits[0, :-1].double()
            total += torch.nn.functional.cross_entropy(logits, labels[1:], ignore_index=-100, reduction="sum").item()
            count += int((labels[1:] != -100).sum())
        found[most] = {"loss": total / count, "learned": count}
    return {"template": name, "by_length": found}


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE({letter: id for id, letter in enumerate(letters)}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    plain.save(str(OUT / "tokenizer.json"), pretty=False)
    templates, expected = {}, []
    for name, (bos, eos, text, learned) in TEMPLATES.items():
        templates[name] = {"bos": bos, "eos": eos, "text": text}
        own = tokenizer(bos, eos, text)
        for at, conversation in enumerate(CONVERSATIONS):
            messages, tools = conversation["messages"], conversation.get("tools")
            case = {"template": name, "conversation": at}
            try:
                case["whole"] = own.apply_chat_template(messages, tools=tools, tokenize=False)
                asked = own.apply_chat_template(
                    messages[:-1], tools=tools, tokenize=False, add_generation_prompt=True
                )
                case["asked"] = asked
            except Exception as error:  # what the template raises
                case["refused"] = str(error)
            if "whole" in case and (learned or name == "tagged"):
                out = own.apply_chat_template(
                    messages,
                    tools=tools,
                    return_dict=True,
                    return_assistant_tokens_mask=name == "tagged",
                )
                case["ids"] = out["input_ids"]
                if name == "tagged":
                    case["mask"] = "".join(map(str, out["assistant_masks"]))
                elif tools is None:
                    case["learned"] = [learned(m["content"]) for m in messages if m["role"] == "assistant"]
            expected.append(case)
    everything = {"templates": templates, "conversations": CONVERSATIONS, "expected": expected, "sft": losses()}
    text = json.dumps(everything, ensure_ascii=False, separators=(",", ":"))
    (OUT / "templates.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
