"""Transformers models small enough to make anew in every test, and a tokenizer of fifty words."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

UNKNOWN, PAD, USER, ASSISTANT, END = "<unk>", "<pad>", "<|user|>", "<|assistant|>", "<|end|>"
SPECIAL = (UNKNOWN, PAD, USER, ASSISTANT, END)
WORDS = tuple(f"{a}{b}" for a in ("ba", "de", "fi", "go", "lu") for b in "klmnprstvz")
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|> {{ m.content }} <|end|> "
    "{% else %}<|user|> {{ m.content }} {% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SMALL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "max_position_embeddings": 128, "initializer_range": 0.3,
}  # fmt: skip
"""Weights so wide that no two words are about as likely."""
KINDS = {
    "llama": SMALL,
    "qwen2": SMALL,
    "qwen3": SMALL,
    "mistral": {**SMALL, "sliding_window": 6},
    "gemma": SMALL,
    "gemma2": {**SMALL, "sliding_window": 6},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "initializer_range": 0.3},
}


OF_THEIR_OWN = {
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3},
    "gpt_oss": {**SMALL, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 6},
}
"""Their attention is more than keys, values, a scale, a window and a cap: a bias by distance, sinks."""


def make_tokenizer(template=TEMPLATE, **special):
    """One token a word."""
    vocabulary = {word: at for at, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    usual = {"unk_token": UNKNOWN, "pad_token": PAD, "eos_token": END, "additional_special_tokens": [USER, ASSISTANT]}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **{**usual, **special})
    fast.chat_template = template
    return fast


def make_model(folder, kind="llama", seed=0, stops=(), **changes):
    """A model with random weights and its tokenizer, in `folder`; `stops`: words that end a turn beside `<|end|>`."""
    tokenizer = make_tokenizer()
    end, *more = tokenizer.convert_tokens_to_ids([END, *stops])
    config = AutoConfig.for_model(
        kind, vocab_size=len(tokenizer), bos_token_id=None, eos_token_id=end, pad_token_id=tokenizer.pad_token_id,
        **{**(KINDS | OF_THEIR_OWN)[kind], **changes},
    )  # fmt: skip
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config.eos_token_id = [end, *more] if more else end
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def nudge(source, target, seed=1, size=0.1):
    """A copy of the model in `source` with other weights, in `target`."""
    model = AutoModelForCausalLM.from_pretrained(source)
    noise = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += size * torch.randn(parameter.shape, generator=noise)
    model.save_pretrained(target)
    make_tokenizer().save_pretrained(target)
    return target
