"""Chat templates written for the tests, one of each kind of difficulty that real ones have, and how each is read, by hand."""

from typing import NamedTuple

TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
ASK = "{% if add_generation_prompt %}"


class Kind(NamedTuple):
    """A template, and a question Q with its answer A as it is to be trained: the prompt, then the answer with its end."""

    source: str
    prompt: str
    answer: str
    thinking: str = "none"
    system: str = "kept"


KINDS = {
    "plain": Kind(
        TURNS + ASK + "<|im_start|>assistant\n{% endif %}",
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n", "A<|im_end|>",
    ),
    "a header before the answer, and another end in the past": Kind(  # as gpt-oss's
        "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}<|message|>"
        "{{ m.content }}"
        "{% if loop.last and m.role == 'assistant' %}<|return|>{% else %}<|end|>{% endif %}{% endfor %}"
        + ASK + "<|start|>assistant{% endif %}",
        "<|start|>user<|message|>Q<|end|><|start|>assistant<|channel|>final<|message|>", "A<|return|>",
    ),
    "one token opens and ends": Kind(  # as Kimi K3's
        "{% for m in messages %}<|msg|>{{ m.role }}<|sep|>{{ m.content }}{% endfor %}<|msg|>" + ASK + "assistant<|sep|>"
        "{% endif %}",
        "<|msg|>user<|sep|>Q<|msg|>assistant<|sep|>", "A<|msg|>",
    ),
    "one token opens and ends a header within the turn": Kind(
        "{% for m in messages %}<|tag|>{{ m.role }}<|tag|>{% if m.role == 'assistant' %}text<|tag|>{% endif %}{{ m.content }}"
        "<|tag|>"
        "{% endfor %}" + ASK + "<|tag|>assistant<|tag|>{% endif %}",
        "<|tag|>user<|tag|>Q<|tag|><|tag|>assistant<|tag|>text<|tag|>", "A<|tag|>",
    ),
    "an end that is written only when a turn follows": Kind(  # as Apertus's
        "{% for m in messages %}{% if m.role == 'assistant' %}<|bot|>{{ m.content }}{% if not loop.last %}<|bot_end|>{% endif %}"
        "{% else %}<|user|>{{ m.content }}<|user_end|>{% endif %}{% endfor %}" + ASK + "<|bot|>{% endif %}",
        "<|user|>Q<|user_end|><|bot|>", "A<|bot_end|>",
    ),
    "no end but the next turn's beginning": Kind(  # as GLM 4's
        "[gMASK]{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' %}<think></think>\n{% endif %}"
        "{{ m.content | trim }}"
        "{% endfor %}" + ASK + "<|assistant|>{% if enable_thinking is defined and not enable_thinking %}"
        "{{ '\n<think></think>' }}{% endif %}{% endif %}",
        "[gMASK]<|user|>\nQ<|assistant|>\n<think></think>", "\nA<|user|>", "switch",
    ),
    "a switch that skips a thought in a turn of its own": Kind(  # as HyperCLOVA X's
        "{% for m in messages %}{% if m.reasoning_content and loop.last %}<|im_start|>assistant/think\n{{ m.reasoning_content }}"
        "<|im_end|>\n{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        + ASK + "<|im_start|>assistant{% if skip_reasoning %}{{ '\n' }}{% endif %}{% endif %}",
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n", "A<|im_end|>", "switch",
    ),
    "other white space around a prompt's header than around an answer's": Kind(  # as templates written over many lines
        "{% for m in messages %}    {{ m.role | upper }}: {{ m.content }}{% if m.role == 'assistant' %}</s>{% endif %}\n"
        "{% endfor %}"
        + ASK + "{{ '\n    ASSISTANT:\n' }}{% endif %}",
        "    USER: Q\n    ASSISTANT:\n", "A</s>",
    ),
    "a thought begun in the prompt alone, by a channel": Kind(  # as some of Gemma 4's
        TURNS + ASK + "<|im_start|>assistant\n<|channel>thought\n{% endif %}",
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n<|channel>thought\n<channel|>", "A<|im_end|>", "open",
    ),
    "an empty thought in the prompt alone": Kind(  # as Gemma 4's and MiniCPM 5's
        TURNS + ASK + "<|im_start|>assistant\n{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", "A<|im_end|>", "switch",
    ),
    "an empty thought, then the turn's beginning again": Kind(  # as Solar's
        "{% for m in messages %}<|begin|>{{ m.role }}<|content|>{{ m.content }}<|end|>{% endfor %}"
        + ASK + "<|begin|>assistant<|think|><|end|><|begin|>assistant{% endif %}",
        "<|begin|>user<|content|>Q<|end|><|begin|>assistant<|think|><|end|><|begin|>assistant<|content|>", "A<|end|>",
    ),
    "a thought begun in the prompt, closed in the past": Kind(  # as Qwen3 Thinking's
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}<think>\n"
        "{{ m.reasoning_content }}\n"
        "</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}" + ASK + "<|im_start|>assistant\n<think>\n{% endif %}",
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", "A<|im_end|>", "open",
    ),
    "a thought begun in the prompt, of which the past knows nothing": Kind(  # as DeepSeek R1's
        "{% for m in messages %}{% if m.role == 'user' %}<|User|>{{ m.content }}{% elif m.role == 'system' %}{{ m.content }}"
        "{% else %}<|Assistant|>{{ m.content.split('</think>')[-1] }}"
        "<|eos|>{% endif %}{% endfor %}" + ASK + "<|Assistant|><think>\n{% endif %}",
        "<|User|>Q<|Assistant|><think>\n</think>", "A<|eos|>", "open",
    ),
    "a thought begun in plain words": Kind(  # as Apriel's
        "{% for m in messages %}<|{{ m.role }}|>\n{% if m.reasoning_content %}{{ m.reasoning_content }}"
        "\n[BEGIN FINAL RESPONSE]\n{% endif %}"
        "{{ m.content }}\n<|end|>\n{% endfor %}" + ASK + "<|assistant|>\nHere are my reasoning steps:\n{% endif %}",
        "<|user|>\nQ\n<|end|>\n<|assistant|>\nHere are my reasoning steps:\n\n[BEGIN FINAL RESPONSE]\n", "A\n<|end|>", "open",
    ),
    "directions in the prompt alone, then the turn's beginning": Kind(  # as Command R+'s for tools
        "{% for m in messages %}<|START_OF_TURN_TOKEN|><|{{ m.role | upper }}_TOKEN|>{{ m.content }}"
        "<|END_OF_TURN_TOKEN|>{% endfor %}"
        "{{ '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Write \\'Action:\\' [ ]```<|END_OF_TURN_TOKEN|>' }}"
        + ASK + "<|START_OF_TURN_TOKEN|><|ASSISTANT_TOKEN|>{% endif %}",
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Q<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Write 'Action:' [ ]```"
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|ASSISTANT_TOKEN|>", "A<|END_OF_TURN_TOKEN|>",
    ),
    "an end that is written twice": Kind(
        TURNS.replace("<|im_end|>", "<|im_end|><|im_end|>") + ASK + "<|im_start|>assistant\n{% endif %}",
        "<|im_start|>user\nQ<|im_end|><|im_end|>\n<|im_start|>assistant\n", "A<|im_end|>",
    ),
    "no marker at all": Kind(
        "{% for m in messages %}{{ m.role | upper }}: {{ m.content }} {% endfor %}" + ASK + "ASSISTANT:{% endif %}",
        "USER: Q ASSISTANT:", " A</s>",
    ),
    "tools without which it stumbles": Kind(
        "{% for tool in tools %}{{ tool.name }}{% endfor %}{{ tools | length }}" + TURNS + ASK + "<|im_start|>assistant\n"
        "{% endif %}",
        "0<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n", "A<|im_end|>",
    ),
    "contents in parts": Kind(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for part in m.content %}{% if part.type == 'text' %}"
        "{{ part.text }}{% endif %}"
        "{% endfor %}<|im_end|>\n{% endfor %}" + ASK + "<|im_start|>assistant\n{% endif %}",
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n", "A<|im_end|>",
    ),
    "turns that must take turns, and none of a system": Kind(  # as Gemma 1's
        "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('take turns') }}{% endif %}"
        "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
        + ASK + "<start_of_turn>model\n{% endif %}",
        "<s><start_of_turn>user\nQ<end_of_turn>\n<start_of_turn>model\n", "A<end_of_turn>", system="refused",
    ),
    "a system turn before the last question alone": Kind(  # as Mistral Nemo's
        "{{ bos_token }}{% set system = messages[0].content + '\n\n' if messages[0].role == 'system' else '' %}"
        "{% for m in messages %}"
        "{% if m.role == 'user' %}[INST]{{ system if loop.last }}{{ m.content }}[/INST]{% elif m.role == 'assistant' %}"
        "{{ m.content + eos_token }}"
        "{% endif %}{% endfor %}",
        "<s>[INST]Q[/INST]", "A</s>", system="prompt only",
    ),
    "a system turn that is dropped": Kind(
        "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        + ASK + "<|im_start|>assistant\n{% endif %}",
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n", "A<|im_end|>", system="dropped",
    ),
    "the day and documents": Kind(
        "{{ strftime_now('%Y') }}{% for d in documents or [] %}{{ d.title }}{% endfor %}" + TURNS + ASK + "<|im_start|>"
        "assistant\n{% endif %}",
        "26 Jul 2024<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n", "A<|im_end|>",
    ),
    "text between an answer and its end": Kind(
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ '\n(end of answer)\n' if m.role == 'assistant' }}<|end|>"
        "{% endfor %}"
        + ASK + "<|assistant|>{% endif %}",
        "<|user|>Q<|end|><|assistant|>", "A\n(end of answer)\n<|end|>",
    ),
}  # fmt: skip
