"""Random-weight models that never end a turn, and a tokenizer of one token a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from selfreward.engines import quiet_libraries
from selfreward.errors import SelfRewardError
from selfreward.lab.speed.floor import Shape
from selfreward.lab.speed.work import FIRST_WORD

SPECIAL = ("<unk>", "<pad>", "<|end|>")
TEMPLATE = "{% for m in messages %}{{ m.content }} {% if m.role == 'assistant' %}<|end|> {% endif %}{% endfor %}"
LLAMA = {"model_type": "llama", "max_position_embeddings": 8192, "tie_word_embeddings": False}
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        **LLAMA, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "vocab_size": 64,
    },
    "1m": {
        **LLAMA, "hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 5, "num_attention_heads": 4,
        "vocab_size": 256,
    },
    "30m": {
        **LLAMA, "hidden_size": 320, "intermediate_size": 864, "num_hidden_layers": 10, "num_attention_heads": 5,
        "vocab_size": 49152, "tie_word_embeddings": True,
    },
    "135m": {
        **LLAMA, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True, "rope_theta": 100000.0,
    },
    "qwen3-0.6b": {
        "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
        "max_position_embeddings": 40960, "tie_word_embeddings": True,
    },
    "llama3-8b": {
        **LLAMA, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256, "rope_theta": 500000.0,
    },
}  # fmt: skip
"""Shapes by name: one for tests, one as small as the micro world's, four with real vocabularies; 135m is SmolLM2."""
LEVEL = 4.0
"""The first feature of every word; in the output layer, words that are never drawn have its negative."""


def settings(name: str) -> PretrainedConfig:
    """The settings of a model of a shape by name, or of the shape that a folder's config.json tells."""
    ends = {"bos_token_id": None, "eos_token_id": SPECIAL.index("<|end|>"), "pad_token_id": SPECIAL.index("<pad>")}
    if name in SHAPES:
        return AutoConfig.for_model(**SHAPES[name], **ends)
    if not (Path(name) / "config.json").is_file():
        now = f"Give one of {', '.join(SHAPES)}, or a folder with a config.json"
        raise SelfRewardError("is no shape of a model", name, now)
    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    for field, value in ends.items():
        setattr(config, field, value)
    return config


def make_world(folder: Path, name: str, dtype: str, device: str, seed: int = 0) -> Shape:
    """Write a model of the shape `name` with random weights, and its tokenizer, to `folder`; returns its shape."""
    quiet_libraries()
    config = settings(name)
    torch.manual_seed(seed)
    with torch.device(device):  # billions of random numbers are drawn where that is fast
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    never_ends(model)
    model.save_pretrained(folder)
    make_tokenizer(config.vocab_size).save_pretrained(folder)
    shape = Shape.of(config.to_dict(), model.num_parameters())
    (folder / "shape.json").write_text(json.dumps(shape._asdict()))
    return shape


@torch.no_grad()
def never_ends(model: PreTrainedModel) -> None:
    """Have the weights themselves see to it that no special token is ever drawn, so that every arm writes the same lengths.

    No layer writes to the first feature, so it stays what the word read last has there, which is positive; special tokens, for
    which it is negative in the output, are out of reach. (Where input and output are one matrix, after special tokens it is
    the other way round; no prompt ends with one.)
    """
    model.get_input_embeddings().weight[:, 0] = LEVEL
    output = model.get_output_embeddings().weight
    output[:, 0] = LEVEL
    output[:FIRST_WORD, 0] = -LEVEL
    written = [part for name, part in model.named_modules() if name.endswith(("o_proj", "down_proj"))]
    if len(written) != 2 * model.config.num_hidden_layers:
        now = "Give a shape of the Llama, Qwen or Mistral kind"
        raise SelfRewardError(f"what its layers write to cannot be told of {type(model).__name__}", "--model", now)
    for part in written:
        part.weight[0] = 0.0


def make_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """One token a word: what is decoded encodes to as many tokens again."""
    words = [*SPECIAL, *(f"w{at}" for at in range(FIRST_WORD, vocabulary))]
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", eos_token="<|end|>",
        clean_up_tokenization_spaces=False, padding_side="left",
    )  # fmt: skip
    fast.chat_template = TEMPLATE
    return fast
