"""Tiny models in the style of real families: architecture, special tokens, and a chat template that writes as theirs does."""

from typing import NamedTuple

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

CORPUS = [
    "Name a bird that sings. The wren sings, and so does the thrush.\n\nIt is small.\n\n",
    "What is the answer?\n\nThe answer is a heron, I think.\n\n",
    "User: hello there\nAssistant: hello, hello\n\n[INST] tell me [/INST] told you",
]
LINE_ENDS_TOGETHER = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
ONE_LAYER = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 8, "max_position_embeddings": 512, "initializer_range": 0.3,
}  # fmt: skip
GPT_2 = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 512, "initializer_range": 0.3}

LLAMA_2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}"
    "{{ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token + ' ' }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
THINKING = (  # as Qwen 3's, it reads thoughts and the results of tools out of what is said
    "{% set asked = namespace(last=messages | length - 1) %}{% for m in messages %}"
    "{% if m.role == 'user' and not m.content.startswith('<tool_response>') %}{% set asked.last = loop.index0 %}{% endif %}"
    "{% endfor %}{% for m in messages %}{% set parts = m.content.split('</think>') %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.index0 > asked.last %}"
    "{{ '<think>\n' + (parts[0].split('<think>')[-1] if parts | length > 1 else '') + '\n</think>\n\n' }}{% endif %}"
    "{{ (parts[-1] if m.role == 'assistant' else m.content) + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI_3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)


class Family(NamedTuple):
    """How models of a family are built and how they write a conversation."""

    kind: str
    template: str | None
    special: tuple[str, ...]
    roles: dict[str, str]
    """Which special token is `bos`, `eos`, `pad`."""
    before: str
    """A user's turn {p}, up to the answer, as the family writes it."""
    after: str
    """The answer {r}, up to and with the token that ends it."""
    stops: tuple[str, ...]
    """What its generation settings stop on when it is published."""
    spaces: str | None = None
    """What a tokenizer of SentencePiece's kind puts before everything; None for one of GPT-2's kind."""


IM = ("<|im_start|>", "<|im_end|>")
LLAMA_HEADERS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
DEFAULT = ("### User:\n{p}<|endoftext|>\n### Assistant:\n", "{r}<|endoftext|>")
FAMILIES = {
    "llama 2": Family(
        "llama", LLAMA_2, ("<unk>", "<s>", "</s>"), {"bos": "<s>", "eos": "</s>"},
        "<s>[INST] {p} [/INST]", " {r} </s>", ("</s>",), spaces="▁",
    ),
    "llama 3": Family(
        "llama", LLAMA_3, ("<|begin_of_text|>", "<|end_of_text|>", *LLAMA_HEADERS),
        {"bos": "<|begin_of_text|>", "eos": "<|eot_id|>"},
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{p}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n", "{r}<|eot_id|>", ("<|end_of_text|>", "<|eot_id|>"),
    ),
    "mistral": Family(
        "mistral", MISTRAL, ("<unk>", "<s>", "</s>"), {"bos": "<s>", "eos": "</s>"},
        "<s>[INST] {p} [/INST]", "{r}</s>", ("</s>",), spaces="▁",
    ),
    "qwen 2, a base": Family(
        "qwen2", CHATML, ("<|endoftext|>", *IM), {"eos": "<|endoftext|>", "pad": "<|endoftext|>"},
        "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\n{p}<|im_end|>\n<|im_start|>assistant\n",
        "{r}<|im_end|>", ("<|endoftext|>",),
    ),
    "qwen 3, which thinks": Family(
        "qwen3", THINKING, ("<|endoftext|>", *IM), {"eos": "<|im_end|>", "pad": "<|endoftext|>"},
        "<|im_start|>user\n{p}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        "{r}<|im_end|>", ("<|im_end|>", "<|endoftext|>"),
    ),
    "gemma": Family(
        "gemma", GEMMA, ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        {"bos": "<bos>", "eos": "<eos>", "pad": "<pad>"},
        "<bos><start_of_turn>user\n{p}<end_of_turn>\n<start_of_turn>model\n", "{r}<end_of_turn>",
        ("<eos>", "<end_of_turn>"), spaces="",
    ),
    "phi": Family("phi", None, ("<|endoftext|>",), {"bos": "<|endoftext|>", "eos": "<|endoftext|>"},
                  "<|endoftext|>" + DEFAULT[0], DEFAULT[1], ("<|endoftext|>",)),
    "phi 3": Family(
        "phi3", PHI_3, ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"),
        {"eos": "<|endoftext|>", "pad": "<|endoftext|>"},
        "<|user|>\n{p}<|end|>\n<|assistant|>\n", "{r}<|end|>", ("<|endoftext|>", "<|end|>"),
    ),
    "gpt 2": Family("gpt2", None, ("<|endoftext|>",), {"bos": "<|endoftext|>", "eos": "<|endoftext|>"},
                    "<|endoftext|>" + DEFAULT[0], DEFAULT[1], ("<|endoftext|>",)),
}  # fmt: skip


def family_tokenizer(family):
    """A small tokenizer of the family's kind, with merges learnt from a few lines."""
    tokenizer = _bytes(family.template is not None) if family.spaces is None else _spaced(family.spaces)
    # Phi 3's special tokens take in the white space after them.
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, rstrip=family.kind == "phi3") for token in family.special])
    roles = {f"{name}_token": token for name, token in family.roles.items()}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **roles)
    fast.chat_template = family.template
    return fast


def _bytes(modern):
    """As GPT-2's, or (`modern`) as Llama 3's and Qwen's, which keep line ends together: no character is unknown."""
    tokenizer = Tokenizer(models.BPE())
    split = [pre_tokenizers.Split(LINE_ENDS_TOGETHER, "isolated")] if modern else []
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not modern)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False))
    return tokenizer


def _spaced(first):
    """As Llama 2's: spaces become "▁", `first` stands before everything, and what is unknown is spelt in bytes."""
    spelt = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([*([normalizers.Prepend(first)] if first else []), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", *spelt], show_progress=False, max_token_length=4)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def make_family(folder, name, seed=0, **changes):
    """A model of the family with random weights, and its tokenizer, in `folder`."""
    family = FAMILIES[name]
    tokenizer = family_tokenizer(family)
    shape = GPT_2 if family.kind == "gpt2" else ONE_LAYER
    ends = tokenizer.convert_tokens_to_ids(list(family.stops))
    config = AutoConfig.for_model(
        family.kind, vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, **{**shape, **changes},
    )  # fmt: skip
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config.eos_token_id = ends if len(ends) > 1 else ends[0]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
