"""A tiny random model of every causal architecture in transformers' mapping, and how each is sampled from."""

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from families import FAMILIES, family_tokenizer
from selfreward.engines.sampling.hf import HFModel
from selfreward.engines.sampling.plain import Way
from selfreward.errors import SelfRewardError
from selfreward.recipe import BackendConfig
from selfreward.records import Checkpoint, Message, Request, Sampling

KINDS = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
SIZES = {
    "attention_hidden_size d_model dim_model emb_dim embedding_dim embedding_size hidden_size input_embedding_size lru_width "
    "n_embd output_embedding_size ple_embed_dim word_embed_proj_dim": 32,
    "decoder_layers encoder_layers n_layer n_layers num_blocks num_decoder_layers num_encoder_layers num_hidden_layers "
    "num_layers": 4,
    "attention_heads decoder_attention_heads encoder_attention_heads index_n_heads linear_num_value_heads n_head n_heads "
    "num_attention_heads num_decoder_attention_heads num_encoder_attention_heads num_heads swa_num_attention_heads": 4,
    "moe_num_experts n_routed_experts num_experts num_local_experts": 4,
    "conv_kernel conv_kernel_size linear_conv_kernel_dim mamba_d_conv mamba_dt_rank short_conv_kernel_size time_step_rank": 4,
    "linear_num_heads linear_num_key_heads num_key_value_heads num_kv_heads num_query_groups swa_num_key_value_heads": 2,
    "laurel_rank moe_k moe_topk n_shared_experts num_experts_per_tok num_experts_per_token num_shared_experts": 2,
    "adapter_rank attention_head_dim attention_head_size chunk_size d_head d_rel dim_head global_head_dim hc_lowrank head_dim "
    "hidden_size_per_layer_input index_head_dim index_topk kv_channels linear_head_dim linear_key_head_dim "
    "linear_value_head_dim mamba_chunk_size mamba_d_head mamba_d_state mamba_head_dim qk_nope_head_dim qk_rope_head_dim "
    "rotary_dim ssm_state_size state_size swa_head_dim v_head_dim": 8,
    "d_inner decoder_ffn_dim dense_intermediate_size dff dim_ff encoder_ffn_dim expert_ffn_hidden_size feed_forward_size ffn_dim "
    "ffn_hidden_size intermediate_size intermediate_size_mlp mlp_dim moe_intermediate_size moe_shared_expert_intermediate_size "
    "n_inner shared_expert_intermediate_size shared_experts_intermediate_size shared_intermediate_size": 48,
    "n_group n_groups num_expert_group num_kv_shared_layers topk_group": 1,
    "kv_lora_rank o_lora_rank q_lora_rank qk_head_dim router_hidden_size": 16,
    "attention_chunk_size attention_window_size local_attention sliding_window sliding_window_size window_size": 6,
    "context_length max_position_embeddings max_seq_len max_source_positions max_target_positions model_max_length n_ctx "
    "n_positions": 128,
    "init_std initializer_range": 0.3,
    "attention_dropout hidden_dropout resid_pdrop": 0.0,
    "is_decoder": True,
}  # fmt: skip
"""What architectures call their sizes, and how large they are here. Weights so wide that no two words are about as likely."""
SIZE = {name: size for names, size in SIZES.items() for name in names.split()}
ATTENDING = ["linear_attention", "full_attention"] * 2
SLIDING = ["sliding_attention", "full_attention"] * 2
HYBRID = ["linear_attention", "hybrid"] * 2
ALL_HEADS = {"num_key_value_heads": 4}
MAMBA_2 = {"mamba_n_heads": 8, "mamba_d_head": 8}
ROPE = {"rope_type": "default", "rope_theta": 1e4}
PLE = {"vocab_size_per_layer_input": 323, "layer_types": SLIDING}
OWN = {
    **dict.fromkeys(
        ["axk1", "axk2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa", "minicpm3", "youtu"], ALL_HEADS
    ),
    "bailing_hybrid": {**ALL_HEADS, "layer_group_size": 2},
    "bamba": {**MAMBA_2, "attn_layer_indices": [1, 3]},
    "cohere_compass_text": {"layer_types": SLIDING, "rope_parameters": dict.fromkeys(SLIDING, ROPE)},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "hidden_size": 32},
    },
    "deepseek_v2": {**ALL_HEADS, "topk_group": 1, "n_group": 1, "num_experts_per_tok": 2},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2},
    "falcon_h1": {**MAMBA_2, "mamba_d_ssm": 64},
    "gemma3n_text": {**PLE, "num_kv_shared_layers": 2, "activation_sparsity_pattern": [0.0] * 4, "altup_num_inputs": 2},
    "gemma4": PLE, "gemma4_text": PLE, "gemma4_unified": PLE, "gemma4_unified_text": PLE,
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granitemoehybrid": {**MAMBA_2, "layer_types": ATTENDING},
    "hunyuan_v1_dense": {"head_dim": 8}, "hunyuan_v1_moe": {"head_dim": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {**ALL_HEADS, "layer_types": ATTENDING},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2}, "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "longcat_flash": {**ALL_HEADS, "zero_expert_num": 2, "num_layers": 2},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "minimax": {"layer_types": ATTENDING, "block_size": 8, "router_aux_loss_coef": 0.0},
    "ministral": {"head_dim": 8}, "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "nemotron_h": {"mamba_num_heads": 8, "mamba_head_dim": 8},
    "reformer": {"attn_layers": ["local", "lsh"] * 2, "axial_pos_embds": False, "num_buckets": 4},
    "roc_bert": {"shape_embed_dim": 8, "pronunciation_embed_dim": 8, "shape_vocab_size": 323, "pronunciation_vocab_size": 323},
    "xlm": {"causal": True},
    "xlstm": {"hidden_size": 64, "embedding_dim": 64, "qk_dim_factor": 1.0, "v_dim_factor": 1.0},
    "xmod": {"default_language": "en_XX", "languages": ["en_XX"]},
    "zamba": {**ALL_HEADS, "layers_block_type": HYBRID, "attention_hidden_size": 64, "attention_head_dim": 16},
    "zamba2": {
        **ALL_HEADS, "layers_block_type": HYBRID, "n_mamba_heads": 8, "attention_hidden_size": 64, "attention_head_dim": 16,
    },
    "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip
"""What one architecture needs beside: both kinds of layers within four, say, where by default the second kind comes later."""
OWN["qwen4_exp"] = OWN["qwen4_exp_text"] = {
    "indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 8, "indexer_compress_ratio": 2,
}  # fmt: skip
DISAGREES = "as its forward pass says, which is what is trained; `generate()` disagrees with it"
NOT_CAUSAL = "sees the tokens after each token, so it cannot generate text"
OUT = {
    "blt": "no tiny one was found: bytes in patches, between parts of fixed widths",
    "cpmant": NOT_CAUSAL,
    "dots3_note": "no tiny one was found: its settings go by the number of the layer",
    "dots3_note_text": "no tiny one was found: its settings go by the number of the layer",
    "emu3": "saves settings that transformers does not read back as a causal language model",
    "gemma3n": "needs timm, for pictures",
    "gemma4_assistant": "drafts for another model, whose cache it reads",
    "gemma4_unified_assistant": "drafts for another model, whose cache it reads",
    "mllama": "saves settings that transformers does not read back as a causal language model",
    "musicgen": "writes sound, not text",
    "musicgen_melody": "writes sound, not text",
    "prophetnet": NOT_CAUSAL,
    "xlnet": NOT_CAUSAL,
}
"""Architectures that are left out, and why."""

CPU = BackendConfig(device="cpu")
M0 = Checkpoint(name="M0", path="m0", fingerprint="f0")
GREEDY = Sampling(temperature=0, top_p=1, max_tokens=8)
SAMPLED = Sampling(temperature=0.7, top_p=0.9, max_tokens=6)
PROMPTS = ["Name a bird.", "x", "Name a song."]  # all begin alike, and two are of one length
NEAR = 2e-3
"""Of the likeliest word's logit: two words as near as that are one to arithmetic in another order."""


class Verdict(NamedTuple):
    """How an architecture is sampled from."""

    kind: str
    way: Way | None = None
    """None where a tree holds all that is shared once."""
    out: str = ""
    """Why it is left out."""
    note: str = ""


def settings(kind, words):
    """Settings of a tiny model of a kind."""
    sizes = _sizes(CONFIG_MAPPING[kind]())
    own = {"vocab_size": words, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, **OWN.get(kind, {})}
    if "text_config" in sizes:
        return AutoConfig.for_model(kind, **{**sizes, "text_config": {**sizes["text_config"], **own}})
    return AutoConfig.for_model(kind, **{**sizes, **own})


def _sizes(config):
    known = config.to_dict()
    parts = {name: getattr(config, name) for name in config.sub_configs}
    own = {name: size for name, size in SIZE.items() if known.get(name) is not None}
    return own | {name: _sizes(part) for name, part in parts.items() if hasattr(part, "to_dict")}


def make(kind, folder, seed=0):
    """A model of a kind with random weights; it is in `folder` too, with a tokenizer of bytes and a template of ChatML."""
    tokenizer = family_tokenizer(FAMILIES["qwen 2, a base"])
    config = settings(kind, len(tokenizer))
    with torch.device("meta"):
        size = sum(weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters())
    assert size < 4_000_000, f"{kind} has {size:,} parameters"
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval()


def ask(prompt, index=0, sampling=GREEDY):
    return Request.user_turn("about", index, prompt, sampling, M0, 0)


def texts(engine, requests):
    engine.prepare(requests)
    batches = [[requests[at] for at in batch] for batch in engine.batches(requests)]
    answers = {answer.request_id: answer.text for batch in batches for answer in engine.generate(batch)}
    return [answers[request.id] for request in requests]


@lru_cache(None)
def verdict(kind):
    """How the engine samples from a tiny model of a kind, held against `generate()`, in which it is a bug to differ."""
    with TemporaryDirectory() as folder:
        try:
            whole = make(kind, folder)
            engine = HFModel(Path(folder), CPU)
        except Exception as error:
            if kind not in OUT:
                raise
            assert OUT[kind] != NOT_CAUSAL or (isinstance(error, SelfRewardError) and NOT_CAUSAL in error.what)
            return Verdict(kind, out=OUT[kind])
        assert kind not in OUT, f"{kind} works"
        greedy = texts(engine, [ask(prompt) for prompt in PROMPTS])
        notes = [held_against_generate(engine, whole, prompt, text) for prompt, text in zip(PROMPTS, greedy, strict=True)]
        requests = [ask(prompt, index, SAMPLED) for prompt in PROMPTS for index in (0, 1)]
        together, alone = texts(engine, requests), [texts(engine, [request])[0] for request in requests[1::3]]
        assert together[1::3] == alone, f"{kind}: {together[1::3]} among others, {alone} alone"
        return Verdict(kind, engine.way, note=next(filter(None, notes), ""))


def held_against_generate(engine, whole, prompt, text):
    """Assert that `text` is what `generate()` writes, or, where that disagrees with it, the forward pass; a note if so."""
    ids = torch.tensor([engine._ids((Message(role="user", content=prompt),))])
    assert engine.tokenizer.decode(ids[0]).count(prompt) == 1
    given = {"do_sample": False, "max_new_tokens": 8, "forced_eos_token_id": None, "eos_token_id": sorted(engine.stops)}
    out = whole.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **given)[0, ids.shape[1] :].tolist()
    if as_text(engine, out) == text:
        return ""
    with torch.no_grad():
        logits = whole(input_ids=torch.cat([ids, torch.tensor([out])], dim=1), use_cache=False).logits[0, ids.shape[1] - 1 : -1]
    best = logits.topk(2).values
    for at, token in enumerate(out):
        if best[at, 0] - best[at, 1] < NEAR * best[at, 0].abs():
            return ""  # from a tie on both are right
        if logits[at].argmax() != token:
            break
    assert text == as_text(engine, forward(whole, ids, engine.stops)), f"{prompt}: {text!r}, not {as_text(engine, out)!r}"
    return DISAGREES


def forward(whole, ids, stops):
    """The likeliest words by forward passes over the whole text."""
    length = ids.shape[1]
    with torch.no_grad():
        while ids.shape[1] < length + 8 and not (ids.shape[1] > length and int(ids[0, -1]) in stops):
            ids = torch.cat([ids, whole(input_ids=ids, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    return ids[0, length:].tolist()


def as_text(engine, ids):
    return engine.tokenizer.decode(ids[: len(ids) - (ids[-1] in engine.stops)])


def table():
    """docs/architectures.md, from the verdicts on all kinds."""
    verdicts = [verdict(kind) for kind in KINDS]
    works = [found for found in verdicts if not found.out]
    shared = sum(found.way is None or found.way.shares for found in works)
    return ABOUT.format(
        works=len(works), all=len(verdicts), shared=shared, trees=sum(found.way is None for found in works),
        rows="\n".join(map(row, works)), out="\n".join(row(found) for found in verdicts if found.out),
    )  # fmt: skip


def row(found):
    """The line of one architecture in the table."""
    if found.out:
        return f"| `{found.kind}` | {found.out} |"
    shares, together = (found.way.shares, found.way.together) if found.way else (True, None)
    return f"| `{found.kind}` | {SHARED[shares]} | {TOGETHER[together]} | {found.note} |"


SHARED = {True: "read once", False: "read again for every prompt"}
TOGETHER = {
    None: "share their prompt, and grow together",
    "all": "hold copies, and grow together",
    "alike": "hold copies, and grow together where prompts are of one length",
    "none": "hold copies, and are written one by one",
    "anew": "are read again whole for every token",
}
ABOUT = """# Architectures

Of the {all} causal architectures to which transformers 5.23 maps a `config.json`, {works} are sampled from here. A tiny model of
each, with random weights and on a CPU, answers three prompts with up to eight tokens as `generate()` does, but for those marked
in the last column, and what it samples is the same alone and among others. One of each kind of cache is also trained, a step of
SFT and one of DPO.

How an architecture is read is listed nowhere in the code. As a model is opened, a short text is read in one way after another,
the fastest first, and the first way that says what a plain forward pass says is taken:

- **a tree** ({trees} architectures), where attention is keys, values, a scale, a window and a cap: what all prompts of a stage
  begin with is held once, and each prompt once for all its samples;
- **copies** of the model's own cache, whatever is in it. What all prompts begin with is read once where the model goes on right
  from a copy ({shared}, with the trees; the first kind of Mamba forgets its states when it reads more than one token more).
  Recurrent layers are fed no padding: prompts of one length are read together, and their caches are put together afterwards
  where the model takes that;
- **anew**: the whole text for every token.

A run says in a line what is not shared as it begins to sample, and `check` warns of it before. A model that sees what comes
after a token is refused.

`make test` goes over one architecture of each kind of cache and of each way to read; all of them, and whether this page is what
comes out, take some minutes more:

    .venv/bin/python -m pytest -m architectures tests/engines/test_architectures.py

| `model_type` | what all prompts begin with | samples of a prompt | |
|---|---|---|---|
{rows}

Left out:

| `model_type` | why |
|---|---|
{out}
"""
