"""A tiny model in a GGUF file, made anew in every test."""

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")

HIDDEN, FEED, LAYERS, HEADS, WORDS = 32, 64, 2, 4, 20
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TOKENS = ["<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|eot|>", *(chr(ord("a") + at) for at in range(WORDS - 7)), "ab"]


def write_file(path, template=TEMPLATE, architecture="llama", parts=None, factors=None, scaling=None):
    """A tiny model, linear layers in 8 bits and norms in 32; `factors` divide rotary frequencies, `scaling` names a stretch."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(WORDS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * 6 + [1] * (WORDS - 6))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_eot_token_id(5)
    writer.add_pad_token_id(0)
    if template:
        writer.add_chat_template(template)
    if parts:
        writer.add_uint16("split.count", parts)
    if scaling:
        writer.add_rope_scaling_type(scaling)
        writer.add_rope_scaling_factor(8.0)
    if factors is not None:
        writer.add_rope_freq_base(500_000.0)
        writer.add_tensor("rope_freqs.weight", np.array([*factors], np.float32))
    rng = np.random.default_rng(0)

    def add(name, *shape):
        data = rng.normal(size=shape).astype(np.float32) * 0.3
        if len(shape) == 1:
            writer.add_tensor(name, data)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)

    add("token_embd.weight", WORDS, HIDDEN)
    add("output_norm.weight", HIDDEN)
    add("output.weight", WORDS, HIDDEN)
    for at in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{at}.{name}.weight", HIDDEN, HIDDEN)
        add(f"blk.{at}.ffn_gate.weight", FEED, HIDDEN)
        add(f"blk.{at}.ffn_up.weight", FEED, HIDDEN)
        add(f"blk.{at}.ffn_down.weight", HIDDEN, FEED)
        add(f"blk.{at}.attn_norm.weight", HIDDEN)
        add(f"blk.{at}.ffn_norm.weight", HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
